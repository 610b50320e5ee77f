//! Time spent at each value of a figure, rounded up to two significant digits.
//!
//! A histogram of fixed size would be simpler, but its edges would have to suit nanoseconds and
//! seconds alike, and the limits of trading rules (100 us, 1 ms, 50 ms) must be edges, so that the
//! time outside a limit is exact. Two significant decimal digits have all of these: 90 values in a
//! decade, at most 10 % apart, and only those that occurred are kept.

use std::collections::BTreeMap;

use ntp_time::NtpDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest value, in nanoseconds: about a day. Larger ones are counted there.
const LARGEST: u64 = 99_000_000_000_000;

/// Time spent at each value of a figure. Serialises as a list of pairs: value and time, both in
/// nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    time: BTreeMap<u64, u64>,
}

/// Rounds nanoseconds up to two significant digits, at least 1.
fn level(nanos: u64) -> u64 {
    let mut unit = 1;
    while nanos.div_ceil(unit) >= 100 {
        unit *= 10;
    }
    (nanos.div_ceil(unit) * unit).clamp(1, LARGEST)
}

/// Returns the level above `level`, which is a level below [`LARGEST`].
fn next(level: u64) -> u64 {
    let mut unit = 1;
    while level / unit >= 100 {
        unit *= 10;
    }
    level + unit
}

impl Levels {
    /// Counts `time`, in which the figure went linearly from one value to the other. Negative values
    /// count as 0.
    pub fn add(&mut self, from: NtpDuration, to: NtpDuration, time: NtpDuration) {
        let nanos = |value: NtpDuration| value.as_nanos().max(0).unsigned_abs();
        let (low, high) = (nanos(from.min(to)), nanos(from.max(to)));
        let total = nanos(time);
        if total == 0 {
            return;
        }
        let (mut at, last) = (level(low), level(high));
        let mut counted = 0;
        while at < last {
            // Time until the value passes `at`, the upper edge of its level.
            let share = (at - low) as f64 / (high - low) as f64;
            let until = ((total as f64 * share) as u64).clamp(counted, total);
            self.count(at, until - counted);
            counted = until;
            at = next(at);
        }
        self.count(last, total - counted);
    }

    fn count(&mut self, level: u64, time: u64) {
        if time > 0 {
            let sum = self.time.entry(level).or_default();
            *sum = sum.saturating_add(time);
        }
    }

    /// Adds the times of another distribution.
    pub fn merge(&mut self, other: &Self) {
        for (&level, &time) in &other.time {
            self.count(level, time);
        }
    }

    /// Total time.
    pub fn total(&self) -> NtpDuration {
        duration(self.time.values().copied().fold(0, u64::saturating_add))
    }

    /// Largest value, rounded up to two digits; `None` without any time.
    pub fn largest(&self) -> Option<NtpDuration> {
        self.time
            .last_key_value()
            .map(|(&level, _)| duration(level))
    }

    /// Value that the figure did not exceed in this share of the time, rounded up to two digits.
    pub fn quantile(&self, share: f64) -> Option<NtpDuration> {
        let wanted = self.total().as_nanos() as f64 * share;
        let mut sum = 0.0;
        let reached = self.time.iter().find(|(_, time)| {
            sum += **time as f64;
            sum >= wanted
        });
        reached
            .map(|(&level, _)| duration(level))
            .or(self.largest())
    }

    /// Time in which the figure was above `limit`. Exact if `limit` has at most two significant
    /// digits; otherwise times within 10 % of it may be included.
    pub fn above(&self, limit: NtpDuration) -> NtpDuration {
        let limit = limit.as_nanos().max(0).unsigned_abs();
        let outside = self.time.range(limit.saturating_add(1)..);
        duration(outside.map(|(_, &time)| time).fold(0, u64::saturating_add))
    }
}

fn duration(nanos: u64) -> NtpDuration {
    NtpDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

impl Serialize for Levels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.time)
    }
}

impl<'de> Deserialize<'de> for Levels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(u64, u64)>::deserialize(deserializer)?;
        let mut levels = Self::default();
        for (value, time) in pairs {
            levels.count(level(value), time);
        }
        Ok(levels)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(micros: i64) -> NtpDuration {
        NtpDuration::from_micros(micros)
    }

    fn seconds(seconds: i64) -> NtpDuration {
        NtpDuration::from_seconds(seconds)
    }

    #[test]
    fn levels_are_two_digits_and_never_below_the_value() {
        for (value, rounded) in [
            (0, 1),
            (1, 1),
            (99, 99),
            (100, 100),
            (101, 110),
            (100_000, 100_000),
            (100_001, 110_000),
            (50_000_000, 50_000_000),
            (u64::MAX / 2, LARGEST),
        ] {
            assert_eq!(level(value), rounded, "{value}");
        }
    }

    #[test]
    fn time_outside_a_limit_is_that_of_the_straight_line() {
        let mut levels = Levels::default();
        levels.add(micros(50), micros(150), seconds(100));
        levels.add(micros(150), micros(150), seconds(10));
        let outside = levels.above(micros(100)).as_seconds_f64();
        assert!((outside - 60.0).abs() < 1e-6, "{outside}");
        assert_eq!(levels.largest(), Some(micros(150)));
        assert_eq!(levels.quantile(0.999), Some(micros(150)));
        assert_eq!(levels.above(micros(150)), NtpDuration::ZERO);
        assert!((levels.quantile(0.5).unwrap() - micros(110)).abs() <= micros(10));
    }

    proptest! {
        #[test]
        fn no_time_is_lost(
            steps in proptest::collection::vec((0u64..1 << 45, 0u64..1 << 45, 0i64..1 << 40), 1..20)
        ) {
            let mut levels = Levels::default();
            let mut total = 0;
            for (from, to, time) in steps {
                let nanos = |value: u64| NtpDuration::from_nanos(value as i64);
                levels.add(nanos(from), nanos(to), NtpDuration::from_nanos(time));
                total += time;
            }
            prop_assert!((levels.total().as_nanos() - total).abs() <= 40);
            let text = serde_json::to_string(&levels).unwrap();
            prop_assert_eq!(serde_json::from_str::<Levels>(&text).unwrap(), levels);
        }
    }
}
