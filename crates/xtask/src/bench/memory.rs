//! Memory of the daemon before and after 16 million clients.
//!
//! State per client would be easy to exhaust, as source addresses can be forged. The server has
//! tables of configured size, allocated at start-up. Here both are in use, that of the rate limit
//! and that of interleaved mode. First some thousand clients in interleaved mode send requests
//! until all pages of the tables are touched, then the given number of addresses send one request
//! each, over IPv4 and over IPv6, where each is in a /64 of its own. Only answered requests count.
//!
//! The resident set must not grow by more than [`SLACK`] between the two.

use std::fs;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::load::Generator;
use super::namespaces::{CLIENTS, MILLIONS, MILLIONS_V6, Namespaces, Priority, SERVER, SERVER_V6};
use super::server::await_answers;
use super::subject::{Launcher, Subject};

/// Options.
#[derive(Clone, Debug, Args)]
pub(super) struct Plan {
    /// Distinct addresses of each family
    #[arg(long, value_name = "NUMBER", default_value_t = 1 << 24, value_parser = clap::value_parser!(u32).range(1000..=1 << 24))]
    clients: u32,

    /// Requests per second
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

/// Tolerated growth in kilobytes: pages of stacks and of buffers of the main thread.
const SLACK: u64 = 256;
/// The tables: 1 MB of buckets, 1.5 MB of pairs.
const TABLES: &str = "rate-limiting-cache-size = 65536\nrate-limiting-cutoff-ms = 1\n\
                      interleaved-cache-size = 65536\n";
/// Load that fills them first: every bucket and pair several times.
const FILLING_SECONDS: u64 = 12;
const FILLING_RATE: f64 = 30_000.0;

pub(super) fn bench(plan: &Plan) -> Result<(), String> {
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let namespaces = Namespaces::new()?;
    let mut launcher = Launcher {
        namespaces: &namespaces,
        processor: plan.server_processor,
        files: files.path(),
        priority: Priority::Normal,
        host: SERVER.into(),
        port: 12_300,
    };
    let generator = Generator::new(&namespaces, plan.load_processor)?.with_normal_priority();
    let mut rows = Vec::new();
    for (family, host, filling, clients) in [
        ("IPv4", SERVER.into(), CLIENTS, MILLIONS),
        ("IPv6", SERVER_V6.into(), MILLIONS_V6, MILLIONS_V6),
    ] {
        launcher.host = host;
        let mut daemon = launcher.daemon("ntp-daemon", "", TABLES)?;
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

/// Memory before and after the clients of an address family.
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
    number.ok_or_else(|| format!("{path} has no resident set"))
}
