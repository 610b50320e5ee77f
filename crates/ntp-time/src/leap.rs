//! The leap indicator (RFC 5905 section 7.3, figure 9).

use serde::{Deserialize, Serialize};

/// Announcement about the last minute of the current month, or that the clock is not synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeapIndicator {
    /// 0: no leap second announced.
    None,
    /// 1: the last minute of the month will have 61 seconds.
    Insert,
    /// 2: the last minute of the month will have 59 seconds.
    Delete,
    /// 3: the clock is not synchronised.
    Unsynchronized,
}

impl LeapIndicator {
    /// From the two bits of the header.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::None,
            1 => Self::Insert,
            2 => Self::Delete,
            _ => Self::Unsynchronized,
        }
    }

    /// The two bits of the header.
    pub const fn to_bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Insert => 1,
            Self::Delete => 2,
            Self::Unsynchronized => 3,
        }
    }
}
