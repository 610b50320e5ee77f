//! Who asked one worker, where others can read it.
//!
//! The list is the one thing that a worker shares with the main thread under a lock. The worker tries the lock once for each batch and never waits: if
//! the main thread has it, the batch is counted as missed. The main thread waits for as long as it takes to enter a batch, and
//! holds the lock for nothing but copying.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ntp_proto::server::{ClientList, Verdict};
use ntp_time::Monotonic;

/// The clients of one worker.
#[derive(Debug)]
pub struct WorkersClients {
    list: Mutex<ClientList>,
    /// Datagrams that were not entered.
    missed: AtomicU64,
}

impl WorkersClients {
    /// Nobody, and room for nobody. The seed is a secret of its own.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            list: Mutex::new(ClientList::new(seed)),
            missed: AtomicU64::new(0),
        }
    }

    /// The worker enters a batch, without waiting, and takes out of `heard` what it entered or missed.
    pub fn enter(&self, now: Monotonic, heard: &mut Vec<(IpAddr, Verdict)>) {
        let Ok(mut list) = self.list.try_lock() else {
            self.missed.fetch_add(heard.len() as u64, Relaxed);
            heard.clear();
            return;
        };
        for (from, verdict) in heard.drain(..) {
            list.note(from, verdict, now);
        }
    }

    /// Forgets everybody, and makes room for this worker's share.
    pub fn resize(&self, size: usize, workers: usize) {
        self.open().resize(size, workers);
        self.missed.store(0, Relaxed);
    }

    /// Datagrams that were not entered.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// The list, for the main thread. If its worker panicked with it in hand, the daemon is about to end, and until then the list is as good as it was.
    pub fn open(&self) -> MutexGuard<'_, ClientList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
