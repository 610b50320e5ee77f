//! A truth that nobody can steer, for a machine that has a single clock.
//!
//! # Problem
//! Where the daemon steers the kernel's clock there is no second clock to judge it by: packets are stamped by the clock
//! under test, and a server on the same machine would serve it.
//!
//! # Idea
//! `CLOCK_MONOTONIC_RAW` counts the same oscillator, but no step, no tick and no frequency of `adjtimex(2)` moves it. A time that
//! is defined as a line over it,
//!
//! ```text
//! atomic = start + raw (1 + rate),    UTC = atomic - (leap second inserted and past) + (deleted and past)
//! ```
//!
//! is a truth of which everyone on the machine can take an exact reading: a server that hands it out, and a witness that
//! compares the clock under test with it, to the nanosecond. `rate` is, seen from the clock under test, an oscillator's error of
//! minus as much.
//!
//! UTC counts as the kernel does (and as servers do): an inserted second is the last one of the day once more.

use ntp_time::{Frequency, LeapIndicator, NtpDuration, SystemTime};

/// Definition of a truth over a raw clock that starts near zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrueTime {
    /// UTC when the raw clock reads zero.
    pub start: SystemTime,
    /// By how much truth runs faster than the raw clock.
    pub rate: Frequency,
    /// A change of that rate, if one is to happen: at this reading of the raw clock, by so much.
    pub turn: Option<(NtpDuration, Frequency)>,
    /// A leap second, if one is to happen.
    pub leap: Option<LeapSecond>,
}

/// A leap second of a [`TrueTime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeapSecond {
    /// The midnight before which it happens.
    pub before: SystemTime,
    /// Whether it is deleted; else it is inserted.
    pub deleted: bool,
    /// How long before, it is announced.
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

    /// What an honest server announces then: until the moment of the jump, and through an inserted second.
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
        let turned = self.turn.map_or(NtpDuration::ZERO, |(at, by)| {
            (elapsed - at).max(NtpDuration::ZERO).scaled(by.as_ratio())
        });
        self.start + elapsed + elapsed.scaled(self.rate.as_ratio()) + turned
    }
}

impl LeapSecond {
    /// When UTC jumps, counted as if it did not.
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
            turn: None,
            leap: Some(LeapSecond {
                before: SystemTime::from_nanos(1100 * SECOND),
                deleted,
                notice: NtpDuration::from_seconds(50),
            }),
        }
    }

    fn seen(truth: &TrueTime, tenths: i64) -> (i64, LeapIndicator) {
        let raw = tenths * SECOND / 10;
        let utc = truth.utc(raw).as_nanos() * 10 / SECOND - 10_000;
        (utc, truth.announcement(raw))
    }

    #[test]
    fn an_inserted_second_is_there_twice_and_announced_to_its_end() {
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
    fn a_deleted_second_is_left_out() {
        let truth = with_leap(true);
        let seen = |tenths| seen(&truth, tenths);
        assert_eq!(seen(989), (989, LeapIndicator::Delete));
        assert_eq!(seen(990), (1000, LeapIndicator::None));
    }

    #[test]
    fn the_rate_is_that_of_truth() {
        let truth = TrueTime {
            start: SystemTime::from_nanos(0),
            rate: Frequency::from_ppm(500.0),
            turn: Some((NtpDuration::from_seconds(2000), Frequency::from_ppm(-500.0))),
            leap: None,
        };
        assert_eq!(truth.utc(2000 * SECOND).as_nanos(), 2001 * SECOND);
        assert_eq!(truth.utc(2999 * SECOND).as_nanos(), 3000 * SECOND);
    }
}
