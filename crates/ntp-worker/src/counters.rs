//! Counters of a worker, readable by other threads.
//!
//! Only the worker writes, after each batch and without a lock. A reader may see a batch counted in
//! part, which the next read corrects. Each worker's counters have cache lines of their own, so
//! that workers do not slow each other down by false sharing.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ntp_control_api::observation::Latency;
use ntp_proto::server::Counters;

/// Number of buckets of a [`Latency`].
const BUCKETS: usize = Latency::BUCKETS;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $from:expr;)*) => {
        /// Counts of the datagrams at one address by outcome, over all workers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
            /// Replies that could not be sent.
            pub send_errors: u64,
            /// Time from the arrival of a request to the departure of its reply.
            pub latency: Latency,
        }

        /// Counters of one worker. They only grow.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct SharedCounters {
            $($name: AtomicU64,)*
            send_errors: AtomicU64,
            latencies: [AtomicU64; BUCKETS],
            latency_sum: AtomicU64,
        }

        impl SharedCounters {
            pub(super) fn store(&self, counters: &Counters, send_errors: u64, latency: &Latency) {
                $(self.$name.store(($from)(counters), Relaxed);)*
                self.send_errors.store(send_errors, Relaxed);
                for (bucket, count) in self.latencies.iter().zip(latency.counts) {
                    bucket.store(count, Relaxed);
                }
                self.latency_sum.store(latency.sum_nanos, Relaxed);
            }
        }

        impl Totals {
            /// Adds the counters of one worker.
            pub fn add(&mut self, worker: &SharedCounters) {
                $(self.$name += worker.$name.load(Relaxed);)*
                self.send_errors += worker.send_errors.load(Relaxed);
                for (sum, count) in self.latency.counts.iter_mut().zip(&worker.latencies) {
                    *sum += count.load(Relaxed);
                }
                let sum = &mut self.latency.sum_nanos;
                *sum = sum.wrapping_add(worker.latency_sum.load(Relaxed));
            }
        }
    };
}

counters! {
    /// All datagrams received.
    received = |counters: &Counters| counters.received();
    /// Answered with the time.
    accepted = |counters: &Counters| counters.accepted;
    /// Refused with a DENY kiss or a crypto-NAK.
    denied = |counters: &Counters| counters.denied;
    /// Dropped without a reply.
    ignored = |counters: &Counters| counters.ignored;
    /// Over the rate limit.
    rate_limited = |counters: &Counters| counters.rate_limited;
    /// Refused with an NTSN kiss: the cookie or the authenticator is invalid.
    nts_nak = |counters: &Counters| counters.nts_nak;
    /// With NTS.
    nts_received = |counters: &Counters| counters.nts_received;
    /// Of these, answered with the time.
    nts_accepted = |counters: &Counters| counters.nts_accepted;
    /// Of these, refused with a DENY kiss.
    nts_denied = |counters: &Counters| counters.nts_denied;
    /// Of these, over the rate limit.
    nts_rate_limited = |counters: &Counters| counters.nts_rate_limited;
    /// Of those ignored, not an NTP packet.
    malformed = |counters: &Counters| counters.malformed;
    /// Of those accepted, with a symmetric key.
    authenticated = |counters: &Counters| counters.authenticated;
    /// Of those denied, with an unknown key or a wrong digest.
    bad_authentication = |counters: &Counters| counters.bad_authentication;
    /// Of those accepted, in interleaved mode.
    interleaved = |counters: &Counters| counters.interleaved;
    /// Of those rate limited, answered with a RATE kiss.
    rate_kisses = |counters: &Counters| counters.rate_kisses;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_over_workers() {
        let (first, second) = (SharedCounters::default(), SharedCounters::default());
        let counters = Counters {
            accepted: 3,
            ignored: 4,
            ..Counters::default()
        };
        let mut latency = Latency::default();
        latency.record(20_000);
        first.store(&counters, 1, &latency);
        first.store(&counters, 2, &latency);
        second.store(&counters, 5, &latency);
        let mut totals = Totals::default();
        totals.add(&first);
        totals.add(&second);
        assert_eq!((totals.received, totals.accepted), (14, 6));
        assert_eq!((totals.ignored, totals.send_errors), (8, 7));
        assert_eq!(
            (totals.latency.count(), totals.latency.sum_nanos),
            (2, 40_000)
        );
    }
}
