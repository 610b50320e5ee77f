//! Converts the engine's snapshot into the types of the control interface.

use std::net::SocketAddr;

use ntp_control_api::control::types::{
    Certificate, ConfiguredSource, KeyExchange, Measurement, Packets, Path, Program, Server, Source,
    Status, System,
};
use ntp_os_clock::Clock;
use ntp_proto::discipline::{SelectionOptions, SourceStatus};
use ntp_proto::engine::{MeasuredSnapshot, Snapshot, SourceSnapshot};
use ntp_time::{LeapIndicator, Monotonic, NtpDuration, SystemTime};

use crate::nts::{KeStats, NtsStatus};
use crate::observation::{cookies, state_name, true_offset};
use crate::runtime::{Driver, Services};
use crate::serve::Totals;

/// The part of the status that the engine does not have.
pub(super) struct StatusContext<'a> {
    pub(super) served: &'a [(SocketAddr, Totals)],
    /// In the order of `served`.
    pub(super) client_list_sizes: &'a [usize],
    pub(super) nts: NtsStatus<'a>,
    pub(super) clock: &'a Clock,
    pub(super) started: Monotonic,
    pub(super) config_path: Option<String>,
    pub(super) needed: usize,
}

/// Represents an unknown error; see `engine::view`.
const UNKNOWN: NtpDuration = NtpDuration::from_seconds(16);

pub(super) fn status(snapshot: &Snapshot, context: &StatusContext<'_>) -> Status {
    let now = snapshot.now;
    Status {
        program: Program {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: (now.monotonic - context.started).as_seconds_f64(),
            now: unix_seconds(now.system),
            config_path: context.config_path.clone(),
        },
        system: system(snapshot, context),
        sources: snapshot
            .sources
            .iter()
            .map(|it| source(it, context.nts.expiries.get(&it.name), now.monotonic))
            .collect(),
        configured: snapshot
            .configured
            .iter()
            .map(|it| ConfiguredSource {
                name: it.name.clone(),
                wanted: it.wanted as u64,
                present: it.present as u64,
                online: it.online,
                denied: it.denied,
                last_error: it.last_error.as_ref().map(ToString::to_string),
            })
            .collect(),
        servers: context
            .served
            .iter()
            .zip(context.client_list_sizes)
            .map(|(served, size)| server(served, *size))
            .collect(),
        key_exchange: context.nts.ke_stats.map(key_exchange),
    }
}

/// Returns the status without servers.
pub(crate) fn without_servers(
    driver: &Driver,
    services: &Services,
    config_path: Option<String>,
    needed: usize,
) -> Status {
    let context = StatusContext {
        served: &[],
        client_list_sizes: &[],
        nts: services.nts_status(None),
        clock: driver.clock(),
        started: driver.started(),
        config_path,
        needed,
    };
    status(&driver.snapshot(), &context)
}

/// Returns the source that the clock is synchronised to.
pub(crate) fn reference_source(snapshot: &Snapshot) -> Option<&SourceSnapshot> {
    let system = &snapshot.system;
    let is_it = |source: &&SourceSnapshot| {
        ntp_proto::client::reference_id_of(source.address.ip()) == system.reference_id
    };
    let mut sources = snapshot.sources.iter();
    sources.find(is_it).filter(|_| system.synchronized)
}

fn system(snapshot: &Snapshot, context: &StatusContext<'_>) -> System {
    let system = &snapshot.system;
    let known = |error: NtpDuration| (error < UNKNOWN).then(|| error.as_seconds_f64());
    System {
        synchronized: system.synchronized,
        stratum: system.stratum.get().into(),
        reference_id: system.reference_id.to_string(),
        reference: reference_source(snapshot).map(|source| source.name.clone()),
        reference_time: system.reference_time.map(unix_seconds),
        leap: leap(system.leap),
        offset: known(system.bound).map(|_| -system.offset.as_seconds_f64()),
        // Turns -0.0 into 0.0.
        frequency: system.frequency.as_ppm() + 0.0,
        frequency_sigma: system.frequency_uncertainty.as_ppm(),
        estimated_error: known(system.estimated_error),
        error_bound: known(system.bound),
        root_delay: system.root_delay.as_seconds_f64(),
        root_dispersion: known(system.root_dispersion),
        accumulated_steps: system.accumulated_steps.as_seconds_f64(),
        accumulated_steps_limit: system
            .accumulated_steps_threshold
            .map(NtpDuration::as_seconds_f64),
        agreeing: system.agreeing as u64,
        candidates: system.candidates as u64,
        needed: context.needed as u64,
        majority: system.majority,
        clock: context.clock.kind().to_string(),
        true_offset: true_offset(context.clock).map(NtpDuration::as_seconds_f64),
    }
}

fn source(source: &SourceSnapshot, certificate_expiry: Option<&u64>, now: Monotonic) -> Source {
    let state = if source.online {
        state_name(source)
    } else {
        "offline"
    };
    let counters = source.counters;
    Source {
        id: source.id.0.into(),
        name: source.name.clone(),
        address: source.address.to_string(),
        state: state.to_owned(),
        online: source.online,
        authentication: source.authentication.to_string(),
        selection_options: options(source.selection),
        poll: source.poll.to_duration().as_seconds_f64(),
        poll_min: source.limits.min.to_duration().as_seconds_f64(),
        poll_max: source.limits.max.to_duration().as_seconds_f64(),
        next_poll: source.next_poll.map(|at| (at - now).as_seconds_f64()),
        reach: source.reach.bits().into(),
        unanswered: source.reach.unanswered().into(),
        last_error: source.last_error.map(|trouble| trouble.to_string()),
        measurement: source.measured.as_ref().map(measurement),
        path: source
            .status
            .as_ref()
            .filter(|_| source.measured.is_some())
            .map(path),
        packets: Packets {
            sent: counters.sent,
            received: counters.received,
            accepted: counters.accepted,
            unusable: counters.unusable,
            bogus: counters.bogus,
            crypto_naks: counters.crypto_naks,
            nts_naks: counters.nts_naks,
        },
        nts_cookies: cookies(source),
        certificate_expires: certificate_expiry.map(|seconds| *seconds as f64),
    }
}

fn key_exchange(ke_stats: &KeStats) -> KeyExchange {
    KeyExchange {
        addresses: ke_stats.addresses.iter().map(ToString::to_string).collect(),
        connections: ke_stats.connections,
        granted: ke_stats.granted,
        refused: ke_stats.refused,
        timed_out: ke_stats.timed_out,
        evicted: ke_stats.evicted,
        failed: ke_stats.failed,
        cookie_key: ke_stats.cookie_key.map(u64::from),
        certificates: (ke_stats.certificates.iter())
            .map(|certificate| Certificate {
                path: certificate.path.display().to_string(),
                names: certificate.names.clone(),
                expires: certificate.expires.map(|seconds| seconds as f64),
            })
            .collect(),
    }
}

fn measurement(measured: &MeasuredSnapshot) -> Measurement {
    Measurement {
        at: unix_seconds(measured.at),
        offset: -measured.offset.as_seconds_f64(),
        uncertainty: Some(measured.uncertainty)
            .filter(|known| *known < NtpDuration::MAX)
            .map(NtpDuration::as_seconds_f64),
        delay: measured.delay.as_seconds_f64(),
        root_delay: measured.remote_delay.as_seconds_f64(),
        root_dispersion: measured.remote_dispersion.as_seconds_f64(),
        stratum: measured.stratum.get().into(),
        reference_id: measured.reference_id.to_string(),
        leap: leap(measured.leap),
    }
}

fn path(learnt: &SourceStatus) -> Path {
    Path {
        base_delay: learnt.base_delay.as_seconds_f64(),
        typical_excess: learnt.typical_excess.as_seconds_f64(),
        jitter: learnt.jitter.as_seconds_f64(),
        bias: learnt.bias.as_seconds_f64(),
        bias_sigma: learnt.bias_sigma.as_seconds_f64(),
        residual: learnt.offset.as_seconds_f64(),
        in_joint_estimate: learnt.in_joint_estimate,
        consecutive_outliers: learnt.consecutive_outliers.into(),
    }
}

fn server((address, totals): &(SocketAddr, Totals), client_list_size: usize) -> Server {
    Server {
        address: address.to_string(),
        received: totals.received,
        accepted: totals.accepted,
        denied: totals.denied,
        ignored: totals.ignored,
        rate_limited: totals.rate_limited,
        nts_nak: totals.nts_nak,
        send_errors: totals.send_errors,
        client_list_size: client_list_size as u64,
    }
}

fn options(opinion: SelectionOptions) -> Vec<String> {
    let options = [
        ("prefer", opinion.prefer),
        ("trust", opinion.trust),
        ("require", opinion.require),
        ("noselect", opinion.noselect),
    ];
    let set = options.into_iter().filter(|(_, set)| *set);
    set.map(|(mark, _)| mark.to_owned()).collect()
}

fn leap(leap: LeapIndicator) -> String {
    let word = match leap {
        LeapIndicator::None => "none",
        LeapIndicator::Insert => "insert",
        LeapIndicator::Delete => "delete",
        LeapIndicator::Unsynchronized => "unsynchronized",
    };
    word.to_owned()
}

pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    time.as_nanos() as f64 * 1e-9
}
