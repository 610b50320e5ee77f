//! What one worker thread remembers from request to request. Nobody else touches it, so it needs no lock.

use ntp_time::SystemTime;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::interleaved::Store;
use super::rate_limit::Limiter;
use super::{Counters, Policy, StampToken};

/// One worker's rate limiter, its store of transmit stamps, and its counters.
///
/// All memory is taken by [`new`](Self::new) and [`fit`](Self::fit).
#[derive(Clone, Debug)]
pub struct WorkerState {
    pub(super) limiter: Limiter,
    pub(super) store: Store,
    pub(super) random: ChaCha8Rng,
    pub(super) counters: Counters,
    workers: usize,
}

impl WorkerState {
    /// The state of one of `workers` workers that serve by `policy` together, so that this one has its share of the limiter's
    /// slots.
    ///
    /// `seed` must be different for each worker and unknown to everybody else: it keys the hash tables.
    pub fn new(policy: &Policy, workers: usize, seed: [u8; 32]) -> Self {
        let mut random = ChaCha8Rng::from_seed(seed);
        Self {
            limiter: Limiter::new(policy.rate_limit, workers, hash_key(&mut random)),
            store: Store::new(policy.interleaved_pairs, hash_key(&mut random)),
            random,
            counters: Counters::default(),
            workers,
        }
    }

    /// Takes over a new policy's sizes and limits, to be called whenever a view with another policy is loaded. What is unchanged keeps its memory:
    /// whose limit is the same is not forgotten.
    pub fn fit(&mut self, policy: &Policy) {
        if *self.limiter.limit() != policy.rate_limit {
            let key = hash_key(&mut self.random);
            self.limiter = Limiter::new(policy.rate_limit, self.workers, key);
        }
        if self.store.pairs() != policy.interleaved_pairs {
            self.store = Store::new(policy.interleaved_pairs, hash_key(&mut self.random));
        }
    }

    /// Takes in when the reply really left for which [`Draft::stamp_wanted`](super::Draft::stamp_wanted) gave `token`.
    pub fn sent(&mut self, token: StampToken, transmit: SystemTime) {
        self.store.complete(token, transmit.to_ntp());
    }

    /// What became of the datagrams so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn hash_key(random: &mut impl RngCore) -> [u8; 16] {
    let mut key = [0; 16];
    random.fill_bytes(&mut key);
    key
}
