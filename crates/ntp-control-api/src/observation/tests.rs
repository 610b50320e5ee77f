//! Compares the JSON with a hand-made sample of upstream's.

use ntp_time::Frequency;

use super::*;

/// JSON of [`upstream_sample`], as upstream's daemon sends it.
const UPSTREAM: &str = include_str!("../../tests/data/upstream.json");
/// JSON of [`sample`], as this daemon sends it.
const OURS: &str = include_str!("../../tests/data/ours.json");

/// Returns a state with every member set.
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
        nts_ke_connections: Some(106),
        nts_ke_granted: Some(101),
        nts_ke_refused: Some(2),
        nts_ke_timed_out: Some(1),
        nts_ke_evicted: Some(0),
        nts_ke_failed: Some(2),
        smear: Some(NtpDuration::from_bits(-1 << 31)),
        tai_offset: Some(37),
        leap_list_expires: Some(1_798_156_800),
        true_offset: Some(NtpDuration::from_bits(1 << 20)),
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
        authentication: Some("key 7 (AES128)".into()),
        interleaved: Some(true),
    };
    state.servers[0].details = ServerDetails {
        malformed_packets: Some(12),
        authenticated_packets: Some(13),
        bad_authentication_packets: Some(14),
        interleaved_packets: Some(15),
        rate_kisses: Some(16),
        latency: Some(Latency {
            counts: [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3],
            sum_nanos: 60_000_000,
        }),
    };
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
            stats: ServerStats {
                received_packets: u64::MAX,
                accepted_packets: 2,
                denied_packets: 3,
                ignored_packets: 4,
                rate_limited_packets: 5,
                response_send_errors: 6,
                nts_received_packets: 7,
                nts_accepted_packets: 8,
                nts_denied_packets: 9,
                nts_rate_limited_packets: 10,
                nts_nak_packets: 11,
            },
            details: ServerDetails::default(),
        }],
    }
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
