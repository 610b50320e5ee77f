//! Answers too frequent requests with a `RATE` kiss (RFC 5905 section 7.4), others normally.
//!
//! The default of 30 s is slightly below the 32 s poll interval that a client must reach to be
//! served.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::process::ExitCode;

use clap::Parser;
use test_binaries::{Behaviour, cli};

/// NTP server that answers too frequent requests with a RATE kiss-o'-death
#[derive(Parser)]
#[command(name = "rate-limit-server")]
struct Options {
    #[command(flatten)]
    listen: cli::Listen,

    /// Minimum seconds between requests of a client address
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = cli::interval)]
    minimum_interval: Duration,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let behaviour = Behaviour::rate_limiting(options.minimum_interval);
    options.listen.serve(behaviour)
}
