//! Tasks of development that are too long or too special for `cargo test`.
#![forbid(unsafe_code)]

mod accuracy;
mod bench;
mod dist;
mod manual;
mod parallel;
mod torture;
mod worlds;

use std::process::ExitCode;

use clap::Parser;

/// Development tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// How well we keep time, beside chrony and ntpd-rs in the same worlds.
    Accuracy(accuracy::Arguments),
    /// Thousands of random worlds with faults and attackers, and what must hold in all of them.
    Worlds(worlds::Arguments),
    /// What an answer costs, beside chronyd and the least there can be.
    Bench(bench::Arguments),
    /// Manual pages and shell completions.
    Manual(manual::Arguments),
    /// The daemon killed over and over, at moments of chance.
    Torture(torture::Arguments),
    /// Packages for Debian and for rpm distributions.
    Dist(dist::Arguments),
}

fn main() -> ExitCode {
    let result = match Task::parse() {
        Task::Accuracy(arguments) => accuracy::accuracy(&arguments),
        Task::Worlds(arguments) => worlds::worlds(&arguments),
        Task::Bench(arguments) => bench::bench(&arguments),
        Task::Manual(arguments) => manual::manual(&arguments),
        Task::Torture(arguments) => torture::torture(&arguments),
        Task::Dist(arguments) => dist::dist(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
