//! Regularity of pulses: they mark one place of the period, or they mark nothing.
//!
//! A bad cable, a second receiver at the same input or the other edge yields pulses in other places.
//! The clock cannot tell them from steps one by one, so each pulse is compared with those before it:
//! if more than a quarter of them are elsewhere in the period, it is refused. A few stray pulses are
//! thus refused each, and the train goes on; of two equal trains neither is used. After a change,
//! pulses are used again when three quarters of the window are in the new place. The first few must
//! all be in one place: a single pulse shows nothing.
//!
//! Places are compared in free-running time, so that neither our corrections nor a wrong number of
//! a pulse matters.

use ntp_time::{FreeTime, NtpDuration};

/// Number of pulses that are compared. With more, a change is followed later; with fewer, two stray
/// pulses in a row would stop the train.
const WINDOW: usize = 16;
/// Number of pulses from which on a train is known.
const FEWEST: usize = 4;
/// Share of the known pulses that may be elsewhere: 1 / 4.
const STRAY_SHARE: usize = 4;
/// Distance of pulses in the same place, in periods: beyond the jitter of every usable input, and
/// below the width of every usual pulse (20 ms and more).
const SAME_PLACE: i64 = 100;
/// How fast the free-running clock may move against the pulses: 500 ppm.
const DRIFT: f64 = 500e-6;

/// The newest pulses.
#[derive(Debug, Default)]
pub(super) struct PulseTrain {
    /// Time and place of each: what the free-running clock was ahead of the pulse, modulo the period.
    pulses: Vec<(FreeTime, NtpDuration)>,
}

impl PulseTrain {
    /// Adds a pulse and returns whether it is where most of the known ones are.
    pub(super) fn add(&mut self, at: FreeTime, place: NtpDuration, period: NtpDuration) -> bool {
        let period = period.to_bits().max(1);
        let elsewhere = |(time, other): &&(FreeTime, NtpDuration)| {
            let apart = (place - *other).to_bits().rem_euclid(period);
            let drift = NtpDuration::from_seconds_f64(DRIFT * (at - *time).abs().as_seconds_f64());
            apart.min(period - apart) > period / SAME_PLACE + drift.to_bits()
        };
        let known = self.pulses.len();
        let stray = self.pulses.iter().filter(elsewhere).count();
        if known == WINDOW {
            self.pulses.remove(0);
        }
        self.pulses.push((at, place));
        let permitted = if known < FEWEST {
            0
        } else {
            known / STRAY_SHARE
        };
        known > 0 && stray <= permitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs pulses in these places (milliseconds), one a second, and returns which are used.
    fn used(places: impl Iterator<Item = i64>) -> Vec<bool> {
        let mut train = PulseTrain::default();
        let add = |(second, place)| {
            let at = FreeTime::from_nanos(second * 1_000_000_000);
            let place = NtpDuration::from_millis(place);
            train.add(at, place, NtpDuration::from_seconds(1))
        };
        (0_i64..).zip(places).map(add).collect()
    }

    #[test]
    fn stray_pulses_are_refused_and_the_train_goes_on() {
        let stray = |second| second > 4 && second % 8 == 0;
        let used = used((0..64).map(|second| if stray(second) { 100 } else { 0 }));
        for (second, used) in used.into_iter().enumerate() {
            assert_eq!(used, second > 0 && !stray(second), "second {second}");
        }
    }

    #[test]
    fn the_first_pulses_are_used_only_in_one_place() {
        let used = used([0, 0, 100, 0, 0].into_iter());
        assert_eq!(used, [false, true, false, false, true]);
    }

    #[test]
    fn of_two_equal_trains_neither_is_used_and_one_is_soon_used_again() {
        let used = used((0..64).map(|pulse| if pulse < 40 { 100 * (pulse % 2) } else { 0 }));
        assert!(used[8..40].iter().all(|used| !used));
        assert!(used[49..].iter().all(|used| *used));
    }

    #[test]
    fn a_place_at_the_end_of_the_period_is_near_its_beginning() {
        let used = used((0..32).map(|pulse: usize| [999, 0, -1000, 2001][pulse % 4]));
        assert!(used[1..].iter().all(|used| *used));
    }
}
