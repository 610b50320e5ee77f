//! Compares the JSON with a hand-made sample of upstream's.

use std::collections::BTreeMap;

use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, NtpTimestamp, PollInterval, ReferenceId, StampSource,
    Stratum, SystemTime,
};
use ntp_types::source::{SelectionOptions, SourceId, SourceState};
use ntp_types::statistics::{KeStatistics, PacketCounters};
use ntp_types::status::{
    CertificateStatus, DisciplinedClock, KeServerStatus, MeasurementStatus, PathStatus,
    ProgramStatus, ProviderStatus, ServerStatus, SourceStatus, Status, SystemStatus,
};

use super::*;

/// JSON of [`upstream_sample`], as upstream's daemon sends it.
const UPSTREAM: &str = include_str!("../../tests/data/upstream.json");
/// JSON of [`sample`], as this daemon sends it.
const OURS: &str = include_str!("../../tests/data/ours.json");

/// Returns a state with the members set that the golden files have.
#[allow(
    clippy::needless_update,
    reason = "a new member does not need to be in the golden files"
)]
pub(crate) fn sample() -> State {
    let mut state = upstream_sample();
    state.system.details = SystemDetails {
        synchronized: Some(true),
        offset: Some(NtpDuration::from_bits(-53_687)),
        frequency_ppm: Some(-12.25),
        frequency_uncertainty_ppm: Some(0.0625),
        estimated_error: Some(NtpDuration::from_bits(858_993)),
        error_bound: Some(NtpDuration::from_bits(85_899_345)),
        root_dispersion: Some(NtpDuration::from_bits(4_294_967)),
        agreeing_sources: Some(3),
        candidate_sources: Some(4),
        clock_kind: Some("system".into()),
        reference_time: Some(state.system.root_variance.base_time),
        sources_omitted: None,
        nts_certificate_expiry: Some(1_800_000_000),
        nts_provider_fips: Some(BTreeMap::from([("ring".into(), 0)])),
        nts_ke_connections: Some(106),
        nts_ke_granted: Some(101),
        nts_ke_pool_queries: Some(0),
        nts_ke_refused: Some(2),
        nts_ke_timed_out: Some(1),
        nts_ke_evicted: Some(0),
        nts_ke_failed: Some(2),
        smear: Some(NtpDuration::from_bits(-1 << 31)),
        tai_offset: Some(37),
        leap_list_expires: Some(1_798_156_800),
        true_offset: Some(NtpDuration::from_bits(1 << 20)),
        ..SystemDetails::default()
    };
    state.sources[0].details = SourceDetails {
        state: Some(SELECTED.into()),
        stratum: Some(1),
        reference_id: Some("GPS".into()),
        leap_indicator: Some(Leap::NoWarning),
        reach: Some(0o377),
        jitter: Some(NtpDuration::from_bits(42_950)),
        transmit_stamp: Some("daemon".into()),
        receive_stamp: Some("kernel".into()),
        packets_sent: Some(20),
        packets_received: Some(21),
        packets_accepted: Some(19),
        packets_bogus: Some(1),
        packets_unusable: Some(2),
        crypto_naks: Some(1),
        nts_naks: Some(1),
        nts_certificate_expiry: Some(1_790_000_000),
        nts_group: Some("X25519MLKEM768".into()),
        authentication: Some("key 7 (AES128)".into()),
        interleaved: Some(true),
        ..SourceDetails::default()
    };
    state.servers[0].details = Some(ServerDetails {
        malformed: 12,
        authenticated: 13,
        bad_authentication: 14,
        interleaved: 15,
        rate_kisses: 16,
        accepted_by_version: [0, 0, 1, 2, 3],
        unknown_drafts: 17,
        dropped_by_kernel: 18,
        latency: Latency {
            counts: [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3],
            sum_nanos: 60_000_000,
        },
        ..ServerDetails::default()
    });
    state
}

/// Returns a state without our additions.
pub(crate) fn upstream_sample() -> State {
    let now = NtpTimestamp::from_bits(0xecd1_2345_8000_0000);
    let base_time = NtpTimestamp::from_bits(0xecd1_2335_8000_0000);
    State {
        program: Program {
            version: "1.9.0".into(),
            build_commit: "46ec9bb4".into(),
            build_commit_date: "2026-06-12".into(),
            uptime_seconds: 3600.5,
            now,
        },
        system: System {
            stratum: 2,
            reference_id: ReferenceId::new([192, 0, 2, 1]),
            accumulated_steps_threshold: None,
            precision: NtpDuration::from_bits(1 << 14),
            root_delay: NtpDuration::from_bits(1 << 26),
            root_variance: RootVariance {
                quadratic: 2.25e-10,
                ..RootVariance::growing(base_time, NtpDuration::ZERO, Frequency::ZERO)
            },
            leap_indicator: Leap::NoWarning,
            accumulated_steps: NtpDuration::ZERO,
            details: SystemDetails::default(),
        },
        sources: vec![
            Source {
                offset: NtpDuration::from_bits(-1 << 20),
                uncertainty: NtpDuration::from_bits(1 << 19),
                delay: NtpDuration::from_bits(1 << 24),
                remote_delay: NtpDuration::from_bits(1 << 16),
                remote_uncertainty: NtpDuration::from_bits(1 << 17),
                last_update: base_time,
                unanswered_polls: 0,
                poll_interval: PollInterval::from_log2(6),
                nts_cookies: Some(8),
                name: "time.example.org:4460".into(),
                address: "192.0.2.1:123".into(),
                id: 2,
                details: SourceDetails::default(),
            },
            Source {
                offset: NtpDuration::ZERO,
                uncertainty: NtpDuration::MAX,
                delay: NtpDuration::MAX,
                remote_delay: NtpDuration::MAX,
                remote_uncertainty: NtpDuration::MAX,
                last_update: NtpTimestamp::ZERO,
                unanswered_polls: 8,
                poll_interval: PollInterval::from_log2(4),
                nts_cookies: None,
                name: "ntp.example.org:123".into(),
                address: "[2001:db8::1]:123".into(),
                id: 1,
                details: SourceDetails::default(),
            },
        ],
        servers: vec![Server {
            address: "[::]:123".parse().unwrap(),
            bind_device: None,
            stats: ServerStatistics {
                received: u64::MAX,
                accepted: 2,
                denied: 3,
                ignored: 4,
                rate_limited: 5,
                send_errors: 6,
                nts_received: 7,
                nts_accepted: 8,
                nts_denied: 9,
                nts_rate_limited: 10,
                nts_nak: 11,
            },
            details: None,
        }],
    }
}

/// Returns a status whose conversion is [`sample`], but for what no status has: unknown details of the
/// second source.
#[allow(
    clippy::needless_update,
    reason = "a new member does not need to be in the golden files"
)]
fn status() -> Status {
    let sample = sample();
    let system = &sample.system;
    let unix = |seconds: i64| SystemTime::from_nanos(seconds * 1_000_000_000);
    let certificate = |expires| CertificateStatus {
        path: "chain.pem".into(),
        names: vec![],
        expires,
    };
    Status {
        program: ProgramStatus {
            version: sample.program.version.clone(),
            uptime: NtpDuration::from_millis(3_600_500),
            now: SystemTime::default().nearest(sample.program.now),
            config_path: None,
            platform: None,
            provider: Some(ProviderStatus {
                name: "ring".into(),
                fips: false,
            }),
        },
        clock: DisciplinedClock {
            kind: "system".into(),
            true_offset: system.details.true_offset,
        },
        system: SystemStatus {
            synchronized: true,
            leap: LeapIndicator::None,
            stratum: Stratum::new(2),
            reference_id: system.reference_id,
            reference: Some(SourceId(2)),
            reference_time: Some(SystemTime::default().nearest(system.root_variance.base_time)),
            precision: -18,
            offset: system.details.offset,
            frequency: Frequency::from_ppm(-12.25),
            frequency_uncertainty: Frequency::from_ppm(0.0625),
            estimated_error: system.details.estimated_error,
            error_bound: system.details.error_bound,
            root_delay: system.root_delay,
            root_dispersion: system.details.root_dispersion,
            accuracy_target: None,
            dispersion_rate: Frequency::from_ppm(15.0),
            accumulated_steps: NtpDuration::ZERO,
            accumulated_steps_limit: None,
            refused_step: None,
            step_wait: None,
            contradicted_time: None,
            agreeing: 3,
            candidates: 4,
            required: 3,
            majority: true,
            smear: NtpDuration::from_millis(-500),
            tai_offset: Some(37),
            leap_list_expires: Some(unix(1_798_156_800)),
            ..SystemStatus::default()
        },
        sources: sources(&sample),
        configured: vec![],
        servers: vec![ServerStatus {
            address: sample.servers[0].address.into(),
            requests: sample.servers[0].stats,
            details: sample.servers[0].details.unwrap(),
            ..ServerStatus::default()
        }],
        waiting_servers: None,
        key_exchange: Some(KeServerStatus {
            addresses: vec![],
            connections: KeStatistics {
                connections: 106,
                granted: 101,
                pool_queries: 0,
                refused: 2,
                timed_out: 1,
                evicted: 0,
                failed: 2,
            },
            cookie_key: None,
            certificates: vec![
                certificate(Some(unix(1_900_000_000))),
                certificate(Some(unix(1_800_000_000))),
                certificate(None),
            ],
        }),
        ..Status::default()
    }
}

/// Returns the sources of [`status`]: one that was measured, and one that was not.
#[allow(
    clippy::needless_update,
    reason = "a new member does not need to be in the golden files"
)]
fn sources(sample: &State) -> Vec<SourceStatus> {
    let source = &sample.sources[0];
    let measured = SourceStatus {
        id: SourceId(2),
        name: source.name.clone(),
        address: source.address.parse().unwrap(),
        state: SourceState::Selected,
        duplicate_of: None,
        online: true,
        authentication: "key 7 (AES128)".into(),
        interleaved: true,
        options: SelectionOptions::default(),
        poll: source.poll_interval,
        poll_min: PollInterval::from_log2(4),
        poll_max: PollInterval::from_log2(10),
        next_poll: None,
        reach: 0o377,
        unanswered: 0,
        last_error: None,
        measurement: Some(MeasurementStatus {
            at: SystemTime::default().nearest(source.last_update),
            offset: source.offset,
            uncertainty: Some(source.uncertainty),
            delay: Some(source.delay),
            root_delay: source.remote_delay,
            root_dispersion: source.remote_uncertainty,
            stratum: Stratum::new(1),
            reference_id: ReferenceId::new(*b"GPS\0"),
            leap: LeapIndicator::None,
            transmit_stamp: Some(StampSource::Daemon),
            receive_stamp: StampSource::Kernel,
            ..MeasurementStatus::default()
        }),
        path: Some(PathStatus {
            base_delay: NtpDuration::from_millis(3),
            typical_excess: NtpDuration::from_millis(1),
            jitter: NtpDuration::from_bits(42_950),
            bias: NtpDuration::ZERO,
            bias_uncertainty: NtpDuration::from_millis(1),
            residual: NtpDuration::ZERO,
            combined: true,
            consecutive_outliers: 0,
            ..PathStatus::default()
        }),
        packets: PacketCounters {
            sent: 20,
            received: 21,
            accepted: 19,
            unusable: 2,
            bogus: 1,
            crypto_naks: 1,
            nts_naks: 1,
        },
        nts_cookies: Some(8),
        certificate_expires: Some(SystemTime::from_nanos(1_790_000_000_999_999_999)),
        key_exchange_group: Some("X25519MLKEM768".into()),
        ..SourceStatus::default()
    };
    let unmeasured = SourceStatus {
        id: SourceId(1),
        name: sample.sources[1].name.clone(),
        address: sample.sources[1].address.parse().unwrap(),
        state: SourceState::Unreachable,
        authentication: "none".into(),
        interleaved: false,
        poll: PollInterval::from_log2(4),
        reach: 0,
        unanswered: 8,
        measurement: None,
        path: None,
        nts_cookies: None,
        certificate_expires: None,
        key_exchange_group: None,
        ..measured.clone()
    };
    vec![measured, unmeasured]
}

#[test]
fn a_status_is_converted_to_the_same_state() {
    let mut expected = sample();
    let state = State::from_status(&status(), "46ec9bb4", "2026-06-12");
    let root_dispersion = expected.system.details.root_dispersion.unwrap();
    expected.system.root_variance = RootVariance::growing(
        expected.program.now,
        root_dispersion,
        Frequency::from_ppm(15.0),
    );
    expected.sources[1].details = state.sources[1].details.clone();
    // An inexact product.
    let frequency = state.system.details.frequency_ppm.unwrap();
    assert!((frequency - -12.25).abs() < 1e-12);
    expected.system.details.frequency_ppm = Some(frequency);
    assert_eq!(state.system.details.sources_omitted, None);
    let json = |state: &State| serde_json::to_value(state).unwrap();
    assert_contains(&json(&state), &json(&expected), "state");
}

#[test]
fn figures_that_are_not_known_have_the_value_that_upstream_sends() {
    let mut status = status();
    status.system.offset = None;
    status.system.estimated_error = None;
    status.system.error_bound = None;
    status.system.root_dispersion = None;
    status.system.frequency = -Frequency::ZERO;
    status.key_exchange = None;
    let state = State::from_status(&status, "-", "-");

    let details = &state.system.details;
    let largest = Some(NtpDuration::from_seconds(16));
    assert_eq!(details.offset, Some(NtpDuration::ZERO));
    assert_eq!(details.estimated_error, largest);
    assert_eq!(details.error_bound, largest);
    assert_eq!(details.root_dispersion, largest);
    assert_eq!(Some(state.root_dispersion()), largest);
    assert!(details.frequency_ppm.unwrap().is_sign_positive());
    assert_eq!(details.nts_ke_connections, None);
    assert_eq!(details.nts_certificate_expiry, None);

    let source = &state.sources[1];
    let expected = Source {
        details: source.details.clone(),
        ..upstream_sample().sources.remove(1)
    };
    assert_eq!(*source, expected);
    let details = &source.details;
    assert_eq!(details.state.as_deref(), Some("unreachable"));
    assert_eq!(details.reach, Some(0));
    assert_eq!((details.stratum, details.jitter), (None, None));
    assert_eq!(details.receive_stamp, None);
    assert_eq!((details.crypto_naks, details.nts_naks), (Some(1), None));
    assert_eq!(details.nts_certificate_expiry, None);

    // A wide correctness interval and a reference clock, which has no delay.
    let measurement = status.sources[0].measurement.as_mut().unwrap();
    measurement.uncertainty = None;
    measurement.delay = None;
    measurement.transmit_stamp = None;
    let source = State::from_status(&status, "-", "-").sources.remove(0);
    assert_eq!(source.uncertainty, NtpDuration::MAX);
    assert_eq!(source.delay, NtpDuration::MAX);
    assert_eq!(source.details.transmit_stamp, None);
}

/// Formats `state` as indented JSON, for readable differences.
fn pretty(state: &State) -> String {
    serde_json::to_string_pretty(state).unwrap() + "\n"
}

#[test]
fn json_without_our_additions_equals_upstreams() {
    assert_eq!(pretty(&upstream_sample()), UPSTREAM);
}

#[test]
fn our_members_are_additions() {
    assert_eq!(pretty(&sample()), OURS);
    let with: serde_json::Value = serde_json::from_str(OURS).unwrap();
    let without: serde_json::Value = serde_json::from_str(UPSTREAM).unwrap();
    assert_contains(&with, &without, "root");
}

/// Asserts that all members of `part` are in `whole`, with the same values.
fn assert_contains(whole: &serde_json::Value, part: &serde_json::Value, at: &str) {
    use serde_json::Value::{Array, Object};
    match (whole, part) {
        (Object(whole), Object(part)) => {
            for (name, part) in part {
                assert_contains(&whole[name], part, name);
            }
        }
        (Array(whole), Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{at}");
            for (whole, part) in whole.iter().zip(part) {
                assert_contains(whole, part, at);
            }
        }
        _ => assert_eq!(whole, part, "{at}"),
    }
}

#[test]
fn json_of_both_daemons_can_be_read() {
    assert_eq!(
        serde_json::from_str::<State>(UPSTREAM).unwrap(),
        upstream_sample()
    );
    assert_eq!(serde_json::from_str::<State>(OURS).unwrap(), sample());
}

#[test]
fn unknown_members_are_ignored() {
    let added = UPSTREAM.replace('{', "{\"of-a-later-version\": [1],");
    assert_eq!(
        serde_json::from_str::<State>(&added).unwrap(),
        upstream_sample()
    );
}

#[test]
fn each_of_upstreams_members_is_required() {
    let names = UPSTREAM.lines().filter_map(|line| line.split('"').nth(1));
    let nullable = ["accumulated_steps_threshold", "nts_cookies"];
    for name in names.filter(|name| !nullable.contains(name)) {
        let without = UPSTREAM.replace(&format!("\"{name}\":"), "\"renamed\":");
        let error = serde_json::from_str::<State>(&without).expect_err(name);
        let error = error.to_string();
        assert!(error.contains("field") && error.contains(name), "{error}");
    }
}

#[test]
fn root_dispersion_is_that_at_the_time_of_the_observation() {
    let dispersion = upstream_sample().root_dispersion();
    let expected = NtpDuration::from_micros(240);
    assert!((dispersion - expected).abs() < NtpDuration::from_nanos(2));
}

#[test]
fn sources_are_sorted_by_name_and_then_by_identifier() {
    let mut state = sample();
    state.sources.push(Source {
        id: 0,
        ..state.sources[0].clone()
    });
    let ids: Vec<_> = state
        .sorted_sources()
        .iter()
        .map(|source| source.id)
        .collect();
    assert_eq!(ids, [1, 0, 2]);
}
