//! Hooks for recording a run and replaying it.
//!
//! What the engine decides depends on its inputs and on two kinds of random numbers: 32 bits, which
//! spread requests in time, and 64 bits, which are transmit timestamps. Both are visible in packets
//! once they are used and may be recorded. Random bytes of any other length (keys, nonces of
//! cookies) decide nothing and are never recorded.
//!
//! Each kind has a queue of its own, so that a replay that sends requests without protection still
//! finds the numbers of the other kind.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use ntp_time::Monotonic;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use super::source::Source;
use super::{Engine, SourceId};
use crate::client::Authenticity;

/// Random numbers that were drawn during one input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngTrace {
    /// Numbers of 32 bits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<u32>,
    /// Numbers of 64 bits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub longs: Vec<u64>,
}

/// Random number generator of the engine: seeded, recordable and preloadable.
#[derive(Debug)]
pub(super) struct Rng {
    generator: ChaCha12Rng,
    /// Numbers drawn since the trace was last taken, if a trace is recorded.
    trace: Option<RngTrace>,
    words: VecDeque<u32>,
    longs: VecDeque<u64>,
}

/// State of the replay hooks besides the random numbers.
#[derive(Debug, Default)]
pub(super) struct ReplayHooks {
    /// What the datagram of the last input proved.
    pub(super) authenticity: Authenticity,
    /// Times of polls that the replay forces. Once set, associations ignore their own schedules.
    forced_polls: Option<BTreeMap<SourceId, Monotonic>>,
}

/// Hooks for a recorder and for a replay. No other shell needs them.
impl Engine {
    /// Returns the random numbers drawn since the last call. The first call starts recording them.
    pub fn take_rng_trace(&mut self) -> RngTrace {
        self.rng.take_trace()
    }

    /// Preloads the random numbers that the next input draws. Numbers of an earlier call that were
    /// not drawn are discarded.
    pub fn preload_rng(&mut self, trace: &RngTrace) {
        self.rng.preload(trace);
    }

    /// Returns what the datagram of the last input proved, and resets it.
    pub fn take_authenticity(&mut self) -> Authenticity {
        core::mem::take(&mut self.replay.authenticity)
    }

    /// Disables the associations' own poll schedules from now on and, if `remote` is given, makes
    /// the next input poll the association with that address.
    ///
    /// For a record whose beginning is missing: it holds the replies to other requests than a new
    /// engine would send.
    pub fn force_poll(&mut self, remote: Option<SocketAddr>, now: Monotonic) {
        let mut sources = self.sources.in_use.iter();
        let source = sources.find(|source| remote.is_some() && source.remote() == remote);
        let forced = self.replay.forced_polls.get_or_insert_default();
        if let Some(source) = source {
            forced.insert(source.id, now);
        }
    }

    /// Time of the next poll of `source`. `None` while it is offline.
    pub(super) fn next_poll(&self, source: &Source) -> Option<Monotonic> {
        match &self.replay.forced_polls {
            Some(forced) => forced.get(&source.id).copied(),
            None => source.next_poll(),
        }
    }
}

impl ReplayHooks {
    /// Records that the association has been polled.
    pub(super) fn polled(&mut self, id: SourceId) {
        if let Some(forced) = &mut self.forced_polls {
            forced.remove(&id);
        }
    }
}

impl Rng {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self {
            generator: ChaCha12Rng::from_seed(seed),
            trace: None,
            words: VecDeque::new(),
            longs: VecDeque::new(),
        }
    }

    fn take_trace(&mut self) -> RngTrace {
        self.trace.replace(RngTrace::default()).unwrap_or_default()
    }

    fn preload(&mut self, trace: &RngTrace) {
        self.words = trace.words.iter().copied().collect();
        self.longs = trace.longs.iter().copied().collect();
    }
}

impl RngCore for Rng {
    fn next_u32(&mut self) -> u32 {
        let word = self.words.pop_front();
        let word = word.unwrap_or_else(|| self.generator.next_u32());
        if let Some(trace) = &mut self.trace {
            trace.words.push(word);
        }
        word
    }

    fn next_u64(&mut self) -> u64 {
        let long = self.longs.pop_front();
        let long = long.unwrap_or_else(|| self.generator.next_u64());
        if let Some(trace) = &mut self.trace {
            trace.longs.push(long);
        }
        long
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.generator.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preloaded_numbers_repeat_and_secret_bytes_are_not_recorded() {
        let mut first = Rng::new([1; 32]);
        first.take_trace();
        let numbers = (first.next_u32(), first.next_u64(), first.next_u32());
        first.fill_bytes(&mut [0; 16]);
        let trace = first.take_trace();
        assert_eq!((trace.words.len(), trace.longs.len()), (2, 1));
        assert_eq!(first.take_trace(), RngTrace::default());
        let mut second = Rng::new([2; 32]);
        second.preload(&trace);
        // The order between the two kinds differs, as it does without protection.
        let (long, word) = (second.next_u64(), second.next_u32());
        assert_eq!((word, long, second.next_u32()), numbers);
    }
}
