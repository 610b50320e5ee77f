//! Interleaved mode, server side (RFC 9769 section 2).
//!
//! # Purpose
//! The transmit timestamp in a reply is read before the reply leaves: in software, too early by an
//! unknown delay. The kernel or the network card knows the actual time, but only after the reply
//! has left. In interleaved mode the *next* reply carries it.
//!
//! ```text
//! client                                               server
//! origin 0,         receive 0,  transmit a    -->      basic reply: receive T2
//! origin T2,        receive T4, transmit b    -->      no pair yet: basic reply, receive T2'; its stamp T3' is kept
//! origin T2',       receive c,  transmit d    -->      interleaved reply: origin c, receive T2'', transmit T3'
//! ```
//!
//! A server with millions of clients cannot keep state for each of them. Our receive timestamps
//! always have the lowest bit set and our transmit timestamps have it cleared (the bit is a quarter
//! of a nanosecond). Only a client that uses interleaved mode returns one of our receive timestamps
//! in the origin field, so its requests are recognised without state: other clients send zero or
//! our transmit timestamp. A pair is kept for those requests only, and only for their replies is a
//! kernel transmit timestamp requested.
//!
//! Pairs are kept in a table of fixed size, looked up by a keyed hash of receive timestamp and
//! client address; a new pair replaces the oldest one of its set of four. A lost pair costs the
//! client one basic reply. The address in the hash prevents a client from requesting the timestamps
//! of another one. The same receive timestamp is never sent twice to one client
//! ([`Store::reserve`]), because it would identify two pairs.
//!
//! Timestamps from before a clock step are invalid afterwards: each pair has the [clock
//! epoch](super::Claim::epoch) in which it was created.

use ntp_time::NtpTimestamp;
use siphasher::sip::SipHasher13;

use super::client::Client;
use crate::wire::{Header, Mode};

/// Identifies a reply whose actual transmit time is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StampToken(u64);

/// The pairs of one worker.
#[derive(Clone, Debug)]
pub(super) struct Store {
    /// Configured number of pairs.
    pairs: usize,
    sets: Vec<[Pair; WAYS]>,
    hasher: SipHasher13,
    /// Number of pairs created so far; wraps.
    made: u32,
}

const WAYS: usize = 4;

/// Largest number of pairs of a worker; 24 MB.
pub(super) const MAX_PAIRS: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Pair {
    /// Hash of receive timestamp and client.
    tag: u64,
    /// Zero until it is known.
    transmit: NtpTimestamp,
    /// Clock epoch of both timestamps.
    epoch: u32,
    /// Sequence number of the pair.
    number: u32,
}

/// Maximum age of the origin timestamp of an interleaved request: twice NTP's longest poll
/// interval.
const MAX_ORIGIN_AGE_SECONDS: u64 = 1 << 18;

impl Store {
    /// A table for `pairs` pairs, at most [`MAX_PAIRS`].
    pub(super) fn new(pairs: usize, key: [u8; 16]) -> Self {
        const UNUSED: Pair = Pair {
            tag: 0,
            transmit: NtpTimestamp::ZERO,
            epoch: 0,
            number: 0,
        };
        Self {
            pairs,
            sets: vec![[UNUSED; WAYS]; pairs.min(MAX_PAIRS).div_ceil(WAYS)],
            hasher: SipHasher13::new_with_key(&key),
            made: 0,
        }
    }

    /// Configured number of pairs.
    pub(super) const fn pairs(&self) -> usize {
        self.pairs
    }

    /// The transmit timestamp of the reply whose receive timestamp is `receive`, if it is known.
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

    /// Creates a pair for the reply to `client` with this receive timestamp. If that was already
    /// sent to the client, it is increased by half a nanosecond, up to four times.
    pub(super) fn reserve(
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
            // Half a nanosecond later; the lowest bit stays set.
            *receive = NtpTimestamp::from_bits(receive.to_bits().wrapping_add(2));
        }
        None
    }

    /// Records when a reply left; no effect if its pair was replaced since.
    pub(super) fn complete(&mut self, token: StampToken, transmit: NtpTimestamp) {
        if let Some(pair) = self.find(token.0) {
            pair.transmit = mark_transmit(transmit);
        }
    }

    fn tag(&self, receive: NtpTimestamp, client: Client) -> u64 {
        // Families are distinguished by length.
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

/// Sets the bit that marks a receive timestamp.
#[inline]
pub(super) const fn mark_receive(stamp: NtpTimestamp) -> NtpTimestamp {
    NtpTimestamp::from_bits(stamp.to_bits() | 1)
}

/// Clears the bit that marks a receive timestamp.
#[inline]
pub(super) const fn mark_transmit(stamp: NtpTimestamp) -> NtpTimestamp {
    NtpTimestamp::from_bits(stamp.to_bits() & !1)
}

/// Whether a request that arrived at `received` is in interleaved mode: its origin may be a receive
/// timestamp of ours, and its receive and transmit timestamps differ, because they show the client
/// which kind of reply it got.
#[inline]
pub(super) fn is_interleaved_request(request: &Header, received: NtpTimestamp) -> bool {
    let origin = request.origin_timestamp.to_bits();
    // Checked first, because it decides for nearly all requests.
    if origin & 1 == 0 {
        return false;
    }
    let age = received.to_bits().wrapping_sub(origin);
    request.mode == Mode::Client
        && !request.receive_timestamp.is_zero()
        && request.receive_timestamp != request.transmit_timestamp
        && age >> 32 < MAX_ORIGIN_AGE_SECONDS
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
    fn a_pair_is_found_only_by_its_client_in_its_epoch() {
        let mut store = Store::new(64, [1; 16]);
        let mut receive = stamp(101);
        let token = store.reserve(&mut receive, CLIENT, 7).unwrap();
        assert_eq!(receive, stamp(101));
        assert_eq!(store.transmit(receive, CLIENT, 7), None);
        store.complete(token, stamp(201));
        assert_eq!(store.transmit(receive, CLIENT, 7), Some(stamp(200)));
        assert_eq!(store.transmit(receive, OTHER, 7), None);
        assert_eq!(store.transmit(stamp(103), CLIENT, 7), None);
        assert_eq!(store.transmit(receive, CLIENT, 8), None);
    }

    #[test]
    fn receive_timestamps_are_unique_per_client() {
        let mut store = Store::new(64, [1; 16]);
        let given = [(); 6].map(|()| {
            let mut receive = stamp(101);
            (
                store.reserve(&mut receive, CLIENT, 0).is_some(),
                receive.to_bits(),
            )
        });
        assert_eq!(
            given[..4],
            [(true, 101), (true, 103), (true, 105), (true, 107)]
        );
        // The clock does not advance: no pair is created.
        assert!(!given[4].0 && !given[5].0);
        let mut receive = stamp(101);
        assert!(store.reserve(&mut receive, OTHER, 0).is_some());
        assert_eq!(receive, stamp(101));
    }

    #[test]
    fn the_oldest_pair_is_replaced() {
        let mut store = Store::new(WAYS, [1; 16]);
        for bits in 1..=5 {
            let token = store.reserve(&mut stamp(bits), CLIENT, 0).unwrap();
            store.complete(token, stamp(100));
        }
        assert_eq!(store.transmit(stamp(1), CLIENT, 0), None);
        for bits in 2..=5 {
            assert_eq!(store.transmit(stamp(bits), CLIENT, 0), Some(stamp(100)));
        }
    }

    #[test]
    fn a_transmit_stamp_of_a_replaced_pair_is_dropped() {
        let mut store = Store::new(WAYS, [1; 16]);
        let late = store.reserve(&mut stamp(1), CLIENT, 0).unwrap();
        for bits in 2..=5 {
            store.reserve(&mut stamp(bits), CLIENT, 0).unwrap();
        }
        store.complete(late, stamp(100));
        for bits in 1..=5 {
            assert_eq!(store.transmit(stamp(bits), CLIENT, 0), None);
        }
    }

    #[test]
    fn without_a_table_there_is_no_interleaved_mode() {
        let mut store = Store::new(0, [1; 16]);
        assert_eq!(store.reserve(&mut stamp(1), CLIENT, 0), None);
        assert_eq!(store.transmit(stamp(1), CLIENT, 0), None);
        store.complete(StampToken(1), stamp(1));
    }
}
