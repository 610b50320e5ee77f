//! The client list of one worker, shared with the main thread.
//!
//! It is the only thing that a worker shares with the main thread under a lock. The worker tries
//! the lock once for each batch and never waits: if the main thread holds it, the batch is counted
//! as missed. The main thread waits at most until a batch is recorded, and holds the lock only
//! while it copies the list.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ntp_proto::server::{ClientList, Verdict};
use ntp_time::Monotonic;

/// The client list of one worker.
#[derive(Debug)]
pub struct SharedClientList {
    list: Mutex<ClientList>,
    /// Datagrams that were not recorded.
    missed: AtomicU64,
}

impl SharedClientList {
    /// An empty list of size 0. `seed` is a secret used for nothing else.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            list: Mutex::new(ClientList::new(seed)),
            missed: AtomicU64::new(0),
        }
    }

    /// Records a batch, or counts it as missed if the list is locked. Never waits. Empties `batch`.
    pub fn record_batch(&self, now: Monotonic, batch: &mut Vec<(IpAddr, Verdict)>) {
        let Ok(mut list) = self.list.try_lock() else {
            self.missed.fetch_add(batch.len() as u64, Relaxed);
            batch.clear();
            return;
        };
        for (from, verdict) in batch.drain(..) {
            list.record(from, verdict, now);
        }
    }

    /// Removes all entries and allocates this worker's share of `size`.
    pub fn resize(&self, size: usize, workers: usize) {
        self.lock().resize(size, workers);
        self.missed.store(0, Relaxed);
    }

    /// Number of datagrams that were not recorded.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// Locks the list; for the main thread. If the worker panicked while it held the lock, the
    /// daemon is about to exit, and the list is still readable until then.
    pub fn lock(&self) -> MutexGuard<'_, ClientList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
