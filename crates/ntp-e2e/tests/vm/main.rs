//! The daemon steers a real kernel's clock, in guests of an emulator with a true time to compare
//! with.
//!
//! The first scenario is in the default run; the others take minutes and run with
//! `--include-ignored`.

mod apparmor;
mod disruptions;
mod faults;
mod leap;
mod power;
mod ppp;
mod steering;
mod vrf;

use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::harness::{self, Arena};
use ntp_e2e::scenario;
use ntp_e2e::vm::{Guest, Record, Report};

/// Timeout of a whole scenario; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(900);

/// 2026-06-15T12:00:00Z in Unix seconds.
const NOON: i64 = 1_781_524_800;
/// The same as RTC date.
const NOON_DATE: &str = "2026-06-15T12:00:00";

/// Error of a settled clock beyond the asymmetry of the path, in seconds: the rate that changes
/// between two polls, and the transmit timestamp of the server, which is taken before it sends.
const NOISE: f64 = 20e-6;

fn main() -> ExitCode {
    use {apparmor::*, disruptions::*, faults::*, leap::*, power::*, ppp::*, steering::*, vrf::*};
    harness::run(
        Arena::VirtualMachines,
        &[
            scenario!(a_date_wrong_by_years_is_stepped_at_boot),
            scenario!(the_daemon_keeps_the_clock_under_its_apparmor_profile).slow(),
            scenario!(a_frequency_error_of_500_ppm_is_corrected_in_both_directions).slow(),
            scenario!(a_foreign_tick_value_is_corrected).slow(),
            scenario!(without_steps_the_clock_is_slewed_and_never_goes_backwards).slow(),
            scenario!(the_kernels_error_figures_are_correct_on_a_bad_path).slow(),
            scenario!(a_step_beyond_the_panic_threshold_is_refused).slow(),
            scenario!(a_clock_set_by_another_program_is_corrected).slow(),
            scenario!(the_bound_holds_through_an_hour_of_holdover).slow(),
            scenario!(a_daemon_killed_during_a_slew_leaves_a_usable_clock).slow(),
            scenario!(client_and_server_share_one_kernel).slow(),
            scenario!(a_leap_second_is_inserted_by_the_kernel).slow(),
            scenario!(a_leap_second_is_deleted_by_the_kernel).slow(),
            scenario!(a_smeared_leap_second_is_not_armed_in_the_kernel).slow(),
            scenario!(a_resumed_machine_serves_no_time_until_corrected).slow(),
            scenario!(a_returning_interface_is_used_at_once).slow(),
            scenario!(saved_state_survives_power_losses).slow(),
            scenario!(servers_with_one_address_in_two_vrfs_are_two_sources).slow(),
            scenario!(time_servers_of_pppd_come_and_go_with_the_link).slow(),
            scenario!(a_paused_machine_resynchronises_among_chronyd_neighbours).slow(),
        ],
    )
}

/// Configuration of the daemon with the guest's true time as the only source, and the lines of
/// `more`.
fn config(more: &str) -> String {
    format!(
        "[observability]\nlog-level = \"debug\"\nobservation-path = \"/run/observe\"\n\
         [sandbox]\nuser = \"root\"\n[state]\ndirectory = \"/var/lib/ntpd-rs\"\n\
         [[source]]\nmode = \"server\"\naddress = \"127.0.0.1:1123\"\n\
         [synchronization]\nminimum-agreeing-sources = 1\n{more}\n"
    )
}

/// A guest whose RTC shows `date`, with a true time that starts at `start` and has more `options`.
fn guest(name: &'static str, date: &str, start: i64, options: &str) -> Guest {
    Guest::new(name, date)
        .file("/etc/ntp.toml", &config(""))
        .script(&format!("TRUTH='--start {start} {options}'"))
}

/// Asserts that the error of the clock is within the kernel's `maxerror`.
#[track_caller]
fn assert_inside(comparison: &Record) {
    let (offset, bound) = (
        comparison.number("offset").abs(),
        comparison.number("maxerror"),
    );
    assert!(offset <= bound, "outside of maxerror: {comparison:?}");
}

/// Asserts that the error of the clock is below `limit` seconds and within the kernel's `maxerror`.
#[track_caller]
fn assert_close(comparison: &Record, limit: f64) {
    assert_inside(comparison);
    assert!(
        comparison.number("offset").abs() < limit,
        "not within {limit} s: {comparison:?}"
    );
}

/// Asserts that the error of the clock is not larger than the last measured paths allow: half of a
/// delay may be asymmetry, which a client cannot detect. How long the guest's processes wait for
/// each other therefore does not matter.
#[track_caller]
fn assert_settled(report: &Report, comparison: &Record) {
    let delays = report.all("delays").next().expect("delays of the paths");
    assert_close(comparison, delays.number("largest") / 2.0 + NOISE);
}

/// Asserts that the clock was reliable during a watch: synchronised, never backward, without jumps,
/// and always within `maxerror`.
#[track_caller]
fn assert_reliable(watch: &Record) {
    for fault in ["backward", "unsynchronized", "outside_maxerror", "jumps"] {
        assert_eq!(watch.value(fault), "0", "{watch:?}");
    }
}

/// Number of steps by the daemon in the reported log lines.
fn steps(report: &Report) -> usize {
    report.events("clock_stepped").len()
}
