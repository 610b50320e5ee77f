//! Development tasks that are too long or too special for `cargo test`.
#![forbid(unsafe_code)]

mod accuracy;
mod bench;
mod dist;
mod guests;
mod manual;
mod parallel;
mod size;
mod soak;
mod torture;
mod worlds;

use std::process::ExitCode;

use clap::Parser;

/// Development tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Accuracy in simulated scenarios, compared with chrony and ntpd-rs.
    Accuracy(accuracy::Arguments),
    /// Thousands of random scenarios with faults and attackers, in which invariants must hold.
    Worlds(worlds::Arguments),
    /// Benchmarks, compared with chronyd and a minimal server.
    Bench(bench::Arguments),
    /// Manual pages and shell completions.
    Manual(manual::Arguments),
    /// Crash tests: the daemon is killed at random times, many times.
    Torture(torture::Arguments),
    /// Hours of our daemon and of chronyd in virtual machines: memory, processor time, wake-ups and error.
    Soak(soak::Arguments),
    /// Packages for Debian and for rpm distributions.
    Dist(dist::Arguments),
    /// Lines of shipped code, and functions over 70 lines.
    Size(size::Arguments),
}

fn main() -> ExitCode {
    let result = match Task::parse() {
        Task::Accuracy(arguments) => accuracy::accuracy(&arguments),
        Task::Worlds(arguments) => worlds::worlds(&arguments),
        Task::Bench(arguments) => bench::bench(&arguments),
        Task::Manual(arguments) => manual::manual(&arguments),
        Task::Torture(arguments) => torture::torture(&arguments),
        Task::Soak(arguments) => soak::soak(&arguments),
        Task::Dist(arguments) => dist::dist(&arguments),
        Task::Size(arguments) => size::size(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
