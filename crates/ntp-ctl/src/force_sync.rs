//! `ntp-ctl force-sync`: sets the clock once from the configured sources, without the daemon.
//!
//! The engine of the daemon polls the configured sources, with their keys and NTS, and follows
//! their majority by the same rules as the daemon ([`ntp_daemon::one_shot`]). If the daemon runs, it
//! owns the clock, and `ntp-ctl step` is the command to use.
//!
//! There are two modes. Interactively, both times are shown and the user confirms, whatever the
//! difference: thresholds are for programs. Boot scripts and timers use `--yes`, as with `chronyd
//! -q`, `ntpdate` and `sntp -S`; then the correction must be within `--max-offset`, by default
//! `startup-step-panic-threshold`. A difference below `--min-offset` is left to the daemon, which
//! slews it.

use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::time::Duration;

use ntp_config::{Loaded, StepThreshold, Style};
use ntp_daemon::one_shot::{self, OneShot, Reading};
use ntp_os_clock::monotonic;
use ntp_time::NtpDuration;
use serde_json::json;

use crate::cli::ForceSync;
use crate::connect::Socket;
use crate::console::{Console, Failure};
use crate::exit;
use crate::explain;
use crate::format::{duration, signed, timestamp};

pub(crate) fn run(
    config: Option<&Path>,
    options: &ForceSync,
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if !options.yes && !std::io::stdin().is_terminal() {
        return Err(Failure::Error(
            "force-sync asks for confirmation and must be run interactively; use `--yes` in scripts"
                .into(),
        ));
    }
    let loaded = load(config, console)?;
    check_preconditions(config, &loaded)?;
    let mut once = OneShot::open(&loaded, loaded.config.sandbox.mode)
        .map_err(|problem| not_changed(&problem))?;
    if !as_json {
        console.message(format_args!(
            "Polling {} sources ...",
            loaded.config.sources.len()
        ));
    }
    let deadline = monotonic() + NtpDuration::from(options.timeout);
    let Some(reading) = once
        .measure(Some(deadline))
        .map_err(|problem| not_changed(&problem))?
    else {
        return Err(Failure::WithExitCode {
            exit_code: exit::TIMED_OUT,
            text: format!(
                "Clock not changed: no majority of sources within {}\n\n{}",
                duration(options.timeout.as_secs_f64()),
                explain::plain(&once.status()).trim_end()
            ),
        });
    };
    let correction = reading.correction;
    if correction.abs() <= NtpDuration::from(options.min_offset).max(reading.bound) {
        let text = format!(
            "Clock not changed: offset {} (maximum {})",
            signed(correction.as_seconds_f64()),
            duration((correction.abs() + reading.bound).as_seconds_f64())
        );
        return finish(console, as_json, &reading, false, &text);
    }
    let times = times(&reading);
    if options.yes {
        if let Some(limit) = exceeded_limit(options.max_offset, &loaded, correction) {
            return Err(Failure::Error(format!(
                "Clock not changed\n{times}\nThe correction exceeds {limit}.\n\
                 If the sources are right, raise `--max-offset`, or run this without `--yes`"
            )));
        }
    } else if !confirm(&times, console)? {
        return finish(console, as_json, &reading, false, "Clock not changed");
    }
    // The confirmation may have taken long, so the correction is determined anew.
    let latest = once
        .measure(Some(monotonic()))
        .map_err(|problem| not_changed(&problem))?;
    let changed = |latest: &Reading| (latest.correction - correction).abs() > MAX_CHANGE;
    let Some(reading) = latest.filter(|latest| !changed(latest)) else {
        return Err(Failure::Error(
            "Clock not changed: another program set it in the meantime".into(),
        ));
    };
    once.step(reading.correction)
        .map_err(|problem| not_changed(&problem))?;
    let text = format!(
        "Clock stepped by {}, from {}; error bound {}",
        signed(reading.correction.as_seconds_f64()),
        system_timestamp(reading.clock),
        duration(reading.bound.as_seconds_f64())
    );
    finish(console, as_json, &reading, true, &text)
}

/// Maximum change of the correction during the confirmation: more is not the drift of an
/// oscillator.
const MAX_CHANGE: NtpDuration = NtpDuration::from_millis(500);

fn load(config: Option<&Path>, console: &mut Console<'_>) -> Result<Loaded, Failure> {
    let loaded = ntp_config::load(config).map_err(|problem| Failure::WithExitCode {
        exit_code: exit::CONFIG,
        text: format!(
            "Could not load configuration: {}",
            problem.render(Style::Plain)
        ),
    })?;
    for warning in &loaded.warnings {
        console.diagnostic(warning);
    }
    Ok(loaded)
}

fn confirm(times: &str, console: &mut Console<'_>) -> Result<bool, Failure> {
    writeln!(console.out, "{times}")?;
    write!(console.out, "Set the clock? [y/N] ")?;
    console.out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn check_preconditions(config: Option<&Path>, loaded: &Loaded) -> Result<(), Failure> {
    if Socket::find(config).is_ok_and(|socket| socket.try_connect().is_some()) {
        return Err(Failure::Error(
            "The daemon is running and owns the clock: use `ntp-ctl step`,\n\
             or `ntp-ctl step --force` to override the panic thresholds"
                .into(),
        ));
    }
    let unsupported = loaded.config.unsupported();
    if !unsupported.is_empty() {
        let reports = unsupported.iter().map(|it| it.render(Style::Plain));
        return Err(Failure::WithExitCode {
            exit_code: exit::CONFIG,
            text: reports.collect::<Vec<_>>().join("\n\n"),
        });
    }
    if loaded.config.sources.is_empty() {
        return Err(Failure::Error(
            "No sources configured: add a [[source]] (see ntp.toml(5))".into(),
        ));
    }
    if !one_shot::has_settable_clock(&loaded.config.clock.kind) {
        return Err(Failure::Error(
            "Setting the clock is disabled: `kind = \"none\"` in [clock]".into(),
        ));
    }
    Ok(())
}

/// Returns the limit that an unattended correction exceeds.
fn exceeded_limit(
    max_offset: Option<Duration>,
    loaded: &Loaded,
    correction: NtpDuration,
) -> Option<&'static str> {
    let max_offset = max_offset.map(|it| StepThreshold::symmetric(NtpDuration::from(it)));
    let threshold = loaded.config.synchronization.startup_step_panic_threshold;
    let name = if max_offset.is_some() {
        "`--max-offset`"
    } else {
        "`startup-step-panic-threshold` in [synchronization]"
    };
    (!max_offset.unwrap_or(threshold).permits(correction)).then_some(name)
}

fn times(reading: &Reading) -> String {
    format!(
        "System time      : {}\nTime of sources  : {}\nCorrection       : {}",
        system_timestamp(reading.clock),
        system_timestamp(reading.clock + reading.correction),
        signed(reading.correction.as_seconds_f64())
    )
}

fn system_timestamp(time: ntp_time::SystemTime) -> String {
    timestamp(time.as_nanos() as f64 * 1e-9)
}

fn finish(
    console: &mut Console<'_>,
    as_json: bool,
    reading: &Reading,
    stepped: bool,
    text: &str,
) -> Result<(), Failure> {
    if as_json {
        return console.print_json(&json!({
            "done": true,
            "stepped": stepped,
            "clock": reading.clock.as_nanos() as f64 * 1e-9,
            "correction": reading.correction.as_seconds_f64(),
            "error_bound": reading.bound.as_seconds_f64(),
        }));
    }
    Ok(writeln!(console.out, "{text}")?)
}

fn not_changed(problem: &impl std::fmt::Display) -> Failure {
    Failure::Error(format!("Clock not changed: {problem}"))
}
