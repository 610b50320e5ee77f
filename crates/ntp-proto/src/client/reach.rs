//! The reach register: results of the last eight polls (RFC 5905 section 9.2).

use core::fmt;

/// Reach register: one bit for each of the last eight polls, newest lowest. Set if the poll got a
/// usable reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    bits: u8,
    /// Number of polls since the register was created; saturates.
    polls: u8,
}

/// Number of unanswered polls after which an address that never replied is unreachable.
const INITIAL_DEAD_AFTER: u8 = 3;

impl Reach {
    /// Records that a poll was sent.
    pub fn record_poll(&mut self) {
        self.bits <<= 1;
        self.polls = self.polls.saturating_add(1);
    }

    /// Records a reply to the last poll.
    pub fn record_reply(&mut self) {
        self.bits |= 1;
    }

    /// Whether any of the last eight polls was answered.
    pub fn is_reachable(self) -> bool {
        self.bits != 0
    }

    /// Whether the server is unreachable: no reply to three polls at the start, or to eight later.
    pub fn is_dead(self) -> bool {
        self.bits == 0 && self.polls >= INITIAL_DEAD_AFTER
    }

    /// Number of polls since the last reply, at most eight.
    pub fn unanswered(self) -> u32 {
        self.bits.trailing_zeros().min(self.polls.into())
    }

    /// Value of the register.
    pub fn bits(self) -> u8 {
        self.bits
    }
}

/// Formats in octal as in other NTP tools: `377` for eight answered polls.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:o}", self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_dead_after_three_unanswered_polls_at_the_start_and_eight_later() {
        let mut reach = Reach::default();
        reach.record_poll();
        reach.record_poll();
        assert!(!reach.is_dead());
        reach.record_poll();
        assert!(reach.is_dead());

        reach.record_poll();
        reach.record_reply();
        for _ in 0..7 {
            reach.record_poll();
            assert!(!reach.is_dead());
        }
        assert_eq!(reach.unanswered(), 7);
        reach.record_poll();
        assert!(reach.is_dead());
        assert_eq!(reach.unanswered(), 8);
    }
}
