//! Converts a checked configuration file into the configuration of the engine and the sockets.
//!
//! Keys that a file sets keep upstream's meaning; unset, our own defaults apply (steps only at the
//! start or after a foreign step, slews up to 500 ppm). That is why the keys of the algorithm are
//! options here.

use std::net::IpAddr;
use std::sync::Arc;

use ntp_config::{
    Config, LeapHandling as FileHandling, NtpSource, OnPanic, RefClockSource,
    SourceKind as FileKind, StepThreshold, TimestampMode as FileMode, VersionChoice,
};
use ntp_os_clock::{Clock, ClockError, ClockKind, precision};
use ntp_proto::client::{self, AssociationConfig, Protection};
use ntp_proto::discipline::{
    self, DriftAllowance, FrequencyPrior, PanicThreshold, SelectionOptions, SteeringConfig,
};
use ntp_proto::engine::{
    ClockFacts, EngineConfig, LocalConfig, RefClockConfig, SourceConfig, SourceKind,
};
use ntp_proto::keys::KeyRing;
use ntp_proto::leap::LeapHandling;
use ntp_proto::wire::Version;
use ntp_time::NtpDuration;
use ntp_types::path::NetworkPath;
use ntp_udp::{SocketOptions, TimestampMode};

/// Standard deviations of `accuracy` in the largest error of a reference clock. Upstream states four
/// times `accuracy` as the delay of the clock, half of which is its error.
const BOUND_SIGMAS: f64 = 2.0;

/// Returns the configuration of the engine. `keys` is the content of the key file, which has every
/// key that the sources name.
pub fn engine_config(
    config: &Config,
    keys: &KeyRing,
    prior: Option<FrequencyPrior>,
    clock: ClockFacts,
) -> EngineConfig {
    let synchronization = &config.synchronization;
    EngineConfig {
        sources: sources(config, keys),
        discipline: discipline_config(config),
        steering: steering_config(config),
        exit_on_panic: config.synchronization.on_panic == OnPanic::Exit,
        warn_on_jump: synchronization.warn_on_jump,
        local_stratum: synchronization.local_stratum,
        local_reference_id: synchronization.reference_id,
        local: config.local.as_ref().map(|local| LocalConfig {
            stratum: local.stratum,
            reference_id: local.reference_id,
            distance: local.distance,
            activate_below: local.activate_below,
            wait_synced: local.wait_synced,
            wait_unsynced: local.wait_unsynced(),
            orphan: local.orphan,
        }),
        manual: config.clock.manual,
        frequency_prior: prior,
        time_prior: None,
        fallback_after: synchronization.fallback_after,
        meddling_threshold: synchronization.algorithm.meddling_threshold,
        leap_handling: match config.leap.handling {
            FileHandling::Kernel => LeapHandling::Kernel,
            FileHandling::Slew => LeapHandling::Slew,
            FileHandling::Smear => LeapHandling::Smear,
        },
        clock,
    }
}

/// Returns the sources in the order of the file.
pub fn sources(config: &Config, keys: &KeyRing) -> Vec<SourceConfig> {
    let sources = config.sources.iter();
    sources
        .filter_map(|source| self::source(config, keys, source))
        .collect()
}

/// Returns the properties of the clock before any adjustment.
///
/// # Errors
/// If the clock cannot be read.
pub fn clock_facts(clock: &Clock) -> Result<ClockFacts, ClockError> {
    Ok(ClockFacts {
        frequency: clock.frequency()?,
        precision: precision(),
        steerable: clock.kind() != ClockKind::None,
        rate_difference: clock.rate_difference(),
    })
}

/// Returns a source of `config`; `None` if it is none of its own (`platform`), or its key is
/// missing.
pub fn source(
    config: &Config,
    keys: &KeyRing,
    source: &ntp_config::SourceConfig,
) -> Option<SourceConfig> {
    let (ntp, kind) = match &source.kind {
        FileKind::RefClock(clock) => return Some(ref_clock_source(config, clock)),
        FileKind::Server(ntp) => (ntp, SourceKind::Server),
        FileKind::Nts(nts) => (&nts.ntp, SourceKind::Nts),
        FileKind::Pool(pool) => {
            let ignore = pool.ignore.iter().map(IpAddr::to_canonical).collect();
            (
                &pool.ntp,
                SourceKind::Pool {
                    count: pool.count,
                    ignore,
                },
            )
        }
        FileKind::NtsPool(pool) => {
            let ignore = pool.ignore.iter().map(IpAddr::to_canonical).collect();
            (
                &pool.ntp,
                SourceKind::NtsPool {
                    count: pool.count,
                    ignore,
                },
            )
        }
        FileKind::Platform => return None,
    };
    let mut source = ntp_source(config, ntp, kind);
    if let Some(key) = &ntp.key {
        // Loading refuses keys that are not in the key file. If one were missing nevertheless, the
        // source must not run without authentication.
        source.association.protection = Protection::Symmetric(Arc::clone(keys.get(key.value)?));
    }
    Some(source)
}

fn ref_clock_source(config: &Config, clock: &RefClockSource) -> SourceConfig {
    let seconds = NtpDuration::from_seconds_f64;
    // Without such a source the name stays, and no pulse is numbered. Loading refuses that, unless
    // the source is disabled; another one may have been removed at run time.
    let lock = config.lock_of(clock).unwrap_or_else(|_| {
        let lock = clock.lock.as_ref();
        lock.map(|lock| lock.value.clone())
    });
    let accuracy = if clock.error_bound_seconds > 0.0 {
        clock.error_bound_seconds
    } else {
        clock.quality.accuracy_seconds * BOUND_SIGMAS
    };
    let mut source = SourceConfig::ref_clock(RefClockConfig {
        reader: clock.reader.clone(),
        sigma: seconds(clock.quality.precision_seconds).max(NtpDuration::from_bits(1)),
        accuracy: seconds(accuracy),
        delay: clock.delay,
        correction: clock.offset,
        lock,
        stratum: clock.stratum,
        reference_id: clock.reference_id,
    });
    source.selection = selection(clock.selection);
    source
}

fn selection(options: ntp_config::SelectionOptions) -> SelectionOptions {
    SelectionOptions {
        prefer: options.prefer,
        trust: options.trust,
        require: options.require,
        noselect: options.noselect,
        fallback: options.fallback,
    }
}

fn ntp_source(config: &Config, ntp: &NtpSource, kind: SourceKind) -> SourceConfig {
    let poll = ntp.poll.apply_to(config.source_defaults);
    SourceConfig {
        name: ntp.name(),
        host: ntp.address.host.clone(),
        port: ntp.address.port,
        kind,
        association: AssociationConfig {
            limits: poll.poll_limits,
            initial_poll: poll.initial_poll,
            interleaved: ntp.interleaved,
            path: ntp.path,
            version: match ntp.version.value {
                VersionChoice::Number(number) => client::VersionChoice::Fixed(
                    Version::from_number(number.number()).unwrap_or_default(),
                ),
                VersionChoice::Auto => client::VersionChoice::Auto,
            },
            ..AssociationConfig::default()
        },
        selection: selection(ntp.selection),
    }
}

fn discipline_config(config: &Config) -> discipline::Config {
    let synchronization = &config.synchronization;
    let algorithm = &synchronization.algorithm;
    let defaults = discipline::Config::default();
    discipline::Config {
        minimum_agreeing_sources: synchronization.minimum_agreeing_sources,
        maximum_source_uncertainty: algorithm
            .maximum_source_uncertainty
            .unwrap_or(defaults.maximum_source_uncertainty),
        accuracy_target: algorithm.accuracy_target,
        drift_allowance: algorithm
            .drift_allowance
            .map_or(defaults.drift_allowance, DriftAllowance::Fixed),
        ignore_server_dispersion: algorithm
            .ignore_server_dispersion
            .unwrap_or(defaults.ignore_server_dispersion),
        initial_frequency_uncertainty: algorithm
            .initial_frequency_uncertainty
            .unwrap_or(defaults.initial_frequency_uncertainty),
        ..defaults
    }
}

fn steering_config(config: &Config) -> SteeringConfig {
    let synchronization = &config.synchronization;
    let algorithm = &synchronization.algorithm;
    let defaults = SteeringConfig::default();
    let threshold = |step: StepThreshold| PanicThreshold {
        forward: step.forward,
        backward: step.backward,
    };
    SteeringConfig {
        step_threshold: algorithm.step_threshold,
        stepout_time: synchronization.stepout_time,
        stepout_polls: synchronization.stepout_polls,
        startup_panic: threshold(synchronization.startup_step_panic_threshold),
        single_panic: threshold(synchronization.single_step_panic_threshold),
        accumulated_panic: synchronization.accumulated_step_panic_threshold,
        slew_maximum: algorithm
            .slew_maximum_frequency_offset
            .unwrap_or(defaults.slew_maximum),
        slew_minimum_duration: algorithm
            .slew_minimum_duration
            .unwrap_or(defaults.slew_minimum_duration),
        maximum_frequency: algorithm
            .maximum_frequency_steer
            .unwrap_or(defaults.maximum_frequency),
        ..defaults
    }
}

/// Returns the options for client sockets.
pub fn socket_options(config: &Config) -> SocketOptions {
    let clock = &config.clock;
    SocketOptions {
        path: NetworkPath {
            device: clock.interface.as_ref().map(|name| name.value),
            ..NetworkPath::default()
        },
        timestamps: match clock.timestamp_mode.value {
            FileMode::Software => TimestampMode::Software,
            FileMode::KernelRecv => TimestampMode::KernelReceive,
            FileMode::KernelAll => TimestampMode::KernelAll,
            FileMode::Hardware => TimestampMode::Hardware,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_defaults_of_the_algorithm_are_those_of_the_engine() {
        let engine = |text: &str| {
            let (config, _) = ntp_config::parse(text, "defaults").unwrap();
            (discipline_config(&config), steering_config(&config))
        };
        let section = "synchronization.algorithm";
        let keys = ntp_config::KEYS.iter().filter(|key| key.section == section);
        // Without a value these depend on other things.
        let values = keys.filter(|key| key.default != "none");
        let mut checked = 0;
        for key in values {
            let text = format!("[{section}]\n{} = {}\n", key.key, key.default);
            let (set, unset) = (engine(&text), engine(""));
            assert_eq!(format!("{set:?}"), format!("{unset:?}"), "{text}");
            checked += 1;
        }
        assert!(checked > 4, "only {checked} defaults are values");
    }
}
