//! Sets a clock forward at the start if it shows a time that is certainly past.
//!
//! A machine without a battery for its clock starts in 1970, or at the date of its file system or
//! image. Sources correct that within seconds if there is a network. Until then, or forever without
//! one, all programs verify certificates and date files by a time that is years off. The time that
//! an earlier run stored is off by the time without power only. (systemd-timesyncd does the same
//! with the date of a file.)
//!
//! This is not a step by measurement and uses up none of the start-up steps. But the operator's
//! limit applies, `startup-step-panic-threshold`, and a clock that is less than [`LEAST`] behind is
//! left to the first measurements.

use ntp_os_clock::{Clock, ClockKind};
use ntp_time::{Adjustment, NtpDuration, SystemTime};
use ntp_types::event::Event;

use crate::log;

/// Smallest difference that justifies a step without a measurement.
const LEAST: NtpDuration = NtpDuration::from_seconds(60);

/// Sets `clock` to `past` if it shows an earlier time and `limit` (`None`: unlimited) allows it.
pub(crate) fn set_forward(clock: &mut Clock, past: SystemTime, limit: Option<NtpDuration>) {
    let shown = clock.now();
    let behind = past - shown;
    if clock.kind() == ClockKind::None || behind < LEAST {
        return;
    }
    if limit.is_some_and(|limit| behind > limit) {
        let error = "startup-step-panic-threshold in [synchronization] is less".to_owned();
        log::emit(&Event::ClockNotSetForward {
            clock: shown,
            known: past,
            error,
        });
        return;
    }
    let step = Adjustment {
        step: Some(behind),
        ..Adjustment::default()
    };
    let event = match clock.apply(&step) {
        Ok(_) => Event::ClockSetForward {
            clock: shown,
            known: past,
        },
        Err(error) => Event::ClockNotSetForward {
            clock: shown,
            known: past,
            error: error.to_string(),
        },
    };
    log::emit(&event);
}

#[cfg(test)]
mod tests {
    use ntp_time::Frequency;

    use super::*;

    const YEAR: NtpDuration = NtpDuration::from_seconds(365 * 86_400);

    #[test]
    fn a_clock_is_set_forward_but_never_back_and_never_beyond_the_limit() {
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
