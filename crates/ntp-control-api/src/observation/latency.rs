//! How long requests are with the server: from the kernel's receive stamp to when the answer leaves, as a histogram.
//!
//! A client's figures do not suffer from it, for both ends are in the answer. It shows whether the machine keeps up: a queue before the server, or a thread that
//! is kept from running, shows here before requests are lost.
//!
//! A count belongs to the first bound that is not below it. Bounds double, so that the place is found with the position of the highest bit.

use serde::{Deserialize, Serialize};

/// Binary logarithm of the lowest bound in nanoseconds: 8 us.
const LOWEST: u32 = 13;
/// Bounds: up to 17 ms. What takes longer is counted as more than that.
const BOUNDS: usize = 12;

/// The histogram. Sums of several are those of their members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Answers by how long they took: for each of [`Latency::bounds`] those up to it and above the one before, and at the end those above all.
    pub counts: [u64; Self::PLACES],
    /// The sum of all times in nanoseconds.
    pub sum_nanos: u64,
}

impl Latency {
    /// How many counts there are.
    pub const PLACES: usize = BOUNDS + 1;

    /// The bounds in seconds.
    pub fn bounds() -> impl Iterator<Item = f64> {
        (0..BOUNDS as u32).map(|index| (1u64 << (LOWEST + index)) as f64 * 1e-9)
    }

    /// Counts an answer. One that left before its request came, by clocks that were set in between, took no time.
    #[inline]
    pub fn note(&mut self, nanos: i64) {
        let nanos = nanos.max(0) as u64;
        let bits = u64::BITS - nanos.saturating_sub(1).leading_zeros();
        let place = (bits.saturating_sub(LOWEST) as usize).min(BOUNDS);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum_nanos = self.sum_nanos.wrapping_add(nanos);
    }

    /// All answers.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean in seconds; None without answers.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_nanos as f64 * 1e-9 / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_at_the_first_bound_that_is_not_below_it() {
        let bounds: Vec<f64> = Latency::bounds().collect();
        assert!((bounds[0] - 8.192e-6).abs() < 1e-12 && (bounds[11] - 16.777_216e-3).abs() < 1e-9);
        for (nanos, place) in [
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
            latency.note(nanos);
            assert_eq!(latency.counts[place], 1, "{nanos}");
            assert_eq!(latency.count(), 1);
        }
        assert_eq!(Latency::default().mean(), None);
    }
}
