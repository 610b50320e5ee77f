//! The reach register: which of the last eight polls were answered with usable time
//! (RFC 5905 section 9.2).

use core::fmt;

/// One bit for each of the last eight polls, the newest lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    bits: u8,
    /// Polls sent since the register was last cleared, counting no further than it matters.
    polls: u8,
}

/// Polls without any answer after which an address that never answered is given up.
const INITIAL_PATIENCE: u8 = 3;

impl Reach {
    /// A poll was sent.
    pub fn polled(&mut self) {
        self.bits <<= 1;
        self.polls = self.polls.saturating_add(1);
    }

    /// The poll just sent was answered.
    pub fn answered(&mut self) {
        self.bits |= 1;
    }

    /// Whether any of the last eight polls was answered.
    pub fn is_reachable(self) -> bool {
        self.bits != 0
    }

    /// Whether the server is to be considered dead: three polls without an answer at the start,
    /// eight once it had answered.
    pub fn is_dead(self) -> bool {
        self.bits == 0 && self.polls >= INITIAL_PATIENCE
    }

    /// Polls since the last answer, at most eight.
    pub fn unanswered(self) -> u32 {
        self.bits.trailing_zeros().min(self.polls.into())
    }

    /// The register itself.
    pub fn bits(self) -> u8 {
        self.bits
    }
}

/// Octal, as every NTP tool prints it: `377` for eight answered polls.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:o}", self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_strikes_at_the_start_eight_later() {
        let mut reach = Reach::default();
        reach.polled();
        reach.polled();
        assert!(!reach.is_dead());
        reach.polled();
        assert!(reach.is_dead());

        reach.polled();
        reach.answered();
        for _ in 0..7 {
            reach.polled();
            assert!(!reach.is_dead());
        }
        assert_eq!(reach.unanswered(), 7);
        reach.polled();
        assert!(reach.is_dead());
        assert_eq!(reach.unanswered(), 8);
    }
}
