//! Relative frequency, in seconds per second.

use core::fmt;
use core::ops::{Add, Neg, Sub};

/// Relative frequency or frequency correction in s/s; 1e-6 is 1 ppm. Positive runs fast.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Frequency(f64);

impl Frequency {
    /// The nominal rate.
    pub const ZERO: Self = Self(0.0);

    /// From seconds per second.
    pub const fn from_ratio(ratio: f64) -> Self {
        Self(ratio)
    }

    /// From parts per million.
    pub const fn from_ppm(ppm: f64) -> Self {
        Self(ppm * 1e-6)
    }

    /// Seconds per second.
    pub const fn as_ratio(self) -> f64 {
        self.0
    }

    /// Parts per million.
    pub fn as_ppm(self) -> f64 {
        self.0 * 1e6
    }

    /// The magnitude.
    pub const fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// Clamps the frequency to +-`limit`.
    pub fn limited(self, limit: Self) -> Self {
        Self(self.0.clamp(-limit.0, limit.0))
    }
}

impl Add for Frequency {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Frequency {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Frequency {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl fmt::Debug for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// For example `-12.345 ppm`.
impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ppm", self.as_ppm())
    }
}
