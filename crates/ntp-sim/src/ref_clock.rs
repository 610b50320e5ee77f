//! A scripted reference clock: a device that reads true time with an error and noise.
//!
//! [`Receiver`] describes what distinguishes real devices:
//!
//! | device | imperfection |
//! |---|---|
//! | pulse of a receiver | the receiver can only place it at a tick of its own clock: a sawtooth; some pulses are dated by the wrong edge |
//! | sentences of a receiver | they leave late, by a time that varies |
//! | clock of a network card | it drifts |
//! | clock of the host | nothing but noise |

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
    /// How it differs from true time apart from that.
    pub receiver: Receiver,
}

/// Imperfections of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Receiver {
    /// Only the fraction of the second counts.
    pub is_pulse: bool,
    /// Half of the range in which a pulse moves, and the time that it takes, seconds.
    pub sawtooth: Option<(f64, f64)>,
    /// Mean of the time that a sample is late beyond its known delay, seconds. Exponentially
    /// distributed, up to [`LATEST`](Self::LATEST) times the mean.
    pub lateness: f64,
    /// Frequency error of the device, s/s.
    pub drift: f64,
    /// Probability with which a pulse is dated by its other edge, and the width of the pulse in
    /// seconds.
    pub wrong_edge: Option<(f64, f64)>,
    /// Probability with which a second pulse follows, and after how many seconds.
    pub extra_pulse: Option<(f64, f64)>,
}

impl Receiver {
    /// Largest time that a sample is late, in multiples of its mean: a receiver sends the sentences
    /// of a second within it, and can state that.
    pub const LATEST: f64 = 6.0;
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
            receiver: Receiver::default(),
        }
    }

    /// The pulse of a receiver: 50 ns of noise and a sawtooth of 20 ns.
    pub fn pulse(device: &str) -> Self {
        Self {
            noise: 5e-8,
            receiver: Receiver {
                is_pulse: true,
                sawtooth: Some((2e-8, 37.0)),
                ..Receiver::default()
            },
            ..Self::new(device)
        }
    }

    /// The sentences of a receiver, whose mean delay is configured: they vary by 20 ms.
    pub fn sentences(device: &str) -> Self {
        Self {
            noise: 5e-3,
            receiver: Receiver {
                lateness: 2e-2,
                ..Receiver::default()
            },
            ..Self::new(device)
        }
    }

    /// A clock of a network card that nothing steers.
    pub fn network_card(device: &str, drift: f64) -> Self {
        Self {
            noise: 5e-8,
            receiver: Receiver {
                drift,
                ..Receiver::default()
            },
            ..Self::new(device)
        }
    }

    /// The clock of the host, read with 50 ns of noise.
    pub fn host(device: &str) -> Self {
        Self {
            noise: 5e-8,
            ..Self::new(device)
        }
    }
}

/// A sample of a simulated clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimSample {
    pub(crate) offset: NtpDuration,
    pub(crate) leap: LeapIndicator,
    pub(crate) is_pulse: bool,
}

/// State of a reference clock.
#[derive(Debug)]
pub(crate) struct SimRefClock {
    pub(crate) config: RefClock,
    /// The source that has opened it.
    pub(crate) opened_by: Option<(usize, SourceId)>,
    /// A sample is scheduled.
    pub(crate) is_running: bool,
    /// The next sample is an extra pulse that is late by this many seconds.
    extra: Option<f64>,
    /// Time from the last regular sample to that one.
    since_regular: f64,
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
            extra: None,
            since_regular: 0.0,
            rng,
        }
    }

    /// Takes a sample `now` seconds after the beginning: the offset from our clock, which is wrong
    /// by `our_error` seconds. `leap` is what a synchronised clock announces.
    pub(crate) fn sample(
        &mut self,
        now: f64,
        our_error: f64,
        leap: LeapIndicator,
    ) -> Option<SimSample> {
        let noise = self.config.noise * self.rng.normal();
        let late = self.extra.take().unwrap_or_default();
        let error = self.config.error + noise + self.imperfection(now) - our_error - late;
        let (error, leap) = match self.config.behaviour {
            ClockBehaviour::Normal => (error, leap),
            ClockBehaviour::Silent => return None,
            ClockBehaviour::Unsynchronized => {
                (error + UNSYNCHRONIZED_ERROR, LeapIndicator::Unsynchronized)
            }
        };
        let is_pulse = self.config.receiver.is_pulse;
        let error = if is_pulse {
            error - error.round()
        } else {
            error
        };
        Some(SimSample {
            offset: NtpDuration::from_seconds_f64(error),
            leap,
            is_pulse,
        })
    }

    /// Time until the next sample, seconds: of an extra pulse, or of the device's own time table.
    pub(crate) fn time_to_next(&mut self) -> f64 {
        let interval = self.config.interval;
        let extra = self.config.receiver.extra_pulse;
        match (core::mem::take(&mut self.since_regular), extra) {
            (0.0, Some((probability, delay))) if self.rng.bernoulli(probability) => {
                self.since_regular = delay;
                self.extra = Some(delay);
                delay
            }
            (since, _) => interval - since,
        }
    }

    /// What this sample is ahead by, beyond error and noise.
    fn imperfection(&mut self, now: f64) -> f64 {
        let receiver = self.config.receiver;
        let mut ahead = receiver.drift * now;
        if let Some((half_range, period)) = receiver.sawtooth {
            ahead += half_range * (2.0 * (now / period).fract() - 1.0);
        }
        // Random numbers are drawn only where they are used, so that other clocks keep theirs.
        if receiver.lateness > 0.0 {
            ahead -= receiver.lateness * self.rng.exponential().min(Receiver::LATEST);
        }
        if let Some((probability, width)) = receiver.wrong_edge
            && self.rng.bernoulli(probability)
        {
            ahead -= width;
        }
        ahead
    }
}
