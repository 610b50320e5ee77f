//! Medians and their confidence intervals.
//!
//! Measurements on a shared machine are not normally distributed: most are close together, some
//! are far too high. These do not affect the median. Its confidence interval depends on the
//! order of the values only: for any distribution, the true median is between the values of
//! rank `n/2 - 0.98 sqrt(n)` and `n/2 + 0.98 sqrt(n)` with a probability of 95 %.

/// A median and its interval of 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Figure {
    /// Computes the figure of `values`; `None` if there are none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (first, last) = (*values.first()?, *values.last()?);
        let half = 0.98 * (count as f64).sqrt();
        let middle = count as f64 / 2.0;
        let low = (middle - half).floor().max(0.0) as usize;
        let high = (middle + half).ceil() as usize;
        Some(Self {
            median: (values.get((count - 1) / 2)? + values.get(count / 2)?) / 2.0,
            low: values.get(low).copied().unwrap_or(first),
            high: values.get(high).copied().unwrap_or(last),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_move_neither_median_nor_interval() {
        let quiet = (0..100).map(f64::from);
        let figure = Figure::of(quiet).unwrap();
        assert!((figure.median - 49.5).abs() < 1e-9);
        assert_eq!((figure.low, figure.high), (40.0, 60.0));
        let disturbed = (0..100).map(|n| if n > 90 { 1e9 } else { f64::from(n) });
        assert_eq!(Figure::of(disturbed), Some(figure));
    }

    #[test]
    fn few_values_give_the_whole_range() {
        assert_eq!(Figure::of([]), None);
        let figure = Figure::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((figure.low, figure.median, figure.high), (1.0, 2.0, 3.0));
    }
}
