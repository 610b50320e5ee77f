//! The engine's random numbers: drawn from its seed, kept for a record, or taken from one.
//!
//! What the engine decides depends on two kinds of numbers: 32 bits, which spread its requests in time, and 64 bits, which are transmit timestamps. Both are known to
//! whoever sees the packets, once they are used, and can stand in a record. Octets of any other number (keys, cookies' nonces) decide nothing and are never kept. Each kind
//! has a queue of its own, so that a replay that asks without protection still finds the numbers of the others.

use std::collections::VecDeque;

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

/// Numbers that were drawn during one input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Of 32 bits.
    pub words: Vec<u32>,
    /// Of 64 bits.
    pub longs: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Chance {
    generator: ChaCha12Rng,
    /// Numbers drawn since they were last asked for, if they are kept.
    kept: Option<Drawn>,
    words: VecDeque<u32>,
    longs: VecDeque<u64>,
}

impl Chance {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self {
            generator: ChaCha12Rng::from_seed(seed),
            kept: None,
            words: VecDeque::new(),
            longs: VecDeque::new(),
        }
    }

    /// Begins to keep numbers, and hands out those since the last call.
    pub(super) fn keep(&mut self) -> Drawn {
        self.kept.replace(Drawn::default()).unwrap_or_default()
    }

    /// The next numbers are these. Those of an earlier call that were not drawn are forgotten.
    pub(super) fn foretell(&mut self, drawn: &Drawn) {
        self.words = drawn.words.iter().copied().collect();
        self.longs = drawn.longs.iter().copied().collect();
    }
}

impl RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        let word = self.words.pop_front();
        let word = word.unwrap_or_else(|| self.generator.next_u32());
        if let Some(kept) = &mut self.kept {
            kept.words.push(word);
        }
        word
    }

    fn next_u64(&mut self) -> u64 {
        let long = self.longs.pop_front();
        let long = long.unwrap_or_else(|| self.generator.next_u64());
        if let Some(kept) = &mut self.kept {
            kept.longs.push(long);
        }
        long
    }

    fn fill_bytes(&mut self, octets: &mut [u8]) {
        self.generator.fill_bytes(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_numbers_come_again_and_secret_octets_are_not_kept() {
        let mut first = Chance::new([1; 32]);
        first.keep();
        let numbers = (first.next_u32(), first.next_u64(), first.next_u32());
        first.fill_bytes(&mut [0; 16]);
        let drawn = first.keep();
        assert_eq!((drawn.words.len(), drawn.longs.len()), (2, 1));
        assert_eq!(first.keep(), Drawn::default());
        let mut second = Chance::new([2; 32]);
        second.foretell(&drawn);
        // In another order between the kinds, as without protection.
        let (long, word) = (second.next_u64(), second.next_u32());
        assert_eq!((word, long, second.next_u32()), numbers);
    }
}
