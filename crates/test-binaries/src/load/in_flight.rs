//! Requests in flight: their times of sending, and the matching of replies.

use ntp_time::{NtpTimestamp, SystemTime};

/// Table of requests that may still be answered.
#[derive(Debug)]
pub(super) struct InFlight {
    key: u64,
    /// Time of sending of request `n`, at index `n` modulo the length; `None` once answered.
    sent: Vec<Option<SystemTime>>,
    next: u64,
}

/// Hash inputs of the two nonces of a request.
const FIRST: u64 = 0;
const SECOND: u64 = 0x5be0_cd19_137e_2179;

/// Result of matching a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The first reply to a request.
    First {
        /// Number of the request.
        number: u64,
        /// Time of sending.
        sent: SystemTime,
        /// Whether the reply returns the second nonce.
        second: bool,
    },
    /// Matches no request, or is a duplicate.
    Unmatched,
}

impl InFlight {
    /// A table with capacity for `requests`; older ones are given up.
    pub(super) fn new(key: u64, requests: usize) -> Self {
        Self {
            key,
            sent: vec![None; requests.max(1).next_power_of_two()],
            next: 0,
        }
    }

    /// Number and transmit timestamp of the next request.
    pub(super) fn next(&self) -> (u64, NtpTimestamp) {
        (self.next, self.nonce(self.next, FIRST))
    }

    /// The second timestamp that identifies a request.
    pub(super) fn second_nonce(&self, number: u64) -> NtpTimestamp {
        self.nonce(number, SECOND)
    }

    /// Records that the next request was sent.
    pub(super) fn record(&mut self, at: SystemTime) {
        let place = self.place(self.next);
        self.sent[place] = Some(at);
        self.next += 1;
    }

    /// Maximum number of requests in flight.
    pub(super) fn capacity(&self) -> usize {
        self.sent.len()
    }

    /// Number of the unanswered request that a reply with this origin timestamp belongs to.
    pub(super) fn number(&self, origin: NtpTimestamp) -> Option<u64> {
        let low = origin.to_bits() >> 32;
        // The upper half of the number is that of the newest request with this lower half.
        let behind = (self.next.wrapping_sub(1).wrapping_sub(low)) & 0xffff_ffff;
        if behind >= self.sent.len() as u64 || behind >= self.next {
            return None;
        }
        let number = self.next - 1 - behind;
        let ours = [FIRST, SECOND].map(|which| self.nonce(number, which));
        (ours.contains(&origin) && self.sent[self.place(number)].is_some()).then_some(number)
    }

    /// Matches a reply by its origin timestamp, and marks the request as answered.
    pub(super) fn take(&mut self, origin: NtpTimestamp) -> Match {
        let Some(number) = self.number(origin) else {
            return Match::Unmatched;
        };
        let place = self.place(number);
        match self.sent[place].take() {
            Some(sent) => Match::First {
                number,
                sent,
                second: self.nonce(number, SECOND) == origin,
            },
            None => Match::Unmatched,
        }
    }

    fn place(&self, number: u64) -> usize {
        number as usize & (self.sent.len() - 1)
    }

    fn nonce(&self, number: u64, which: u64) -> NtpTimestamp {
        // Never zero, which servers treat as a missing timestamp.
        let mut hash = (!number ^ self.key ^ which).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ hash >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        NtpTimestamp::from_bits(number << 32 | hash >> 32 | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_reply_to_a_request_matches() {
        let mut in_flight = InFlight::new(42, 4);
        let mut nonces = Vec::new();
        for number in 0..6 {
            let (next, nonce) = in_flight.next();
            assert_eq!(next, number);
            nonces.push(nonce);
            in_flight.record(SystemTime::from_nanos(number as i64));
        }
        // The first two have been given up.
        assert_eq!(in_flight.take(nonces[0]), Match::Unmatched);
        assert_eq!(in_flight.take(nonces[1]), Match::Unmatched);
        let first = |number: u64, second| Match::First {
            number,
            sent: SystemTime::from_nanos(number as i64),
            second,
        };
        assert_eq!(in_flight.take(nonces[2]), first(2, false));
        assert_eq!(in_flight.take(nonces[2]), Match::Unmatched);
        let forged = NtpTimestamp::from_bits(nonces[3].to_bits() ^ 2);
        assert_eq!(in_flight.take(forged), Match::Unmatched);
        let (_, future) = in_flight.next();
        assert_eq!(in_flight.take(future), Match::Unmatched);
        assert_eq!(in_flight.take(nonces[5]), first(5, false));
        // Either nonce matches, once.
        let fourth = in_flight.second_nonce(4);
        assert_eq!(in_flight.take(fourth), first(4, true));
        assert_eq!(in_flight.take(nonces[4]), Match::Unmatched);
    }
}
