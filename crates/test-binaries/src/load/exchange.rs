//! Key exchanges (RFC 8915 section 4), one for a client or many at once.
//!
//! Each goes the whole way, from a connection of its own to keys and cookies, with the daemon's own client. Several threads make them, since one
//! exchange waits for the server more than it works; the order in which they end means nothing.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::path::PathBuf;
use std::thread;

use ntp_nts_ke::client::{Request, exchange};
use ntp_nts_ke::failure::Failure;
use ntp_nts_ke::validity::TimeKnown;
use ntp_os_clock::realtime;
use ntp_proto::nts::{AeadAlgorithm, KeyExchangeResult};

/// Where keys are to be had, and for which cipher.
#[derive(Clone, Debug)]
pub struct KeyServer {
    /// Name or address, for which its certificate must be.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// PEM file of authorities that are believed besides the system's.
    pub authority: Option<PathBuf>,
    /// The only cipher that is offered.
    pub algorithm: AeadAlgorithm,
}

/// For one exchange.
const LIMIT: Duration = Duration::from_secs(10);

impl KeyServer {
    /// Exchanges keys `count` times, `together` at once. In no order.
    pub fn exchange(
        &self,
        count: usize,
        together: usize,
    ) -> Vec<Result<KeyExchangeResult, Failure>> {
        let begun = AtomicUsize::new(0);
        let work = || {
            let mut results = Vec::new();
            while begun.fetch_add(1, Ordering::Relaxed) < count {
                results.push(self.once());
            }
            results
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (1..together).map(|_| scope.spawn(work)).collect();
            let mut results = work();
            for thread in threads {
                // One that panicked has told why, and its results are missing in the count.
                results.extend(thread.join().unwrap_or_default());
            }
            results
        })
    }

    fn once(&self) -> Result<KeyExchangeResult, Failure> {
        let now = realtime().as_nanos() / 1_000_000_000;
        let request = Request {
            host: &self.host,
            port: self.port,
            authority: self.authority.as_deref(),
            algorithms: &[self.algorithm],
            time: TimeKnown::exactly(now.try_into().unwrap_or_default()),
            limit: LIMIT,
        };
        exchange(&request).outcome
    }
}
