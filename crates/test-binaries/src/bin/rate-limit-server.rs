//! Answers with a `RATE` kiss whoever asks too often (RFC 5905 section 7.4), and properly whoever does not.
//!
//! The default of 30 s is a little below the 32 s poll interval that a client must have reached to be served.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::process::ExitCode;

use clap::Parser;
use test_binaries::{Behaviour, cli};

/// NTP server that kisses off (RATE) every client that asks too often
#[derive(Parser)]
#[command(name = "rate-limit-server")]
struct Options {
    #[command(flatten)]
    listen: cli::Listen,

    /// Seconds that a client address has to wait between requests
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = cli::interval)]
    minimum_interval: Duration,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let behaviour = Behaviour::rate_limiting(options.minimum_interval);
    options.listen.serve(behaviour)
}
