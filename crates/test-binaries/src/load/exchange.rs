//! Key exchanges (RFC 8915 section 4), single or in parallel.
//!
//! Each is complete, from its own connection to keys and cookies, with the daemon's client code.
//! Several threads perform them, since an exchange mostly waits for the server. Results are in no
//! particular order.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::path::PathBuf;
use std::thread;

use ntp_nts_ke::client::{Request, exchange};
use ntp_nts_ke::failure::Failure;
use ntp_nts_ke::validity::TimeBounds;
use ntp_os_clock::realtime;
use ntp_proto::client::VersionChoice;
use ntp_proto::nts::{AeadAlgorithm, KeyExchangeResult};
use ntp_types::path::NetworkPath;

/// A key-exchange server and the AEAD algorithm to negotiate.
#[derive(Clone, Debug)]
pub struct KeyServer {
    /// Name or address; its certificate must be valid for it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// PEM file of certificate authorities to trust in addition to the system's.
    pub authority: Option<PathBuf>,
    /// The only algorithm to offer.
    pub algorithm: AeadAlgorithm,
}

/// Time limit of one exchange.
const TIMEOUT: Duration = Duration::from_secs(10);

impl KeyServer {
    /// Exchanges keys `count` times, `concurrency` at a time. Results are in no particular order.
    pub fn exchange(
        &self,
        count: usize,
        concurrency: usize,
    ) -> Vec<Result<KeyExchangeResult, Failure>> {
        let started = AtomicUsize::new(0);
        let work = || {
            let mut results = Vec::new();
            while started.fetch_add(1, Ordering::Relaxed) < count {
                results.push(self.once());
            }
            results
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (1..concurrency).map(|_| scope.spawn(work)).collect();
            let mut results = work();
            for thread in threads {
                // The panic message has been printed; the results of that thread are missing.
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
            authorities: self.authority.as_slice().into(),
            version: VersionChoice::default(),
            algorithms: &[self.algorithm],
            path: NetworkPath::default(),
            srv: None,
            denied: &[],
            time: TimeBounds::exact(now.try_into().unwrap_or_default()),
            limit: TIMEOUT,
            resolve: ntp_udp::resolve_within,
        };
        exchange(&request).outcome
    }
}
