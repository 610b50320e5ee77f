//! `ntp-ctl trial`: runs the daemon beside the time daemon of this machine and compares
//! their opinions of the clock.
//!
//! The daemon of the trial steers no clock and is no server. Its control socket is in a temporary
//! directory, which is removed at the end with everything else; it needs no privilege.
//!
//! * `process` starts and ends that daemon with a configuration made for the trial.
//! * `other` reads the opinion of the running daemon with its own tool.
//! * `summary` compares the samples.

mod other;
mod process;
mod summary;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ntp_config::Config;
use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::status::Status;
use ntp_udp::signals;
use serde_json::json;

use crate::connect;
use crate::console::{Console, Failure};
use crate::exit;
use crate::explain_text;
use crate::format::time;
use crate::migrate;
use other::Running;
use process::Trial;
use summary::{Sample, Summary};

/// Options of `trial`.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Length in minutes
    #[arg(long, value_name = "NUMBER", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    minutes: u32,
    /// Time between two comparisons
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    interval: Duration,
    /// Try the converted configuration at this path, as `migrate` [default: that of the running
    /// daemon; if none runs or with --config, that of ntpd-rs]
    #[arg(long, value_name = "PATH")]
    migrate: Option<PathBuf>,
    /// The daemon to compare with, if several run
    #[arg(long, value_name = "DAEMON")]
    beside: Option<other::Kind>,
}

/// Shortest time between two comparisons: tools of other daemons take up to a second.
const MINIMUM_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn run(
    config: Option<&Path>,
    options: &Options,
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let running = other::find(options.beside);
    let (configuration, origin) = configuration(config, options, running.as_ref())?;
    signals::install()?;
    let mut trial = Trial::start(&configuration)?;
    if !as_json {
        introduce(&trial, options, running.as_ref(), &origin, console)?;
    }
    let mut summary = Summary::default();
    let start = monotonic();
    let end = start + NtpDuration::from(Duration::from_secs(u64::from(options.minutes) * 60));
    let interval = NtpDuration::from(options.interval.max(MINIMUM_INTERVAL));
    let mut next = start + interval;
    let mut last = None;
    while wait(next.min(end)) {
        let status = trial.status()?;
        let theirs = running.as_ref().map(Running::opinion);
        let sample = Sample::new(monotonic() - start, &status, theirs);
        if !as_json {
            writeln!(console.out, "{}", sample.line())?;
            console.out.flush()?;
        }
        summary.add(sample);
        last = Some(status);
        if monotonic() >= end {
            break;
        }
        next = next + interval;
    }
    // What the last sample missed, if the trial was interrupted.
    let status = trial.status().ok().or(last).unwrap_or_default();
    drop(trial);
    report(&summary, &status, running.as_ref(), as_json, console)
}

/// The configuration to try, and where it comes from.
fn configuration(
    config: Option<&Path>,
    options: &Options,
    running: Option<&Running>,
) -> Result<(Config, String), Failure> {
    let found = running.filter(|_| config.is_none());
    let found = found.and_then(|it| Some((it.configuration()?, Some(it.kind.dialect()))));
    let named = options.migrate.clone().map(|path| (path, None));
    if let Some((path, dialect)) = named.or(found) {
        let (toml, lost) = migrate::convert(&path, dialect).map_err(Failure::Error)?;
        let parsed = ntp_config::parse(&toml, "converted");
        let (config, _) = parsed.map_err(|error| Failure::Error(error.to_string()))?;
        let origin = format!(
            "converted from {}, {lost} lines without an equivalent",
            path.display()
        );
        return Ok((config, origin));
    }
    let loaded = ntp_config::load(config).map_err(|problem| Failure::WithExitCode {
        exit_code: exit::CONFIG,
        text: format!("Could not load configuration: {problem}"),
    })?;
    let path = loaded.path.ok_or_else(|| {
        Failure::Error(format!(
            "No configuration to try. {}",
            connect::no_configuration()
        ))
    })?;
    Ok((loaded.config, path.display().to_string()))
}

fn introduce(
    trial: &Trial,
    options: &Options,
    running: Option<&Running>,
    origin: &str,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let beside = running.map_or_else(
        || "no other time daemon".to_owned(),
        |it| format!("{} (process {})", it.kind, it.process),
    );
    writeln!(
        console.out,
        "Trial of {} min beside {beside}; the clock is not changed.\n\
         Configuration: {origin}",
        options.minutes
    )?;
    for source in &trial.left_out {
        writeln!(console.out, "Left out: {source}, whose device is in use")?;
    }
    writeln!(console.out, "\n{}", Sample::heading())?;
    Ok(console.out.flush()?)
}

/// Waits until a time. Returns `false` at once if the process is to end.
#[expect(
    clippy::disallowed_methods,
    reason = "an interactive program waits in real time"
)]
fn wait(until: Monotonic) -> bool {
    while !signals::pending() && monotonic() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    !signals::pending()
}

fn report(
    summary: &Summary,
    status: &Status,
    running: Option<&Running>,
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let verdict = summary.verdict(status, running.is_some());
    if as_json {
        console.print_json(&json!({
            "done": true,
            "beside": running.map(|it| it.kind.to_string()),
            "verdict": verdict.name(),
            "summary": summary.data(),
            "ours": explain_text::data(status),
        }))?;
    } else {
        writeln!(console.out, "\n{}", summary.text())?;
        console.print(&explain_text::plain(status))?;
        writeln!(console.out, "\nVerdict: {verdict}")?;
    }
    match verdict.exit_code() {
        exit::SUCCESS => Ok(()),
        exit_code => Err(Failure::Reported {
            exit_code,
            text: verdict.to_string(),
        }),
    }
}
