//! Puts an NTP server under a load of known size and tells how it took it.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use test_binaries::cli;
use test_binaries::load::{Plan, Sources, run};

/// Open-loop load generator for NTP servers
#[derive(Parser)]
#[command(name = "ntp-load", after_help = EXIT)]
struct Options {
    /// Address and port of the server
    target: SocketAddr,

    /// Requests in a second
    #[arg(long, value_name = "NUMBER", default_value = "1000", value_parser = rate)]
    rate: f64,

    /// For how many seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = cli::interval)]
    duration: Duration,

    /// Network whose addresses to send from; the machine must take them for its own (127.0.0.0/8, or a local route)
    #[arg(long, value_name = "NETWORK")]
    from: Option<Sources>,

    /// Ports to send from
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    ports: u16,

    /// Requests that leave together
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    burst: u16,

    /// Seconds after which an answer is late
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = cli::interval)]
    patience: Duration,

    /// Seed for what is random
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

const EXIT: &str = "Ends with 0 after a good run, with 1 if there was none, and with 2 if the generator itself was too slow.";

fn main() -> ExitCode {
    let options = Options::parse();
    let plan = Plan {
        target: options.target,
        rate: options.rate,
        duration: options.duration,
        sources: options.from,
        ports: options.ports.into(),
        burst: options.burst.into(),
        patience: options.patience,
        seed: options.seed,
    };
    let report = match run(&plan) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("cannot send to {}: {error}", options.target);
            return ExitCode::FAILURE;
        }
    };
    if options.json {
        println!("{:#}", report.to_json());
    } else {
        println!("{report}");
    }
    if report.spoiled.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=1e8).contains(&rate) => Ok(rate),
        _ => Err("not a number from 0.1 to 100 million".into()),
    }
}
