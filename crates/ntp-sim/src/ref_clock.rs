//! A scripted reference clock: a device that reads true time with an error and noise.

use ntp_proto::engine::SourceId;
use ntp_time::{LeapIndicator, NtpDuration};

use crate::Rng;

/// A reference clock.
#[derive(Clone, Debug, PartialEq)]
pub struct RefClock {
    /// The device by which a source names it.
    pub device: String,
    /// Time between two samples, seconds.
    pub interval: f64,
    /// Standard deviation of a sample, seconds.
    pub noise: f64,
    /// How far it is ahead of UTC, seconds.
    pub error: f64,
    /// What it yields.
    pub behaviour: ClockBehaviour,
}

/// What a reference clock yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockBehaviour {
    /// Samples.
    Normal,
    /// Nothing.
    Silent,
    /// Samples that are marked as unsynchronised, and wrong.
    Unsynchronized,
}

impl RefClock {
    /// Creates a clock with a sample each second and a noise of 1 us.
    pub fn new(device: &str) -> Self {
        Self {
            device: device.to_owned(),
            interval: 1.0,
            noise: 1e-6,
            error: 0.0,
            behaviour: ClockBehaviour::Normal,
        }
    }
}

/// State of a reference clock.
#[derive(Debug)]
pub(crate) struct SimRefClock {
    pub(crate) config: RefClock,
    /// The source that has opened it.
    pub(crate) opened_by: Option<SourceId>,
    /// A sample is scheduled.
    pub(crate) is_running: bool,
    rng: Rng,
}

/// Error of a sample that is marked as unsynchronised, seconds.
const UNSYNCHRONIZED_ERROR: f64 = 3600.0;

impl SimRefClock {
    pub(crate) fn new(config: RefClock, rng: Rng) -> Self {
        Self {
            config,
            opened_by: None,
            is_running: false,
            rng,
        }
    }

    /// Takes a sample: the offset from our clock, which is wrong by `our_error` seconds. `leap` is
    /// what a synchronised clock announces.
    pub(crate) fn sample(
        &mut self,
        our_error: f64,
        leap: LeapIndicator,
    ) -> Option<(NtpDuration, LeapIndicator)> {
        let error = self.config.error + self.config.noise * self.rng.normal() - our_error;
        match self.config.behaviour {
            ClockBehaviour::Normal => Some((NtpDuration::from_seconds_f64(error), leap)),
            ClockBehaviour::Silent => None,
            ClockBehaviour::Unsynchronized => Some((
                NtpDuration::from_seconds_f64(error + UNSYNCHRONIZED_ERROR),
                LeapIndicator::Unsynchronized,
            )),
        }
    }
}
