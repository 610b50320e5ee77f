//! Points in time: monotonic, system, and the 64-bit form that goes over the wire.
//!
//! [`Monotonic`] and [`SystemTime`] count nanoseconds in an `i64`, the kernel's own unit and range
//! (`ktime_t`, 1678 to 2262), so kernel timestamps convert without loss. [`NtpTimestamp`] has no
//! era: two of them can only be subtracted, which is correct whenever they are less than 68 years
//! apart (RFC 5905 section 6), also across 2036.

use core::fmt;
use core::ops::{Add, Sub};

use crate::NtpDuration;

/// Seconds from the NTP epoch (1900-01-01) to the Unix epoch (1970-01-01).
pub(crate) const NTP_TO_UNIX_SECONDS: i64 = 2_208_988_800;

macro_rules! nanosecond_point {
    ($name:ident) => {
        impl $name {
            /// From nanoseconds since this clock's origin.
            pub const fn from_nanos(nanos: i64) -> Self {
                Self(nanos)
            }

            /// Nanoseconds since this clock's origin.
            pub const fn as_nanos(self) -> i64 {
                self.0
            }
        }

        impl Add<NtpDuration> for $name {
            type Output = Self;
            fn add(self, duration: NtpDuration) -> Self {
                Self(self.0.saturating_add(duration.as_nanos()))
            }
        }

        impl Sub<NtpDuration> for $name {
            type Output = Self;
            fn sub(self, duration: NtpDuration) -> Self {
                Self(self.0.saturating_sub(duration.as_nanos()))
            }
        }

        impl Sub for $name {
            type Output = NtpDuration;
            fn sub(self, earlier: Self) -> NtpDuration {
                NtpDuration::from_nanos(self.0.saturating_sub(earlier.0))
            }
        }
    };
}
pub(crate) use nanosecond_point;

/// Reading of the monotonic clock: nanoseconds since an arbitrary origin.
///
/// For timers and ages only. It includes time in suspend where the system has such a clock
/// (`CLOCK_BOOTTIME`), and cannot be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(i64);
nanosecond_point!(Monotonic);

/// Reading of the system clock (`CLOCK_REALTIME`): nanoseconds since 1970-01-01, without leap
/// seconds. Unlike std's type it has no constructor that reads the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemTime(i64);
nanosecond_point!(SystemTime);

impl SystemTime {
    /// 2026-01-01: this program was released later. An earlier reading of a clock is certainly
    /// wrong. Raised with each release, see CONTRIBUTING.md; constant, so that builds are
    /// reproducible.
    pub const RELEASED: Self = Self(1_767_225_600_000_000_000);

    /// Converts to the wire format; the era is dropped.
    pub const fn to_ntp(self) -> NtpTimestamp {
        NtpTimestamp::from_unix_nanos(self.0)
    }

    /// System time nearest to `self` among those that `wire` can represent.
    pub fn nearest(self, wire: NtpTimestamp) -> Self {
        self + (wire - self.to_ntp())
    }
}

/// A 64-bit NTP timestamp: 32.32 fixed point seconds of an unspecified era (RFC 5905 section 6).
///
/// Timestamps have no order, only differences. All zero means "unknown" on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct NtpTimestamp(u64);

impl NtpTimestamp {
    /// The value for "unknown" in a packet.
    pub const ZERO: Self = Self(0);

    /// From raw 32.32 fixed point.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Raw 32.32 fixed point.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether the field is all zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn from_unix_nanos(nanos: i64) -> Self {
        let seconds = nanos.div_euclid(1_000_000_000) + NTP_TO_UNIX_SECONDS;
        let rest = nanos.rem_euclid(1_000_000_000) as u128;
        // Rounded to nearest; at most 2^32 - 4, so it cannot carry into the seconds.
        let fraction = ((rest << 32) + 500_000_000) / 1_000_000_000;
        Self(((seconds as u64) << 32).wrapping_add(fraction as u64))
    }
}

impl Sub for NtpTimestamp {
    type Output = NtpDuration;
    /// Signed difference, correct across an era boundary while it is below 68 years.
    fn sub(self, earlier: Self) -> NtpDuration {
        NtpDuration::from_bits(self.0.wrapping_sub(earlier.0) as i64)
    }
}

impl Add<NtpDuration> for NtpTimestamp {
    type Output = Self;
    fn add(self, duration: NtpDuration) -> Self {
        Self(self.0.wrapping_add(duration.to_bits() as u64))
    }
}

impl fmt::Debug for NtpTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}.{:08x}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// `2026-11-23T01:02:03.000000004Z` (proleptic Gregorian calendar).
impl fmt::Display for SystemTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(1_000_000_000);
        let nanos = self.0.rem_euclid(1_000_000_000);
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        let second_of_day = seconds.rem_euclid(86_400);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
            second_of_day / 3600,
            second_of_day / 60 % 60,
            second_of_day % 60
        )
    }
}

/// Text that is not a time as [`SystemTime`] prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTime;

impl fmt::Display for InvalidTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a time in UTC such as 2026-11-29 or 2026-11-29T12:00:00Z")
    }
}

impl core::error::Error for InvalidTime {}

/// Reads what [`Display`](fmt::Display) prints (RFC 3339, UTC only); the fraction and the whole time
/// of day may be left out.
impl core::str::FromStr for SystemTime {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        parse_time(text).ok_or(InvalidTime)
    }
}

fn parse_time(text: &str) -> Option<SystemTime> {
    let number = |text: Option<&str>, digits: usize| {
        let text = text.filter(|text| text.len() == digits)?;
        let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
        is_number.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next(), 4)?;
    let (month, day) = (number(parts.next(), 2)?, number(parts.next(), 2)?);
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    let time = time.strip_suffix('Z')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (number(parts.next(), 2)?, number(parts.next(), 2)?);
    let second = number(parts.next(), 2)?;
    let nanos = number(Some(&format!("{fraction:0<9}")), 9)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    let nanos = seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?;
    Some(SystemTime::from_nanos(nanos))
}

/// The inverse of [`civil_from_days`], for the days that exist.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (march_year, march_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days =
        march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    march_year * 365 + leap_days + (153 * march_month + 2) / 5 + day - 1 - DAYS_FROM_MARCH_0000
}

/// From the first day of March of the year 0 to 1970-01-01.
const DAYS_FROM_MARCH_0000: i64 = 719_468;

/// Year, month and day of a day number counted from 1970-01-01.
///
/// Years begin in March here, so that the leap day is the last of its year and month lengths follow
/// one linear rule; 400 years have 146097 days.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + DAYS_FROM_MARCH_0000;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2036-02-07T06:28:16Z: the first second of NTP era 1.
    const ERA_1: i64 = (1 << 32) - NTP_TO_UNIX_SECONDS;

    proptest! {
        #[test]
        fn a_system_time_converts_to_the_wire_and_back(
            nanos in 0i64..8_000_000_000_000_000_000,
            pivot_off in -2_000_000_000i64..2_000_000_000,
        ) {
            let time = SystemTime::from_nanos(nanos);
            let pivot = time + NtpDuration::from_seconds(pivot_off);
            prop_assert_eq!(pivot.nearest(time.to_ntp()), time);
        }
    }

    proptest! {
        #[test]
        fn a_printed_time_is_read_back(nanos in 0i64..i64::MAX) {
            let time = SystemTime::from_nanos(nanos);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
            let day = SystemTime::from_nanos(nanos - nanos % 86_400_000_000_000);
            prop_assert_eq!(time.to_string()[..10].parse(), Ok(day));
        }
    }

    #[test]
    fn invalid_times_are_refused() {
        for text in [
            "",
            "2026",
            "2026-02-29",
            "2026-13-01",
            "2026-11-31",
            "2026-11-29T24:00:00Z",
            "2026-11-29T12:00:00",
            "2026-11-29T12:00:00+01:00",
            "2026-11-29T12:00:00.1234567890Z",
            "+026-11-29",
            "9999-01-01",
            "2026-11-29T1:00:00Z",
            "2026-11-2\u{663}",
        ] {
            assert_eq!(text.parse::<SystemTime>(), Err(InvalidTime), "{text}");
        }
        let short: SystemTime = "2026-11-29T12:00:00.5Z".parse().unwrap();
        assert_eq!(short.to_string(), "2026-11-29T12:00:00.500000000Z");
    }

    #[test]
    fn differences_are_correct_across_2036() {
        let before = SystemTime::from_nanos((ERA_1 - 1) * 1_000_000_000);
        let after = SystemTime::from_nanos((ERA_1 + 1) * 1_000_000_000);
        assert!(after.to_ntp().to_bits() < before.to_ntp().to_bits());
        assert_eq!(
            after.to_ntp() - before.to_ntp(),
            NtpDuration::from_seconds(2)
        );
        assert_eq!(before.nearest(after.to_ntp()), after);
    }

    #[test]
    fn prints_as_a_date() {
        assert_eq!(
            SystemTime::from_nanos(0).to_string(),
            "1970-01-01T00:00:00.000000000Z"
        );
        assert_eq!(
            SystemTime::from_nanos(ERA_1 * 1_000_000_000).to_string(),
            "2036-02-07T06:28:16.000000000Z"
        );
        let leap_day = SystemTime::from_nanos(1_709_208_000_000_000_004);
        assert_eq!(leap_day.to_string(), "2024-02-29T12:00:00.000000004Z");
    }
}
