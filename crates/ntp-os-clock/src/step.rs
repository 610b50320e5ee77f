//! Steps: the kernel's representation, and the time at which one was made.
//!
//! `ADJ_SETOFFSET` adds a signed time to the clock. Its fraction must not be negative, so a step of
//! -0.3 s is written as -1 s + 0.7 s; with `ADJ_NANO` the field called `tv_usec` counts
//! nanoseconds.
//!
//! The kernel makes the step first, then reads the clock for `timex.time`, then sets the rate, all
//! within one call. The reported time is therefore **after** the step, and the last reading before
//! it is that time minus the step.

use ntp_time::{NtpDuration, SystemTime};

use crate::kernel_types::KernelTime;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Converts a step to the form of `ADJ_SETOFFSET` with `ADJ_NANO`, rounded to the nanosecond.
pub(crate) fn set_offset(step: NtpDuration) -> KernelTime {
    let nanos = step.as_nanos();
    KernelTime {
        tv_sec: nanos.div_euclid(NANOS_PER_SECOND),
        tv_usec: nanos.rem_euclid(NANOS_PER_SECOND),
    }
}

/// Returns the time that a call reported in `timex.time`; `None` if it was left empty, as by
/// simulators.
pub(crate) fn reported_time(time: KernelTime, in_nanos: bool) -> Option<SystemTime> {
    let (seconds, fraction) = (time.tv_sec, time.tv_usec);
    if seconds == 0 && fraction == 0 {
        return None;
    }
    let nanos = if in_nanos {
        fraction
    } else {
        fraction.saturating_mul(1000)
    };
    Some(SystemTime::from_nanos(
        seconds
            .saturating_mul(NANOS_PER_SECOND)
            .saturating_add(nanos),
    ))
}

/// Returns the last reading before the change, from readings around the call and the time that the
/// call reported.
///
/// A reported time outside of the readings is ignored: another program may have stepped the clock
/// in the same microsecond, or a simulator filled the field with a value of its own.
pub(crate) fn time_of_change(
    before: SystemTime,
    reported: Option<SystemTime>,
    after: SystemTime,
    step: NtpDuration,
) -> SystemTime {
    let after = after - step;
    match reported.map(|time| time - step) {
        Some(time) if before <= time && time <= after => time,
        _ => before + (after - before).half(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_step_is_normalised_and_complete(bits: i64) {
            let step = NtpDuration::from_bits(bits);
            let offset = set_offset(step);
            prop_assert!((0..NANOS_PER_SECOND).contains(&offset.tv_usec));
            prop_assert_eq!(offset.tv_sec * NANOS_PER_SECOND + offset.tv_usec, step.as_nanos());
        }

        #[test]
        fn the_time_of_change_is_between_the_readings(
            before in 0i64..4_000_000_000_000_000_000,
            elapsed in 0i64..1_000_000,
            at in 0f64..=1.0,
            step in -1_000_000_000_000_000i64..1_000_000_000_000_000,
        ) {
            let step = NtpDuration::from_nanos(step);
            let old = SystemTime::from_nanos(before);
            let change = SystemTime::from_nanos(before + (elapsed as f64 * at) as i64);
            let after = SystemTime::from_nanos(before + elapsed) + step;
            prop_assert_eq!(time_of_change(old, Some(change + step), after, step), change);
            let guess = time_of_change(old, None, after, step).as_nanos() - before;
            prop_assert!((0..=elapsed).contains(&guess));
        }
    }

    #[test]
    fn small_backward_steps_are_normalised() {
        let offset = set_offset(NtpDuration::from_millis(-300));
        assert_eq!((offset.tv_sec, offset.tv_usec), (-1, 700_000_000));
    }

    #[test]
    fn an_implausible_report_is_ignored() {
        let (before, after) = (
            SystemTime::from_nanos(1_000_000),
            SystemTime::from_nanos(1_002_000),
        );
        let elsewhere = Some(SystemTime::from_nanos(5));
        let moment = time_of_change(before, elsewhere, after, NtpDuration::ZERO);
        assert_eq!(moment.as_nanos(), 1_001_000);
    }

    #[test]
    fn microsecond_reports_are_converted() {
        let time = KernelTime {
            tv_sec: 5,
            tv_usec: 7,
        };
        assert_eq!(
            reported_time(time, false).map(SystemTime::as_nanos),
            Some(5_000_007_000)
        );
        assert_eq!(
            reported_time(time, true).map(SystemTime::as_nanos),
            Some(5_000_000_007)
        );
    }
}
