//! Timescales and eras: what a 64-bit timestamp of NTPv5 counts (draft-ietf-ntp-ntpv5,
//! "Timescales" and "Header").
//!
//! An [`NtpTimestamp`] counts 2^32 seconds and wraps. NTPv5 states beside it the scale in which it
//! counts and the era: the number of wraps since 1900. Era 1 begins on 2036-02-07.

use crate::timestamp::NTP_TO_UNIX_SECONDS;
use crate::{NtpTimestamp, SystemTime};

/// Scale of a timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Timescale {
    /// 0: UTC. Leap seconds are not counted.
    #[default]
    Utc,
    /// 1: TAI. Leap seconds are counted: 37 s ahead of UTC since 2017.
    Tai,
    /// 2: UT1, the rotation of the Earth.
    Ut1,
    /// 3: UTC in which leap seconds are smeared.
    SmearedUtc,
}

impl Timescale {
    /// Scale from its number; `None` if the number is not assigned.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Utc,
            1 => Self::Tai,
            2 => Self::Ut1,
            3 => Self::SmearedUtc,
            _ => return None,
        })
    }

    /// Number of the scale in a packet.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Name of the scale, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utc => "UTC",
            Self::Tai => "TAI",
            Self::Ut1 => "UT1",
            Self::SmearedUtc => "leap-smeared UTC",
        }
    }
}

/// Number of times that 2^32 seconds have passed since 1900, modulo 256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Era(u8);

impl Era {
    /// The era from its number.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The era of a time; -1 for all before 1900.
    #[inline]
    pub const fn of(time: SystemTime) -> Self {
        /// Seconds of an era, in nanoseconds.
        const LENGTH: i64 = (1 << 32) * 1_000_000_000;
        /// Beginnings of the eras 0 and 1; a comparison costs less than a division. The range of
        /// [`SystemTime`] ends in era 2.
        const ERA_0: i64 = -NTP_TO_UNIX_SECONDS * 1_000_000_000;
        const ERA_1: i64 = ERA_0 + LENGTH;
        const ERA_2: i64 = ERA_1 + LENGTH;
        Self(match time.as_nanos() {
            ERA_0..ERA_1 => 0,
            ERA_1..ERA_2 => 1,
            ERA_2.. => 2,
            _ => u8::MAX,
        })
    }

    /// The time that `timestamp` means in this era. `None` beyond the range of [`SystemTime`].
    pub fn resolve(self, timestamp: NtpTimestamp) -> Option<SystemTime> {
        // The last era is the one before era 0, as `of` has it.
        let era = i64::from(self.0.cast_signed());
        let bits = timestamp.to_bits();
        let seconds = (era << 32) + (bits >> 32) as i64 - NTP_TO_UNIX_SECONDS;
        let nanos = ((bits & 0xffff_ffff) * 1_000_000_000 + (1 << 31)) >> 32;
        let nanos = seconds
            .checked_mul(1_000_000_000)?
            .checked_add(nanos as i64)?;
        Some(SystemTime::from_nanos(nanos))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scales_are_those_of_the_draft() {
        for number in 0..=u8::MAX {
            let scale = Timescale::from_number(number);
            assert_eq!(scale.map(Timescale::number), (number < 4).then_some(number));
        }
    }

    #[test]
    fn era_1_begins_in_2036() {
        // 2036-02-07 06:28:16 UTC.
        let begin = 2_085_978_496_000_000_000;
        assert_eq!(Era::of(SystemTime::from_nanos(begin - 1)), Era::new(0));
        assert_eq!(Era::of(SystemTime::from_nanos(begin)), Era::new(1));
        assert_eq!(
            Era::new(1).resolve(NtpTimestamp::ZERO),
            Some(SystemTime::from_nanos(begin))
        );
        assert_eq!(Era::new(7).resolve(NtpTimestamp::ZERO), None);
    }

    proptest! {
        #[test]
        fn era_and_timestamp_give_the_time(nanos in -6_503_956_096_000_000_000..=i64::MAX) {
            let time = SystemTime::from_nanos(nanos);
            prop_assert_eq!(Era::of(time).resolve(time.to_ntp()), Some(time));
        }
    }
}
