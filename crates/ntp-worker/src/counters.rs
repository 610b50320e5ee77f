//! Counters of a worker, readable by other threads.
//!
//! Only the worker writes, after each batch and without a lock. A reader may see a batch counted in
//! part, which the next read corrects. Each worker's counters have cache lines of their own, so
//! that workers do not slow each other down by false sharing.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ntp_types::statistics::{Latency, ServerStatistics};

macro_rules! counters {
    ($($name:ident)*) => {
        /// Counters of one worker. They only grow.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct SharedCounters {
            $($name: AtomicU64,)*
            latencies: [AtomicU64; Latency::BUCKETS],
            latency_sum: AtomicU64,
        }

        impl SharedCounters {
            fn store_statistics(&self, statistics: &ServerStatistics) {
                $(self.$name.store(statistics.$name, Relaxed);)*
            }

            /// Adds the statistics of this worker to those of others.
            pub fn add_to(&self, statistics: &mut ServerStatistics, latency: &mut Latency) {
                $(statistics.$name += self.$name.load(Relaxed);)*
                for (sum, count) in latency.counts.iter_mut().zip(&self.latencies) {
                    *sum += count.load(Relaxed);
                }
                let sum = &mut latency.sum_nanos;
                *sum = sum.wrapping_add(self.latency_sum.load(Relaxed));
            }
        }
    };
}

counters! {
    received accepted denied ignored rate_limited nts_nak send_errors malformed authenticated
    bad_authentication interleaved rate_kisses nts_received nts_accepted nts_denied nts_rate_limited
}

impl SharedCounters {
    /// Publishes the counts of the engine, and what only the worker counts.
    pub(super) fn store(&self, counted: &ServerStatistics, send_errors: u64, latency: &Latency) {
        self.store_statistics(&ServerStatistics {
            received: counted.total(),
            send_errors,
            ..*counted
        });
        for (bucket, count) in self.latencies.iter().zip(latency.counts) {
            bucket.store(count, Relaxed);
        }
        self.latency_sum.store(latency.sum_nanos, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_over_workers() {
        let (first, second) = (SharedCounters::default(), SharedCounters::default());
        let counters = ServerStatistics {
            accepted: 3,
            ignored: 4,
            ..ServerStatistics::default()
        };
        let mut latency = Latency::default();
        latency.record(20_000);
        first.store(&counters, 1, &latency);
        first.store(&counters, 2, &latency);
        second.store(&counters, 5, &latency);
        let (mut sum, mut latency) = (ServerStatistics::default(), Latency::default());
        first.add_to(&mut sum, &mut latency);
        second.add_to(&mut sum, &mut latency);
        assert_eq!((sum.received, sum.accepted), (14, 6));
        assert_eq!((sum.ignored, sum.send_errors), (8, 7));
        assert_eq!((latency.count(), latency.sum_nanos), (2, 40_000));
    }
}
