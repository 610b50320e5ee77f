//! Answers every request with a `DENY` kiss (RFC 5905 section 7.4): a client has to give this server up.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use test_binaries::{Behaviour, cli};

/// NTP server that tells every client to go away (DENY kiss)
#[derive(Parser)]
#[command(name = "demobilize-server")]
struct Options {
    #[command(flatten)]
    listen: cli::Listen,
}

fn main() -> ExitCode {
    Options::parse().listen.serve(Behaviour::demobilizing())
}
