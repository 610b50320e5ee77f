//! Drift allowance: how fast the oscillator may leave the estimate between samples.
//!
//! # Problem
//! The bound grows with the age of the samples, because the oscillator may have changed since.
//! RFC 5905 assumes 15 ppm of any clock. Most oscillators change by far less within a poll
//! interval, and on a short path 15 ppm times the age is nearly all of the bound; a smaller
//! constant would be wrong for those that change by more.
//!
//! # Idea
//! The allowance is learnt from the record of the oscillator. It begins at 15 ppm and falls as the
//! record grows: what has not happened for a time T happens within the next poll interval with a
//! probability of about its length divided by T. It never falls below [`MARGIN`] times the largest
//! change of the frequency that was seen, or below a floor, and it rises at once when the oscillator
//! moves. What is seen fades within a week. A suspend, a migration or a restart of the filters begins
//! a new record.
//!
//! The bound is then a guarantee *as long as* the frequency of the oscillator changes by less than
//! the allowance between samples; the allowance is reported beside it.

use ntp_time::{FreeTime, Frequency};
use serde::{Deserialize, Serialize};

use super::math;

/// Configured drift allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum DriftAllowance {
    /// Between 1 and 15 ppm, from the record of the oscillator.
    #[default]
    Learnt,
    /// Always this much.
    Fixed(#[serde(with = "ntp_time::exact")] Frequency),
}

/// Allowance without a record, s/s: PHI of RFC 5905 section 4.
const LARGEST: f64 = 15e-6;
/// Smallest allowance, s/s: chrony's assumption about any clock (its `maxclockerror`).
const FLOOR: f64 = 1e-6;
/// Ratio of the allowance to the largest change that was seen: the next one may be larger.
const MARGIN: f64 = 3.0;
/// Length of a record that halves the allowance, seconds. After 28 hours it is 1 ppm, and a change
/// as rare as once in that time comes within a poll interval of 17 minutes with a probability of 1 %.
const HALVING: f64 = 7200.0;
/// Time between two looks at the frequency, seconds: the longest usual poll interval. A change that
/// takes longer is seen in steps.
const LOOK: f64 = 1024.0;
/// Time constant with which the largest change fades, seconds: a week, because heating and load
/// repeat by the week.
const MEMORY: f64 = 604_800.0;

/// Age of a sample at which the allowance is 15 ppm again, seconds: the record is about changes
/// within a poll interval, and in hours the temperature of a room changes.
const FULL_AGE: f64 = 6.0 * 3600.0;

/// Record of the oscillator's changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DriftRecord {
    /// Begin of the record.
    since: Option<FreeTime>,
    /// Last look: time and frequency, s/s.
    look: Option<(FreeTime, f64)>,
    /// Largest change between two looks, s/s.
    largest: f64,
}

impl DriftRecord {
    /// Adds the estimated frequency, s/s.
    pub(super) fn observe(&mut self, at: FreeTime, frequency: f64) {
        self.since.get_or_insert(at);
        let (then, before) = *self.look.get_or_insert((at, frequency));
        self.largest = self.largest.max((frequency - before).abs());
        let elapsed = (at - then).as_seconds_f64();
        if elapsed >= LOOK {
            self.largest *= math::exp(-elapsed / MEMORY);
            self.look = Some((at, frequency));
        }
    }

    /// The allowance at `now`, s/s.
    pub(super) fn allowance(&self, now: FreeTime) -> f64 {
        let Some(since) = self.since else {
            return LARGEST;
        };
        let length = (now - since).as_seconds_f64().max(0.0);
        let by_length = LARGEST / (1.0 + length / HALVING);
        by_length.max(MARGIN * self.largest).clamp(FLOOR, LARGEST)
    }
}

/// Addition to the widening of a sample of this age, s/s, if `most` is the difference of a learnt
/// allowance to 15 ppm: a thousandth of it at an age of 11 minutes, all of it after six hours.
pub(super) fn slack(most: f64, age: f64) -> f64 {
    most * (age / FULL_AGE).powi(2).min(1.0)
}

impl DriftAllowance {
    /// See [`slack`].
    pub(super) fn slack(self, now: f64) -> f64 {
        match self {
            Self::Learnt => LARGEST - now,
            Self::Fixed(_) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> FreeTime {
        FreeTime::from_nanos((seconds * 1e9) as i64)
    }

    /// The record of `hours` with a sample every minute.
    fn record(hours: u32, frequency: impl Fn(f64) -> f64) -> f64 {
        let mut record = DriftRecord::default();
        for minute in 0..60 * hours {
            let seconds = 60.0 * f64::from(minute);
            record.observe(at(seconds), frequency(seconds));
        }
        record.allowance(at(3600.0 * f64::from(hours)))
    }

    #[test]
    fn a_steady_oscillator_is_trusted_more_with_time() {
        assert_eq!(DriftRecord::default().allowance(at(0.0)), LARGEST);
        assert!((record(2, |_| 1e-5) - 7.5e-6).abs() < 1e-7);
        assert_eq!(record(48, |_| 1e-5), FLOOR);
    }

    #[test]
    fn a_change_counts_three_times_at_once_and_fades_in_weeks() {
        let jump = |seconds: f64| if seconds > 86_400.0 { 1e-6 } else { 0.0 };
        assert!((record(25, jump) - 3e-6).abs() < 1e-7);
        assert!((1.5e-6..2.5e-6).contains(&record(24 * 5, jump)));
        let large = |seconds: f64| if seconds > 86_400.0 { 2e-5 } else { 0.0 };
        assert_eq!(record(25, large), LARGEST);
    }
}
