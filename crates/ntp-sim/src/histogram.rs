//! Distribution of a magnitude in constant memory: quantiles of millions of values to two percent.
//!
//! A histogram with bins of equal ratio from a picosecond up, 32 for each factor of two.

/// Bins per factor of two: each is 2.2 % wide.
const BINS_PER_OCTAVE: f64 = 32.0;
/// Upper end of the first bin, seconds.
const SMALLEST: f64 = 1e-12;
/// 2^58 picoseconds are three days.
const BINS: usize = 58 * 32;

/// Distribution of a positive quantity.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    bins: Vec<u32>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            bins: vec![0; BINS],
            count: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, value: f64) {
        let bin = ((value.abs() / SMALLEST).log2() * BINS_PER_OCTAVE).max(0.0);
        self.bins[(bin as usize).min(BINS - 1)] += 1;
        self.count += 1;
    }

    /// Returns the value that this share of all values does not exceed; zero if there are none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = share * self.count as f64;
        let mut seen = 0;
        for (bin, count) in self.bins.iter().enumerate() {
            seen += u64::from(*count);
            if seen > 0 && seen as f64 >= wanted {
                return SMALLEST * ((bin as f64 + 0.5) / BINS_PER_OCTAVE).exp2();
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_two_percent() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0.0);
        (1..=10_000).for_each(|value| histogram.add(f64::from(value) * 1e-7));
        for share in [0.01, 0.5, 0.99] {
            let found = histogram.quantile(share) / (share * 1e-3);
            assert!((found - 1.0).abs() < 0.02, "{share}: {found}");
        }
    }

    #[test]
    fn extremes_are_kept_at_the_ends() {
        let mut histogram = Histogram::default();
        histogram.add(0.0);
        assert!(histogram.quantile(1.0) < 2e-12);
        histogram.add(1e9);
        assert!(histogram.quantile(1.0) > 1e5);
    }
}
