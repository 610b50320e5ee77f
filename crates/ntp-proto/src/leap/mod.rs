//! Leap seconds: sources of information about them, and how the clock handles one.
//!
//! # Problem
//! UTC counts an atomic second that POSIX time has no number for. The clock can repeat a number (as
//! the kernel does), be a second off for a while (slew), or change the length of many seconds
//! (smear). Each is right for some purpose, so the configuration decides, and clients must be able
//! to see the choice.
//!
//! # Sources of information
//! * **Servers** announce a leap second in two bits of every packet, without a date: it happens at
//!   the end of the current month (RFC 5905 section 7.3). Receivers with faulty firmware have
//!   announced leap seconds that never came, so a majority must announce it, and only on the
//!   month's last day.
//! * **`leap-seconds.list`** ([`LeapTable`]) contains all of them with their dates, and the date
//!   until which it is complete. While it is valid it overrides the servers.
//!
//! # Handling
//! UTC jumps by `J` at midnight: -1 s for an inserted second, +1 s for a deleted one. The intended
//! offset of the clock from UTC ([`LeapSecond::smear_offset`]) is
//!
//! ```text
//! kernel, slew   0           only the kernel's clock jumps with UTC; a slewed one is then off by -J
//! smear          J p         before midnight,  p = share of the 24 h from noon to noon that has passed
//!                J (p - 1)   after
//! ```
//!
//! The smeared clock has no jump: its offset jumps by -J when UTC jumps by J.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod table;

pub use table::{LeapTable, ListError};

use ntp_time::{Frequency, LeapIndicator, NtpDuration, SystemTime};

/// Length of a smear: from noon to noon, as public servers that smear do.
pub const SMEAR: NtpDuration = NtpDuration::from_seconds(86_400);

const DAY: i64 = 86_400_000_000_000;

pub use ntp_types::event::LeapHandling;

/// A leap second with its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeapSecond {
    /// Midnight (UTC) before which it happens.
    pub midnight: SystemTime,
    /// Whether a second is deleted; otherwise one is inserted.
    pub deleted: bool,
}

impl LeapSecond {
    /// The leap second at the end of the day of `time` that `leap` announces. Returns `None` if it
    /// announces none.
    pub fn from_indicator(leap: LeapIndicator, time: SystemTime) -> Option<Self> {
        let deleted = match leap {
            LeapIndicator::Insert => false,
            LeapIndicator::Delete => true,
            LeapIndicator::None | LeapIndicator::Unsynchronized => return None,
        };
        let midnight = SystemTime::from_nanos((time.as_nanos().div_euclid(DAY) + 1) * DAY);
        Some(Self { midnight, deleted })
    }

    /// Leap indicator that announces it.
    pub const fn indicator(&self) -> LeapIndicator {
        if self.deleted {
            LeapIndicator::Delete
        } else {
            LeapIndicator::Insert
        }
    }

    /// Jump of UTC.
    pub const fn jump(&self) -> NtpDuration {
        NtpDuration::from_seconds(if self.deleted { 1 } else { -1 })
    }

    /// Reading of a clock without smear at which UTC jumps: midnight, or a second before it if that
    /// second is deleted.
    pub fn moment(&self) -> SystemTime {
        if self.deleted {
            self.midnight - NtpDuration::from_seconds(1)
        } else {
            self.midnight
        }
    }

    /// Begin and end of the smear.
    pub fn smear_window(&self) -> (SystemTime, SystemTime) {
        (self.midnight - SMEAR.half(), self.midnight + SMEAR.half())
    }

    /// Intended offset of a smearing clock from UTC (positive: ahead) when it reads `system`, and
    /// its rate of change. `utc_jumped` is whether UTC has jumped.
    pub fn smear_offset(&self, system: SystemTime, utc_jumped: bool) -> (NtpDuration, Frequency) {
        let (begin, end) = self.smear_window();
        if system < begin || system >= end {
            return (NtpDuration::ZERO, Frequency::ZERO);
        }
        let share = (system - begin).as_seconds_f64() / SMEAR.as_seconds_f64();
        let progress = if utc_jumped { share - 1.0 } else { share };
        let rate = self.jump().as_seconds_f64() / SMEAR.as_seconds_f64();
        (self.jump().scaled(progress), Frequency::from_ratio(rate))
    }
}

/// Whether `time` is on the last day of a month, at whose end a leap second may happen.
pub fn is_last_day_of_month(time: SystemTime) -> bool {
    let month = |time: SystemTime| time.to_string().get(5..7).map(str::to_owned);
    month(time) != month(time + NtpDuration::from_nanos(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2016-12-31T18:00:00Z.
    const EVENING: SystemTime = SystemTime::from_nanos(1_483_207_200_000_000_000);

    fn hours(hours: i64) -> NtpDuration {
        NtpDuration::from_seconds(3600 * hours)
    }

    #[test]
    fn an_announcement_is_for_the_next_midnight() {
        assert_eq!(EVENING.to_string(), "2016-12-31T18:00:00.000000000Z");
        let leap = LeapSecond::from_indicator(LeapIndicator::Insert, EVENING).unwrap();
        assert_eq!(leap.midnight, EVENING + hours(6));
        assert_eq!(
            (leap.moment(), leap.indicator()),
            (leap.midnight, LeapIndicator::Insert)
        );
        assert_eq!(
            LeapSecond::from_indicator(LeapIndicator::None, EVENING),
            None
        );
        let deleted = LeapSecond::from_indicator(LeapIndicator::Delete, EVENING).unwrap();
        assert_eq!(
            deleted.moment(),
            leap.midnight - NtpDuration::from_seconds(1)
        );
    }

    #[test]
    fn a_smeared_clock_is_continuous_where_utc_jumps() {
        for announced in [LeapIndicator::Insert, LeapIndicator::Delete] {
            let leap = LeapSecond::from_indicator(announced, EVENING).unwrap();
            let offset = |system, utc_jumped| leap.smear_offset(system, utc_jumped).0;
            assert_eq!(offset(leap.midnight - hours(12), false), NtpDuration::ZERO);
            assert_eq!(
                offset(leap.midnight - hours(6), false),
                leap.jump().half().half()
            );
            // The clock is UTC plus offset: one jumps by as much as the other jumps back.
            let before = offset(leap.midnight, false);
            let after = offset(leap.midnight, true);
            assert_eq!(before, leap.jump() + after);
            assert_eq!(offset(leap.midnight + hours(12), true), NtpDuration::ZERO);
        }
    }

    #[test]
    fn the_last_day_of_a_month_is_recognised() {
        assert!(is_last_day_of_month(EVENING));
        assert!(!is_last_day_of_month(EVENING - hours(24)));
        assert!(!is_last_day_of_month(EVENING + hours(6)));
    }
}
