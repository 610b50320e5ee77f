//! A truth of its own, counted by the oscillator that nobody steers: serves it, and compares the system clock with it.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ntp_time::{Frequency, NtpDuration, SystemTime};
use test_binaries::true_time::{LeapSecond, TrueTime};
use test_binaries::witness::{Answer, Look, Reading, Watch};
use test_binaries::{ReferenceServer, Source, cli};

/// A truth that no adjtimex(2) moves, for machines whose clock is under test
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

    /// Parts per million by which truth runs faster than the machine's oscillator
    #[arg(
        long,
        value_name = "PPM",
        default_value_t = 0.0,
        allow_hyphen_values = true
    )]
    rate: f64,

    /// When the rate changes, in seconds of CLOCK_MONOTONIC_RAW
    #[arg(long, value_name = "SECONDS", requires = "turn_by", value_parser = seconds)]
    turn_at: Option<NtpDuration>,

    /// By how much it changes, in parts per million
    #[arg(
        long,
        value_name = "PPM",
        default_value_t = 0.0,
        allow_hyphen_values = true
    )]
    turn_by: f64,

    /// The midnight before which a second is inserted, in seconds since 1970
    #[arg(long, value_name = "SECONDS", conflicts_with = "delete_before", value_parser = seconds)]
    insert_before: Option<NtpDuration>,

    /// The midnight before which a second is left out
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    delete_before: Option<NtpDuration>,

    /// How long before, the leap second is announced
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    notice: NtpDuration,
}

#[derive(Subcommand)]
enum Command {
    /// Serve it
    Serve {
        #[command(flatten)]
        listen: cli::Listen,
        #[command(flatten)]
        conduct: cli::Conduct,
    },
    /// Compare the system clock with it, once
    Look,
    /// Ask an NTP server, and compare its answer with it
    Ask {
        /// Address and port
        server: SocketAddr,
    },
    /// Set the system clock, as some other program would
    Set {
        /// How far ahead of truth
        #[arg(allow_hyphen_values = true, value_parser = seconds)]
        offset: NtpDuration,
    },
    /// Compare them again and again, and sum up
    Watch {
        /// For so long
        #[arg(long = "for", value_name = "SECONDS", value_parser = cli::interval)]
        span: Duration,
        /// So often
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
            turn: self
                .turn_at
                .map(|at| (at, Frequency::from_ppm(self.turn_by))),
            leap: before.map(|before| LeapSecond {
                before: epoch + before,
                deleted: self.delete_before.is_some(),
                notice: self.notice,
            }),
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
        Command::Serve { listen, conduct } => serve(truth, listen.listen, conduct),
        Command::Look => writeln!(out, "{}", Look::take(&truth)?),
        Command::Ask { server } => writeln!(out, "{}", Answer::ask(*server, &truth)?),
        Command::Set { offset } => Reading::set_system(&truth, *offset),
        Command::Watch { span, every } => writeln!(out, "{}", Watch::keep(&truth, *span, *every)?),
    }
}

fn serve(truth: TrueTime, listen: SocketAddr, conduct: &cli::Conduct) -> io::Result<()> {
    let server = ReferenceServer::bind_with(listen, conduct.behaviour(), 0, Source::True(truth))?;
    println!("listening on {}", server.address());
    server.wait()
}

fn seconds(text: &str) -> Result<NtpDuration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Ok(NtpDuration::from_nanos((seconds * 1e9) as i64)),
        _ => Err("not a number of seconds".into()),
    }
}
