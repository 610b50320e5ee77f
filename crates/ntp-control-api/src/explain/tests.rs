//! Tests of the explanations.

use std::net::SocketAddr;

use ntp_time::NtpDuration;
use ntp_types::hop_limit::HopLimitDifference;
use ntp_types::refclock::RefusalCount;
use ntp_types::source::{SourceId, SourceState};
use ntp_types::statistics::PacketCounters;
use ntp_types::status::{MeasurementStatus, PlatformStatus, RefusedStepStatus};

use super::*;

/// Returns all findings, each with its object.
fn findings(status: &Status) -> String {
    let mut text = String::new();
    let mut add = |name: &str, findings: Vec<String>| {
        for finding in findings {
            text.push_str(&format!("{name}: {finding}\n"));
        }
    };
    add("Clock", clock(status));
    for it in &status.sources {
        add(&it.name, super::source(status, it));
    }
    for it in missing(status) {
        add(&it.name, vec![it.why]);
    }
    text
}

fn source(
    name: &str,
    state: SourceState,
    measurement: Option<(f64, f64)>,
    error: Option<&str>,
) -> SourceStatus {
    let measurement = measurement.map(|(offset, uncertainty)| MeasurementStatus {
        offset: NtpDuration::from_seconds_f64(offset),
        uncertainty: Some(NtpDuration::from_seconds_f64(uncertainty)),
        ..MeasurementStatus::default()
    });
    let received = u64::from(measurement.is_some());
    SourceStatus {
        id: SourceId(name.len() as u32),
        name: name.to_owned(),
        address: SocketAddr::from(([192, 0, 2, 1], 123)).into(),
        state,
        online: true,
        authentication: "none".to_owned(),
        next_poll: Some(NtpDuration::from_millis(200)),
        unanswered: 8,
        last_error: error.map(str::to_owned),
        measurement,
        packets: PacketCounters {
            sent: 8,
            received,
            accepted: received,
            ..PacketCounters::default()
        },
        ..SourceStatus::default()
    }
}

#[test]
fn the_platform_and_refused_readings_are_explained() {
    let refused = |reason: &str, count| RefusalCount {
        reason: reason.to_owned(),
        text: format!("it is {reason}"),
        count,
    };
    let mut status = Status::default();
    status.program.platform = Some(PlatformStatus {
        name: "Amazon EC2".to_owned(),
        sources: vec!["169.254.169.123:123".to_owned()],
        reason: "its servers".to_owned(),
    });
    status.sources = vec![SourceStatus {
        reference_clock: Some(RefClockStatus {
            accepted: 5,
            refused: vec![refused("stale", 4), refused("unnumbered", 1)],
            ..RefClockStatus::default()
        }),
        ..source("pps", SourceState::Selected, None, None)
    }];
    let text = findings(&status);
    for line in [
        "Clock: platform Amazon EC2: 169.254.169.123:123; its servers",
        "pps: 5 of 10 readings refused: 4 (it is stale), 1 (it is unnumbered)",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}

/// Returns the explanation for sources with the given numbers of agreeing, candidate and
/// required ones.
fn explained(
    sources: &[SourceStatus],
    (agreeing, candidates, required): (u64, u64, u64),
) -> String {
    let configured = |it: &SourceStatus| ConfiguredSource {
        name: it.name.clone(),
        wanted: 1,
        present: 1,
        online: true,
        ..ConfiguredSource::default()
    };
    findings(&Status {
        system: SystemStatus {
            agreeing,
            candidates,
            required,
            ..SystemStatus::default()
        },
        sources: sources.to_vec(),
        configured: sources.iter().map(configured).collect(),
        ..Status::default()
    })
}

#[test]
fn a_disagreement_names_the_sources_of_each_side() {
    let measured = |name, offset| source(name, SourceState::NoMajority, Some((offset, 1e-3)), None);
    let sources = [
        measured("a", 0.0),
        measured("bb", 5e-4),
        measured("ccc", 0.5),
    ];
    let text = explained(&sources, (2, 3, 3));
    for expected in [
        "Clock: not synchronised\nClock: not steered: 2 of 3 candidate sources agree (3 required)\n",
        "a: not used: no majority; offset +0 s; agrees with bb, disagrees with ccc\n",
        "ccc: not used: no majority; offset +500 ms; disagrees with a, bb\n",
        "a: next poll now\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    let text = explained(&sources[1..], (1, 2, 2));
    assert!(
        text.contains("add a third") && text.contains("`trust = true`"),
        "{text}"
    );
    assert!(!text.contains("`require`"), "{text}");
}

#[test]
fn a_step_that_waits_for_confirmation_is_not_called_a_slew() {
    let mut status = Status {
        configured: vec![ConfiguredSource::default()],
        ..Status::default()
    };
    status.system = SystemStatus {
        majority: true,
        offset: Some(NtpDuration::from_seconds(900)),
        step_wait: Some(NtpDuration::from_seconds(120)),
        ..SystemStatus::default()
    };
    let findings = clock(&status);
    assert_eq!(findings[0], "not synchronised");
    assert!(findings[1].contains("moved by +900"), "{findings:?}");
    assert!(findings[1].contains("stepout-time"), "{findings:?}");
}

#[test]
fn a_refused_step_names_the_threshold_and_the_command_that_overrides_it() {
    let mut status = Status {
        configured: vec![ConfiguredSource::default()],
        ..Status::default()
    };
    status.system = SystemStatus {
        majority: true,
        offset: Some(NtpDuration::from_seconds(5000)),
        step_wait: Some(NtpDuration::ZERO),
        refused_step: Some(RefusedStepStatus {
            threshold: "single-step-panic-threshold".to_owned(),
            limit: NtpDuration::from_seconds(1000),
            correction: NtpDuration::from_seconds(5000),
            since: status.program.now,
        }),
        ..SystemStatus::default()
    };
    let findings = clock(&status);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(findings[0], "not synchronised");
    for part in ["+5000", "`single-step-panic-threshold`", "step --force"] {
        assert!(findings[1].contains(part), "{findings:?}");
    }
}

#[test]
fn an_accuracy_target_out_of_reach_is_reported_with_the_key_that_limits_it() {
    let explained = |error| {
        let mut status = Status {
            configured: vec![ConfiguredSource::default()],
            ..Status::default()
        };
        status.system = SystemStatus {
            synchronized: true,
            majority: true,
            accuracy_target: Some(NtpDuration::from_micros(100)),
            estimated_error: Some(NtpDuration::from_micros(error)),
            ..SystemStatus::default()
        };
        clock(&status).join("\n")
    };
    assert!(explained(150).contains("`accuracy-target`"));
    assert!(explained(150).contains("`poll-interval-limits`"));
    assert!(!explained(50).contains("`accuracy-target`"));
}

#[test]
fn a_stratum_that_is_too_high_names_the_key_that_sets_the_limit() {
    let error = ntp_types::event::Rejection::Stratum.to_string();
    let high = source("a", SourceState::Unusable, None, Some(&error));
    let text = explained(&[high], (0, 0, 1));
    let words: Vec<_> = text.split_whitespace().collect();
    assert!(
        words
            .join(" ")
            .contains("below `local-stratum` in [synchronization]"),
        "{text}"
    );
}

#[test]
fn a_duplicate_names_the_source_that_votes_and_is_not_counted() {
    let measured = Some((0.0, 1e-3));
    let first = source("a", SourceState::NoMajority, measured, None);
    let mut second = source("bb", SourceState::Duplicate, measured, None);
    second.duplicate_of = Some(first.id);
    let text = explained(&[first, second], (1, 1, 2));
    for expected in [
        "not steered: 1 server configured besides duplicates, 2 must agree\n",
        "bb: not used: leads to the same server as a; one server has one vote\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn the_last_error_replaces_general_advice() {
    let known = source(
        "a",
        SourceState::Unreachable,
        None,
        Some("nothing listens on its port"),
    );
    let text = explained(
        &[known, source("bb", SourceState::Unreachable, None, None)],
        (0, 0, 1),
    );
    let none = "not used: none of 8 requests answered";
    for expected in [
        format!("a: {none}\na: last error: nothing listens on its port\n"),
        format!("bb: {none}\nbb: check the address, that firewalls pass UDP"),
    ] {
        assert!(text.contains(&expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn a_denied_source_has_the_time_of_the_next_attempt_and_how_to_make_it_now() {
    let configured = ConfiguredSource {
        name: "ntp.example:123".into(),
        wanted: 1,
        online: true,
        denied: true,
        retry: Some(NtpDuration::from_seconds(1800)),
        last_error: Some("access denied by policy (kiss code RSTR)".into()),
        ..ConfiguredSource::default()
    };
    let text = incomplete_because(&configured);
    for part in ["kiss code RSTR", "in 30m", "source online ntp.example:123"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("DENY"), "{text}");
}

#[test]
fn a_rejected_reply_from_another_distance_is_reported() {
    let mut source = source("a", SourceState::Selected, Some((0.0, 1e-3)), None);
    source.packets.bogus = 1;
    assert!(!explained(core::slice::from_ref(&source), (1, 1, 1)).contains("hop limit"));
    source.rejected_hop_limit = Some(HopLimitDifference {
        rejected: 57,
        authentic: 64,
    });
    let text = explained(&[source], (1, 1, 1));
    assert!(
        text.contains("a: last rejected reply: hop limit (TTL) 57, but 64"),
        "{text}"
    );
}

#[test]
fn failed_requests_to_a_selected_source_are_reported() {
    let sources = [
        source(
            "a",
            SourceState::Selected,
            Some((0.0, 1e-3)),
            Some("no route to it"),
        ),
        source("bb", SourceState::Selected, Some((0.0, 1e-3)), None),
    ];
    let text = explained(&sources, (2, 2, 1));
    let used = "used: agrees with the majority";
    assert!(
        text.contains(&format!(
            "a: {used}\na: last request failed: no route to it\n"
        )),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "bb: {used}\nbb: 8 consecutive requests unanswered\n"
        )),
        "{text}"
    );
}
