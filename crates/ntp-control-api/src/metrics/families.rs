//! Table of metric families.
//!
//! A row has a name, a type, a help text and a getter of the value. The output is in the order of
//! the table; [`UPSTREAM`] must not change. A metric of one member of the observation JSON is
//! declared with it (`observation/details.rs`), every other in [`COMBINED`].

use ntp_time::PollInterval;
use ntp_types::event::Event;

use super::{Family, Kind, Number, Samples};
use crate::observation::{
    Leap, SELECTED, SOURCE_STATES, STAMP_KINDS, Source, SourceDetails, State, SystemDetails,
};

/// Families of upstream's exporter, in its order.
#[rustfmt::skip]
pub const UPSTREAM: &[Family] = &[
    gauge("ntp_uptime_seconds", "How long the daemon has been running",
        Samples::Program(|state| state.program.uptime_seconds.into())),
    gauge("ntp_system_poll_interval_seconds", "Shortest poll interval of all sources (deprecated: use ntp_source_poll_interval_seconds)",
        Samples::System(|state| Some(poll(shortest_poll(state))))),
    gauge("ntp_system_accumulated_steps_seconds", "Sum of the magnitudes of the clock steps made since start-up",
        Samples::System(|state| Some(state.system.accumulated_steps.into()))),
    gauge("ntp_system_accumulated_steps_threshold_seconds", "Sum of clock steps at which the daemon exits, -1 if there is no limit",
        Samples::System(|state| Some(state.system.accumulated_steps_threshold.map_or(Number::Real(-1.0), Number::from)))),
    gauge("ntp_system_leap_indicator", "Leap status: 0 no warning, 1 last minute has 61 s, 2 last minute has 59 s, 3 unknown, 4 unsynchronized",
        Samples::System(|state| Some(leap(state.system.leap_indicator)))),
    gauge("ntp_system_root_delay_seconds", "Round trip to the primary reference",
        Samples::System(|state| Some(state.system.root_delay.into()))),
    gauge("ntp_system_root_dispersion_seconds", "Error accumulated on the way from the primary reference",
        Samples::System(|state| Some(state.root_dispersion().into()))),
    gauge("ntp_system_stratum", "Number of hops to the primary reference",
        Samples::System(|state| Some(state.system.stratum.into()))),

    gauge("ntp_source_poll_interval_seconds", "Time between two requests to the source",
        Samples::Source(|source| Some(poll(source.poll_interval)))),
    gauge("ntp_source_unanswered_polls", "Requests since the last answer of the source, at most 8",
        Samples::Source(|source| Some(source.unanswered_polls.into()))),
    gauge("ntp_source_nts_cookies_available", "NTS cookies at hand for requests to the source, at most 8",
        Samples::Source(|source| source.nts_cookies.map(Number::from))),
    gauge("ntp_source_offset_seconds", "Time of the source minus time of the local clock",
        Samples::Source(|source| Some(source.offset.into()))),
    gauge("ntp_source_delay_seconds", "Round trip to the source",
        Samples::Source(|source| Some(source.delay.into()))),
    gauge("ntp_source_uncertainty_seconds", "Uncertainty of the offset of the source",
        Samples::Source(|source| Some(source.uncertainty.into()))),
    gauge("ntp_source_root_delay_seconds", "Root delay that the source reports of itself",
        Samples::Source(|source| Some(source.remote_delay.into()))),
    gauge("ntp_source_root_dispersion_seconds", "Root dispersion that the source reports of itself",
        Samples::Source(|source| Some(source.remote_uncertainty.into()))),

    counter("ntp_server_received_packets_total", "Datagrams that came to the server",
        Samples::Server(|server| Some(server.stats.received.into()))),
    counter("ntp_server_accepted_packets_total", "Requests answered with time",
        Samples::Server(|server| Some(server.stats.accepted.into()))),
    counter("ntp_server_denied_packets_total", "Requests refused by configuration",
        Samples::Server(|server| Some(server.stats.denied.into()))),
    counter("ntp_server_ignored_packets_total", "Datagrams dropped without an answer",
        Samples::Server(|server| Some(server.stats.ignored.into()))),
    counter("ntp_server_rate_limited_packets_total", "Requests over the rate limit",
        Samples::Server(|server| Some(server.stats.rate_limited.into()))),
    counter("ntp_server_response_send_errors_total", "Answers that could not be sent",
        Samples::Server(|server| Some(server.stats.send_errors.into()))),
    counter("ntp_server_nts_received_packets_total", "Requests with NTS that came to the server",
        Samples::Server(|server| Some(server.stats.nts_received.into()))),
    counter("ntp_server_nts_accepted_packets_total", "Requests with NTS answered with time",
        Samples::Server(|server| Some(server.stats.nts_accepted.into()))),
    counter("ntp_server_nts_denied_packets_total", "Requests with NTS refused by configuration",
        Samples::Server(|server| Some(server.stats.nts_denied.into()))),
    counter("ntp_server_nts_rate_limited_packets_total", "Requests with NTS over the rate limit",
        Samples::Server(|server| Some(server.stats.nts_rate_limited.into()))),
    counter("ntp_server_nts_nak_packets_total", "Requests whose NTS cookie or authentication failed",
        Samples::Server(|server| Some(server.stats.nts_nak.into()))),
];

/// Returns the families that only this implementation has; written after upstream's, and only if
/// they have samples.
pub fn ours() -> impl Iterator<Item = Family> {
    let system = SystemDetails::FIGURES.iter().map(|figure| Family {
        name: figure.name,
        help: figure.help,
        kind: figure.kind,
        samples: Samples::SystemDetails(figure.value),
    });
    let source = SourceDetails::FIGURES.iter().map(|figure| Family {
        name: figure.name,
        help: figure.help,
        kind: figure.kind,
        samples: Samples::SourceDetails(figure.value),
    });
    system.chain(source).chain(COMBINED.iter().copied())
}

/// Families of values that are no member of the observation JSON of their own, and those of servers,
/// whose members are declared in `ntp-types/src/statistics.rs`.
#[rustfmt::skip]
const COMBINED: &[Family] = &[
    counter("ntp_events_total", "Events by name, as logged since the start of the daemon",
        Samples::Counts { label: "event", names: Event::NAMES, counts: |state| state.system.details.events.as_ref() }),
    gauge("ntp_nts_provider_fips", "Cryptography provider of the NTS key exchange: 1 if it is in FIPS mode, otherwise 0",
        Samples::Counts { label: "provider", names: &[], counts: |state| state.system.details.nts_provider_fips.as_ref() }),
    gauge("ntp_source_nts_group", "Group of the last NTS key exchange with the source: 1",
        Samples::SourceStateSet { label: "group", states: &[], current: |source| source.details.nts_group.as_deref() }),
    gauge("ntp_source_selected", "Whether the source is part of the agreeing majority: 1 or 0",
        Samples::Source(|source| source.details.state.as_deref().map(|state| (state == SELECTED).into()))),
    gauge("ntp_source_reachable", "Whether the source replied to one of the last eight polls: 1 or 0",
        Samples::Source(|source| source.details.reach.map(|reach| (reach != 0).into()))),
    gauge("ntp_source_state", "State of the source in the selection: 1 for the current state, 0 for the others",
        Samples::SourceStateSet { label: "state", states: SOURCE_STATES, current: |source| source.details.state.as_deref() }),
    gauge("ntp_source_authentication", "Authentication method of the source: 1 for the method in use, 0 for the others",
        Samples::SourceStateSet { label: "method", states: AUTHENTICATION_METHODS, current: authentication }),
    counter("ntp_source_refused_readings_total", "Readings of the reference clock that gave no sample, or one that is not used, by reason",
        Samples::SourceCounts { label: "reason", counts: |details| details.samples_refused_by_reason.as_ref() }),
    gauge("ntp_source_transmit_timestamp", "Origin of the transmit timestamp of the last answered request: 1 for the current one, 0 for the others",
        Samples::SourceStateSet { label: "kind", states: STAMP_KINDS, current: |source| source.details.transmit_stamp.as_deref() }),
    gauge("ntp_source_receive_timestamp", "Origin of the receive timestamp of the last reply: 1 for the current one, 0 for the others",
        Samples::SourceStateSet { label: "kind", states: STAMP_KINDS, current: |source| source.details.receive_stamp.as_deref() }),

    counter("ntp_server_malformed_packets_total", "Of the ignored datagrams: not an NTP packet, or of an unsupported version",
        Samples::Server(|server| server.details.map(|details| details.malformed.into()))),
    counter("ntp_server_authenticated_packets_total", "Of the accepted requests: with a symmetric key",
        Samples::Server(|server| server.details.map(|details| details.authenticated.into()))),
    counter("ntp_server_bad_authentication_packets_total", "Of the denied requests: with an unknown key or a wrong digest",
        Samples::Server(|server| server.details.map(|details| details.bad_authentication.into()))),
    counter("ntp_server_interleaved_packets_total", "Of the accepted requests: in interleaved mode",
        Samples::Server(|server| server.details.map(|details| details.interleaved.into()))),
    counter("ntp_server_rate_kisses_total", "Of the rate limited requests: answered with kiss code RATE",
        Samples::Server(|server| server.details.map(|details| details.rate_kisses.into()))),
    Family { name: "ntp_server_accepted_packets_by_version_total", kind: Kind::Counter,
        help: "Of the accepted requests: those of each protocol version",
        samples: Samples::ServerVersions(|server| server.details.map(|details| details.accepted_by_version)) },
    counter("ntp_server_unknown_draft_packets_total", "Of the ignored datagrams: NTPv5 requests under no draft or one that is not spoken",
        Samples::Server(|server| server.details.map(|details| details.unknown_drafts.into()))),
    counter("ntp_server_dropped_by_kernel_total", "Datagrams lost before the server could receive them, nearly always because the receive buffer was full",
        Samples::Server(|server| server.details.map(|details| details.dropped_by_kernel.into()))),
    Family { name: "ntp_server_latency_seconds", kind: Kind::Histogram,
        help: "Latency of the accepted requests, from the kernel's receive timestamp to the transmit timestamp of the reply",
        samples: Samples::ServerLatency(|server| server.details.map(|details| details.latency)) },
];

const fn gauge(name: &'static str, help: &'static str, samples: Samples) -> Family {
    Family {
        name,
        help,
        kind: Kind::Gauge,
        samples,
    }
}

const fn counter(name: &'static str, help: &'static str, samples: Samples) -> Family {
    Family {
        name,
        help,
        kind: Kind::Counter,
        samples,
    }
}

/// Values of the label `method`.
const AUTHENTICATION_METHODS: &[&str] = &["none", "symmetric-key", "nts"];

/// Returns the method without the number of the key, because with it each change of keys would
/// start a new time series.
fn authentication(source: &Source) -> Option<&str> {
    let method = source.details.authentication.as_deref()?;
    Some(if source.nts_cookies.is_some() {
        "nts"
    } else if method.starts_with("key ") {
        "symmetric-key"
    } else {
        method
    })
}

/// Returns the shortest poll interval of all sources; 16 s without sources. Upstream kept the
/// family from when it had a single interval.
fn shortest_poll(state: &State) -> PollInterval {
    let polls = state.sources.iter().map(|source| source.poll_interval);
    polls.min().unwrap_or(PollInterval::from_log2(4))
}

/// Converts a poll interval to seconds, exactly.
fn poll(interval: PollInterval) -> Number {
    Number::Real(interval.to_duration().as_seconds_f64())
}

fn leap(leap: Leap) -> Number {
    let code: u8 = match leap {
        Leap::NoWarning => 0,
        Leap::Leap61 => 1,
        Leap::Leap59 => 2,
        Leap::Unknown => 3,
        Leap::Unsynchronized => 4,
    };
    code.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions_of_prometheus() {
        let all: Vec<_> = UPSTREAM.iter().copied().chain(ours()).collect();
        for (index, family) in all.iter().enumerate() {
            let name = family.name;
            assert!(
                all[..index].iter().all(|other| other.name != name),
                "{name}"
            );
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                family.kind == Kind::Counter,
                "{name}"
            );
            let part = match family.samples {
                Samples::Program(_) | Samples::Counts { .. } => "ntp_",
                Samples::System(_) | Samples::SystemDetails(_) => "ntp_system_",
                Samples::Source(_)
                | Samples::SourceDetails(_)
                | Samples::SourceStateSet { .. }
                | Samples::SourceCounts { .. } => "ntp_source_",
                Samples::Server(_) | Samples::ServerVersions(_) | Samples::ServerLatency(_) => {
                    "ntp_server_"
                }
            };
            assert!(name.starts_with(part), "{name}");
            assert!(
                !family.help.ends_with('.') && !family.help.contains('\n'),
                "{name}"
            );
        }
    }
}
