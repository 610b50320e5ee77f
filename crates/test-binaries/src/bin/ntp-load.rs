//! Load generator for NTP servers.
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
use test_binaries::load::{ClientProtocol, KeyServer, Plan, Sources, run};

/// Open-loop load generator for NTP servers
#[derive(Parser)]
#[command(name = "ntp-load", after_help = EXIT)]
struct Options {
    /// Address and port of the server
    target: SocketAddr,

    /// Requests per second
    #[arg(long, value_name = "NUMBER", default_value = "1000", value_parser = rate)]
    rate: f64,

    /// Duration of the run in seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = cli::interval)]
    duration: Duration,

    /// Network of source addresses; they must be local to the machine (127.0.0.0/8, or a local
    /// route)
    ///
    /// IPv4 or IPv6, up to 16777216 addresses. For an IPv6 prefix shorter than /64, each address is
    /// in its own /64.
    #[arg(long, value_name = "NETWORK")]
    from: Option<Sources>,

    /// Number of clients, which send in turn, each from its own address if --from has enough
    /// [default: one per address]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    clients: Option<u32>,

    /// Use interleaved mode (RFC 9769), from the second exchange of each client on
    #[arg(long)]
    interleaved: bool,

    /// Authenticate requests with a key of this file, and accept only replies authenticated with it
    ///
    /// One key per line: number, type, secret. Types are MD5, SHA1, SHA256, SHA384, SHA512, AES128
    /// and AES256.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// Number of the key, if the file has more than one
    #[arg(long, value_name = "NUMBER", requires = "keys")]
    key: Option<KeyId>,

    /// Use NTS with keys and cookies from this key-exchange server
    ///
    /// The default port is 4460. There are 16 exchanges before the run; the clients share their
    /// keys and cookies. Without replies, cookies are reused and counted.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = cli::key_server, conflicts_with = "keys")]
    nts: Option<(String, u16)>,

    /// PEM file of certificate authorities to trust in addition to the system's
    #[arg(long, value_name = "FILE", requires = "nts")]
    ca: Option<PathBuf>,

    /// AEAD algorithm for NTS by number: 15 (AES-SIV-CMAC-256), 17 (AES-SIV-CMAC-512) or 30
    /// (AES-128-GCM-SIV)
    #[arg(long, value_name = "NUMBER", requires = "nts", default_value = "15", value_parser = cli::aead)]
    aead: AeadAlgorithm,

    /// Protocol version of the requests: 4 or 5
    #[arg(
        long, value_name = "VERSION", default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=5),
        conflicts_with_all = ["interleaved", "keys", "nts"]
    )]
    ntp_version: u8,

    /// Number of source ports
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    ports: u16,

    /// Requests sent together
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    burst: u16,

    /// Seconds after which a reply counts as late
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = cli::interval)]
    timeout: Duration,

    /// Seed of the random generator
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,

    /// Report the CPU time of this process during the run (a server on this machine)
    #[arg(long, value_name = "PID")]
    process: Option<u32>,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

const EXIT: &str = "\
Every request is counted once: answered, late (after --timeout), kissed (kiss-o'-death) or lost. Datagrams that match no request, are \
duplicates, or lack the right MAC or authenticator count as invalid. Latency ends at the kernel's receive timestamp.

Exit status: 0 after a valid run, 1 if the run failed, 2 if the generator itself was too slow: then the reasons are printed after \
SPOILED, and the figures do not characterise the server.";

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
            eprintln!("NTS key exchange failed: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let plan = Plan {
        target: options.target,
        rate: options.rate,
        duration: options.duration,
        protocol: ClientProtocol {
            interleaved: options.interleaved,
            key,
            nts,
            version_5: options.ntp_version == 5,
        },
        sources: options.from,
        clients: options.clients,
        ports: options.ports.into(),
        burst: options.burst.into(),
        timeout: options.timeout,
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

/// Number of key exchanges of a run with NTS, and of parallel ones.
const EXCHANGES: usize = 16;
const PARALLEL_EXCHANGES: usize = 4;

/// Performs the key exchanges, if the options select NTS.
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
    server
        .exchange(EXCHANGES, PARALLEL_EXCHANGES)
        .into_iter()
        .collect()
}

/// Returns the key with this number, or the only key of the file.
fn key(file: &Path, number: Option<KeyId>) -> Result<Arc<Key>, String> {
    let content = fs::read(file).map_err(|error| error.to_string())?;
    let keys = KeyFile::parse(&content).map_err(|problems| match problems.first() {
        Some(problem) => format!("line {}: {}", problem.line, problem.error),
        None => "not a key file".into(),
    })?;
    let mut all = keys.keys.iter();
    match (number, all.next(), all.next()) {
        (Some(number), ..) => {
            let key = keys.keys.get(number).cloned();
            key.ok_or_else(|| format!("no key {number}"))
        }
        (None, Some(only), None) => Ok(Arc::clone(only)),
        (None, None, _) => Err("no key".into()),
        (None, Some(_), Some(_)) => Err("more than one key: select one with --key".into()),
    }
}
