//! Puts an NTP server under a load of known size and tells how it took it.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use ntp_nts_ke::failure::Failure;
use ntp_proto::keys::{Key, KeyFile, KeyId};
use ntp_proto::nts::{AeadAlgorithm, KeyExchangeResult};
use test_binaries::cli;
use test_binaries::load::{Dialect, KeyServer, Plan, Sources, run};

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
    ///
    /// IPv4 or IPv6, up to 16777216 addresses. Of an IPv6 network shorter than /64, each address is in a /64 of its own.
    #[arg(long, value_name = "NETWORK")]
    from: Option<Sources>,

    /// Clients, which ask in turn, each from its own address if --from has enough; else one for each address
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    clients: Option<u32>,

    /// Ask in interleaved mode (RFC 9769), each client from its second exchange on
    #[arg(long)]
    interleaved: bool,

    /// Sign requests with a key of this file, and take only answers that are signed with it
    ///
    /// One key a line: number, type, secret. Types are MD5, SHA1, SHA256, SHA384, SHA512, AES128 and AES256.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// Number of that key, if the file has more than one
    #[arg(long, value_name = "NUMBER", requires = "keys")]
    key: Option<KeyId>,

    /// Ask with NTS, with keys and cookies from this key-exchange server
    ///
    /// A port left out is 4460. There are 16 exchanges before the run; the clients share their keys and cookies. If answers stay
    /// away, cookies are used again, which is counted.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = cli::key_server, conflicts_with = "keys")]
    nts: Option<(String, u16)>,

    /// Authorities whose certificates are believed besides those of the system's
    #[arg(long, value_name = "FILE", requires = "nts")]
    ca: Option<PathBuf>,

    /// Number of the cipher for NTS: 15 (AES-SIV-CMAC-256), 17 (AES-SIV-CMAC-512) or 30 (AES-128-GCM-SIV)
    #[arg(long, value_name = "NUMBER", requires = "nts", default_value = "15", value_parser = cli::aead)]
    aead: AeadAlgorithm,

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

    /// Tell the processor time that this process takes during the run: the server, if it runs here
    #[arg(long, value_name = "PID")]
    process: Option<u32>,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

const EXIT: &str = "\
Every request is counted once: answered, late (after the patience), kissed (a refusal) or lost. What arrives and answers no request, \
or a second time, or without the right MAC or authenticator, is invalid. Latency is measured up to the kernel's receive stamp.

Ends with 0 after a good run, with 1 if there was none, and with 2 if the generator itself was too slow: then the reasons are printed \
behind SPOILED, and the figures say little about the server.";

fn main() -> ExitCode {
    let options = Options::parse();
    let key = match options.keys.as_deref() {
        None => None,
        Some(file) => match key(file, options.key) {
            Ok(key) => Some(key),
            Err(problem) => {
                eprintln!("{}: {problem}", file.display());
                return ExitCode::FAILURE;
            }
        },
    };
    let nts = match sessions(&options) {
        Ok(sessions) => sessions,
        Err(problem) => {
            eprintln!("no keys for NTS: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let plan = Plan {
        target: options.target,
        rate: options.rate,
        duration: options.duration,
        dialect: Dialect {
            interleaved: options.interleaved,
            key,
            nts,
        },
        sources: options.from,
        clients: options.clients,
        ports: options.ports.into(),
        burst: options.burst.into(),
        patience: options.patience,
        seed: options.seed,
        process: options.process,
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

/// Key exchanges of a run with NTS, and how many of them at once.
const EXCHANGES: usize = 16;
const TOGETHER: usize = 4;

/// Keys and cookies, if there is to be NTS.
fn sessions(options: &Options) -> Result<Vec<KeyExchangeResult>, Failure> {
    let Some((host, port)) = options.nts.clone() else {
        return Ok(Vec::new());
    };
    let server = KeyServer {
        host,
        port,
        authority: options.ca.clone(),
        algorithm: options.aead,
    };
    server.exchange(EXCHANGES, TOGETHER).into_iter().collect()
}

/// The key with this number; without one, the file's only key.
fn key(file: &Path, number: Option<KeyId>) -> Result<Arc<Key>, String> {
    let content = fs::read(file).map_err(|error| error.to_string())?;
    let keys = KeyFile::parse(&content).map_err(|problems| match problems.first() {
        Some(problem) => format!("line {}: {}", problem.line, problem.fault),
        None => "no key file".into(),
    })?;
    let mut all = keys.keys.iter();
    match (number, all.next(), all.next()) {
        (Some(number), ..) => {
            let key = keys.keys.get(number).cloned();
            key.ok_or_else(|| format!("there is no key {number}"))
        }
        (None, Some(only), None) => Ok(Arc::clone(only)),
        (None, None, _) => Err("there is no key".into()),
        (None, Some(_), Some(_)) => Err("there is more than one key: choose one with --key".into()),
    }
}
