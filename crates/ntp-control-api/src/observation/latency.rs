//! Histogram of the server's latency: from the kernel's receive timestamp to the transmit timestamp
//! of the reply.
//!
//! Latency does not affect the offset that a client measures, because the reply contains both
//! timestamps. It shows whether the machine keeps up: a full receive queue or a delayed thread
//! shows here before requests are lost.
//!
//! A latency is counted in the first bucket whose bound is not below it. Bounds double, so the
//! position of the highest bit gives the bucket.

use serde::{Deserialize, Serialize};

/// Binary logarithm of the lowest bound in nanoseconds: about 8 us.
const LOWEST: u32 = 13;
/// Number of bounds, the highest about 17 ms; one more bucket counts what is above.
const BOUNDS: usize = 12;

/// A latency histogram. To add histograms, add their members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of replies in each bucket: one for each of [`Latency::bounds`], and a last one above
    /// them all. Not cumulative.
    pub counts: [u64; Self::BUCKETS],
    /// Sum of all latencies in nanoseconds.
    pub sum_nanos: u64,
}

impl Latency {
    /// Number of buckets.
    pub const BUCKETS: usize = BOUNDS + 1;

    /// Upper bounds of the buckets in seconds, without that of the last.
    pub fn bounds() -> impl Iterator<Item = f64> {
        (0..BOUNDS as u32).map(|index| (1u64 << (LOWEST + index)) as f64 * 1e-9)
    }

    /// Counts a reply. A negative latency, caused by a clock step in between, counts as zero.
    #[inline]
    pub fn record(&mut self, nanos: i64) {
        let nanos = nanos.max(0) as u64;
        let bits = u64::BITS - nanos.saturating_sub(1).leading_zeros();
        let bucket = (bits.saturating_sub(LOWEST) as usize).min(BOUNDS);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum_nanos = self.sum_nanos.wrapping_add(nanos);
    }

    /// Number of replies.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Mean latency in seconds; `None` without replies.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_nanos as f64 * 1e-9 / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_in_the_first_bucket_whose_bound_is_not_below_it() {
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
