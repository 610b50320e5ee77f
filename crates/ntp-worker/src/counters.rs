//! A worker's counters where others can read them.
//!
//! Only the worker writes, after each batch and without waiting for anyone; a reader may see a batch half counted, which
//! is put right a moment later. Each tally has cache lines of its own, or workers would slow each other down by counting.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ntp_control_api::observation::Latency;
use ntp_proto::server::Counters;

/// Counts of a [`Latency`].
const COUNTS: usize = Latency::PLACES;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $from:expr;)*) => {
        /// What became of the datagrams at an address.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
            /// Answers that could not be sent.
            pub send_errors: u64,
            /// How long answered requests were with us.
            pub latency: Latency,
        }

        /// The same of one worker, growing.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Tally {
            $($name: AtomicU64,)*
            send_errors: AtomicU64,
            latencies: [AtomicU64; COUNTS],
            latency_sum: AtomicU64,
        }

        impl Tally {
            pub(super) fn store(&self, counters: &Counters, send_errors: u64, latency: &Latency) {
                $(self.$name.store(($from)(counters), Relaxed);)*
                self.send_errors.store(send_errors, Relaxed);
                for (place, count) in self.latencies.iter().zip(latency.counts) {
                    place.store(count, Relaxed);
                }
                self.latency_sum.store(latency.sum_nanos, Relaxed);
            }
        }

        impl Totals {
            /// Adds what one worker has counted.
            pub fn add(&mut self, tally: &Tally) {
                $(self.$name += tally.$name.load(Relaxed);)*
                self.send_errors += tally.send_errors.load(Relaxed);
                for (sum, count) in self.latency.counts.iter_mut().zip(&tally.latencies) {
                    *sum += count.load(Relaxed);
                }
                let sum = &mut self.latency.sum_nanos;
                *sum = sum.wrapping_add(tally.latency_sum.load(Relaxed));
            }
        }
    };
}

counters! {
    /// All datagrams.
    received = |counters: &Counters| counters.received();
    /// Answered with time.
    accepted = |counters: &Counters| counters.accepted;
    /// Refused with a kiss.
    denied = |counters: &Counters| counters.denied;
    /// Dropped without an answer.
    ignored = |counters: &Counters| counters.ignored;
    /// Over the rate limit.
    rate_limited = |counters: &Counters| counters.rate_limited;
    /// Refused because their NTS could not be judged.
    nts_nak = |counters: &Counters| counters.nts_nak;
    /// With NTS.
    nts_received = |counters: &Counters| counters.nts_received;
    /// Of these, answered with time.
    nts_accepted = |counters: &Counters| counters.nts_accepted;
    /// Of these, refused with a kiss.
    nts_denied = |counters: &Counters| counters.nts_denied;
    /// Of these, over the rate limit.
    nts_rate_limited = |counters: &Counters| counters.nts_rate_limited;
    /// Of those ignored, no NTP packets.
    malformed = |counters: &Counters| counters.malformed;
    /// Of those accepted, with a symmetric key.
    authenticated = |counters: &Counters| counters.authenticated;
    /// Of those denied, with a key that is not known or a wrong digest.
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
        let (first, second) = (Tally::default(), Tally::default());
        let counters = Counters {
            accepted: 3,
            ignored: 4,
            ..Counters::default()
        };
        let mut latency = Latency::default();
        latency.note(20_000);
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
