//! Rate limit for log messages that a remote party can cause at will: the first is logged, the
//! others of the interval are only counted.

use ntp_time::{Monotonic, NtpDuration};

/// Admits one occurrence per interval and counts the suppressed ones.
#[derive(Clone, Copy, Debug)]
pub struct LogRateLimit {
    interval: NtpDuration,
    suppressed_until: Option<Monotonic>,
    suppressed: u64,
}

impl LogRateLimit {
    /// Creates a limit of one message per `interval`.
    pub const fn new(interval: NtpDuration) -> Self {
        Self {
            interval,
            suppressed_until: None,
            suppressed: 0,
        }
    }

    /// Returns the number of occurrences suppressed before this one, or `None` if this one is
    /// suppressed too.
    pub fn admit(&mut self, now: Monotonic) -> Option<u64> {
        if self.suppressed_until.is_some_and(|until| now < until) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.suppressed_until = Some(now + self.interval);
        Some(core::mem::take(&mut self.suppressed))
    }
}

/// One message per hour, the limit of the engine's events about a source.
impl Default for LogRateLimit {
    fn default() -> Self {
        Self::new(NtpDuration::from_seconds(3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_once_an_hour() {
        let mut limit = LogRateLimit::default();
        let start = Monotonic::default();
        assert_eq!(limit.admit(start), Some(0));
        for second in 0..3600 {
            assert_eq!(limit.admit(start + NtpDuration::from_seconds(second)), None);
        }
        assert_eq!(
            limit.admit(start + NtpDuration::from_seconds(3600)),
            Some(3600)
        );
    }
}
