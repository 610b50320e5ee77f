//! `ntp-ctl force-sync`: sets the clock at once from the configured sources, without a daemon.
//!
//! The daemon's own engine asks the sources that the configuration names, with their keys and NTS, and believes what a majority of them says: the same
//! rules, and the same refusal to follow a single voice, as when the daemon runs ([`ntp_daemon::once`]). Where a daemon runs, the clock is its own,
//! and it is asked instead (`ntp-ctl step`).
//!
//! Two forms. A person sees both times and is asked, whatever the difference: thresholds are for programs. A boot script or a timer says `--yes`, as
//! `chronyd -q`, `ntpdate` and `sntp -S` are used; then the correction must be within `--max-offset`, or else `startup-step-panic-threshold`.
//! A difference below `--min-offset` is left to the daemon, which makes up for it without a jump.

use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::time::Duration;

use ntp_config::{Loaded, StepThreshold, Style};
use ntp_daemon::once::{self, Once, Reading};
use ntp_os_clock::monotonic;
use ntp_time::NtpDuration;
use serde_json::json;

use crate::cli::ForceSync;
use crate::connect::Socket;
use crate::console::{Console, Failure};
use crate::exit;
use crate::explain;
use crate::figures::{duration, moment, signed};

pub(crate) fn run(
    config: Option<&Path>,
    wanted: &ForceSync,
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if !wanted.yes && !std::io::stdin().is_terminal() {
        return Err(Failure::Told(
            "force-sync asks before it sets the clock, and so must be run interactively; for scripts there is `--yes`"
                .into(),
        ));
    }
    let loaded = ntp_config::load(config).map_err(|problem| Failure::Judged {
        exit_code: exit::CONFIG,
        text: format!(
            "There was an error loading the config: {}",
            problem.render(Style::Plain)
        ),
    })?;
    for warning in &loaded.warnings {
        console.show(warning);
    }
    refuse_what_cannot_be(config, &loaded)?;
    let mut once =
        Once::begin(&loaded, loaded.config.sandbox.mode).map_err(|problem| told(&problem))?;
    if !as_json {
        console.complain(format_args!(
            "Asking {} sources …",
            loaded.config.sources.len()
        ));
    }
    let deadline = monotonic() + NtpDuration::from(wanted.timeout);
    let Some(reading) = once.ask(Some(deadline)).map_err(|problem| told(&problem))? else {
        return Err(Failure::Judged {
            exit_code: exit::TIMED_OUT,
            text: format!(
                "The clock was not touched: no majority of sources agreed within {}. {}",
                duration(wanted.timeout.as_secs_f64()),
                explain::plain(&once.status()).trim_end()
            ),
        });
    };
    let correction = reading.correction;
    if correction.abs() <= NtpDuration::from(wanted.min_offset).max(reading.bound) {
        let close = format!(
            "The clock was not touched: it is off by {} ({} at most)",
            signed(correction.as_seconds_f64()),
            duration((correction.abs() + reading.bound).as_seconds_f64())
        );
        return finish(console, as_json, &reading, false, &close);
    }
    let times = times(&reading);
    if wanted.yes {
        if let Some(limit) = forbids(wanted.max_offset, &loaded, correction) {
            return Err(Failure::Told(format!(
                "The clock was not touched.\n{times}\nThat is more than {limit} allows. If the sources are right, `--max-offset` permits it, or run this without `--yes`"
            )));
        }
    } else {
        writeln!(console.out, "{times}")?;
        write!(console.out, "Set the clock? [y/N] ")?;
        console.out.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            return finish(
                console,
                as_json,
                &reading,
                false,
                "The clock was not touched",
            );
        }
    }
    // Time went by, perhaps a good deal of it: a person was asked.
    let latest = once
        .ask(Some(monotonic()))
        .map_err(|problem| told(&problem))?;
    let Some(reading) = latest.filter(|latest| (latest.correction - correction).abs() <= MOVED)
    else {
        return Err(Failure::Told(
            "The clock was not touched: meanwhile it was set by something else".into(),
        ));
    };
    once.step(reading.correction)
        .map_err(|problem| told(&problem))?;
    let done = format!(
        "The clock was stepped by {}, from {}; it may be off by {} at most",
        signed(reading.correction.as_seconds_f64()),
        since_1970(reading.clock),
        duration(reading.bound.as_seconds_f64())
    );
    finish(console, as_json, &reading, true, &done)
}

/// By how much more the correction may have become while a person thought: above, it was not the oscillator.
const MOVED: NtpDuration = NtpDuration::from_millis(500);

fn refuse_what_cannot_be(config: Option<&Path>, loaded: &Loaded) -> Result<(), Failure> {
    if Socket::find(config).is_ok_and(|socket| socket.try_connect().is_some()) {
        return Err(Failure::Told(
            "A daemon is running, and the clock is its own: use `ntp-ctl step`, or `ntp-ctl step --force` past the panic thresholds"
                .into(),
        ));
    }
    let lacking = loaded.config.unsupported();
    if !lacking.is_empty() {
        let reports: Vec<_> = lacking.iter().map(|it| it.render(Style::Plain)).collect();
        return Err(Failure::Judged {
            exit_code: exit::CONFIG,
            text: reports.join("\n\n"),
        });
    }
    if loaded.config.sources.is_empty() {
        return Err(Failure::Told(
            "No sources are configured: there is nobody to ask (see [[source]] in ntp.toml(5))"
                .into(),
        ));
    }
    if !once::may_set(&loaded.config.clock.kind) {
        return Err(Failure::Told(
            "The configuration leaves the clock alone: `kind = \"none\"` in [clock]".into(),
        ));
    }
    Ok(())
}

/// What forbids this correction, unattended.
fn forbids(most: Option<Duration>, loaded: &Loaded, correction: NtpDuration) -> Option<String> {
    let most = most.map(|most| StepThreshold::symmetric(NtpDuration::from(most)));
    let threshold = loaded.config.synchronization.startup_step_panic_threshold;
    let what = if most.is_some() {
        "`--max-offset`"
    } else {
        "`startup-step-panic-threshold` in [synchronization]"
    };
    (!most.unwrap_or(threshold).permits(correction)).then(|| what.to_owned())
}

fn times(reading: &Reading) -> String {
    format!(
        "The clock says   {}\nThe sources say  {}\nA correction of {}",
        since_1970(reading.clock),
        since_1970(reading.clock + reading.correction),
        signed(reading.correction.as_seconds_f64())
    )
}

fn since_1970(time: ntp_time::SystemTime) -> String {
    moment(time.as_nanos() as f64 * 1e-9)
}

fn finish(
    console: &mut Console<'_>,
    as_json: bool,
    reading: &Reading,
    stepped: bool,
    text: &str,
) -> Result<(), Failure> {
    if as_json {
        return console.json(&json!({
            "done": true,
            "stepped": stepped,
            "clock": reading.clock.as_nanos() as f64 * 1e-9,
            "correction": reading.correction.as_seconds_f64(),
            "error_bound": reading.bound.as_seconds_f64(),
        }));
    }
    Ok(writeln!(console.out, "{text}")?)
}

fn told(problem: &impl std::fmt::Display) -> Failure {
    Failure::Told(format!("The clock was not touched: {problem}"))
}
