//! Stratum: the number of hops to a reference clock (RFC 5905 section 7.3, figure 11).

use core::fmt;

/// Number of hops to a reference clock; in a packet 0 is a kiss-o'-death, 16 and above is not
/// synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stratum(u8);

impl Stratum {
    /// Unspecified; a packet with it is a kiss-o'-death.
    pub const KISS: Self = Self(0);
    /// Synchronised to a reference clock.
    pub const PRIMARY: Self = Self(1);
    /// Not synchronised.
    pub const UNSYNCHRONIZED: Self = Self(16);

    /// From the packet's field.
    pub const fn new(value: u8) -> Self {
        Self(value)
    }

    /// The packet's field.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether a server at this stratum is synchronised: 1 to 15.
    pub const fn is_usable(self) -> bool {
        1 <= self.0 && self.0 <= 15
    }

    /// Stratum of a client of a server at this stratum.
    pub const fn below(self) -> Self {
        Self(if self.0 >= 15 { 16 } else { self.0 + 1 })
    }
}

impl fmt::Display for Stratum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
