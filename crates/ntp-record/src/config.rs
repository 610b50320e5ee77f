//! The engine's configuration in the record. Every member is named, so that a new one cannot be forgotten.

use std::net::IpAddr;
use std::sync::Arc;

use ntp_proto::client::{Protection, Terms};
use ntp_proto::discipline::{self, FrequencyPrior, Opinion, PanicThreshold, SteeringConfig};
use ntp_proto::engine::{ClockFacts, EngineConfig, Host, SourceConfig, SourceKind};
use ntp_proto::keys::Algorithm;
use ntp_proto::leap::LeapHandling;
use ntp_time::{PollInterval, PollLimits, ReferenceId, Stratum};
use serde_json::{Value, json};

use crate::json::{duration, frequency, optional, to_duration, to_frequency};
use crate::surrogate::{self, Redactor};

pub(crate) fn encode(config: &EngineConfig, redactor: &mut Redactor) -> Value {
    let EngineConfig {
        sources,
        discipline,
        steering,
        warn_on_jump,
        local_stratum,
        local_reference_id,
        frequency_prior,
        meddling_threshold,
        leap_handling,
        clock,
    } = config;
    let discipline::Config {
        minimum_agreeing_sources,
        maximum_source_uncertainty,
        drift_allowance,
        ignore_server_dispersion,
        initial_frequency_uncertainty,
        some_required,
    } = *discipline;
    let SteeringConfig {
        step_threshold,
        steps_at_start,
        startup_panic,
        single_panic,
        accumulated_panic,
        slew_maximum,
        slew_minimum_duration,
        maximum_frequency,
    } = *steering;
    let panic =
        |limit: PanicThreshold| json!([limit.forward.map(duration), limit.backward.map(duration)]);
    let ClockFacts {
        frequency: now,
        precision,
        steerable,
    } = *clock;
    json!({
        "sources": sources.iter().map(|it| source(it, redactor)).collect::<Vec<_>>(),
        "minimum-agreeing-sources": minimum_agreeing_sources,
        "maximum-source-uncertainty": duration(maximum_source_uncertainty),
        "drift-allowance": frequency(drift_allowance),
        "ignore-server-dispersion": ignore_server_dispersion,
        "initial-frequency-uncertainty": frequency(initial_frequency_uncertainty),
        "some-required": some_required,
        "step-threshold": step_threshold.map(duration),
        "steps-at-start": steps_at_start,
        "startup-panic": panic(startup_panic),
        "single-panic": panic(single_panic),
        "accumulated-panic": accumulated_panic.map(duration),
        "slew-maximum": frequency(slew_maximum),
        "slew-minimum-duration": duration(slew_minimum_duration),
        "maximum-frequency": frequency(maximum_frequency),
        "warn-on-jump": warn_on_jump,
        "local-stratum": local_stratum.get(),
        "local-reference-id": local_reference_id.octets(),
        "frequency-prior": frequency_prior.map(|prior| json!([frequency(prior.frequency), frequency(prior.uncertainty)])),
        "meddling-threshold": meddling_threshold.map(duration),
        "leap-handling": match leap_handling {
            LeapHandling::Kernel => "kernel",
            LeapHandling::Slew => "slew",
            LeapHandling::Smear => "smear",
        },
        "clock": json!([frequency(now), precision, steerable]),
    })
}

pub(crate) fn source(source: &SourceConfig, redactor: &mut Redactor) -> Value {
    let SourceConfig {
        name,
        host,
        port,
        kind,
        terms,
        opinion,
    } = source;
    let Terms {
        limits,
        initial_poll,
        protection,
        interleaved,
    } = terms;
    let Opinion {
        prefer,
        trust,
        require,
        noselect,
    } = *opinion;
    // The secret stays out of it.
    let key = match protection {
        Protection::Symmetric(key) => {
            json!([key.id(), key.algorithm().name(), redactor.number(key)])
        }
        Protection::None | Protection::Nts(_) => Value::Null,
    };
    let (address, host) = match host {
        Host::Address(address) => (Some(address.to_string()), None),
        Host::Name(name) => (None, Some(name)),
    };
    let pool = match kind {
        SourceKind::Server => Value::Null,
        SourceKind::Nts => "nts".into(),
        SourceKind::Pool { count, ignore } => {
            json!([
                count,
                ignore.iter().map(IpAddr::to_string).collect::<Vec<_>>()
            ])
        }
    };
    json!({
        "name": name, "address": address, "host": host, "port": port, "pool": pool,
        "poll": [limits.min.as_log2(), limits.max.as_log2(), initial_poll.as_log2()],
        "interleaved": interleaved, "key": key,
        "opinion": [prefer, trust, require, noselect],
    })
}

pub(crate) fn decode(value: &Value) -> Option<EngineConfig> {
    let at = |name: &str| &value[name];
    let panic = |value: &Value| {
        Some(PanicThreshold {
            forward: optional(&value[0], to_duration)?,
            backward: optional(&value[1], to_duration)?,
        })
    };
    let octet = |value: &Value| u8::try_from(value.as_u64()?).ok();
    let refid = at("local-reference-id");
    let clock = at("clock");
    Some(EngineConfig {
        sources: at("sources")
            .as_array()?
            .iter()
            .map(to_source)
            .collect::<Option<_>>()?,
        discipline: discipline::Config {
            minimum_agreeing_sources: to_usize(at("minimum-agreeing-sources"))?,
            maximum_source_uncertainty: to_duration(at("maximum-source-uncertainty"))?,
            drift_allowance: to_frequency(at("drift-allowance"))?,
            ignore_server_dispersion: at("ignore-server-dispersion").as_bool()?,
            initial_frequency_uncertainty: to_frequency(at("initial-frequency-uncertainty"))?,
            some_required: at("some-required").as_bool()?,
        },
        steering: SteeringConfig {
            step_threshold: optional(at("step-threshold"), to_duration)?,
            steps_at_start: u32::try_from(at("steps-at-start").as_u64()?).ok()?,
            startup_panic: panic(at("startup-panic"))?,
            single_panic: panic(at("single-panic"))?,
            accumulated_panic: optional(at("accumulated-panic"), to_duration)?,
            slew_maximum: to_frequency(at("slew-maximum"))?,
            slew_minimum_duration: to_duration(at("slew-minimum-duration"))?,
            maximum_frequency: to_frequency(at("maximum-frequency"))?,
        },
        warn_on_jump: at("warn-on-jump").as_bool()?,
        local_stratum: Stratum::new(octet(at("local-stratum"))?),
        local_reference_id: ReferenceId::new([
            octet(&refid[0])?,
            octet(&refid[1])?,
            octet(&refid[2])?,
            octet(&refid[3])?,
        ]),
        frequency_prior: optional(at("frequency-prior"), |prior| {
            Some(FrequencyPrior {
                frequency: to_frequency(&prior[0])?,
                uncertainty: to_frequency(&prior[1])?,
            })
        })?,
        meddling_threshold: optional(at("meddling-threshold"), to_duration)?,
        leap_handling: match at("leap-handling").as_str()? {
            "kernel" => LeapHandling::Kernel,
            "slew" => LeapHandling::Slew,
            "smear" => LeapHandling::Smear,
            _ => return None,
        },
        clock: ClockFacts {
            frequency: to_frequency(&clock[0])?,
            precision: i8::try_from(clock[1].as_i64()?).ok()?,
            steerable: clock[2].as_bool()?,
        },
    })
}

pub(crate) fn to_source(value: &Value) -> Option<SourceConfig> {
    let poll = |value: &Value| Some(PollInterval::from_log2(i8::try_from(value.as_i64()?).ok()?));
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let host = match address(&value["address"]) {
        Some(address) => Host::Address(address),
        None => Host::Name(value["host"].as_str()?.to_owned()),
    };
    let pool = &value["pool"];
    let kind = if pool.is_null() {
        SourceKind::Server
    } else if pool == "nts" {
        SourceKind::Nts
    } else {
        SourceKind::Pool {
            count: to_usize(&pool[0])?,
            ignore: pool[1]
                .as_array()?
                .iter()
                .map(address)
                .collect::<Option<_>>()?,
        }
    };
    let (polls, opinion) = (&value["poll"], &value["opinion"]);
    Some(SourceConfig {
        name: value["name"].as_str()?.to_owned(),
        host,
        port: u16::try_from(value["port"].as_u64()?).ok()?,
        kind,
        terms: Terms {
            limits: PollLimits {
                min: poll(&polls[0])?,
                max: poll(&polls[1])?,
            },
            initial_poll: poll(&polls[2])?,
            protection: optional(&value["key"], to_key)?.unwrap_or_default(),
            interleaved: value["interleaved"].as_bool()?,
        },
        opinion: Opinion {
            prefer: opinion[0].as_bool()?,
            trust: opinion[1].as_bool()?,
            require: opinion[2].as_bool()?,
            noselect: opinion[3].as_bool()?,
        },
    })
}

/// The stand-in.
fn to_key(value: &Value) -> Option<Protection> {
    let name = value[1].as_str()?;
    let mut algorithms = Algorithm::ALL.into_iter();
    let algorithm = algorithms.find(|algorithm| algorithm.name() == name)?;
    let id = u32::try_from(value[0].as_u64()?).ok()?;
    let key = surrogate::key(id, algorithm, value[2].as_u64()?)?;
    Some(Protection::Symmetric(Arc::new(key)))
}

fn to_usize(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}
