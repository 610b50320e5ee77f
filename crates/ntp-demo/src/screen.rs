//! Output of the demonstration: a live table, one line a second, with a bar of the error on a
//! logarithmic scale.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;

use ntp_time::{Frequency, NtpDuration, PollInterval};

/// State of the clock at one second.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) second: u32,
    pub(crate) true_error: NtpDuration,
    pub(crate) synchronized: bool,
    pub(crate) frequency: Frequency,
    pub(crate) frequency_uncertainty: Frequency,
    pub(crate) estimated_error: Option<NtpDuration>,
    pub(crate) bound: Option<NtpDuration>,
    pub(crate) poll: Option<PollInterval>,
    pub(crate) replies: u64,
}

impl Row {
    /// Whether the true error is within the reported bound.
    pub(crate) fn is_inside(&self) -> bool {
        self.bound
            .is_none_or(|bound| self.true_error.abs() <= bound)
    }
}

/// The table on standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    colored: bool,
    headed: bool,
    introduction: String,
}

/// Decades of the error bar: from 1 us to 1 s, two characters each.
const BAR: usize = 24;
const BAR_FROM: f64 = 1e-6;
const BAR_DECADES: f64 = 6.0;

const RULE: &str = "──────┼───────────────┼───────────────┼───────────────┼──────────────────────┼──────┼─────────┼─────────────────────────";

impl Screen {
    pub(crate) fn new(server: SocketAddr, offset: NtpDuration, frequency: Frequency) -> Self {
        let introduction = format!(
            "A virtual clock that is {} fast and gains {:.0} us every second, corrected by NTP from {server}.",
            human(offset),
            frequency.as_ppm(),
        );
        Self {
            colored: io::stdout().is_terminal(),
            headed: false,
            introduction,
        }
    }

    pub(crate) fn show(&mut self, row: &Row) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !core::mem::replace(&mut self.headed, true) {
            writeln!(out, "{}\n", self.introduction)?;
            writeln!(
                out,
                "{:>5} │ {:>13} │ {:>13} │ {:>13} │ {:>20} │ {:>4} │ {:>7} │ true error, 1 us to 1 s",
                "time", "true error", "estimated", "bound", "oscillator", "poll", "replies"
            )?;
            writeln!(out, "{RULE}")?;
        }
        let truth = format!("{:>13}", signed(row.true_error));
        let truth = if row.is_inside() {
            self.paint("32", &truth)
        } else {
            self.paint("31;1", &truth)
        };
        let known = |value: Option<NtpDuration>| value.filter(|_| row.synchronized);
        let estimate = known(row.estimated_error).map_or_else(|| "measuring".into(), within);
        let bound = known(row.bound).map_or_else(|| "unknown".into(), within);
        let frequency = if row.synchronized {
            format!(
                "{:+.3} ±{:.3} ppm",
                row.frequency.as_ppm(),
                row.frequency_uncertainty.as_ppm()
            )
        } else {
            "unknown".to_owned()
        };
        let poll = row.poll.map_or_else(String::new, |poll| poll.to_string());
        writeln!(
            out,
            "{:>4}s │ {truth} │ {estimate:>13} │ {bound:>13} │ {frequency:>20} │ {poll:>4} │ {:>7} │ {}",
            row.second,
            row.replies,
            self.paint("36", &bar(row.true_error)),
        )?;
        out.flush()
    }

    pub(crate) fn conclude(
        &self,
        row: &Row,
        inside: bool,
        small: bool,
        promise: NtpDuration,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let verdict = |good: bool| {
            if good {
                self.paint("32;1", "yes")
            } else {
                self.paint("31;1", "NO")
            }
        };
        writeln!(out, "{RULE}\n")?;
        writeln!(
            out,
            "The clock is {} from the truth.",
            signed(row.true_error)
        )?;
        writeln!(
            out,
            "  inside the reported bound of {}: {}",
            row.bound.map_or_else(|| "unknown size".into(), within),
            verdict(inside)
        )?;
        writeln!(out, "  below {}: {}", human(promise), verdict(small))?;
        out.flush()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colored {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn bar(error: NtpDuration) -> String {
    let decades = (error.abs().as_seconds_f64().max(BAR_FROM) / BAR_FROM).log10();
    let length = (decades / BAR_DECADES * BAR as f64)
        .round()
        .clamp(1.0, BAR as f64);
    "█".repeat(length as usize)
}

fn signed(duration: NtpDuration) -> String {
    let sign = if duration.is_negative() { "-" } else { "+" };
    format!("{sign}{}", human(duration.abs()))
}

fn within(bound: NtpDuration) -> String {
    format!("±{}", human(bound))
}

/// Formats a duration with three or four digits and a suitable unit.
fn human(duration: NtpDuration) -> String {
    let seconds = duration.as_seconds_f64();
    match seconds.abs() {
        size if size >= 1.0 => format!("{seconds:.3} s"),
        size if size >= 1e-3 => format!("{:.3} ms", seconds * 1e3),
        size if size >= 1e-6 => format!("{:.2} us", seconds * 1e6),
        _ => format!("{:.0} ns", seconds * 1e9),
    }
}
