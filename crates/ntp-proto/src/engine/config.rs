//! Configuration of the engine.

use std::net::IpAddr;

use ntp_time::{Frequency, NtpDuration, PollLimits, ReferenceId, Stratum};
use ntp_types::host::Host;
use serde::{Deserialize, Serialize};

use super::local::LocalConfig;
use super::source::refclock::RefClockConfig;
use super::time_floor::TimePrior;
use crate::client::AssociationConfig;
use crate::discipline::{self, FrequencyPrior, SelectionOptions, SteeringConfig};
use crate::leap::LeapHandling;

/// Maximum number of servers of a pool that are used at the same time: more than any name has
/// addresses. A lookup does not yield more.
pub const MAX_POOL_SIZE: usize = 64;

/// All settings of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineConfig {
    /// The configured sources, in the order of the file.
    pub sources: Vec<SourceConfig>,
    /// Estimation and selection.
    pub discipline: discipline::Config,
    /// Steps, slews and panic thresholds.
    pub steering: SteeringConfig,
    /// Whether the engine halts when a panic threshold forbids a step. Otherwise it stops steering.
    pub exit_on_panic: bool,
    /// Whether a step is logged as a warning (upstream's `warn-on-jump`).
    pub warn_on_jump: bool,
    /// Stratum while unsynchronised; sources must be below it (upstream's `local-stratum`).
    pub local_stratum: Stratum,
    /// Reference ID while unsynchronised.
    pub local_reference_id: ReferenceId,
    /// What is served while no source is available; `None`: as `local_stratum` states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalConfig>,
    /// Whether an operator may enter the time.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub manual: bool,
    /// Frequency of the oscillator as known from an earlier run.
    pub frequency_prior: Option<FrequencyPrior>,
    /// What is known of the time before any measurement.
    pub time_prior: Option<TimePrior>,
    /// How long too few sources without `fallback` must have been usable before those with it are
    /// used.
    #[serde(with = "ntp_time::exact")]
    pub fallback_after: NtpDuration,
    /// Difference between system and monotonic clock above which a step by another program is
    /// assumed (upstream's `meddling-threshold`). `None` selects the default.
    #[serde(with = "ntp_time::exact")]
    pub meddling_threshold: Option<NtpDuration>,
    /// How leap seconds are handled.
    pub leap_handling: LeapHandling,
    /// Properties of the clock.
    pub clock: ClockFacts,
}

/// Defaults of the configuration file, no sources, and a steerable clock whose resolution is a
/// microsecond.
impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            discipline: discipline::Config::default(),
            steering: SteeringConfig::default(),
            exit_on_panic: false,
            warn_on_jump: true,
            local_stratum: Stratum::UNSYNCHRONIZED,
            local_reference_id: ReferenceId::XNON,
            local: None,
            manual: false,
            frequency_prior: None,
            time_prior: None,
            fallback_after: NtpDuration::from_seconds(120),
            meddling_threshold: None,
            leap_handling: LeapHandling::default(),
            clock: ClockFacts {
                frequency: Frequency::ZERO,
                precision: -20,
                steerable: true,
                rate_difference: Frequency::ZERO,
            },
        }
    }
}

/// Largest frequency correction found at start-up that is attributed to the oscillator: half of the
/// largest slew rate.
const PLAUSIBLE_CORRECTION: Frequency = Frequency::from_ppm(250.0);

impl EngineConfig {
    /// What the frequency in the kernel shows of the oscillator. It may come from another program,
    /// so its uncertainty is unknown. A value beyond any oscillator is left over from a daemon that
    /// was killed during a slew.
    pub(super) fn prior_of_the_kernel(&self) -> FrequencyPrior {
        let correction = self.clock.frequency;
        FrequencyPrior {
            frequency: if correction.as_ratio().abs() > PLAUSIBLE_CORRECTION.as_ratio() {
                Frequency::ZERO
            } else {
                -correction
            },
            uncertainty: self.discipline.initial_frequency_uncertainty,
        }
    }

    /// Whether our own server serves the clock's time without a source, so that the clock is ours.
    pub(super) fn serves_local_time(&self) -> bool {
        self.local.is_some() || self.manual || self.local_stratum < Stratum::UNSYNCHRONIZED
    }
}

/// Properties of the clock before the engine adjusts it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockFacts {
    /// Frequency correction in force.
    #[serde(with = "ntp_time::exact")]
    pub frequency: Frequency,
    /// Base-2 logarithm of the resolution in seconds (RFC 5905 section 7.3).
    pub precision: i8,
    /// Whether the clock may be steered (false for `[clock] kind = "none"`).
    pub steerable: bool,
    /// Largest difference between the rates of this clock and the monotonic clock. Zero for the
    /// kernel's clock: both run at the same rate, our frequency corrections included.
    #[serde(with = "ntp_time::exact")]
    pub rate_difference: Frequency,
}

/// A configured source (`[[source]]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceConfig {
    /// Canonical `host:port`, or the name of a reference clock: the name shown to operators.
    pub name: String,
    /// Host of the server, of the pool or of the key exchange; the device of a reference clock.
    pub host: Host,
    /// UDP port, or with NTS the TCP port of the key exchange; zero for a reference clock.
    pub port: u16,
    /// Kind of source.
    pub kind: SourceKind,
    /// Parameters of its associations. A reference clock only has the poll limits, both of which
    /// are the interval of its samples.
    pub association: AssociationConfig,
    /// Selection options.
    pub selection: SelectionOptions,
}

/// The kind of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// One server.
    Server,
    /// One server with NTS. Host and port are those of the key exchange, which names the NTP server.
    Nts,
    /// Several servers behind one name.
    Pool {
        /// Number of servers to use, at most [`MAX_POOL_SIZE`].
        count: usize,
        /// Addresses that are never used.
        ignore: Vec<IpAddr>,
    },
    /// Several servers with NTS, each of which a key exchange with the pool names.
    NtsPool {
        /// Number of servers to use, at most [`MAX_POOL_SIZE`].
        count: usize,
        /// Addresses that are never used.
        ignore: Vec<IpAddr>,
    },
    /// A reference clock at this machine.
    RefClock(RefClockConfig),
}

impl SourceKind {
    /// Whether it has several servers that can replace each other.
    pub const fn is_pool(&self) -> bool {
        matches!(self, Self::Pool { .. } | Self::NtsPool { .. })
    }

    /// Whether it needs a key exchange.
    pub const fn uses_nts(&self) -> bool {
        matches!(self, Self::Nts | Self::NtsPool { .. })
    }
}

impl SourceConfig {
    /// Creates a reference clock, named by its device.
    pub fn ref_clock(clock: RefClockConfig) -> Self {
        let interval = clock.reader.interval;
        let limits = PollLimits {
            min: interval,
            max: interval,
        };
        let device = clock.device();
        Self {
            name: device.clone(),
            host: Host::Name(device),
            port: 0,
            association: AssociationConfig {
                limits,
                initial_poll: interval,
                ..AssociationConfig::default()
            },
            kind: SourceKind::RefClock(clock),
            selection: SelectionOptions::default(),
        }
    }

    /// Number of sources in use to maintain.
    pub fn wanted(&self) -> usize {
        match &self.kind {
            SourceKind::Server | SourceKind::Nts | SourceKind::RefClock(_) => 1,
            SourceKind::Pool { count, .. } | SourceKind::NtsPool { count, .. } => {
                (*count).min(MAX_POOL_SIZE)
            }
        }
    }

    /// Whether the source may use `address`.
    pub fn permits(&self, address: IpAddr) -> bool {
        match &self.kind {
            SourceKind::Server | SourceKind::Nts | SourceKind::RefClock(_) => true,
            SourceKind::Pool { ignore, .. } | SourceKind::NtsPool { ignore, .. } => {
                !ignore.contains(&address)
            }
        }
    }
}
