//! A reference clock as a source: samples of a device, without address, exchanges and packets.
//!
//! The shell opens the device at [`Output::OpenDevice`] and passes each of its samples. The device
//! keeps its own time table; the engine only knows how often a sample is expected. Each expected
//! interval without a sample counts as an unanswered poll.

use ntp_time::{
    FreeTime, LeapIndicator, Ledger, Monotonic, NtpDuration, ReferenceId, Stamp, Stratum,
    SystemTime,
};
use ntp_types::refclock::{
    ClockSample, DeviceConfig, RefClockDevice, RefClockStatus, RefusalCount, SampleRefusal,
};
use ntp_types::source::SourceId;
use ntp_types::status::{MeasurementStatus, SourceStatus};
use serde::{Deserialize, Serialize};

use super::pulse_train::PulseTrain;
use super::{Context, Notice, Sample, SourceInput, resolution_noise, stamp_noise};
use crate::client::Reach;
use crate::discipline::{Measurement, NoiseLaw};
use crate::engine::{LogRateLimit, Now, Output};

/// Number of expected intervals without a sample after which the clock is unreachable: the length
/// of the reach register (RFC 5905 section 13), also at the start, because receivers take their
/// time.
const SILENT_INTERVALS: u32 = 8;

/// Period of pulses of a device that does not state one: they mark seconds.
const PULSE_PERIOD: NtpDuration = NtpDuration::from_seconds(1);

/// Settings of a reference clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefClockConfig {
    /// The device, and how the shell reads it.
    pub reader: DeviceConfig,
    /// Standard deviation of a sample.
    #[serde(with = "ntp_time::exact")]
    pub sigma: NtpDuration,
    /// Largest systematic error of the clock, which takes the place of a server's root dispersion.
    #[serde(with = "ntp_time::exact")]
    pub accuracy: NtpDuration,
    /// Takes the place of a server's root delay: half of it is a possible error of unknown sign.
    #[serde(with = "ntp_time::exact")]
    pub delay: NtpDuration,
    /// Added to the offset of each sample: how late the device is.
    #[serde(with = "ntp_time::exact")]
    pub correction: NtpDuration,
    /// Configured name of the source that numbers the pulses of this clock. `None` lets the
    /// synchronised clock number them.
    pub lock: Option<String>,
    /// Stratum of the clock. Zero for a clock that is a reference itself, so that we become stratum
    /// 1.
    pub stratum: Stratum,
    /// Our reference ID while we follow it.
    pub reference_id: ReferenceId,
}

impl RefClockConfig {
    /// How the noise of its samples is known.
    pub(in crate::engine) fn noise_law(&self) -> NoiseLaw {
        NoiseLaw::Gaussian { sigma: self.sigma }
    }

    /// The name of the device, for display.
    pub fn device(&self) -> String {
        self.reader.device.to_string()
    }
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
    /// Number of samples that were accepted.
    accepted: u64,
    /// Readings that gave no sample, by reason.
    refused: Vec<Refused>,
    /// Limits the events about its probable faults.
    fault_limit: LogRateLimit,
    /// The newest pulses, if it yields pulses.
    train: PulseTrain,
}

/// Refused readings of one reason.
#[derive(Debug)]
struct Refused {
    reason: SampleRefusal,
    count: u64,
    /// Limits the events about them.
    limit: LogRateLimit,
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
            accepted: 0,
            refused: Vec::new(),
            fault_limit: LogRateLimit::default(),
            train: PulseTrain::default(),
        }
    }

    pub(super) fn handle(
        &mut self,
        now: Now,
        source: SourceId,
        input: SourceInput<'_>,
        context: &mut Context<'_>,
    ) -> Result<Notice, SampleRefusal> {
        match input {
            SourceInput::Start if !self.is_open => {
                self.is_open = true;
                self.expect_sample(now);
                let device = self.config.reader.clone();
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

    fn receive(&mut self, now: Now, sample: &ClockSample) -> Result<Notice, SampleRefusal> {
        if sample.at.time > now.system {
            return Err(SampleRefusal::Future);
        }
        if self
            .stepped
            .is_some_and(|stepped| sample.at.time <= stepped)
        {
            return Err(SampleRefusal::Stepped);
        }
        if sample.leap == LeapIndicator::Unsynchronized {
            return Err(SampleRefusal::Unsynchronized);
        }
        self.reach.record_poll();
        self.reach.record_reply();
        self.expect_sample(now);
        self.sample = Some(*sample);
        self.accepted = self.accepted.saturating_add(1);
        Ok(Notice::Sample)
    }

    /// Counts a reading that gave no usable sample. Returns the number of those that were not
    /// reported before, or `None` if this one is not to be reported either.
    pub(in crate::engine) fn count_refused(
        &mut self,
        now: Now,
        reason: SampleRefusal,
    ) -> Option<u64> {
        let known = self.refused.iter().position(|it| it.reason == reason);
        let index = known.unwrap_or_else(|| {
            self.refused.push(Refused {
                reason,
                count: 0,
                limit: LogRateLimit::default(),
            });
            self.refused.len() - 1
        });
        let refused = self.refused.get_mut(index)?;
        refused.count = refused.count.saturating_add(1);
        refused.limit.admit(now.monotonic)
    }

    /// Computes the measurement: `offset` is the reference minus our clock, so that the phase of the
    /// free-running oscillator is what it is ahead of our clock, minus the offset.
    pub(super) fn take_sample(&mut self, ledger: &Ledger, precision: i8) -> Option<Sample> {
        let sample = self.sample.take()?;
        let ClockSample { at, leap, .. } = sample;
        let offset = sample.offset + self.config.correction;
        let root_dispersion = self.config.accuracy.max(sample.error.unwrap_or_default());
        let free = ledger.free_time(at.time);
        let measurement = Measurement {
            at: free,
            phase: free.ahead_of(at.time.to_ntp()) - offset,
            delay: None,
            stamp_noise: noise(at, precision),
            root_delay: self.config.delay,
            root_dispersion,
        };
        Some(Sample {
            server_correction: NtpDuration::ZERO,
            exclusion: None,
            measurement,
            shown: MeasurementStatus {
                offset: -(measurement.phase + ledger.past_correction(at.time)),
                uncertainty: None,
                delay: None,
                root_delay: self.config.delay,
                root_dispersion,
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
            poll: self.config.reader.interval,
            poll_min: self.config.reader.interval,
            poll_max: self.config.reader.interval,
            reference_clock: Some(RefClockStatus {
                driver: self.config.reader.device.driver().to_owned(),
                period: self.config.reader.device.pulse_period(),
                accepted: self.accepted,
                refused: self.refused.iter().map(Refused::status).collect(),
            }),
            ..common
        }
    }

    /// How the noise of its samples is known.
    pub(super) fn noise_law(&self) -> NoiseLaw {
        self.config.noise_law()
    }

    pub(super) fn device(&self) -> String {
        self.config.device()
    }

    /// Configured name of the source that numbers its pulses, if one is named.
    pub(in crate::engine) fn lock(&self) -> Option<&str> {
        self.config.lock.as_deref()
    }

    /// Time from one pulse to the next.
    pub(in crate::engine) fn period(&self) -> NtpDuration {
        let period = self.config.reader.device.pulse_period();
        period.unwrap_or(PULSE_PERIOD)
    }

    /// Whether it only marks the beginning of each period.
    pub(in crate::engine) fn is_pulse(&self) -> bool {
        self.config.reader.device.pulse_period().is_some()
    }

    /// Adds a pulse to those that were seen, and returns whether it is where most of them are.
    pub(in crate::engine) fn is_regular(&mut self, at: FreeTime, offset: NtpDuration) -> bool {
        let period = self.period();
        self.train.add(at, offset, period)
    }

    /// Width of the pulse, if it is known.
    pub(in crate::engine) fn width(&self) -> Option<NtpDuration> {
        match &self.config.reader.device {
            RefClockDevice::Pps(pps) => pps.width,
            _ => None,
        }
    }

    /// Returns the number of unreported faults, or `None` if this one is not to be reported either.
    pub(in crate::engine) fn admit_fault(&mut self, now: Now) -> Option<u64> {
        self.fault_limit.admit(now.monotonic)
    }

    /// Correction that is added to the offset of each sample.
    pub(in crate::engine) fn correction(&self) -> NtpDuration {
        self.config.correction
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
        self.config.reader.sample_interval()
    }

    pub(super) fn deadline(&self) -> Option<Monotonic> {
        self.deadline
    }
}

impl Refused {
    fn status(&self) -> RefusalCount {
        RefusalCount {
            reason: self.reason.name().to_owned(),
            text: self.reason.to_string(),
            count: self.count,
        }
    }
}

/// 1-sigma noise of the timestamp and of our clock's resolution. That of the device is stated.
fn noise(at: Stamp, precision: i8) -> f64 {
    (stamp_noise(at.source).powi(2) + resolution_noise(precision).powi(2)).sqrt()
}
