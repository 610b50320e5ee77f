//! True time that cannot be steered, for a machine with a single clock.
//!
//! # Problem
//! Where the daemon steers the kernel's clock there is no second clock to compare with: packets are
//! timestamped by the clock under test, and a server on the same machine would serve that clock.
//!
//! # Idea
//! `CLOCK_MONOTONIC_RAW` counts the same oscillator, but `adjtimex(2)` and steps do not move it.
//! True time is a function of it, linear unless it wanders:
//!
//! ```text
//! atomic = start + raw (1 + rate) + wander(raw)
//! UTC = atomic - (seconds inserted so far) + (seconds deleted so far)
//! ```
//!
//! Every program on the machine can read it exactly: a server that serves it, and a program that
//! compares the clock under test with it to the nanosecond. For the clock under test, `rate`
//! appears as a frequency error of the oscillator of `-rate`.
//!
//! UTC counts leap seconds as the kernel and NTP servers do: an inserted second repeats the last
//! second of the day.

use ntp_time::{Frequency, LeapIndicator, NtpDuration, SystemTime};

use crate::wander::Wander;

/// Definition of true time as a function of a raw clock that starts near zero.
#[derive(Clone, Debug, PartialEq)]
pub struct TrueTime {
    /// UTC when the raw clock reads zero.
    pub start: SystemTime,
    /// Frequency of true time relative to the raw clock, positive if true time is faster.
    pub rate: Frequency,
    /// A change of the rate: reading of the raw clock at which it happens, and its size.
    pub rate_change: Option<(NtpDuration, Frequency)>,
    /// A leap second.
    pub leap: Option<LeapSecond>,
    /// A wandering frequency, in addition.
    pub wander: Option<Wander>,
}

/// A leap second of a [`TrueTime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeapSecond {
    /// Midnight before which it happens.
    pub before: SystemTime,
    /// Whether a second is deleted; otherwise one is inserted.
    pub deleted: bool,
    /// How long before the leap second it is announced.
    pub notice: NtpDuration,
}

impl TrueTime {
    /// UTC at this reading of the raw clock, in nanoseconds.
    pub fn utc(&self, raw: i64) -> SystemTime {
        let atomic = self.atomic(raw);
        match self.leap {
            Some(leap) if atomic >= leap.moment() => atomic + leap.jump(),
            _ => atomic,
        }
    }

    /// Leap indicator of a correct server at this reading of the raw clock: set until the jump, and
    /// through an inserted second.
    pub fn announcement(&self, raw: i64) -> LeapIndicator {
        let atomic = self.atomic(raw);
        let Some(leap) = self.leap else {
            return LeapIndicator::None;
        };
        let end = if leap.deleted {
            leap.moment()
        } else {
            leap.moment() + NtpDuration::from_seconds(1)
        };
        if atomic < leap.before - leap.notice || atomic >= end {
            LeapIndicator::None
        } else if leap.deleted {
            LeapIndicator::Delete
        } else {
            LeapIndicator::Insert
        }
    }

    fn atomic(&self, raw: i64) -> SystemTime {
        let elapsed = NtpDuration::from_nanos(raw);
        let changed = self.rate_change.map_or(NtpDuration::ZERO, |(at, by)| {
            (elapsed - at).max(NtpDuration::ZERO).scaled(by.as_ratio())
        });
        let wandered = self
            .wander
            .as_ref()
            .map_or(NtpDuration::ZERO, |wander| wander.gained(elapsed));
        self.start + elapsed + elapsed.scaled(self.rate.as_ratio()) + changed + wandered
    }
}

impl LeapSecond {
    /// Time of the jump of UTC, in continuous time.
    fn moment(self) -> SystemTime {
        if self.deleted {
            self.before - NtpDuration::from_seconds(1)
        } else {
            self.before
        }
    }

    fn jump(self) -> NtpDuration {
        NtpDuration::from_seconds(if self.deleted { 1 } else { -1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn with_leap(deleted: bool) -> TrueTime {
        TrueTime {
            start: SystemTime::from_nanos(1000 * SECOND),
            rate: Frequency::ZERO,
            rate_change: None,
            leap: Some(LeapSecond {
                before: SystemTime::from_nanos(1100 * SECOND),
                deleted,
                notice: NtpDuration::from_seconds(50),
            }),
            wander: None,
        }
    }

    fn seen(truth: &TrueTime, tenths: i64) -> (i64, LeapIndicator) {
        let raw = tenths * SECOND / 10;
        let utc = truth.utc(raw).as_nanos() * 10 / SECOND - 10_000;
        (utc, truth.announcement(raw))
    }

    #[test]
    fn an_inserted_second_repeats_and_is_announced_to_its_end() {
        let truth = with_leap(false);
        let seen = |tenths| seen(&truth, tenths);
        assert_eq!(seen(499), (499, LeapIndicator::None));
        assert_eq!(seen(500), (500, LeapIndicator::Insert));
        assert_eq!(seen(999), (999, LeapIndicator::Insert));
        assert_eq!(seen(1000), (990, LeapIndicator::Insert));
        assert_eq!(seen(1009), (999, LeapIndicator::Insert));
        assert_eq!(seen(1010), (1000, LeapIndicator::None));
    }

    #[test]
    fn a_deleted_second_is_skipped() {
        let truth = with_leap(true);
        let seen = |tenths| seen(&truth, tenths);
        assert_eq!(seen(989), (989, LeapIndicator::Delete));
        assert_eq!(seen(990), (1000, LeapIndicator::None));
    }

    #[test]
    fn rate_and_rate_change_apply_to_true_time() {
        let truth = TrueTime {
            start: SystemTime::from_nanos(0),
            rate: Frequency::from_ppm(500.0),
            rate_change: Some((NtpDuration::from_seconds(2000), Frequency::from_ppm(-500.0))),
            leap: None,
            wander: None,
        };
        assert_eq!(truth.utc(2000 * SECOND).as_nanos(), 2001 * SECOND);
        assert_eq!(truth.utc(2999 * SECOND).as_nanos(), 3000 * SECOND);
    }
}
