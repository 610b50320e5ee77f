//! How long it takes to read the state of a daemon with a thousand sources.
//!
//! Each way in is tried [`READS`] times; the median counts, and the worst is shown. First with nobody else there, then while
//! [`SILENT`] others have opened each socket and say nothing: whoever waits must not make others wait.
//!
//! The sources are addresses of the loopback interface, all of them one server's.

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
use super::stage::{PATIENCE, Row, Running, Stage, fetch, free_port_of, free_ports, source};

/// Sources of the daemon.
const SOURCES: u8 = 250;
/// Networks of so many.
const NETWORKS: u8 = 4;
/// Clients that open a socket and say nothing.
const SILENT: usize = 200;
/// Requests of a burst at the start.
const BURST: u64 = 8;
/// How often each way in is tried.
const READS: usize = 50;
/// What reading may take, in milliseconds.
const LIMIT: f64 = 20.0;

pub(super) fn bench() -> Result<(), String> {
    let daemon = build::binary("ntpd", "ntp-daemon")?;
    let ctl = build::binary("ntpd", "ntp-ctl")?;
    let exporter = build::binary("ntpd", "ntp-metrics-exporter")?;
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let stage = Stage {
        files: files.path(),
        daemon: &daemon,
        ctl: &ctl,
    };
    let port = free_ports(1)?[0];
    let serving =
        format!("[[server]]\nlisten = \"0.0.0.0:{port}\"\n[synchronization]\nlocal-stratum = 1\n");
    let _server = stage.start("server", &serving, "none")?;
    let mut sources = String::new();
    for network in 1..=NETWORKS {
        for host in 1..=SOURCES {
            let _ = sources.write_str(&source(([127, 1, network, host], port).into()));
        }
    }
    let daemon = stage.start("daemon", &sources, "virtual")?;
    let place = files.path().join("daemon");
    let reader = Reader {
        control: place.join("control"),
        observation: place.join("observe"),
        ctl: &ctl,
        config: &daemon.config,
    };
    reader.wait_for_all(usize::from(SOURCES) * usize::from(NETWORKS))?;
    let exporter = Running::spawn(&exporter, &daemon.config)?;
    let page = free_port_of(&daemon.config)?;
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
    let crowd: Result<Vec<_>, _> = [&reader.control, &reader.observation]
        .into_iter()
        .flat_map(|path| (0..SILENT).map(move |_| UnixStream::connect(path)))
        .collect();
    let crowd = crowd.map_err(|error| format!("the crowd was not let in: {error}"))?;
    reader.measure(
        &mut rows,
        [
            "in a crowd: GetStatus",
            "in a crowd: observation socket",
            "in a crowd: `ntp-ctl status`, the whole program",
        ],
    )?;
    drop(crowd);
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

/// Whoever reads.
struct Reader<'a> {
    control: PathBuf,
    observation: PathBuf,
    ctl: &'a Path,
    config: &'a Path,
}

impl Reader<'_> {
    /// Waits until all sources have been measured, and their bursts at the start are over.
    fn wait_for_all(&self, sources: usize) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let measured = self.ask().ok();
            if measured.is_some_and(|measured| measured == sources) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!(
                    "of {sources} sources, {measured:?} are done with their bursts"
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// By the control socket, over a new connection; the number of sources that have been measured for long enough.
    fn ask(&self) -> Result<usize, String> {
        let mut client =
            Client::connect(&self.control, PATIENCE).map_err(|error| error.to_string())?;
        let reply = client
            .call::<GetStatus>(&NoInput {})
            .map_err(|error| error.to_string())?;
        let sources = reply.status.sources.iter();
        let settled = sources.filter(|it| it.measurement.is_some() && it.packets.sent >= BURST);
        Ok(settled.count())
    }

    fn measure(&self, rows: &mut Vec<Row>, names: [&'static str; 3]) -> Result<(), String> {
        let asked = Series::of(|| self.ask().map(drop))?;
        let observed = Series::of(|| {
            let state = observe(&self.observation, PATIENCE);
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
        let series = [asked, observed, run];
        rows.extend(series.iter().zip(names).map(|(it, name)| it.row(name)));
        Ok(())
    }
}

/// How long something took, time after time, in milliseconds.
struct Series(Vec<f64>);

impl Series {
    fn of(mut work: impl FnMut() -> Result<(), String>) -> Result<Self, String> {
        let mut times = Vec::with_capacity(READS);
        for _ in 0..READS {
            let begun = Instant::now();
            work()?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        Ok(Self(times))
    }

    fn row(&self, what: &'static str) -> Row {
        println!("{what}: {:.1} ms at worst", self.0[READS - 1]);
        Row {
            what,
            measured: self.0[READS / 2],
            target: LIMIT,
            unit: "ms",
        }
    }
}
