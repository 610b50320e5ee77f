//! State of one worker thread between requests. It is not shared, so it needs no lock.

use ntp_time::SystemTime;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::counters::Counters;
use super::interleaved::Store;
use super::rate_limit::Limiter;
use super::{Policy, StampToken};

/// Rate limiter, store of transmit timestamps, and counters of one worker.
///
/// Only [`new`](Self::new) and [`apply_policy`](Self::apply_policy) allocate memory.
#[derive(Clone, Debug)]
pub struct WorkerState {
    pub(super) limiter: Limiter,
    pub(super) store: Store,
    pub(super) random: ChaCha8Rng,
    pub(super) counters: Counters,
    workers: usize,
}

impl WorkerState {
    /// State of one of `workers` workers that serve one address with `policy`; each gets its share
    /// of the rate limiter's slots.
    ///
    /// `seed` must be secret and different for each worker: it keys the hash tables.
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

    /// Applies the sizes and limits of a new policy; to be called whenever a view with another
    /// policy is loaded. State whose limits are unchanged is kept.
    pub fn apply_policy(&mut self, policy: &Policy) {
        if *self.limiter.limit() != policy.rate_limit {
            let key = hash_key(&mut self.random);
            self.limiter = Limiter::new(policy.rate_limit, self.workers, key);
        }
        if self.store.pairs() != policy.interleaved_pairs {
            self.store = Store::new(policy.interleaved_pairs, hash_key(&mut self.random));
        }
    }

    /// Records when the reply actually left for which
    /// [`Draft::stamp_token`](super::Draft::stamp_token) returned `token`.
    pub fn record_transmit(&mut self, token: StampToken, transmit: SystemTime) {
        self.store.complete(token, transmit.to_ntp());
    }

    /// Counts of the datagrams so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn hash_key(random: &mut impl RngCore) -> [u8; 16] {
    let mut key = [0; 16];
    random.fill_bytes(&mut key);
    key
}
