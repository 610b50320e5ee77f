//! Serves a time derived from the unsteered oscillator, and compares the system clock with it.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ntp_time::{Frequency, NtpDuration, SystemTime};
use test_binaries::comparison::{Comparison, Reading, ServerReply, WatchSummary};
use test_binaries::receiver::Receiver;
use test_binaries::true_time::{LeapSecond, TrueTime};
use test_binaries::wander::Wander;
use test_binaries::{ReferenceServer, Source, cli, pulse};

/// True time that adjtimex(2) does not move, for machines whose clock is under test
#[derive(Parser)]
#[command(name = "true-clock")]
struct Options {
    #[command(flatten)]
    truth: Truth,

    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Truth {
    /// UTC when CLOCK_MONOTONIC_RAW reads zero, in seconds since 1970
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, value_parser = seconds)]
    start: NtpDuration,

    /// Frequency of true time relative to the machine's oscillator, in parts per million (positive:
    /// faster)
    #[arg(
        long,
        value_name = "PPM",
        default_value_t = 0.0,
        allow_hyphen_values = true
    )]
    rate: f64,

    /// Time of a change of the rate, in seconds of CLOCK_MONOTONIC_RAW
    #[arg(long, value_name = "SECONDS", requires = "rate_change", value_parser = seconds)]
    rate_change_at: Option<NtpDuration>,

    /// Size of that change, in parts per million
    #[arg(
        long,
        value_name = "PPM",
        default_value_t = 0.0,
        allow_hyphen_values = true
    )]
    rate_change: f64,

    /// Wander of the frequency: its random change in each second, in s/s
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0)]
    wander: f64,

    /// Duration of the wander in seconds of CLOCK_MONOTONIC_RAW; then the frequency stays
    #[arg(long, value_name = "SECONDS", default_value_t = 100_000)]
    wander_for: u32,

    /// Seed of the wander
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    wander_seed: u64,

    /// Midnight before which a leap second is inserted, in seconds since 1970
    #[arg(long, value_name = "SECONDS", conflicts_with = "delete_before", value_parser = seconds)]
    insert_before: Option<NtpDuration>,

    /// Midnight before which a second is deleted, in seconds since 1970
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    delete_before: Option<NtpDuration>,

    /// How long before the leap second it is announced, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    notice: NtpDuration,
}

#[derive(Subcommand)]
enum Command {
    /// Serve true time
    Serve {
        #[command(flatten)]
        listen: cli::Listen,
        #[command(flatten)]
        behaviour: cli::BehaviourOptions,
    },
    /// Compare the system clock with true time once
    Compare,
    /// Query an NTP server, and compare its reply with true time
    Query {
        /// Address and port
        server: SocketAddr,
    },
    /// Set the system clock, as another program would
    Set {
        /// Offset from true time in seconds (positive: ahead)
        #[arg(allow_hyphen_values = true, value_parser = seconds)]
        offset: NtpDuration,
    },
    /// Raise a pulse at each second of true time, by an emulated parallel port
    Pulse {
        /// Input and output ports of the machine
        #[arg(long, value_name = "FILE", default_value = "/dev/port")]
        ports: PathBuf,
    },
    /// Send samples of true time to a daemon's socket, as the program behind a receiver does
    Receiver {
        /// The socket
        socket: PathBuf,
        /// Standard deviation of the error of a sample in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
        jitter: f64,
        /// Time between two samples in seconds
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = cli::interval)]
        every: Duration,
        /// Seed of the errors
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        seed: u64,
    },
    /// Compare the system clock with true time repeatedly, and print statistics
    Watch {
        /// Duration in seconds
        #[arg(long = "for", value_name = "SECONDS", value_parser = cli::interval)]
        span: Duration,
        /// Interval in seconds
        #[arg(long, value_name = "SECONDS", default_value = "0.1", value_parser = cli::interval)]
        every: Duration,
    },
}

impl Truth {
    fn time(&self) -> TrueTime {
        let epoch = SystemTime::from_nanos(0);
        let before = self.insert_before.or(self.delete_before);
        TrueTime {
            start: epoch + self.start,
            rate: Frequency::from_ppm(self.rate),
            rate_change: self
                .rate_change_at
                .map(|at| (at, Frequency::from_ppm(self.rate_change))),
            leap: before.map(|before| LeapSecond {
                before: epoch + before,
                deleted: self.delete_before.is_some(),
                notice: self.notice,
            }),
            wander: (self.wander > 0.0)
                .then(|| Wander::new(self.wander, self.wander_seed, self.wander_for)),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("true-clock: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let truth = options.truth.time();
    let mut out = io::stdout();
    match &options.command {
        Command::Serve { listen, behaviour } => serve(truth, listen.listen, behaviour),
        Command::Compare => writeln!(out, "{}", Comparison::take(&truth)?),
        Command::Query { server } => writeln!(out, "{}", ServerReply::query(*server, &truth)?),
        Command::Pulse { ports } => pulse::at_each_second(&truth, ports),
        Command::Receiver {
            socket,
            jitter,
            every,
            seed,
        } => {
            let receiver = Receiver {
                interval: *every,
                jitter: *jitter,
                seed: *seed,
            };
            receiver.send(&truth, socket)
        }
        Command::Set { offset } => Reading::set_system(&truth, *offset),
        Command::Watch { span, every } => {
            writeln!(out, "{}", WatchSummary::collect(&truth, *span, *every)?)
        }
    }
}

fn serve(truth: TrueTime, listen: SocketAddr, behaviour: &cli::BehaviourOptions) -> io::Result<()> {
    let server = ReferenceServer::bind_with(listen, behaviour.behaviour(), 0, Source::True(truth))?;
    println!("listening on {}", server.address());
    server.wait()
}

fn seconds(text: &str) -> Result<NtpDuration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Ok(NtpDuration::from_nanos((seconds * 1e9) as i64)),
        _ => Err("not a number of seconds".into()),
    }
}
