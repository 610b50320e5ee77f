//! The daemon steers a real kernel's clock: guests of an emulator, with a truth that nobody can steer.
//!
//! The scenario of the default run is the first; the others take minutes together and run with `--include-ignored`.

mod disruptions;
mod faults;
mod leap;
mod power;
mod steering;

use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::harness::{self, Arena};
use ntp_e2e::scenario;
use ntp_e2e::vm::{Guest, Record, Report};

/// For a whole scenario: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(900);

/// A summer's day in Unix seconds: 2026-06-15T12:00:00Z.
const NOON: i64 = 1_781_524_800;
/// The same for a battery clock.
const NOON_DATE: &str = "2026-06-15T12:00:00";

fn main() -> ExitCode {
    use {disruptions::*, faults::*, leap::*, power::*, steering::*};
    harness::run(
        Arena::VirtualMachines,
        &[
            scenario!(a_date_wrong_by_years_is_stepped_right_at_boot),
            scenario!(an_oscillator_500_ppm_off_is_absorbed_in_both_directions).slow(),
            scenario!(a_tick_that_another_program_left_is_absorbed).slow(),
            scenario!(where_steps_are_forbidden_the_clock_is_slewed_and_never_runs_backwards)
                .slow(),
            scenario!(the_kernel_tells_other_programs_the_truth_on_a_bad_path).slow(),
            scenario!(a_step_beyond_the_panic_threshold_is_refused).slow(),
            scenario!(a_clock_that_another_program_sets_is_set_right).slow(),
            scenario!(the_bound_is_honest_through_an_hour_without_network).slow(),
            scenario!(a_daemon_killed_in_mid_slew_leaves_a_clock_that_the_next_one_can_use).slow(),
            scenario!(client_and_server_share_one_kernel).slow(),
            scenario!(a_leap_second_is_inserted_by_the_kernel).slow(),
            scenario!(a_leap_second_is_deleted_by_the_kernel).slow(),
            scenario!(a_smeared_leap_second_leaves_the_kernel_alone).slow(),
            scenario!(a_machine_that_slept_is_set_right_and_serves_no_wrong_time).slow(),
            scenario!(interfaces_that_come_and_go_cost_no_more_than_the_time_they_are_gone).slow(),
            scenario!(a_machine_that_loses_its_power_keeps_what_was_promised).slow(),
            scenario!(a_paused_machine_finds_its_way_back_among_neighbours_of_another_make).slow(),
        ],
    )
}

/// The daemon's configuration: the truth of this machine as the only source, and what `more` says.
fn config(more: &str) -> String {
    format!(
        "[observability]\nlog-level = \"debug\"\nobservation-path = \"/run/observe\"\n\
         [state]\ndirectory = \"/var/lib/ntpd-rs\"\n\
         [[source]]\nmode = \"server\"\naddress = \"127.0.0.1:1123\"\n\
         [synchronization]\nminimum-agreeing-sources = 1\n{more}\n"
    )
}

/// A guest whose battery clock shows `date`, with a truth over its oscillator that begins at `start` and has more `options`.
fn guest(name: &'static str, date: &str, start: i64, options: &str) -> Guest {
    Guest::new(name, date)
        .file("/etc/ntp.toml", &config(""))
        .script(&format!("TRUTH='--start {start} {options}'"))
}

/// Asserts that a look found truth within what the kernel told.
#[track_caller]
fn assert_inside(look: &Record) {
    let (offset, bound) = (look.number("offset").abs(), look.number("maxerror"));
    assert!(offset <= bound, "truth is outside: {look:?}");
}

/// Asserts that the clock is closer to truth than `limit` seconds, and truth within what the kernel told.
#[track_caller]
fn assert_close(look: &Record, limit: f64) {
    assert_inside(look);
    assert!(
        look.number("offset").abs() < limit,
        "not within {limit} s: {look:?}"
    );
}

/// Asserts that a watch saw a clock that everybody may rely on: synchronised, never backward, truth inside of `maxerror` all along.
#[track_caller]
fn assert_reliable(watch: &Record) {
    for fault in ["backward", "unsynchronized", "outside_maxerror", "jumps"] {
        assert_eq!(watch.value(fault), "0", "{watch:?}");
    }
}

/// How often the daemon stepped the clock, as far as the scenario quoted its log.
fn steps(report: &Report) -> usize {
    report.said("clock stepped by").len()
}
