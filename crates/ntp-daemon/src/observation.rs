//! Converts the engine's snapshot into the JSON of the observation socket.

use std::net::SocketAddr;

use ntp_control_api::observation::{
    Leap, MAX_FRAME, Program, RootVariance, Server, ServerDetails, ServerStats, Source,
    SourceDetails, State, System, SystemDetails, WriteError, encode_frame,
};
use ntp_os_clock::{Clock, monotonic, realtime};
use ntp_proto::client::Authentication;
use ntp_proto::discipline::SourceState;
use ntp_proto::engine::{Snapshot, SourceSnapshot};
use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, StampSource, SystemTime};

use crate::nts::{KeStats, NtsStatus};
use crate::serve::Totals;

/// Encodes one frame. If there are more sources than a reader accepts, the last ones are left out
/// and `sources_omitted` has their number.
pub(crate) fn frame(
    snapshot: &Snapshot,
    served: &[(SocketAddr, Totals)],
    nts: NtsStatus<'_>,
    clock: &Clock,
    started: Monotonic,
) -> Vec<u8> {
    let mut state = state(snapshot, served, nts, clock, started);
    let all = state.sources.len();
    loop {
        match encode_frame(&state) {
            Ok(frame) => return frame,
            Err(WriteError::TooLong { length }) if !state.sources.is_empty() => {
                // Slightly less than what would fit if all sources had the same length.
                let kept = state.sources.len() as u64 * MAX_FRAME / length.max(1);
                let kept = usize::try_from(kept).unwrap_or(0) * 31 / 32;
                state.sources.truncate(kept);
                state.system.details.sources_omitted = Some((all - kept) as u64);
            }
            Err(_) => return Vec::new(),
        }
    }
}

fn state(
    snapshot: &Snapshot,
    served: &[(SocketAddr, Totals)],
    nts: NtsStatus<'_>,
    clock: &Clock,
    started: Monotonic,
) -> State {
    State {
        program: Program {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build_commit: option_env!("NTPD_RS_GIT_REV").unwrap_or("-").to_owned(),
            build_commit_date: option_env!("NTPD_RS_GIT_DATE").unwrap_or("-").to_owned(),
            uptime_seconds: (monotonic() - started).as_seconds_f64(),
            now: snapshot.now.system.to_ntp(),
        },
        system: system(snapshot, nts.ke_stats, clock),
        sources: (snapshot.sources.iter())
            .map(|it| source(it, nts.expiries.get(&it.name).copied()))
            .collect(),
        servers: served.iter().map(server).collect(),
    }
}

fn system(snapshot: &Snapshot, ke_stats: Option<&KeStats>, clock: &Clock) -> System {
    let system = &snapshot.system;
    System {
        stratum: system.stratum.get(),
        reference_id: system.reference_id,
        accumulated_steps_threshold: system.accumulated_steps_threshold,
        precision: NtpDuration::from_seconds_f64(2f64.powi(system.precision.into())),
        root_delay: system.root_delay,
        root_variance: RootVariance::growing(
            snapshot.now.system.to_ntp(),
            system.root_dispersion,
            system.dispersion_rate,
        ),
        leap_indicator: Leap::from(system.leap),
        accumulated_steps: system.accumulated_steps,
        details: SystemDetails {
            synchronized: Some(system.synchronized),
            offset: Some(-system.offset),
            // Turns -0.0 into 0.0.
            frequency_ppm: Some(system.frequency.as_ppm() + 0.0),
            frequency_uncertainty_ppm: Some(system.frequency_uncertainty.as_ppm()),
            estimated_error: Some(system.estimated_error),
            error_bound: Some(system.bound),
            root_dispersion: Some(system.root_dispersion),
            agreeing_sources: Some(system.agreeing as u64),
            candidate_sources: Some(system.candidates as u64),
            clock_kind: Some(clock.kind().to_string()),
            smear: Some(system.smear),
            tai_offset: system.tai_offset.map(i64::from),
            leap_list_expires: system
                .leap_list_expires
                .map(|at| at.as_nanos() / 1_000_000_000),
            reference_time: system.reference_time.map(SystemTime::to_ntp),
            nts_certificate_expiry: ke_stats.and_then(KeStats::first_expiry),
            nts_ke_connections: ke_stats.map(|ke_stats| ke_stats.connections),
            nts_ke_granted: ke_stats.map(|ke_stats| ke_stats.granted),
            nts_ke_refused: ke_stats.map(|ke_stats| ke_stats.refused),
            nts_ke_timed_out: ke_stats.map(|ke_stats| ke_stats.timed_out),
            nts_ke_evicted: ke_stats.map(|ke_stats| ke_stats.evicted),
            nts_ke_failed: ke_stats.map(|ke_stats| ke_stats.failed),
            sources_omitted: None,
            true_offset: true_offset(clock),
        },
    }
}

/// Offset of a virtual clock from the clock that it is based on; `None` for other clocks.
pub fn true_offset(clock: &Clock) -> Option<NtpDuration> {
    match clock {
        Clock::Virtual(_) => {
            let base = realtime();
            Some(clock.translate(base) - base)
        }
        Clock::System(_) | Clock::None(_) => None,
    }
}

fn source(source: &SourceSnapshot, certificate_expiry: Option<u64>) -> Source {
    let measured = source.measured.as_ref();
    let nts_cookies = cookies(source);
    let or_unknown = |duration: Option<NtpDuration>| duration.unwrap_or(NtpDuration::MAX);
    Source {
        offset: measured.map_or(NtpDuration::ZERO, |measured| -measured.offset),
        uncertainty: or_unknown(measured.map(|measured| measured.uncertainty)),
        delay: or_unknown(measured.map(|measured| measured.delay)),
        remote_delay: or_unknown(measured.map(|measured| measured.remote_delay)),
        remote_uncertainty: or_unknown(measured.map(|measured| measured.remote_dispersion)),
        last_update: measured.map_or(NtpTimestamp::ZERO, |measured| measured.at.to_ntp()),
        unanswered_polls: source.reach.unanswered(),
        poll_interval: source.poll,
        nts_cookies,
        name: source.name.clone(),
        address: source.address.to_string(),
        id: source.id.0.into(),
        details: SourceDetails {
            state: Some(state_name(source).to_owned()),
            stratum: measured.map(|measured| measured.stratum.get()),
            reference_id: measured.map(|measured| measured.reference_id.to_string()),
            leap_indicator: measured.map(|measured| Leap::from(measured.leap)),
            reach: Some(source.reach.bits()),
            jitter: source
                .status
                .filter(|learnt| learnt.last.is_some())
                .map(|learnt| learnt.jitter),
            transmit_stamp: measured.map(|measured| stamp_kind(measured.transmit_stamp)),
            receive_stamp: measured.map(|measured| stamp_kind(measured.receive_stamp)),
            packets_sent: Some(source.counters.sent),
            packets_received: Some(source.counters.received),
            packets_accepted: Some(source.counters.accepted),
            packets_bogus: Some(source.counters.bogus),
            packets_unusable: Some(source.counters.unusable),
            crypto_naks: Some(source.counters.crypto_naks),
            nts_naks: nts_cookies.map(|_| source.counters.nts_naks),
            nts_certificate_expiry: certificate_expiry,
            authentication: Some(source.authentication.to_string()),
            interleaved: Some(source.interleaved),
        },
    }
}

fn server((address, totals): &(SocketAddr, Totals)) -> Server {
    Server {
        address: *address,
        stats: ServerStats {
            received_packets: totals.received,
            accepted_packets: totals.accepted,
            denied_packets: totals.denied,
            ignored_packets: totals.ignored,
            rate_limited_packets: totals.rate_limited,
            response_send_errors: totals.send_errors,
            nts_received_packets: totals.nts_received,
            nts_accepted_packets: totals.nts_accepted,
            nts_denied_packets: totals.nts_denied,
            nts_rate_limited_packets: totals.nts_rate_limited,
            nts_nak_packets: totals.nts_nak,
        },
        details: ServerDetails {
            malformed_packets: Some(totals.malformed),
            authenticated_packets: Some(totals.authenticated),
            bad_authentication_packets: Some(totals.bad_authentication),
            interleaved_packets: Some(totals.interleaved),
            rate_kisses: Some(totals.rate_kisses),
            latency: Some(totals.latency),
        },
    }
}

/// Number of NTS cookies in stock; `None` if the source does not use NTS.
pub(crate) fn cookies(source: &SourceSnapshot) -> Option<u64> {
    match source.authentication {
        Authentication::Nts { cookies, .. } => Some(cookies as u64),
        Authentication::None | Authentication::Symmetric { .. } => None,
    }
}

fn stamp_kind(stamp: StampSource) -> String {
    let state_name = match stamp {
        StampSource::Daemon => "daemon",
        StampSource::Kernel => "kernel",
        StampSource::Hardware => "hardware",
    };
    state_name.to_owned()
}

pub(crate) fn state_name(source: &SourceSnapshot) -> &'static str {
    match source.state {
        _ if source.reach.is_dead() => "unreachable",
        SourceState::Ineligible => "unusable",
        SourceState::NoSamples => "no-samples",
        SourceState::Stale => "stale",
        SourceState::TooUncertain => "too-uncertain",
        SourceState::NoMajority => "no-majority",
        SourceState::Falseticker => "falseticker",
        SourceState::Outranked => "outranked",
        SourceState::Selected => ntp_control_api::observation::SELECTED,
    }
}
