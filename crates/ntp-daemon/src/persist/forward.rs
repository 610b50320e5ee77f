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
//!
//! The saved time may be wrong: an earlier run may have followed wrong sources. A clock that shows
//! a time before this program was released is wrong in any case, and loses nothing. Any other clock
//! is set only as far forward as the sources may take back; beyond that the saved time is
//! [disputed](is_disputed), and the sources decide.
//!
//! NTP timestamps repeat after 136 years, and a difference of more than 68 years cannot be told
//! from one in the other direction (RFC 5905 section 6). A clock that is decades before the release
//! of this program is therefore set to the release, saved time or not: from there the true time can
//! be reached for 68 years.

use ntp_config::StepThreshold;
use ntp_os_clock::{Clock, ClockError, ClockKind};
use ntp_time::{Adjustment, NtpDuration, SystemTime};
use ntp_types::event::Event;

use crate::log;

/// Smallest difference that justifies a step without a measurement.
const LEAST: NtpDuration = NtpDuration::from_seconds(60);

/// Largest step that may be taken back if `startup-step-panic-threshold` has no limit backward: its
/// default.
const TAKEN_BACK: NtpDuration = NtpDuration::from_seconds(86_400);

/// Time before the release at which a clock is set to the release: half of the range of
/// differences. It leaves 34 years for the age of this program. Clocks of test networks that live
/// in earlier years are left alone.
const ERA_MARGIN: NtpDuration = NtpDuration::from_seconds(34 * 365 * 86_400);

/// Latest time that is certainly past for a clock that shows `shown`.
pub(crate) fn certainly_past(shown: SystemTime, saved: Option<SystemTime>) -> Option<SystemTime> {
    let of_another_era = shown < SystemTime::RELEASED - ERA_MARGIN;
    saved.max(of_another_era.then_some(SystemTime::RELEASED))
}

/// Whether a clock that shows `shown` and a saved time `past` contradict each other so much that
/// neither is believed without the sources. `limit` is `startup-step-panic-threshold`.
pub(crate) fn is_disputed(shown: SystemTime, past: SystemTime, limit: StepThreshold) -> bool {
    let taken_back = limit.backward.unwrap_or(TAKEN_BACK).min(TAKEN_BACK);
    shown >= SystemTime::RELEASED && past - shown > taken_back.max(LEAST)
}

/// Sets `clock` to `past` if it shows an earlier time, and `limit`, the panic threshold of
/// start-up, allows it.
pub(crate) fn set_forward(clock: &mut Clock, past: SystemTime, limit: StepThreshold) {
    let shown = clock.now();
    let behind = past - shown;
    if clock.kind() == ClockKind::None || behind < LEAST {
        return;
    }
    let reason = if is_disputed(shown, past, limit) {
        Some("one of them is wrong, and the sources decide which")
    } else if limit.forward.is_some_and(|limit| behind > limit) {
        Some("startup-step-panic-threshold in [synchronization] is less")
    } else {
        None
    };
    if let Some(reason) = reason {
        log::emit(&Event::ClockNotSetForward {
            clock: shown,
            known: past,
            error: reason.to_owned(),
        });
        return;
    }
    let event = match step_to(clock, past) {
        Ok(()) => Event::ClockSetForward {
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

/// Steps the clock. A difference has a range of 68 years, so more than one step may be needed.
fn step_to(clock: &mut Clock, past: SystemTime) -> Result<(), ClockError> {
    for _ in 0..MAX_STEPS {
        let behind = past - clock.now();
        let step = Adjustment {
            step: Some(behind),
            ..Adjustment::default()
        };
        clock.apply(&step)?;
        if behind < NtpDuration::MAX {
            break;
        }
    }
    Ok(())
}

/// Number of steps of 68 years that cover the range of the clock.
const MAX_STEPS: usize = 10;

#[cfg(test)]
mod tests {
    use ntp_time::Frequency;

    use super::*;

    const YEAR: NtpDuration = NtpDuration::from_seconds(365 * 86_400);

    #[test]
    fn a_clock_of_another_era_is_set_to_the_release() {
        let mut clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
        // Two steps back: more than 68 years behind.
        let back = NtpDuration::from_seconds(-86_400 * 365 * 50);
        for _ in 0..2 {
            let step = Adjustment {
                step: Some(back),
                ..Adjustment::default()
            };
            clock.apply(&step).unwrap();
        }
        assert!(clock.now() < SystemTime::from_nanos(0));
        let past = certainly_past(clock.now(), None).unwrap();
        assert_eq!(past, SystemTime::RELEASED);
        set_forward(&mut clock, past, StepThreshold::UNLIMITED);
        let late = clock.now() - past;
        assert!(late.abs() < NtpDuration::from_seconds(60), "{late}");
        let recent = SystemTime::RELEASED - YEAR * 10;
        assert_eq!(certainly_past(recent, None), None);
        assert_eq!(certainly_past(recent, Some(recent)), Some(recent));
    }

    #[test]
    fn a_clock_is_set_forward_but_never_back_and_never_beyond_the_limits() {
        let long_ago = SystemTime::RELEASED - YEAR;
        let plausible = SystemTime::RELEASED + YEAR;
        let day = NtpDuration::from_seconds(86_400);
        for (shown, behind, forward, set) in [
            (long_ago, YEAR, None, true),
            (long_ago, YEAR, Some(YEAR.half()), false),
            (long_ago, NtpDuration::from_seconds(5), None, false),
            (long_ago, -YEAR, None, false),
            // What sources could not take back is left to them.
            (plausible, YEAR, None, false),
            (plausible, day.half(), None, true),
        ] {
            let limit = StepThreshold {
                forward,
                backward: Some(day),
            };
            let mut clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
            let now = clock.now();
            let offset = shown - now;
            clock = Clock::new_virtual(offset, Frequency::ZERO);
            let past = clock.now() + behind;
            set_forward(&mut clock, past, limit);
            assert_eq!(
                (past - clock.now()).abs() < NtpDuration::from_seconds(60),
                set || behind.abs() < LEAST,
                "{shown} {behind} {limit:?}"
            );
        }
    }
}
