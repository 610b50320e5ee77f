//! Keeping the log short: what a stranger can cause any number of times is told now and then, with a count of what was left out.

use ntp_time::{Monotonic, NtpDuration};

/// Lets the first occurrence through and counts the others until a while has passed.
#[derive(Clone, Copy, Debug)]
pub struct Thinner {
    /// How long nothing is told after something was.
    silence: NtpDuration,
    quiet_until: Option<Monotonic>,
    untold: u64,
}

impl Thinner {
    /// Tells one in each span of `silence`.
    pub const fn new(silence: NtpDuration) -> Self {
        Self {
            silence,
            quiet_until: None,
            untold: 0,
        }
    }

    /// Returns how many were left out before this one if it is to be told, or nothing.
    pub fn admit(&mut self, now: Monotonic) -> Option<u64> {
        if self.quiet_until.is_some_and(|until| now < until) {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.quiet_until = Some(now + self.silence);
        Some(core::mem::take(&mut self.untold))
    }
}

/// For what the engine tells of its sources: an hour.
impl Default for Thinner {
    fn default() -> Self {
        Self::new(NtpDuration::from_seconds(3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_message_an_hour() {
        let mut thinner = Thinner::default();
        let start = Monotonic::default();
        assert_eq!(thinner.admit(start), Some(0));
        for second in 0..3600 {
            assert_eq!(
                thinner.admit(start + NtpDuration::from_seconds(second)),
                None
            );
        }
        assert_eq!(
            thinner.admit(start + NtpDuration::from_seconds(3600)),
            Some(3600)
        );
    }
}
