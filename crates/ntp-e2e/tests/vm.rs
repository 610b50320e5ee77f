//! The daemon steers a real kernel's clock: guests of an emulator, with a truth that nobody can steer.

use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::harness::{self, Arena};
use ntp_e2e::scenario;
use ntp_e2e::vm::{Guest, Record, Report};

/// For a whole scenario: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(600);

/// A summer's day in Unix seconds: 2026-06-15T12:00:00Z.
const NOON: i64 = 1_781_524_800;

fn main() -> ExitCode {
    harness::run(
        Arena::VirtualMachines,
        &[scenario!(a_date_wrong_by_years_is_stepped_right_at_boot)],
    )
}

/// The daemon's configuration: one server on this machine, and what `more` says.
fn config(more: &str) -> String {
    format!(
        "[observability]\nlog-level = \"debug\"\nobservation-path = \"/run/observe\"\n\
         [state]\ndirectory = \"/var/lib/ntpd-rs\"\n\
         [[source]]\nmode = \"server\"\naddress = \"127.0.0.1\"\n\
         [synchronization]\nminimum-agreeing-sources = 1\n{more}\n"
    )
}

/// A guest whose battery clock shows `date`, with a truth over its oscillator that begins at `start` and has more `options`.
fn guest(name: &'static str, date: &str, start: i64, options: &str) -> Guest {
    Guest::new(name, date)
        .file("/etc/ntp.toml", &config(""))
        .script(&format!("TRUTH='--start {start} {options}'"))
}

/// Asserts that a look or a watch found truth within what the kernel told.
#[track_caller]
fn assert_inside(look: &Record) {
    let (offset, bound) = (look.number("offset").abs(), look.number("maxerror"));
    assert!(offset <= bound, "truth is outside: {look:?}");
}

/// Asserts that a watch saw a clock that everybody may rely on: synchronised, never backward, truth inside of `maxerror` all along.
#[track_caller]
fn assert_reliable(watch: &Record) {
    for fault in ["backward", "unsynchronized", "outside_maxerror", "jumps"] {
        assert_eq!(watch.value(fault), "0", "{watch:?}");
    }
}

#[track_caller]
fn steps(report: &Report) -> usize {
    report.said("clock stepped by").len()
}

fn a_date_wrong_by_years_is_stepped_right_at_boot() {
    let report = guest(
        "date wrong by years",
        "1999-12-31T23:59:00",
        NOON,
        "--rate 30",
    )
    .script(
        "serve_truth
look before
start_daemon
await 60 'synchronised at stratum'
look after
watch settled 600 1
look last
kernel last
said 'clock stepped by'
stop_daemon
look stopped",
    )
    .run(LIMIT);
    assert!(report.named("look", "before").number("offset") < -8e8);
    let after = report.named("look", "after");
    assert!(after.number("offset").abs() < 0.01, "{after:?}");
    assert_inside(after);
    assert_reliable(report.named("watch", "settled"));
    let last = report.named("look", "last");
    assert!(last.number("offset").abs() < 0.000_1, "{last:?}");
    assert_eq!(steps(&report), 1);
    assert_eq!(
        report.all("exit").next().expect("an end").value("code"),
        "0"
    );
}
