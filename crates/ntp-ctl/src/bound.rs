//! `ntp-ctl bound`: the interval that contains true time, for scripts.

use std::path::Path;

use ntp_time::{NtpDuration, SystemTime};
use ntp_types::status::Status;
use serde::Serialize;

use crate::connect;
use crate::console::{Console, Failure};
use crate::exit;

/// The interval when the daemon read its clock.
#[derive(Debug, PartialEq, Serialize)]
struct Interval {
    /// RFC 3339, with nanoseconds.
    earliest: String,
    latest: String,
    /// Half of its length.
    bound: NtpDuration,
    status: &'static str,
}

pub(crate) fn run(
    config: Option<&Path>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let status = connect::status(config)?;
    let interval = interval(&status).ok_or_else(|| Failure::WithExitCode {
        exit_code: exit::NOT_SYNCHRONIZED,
        text: "Not synchronised: no bound is guaranteed\nSee `ntp-ctl explain`".to_owned(),
    })?;
    if json {
        return console.print_json(&interval);
    }
    console.print(&plain(&interval))
}

/// Returns the interval; `None` if the clock is not synchronised.
fn interval(status: &Status) -> Option<Interval> {
    let system = &status.system;
    let bound = system.error_bound.filter(|_| system.synchronized)?;
    // JSON resolves microseconds, so that a reading of the clock is rounded by half of one.
    let bound = bound + NtpDuration::from_micros(1);
    let now: SystemTime = status.program.now;
    Some(Interval {
        earliest: (now - bound).to_string(),
        latest: (now + bound).to_string(),
        bound,
        status: if system.majority {
            "synchronized"
        } else {
            "holdover"
        },
    })
}

/// Formats the interval as assignments of a shell.
fn plain(interval: &Interval) -> String {
    let Interval {
        earliest,
        latest,
        bound,
        status,
    } = interval;
    let seconds = bound.as_seconds_f64();
    format!("earliest={earliest}\nlatest={latest}\nbound={seconds:.9}\nstatus={status}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let mut status = Status::default();
        status.program.now = SystemTime::from_nanos(1_700_000_000_000_000_000);
        status.system.synchronized = true;
        status.system.majority = true;
        status.system.error_bound = Some(NtpDuration::from_micros(999));
        status
    }

    #[test]
    fn the_interval_is_a_list_of_assignments() {
        let text = interval(&status()).map(|it| plain(&it));
        assert_eq!(
            text.as_deref(),
            Some(
                "earliest=2023-11-14T22:13:19.999000000Z\nlatest=2023-11-14T22:13:20.001000000Z\n\
                 bound=0.001000000\nstatus=synchronized\n"
            )
        );
    }

    #[test]
    fn holdover_keeps_the_guarantee_and_an_unsynchronised_clock_has_none() {
        let mut status = status();
        status.system.majority = false;
        assert_eq!(interval(&status).map(|it| it.status), Some("holdover"));
        status.system.synchronized = false;
        assert_eq!(interval(&status), None);
    }
}
