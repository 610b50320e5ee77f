//! Percentiles of millions of durations in constant memory.
//!
//! Buckets grow with what they hold: 32 to each doubling, so that a percentile is right within 1/32 of itself. Negative values, which
//! offsets may have, have a set of buckets of their own.

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
    /// Adds one.
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

    /// The value that `percent` of all are not above; `None` if there are none.
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

/// Small numbers have a bucket each; then `exponent` counts doublings, and the next bits say where in between.
fn bucket(nanos: u64) -> usize {
    let bits = u64::BITS - nanos.leading_zeros();
    let exponent = bits.saturating_sub(FINENESS.ilog2() + 1);
    (exponent * FINENESS) as usize + (nanos >> exponent) as usize
}

/// The middle of a bucket.
fn value(bucket: usize) -> i64 {
    let fineness = FINENESS as usize;
    let exponent = (bucket / fineness).saturating_sub(1);
    let base = (bucket - exponent * fineness) as i64;
    // The last buckets stand for durations that no run is long enough for.
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
    fn every_number_is_near_the_value_of_its_bucket() {
        for exponent in 0..50 {
            for nanos in [1u64 << exponent, (3 << exponent) / 2, (2 << exponent) - 1] {
                let told = value(bucket(nanos)).unsigned_abs();
                assert!(told.abs_diff(nanos) <= nanos / 32, "{nanos} became {told}");
            }
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_are_those_of_the_numbers() {
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
