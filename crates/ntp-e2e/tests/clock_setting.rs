//! Setting the clock by command (`force-sync`, `step`), its limits, and `waitsync`. All clocks are
//! virtual.

use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::{Setup, VIRTUAL_OFFSET};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::peers;
use ntp_e2e::{scenario, wait};
use serde_json::Value;
use test_binaries::{Behaviour, ReferenceServer};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(force_sync_sets_the_clock_without_a_daemon),
            scenario!(a_step_beyond_the_threshold_requires_force_and_shows_both_times),
            scenario!(a_daemon_without_sources_synchronises_to_an_added_source),
            scenario!(a_wrong_saved_time_spoils_no_start_and_is_removed_by_force_sync),
            scenario!(a_clock_set_forward_to_a_wrong_saved_time_is_set_back),
            scenario!(waitsync_distinguishes_a_timeout_from_a_missing_daemon),
        ],
    )
}

fn server() -> ReferenceServer {
    peers::reference_server(Behaviour::default())
}

/// Runs `ntp-ctl`. Returns its exit code and the JSON of its standard output.
fn ntp_ctl_json(setup: &Setup, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = setup.command(None, Program::Ctl);
    let output = command.args(arguments).output().expect("ntp-ctl runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let reply = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code(), reply)
}

fn force_sync_sets_the_clock_without_a_daemon() {
    let server = server();
    let setup = Setup::new(1).server(&server.address().to_string());
    let (code, output) = setup.ntp_ctl(&["force-sync", "--yes"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("not changed: offset -2"), "{output}");
    let (code, reply) = ntp_ctl_json(
        &setup,
        &["force-sync", "-y", "--min-offset", "0s", "-f", "json"],
    );
    assert_eq!(code, Some(0), "{reply}");
    assert_eq!(reply["stepped"], true);
    let correction = reply["correction"].as_f64().expect("a number");
    assert!((correction + VIRTUAL_OFFSET).abs() < 0.01, "{reply}");

    // Two days ahead: refused unless --max-offset allows it.
    let far = setup.replacing("virtual-offset = 0.25", "virtual-offset = 172800.0");
    let (code, output) = far.ntp_ctl(&["force-sync", "--yes"]);
    assert_eq!(code, Some(1), "{output}");
    for expected in [
        "System time      : ",
        "Time of sources  : ",
        "startup-step-panic-threshold",
    ] {
        assert!(output.contains(expected), "{output}");
    }
    let (code, output) = far.ntp_ctl(&["force-sync", "--yes", "--max-offset", "72h"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("Clock stepped by -1728"), "{output}");

    let silent = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = silent.local_addr().expect("an address").to_string();
    let alone = Setup::new(1).server(&address);
    let (code, output) = alone.ntp_ctl(&["force-sync", "--yes", "--timeout", "1s"]);
    assert_eq!(code, Some(124), "{output}");
    assert!(output.contains(&address), "{output}");

    let near = Setup::new(1).server(&server.address().to_string());
    let mut daemon = near.start(None);
    daemon.wait_synchronized(LIMIT);
    let (code, output) = near.ntp_ctl(&["force-sync", "--yes"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("use `ntp-ctl step`"), "{output}");
}

fn a_step_beyond_the_threshold_requires_force_and_shows_both_times() {
    let server = server();
    // The clock is always slewed, and every step is forbidden.
    let limits = "minimum-agreeing-sources = 1\nsingle-step-panic-threshold = 0\nalgorithm = { step-threshold = 1000.0 }";
    let setup = Setup::new(1)
        .replacing("minimum-agreeing-sources = 1", limits)
        .server(&server.address().to_string());
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let (code, output) = setup.ntp_ctl(&["step"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("Clock not changed"), "{output}");
    let (code, reply) = ntp_ctl_json(&setup, &["step", "-f", "json"]);
    assert_eq!(code, Some(1), "{reply}");
    assert_eq!(
        (&reply["done"], &reply["error"]),
        (&Value::Bool(false), &"StepTooLarge".into())
    );
    assert_eq!(
        reply["parameters"]["threshold"],
        "single-step-panic-threshold"
    );

    let (code, output) = setup.ntp_ctl(&["step", "--force"]);
    assert_eq!(code, Some(0), "{output}");
    for expected in [
        "System time      : ",
        "Time of sources  : ",
        "Clock stepped by -",
    ] {
        assert!(output.contains(expected), "{output}");
    }
    daemon.wait_until(LIMIT, "a correct clock", |observation| {
        observation.true_offset().abs() < 0.01
    });
}

fn a_daemon_without_sources_synchronises_to_an_added_source() {
    let server = server();
    let setup = Setup::new(1);
    let mut daemon = setup.start(None);
    let before = daemon.wait_until(LIMIT, "its state", |_| true);
    assert!(
        (before.true_offset() - VIRTUAL_OFFSET).abs() < 0.01,
        "the clock must not be changed"
    );
    let address = server.address().to_string();
    let add = [
        "source",
        "add",
        &address,
        "initial-poll-interval=1",
        "poll-interval-limits.min=1",
    ];
    wait::until(LIMIT, "the source", || {
        (setup.ntp_ctl(&add).0 == Some(0)).then_some(())
    });
    daemon.wait_synchronized(LIMIT);
    daemon.wait_until(LIMIT, "a correct clock", |observation| {
        observation.true_offset().abs() < 0.01
    });
}

/// A state file of a run that followed servers of the year 2033.
const FROM_2033: &str = "version = 1\npast-time = 1990000000\n";

fn a_wrong_saved_time_spoils_no_start_and_is_removed_by_force_sync() {
    let server = server();
    let setup = Setup::new(1).server(&server.address().to_string());
    let file = setup.state().join("clock.toml");
    std::fs::write(&file, FROM_2033).expect("written");
    let mut daemon = setup.start(None);
    daemon
        .process
        .wait_for_event(LIMIT, "clock_not_set_forward", &[]);
    daemon
        .process
        .wait_for_event(LIMIT, "floor_contradicted", &[("followed", "true")]);
    daemon.wait_until(LIMIT, "a correct clock", |observation| {
        observation.is_synchronized() && observation.true_offset().abs() < 0.01
    });
    assert_eq!(daemon.stop().code(), Some(0));

    let (code, output) = setup.ntp_ctl(&["force-sync", "--yes"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("Saved time 2033"), "{output}");
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(!text.contains("past-time"), "{text}");

    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(daemon.process.events("floor_contradicted").is_empty());
    // What a short run has seen of the time is not kept, either.
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(!text.contains("past-time"), "{text}");
}

fn a_clock_set_forward_to_a_wrong_saved_time_is_set_back() {
    let servers = [server(), server(), server()];
    // 28 years, before the release: the largest offset is 31 years.
    let long_ago = "virtual-offset = -900000000.0";
    let mut setup = Setup::new(3).replacing("virtual-offset = 0.25", long_ago);
    for server in &servers {
        setup = setup.server(&server.address().to_string());
    }
    let setup = setup.synchronization("stepout-time = 3");
    std::fs::write(setup.state().join("clock.toml"), FROM_2033).expect("written");
    let mut daemon = setup.start(None);
    daemon
        .process
        .wait_for_event(LIMIT, "clock_set_forward", &[]);
    daemon
        .process
        .wait_for_event(LIMIT, "floor_contradicted", &[("followed", "true")]);
    daemon.wait_until(LIMIT, "a correct clock", |observation| {
        observation.is_synchronized() && observation.true_offset().abs() < 0.01
    });
}

fn waitsync_distinguishes_a_timeout_from_a_missing_daemon() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = silent.local_addr().expect("an address").to_string();
    let setup = Setup::new(1).server(&address);
    let wait = ["waitsync", "--timeout", "1s", "-f", "json"];
    let (code, output) = setup.ntp_ctl(&wait);
    assert_eq!(code, Some(1), "{output}");
    let mut daemon = setup.start(None);
    daemon.wait_until(LIMIT, "its state", |_| true);
    let (code, reply) = ntp_ctl_json(&setup, &wait);
    assert_eq!(code, Some(124), "{reply}");
    assert_eq!(reply["error"], "TimedOut");
    let (code, reply) = ntp_ctl_json(&setup, &["bound", "-f", "json"]);
    assert_eq!(code, Some(75), "{reply}");
    assert_eq!(reply["error"], "NotSynchronized");
}
