//! `cargo xtask bench`: what an answer costs, here and elsewhere. `instructions` counts what the pure part takes
//! (see there); the rest of this page is about `server`.
//!
//! # The set-up
//! Two network namespaces joined by a pair of virtual interfaces; the load generator pinned to one processor, the server to another. The
//! clients are some thousand addresses behind the generator. Everything is measured in turn and in one run, round
//! after round, since absolute times of a machine mean little and its moods change by the minute; the ratios are what counts.
//!
//! # The floor
//! `echo-floor` does what no server can do without: receive with a timestamp and a destination address, send back. It is run
//! in two ways, with batches and one by one, and the cheaper one is the floor.
//!
//! Our own server is measured twice: as it is, and without the rests that it takes under load (`rest-under-load`), which is how the
//! others work.
//!
//! # What is measured
//! Processor time of the server process, all threads, user and system, over answered requests. It includes the kernel's work on
//! the way out, and with virtual interfaces even the delivery to the generator's socket. The way in is on the generator's account.
//! Figures are medians over the rounds, with the range behind them.

mod arena;
mod build;
mod instructions;
mod server;
mod subject;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Processor time for each answered request: ours, chronyd's, and the least there can be. Needs root.
    Server(Plan),
    /// Instructions for each kind of request, against the baseline that is kept. Needs valgrind.
    Instructions(instructions::Plan),
}

/// How to measure a server.
#[derive(Clone, Debug, Args)]
struct Plan {
    /// Requests in a second; may be repeated
    #[arg(long = "rate", value_name = "NUMBER", default_values_t = [20_000, 50_000])]
    rates: Vec<u32>,

    /// Rounds; each measures every server at every rate
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Seconds for one measurement
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    duration: Duration,

    /// Also look for the highest rate with less than a thousandth lost
    #[arg(long)]
    peak: bool,

    /// Processor of the servers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    server_processor: u16,

    /// Processor of the load generator
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    load_processor: u16,

    /// chronyd, if it is neither unpacked in target/arena nor installed
    #[arg(long, value_name = "PATH")]
    chronyd: Option<PathBuf>,

    /// Print all figures as JSON
    #[arg(long)]
    json: bool,
}

/// Carries out a benchmark.
pub(crate) fn bench(arguments: &Arguments) -> Result<(), String> {
    match &arguments.what {
        What::Server(plan) => server::bench(plan),
        What::Instructions(plan) => instructions::bench(plan),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
