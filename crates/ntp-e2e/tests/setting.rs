//! Setting the clock on somebody's order, and the limits that orders have. All clocks here are virtual.

use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::{Setup, VIRTUAL_OFFSET};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::process::Process;
use ntp_e2e::{scenario, wait};
use serde_json::Value;
use test_binaries::{Behaviour, ReferenceServer};

/// Only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(the_clock_is_set_once_without_a_daemon),
            scenario!(a_step_past_a_threshold_needs_force_and_shows_both_times),
            scenario!(a_daemon_without_sources_follows_the_first_that_is_added),
            scenario!(a_wait_that_was_too_short_is_told_from_one_without_a_daemon),
        ],
    )
}

fn server() -> ReferenceServer {
    let address = "127.0.0.1:0".parse().expect("an address");
    ReferenceServer::bind(address, Behaviour::default()).expect("loopback")
}

/// Runs `ntp-ctl` and returns its exit code and all that it said.
fn ntp_ctl(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = setup.command(None, Program::Ctl);
    command.args(arguments);
    let mut process = Process::spawn("ntp-ctl", command);
    let code = process.wait_exit(LIMIT).code();
    (code, process.lines().join("\n"))
}

/// Runs `ntp-ctl` and returns its exit code and the JSON on its standard output.
fn ntp_ctl_json(setup: &Setup, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = setup.command(None, Program::Ctl);
    let output = command.args(arguments).output().expect("ntp-ctl runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (output.status.code(), told)
}

fn the_clock_is_set_once_without_a_daemon() {
    let server = server();
    let setup = Setup::new(1).server(&server.address().to_string());
    let (code, said) = ntp_ctl(&setup, &["force-sync", "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("not touched: it is off by -250 ms"), "{said}");
    let (code, told) = ntp_ctl_json(
        &setup,
        &["force-sync", "-y", "--min-offset", "0s", "-f", "json"],
    );
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told["stepped"], true);
    let correction = told["correction"].as_f64().expect("a number");
    assert!((correction + VIRTUAL_OFFSET).abs() < 0.01, "{told}");

    // Two days ahead: no script may believe that, unless it says so.
    let far = setup.replacing("virtual-offset = 0.25", "virtual-offset = 172800.0");
    let (code, said) = ntp_ctl(&far, &["force-sync", "--yes"]);
    assert_eq!(code, Some(1), "{said}");
    for expected in [
        "The clock says",
        "The sources say",
        "startup-step-panic-threshold",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    let (code, said) = ntp_ctl(&far, &["force-sync", "--yes", "--max-offset", "72h"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("The clock was stepped by -1728"), "{said}");

    let silent = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = silent.local_addr().expect("an address").to_string();
    let alone = Setup::new(1).server(&address);
    let (code, said) = ntp_ctl(&alone, &["force-sync", "--yes", "--timeout", "1s"]);
    assert_eq!(code, Some(124), "{said}");
    assert!(said.contains(&address), "{said}");

    let near = Setup::new(1).server(&server.address().to_string());
    let mut daemon = near.start(None);
    daemon.wait_synchronized(LIMIT);
    let (code, said) = ntp_ctl(&near, &["force-sync", "--yes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("use `ntp-ctl step`"), "{said}");
}

fn a_step_past_a_threshold_needs_force_and_shows_both_times() {
    let server = server();
    // Slewed, because nothing is worth a step; and every step is forbidden.
    let limits = "minimum-agreeing-sources = 1\nsingle-step-panic-threshold = 0\nalgorithm = { step-threshold = 1000.0 }";
    let setup = Setup::new(1)
        .replacing("minimum-agreeing-sources = 1", limits)
        .server(&server.address().to_string());
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let (code, said) = ntp_ctl(&setup, &["step"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("The clock was not touched"), "{said}");
    let (code, told) = ntp_ctl_json(&setup, &["step", "-f", "json"]);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(
        (&told["done"], &told["error"]),
        (&Value::Bool(false), &"StepTooLarge".into())
    );
    assert_eq!(
        told["parameters"]["threshold"],
        "single-step-panic-threshold"
    );

    let (code, said) = ntp_ctl(&setup, &["step", "--force"]);
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        "The clock says",
        "The sources say",
        "The clock was stepped by -",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    daemon.wait_until(LIMIT, "a clock that is right", |observation| {
        observation.true_offset().abs() < 0.01
    });
}

fn a_daemon_without_sources_follows_the_first_that_is_added() {
    let server = server();
    let setup = Setup::new(1);
    let mut daemon = setup.start(None);
    let before = daemon.wait_until(LIMIT, "its state", |_| true);
    assert!(
        (before.true_offset() - VIRTUAL_OFFSET).abs() < 0.01,
        "left alone"
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
        (ntp_ctl(&setup, &add).0 == Some(0)).then_some(())
    });
    daemon.wait_synchronized(LIMIT);
    daemon.wait_until(LIMIT, "a clock that is right", |observation| {
        observation.true_offset().abs() < 0.01
    });
}

fn a_wait_that_was_too_short_is_told_from_one_without_a_daemon() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = silent.local_addr().expect("an address").to_string();
    let setup = Setup::new(1).server(&address);
    let wait = ["waitsync", "--timeout", "1s", "-f", "json"];
    let (code, said) = ntp_ctl(&setup, &wait);
    assert_eq!(code, Some(1), "{said}");
    let mut daemon = setup.start(None);
    daemon.wait_until(LIMIT, "its state", |_| true);
    let (code, told) = ntp_ctl_json(&setup, &wait);
    assert_eq!(code, Some(124), "{told}");
    assert_eq!(told["error"], "TimedOut");
}
