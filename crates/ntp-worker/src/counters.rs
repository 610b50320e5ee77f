//! Counters of a worker, readable by other threads.
//!
//! Only the worker writes, after each batch and without a lock. A reader may see a batch counted in
//! part, which the next read corrects. Each worker's counters have cache lines of their own, so
//! that workers do not slow each other down by false sharing.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ntp_proto::server::Counters;
use ntp_types::statistics::{Latency, ServerDetails, ServerStatistics};

macro_rules! counters {
    ($($name:ident)*; $($detail:ident)*) => {
        /// Counters of one worker. They only grow.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct SharedCounters {
            $($name: AtomicU64,)*
            $($detail: AtomicU64,)*
            versions: [AtomicU64; ServerDetails::VERSIONS],
            latencies: [AtomicU64; Latency::BUCKETS],
            latency_sum: AtomicU64,
        }

        impl SharedCounters {
            fn store_all(&self, statistics: &ServerStatistics, details: &ServerDetails) {
                $(self.$name.store(statistics.$name, Relaxed);)*
                $(self.$detail.store(details.$detail, Relaxed);)*
                for (shared, count) in self.versions.iter().zip(details.accepted_by_version) {
                    shared.store(count, Relaxed);
                }
                for (bucket, count) in self.latencies.iter().zip(details.latency.counts) {
                    bucket.store(count, Relaxed);
                }
                self.latency_sum.store(details.latency.sum_nanos, Relaxed);
            }

            /// Adds the counters of this worker to those of others.
            pub fn add_to(&self, statistics: &mut ServerStatistics, details: &mut ServerDetails) {
                $(statistics.$name += self.$name.load(Relaxed);)*
                $(details.$detail += self.$detail.load(Relaxed);)*
                for (sum, count) in details.accepted_by_version.iter_mut().zip(&self.versions) {
                    *sum += count.load(Relaxed);
                }
                for (sum, count) in details.latency.counts.iter_mut().zip(&self.latencies) {
                    *sum += count.load(Relaxed);
                }
                let sum = &mut details.latency.sum_nanos;
                *sum = sum.wrapping_add(self.latency_sum.load(Relaxed));
            }
        }
    };
}

counters! {
    received accepted denied ignored rate_limited send_errors nts_received nts_accepted nts_denied
    nts_rate_limited nts_nak;
    malformed authenticated bad_authentication interleaved rate_kisses unknown_drafts
    dropped_by_kernel
}

impl SharedCounters {
    /// Publishes what the server counted, and what only the worker counts.
    pub(super) fn store(
        &self,
        counted: &Counters,
        send_errors: u64,
        dropped_by_kernel: u64,
        latency: &Latency,
    ) {
        let statistics = ServerStatistics {
            received: counted.statistics.total(),
            send_errors,
            ..counted.statistics
        };
        let details = ServerDetails {
            latency: *latency,
            dropped_by_kernel,
            ..counted.details
        };
        self.store_all(&statistics, &details);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_over_workers() {
        let (first, second) = (SharedCounters::default(), SharedCounters::default());
        let mut counters = Counters::default();
        counters.statistics.accepted = 3;
        counters.statistics.ignored = 4;
        let mut latency = Latency::default();
        latency.record(20_000);
        first.store(&counters, 1, 8, &latency);
        first.store(&counters, 2, 9, &latency);
        second.store(&counters, 5, 1, &latency);
        let (mut sum, mut details) = (ServerStatistics::default(), ServerDetails::default());
        first.add_to(&mut sum, &mut details);
        second.add_to(&mut sum, &mut details);
        assert_eq!((sum.received, sum.accepted), (14, 6));
        assert_eq!((sum.ignored, sum.send_errors), (8, 7));
        assert_eq!(details.dropped_by_kernel, 10);
        let latency = details.latency;
        assert_eq!((latency.count(), latency.sum_nanos), (2, 40_000));
    }
}
