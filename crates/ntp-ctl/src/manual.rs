//! `ntp-ctl settime` and `ntp-ctl manual`: the time as an operator enters it.

use std::process::Command;

use clap::Subcommand;
use ntp_control_api::control::methods::SetTimeReply;
use ntp_time::SystemTime;
use ntp_types::status::Status;

use crate::console::Failure;
use crate::format::{signed, timestamp};

/// Commands of `ntp-ctl manual`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ManualCommand {
    /// List the entered times
    List,
    /// Permit the entry of times
    On,
    /// Refuse the entry of times, and drop all
    Off,
    /// Drop an entry, and correct the clock by the others
    Delete {
        /// Number of the entry in the list
        entry: u64,
    },
    /// Drop all entries
    Reset,
}

/// Lists the entered times.
pub(crate) fn list(status: &Status) -> String {
    use core::fmt::Write as _;
    let Some(entries) = &status.system.manual else {
        return "Manual time is off; `ntp-ctl manual on` permits entries\n".to_owned();
    };
    let mut text = format!(
        "{:>2}  {:<30}{:>14}{:>14}{:>14}\n",
        "#", "Time", "Slewed", "Original", "Residual"
    );
    for (index, entry) in entries.iter().enumerate() {
        let _ = writeln!(
            text,
            "{index:>2}  {:<30}{:>14}{:>14}{:>14}",
            timestamp(entry.time),
            signed(entry.slewed),
            signed(entry.original),
            signed(entry.residual)
        );
    }
    text
}

/// Describes what an entered time has changed.
pub(crate) fn correction(reply: &SetTimeReply) -> String {
    let fast = if reply.correction > 0.0 {
        "slow"
    } else {
        "fast"
    };
    format!(
        "Clock was {:.2} s {fast}. Frequency change {:+.2} ppm, new frequency {:+.2} ppm\n",
        reply.correction.abs(),
        reply.frequency_change,
        reply.frequency
    )
}

/// Seconds since 1970 of a time in UTC (RFC 3339), or in words. Words are read by date(1) in the time
/// zone of the operator: its rules are those of chronyc, and no database of time zones is needed
/// here.
pub(crate) fn parse(text: &str) -> Result<f64, Failure> {
    let utc = text.parse::<SystemTime>();
    // A date alone is midnight of the operator.
    if let Some(time) = utc.ok().filter(|_| text.ends_with('Z')) {
        return Ok(time.as_nanos() as f64 * 1e-9);
    }
    let mut date = Command::new("date");
    date.arg(format!("--date={text}")).arg("+%s.%N");
    let output = date
        .output()
        .map_err(|error| Failure::Usage(format!("Cannot run date(1) to read the time: {error}")))?;
    let seconds = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    let seconds = seconds.filter(|_| output.status.success() && !text.trim().is_empty());
    seconds.ok_or_else(|| {
        let example = "for example 15:30:05, \"Nov 21, 2026 15:30\" or 2026-11-21T15:30:05Z";
        Failure::Usage(format!("Not a time: {text:?} ({example})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_chronyc_reads_them() {
        assert_eq!(parse("2026-11-21T15:30:05.5Z").ok(), Some(1_795_275_005.5));
        assert_eq!(parse("Nov 21, 2026 15:30 UTC").ok(), Some(1_795_275_000.0));
        assert!(parse("15:30:05").is_ok());
        for wrong in ["", "soon-ish", "25:99", "2026-02-30"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
