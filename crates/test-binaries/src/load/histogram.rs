//! Percentiles of millions of durations in constant memory.
//!
//! Bucket widths are proportional to the values: 32 buckets per doubling, so that a percentile has
//! a relative error of at most 1/32. Negative values, such as offsets, have a separate set of
//! buckets.

use ntp_time::NtpDuration;

/// Buckets per doubling.
const FINENESS: u32 = 32;
const BUCKETS: usize = (64 * FINENESS) as usize;

/// A distribution of durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    negative: Vec<u64>,
    positive: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            negative: vec![0; BUCKETS],
            positive: vec![0; BUCKETS],
            count: 0,
        }
    }
}

impl Histogram {
    /// Adds a duration.
    pub fn add(&mut self, duration: NtpDuration) {
        let nanos = duration.as_nanos();
        let side = if nanos < 0 {
            &mut self.negative
        } else {
            &mut self.positive
        };
        side[bucket(nanos.unsigned_abs())] += 1;
        self.count += 1;
    }

    /// The `percent` percentile; `None` if the histogram is empty.
    pub fn percentile(&self, percent: f64) -> Option<NtpDuration> {
        if self.count == 0 {
            return None;
        }
        let wanted = (self.count as f64 * percent / 100.0).ceil() as u64;
        let wanted = wanted.clamp(1, self.count);
        let negative = self.negative.iter().enumerate().rev();
        let negative = negative.map(|(bucket, count)| (-value(bucket), count));
        let positive = self.positive.iter().enumerate();
        let positive = positive.map(|(bucket, count)| (value(bucket), count));
        let mut seen = 0;
        for (value, count) in negative.chain(positive) {
            seen += count;
            if seen >= wanted {
                return Some(NtpDuration::from_nanos(value));
            }
        }
        None
    }
}

/// Index of the bucket: small numbers have one bucket each; then `exponent` counts doublings, and
/// the next bits subdivide them.
fn bucket(nanos: u64) -> usize {
    let bits = u64::BITS - nanos.leading_zeros();
    let exponent = bits.saturating_sub(FINENESS.ilog2() + 1);
    (exponent * FINENESS) as usize + (nanos >> exponent) as usize
}

/// Middle of a bucket.
fn value(bucket: usize) -> i64 {
    let fineness = FINENESS as usize;
    let exponent = (bucket / fineness).saturating_sub(1);
    let base = (bucket - exponent * fineness) as i64;
    // The last buckets are beyond the length of any run.
    let exponent = exponent.min(56) as u32;
    (base << exponent) + (1i64 << exponent) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(histogram: &Histogram, percent: f64) -> i64 {
        histogram.percentile(percent).unwrap().as_nanos()
    }

    #[test]
    fn the_relative_error_of_a_bucket_is_at_most_one_32nd() {
        for exponent in 0..50 {
            for nanos in [1u64 << exponent, (3 << exponent) / 2, (2 << exponent) - 1] {
                let middle = value(bucket(nanos)).unsigned_abs();
                assert!(
                    middle.abs_diff(nanos) <= nanos / 32,
                    "{nanos} became {middle}"
                );
            }
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_are_within_the_relative_error() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), None);
        for number in -500..=499 {
            histogram.add(NtpDuration::from_micros(number));
        }
        assert!(nanos(&histogram, 50.0).abs() <= 1_100);
        assert!((nanos(&histogram, 99.0) - 489_000).abs() < 489_000 / 32);
        assert!((nanos(&histogram, 1.0) + 491_000).abs() < 491_000 / 32);
        assert!((nanos(&histogram, 100.0) - 499_000).abs() < 499_000 / 32);
    }
}
