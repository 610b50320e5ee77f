//! Poll intervals: powers of two seconds, written as their exponent (RFC 5905 section 7.3).

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::NtpDuration;

/// Poll interval as the binary logarithm of its seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PollInterval(i8);

impl PollInterval {
    /// From log2 seconds.
    pub const fn from_log2(exponent: i8) -> Self {
        Self(exponent)
    }

    /// Log2 seconds, as in the packet's poll field.
    pub const fn as_log2(self) -> i8 {
        self.0
    }

    /// Converts to a duration. Exponents are clamped to 0..=30 (1 s to 34 years): a longer interval
    /// overflows, and a shorter one is never used.
    pub const fn to_duration(self) -> NtpDuration {
        let exponent = if self.0 < 0 {
            0
        } else if self.0 > 30 {
            30
        } else {
            self.0
        };
        NtpDuration::from_seconds(1 << exponent)
    }

    /// The next longer interval.
    pub const fn longer(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The next shorter interval.
    pub const fn shorter(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// For example `64s`.
impl fmt::Display for PollInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.to_duration().as_nanos() / 1_000_000_000)
    }
}

/// Configured range of a poll interval. If `min` exceeds `max`, `max` wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollLimits {
    /// Shortest interval.
    pub min: PollInterval,
    /// Longest interval.
    pub max: PollInterval,
}

impl PollLimits {
    /// Clamps `poll` to the range.
    pub fn clamp(self, poll: PollInterval) -> PollInterval {
        poll.max(self.min).min(self.max)
    }
}

impl Default for PollLimits {
    /// 16 s to 1024 s, as upstream.
    fn default() -> Self {
        Self {
            min: PollInterval(4),
            max: PollInterval(10),
        }
    }
}
