//! Pulses: marks of the beginning of each period, without its number.

use ntp_time::{LeapIndicator, NtpDuration, Stamp};
use ntp_types::refclock::ClockSample;

/// Returns the sample of a pulse at the beginning of a period. Its offset lies between minus and
/// plus half a period; the engine numbers it.
pub(crate) fn sample(at: Stamp, period: NtpDuration) -> ClockSample {
    ClockSample {
        at,
        offset: offset(at.time.as_nanos(), period.as_nanos()),
        leap: LeapIndicator::None,
        is_pulse: true,
        error: None,
    }
}

/// The offset of the nearest multiple of the period from a time.
fn offset(at: i64, period: i64) -> NtpDuration {
    let period = period.max(1);
    let after = at.rem_euclid(period);
    NtpDuration::from_nanos(if after > period / 2 {
        period - after
    } else {
        -after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_that_of_the_nearest_period() {
        const SECOND: i64 = 1_000_000_000;
        let at = 1_800_000_000 * SECOND;
        for (time, period, expected) in [
            (at, SECOND, 0),
            (at + 1, SECOND, -1),
            (at - 1, SECOND, 1),
            (at + SECOND / 2, SECOND, -SECOND / 2),
            (at + SECOND / 2 + 1, SECOND, SECOND / 2 - 1),
            // Five pulses in a second, and one in two.
            (at + 3 * SECOND / 5 + 7, SECOND / 5, -7),
            (at + SECOND, 2 * SECOND, -SECOND),
            (-SECOND / 4, SECOND, SECOND / 4),
        ] {
            assert_eq!(offset(time, period).as_nanos(), expected, "{time} {period}");
        }
    }
}
