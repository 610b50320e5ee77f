//! Serves the system clock with a known error and configurable misbehaviour.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use test_binaries::cli;

/// NTP server with a known clock error and configurable misbehaviour
#[derive(Parser)]
#[command(name = "test-server")]
struct Options {
    #[command(flatten)]
    listen: cli::Listen,

    #[command(flatten)]
    behaviour: cli::BehaviourOptions,
}

fn main() -> ExitCode {
    let options = Options::parse();
    options.listen.serve(options.behaviour.behaviour())
}
