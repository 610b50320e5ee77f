//! Counters. All of them count since the daemon (or the source) started and wrap at 2^64.

use crate::record;

record! {
    /// Packets exchanged with a source.
    #[derive(Copy, Eq)]
    PacketCounters {
        /// Requests sent.
        sent: u64,
        /// Datagrams received.
        received: u64,
        /// Replies with usable time.
        accepted: u64,
        /// Replies to our requests without usable time: kisses, NAKs, and servers that report no time.
        unusable: u64,
        /// Datagrams that answer no request of ours, or lack the required authentication.
        bogus: u64,
        /// Of the unusable: crypto-NAKs (RFC 5905 section 9.2), not authenticated themselves.
        crypto_naks: u64,
        /// Of the unusable: NTS NAKs (RFC 8915 section 5.7), not authenticated themselves.
        nts_naks: u64,
    }

    /// Requests at one listening address, by result. Each is counted once:
    /// `received` = `accepted` + `denied` + `ignored` + `rate_limited` + `nts_nak`.
    /// The names in JSON are those of ntpd-rs 1.9.
    #[derive(Copy, Eq)]
    ServerStatistics {
        /// All datagrams.
        #[serde(rename = "received_packets")]
        received: u64,
        /// Answered with time.
        #[serde(rename = "accepted_packets")]
        accepted: u64,
        /// Refused with a DENY kiss or, if authentication failed, a crypto-NAK.
        #[serde(rename = "denied_packets")]
        denied: u64,
        /// Dropped without a reply, for any reason but the rate limit.
        #[serde(rename = "ignored_packets")]
        ignored: u64,
        /// Over the rate limit, with or without a RATE kiss.
        #[serde(rename = "rate_limited_packets")]
        rate_limited: u64,
        /// Replies that could not be sent.
        #[serde(rename = "response_send_errors")]
        send_errors: u64,
        /// With NTS extension fields that could be checked.
        #[serde(rename = "nts_received_packets")]
        nts_received: u64,
        /// With NTS: answered with time.
        #[serde(rename = "nts_accepted_packets")]
        nts_accepted: u64,
        /// With NTS: refused with a kiss, by configuration.
        #[serde(rename = "nts_denied_packets")]
        nts_denied: u64,
        /// With NTS: over the rate limit.
        #[serde(rename = "nts_rate_limited_packets")]
        nts_rate_limited: u64,
        /// Refused with an NTSN kiss: cookie or authentication failed.
        #[serde(rename = "nts_nak_packets")]
        nts_nak: u64,
    }

    /// Subsets of the counters of `ServerStatistics`, how long replies take, and what was lost.
    #[derive(Copy, Eq)]
    ServerDetails {
        /// Of the ignored: no NTP packet, or a version that is not accepted.
        #[serde(rename = "malformed_packets")]
        malformed: u64,
        /// Of the accepted: authenticated with a symmetric key.
        #[serde(rename = "authenticated_packets")]
        authenticated: u64,
        /// Of the denied: unknown key or wrong digest.
        #[serde(rename = "bad_authentication_packets")]
        bad_authentication: u64,
        /// Of the accepted: in interleaved mode (RFC 9769).
        #[serde(rename = "interleaved_packets")]
        interleaved: u64,
        /// Of the rate limited: answered with a RATE kiss.
        rate_kisses: u64,
        /// Of the accepted: those of each protocol version, 1 to 5.
        #[serde(rename = "accepted_packets_by_version")]
        accepted_by_version: [u64; ServerDetails::VERSIONS],
        /// Of the ignored: of version 5, under no draft or one that is not spoken here.
        #[serde(rename = "unknown_draft_packets")]
        unknown_drafts: u64,
        /// Not among the received: lost before the server could receive them, nearly always because the receive
        /// buffer was full. Counted when the next datagram is received.
        dropped_by_kernel: u64,
        /// Latency of the accepted.
        latency: Latency,
    }

    /// Histogram of the time from the kernel's receive timestamp of a request to the moment in which its reply is
    /// sent.
    ///
    /// It shows whether the machine keeps up: a queue before the server or a delayed thread shows here before
    /// requests are lost. Clients' offsets do not suffer, because both timestamps are in the reply.
    ///
    /// Bounds double, so the bucket follows from the position of the highest bit. Histograms of several workers
    /// are added member by member.
    #[derive(Copy, Eq)]
    Latency {
        /// Number of replies in each bucket: above the bound before and up to its own; the last has no bound.
        counts: [u64; BOUNDS + 1],
        /// Sum of all times in nanoseconds.
        sum_nanos: u64,
    }

    /// Connections to the NTS key exchange server (RFC 8915 section 4). Each connection that has ended is
    /// counted in one of the results; a connection that a pool keeps open is counted for each request.
    #[derive(Copy, Eq)]
    KeStatistics {
        /// Connections accepted.
        connections: u64,
        /// Ended with keys and cookies sent.
        granted: u64,
        /// Requests of pools for the supported protocols and algorithms.
        pool_queries: u64,
        /// Answered with an error record.
        refused: u64,
        /// Timed out.
        timed_out: u64,
        /// Closed early because the connection limit was reached.
        evicted: u64,
        /// Broken connections and TLS failures.
        failed: u64,
    }
}

impl ServerDetails {
    /// Number of protocol versions.
    pub const VERSIONS: usize = 5;
}

impl ServerStatistics {
    /// Returns the number of datagrams by the sum of the results.
    pub const fn total(&self) -> u64 {
        self.accepted
            .wrapping_add(self.denied)
            .wrapping_add(self.ignored)
            .wrapping_add(self.rate_limited)
            .wrapping_add(self.nts_nak)
    }
}

/// Binary logarithm of the lowest histogram bound in nanoseconds: 8 us.
const LOWEST_BOUND_LOG2: u32 = 13;
/// Number of histogram bounds; the highest is 17 ms.
const BOUNDS: usize = 12;

impl Latency {
    /// Number of buckets.
    pub const BUCKETS: usize = BOUNDS + 1;

    /// Returns the bounds in seconds, in ascending order.
    pub fn bounds() -> impl Iterator<Item = f64> {
        (0..BOUNDS as u32).map(|index| (1u64 << (LOWEST_BOUND_LOG2 + index)) as f64 * 1e-9)
    }

    /// Counts a reply. A negative time (the clock was stepped in between) counts as zero.
    #[inline]
    pub fn record(&mut self, nanos: i64) {
        let nanos = nanos.max(0) as u64;
        let bits = u64::BITS - nanos.saturating_sub(1).leading_zeros();
        let bucket = (bits.saturating_sub(LOWEST_BOUND_LOG2) as usize).min(BOUNDS);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum_nanos = self.sum_nanos.wrapping_add(nanos);
    }

    /// Returns the number of replies.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the mean in seconds, or `None` without replies.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_nanos as f64 * 1e-9 / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_bucket_whose_bound_is_not_below_it() {
        let bounds: Vec<f64> = Latency::bounds().collect();
        assert!((bounds[0] - 8.192e-6).abs() < 1e-12 && (bounds[11] - 16.777_216e-3).abs() < 1e-9);
        for (nanos, bucket) in [
            (-5, 0),
            (0, 0),
            (1, 0),
            (8192, 0),
            (8193, 1),
            (16_384, 1),
            (16_385, 2),
            (16_777_216, 11),
            (16_777_217, 12),
            (i64::MAX, 12),
        ] {
            let mut latency = Latency::default();
            latency.record(nanos);
            assert_eq!(latency.counts[bucket], 1, "{nanos}");
            assert_eq!(latency.count(), 1);
        }
        assert_eq!(Latency::default().mean(), None);
    }
}
