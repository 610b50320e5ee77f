//! Load generator for NTS key-exchange servers.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ntp_os_clock::monotonic;
use ntp_proto::nts::AeadAlgorithm;
use serde_json::json;
use test_binaries::cli;
use test_binaries::load::{KeyServer, process_cpu};

/// Load generator for NTS key-exchange servers
///
/// Keeps several exchanges in progress, each with its own connection and handshake.
#[derive(Parser)]
#[command(name = "nts-ke-load", after_help = EXIT)]
struct Options {
    /// Key-exchange server; the default port is 4460
    #[arg(value_name = "HOST[:PORT]", value_parser = cli::key_server)]
    server: (String, u16),

    /// Number of exchanges
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,

    /// Number of parallel exchanges
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,

    /// PEM file of certificate authorities to trust in addition to the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// AEAD algorithm to offer, by number: 15 (AES-SIV-CMAC-256), 17 (AES-SIV-CMAC-512) or 30
    /// (AES-128-GCM-SIV)
    #[arg(long, value_name = "NUMBER", default_value = "15", value_parser = cli::aead)]
    aead: AeadAlgorithm,

    /// Report the CPU time of this process meanwhile (a server on this machine)
    #[arg(long, value_name = "PID")]
    process: Option<u32>,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

const EXIT: &str = "Exit status: 0 if all exchanges succeeded, else 1.";

fn main() -> ExitCode {
    let options = Options::parse();
    let (host, port) = options.server;
    let server = KeyServer {
        host,
        port,
        authority: options.ca,
        algorithm: options.aead,
    };
    let cpu = || options.process.map(process_cpu).transpose();
    let start = monotonic();
    let measured = cpu().and_then(|before| {
        let results = server.exchange(options.count as usize, options.concurrency.into());
        Ok((results, before, cpu()?))
    });
    let (results, before, after) = match measured {
        Ok(measured) => measured,
        Err(error) => {
            eprintln!("cannot read the CPU time of the process: {error}");
            return ExitCode::FAILURE;
        }
    };
    let elapsed = (monotonic() - start).as_seconds_f64();
    let good = results.iter().filter(|result| result.is_ok()).count();
    let failed = options.count as usize - good;
    let used = before
        .zip(after)
        .map(|(before, after)| (after.saturating_sub(before)).as_secs_f64());
    if let Some(Err(failure)) = results.iter().find(|result| result.is_err()) {
        eprintln!("one of {failed} failures: {failure}");
    }
    if options.json {
        let figures = json!({
            "exchanges": good,
            "failed": failed,
            "elapsed_seconds": elapsed,
            "rate": good as f64 / elapsed,
            "process_cpu_seconds": used,
        });
        println!("{figures:#}");
    } else {
        println!(
            "{good} exchanges, {failed} failed, {:.0} per second",
            good as f64 / elapsed
        );
        if let Some(used) = used {
            let each = used / good.max(1) as f64;
            println!(
                "server {:.1} us of CPU time per exchange: {:.0} per second and core",
                each * 1e6,
                1.0 / each
            );
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
