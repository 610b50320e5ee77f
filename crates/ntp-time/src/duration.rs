//! Differences of time: signed 32.32 fixed point, and NTP's unsigned 16.16 short format.
//!
//! 32.32 covers +-68 years in steps of 0.23 ns, so nanoseconds convert to it and back without
//! loss, and the first step of a machine without a battery clock (half a century) fits. All
//! arithmetic saturates: a peer can send any bit pattern, and an absurd difference must not wrap
//! into a plausible one.

use core::fmt;
use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

/// Units of an [`NtpDuration`] in one second.
const UNITS_PER_SECOND: f64 = 4_294_967_296.0;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A signed difference of two times, in units of 2^-32 s (RFC 5905 section 6, as a difference).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpDuration(i64);

impl NtpDuration {
    /// No difference.
    pub const ZERO: Self = Self(0);
    /// The largest difference, about 68 years.
    pub const MAX: Self = Self(i64::MAX);
    /// The smallest (most negative) difference, about -68 years.
    pub const MIN: Self = Self(i64::MIN);
    /// The resolution: 2^-32 s, about 0.23 ns.
    pub const EPSILON: Self = Self(1);

    /// From raw 32.32 fixed point.
    pub const fn from_bits(bits: i64) -> Self {
        Self(bits)
    }

    /// Raw 32.32 fixed point.
    pub const fn to_bits(self) -> i64 {
        self.0
    }

    /// From whole seconds; saturates beyond 68 years.
    pub const fn from_seconds(seconds: i64) -> Self {
        if seconds > i32::MAX as i64 {
            Self::MAX
        } else if seconds < i32::MIN as i64 {
            Self::MIN
        } else {
            Self(seconds << 32)
        }
    }

    /// From whole milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self::from_nanos_wide(millis as i128 * 1_000_000)
    }

    /// From whole microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self::from_nanos_wide(micros as i128 * 1_000)
    }

    /// From nanoseconds, rounded to the nearest unit; [`Self::as_nanos`] returns the same number.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self::from_nanos_wide(nanos as i128)
    }

    const fn from_nanos_wide(nanos: i128) -> Self {
        let scaled = nanos << 32;
        let half = if nanos < 0 {
            -NANOS_PER_SECOND / 2
        } else {
            NANOS_PER_SECOND / 2
        };
        let units = (scaled + half) / NANOS_PER_SECOND;
        if units > i64::MAX as i128 {
            Self::MAX
        } else if units < i64::MIN as i128 {
            Self::MIN
        } else {
            Self(units as i64)
        }
    }

    /// Nanoseconds, rounded to the nearest.
    pub const fn as_nanos(self) -> i64 {
        let wide = self.0 as i128 * NANOS_PER_SECOND;
        // Adding half a unit before an arithmetic shift rounds to nearest for both signs.
        ((wide + (1 << 31)) >> 32) as i64
    }

    /// From seconds; NaN becomes zero, values out of range saturate.
    pub fn from_seconds_f64(seconds: f64) -> Self {
        // A float-to-integer `as` cast saturates and maps NaN to zero.
        Self((seconds * UNITS_PER_SECOND).round() as i64)
    }

    /// Seconds, with a relative precision of 2^-53: not for large absolute times.
    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / UNITS_PER_SECOND
    }

    /// The magnitude.
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// Whether the difference is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Half of the difference, rounded towards negative infinity.
    pub const fn half(self) -> Self {
        Self(self.0 >> 1)
    }

    /// The mean of two differences, without overflow.
    pub const fn midpoint(self, other: Self) -> Self {
        Self(((self.0 as i128 + other.0 as i128) >> 1) as i64)
    }

    /// The product with a dimensionless factor.
    pub fn scaled(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as i64)
    }

    /// Converts to a [`core::time::Duration`]; zero if negative.
    pub fn to_std(self) -> core::time::Duration {
        core::time::Duration::from_nanos(u64::try_from(self.as_nanos()).unwrap_or(0))
    }
}

impl From<core::time::Duration> for NtpDuration {
    fn from(duration: core::time::Duration) -> Self {
        Self::from_nanos_wide(i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX >> 33))
    }
}

impl Add for NtpDuration {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NtpDuration {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for NtpDuration {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for NtpDuration {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Neg for NtpDuration {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Mul<i64> for NtpDuration {
    type Output = Self;
    fn mul(self, factor: i64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Div<i64> for NtpDuration {
    type Output = Self;
    /// # Panics
    /// If `divisor` is zero.
    fn div(self, divisor: i64) -> Self {
        Self(self.0.saturating_div(divisor))
    }
}

impl fmt::Debug for NtpDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Seconds with nine decimals, for example `-0.250000000s`.
impl fmt::Display for NtpDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.as_nanos();
        let sign = if nanos < 0 { "-" } else { "" };
        let magnitude = nanos.unsigned_abs();
        write!(
            f,
            "{sign}{}.{:09}s",
            magnitude / 1_000_000_000,
            magnitude % 1_000_000_000
        )
    }
}

/// NTP short format: unsigned 16.16 seconds, used for root delay and root dispersion
/// (RFC 5905 section 6).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpShort(u32);

impl NtpShort {
    /// Zero seconds.
    pub const ZERO: Self = Self(0);
    /// The largest value, just below 65536 s.
    pub const MAX: Self = Self(u32::MAX);

    /// From raw 16.16 fixed point.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Raw 16.16 fixed point.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The value as a difference; exact.
    pub const fn to_duration(self) -> NtpDuration {
        NtpDuration((self.0 as i64) << 16)
    }

    /// Smallest short value that is not below `duration`, because an error figure must never be
    /// rounded down. Negative values become zero, too large ones saturate.
    pub const fn from_duration_ceil(duration: NtpDuration) -> Self {
        if duration.0 <= 0 {
            return Self::ZERO;
        }
        let units = (duration.0 as u64).div_ceil(1 << 16);
        if units > u32::MAX as u64 {
            Self::MAX
        } else {
            Self(units as u32)
        }
    }
}

impl fmt::Debug for NtpShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_duration())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nanoseconds_convert_without_loss(nanos in -(1i64 << 60)..(1i64 << 60)) {
            prop_assert_eq!(NtpDuration::from_nanos(nanos).as_nanos(), nanos);
        }

        #[test]
        fn arithmetic_never_wraps(a: i64, b: i64) {
            let (a, b) = (NtpDuration::from_bits(a), NtpDuration::from_bits(b));
            prop_assert_eq!((a + b).to_bits() as i128, (a.0 as i128 + b.0 as i128).clamp(i64::MIN.into(), i64::MAX.into()));
            prop_assert_eq!((a - b).to_bits() as i128, (a.0 as i128 - b.0 as i128).clamp(i64::MIN.into(), i64::MAX.into()));
        }

        #[test]
        fn short_format_rounds_up(bits in 0i64..(1i64 << 47)) {
            let exact = NtpDuration::from_bits(bits);
            let short = NtpShort::from_duration_ceil(exact).to_duration();
            prop_assert!(short >= exact && (short - exact).to_bits() < 1 << 16);
        }
    }

    #[test]
    fn floats_out_of_range_saturate() {
        assert_eq!(
            NtpDuration::from_seconds_f64(f64::INFINITY),
            NtpDuration::MAX
        );
        assert_eq!(NtpDuration::from_seconds_f64(-1e300), NtpDuration::MIN);
        assert_eq!(NtpDuration::from_seconds_f64(f64::NAN), NtpDuration::ZERO);
    }

    #[test]
    fn prints_seconds() {
        assert_eq!(NtpDuration::from_millis(-250).to_string(), "-0.250000000s");
        assert_eq!(
            NtpDuration::from_nanos(1_000_000_001).to_string(),
            "1.000000001s"
        );
    }
}
