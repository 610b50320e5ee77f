//! A reference clock as a source: samples of a device, without address, exchanges and packets.
//!
//! The shell opens the device at [`Output::OpenDevice`] and passes each of its samples. The device
//! keeps its own time table; the engine only knows how often a sample is expected. Each expected
//! interval without a sample counts as an unanswered poll.

use ntp_time::{
    LeapIndicator, Ledger, Monotonic, NtpDuration, PollInterval, ReferenceId, Stamp, Stratum,
    SystemTime,
};
use ntp_types::source::SourceId;
use ntp_types::status::{MeasurementStatus, SourceStatus};
use serde::{Deserialize, Serialize};

use super::{Context, Notice, Sample, SourceInput, resolution_noise, stamp_noise};
use crate::client::Reach;
use crate::discipline::{Measurement, NoiseLaw};
use crate::engine::{InvalidSample, Now, Output};

/// Number of expected intervals without a sample after which the clock is unreachable: the length
/// of the reach register (RFC 5905 section 13), also at the start, because receivers take their
/// time.
const SILENT_INTERVALS: u32 = 8;

/// Settings of a reference clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefClockConfig {
    /// The device or socket file, for display; the shell knows how to open it.
    pub device: String,
    /// Standard deviation of a sample.
    #[serde(with = "ntp_time::exact")]
    pub sigma: NtpDuration,
    /// Largest systematic error of the clock, which takes the place of a server's root dispersion.
    #[serde(with = "ntp_time::exact")]
    pub accuracy: NtpDuration,
    /// Stratum of the clock. Zero for a clock that is a reference itself, so that we become stratum
    /// 1.
    pub stratum: Stratum,
    /// Our reference ID while we follow it.
    pub reference_id: ReferenceId,
    /// Expected time between two samples.
    pub interval: PollInterval,
}

impl RefClockConfig {
    /// How the noise of its samples is known.
    pub(in crate::engine) fn noise_law(&self) -> NoiseLaw {
        NoiseLaw::Gaussian { sigma: self.sigma }
    }
}

/// A sample of a reference clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSample {
    /// When it was taken, by our system clock, and what took the timestamp.
    pub at: Stamp,
    /// The reference's time minus ours.
    #[serde(with = "ntp_time::exact")]
    pub offset: NtpDuration,
    /// What the reference announces. A sample of an unsynchronised reference is not used.
    pub leap: LeapIndicator,
}

/// State of a reference clock.
#[derive(Debug)]
pub(in crate::engine) struct RefClock {
    config: RefClockConfig,
    is_open: bool,
    reach: Reach,
    /// When the next sample counts as missing. `None` while the device is closed, and once the
    /// clock is unreachable.
    deadline: Option<Monotonic>,
    /// Reading of the system clock after its last step. Samples up to then were taken by a clock
    /// that no longer exists.
    stepped: Option<SystemTime>,
    /// A sample that was accepted and not measured yet.
    sample: Option<ClockSample>,
}

impl RefClock {
    /// Creates a reference clock, whose device is opened by [`SourceInput::Start`].
    pub(in crate::engine) fn new(config: RefClockConfig) -> Self {
        Self {
            config,
            is_open: false,
            reach: Reach::default(),
            deadline: None,
            stepped: None,
            sample: None,
        }
    }

    pub(super) fn handle(
        &mut self,
        now: Now,
        source: SourceId,
        input: SourceInput<'_>,
        context: &mut Context<'_>,
    ) -> Result<Notice, InvalidSample> {
        match input {
            SourceInput::Start if !self.is_open => {
                self.is_open = true;
                self.expect_sample(now);
                let device = self.config.device.clone();
                context
                    .outputs
                    .push_back(Output::OpenDevice { source, device });
            }
            SourceInput::Stop if self.is_open => {
                self.is_open = false;
                self.deadline = None;
                context.outputs.push_back(Output::CloseDevice { source });
            }
            SourceInput::ClockStepped => self.stepped = Some(now.system),
            SourceInput::Timeout => return Ok(self.expire(now)),
            SourceInput::Sample(sample) if self.is_open => return self.receive(now, sample),
            SourceInput::Start
            | SourceInput::Stop
            | SourceInput::Sample(_)
            | SourceInput::Poll
            | SourceInput::Datagram(_)
            | SourceInput::Transmitted(..)
            | SourceInput::SendFailed(_) => {}
        }
        Ok(Notice::None)
    }

    /// The next sample may be half an interval late before it counts as missing.
    fn expect_sample(&mut self, now: Now) {
        let interval = self.interval();
        self.deadline = Some(now.monotonic + interval + interval.half());
    }

    /// Counts a missing sample.
    fn expire(&mut self, now: Now) -> Notice {
        if self
            .deadline
            .is_none_or(|deadline| now.monotonic < deadline)
        {
            return Notice::None;
        }
        self.reach.record_poll();
        // From now on, not from the deadline: after a suspend all intervals have passed at once.
        self.deadline = Some(now.monotonic + self.interval());
        if !self.is_silent() {
            return Notice::None;
        }
        self.deadline = None;
        Notice::Unreachable
    }

    fn receive(&mut self, now: Now, sample: &ClockSample) -> Result<Notice, InvalidSample> {
        if sample.at.time > now.system {
            return Err(InvalidSample::Future);
        }
        if self
            .stepped
            .is_some_and(|stepped| sample.at.time <= stepped)
        {
            return Err(InvalidSample::Stepped);
        }
        if sample.leap == LeapIndicator::Unsynchronized {
            return Err(InvalidSample::Unsynchronized);
        }
        self.reach.record_poll();
        self.reach.record_reply();
        self.expect_sample(now);
        self.sample = Some(*sample);
        Ok(Notice::Sample)
    }

    /// Computes the measurement: `offset` is the reference minus our clock, so that the phase of the
    /// free-running oscillator is what it is ahead of our clock, minus the offset.
    pub(super) fn take_sample(&mut self, ledger: &Ledger, precision: i8) -> Option<Sample> {
        let ClockSample { at, offset, leap } = self.sample.take()?;
        let free = ledger.free_time(at.time);
        let measurement = Measurement {
            at: free,
            phase: free.ahead_of(at.time.to_ntp()) - offset,
            delay: None,
            stamp_noise: noise(at, precision),
            root_delay: NtpDuration::ZERO,
            root_dispersion: self.config.accuracy,
        };
        Some(Sample {
            measurement,
            shown: MeasurementStatus {
                offset: -(measurement.phase + ledger.past_correction(at.time)),
                uncertainty: None,
                delay: None,
                root_delay: NtpDuration::ZERO,
                root_dispersion: self.config.accuracy,
                stratum: self.config.stratum,
                leap,
                reference_id: self.config.reference_id,
                at: at.time,
                transmit_stamp: None,
                receive_stamp: at.source,
                ..MeasurementStatus::default()
            },
        })
    }

    /// Fills in what only a reference clock has.
    pub(super) fn complete_status(&self, common: SourceStatus) -> SourceStatus {
        SourceStatus {
            poll: self.config.interval,
            poll_min: self.config.interval,
            poll_max: self.config.interval,
            ..common
        }
    }

    /// How the noise of its samples is known.
    pub(super) fn noise_law(&self) -> NoiseLaw {
        self.config.noise_law()
    }

    pub(super) fn device(&self) -> &str {
        &self.config.device
    }

    pub(super) fn reference_id(&self) -> ReferenceId {
        self.config.reference_id
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Whether it has missed all samples of the last [`SILENT_INTERVALS`].
    pub(super) fn is_silent(&self) -> bool {
        self.reach.unanswered() >= SILENT_INTERVALS
    }

    pub(super) fn interval(&self) -> NtpDuration {
        let interval = self.config.interval.to_duration();
        interval.max(NtpDuration::from_seconds(1))
    }

    pub(super) fn deadline(&self) -> Option<Monotonic> {
        self.deadline
    }
}

/// 1-sigma noise of the timestamp and of our clock's resolution. That of the device is stated.
fn noise(at: Stamp, precision: i8) -> f64 {
    (stamp_noise(at.source).powi(2) + resolution_noise(precision).powi(2)).sqrt()
}
