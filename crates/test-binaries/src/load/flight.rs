//! Requests under way: when each left, and whether an answer is one.

use ntp_time::{NtpTimestamp, SystemTime};

/// The table of requests that may still be answered.
#[derive(Debug)]
pub(super) struct Flight {
    key: u64,
    /// When request `n` left, at place `n` modulo the length; `None` once it has been answered.
    sent: Vec<Option<SystemTime>>,
    next: u64,
}

/// What the two nonces of a request are made with.
const FIRST: u64 = 0;
const SECOND: u64 = 0x5be0_cd19_137e_2179;

/// What an answer is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The first answer to a request.
    First {
        /// Which one.
        number: u64,
        /// When it left.
        sent: SystemTime,
        /// It names the second nonce.
        second: bool,
    },
    /// Not an answer, or not the first.
    Stranger,
}

impl Flight {
    /// Room for `requests` under way at once; older ones are given up.
    pub(super) fn new(key: u64, requests: usize) -> Self {
        Self {
            key,
            sent: vec![None; requests.max(1).next_power_of_two()],
            next: 0,
        }
    }

    /// The number of the next request, and the transmit timestamp that it is to carry.
    pub(super) fn next(&self) -> (u64, NtpTimestamp) {
        (self.next, self.nonce(self.next, FIRST))
    }

    /// Another timestamp that tells the number of a request.
    pub(super) fn second_nonce(&self, number: u64) -> NtpTimestamp {
        self.nonce(number, SECOND)
    }

    /// The next request leaves.
    pub(super) fn depart(&mut self, at: SystemTime) {
        let place = self.place(self.next);
        self.sent[place] = Some(at);
        self.next += 1;
    }

    /// How many requests may be under way at once.
    pub(super) fn room(&self) -> usize {
        self.sent.len()
    }

    /// The number of the request that an answer with this origin timestamp is for, if it is not yet answered.
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

    /// Judges an answer by its origin timestamp, and marks the request as answered.
    pub(super) fn arrive(&mut self, origin: NtpTimestamp) -> Match {
        let Some(number) = self.number(origin) else {
            return Match::Stranger;
        };
        let place = self.place(number);
        match self.sent[place].take() {
            Some(sent) => Match::First {
                number,
                sent,
                second: self.nonce(number, SECOND) == origin,
            },
            None => Match::Stranger,
        }
    }

    fn place(&self, number: u64) -> usize {
        number as usize & (self.sent.len() - 1)
    }

    fn nonce(&self, number: u64, which: u64) -> NtpTimestamp {
        // Never all zero, which servers take for no time at all.
        let mut hash = (!number ^ self.key ^ which).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ hash >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        NtpTimestamp::from_bits(number << 32 | hash >> 32 | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_answer_to_a_request_of_ours_counts() {
        let mut flight = Flight::new(42, 4);
        let mut nonces = Vec::new();
        for number in 0..6 {
            let (next, nonce) = flight.next();
            assert_eq!(next, number);
            nonces.push(nonce);
            flight.depart(SystemTime::from_nanos(number as i64));
        }
        // The first two have been given up.
        assert_eq!(flight.arrive(nonces[0]), Match::Stranger);
        assert_eq!(flight.arrive(nonces[1]), Match::Stranger);
        let first = |number: u64, second| Match::First {
            number,
            sent: SystemTime::from_nanos(number as i64),
            second,
        };
        assert_eq!(flight.arrive(nonces[2]), first(2, false));
        assert_eq!(flight.arrive(nonces[2]), Match::Stranger);
        let forged = NtpTimestamp::from_bits(nonces[3].to_bits() ^ 2);
        assert_eq!(flight.arrive(forged), Match::Stranger);
        let (_, future) = flight.next();
        assert_eq!(flight.arrive(future), Match::Stranger);
        assert_eq!(flight.arrive(nonces[5]), first(5, false));
        // Either nonce will do, once.
        let fourth = flight.second_nonce(4);
        assert_eq!(flight.arrive(fourth), first(4, true));
        assert_eq!(flight.arrive(nonces[4]), Match::Stranger);
    }
}
