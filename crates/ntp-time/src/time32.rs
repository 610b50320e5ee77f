//! The 32-bit durations of NTPv5.

use core::fmt;

use crate::NtpDuration;

/// The time32 format of NTPv5: unsigned 4.28 seconds, used for root delay and root dispersion
/// (draft-ietf-ntp-ntpv5, "Data types"). Its unit is 3.7 ns.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time32(u32);

impl Time32 {
    /// Zero seconds.
    pub const ZERO: Self = Self(0);
    /// The largest value, just below 16 s; also stands for everything above.
    pub const MAX: Self = Self(u32::MAX);

    /// From raw 4.28 fixed point.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Raw 4.28 fixed point.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The value as a difference; exact.
    pub const fn to_duration(self) -> NtpDuration {
        NtpDuration::from_bits((self.0 as i64) << 4)
    }

    /// Smallest value that is not below `duration`, because an error figure must never be rounded
    /// down. Negative values become zero, those of 16 s and more saturate.
    pub const fn from_duration_ceil(duration: NtpDuration) -> Self {
        if duration.to_bits() <= 0 {
            return Self::ZERO;
        }
        let units = (duration.to_bits() as u64).div_ceil(1 << 4);
        if units > u32::MAX as u64 {
            Self::MAX
        } else {
            Self(units as u32)
        }
    }
}

impl fmt::Debug for Time32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_duration())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_saturates_in_both_directions() {
        let of = Time32::from_duration_ceil;
        assert_eq!(of(NtpDuration::from_nanos(-1)), Time32::ZERO);
        assert_eq!(of(NtpDuration::MIN), Time32::ZERO);
        assert_eq!(of(NtpDuration::from_seconds(1)).to_bits(), 0x1000_0000);
        assert_eq!(of(NtpDuration::from_seconds(16)), Time32::MAX);
        assert_eq!(of(NtpDuration::MAX), Time32::MAX);
    }

    proptest! {
        #[test]
        fn it_rounds_up(bits in 0i64..(15i64 << 32)) {
            let exact = NtpDuration::from_bits(bits);
            let rounded = Time32::from_duration_ceil(exact).to_duration();
            prop_assert!(rounded >= exact && (rounded - exact).to_bits() < 1 << 4);
        }
    }
}
