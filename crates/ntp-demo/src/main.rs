//! A demonstration without network, privileges or configuration.
//!
//! It starts a small NTP server on the loopback interface, which serves the time of this machine,
//! and the daemon's engine with a virtual clock that starts a quarter of a second wrong and runs 40
//! ppm fast. Packets, sockets and timestamps are real; only the clock is software, so its true
//! error is known and shown beside the daemon's estimate. After the given time it reports whether
//! the true error was within the reported bound and below 100 us, and exits with 0 only then.
#![forbid(unsafe_code)]

mod screen;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ntp_daemon::runtime::{DisruptionMonitor, Ending, Parts, RefClocks, Runtime, after};
use ntp_daemon::status::true_offset;
use ntp_daemon::{LeapList, Store, convert};
use ntp_os_clock::{Clock, monotonic};
use ntp_proto::client::AssociationConfig;
use ntp_proto::discipline::{self, SelectionOptions};
use ntp_proto::engine::{EngineConfig, Host, SourceConfig, SourceKind};
use ntp_time::{Frequency, NtpDuration, PollInterval, PollLimits};
use ntp_udp::{SocketOptions, signals};
use test_binaries::{Behaviour, ReferenceServer};

use screen::{Row, Screen};

/// Error of the virtual clock at the start.
const OFFSET: NtpDuration = NtpDuration::from_millis(250);
/// Frequency error of its oscillator.
const FREQUENCY: Frequency = Frequency::from_ppm(40.0);
/// Error that the demonstration promises at its end.
const PROMISE: NtpDuration = NtpDuration::from_micros(100);

/// Watch the daemon correct a wrong clock.
#[derive(Debug, Parser)]
#[command(name = "ntp-demo", version)]
struct Cli {
    /// How long to run
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match demonstrate(cli.seconds) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("ntp-demo: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(seconds: u32) -> Result<bool, Box<dyn std::error::Error>> {
    signals::install()?;
    let server = ReferenceServer::bind(([127, 0, 0, 1], 0).into(), Behaviour::default()).map_err(
        |error| io::Error::other(format!("cannot serve on the loopback interface: {error}")),
    )?;
    let clock = Clock::new_virtual(OFFSET, FREQUENCY);
    let config = engine_config(&clock, server.address())?;
    let parts = Parts {
        clock,
        sockets: SocketOptions::default(),
        store: Store::new(None),
        leap_list: LeapList::default(),
        disruptions: DisruptionMonitor::default(),
        ref_clocks: Some(RefClocks::default()),
        history: None,
        clockbound: None,
        observation_socket: None,
        chronyc: None,
        recorder: None,
        // Nothing here needs to be unpredictable, so each demonstration polls at the same times.
        seed: [0; 32],
    };
    let mut runtime = Runtime::new(config, parts);
    let mut screen = Screen::new(server.address(), OFFSET, FREQUENCY);
    let started = monotonic();
    for second in 1..=seconds {
        let until = started + NtpDuration::from_seconds(second.into());
        if let Ending::Halted(halt) = runtime.run(Some(until.min(after(Duration::from_secs(1)))))? {
            return Err(halt.to_string().into());
        }
        if signals::terminate_requested() {
            break;
        }
        screen.show(&row(second, &runtime))?;
    }
    runtime.shut_down()?;
    let last = row(seconds, &runtime);
    let inside = last.is_inside();
    let small = last.true_error.abs() < PROMISE;
    screen.conclude(&last, inside, small, PROMISE)?;
    Ok(inside && small)
}

fn row(second: u32, runtime: &Runtime) -> Row {
    let status = runtime.status();
    let system = status.system;
    let source = status.sources.first();
    Row {
        second,
        true_error: true_offset(runtime.clock()).unwrap_or(NtpDuration::MAX),
        synchronized: system.synchronized,
        frequency: system.frequency,
        frequency_uncertainty: system.frequency_uncertainty,
        estimated_error: system.estimated_error,
        bound: system.error_bound,
        poll: source.map(|source| source.poll),
        replies: source.map_or(0, |source| source.packets.accepted),
    }
}

fn engine_config(
    clock: &Clock,
    server: std::net::SocketAddr,
) -> Result<EngineConfig, ntp_os_clock::ClockError> {
    let poll = PollLimits {
        min: PollInterval::from_log2(1),
        max: PollInterval::from_log2(4),
    };
    Ok(EngineConfig {
        sources: vec![SourceConfig {
            name: server.to_string(),
            host: Host::Address(server.ip()),
            port: server.port(),
            kind: SourceKind::Server,
            association: AssociationConfig {
                limits: poll,
                initial_poll: poll.min,
                ..AssociationConfig::default()
            },
            selection: SelectionOptions::default(),
        }],
        discipline: discipline::Config {
            minimum_agreeing_sources: 1,
            ..discipline::Config::default()
        },
        warn_on_jump: false,
        clock: convert::clock_facts(clock)?,
        ..EngineConfig::default()
    })
}
