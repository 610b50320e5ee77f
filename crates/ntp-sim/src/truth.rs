//! True time, which no program inside the world can read.
//!
//! The world counts physical time in nanoseconds since its beginning. UTC follows it except where a
//! leap second is inserted: UTC's last second is then counted twice, as on the clocks of servers.
//! Deleted leap seconds have never happened and are not supported.

use core::ops::{Add, Sub};

use ntp_time::SystemTime;

/// Physical time since the world began, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrueTime(i64);

impl TrueTime {
    /// The beginning.
    pub const ZERO: Self = Self(0);

    /// Converts from nanoseconds since the beginning.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Converts from seconds since the beginning.
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e9).round() as i64)
    }

    /// Nanoseconds since the beginning.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Seconds since the beginning.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 * 1e-9
    }
}

impl Add<f64> for TrueTime {
    type Output = Self;
    /// This many seconds later.
    fn add(self, seconds: f64) -> Self {
        Self(self.0.saturating_add(Self::from_seconds(seconds).0))
    }
}

impl Sub for TrueTime {
    type Output = f64;
    /// Seconds between the two.
    fn sub(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 * 1e-9
    }
}

/// Conversion from true time to UTC.
#[derive(Clone, Debug)]
pub struct Calendar {
    start: SystemTime,
    leaps: Vec<TrueTime>,
}

impl Calendar {
    /// Creates the conversion for a world that begins at `start`, with a second inserted at each of
    /// `leaps`.
    pub fn new(start: SystemTime, leaps: &[TrueTime]) -> Self {
        Self {
            start,
            leaps: leaps.to_vec(),
        }
    }

    /// Converts true time to UTC.
    pub fn utc(&self, at: TrueTime) -> SystemTime {
        let inserted = self.leaps.iter().filter(|leap| **leap <= at).count() as i64;
        SystemTime::from_nanos(self.start.as_nanos() + at.as_nanos() - inserted * 1_000_000_000)
    }

    /// Seconds to the nearest leap second, if there is one.
    pub fn distance_to_leap(&self, at: TrueTime) -> Option<f64> {
        self.leaps
            .iter()
            .map(|leap| (at - *leap).abs())
            .min_by(f64::total_cmp)
    }

    /// Returns whether a leap second is in the coming day, which servers announce.
    pub fn announces_leap(&self, at: TrueTime) -> bool {
        const DAY: f64 = 86_400.0;
        self.leaps
            .iter()
            .any(|leap| (0.0..DAY).contains(&(*leap - at)) && *leap > at)
    }

    /// Returns the time at which UTC first reads `time`, leap seconds disregarded.
    pub fn true_time_of(&self, time: SystemTime) -> TrueTime {
        TrueTime((time - self.start).as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_second_is_counted_twice() {
        let leap = TrueTime::from_seconds(100.0);
        let calendar = Calendar::new(SystemTime::from_nanos(0), &[leap]);
        let second =
            |time: f64| calendar.utc(TrueTime::from_seconds(time)).as_nanos() / 1_000_000_000;
        assert_eq!([second(99.5), second(100.5), second(101.5)], [99, 99, 100]);
        assert!(calendar.announces_leap(TrueTime::from_seconds(99.0)));
        assert!(!calendar.announces_leap(leap));
    }
}
