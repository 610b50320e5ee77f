//! Serves the system clock with a known error, and does wrong whatever it is asked to.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use test_binaries::cli;

/// NTP server of known error that misbehaves on demand
#[derive(Parser)]
#[command(name = "test-server")]
struct Options {
    #[command(flatten)]
    listen: cli::Listen,

    #[command(flatten)]
    conduct: cli::Conduct,
}

fn main() -> ExitCode {
    let options = Options::parse();
    options.listen.serve(options.conduct.behaviour())
}
