//! Answers every request with a `DENY` kiss (RFC 5905 section 7.4): clients must stop using it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use test_binaries::{Behaviour, cli};

/// NTP server that answers every request with a DENY kiss-o'-death
#[derive(Parser)]
#[command(name = "demobilize-server")]
struct Options {
    #[command(flatten)]
    listen: cli::Listen,
}

fn main() -> ExitCode {
    Options::parse().listen.serve(Behaviour::demobilizing())
}
