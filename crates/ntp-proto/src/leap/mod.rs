//! Leap seconds: what is known of them, and what a clock does about one.
//!
//! # Problem
//! UTC counts an atomic second that POSIX time has no number for. Something has to give: the clock may repeat a number
//! (the kernel's way), be a second off for a while (slew), or count seconds that are not seconds (smear).
//! Each is somebody's right answer; only the choice must be the operator's, and others must be told.
//!
//! # Knowledge
//! * **Servers** announce a leap second in two bits of every packet, without a date: it happens at the end of the current month
//!   (RFC 5905 section 7.3). Receivers that were wrong in their firmware have announced leap seconds that never came, so a majority
//!   is asked, and only on the month's last day.
//! * **`leap-seconds.list`** ([`LeapTable`]) has all of them with their dates, and says until when that is all. While it is valid it
//!   has the last word.
//!
//! # Handling
//! UTC jumps by `J` at midnight: -1 s for an inserted second, +1 s for a deleted one. What the clock is meant to be
//! ahead of UTC then ([`LeapSecond::aim`]) is
//!
//! ```text
//! kernel, slew   0                      but only the kernel's clock jumps with UTC; a slewed one is -J off and brought back
//! smear          J p         before midnight,  p = share of 24 h, noon to noon, that has passed
//!                J (p - 1)   after
//! ```
//!
//! The smeared clock has no jump: the aim jumps by -J when UTC jumps by J.

pub mod fuzzing;
mod table;

pub use table::{LeapTable, ListError};

use ntp_time::{Frequency, LeapIndicator, NtpDuration, SystemTime};

/// Length of a smear: the day from noon to noon, which is what public servers that smear have agreed on.
pub const SMEAR: NtpDuration = NtpDuration::from_seconds(86_400);

const DAY: i64 = 86_400_000_000_000;

/// What the clock does about a leap second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeapHandling {
    /// The kernel repeats or leaves out a second.
    #[default]
    Kernel,
    /// Nothing happens at midnight; the clock is then a second off, and slewed.
    Slew,
    /// The second is spread over a day. Clients of this server are given smeared time, and told so by the reference ID.
    Smear,
}

/// A leap second with its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeapSecond {
    /// The midnight (UTC) before which it happens.
    pub midnight: SystemTime,
    /// Whether a second is left out; else it is inserted.
    pub deleted: bool,
}

impl LeapSecond {
    /// The one that is announced by `leap` for the end of the day of `time`; None if that announces nothing.
    pub fn announced(leap: LeapIndicator, time: SystemTime) -> Option<Self> {
        let deleted = match leap {
            LeapIndicator::Insert => false,
            LeapIndicator::Delete => true,
            LeapIndicator::None | LeapIndicator::Unsynchronized => return None,
        };
        let midnight = SystemTime::from_nanos((time.as_nanos().div_euclid(DAY) + 1) * DAY);
        Some(Self { midnight, deleted })
    }

    /// How it is announced.
    pub const fn indicator(&self) -> LeapIndicator {
        if self.deleted {
            LeapIndicator::Delete
        } else {
            LeapIndicator::Insert
        }
    }

    /// By how much UTC jumps.
    pub const fn jump(&self) -> NtpDuration {
        NtpDuration::from_seconds(if self.deleted { 1 } else { -1 })
    }

    /// The reading of a clock without smear at which UTC jumps: midnight, or a second before if that second is left out.
    pub fn moment(&self) -> SystemTime {
        if self.deleted {
            self.midnight - NtpDuration::from_seconds(1)
        } else {
            self.midnight
        }
    }

    /// Where a smear begins and ends.
    pub fn smear_window(&self) -> (SystemTime, SystemTime) {
        (self.midnight - SMEAR.half(), self.midnight + SMEAR.half())
    }

    /// How far a smearing clock is meant to be ahead of UTC when it reads `system`, and how fast that changes. `past` says whether UTC
    /// has jumped.
    pub fn aim(&self, system: SystemTime, past: bool) -> (NtpDuration, Frequency) {
        let (begin, end) = self.smear_window();
        if system < begin || system >= end {
            return (NtpDuration::ZERO, Frequency::ZERO);
        }
        let share = (system - begin).as_seconds_f64() / SMEAR.as_seconds_f64();
        let progress = if past { share - 1.0 } else { share };
        let rate = self.jump().as_seconds_f64() / SMEAR.as_seconds_f64();
        (self.jump().scaled(progress), Frequency::from_ratio(rate))
    }
}

/// Whether a leap second may be announced for the end of the day of `time`: months end, days do not matter.
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
    fn an_announcement_is_about_the_coming_midnight() {
        assert_eq!(EVENING.to_string(), "2016-12-31T18:00:00.000000000Z");
        let leap = LeapSecond::announced(LeapIndicator::Insert, EVENING).unwrap();
        assert_eq!(leap.midnight, EVENING + hours(6));
        assert_eq!(
            (leap.moment(), leap.indicator()),
            (leap.midnight, LeapIndicator::Insert)
        );
        assert_eq!(LeapSecond::announced(LeapIndicator::None, EVENING), None);
        let deleted = LeapSecond::announced(LeapIndicator::Delete, EVENING).unwrap();
        assert_eq!(
            deleted.moment(),
            leap.midnight - NtpDuration::from_seconds(1)
        );
    }

    #[test]
    fn a_smear_is_smooth_where_utc_jumps() {
        for announced in [LeapIndicator::Insert, LeapIndicator::Delete] {
            let leap = LeapSecond::announced(announced, EVENING).unwrap();
            let aim = |system, past| leap.aim(system, past).0;
            assert_eq!(aim(leap.midnight - hours(12), false), NtpDuration::ZERO);
            assert_eq!(
                aim(leap.midnight - hours(6), false),
                leap.jump().half().half()
            );
            // The clock is UTC plus aim: what one loses the other gains.
            let before = aim(leap.midnight, false);
            let after = aim(leap.midnight, true);
            assert_eq!(before, leap.jump() + after);
            assert_eq!(aim(leap.midnight + hours(12), true), NtpDuration::ZERO);
        }
    }

    #[test]
    fn only_the_last_day_of_a_month_counts() {
        assert!(is_last_day_of_month(EVENING));
        assert!(!is_last_day_of_month(EVENING - hours(24)));
        assert!(!is_last_day_of_month(EVENING + hours(6)));
    }
}
