//! A clock that shows a time which is past for certain is set forward before anything else begins.
//!
//! A machine without a battery for its clock starts in 1970, or where its file system or its image was made. Sources put that right within
//! seconds, if there is a network; until then, or for ever without one, certificates of all programs are judged and files are dated
//! by a time that is years off. What an earlier run knew is off by the time without power only. (systemd-timesyncd does the same
//! with a file's date.)
//!
//! It is no step by measurement: no start-up step is used up for it. But the operator's limit holds, `startup-step-panic-threshold`, and where the clock is less
//! than [`LEAST`] behind it is left to the first measurements.

use ntp_os_clock::{Clock, ClockKind};
use ntp_time::{Adjustment, NtpDuration, SystemTime};
use tracing::warn;

/// Less than a person would notice is not worth a step by hearsay.
const LEAST: NtpDuration = NtpDuration::from_seconds(60);

/// Sets `clock` to `past` if it shows an earlier time, and `limit` (none: unlimited) allows it.
pub(crate) fn set_forward(clock: &mut Clock, past: SystemTime, limit: Option<NtpDuration>) {
    let shown = clock.now();
    let behind = past - shown;
    if clock.kind() == ClockKind::None || behind < LEAST {
        return;
    }
    if limit.is_some_and(|limit| behind > limit) {
        warn!(
            "the clock shows {shown}, but an earlier run knew the time to be {past}; it is not set forward, because \
             startup-step-panic-threshold in [synchronization] is less"
        );
        return;
    }
    let step = Adjustment {
        step: Some(behind),
        ..Adjustment::default()
    };
    match clock.apply(&step) {
        Ok(_) => warn!(
            "the clock shows {shown}, but an earlier run knew the time to be {past}: set forward to that, until a source \
             says more (see [state] set-clock-forward)"
        ),
        Err(error) => warn!("the clock shows {shown}, which is past, and cannot be set: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::Frequency;

    use super::*;

    const YEAR: NtpDuration = NtpDuration::from_seconds(365 * 86_400);

    #[test]
    fn a_clock_is_set_forward_but_never_back_and_never_further_than_allowed() {
        for (behind, limit, set) in [
            (YEAR, None, true),
            (YEAR, Some(YEAR.half()), false),
            (NtpDuration::from_seconds(5), None, false),
            (-YEAR, None, false),
        ] {
            let mut clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
            let past = clock.now() + behind;
            set_forward(&mut clock, past, limit);
            assert_eq!(
                (past - clock.now()).abs() < NtpDuration::from_seconds(60),
                set || behind.abs() < LEAST,
                "{behind} {limit:?}"
            );
        }
    }
}
