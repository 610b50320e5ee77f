//! Interleaved mode, the server's side (RFC 9769 section 2).
//!
//! # What for
//! The transmit timestamp inside a reply is read before the reply leaves: in software, too early by an unknown time. The kernel or the card
//! knows the true one, but only when the reply is gone. In interleaved mode the *next* reply carries it.
//!
//! ```text
//! client                                               server
//! origin 0,         receive 0,  transmit a    -->      basic reply: receive T2
//! origin T2,        receive T4, transmit b    -->      nothing is kept yet: basic reply, receive T2'; its stamp T3' is kept
//! origin T2',       receive c,  transmit d    -->      interleaved reply: origin c, receive T2'', transmit T3'
//! ```
//!
//! # State
//! A server of millions cannot keep something for everyone. Our receive timestamps always have the lowest bit set and our transmit
//! timestamps never do (a quarter of a nanosecond). A request whose origin field holds one of our receive timestamps,
//! as only a client that speaks interleaved mode writes it, is told from others without any memory: older clients send zero, or
//! our transmit timestamp. Only for those requests a pair is kept, and only for them is the kernel asked for a
//! transmit stamp.
//!
//! Pairs live in a table of fixed size, found by a keyed hash of receive timestamp and client address; a new pair takes the place
//! of the oldest in its set of four. A lost pair costs the client one basic reply, nothing else. The address in the hash keeps one client from asking for
//! another's stamps. The same receive timestamp is never given twice to one client ([`Store::claim`]), or
//! it would name two pairs.
//!
//! Stamps from before a step of the clock are worthless afterwards: each pair carries the
//! [clock epoch](super::Claim::epoch) in which it was made.

use ntp_time::NtpTimestamp;
use siphasher::sip::SipHasher13;

use super::client::Client;
use crate::wire::{Header, Mode};

/// Names a reply whose true transmit time is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StampToken(u64);

/// Pairs of one worker.
#[derive(Clone, Debug)]
pub(super) struct Store {
    /// As many as were asked for.
    pairs: usize,
    sets: Vec<[Pair; WAYS]>,
    hasher: SipHasher13,
    /// Pairs made so far; wraps.
    made: u32,
}

const WAYS: usize = 4;

/// The most pairs that a worker keeps; they take 24 MB.
pub(super) const MOST_PAIRS: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Pair {
    /// Hash of receive timestamp and client.
    tag: u64,
    /// Zero until it is known.
    transmit: NtpTimestamp,
    /// The clock epoch of both.
    epoch: u32,
    /// Which one it was, counted in the order of making.
    number: u32,
}

/// The oldest request that may still name a pair: NTP's longest poll interval, twice.
const LONGEST_MEMORY_SECONDS: u64 = 1 << 18;

impl Store {
    /// A table for `pairs` pairs, at most [`MOST_PAIRS`].
    pub(super) fn new(pairs: usize, key: [u8; 16]) -> Self {
        const UNUSED: Pair = Pair {
            tag: 0,
            transmit: NtpTimestamp::ZERO,
            epoch: 0,
            number: 0,
        };
        Self {
            pairs,
            sets: vec![[UNUSED; WAYS]; pairs.min(MOST_PAIRS).div_ceil(WAYS)],
            hasher: SipHasher13::new_with_key(&key),
            made: 0,
        }
    }

    /// How many pairs were asked for.
    pub(super) const fn pairs(&self) -> usize {
        self.pairs
    }

    /// The transmit timestamp of the reply that had `receive` as its receive timestamp, if it is known.
    pub(super) fn transmit(
        &mut self,
        receive: NtpTimestamp,
        client: Client,
        epoch: u32,
    ) -> Option<NtpTimestamp> {
        let tag = self.tag(receive, client);
        let pair = self.find(tag)?;
        (pair.epoch == epoch && !pair.transmit.is_zero()).then_some(pair.transmit)
    }

    /// Keeps a place for the reply to `client` with this receive timestamp, which is changed by next to nothing if
    /// it was given to that client before.
    pub(super) fn claim(
        &mut self,
        receive: &mut NtpTimestamp,
        client: Client,
        epoch: u32,
    ) -> Option<StampToken> {
        for _ in 0..4 {
            let tag = self.tag(*receive, client);
            if self.find(tag).is_none() {
                self.made = self.made.wrapping_add(1);
                let made = self.made;
                let oldest = |pair: &&mut Pair| made.wrapping_sub(pair.number);
                let place = self.set(tag)?.iter_mut().max_by_key(oldest)?;
                *place = Pair {
                    tag,
                    transmit: NtpTimestamp::ZERO,
                    epoch,
                    number: made,
                };
                return Some(StampToken(tag));
            }
            // Half a nanosecond later; the mark stays.
            *receive = NtpTimestamp::from_bits(receive.to_bits().wrapping_add(2));
        }
        None
    }

    /// Takes in when a reply left; of no effect if its pair was displaced since.
    pub(super) fn complete(&mut self, token: StampToken, transmit: NtpTimestamp) {
        if let Some(pair) = self.find(token.0) {
            pair.transmit = as_transmit(transmit);
        }
    }

    fn tag(&self, receive: NtpTimestamp, client: Client) -> u64 {
        // Families are told apart by length.
        let stamp = receive.to_bits().to_be_bytes();
        let mut octets = [0; 24];
        let (first, rest) = octets.split_at_mut(stamp.len());
        first.copy_from_slice(&stamp);
        let hash = match client {
            Client::V4(bits) => {
                let (first, _) = rest.split_at_mut(4);
                first.copy_from_slice(&bits.to_be_bytes());
                self.hasher.hash(&octets[..12])
            }
            Client::V6(bits) => {
                rest.copy_from_slice(&bits.to_be_bytes());
                self.hasher.hash(&octets)
            }
        };
        // Zero marks an unused pair.
        hash.max(1)
    }

    fn find(&mut self, tag: u64) -> Option<&mut Pair> {
        self.set(tag)?.iter_mut().find(|pair| pair.tag == tag)
    }

    fn set(&mut self, tag: u64) -> Option<&mut [Pair; WAYS]> {
        let index = (u128::from(tag) * self.sets.len() as u128) >> 64;
        self.sets.get_mut(usize::try_from(index).ok()?)
    }
}

/// Marks a receive timestamp as one.
#[inline]
pub(super) const fn as_receive(stamp: NtpTimestamp) -> NtpTimestamp {
    NtpTimestamp::from_bits(stamp.to_bits() | 1)
}

/// Marks a transmit timestamp as none of the above.
#[inline]
pub(super) const fn as_transmit(stamp: NtpTimestamp) -> NtpTimestamp {
    NtpTimestamp::from_bits(stamp.to_bits() & !1)
}

/// Whether a request that arrived at `received` asks for an interleaved reply: it returns what can be a receive
/// timestamp of ours, and its own two stamps differ, for by them it will tell which kind of reply it got.
#[inline]
pub(super) fn is_asked_for(request: &Header, received: NtpTimestamp) -> bool {
    let origin = request.origin_timestamp.to_bits();
    // Before anything else, because of nearly all requests that is the end of it.
    if origin & 1 == 0 {
        return false;
    }
    let age = received.to_bits().wrapping_sub(origin);
    request.mode == Mode::Client
        && !request.receive_timestamp.is_zero()
        && request.receive_timestamp != request.transmit_timestamp
        && age >> 32 < LONGEST_MEMORY_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client = Client::V4(0xc000_0201);
    const OTHER: Client = Client::V4(0xc000_0202);

    fn stamp(bits: u64) -> NtpTimestamp {
        NtpTimestamp::from_bits(bits)
    }

    #[test]
    fn a_pair_is_found_by_its_client_only_and_in_its_epoch_only() {
        let mut store = Store::new(64, [1; 16]);
        let mut receive = stamp(101);
        let token = store.claim(&mut receive, CLIENT, 7).unwrap();
        assert_eq!(receive, stamp(101));
        assert_eq!(store.transmit(receive, CLIENT, 7), None);
        store.complete(token, stamp(201));
        assert_eq!(store.transmit(receive, CLIENT, 7), Some(stamp(200)));
        assert_eq!(store.transmit(receive, OTHER, 7), None);
        assert_eq!(store.transmit(stamp(103), CLIENT, 7), None);
        assert_eq!(store.transmit(receive, CLIENT, 8), None);
    }

    #[test]
    fn no_receive_timestamp_is_given_twice() {
        let mut store = Store::new(64, [1; 16]);
        let given = [(); 6].map(|()| {
            let mut receive = stamp(101);
            (
                store.claim(&mut receive, CLIENT, 0).is_some(),
                receive.to_bits(),
            )
        });
        assert_eq!(
            given[..4],
            [(true, 101), (true, 103), (true, 105), (true, 107)]
        );
        // The clock stands still: then there is no pair.
        assert!(!given[4].0 && !given[5].0);
        let mut receive = stamp(101);
        assert!(store.claim(&mut receive, OTHER, 0).is_some());
        assert_eq!(receive, stamp(101));
    }

    #[test]
    fn the_oldest_pair_makes_room() {
        let mut store = Store::new(WAYS, [1; 16]);
        for bits in 1..=5 {
            let token = store.claim(&mut stamp(bits), CLIENT, 0).unwrap();
            store.complete(token, stamp(100));
        }
        assert_eq!(store.transmit(stamp(1), CLIENT, 0), None);
        for bits in 2..=5 {
            assert_eq!(store.transmit(stamp(bits), CLIENT, 0), Some(stamp(100)));
        }
    }

    #[test]
    fn a_stamp_that_comes_too_late_is_dropped() {
        let mut store = Store::new(WAYS, [1; 16]);
        let late = store.claim(&mut stamp(1), CLIENT, 0).unwrap();
        for bits in 2..=5 {
            store.claim(&mut stamp(bits), CLIENT, 0).unwrap();
        }
        store.complete(late, stamp(100));
        for bits in 1..=5 {
            assert_eq!(store.transmit(stamp(bits), CLIENT, 0), None);
        }
    }

    #[test]
    fn without_a_table_there_is_no_interleaved_mode() {
        let mut store = Store::new(0, [1; 16]);
        assert_eq!(store.claim(&mut stamp(1), CLIENT, 0), None);
        assert_eq!(store.transmit(stamp(1), CLIENT, 0), None);
        store.complete(StampToken(1), stamp(1));
    }
}
