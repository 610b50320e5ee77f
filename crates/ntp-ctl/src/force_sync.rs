//! `ntp-ctl force-sync`: sets the clock once from the configured sources, without the daemon.
//!
//! The engine of the daemon polls the configured sources, with their keys and NTS, and follows
//! their majority by the same rules as the daemon ([`OneShot`]). If the daemon runs, it
//! owns the clock, and `ntp-ctl step` is the command to use.
//!
//! There are two modes. Interactively, both times are shown and the user confirms, whatever the
//! difference: thresholds are for programs. Boot scripts and timers use `--yes`, as with `chronyd
//! -q`, `ntpdate` and `sntp -S`; then the correction must be within `--max-offset`, by default
//! `startup-step-panic-threshold`. A difference below `--min-offset` is left to the daemon, which
//! slews it.
//!
//! A time that an earlier run of the daemon saved as past, and that the sources contradict, is
//! removed: it would be in the way of every later start. With `--yes` a lone source cannot do that,
//! unless the clock agrees with it.

use std::error::Error;
use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use ntp_config::{ClockKind, Config, Loaded, StepThreshold, Style};
use ntp_os_clock::monotonic;
use ntp_time::NtpDuration;
use ntp_types::status::OneShotReading;
use serde_json::json;

use crate::connect::Socket;
use crate::console::{Console, Failure};
use crate::exit;
use crate::explain_text;
use crate::format::{duration, signed, time, timestamp};
use crate::one_shot::{OneShot, OpenOneShot};

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForceSync {
    /// Do not ask for confirmation, for boot scripts and timers
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// With --yes, the maximum correction [default: startup-step-panic-threshold of the
    /// configuration]
    #[arg(long, value_name = "TIME", value_parser = time, requires = "yes")]
    pub(crate) max_offset: Option<Duration>,
    /// Do not set the clock if the offset is smaller
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "1s")]
    pub(crate) min_offset: Duration,
    /// Timeout
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "60s")]
    pub(crate) timeout: Duration,
}

pub(crate) fn run(
    config: Option<&Path>,
    options: &ForceSync,
    as_json: bool,
    open: OpenOneShot<'_>,
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
    let mut once = open(&loaded).map_err(not_changed)?;
    if !as_json {
        console.message(format_args!(
            "Polling {} sources ...",
            loaded.config.sources.len()
        ));
    }
    set(&mut *once, options, &loaded.config, as_json, console)
}

/// Measures, asks or checks the limit, and sets the clock.
fn set(
    once: &mut dyn OneShot,
    options: &ForceSync,
    config: &Config,
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let reading = measure(once, options.timeout)?;
    let correction = reading.correction;
    if correction.abs() <= NtpDuration::from(options.min_offset).max(reading.bound) {
        let mut text = format!(
            "Clock not changed: offset {} (maximum {})",
            signed(correction),
            duration(correction.abs() + reading.bound)
        );
        if reading.contradiction_confirmed || !options.yes {
            forget_contradicted_time(once, &reading, &mut text)?;
        }
        return finish(console, as_json, &reading, false, &text);
    }
    let times = times(&reading);
    if options.yes {
        check_limit(options.max_offset, config, correction, &times)?;
        check_saved_time(&reading, &times)?;
    } else if !confirm(&times, console)? {
        return finish(console, as_json, &reading, false, "Clock not changed");
    }
    let reading = step(once, correction)?;
    let mut text = format!(
        "Clock stepped by {}, from {}; error bound {}",
        signed(reading.correction),
        timestamp(reading.clock),
        duration(reading.bound)
    );
    forget_contradicted_time(once, &reading, &mut text)?;
    finish(console, as_json, &reading, true, &text)
}

/// Removes the saved time if the sources contradict it, and appends that to `text`.
fn forget_contradicted_time(
    once: &mut dyn OneShot,
    reading: &OneShotReading,
    text: &mut String,
) -> Result<(), Failure> {
    let Some(saved) = reading.contradicted_time else {
        return Ok(());
    };
    let saved = timestamp(saved);
    if !once.forget_saved_time() {
        return Err(Failure::Error(format!(
            "{text}\nThe sources contradict the time {saved} that an earlier run saved, but it cannot be removed: \
             remove `past-time` from clock.toml in `[state] directory`"
        )));
    }
    text.push_str(&format!(
        "\nSaved time {saved} of an earlier run removed: the sources contradict it"
    ));
    Ok(())
}

/// Checks that an unattended correction does not follow a lone source to before the saved time.
fn check_saved_time(reading: &OneShotReading, times: &str) -> Result<(), Failure> {
    let contradicted = reading.contradicted_time;
    let Some(saved) = contradicted.filter(|_| !reading.contradiction_confirmed) else {
        return Ok(());
    };
    Err(Failure::Error(format!(
        "Clock not changed\n{times}\nAn earlier run saved {} as past, and a lone source shows an earlier time.\n\
         If it is right, run this without `--yes`",
        timestamp(saved)
    )))
}

fn measure(once: &mut dyn OneShot, timeout: Duration) -> Result<OneShotReading, Failure> {
    let deadline = monotonic() + NtpDuration::from(timeout);
    let reading = once.measure(deadline).map_err(not_changed)?;
    reading.ok_or_else(|| Failure::WithExitCode {
        exit_code: exit::TIMED_OUT,
        text: format!(
            "Clock not changed: no majority of sources within {}\n\n{}",
            duration(timeout),
            explain_text::plain(&once.status()).trim_end()
        ),
    })
}

/// Steps the clock. The confirmation may have taken long, so the correction is determined anew.
fn step(once: &mut dyn OneShot, confirmed: NtpDuration) -> Result<OneShotReading, Failure> {
    let latest = once.measure(monotonic()).map_err(not_changed)?;
    let is_same = |it: &OneShotReading| (it.correction - confirmed).abs() <= MAX_CHANGE;
    let Some(reading) = latest.filter(is_same) else {
        return Err(Failure::Error(
            "Clock not changed: another program set it in the meantime".into(),
        ));
    };
    once.step(reading.correction).map_err(not_changed)?;
    Ok(reading)
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
    if matches!(loaded.config.clock.kind, ClockKind::None) {
        return Err(Failure::Error(
            "Setting the clock is disabled: `kind = \"none\"` in [clock]".into(),
        ));
    }
    Ok(())
}

/// Checks that an unattended correction is within its limit.
fn check_limit(
    max_offset: Option<Duration>,
    config: &Config,
    correction: NtpDuration,
    times: &str,
) -> Result<(), Failure> {
    let (threshold, name) = match max_offset {
        Some(limit) => (
            StepThreshold::symmetric(NtpDuration::from(limit)),
            "`--max-offset`",
        ),
        None => (
            config.synchronization.startup_step_panic_threshold,
            "`startup-step-panic-threshold` in [synchronization]",
        ),
    };
    if threshold.permits(correction) {
        return Ok(());
    }
    Err(Failure::Error(format!(
        "Clock not changed\n{times}\nThe correction exceeds {name}.\n\
         If the sources are right, raise `--max-offset`, or run this without `--yes`"
    )))
}

fn times(reading: &OneShotReading) -> String {
    format!(
        "System time      : {}\nTime of sources  : {}\nCorrection       : {}{}",
        timestamp(reading.clock),
        timestamp(reading.clock + reading.correction),
        signed(reading.correction),
        reading
            .contradicted_time
            .map_or_else(String::new, |saved| format!(
                "\nSaved time       : {} (of an earlier run, contradicted; will be removed)",
                timestamp(saved)
            ))
    )
}

fn finish(
    console: &mut Console<'_>,
    as_json: bool,
    reading: &OneShotReading,
    stepped: bool,
    text: &str,
) -> Result<(), Failure> {
    if as_json {
        return console.print_json(&json!({
            "done": true,
            "stepped": stepped,
            "clock": reading.clock,
            "correction": reading.correction,
            "error_bound": reading.bound,
            "contradicted_time": reading.contradicted_time,
        }));
    }
    Ok(writeln!(console.out, "{text}")?)
}

#[expect(clippy::needless_pass_by_value, reason = "a function for `map_err`")]
fn not_changed(problem: Box<dyn Error>) -> Failure {
    Failure::Error(format!("Clock not changed: {problem}"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use ntp_time::SystemTime;

    use super::*;
    use ntp_time::Monotonic;
    use ntp_types::status::Status;

    /// Sources that agree on these corrections, one for each measurement.
    struct Scripted {
        corrections: Vec<i64>,
        stepped: Rc<Cell<NtpDuration>>,
        /// A saved time that they contradict, and whether that is confirmed.
        contradicted: Option<bool>,
        forgotten: Rc<Cell<bool>>,
    }

    impl OneShot for Scripted {
        fn measure(&mut self, _: Monotonic) -> Result<Option<OneShotReading>, Box<dyn Error>> {
            let correction = self.corrections.pop();
            Ok(correction.map(|seconds| OneShotReading {
                clock: SystemTime::from_nanos(0),
                correction: NtpDuration::from_seconds(seconds),
                bound: NtpDuration::from_millis(5),
                contradicted_time: self.contradicted.map(|_| SystemTime::RELEASED),
                contradiction_confirmed: self.contradicted == Some(true),
            }))
        }

        fn forget_saved_time(&mut self) -> bool {
            self.forgotten.set(true);
            true
        }

        fn step(&mut self, by: NtpDuration) -> Result<(), Box<dyn Error>> {
            self.stepped.set(by);
            Ok(())
        }

        fn status(&self) -> Status {
            Status::default()
        }
    }

    /// Runs `force-sync --yes` and returns its exit, its message, and the step.
    fn forced(first: i64, second: i64) -> (Result<String, Failure>, NtpDuration) {
        let (result, stepped, forgotten) = forced_against(first, second, None);
        assert!(!forgotten);
        (result, stepped)
    }

    /// The same with a saved time that the sources contradict; also returns whether it is removed.
    fn forced_against(
        first: i64,
        second: i64,
        contradicted: Option<bool>,
    ) -> (Result<String, Failure>, NtpDuration, bool) {
        let stepped = Rc::new(Cell::new(NtpDuration::ZERO));
        let forgotten = Rc::new(Cell::new(false));
        let mut once = Scripted {
            corrections: vec![second, first],
            stepped: Rc::clone(&stepped),
            contradicted,
            forgotten: Rc::clone(&forgotten),
        };
        let options = ForceSync {
            yes: true,
            max_offset: Some(Duration::from_secs(100)),
            min_offset: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        };
        let (config, _) = ntp_config::parse("", "ntp.toml").unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console {
            out: crate::console::Escaping::new(&mut out, false),
            err: crate::console::Escaping::new(&mut err, false),
            style: Style::Plain,
            coloured: false,
            width: crate::console::DEFAULT_WIDTH,
        };
        let result = set(&mut once, &options, &config, false, &mut console);
        let text = String::from_utf8(out).unwrap();
        (result.map(|()| text), stepped.get(), forgotten.get())
    }

    #[test]
    fn a_saved_time_that_two_witnesses_contradict_is_removed() {
        let (result, stepped, forgotten) = forced_against(-90, -90, Some(true));
        let text = result.unwrap();
        assert!(text.contains("Saved time 2026-01-01"), "{text}");
        assert!(stepped == NtpDuration::from_seconds(-90) && forgotten);
        // Even if the clock is right.
        let (result, stepped, forgotten) = forced_against(0, 0, Some(true));
        let text = result.unwrap();
        assert!(text.contains("removed"), "{text}");
        assert!(stepped == NtpDuration::ZERO && forgotten);
        let (result, stepped, forgotten) = forced_against(-90, -90, Some(false));
        let Err(Failure::Error(text)) = result else {
            panic!("{result:?}");
        };
        assert!(text.contains("a lone source"), "{text}");
        assert!(stepped == NtpDuration::ZERO && !forgotten);
    }

    #[test]
    fn a_correction_within_the_limit_steps_the_clock_by_the_newest_measurement() {
        let (result, stepped) = forced(-90, -90);
        assert_eq!(
            result.unwrap(),
            "Clock stepped by -90.000 s, from 1970-01-01T00:00:00.000000 UTC; error bound 5.00 ms\n"
        );
        assert_eq!(stepped, NtpDuration::from_seconds(-90));
    }

    #[test]
    fn nothing_is_changed_without_need_over_the_limit_or_after_another_change() {
        let (result, stepped) = forced(1, 1);
        assert_eq!(
            result.unwrap(),
            "Clock not changed: offset +1.000 s (maximum 1.005 s)\n"
        );
        assert_eq!(stepped, NtpDuration::ZERO);
        for (first, second, reason) in [
            (101, 101, "The correction exceeds `--max-offset`"),
            (90, 92, "another program set it in the meantime"),
        ] {
            let (result, stepped) = forced(first, second);
            let Err(Failure::Error(text)) = result else {
                panic!("{result:?}");
            };
            assert!(text.contains(reason), "{text}");
            assert_eq!(stepped, NtpDuration::ZERO);
        }
    }
}
