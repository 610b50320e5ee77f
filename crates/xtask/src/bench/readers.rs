//! Time to read the state of a daemon with a thousand sources.
//!
//! Each interface is used [`READS`] times; the median counts, and the maximum is shown. First
//! without other clients, then while [`IDLE`] clients have each socket open without sending a
//! request: idle clients must not delay others.
//!
//! The sources are addresses of the loopback interface, all served by one server.

#![expect(
    clippy::disallowed_methods,
    reason = "a measurement on the real machine, in real time"
)]

use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ntp_control_api::control::client::Client;
use ntp_control_api::control::methods::{GetStatus, NoInput};
use ntp_control_api::observation::fetch as observe;

use super::build;
use super::process::{
    Process, Programs, Row, TIMEOUT, exporter_address, fetch, free_ports, source,
};

/// Sources in each network.
const SOURCES: u8 = 250;
/// Networks.
const NETWORKS: u8 = 4;
/// Clients that open a socket and send nothing.
const IDLE: usize = 200;
/// Requests of the initial burst.
const BURST: u64 = 8;
/// Reads over each interface.
const READS: usize = 50;
/// Limit in milliseconds.
const LIMIT: f64 = 20.0;

pub(super) fn bench() -> Result<(), String> {
    let daemon = build::binary("ntpd", "ntp-daemon")?;
    let ctl = build::binary("ntpd", "ntp-ctl")?;
    let exporter = build::binary("ntpd", "ntp-metrics-exporter")?;
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let programs = Programs {
        files: files.path(),
        daemon: &daemon,
        ctl: &ctl,
    };
    let port = free_ports(1)?[0];
    let serving =
        format!("[[server]]\nlisten = \"0.0.0.0:{port}\"\n[synchronization]\nlocal-stratum = 1\n");
    let _server = programs.start("server", &serving, "none")?;
    let mut sources = String::new();
    for network in 1..=NETWORKS {
        for host in 1..=SOURCES {
            let _ = sources.write_str(&source(([127, 1, network, host], port).into()));
        }
    }
    let daemon = programs.start("daemon", &sources, "virtual")?;
    let directory = files.path().join("daemon");
    let reader = Reader {
        control: directory.join("control"),
        observation: directory.join("observe"),
        ctl: &ctl,
        config: &daemon.config,
    };
    reader.wait_for_all(usize::from(SOURCES) * usize::from(NETWORKS))?;
    let exporter = Process::spawn(&exporter, &daemon.config)?;
    let page = exporter_address(&daemon.config)?;
    fetch(page, "/metrics")?;

    let mut rows = Vec::new();
    reader.measure(
        &mut rows,
        [
            "alone: GetStatus",
            "alone: observation socket",
            "alone: `ntp-ctl status`, the whole program",
        ],
    )?;
    let scrape = Series::of(|| fetch(page, "/metrics"))?;
    rows.push(scrape.row("alone: a scrape through the exporter"));
    let idle: Result<Vec<_>, _> = [&reader.control, &reader.observation]
        .into_iter()
        .flat_map(|path| (0..IDLE).map(move |_| UnixStream::connect(path)))
        .collect();
    let idle = idle.map_err(|error| format!("idle clients cannot connect: {error}"))?;
    reader.measure(
        &mut rows,
        [
            "with idle clients: GetStatus",
            "with idle clients: observation socket",
            "with idle clients: `ntp-ctl status`, the whole program",
        ],
    )?;
    drop(idle);
    rows.push(Row {
        what: "metrics exporter: memory",
        measured: exporter.resident_megabytes()?,
        target: 10.0,
        unit: "MB",
    });
    println!(
        "daemon with {} sources: {:.1} MB",
        usize::from(SOURCES) * usize::from(NETWORKS),
        daemon.resident_megabytes()?
    );
    Row::print(&rows)
}

/// Client of all interfaces.
struct Reader<'a> {
    control: PathBuf,
    observation: PathBuf,
    ctl: &'a Path,
    config: &'a Path,
}

impl Reader<'_> {
    /// Waits until all sources have been measured and their initial bursts are over.
    fn wait_for_all(&self, sources: usize) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let measured = self.query().ok();
            if measured.is_some_and(|measured| measured == sources) {
                return Ok(());
            }
            if start.elapsed() > TIMEOUT {
                return Err(format!(
                    "{measured:?} of {sources} sources have finished their initial bursts"
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Queries the control socket over a new connection. Returns the number of sources whose
    /// initial burst is over.
    fn query(&self) -> Result<usize, String> {
        let mut client =
            Client::connect(&self.control, TIMEOUT).map_err(|error| error.to_string())?;
        let reply = client
            .call::<GetStatus>(&NoInput {})
            .map_err(|error| error.to_string())?;
        let sources = reply.status.sources.iter();
        let settled = sources.filter(|it| it.measurement.is_some() && it.packets.sent >= BURST);
        Ok(settled.count())
    }

    fn measure(&self, rows: &mut Vec<Row>, names: [&'static str; 3]) -> Result<(), String> {
        let queried = Series::of(|| self.query().map(drop))?;
        let observed = Series::of(|| {
            let state = observe(&self.observation, TIMEOUT);
            state.map(drop).map_err(|error| error.to_string())
        })?;
        let run = Series::of(|| {
            let mut command = Command::new(self.ctl);
            command.args(["status", "-c"]).arg(self.config);
            let status = command.stdout(Stdio::null()).status();
            match status {
                Ok(status) if status.success() => Ok(()),
                other => Err(format!("ntp-ctl status: {other:?}")),
            }
        })?;
        let series = [queried, observed, run];
        rows.extend(series.iter().zip(names).map(|(it, name)| it.row(name)));
        Ok(())
    }
}

/// Durations in milliseconds, sorted.
struct Series(Vec<f64>);

impl Series {
    fn of(mut work: impl FnMut() -> Result<(), String>) -> Result<Self, String> {
        let mut times = Vec::with_capacity(READS);
        for _ in 0..READS {
            let start = Instant::now();
            work()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        Ok(Self(times))
    }

    fn row(&self, what: &'static str) -> Row {
        println!("{what}: {:.1} ms at most", self.0[READS - 1]);
        Row {
            what,
            measured: self.0[READS / 2],
            target: LIMIT,
            unit: "ms",
        }
    }
}
