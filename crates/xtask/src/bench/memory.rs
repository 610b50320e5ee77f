//! Memory of the real daemon before and after 16 million clients.
//!
//! A server that kept something for each client would be easy to fill: source addresses are forged at will. Ours keeps tables of
//! a configured size, taken when it starts. Here both are in use, the rate limit's and that of interleaved mode. First some thousand clients in interleaved
//! mode come until the tables' pages have all been touched, then as many addresses as asked for, each once, over IPv4 and over IPv6, where each is in a
//! /64 of its own. An address counts when it was answered.
//!
//! The resident set must not grow by more than [`SLACK`] between the two.

use std::fs;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::arena::{Arena, CLIENTS, MILLIONS, MILLIONS_V6, SERVER, SERVER_V6, Urgency};
use super::load::Generator;
use super::server::await_answers;
use super::subject::{Stage, Subject};

/// How to flood.
#[derive(Clone, Debug, Args)]
pub(super) struct Plan {
    /// Distinct addresses of each family
    #[arg(long, value_name = "NUMBER", default_value_t = 1 << 24, value_parser = clap::value_parser!(u32).range(1000..=1 << 24))]
    clients: u32,

    /// Requests in a second
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000)]
    rate: u32,

    /// Processor of the server
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    server_processor: u16,

    /// Processor of the load generator
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    load_processor: u16,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What the daemon may grow by, in kilobytes: pages of stacks and of the main thread's buffers.
const SLACK: u64 = 256;
/// The tables: 1 MB of buckets, 1.5 MB of pairs.
const TABLES: &str = "rate-limiting-cache-size = 65536\nrate-limiting-cutoff-ms = 1\n\
                      interleaved-cache-size = 65536\n";
/// What fills them beforehand: every bucket and pair several times over.
const FILLING_SECONDS: u64 = 12;
const FILLING_RATE: f64 = 30_000.0;

pub(super) fn bench(plan: &Plan) -> Result<(), String> {
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let arena = Arena::new()?;
    let mut stage = Stage {
        arena: &arena,
        processor: plan.server_processor,
        files: files.path(),
        urgency: Urgency::InTurn,
        host: SERVER.into(),
        port: 12_300,
    };
    let generator = Generator::new(&arena, plan.load_processor)?.patient();
    let mut rows = Vec::new();
    for (family, host, filling, clients) in [
        ("IPv4", SERVER.into(), CLIENTS, MILLIONS),
        ("IPv6", SERVER_V6.into(), MILLIONS_V6, MILLIONS_V6),
    ] {
        stage.host = host;
        let mut daemon = stage.daemon("ntp-daemon", "", TABLES)?;
        await_answers(&generator, &mut daemon)?;
        eprintln!("{family}: filling the tables");
        let options = ["--interleaved", "--clients", "65536", "--from", filling];
        let seconds = Duration::from_secs(FILLING_SECONDS);
        generator.run(
            daemon.address,
            FILLING_RATE,
            seconds,
            &options.map(String::from),
        )?;
        let before = resident(&daemon)?;
        eprintln!("{family}: {} clients", plan.clients);
        let options = ["--clients", &plan.clients.to_string(), "--from", clients];
        let seconds = Duration::from_secs_f64(f64::from(plan.clients) / f64::from(plan.rate));
        let outcome = generator.run(
            daemon.address,
            plan.rate.into(),
            seconds,
            &options.map(String::from),
        )?;
        rows.push(Row {
            family,
            before,
            after: resident(&daemon)?,
            answered: outcome.count("answered"),
        });
    }
    if plan.json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        println!("{:#}", json!({ "asked": plan.clients, "families": rows }));
    } else {
        for row in &rows {
            println!("{}", row.line());
        }
    }
    match rows.iter().find(|row| row.after > row.before + SLACK) {
        None => Ok(()),
        Some(row) => Err(format!("memory grew with the clients of {}", row.family)),
    }
}

/// What one family's clients have left behind.
struct Row {
    family: &'static str,
    /// Resident kilobytes.
    before: u64,
    after: u64,
    answered: u64,
}

impl Row {
    fn line(&self) -> String {
        let Self {
            family,
            before,
            after,
            answered,
        } = self;
        format!(
            "{family}: {before} kB resident; after {answered} new addresses were answered, {after} kB"
        )
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "family": self.family,
            "answered": self.answered,
            "resident_kb": { "before": self.before, "after": self.after },
        })
    }
}

fn resident(daemon: &Subject) -> Result<u64, String> {
    let path = format!("/proc/{}/status", daemon.id());
    let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("{path} tells no resident set"))
}
