//! Ring of the newest values of a series, and their median.
//!
//! Path and noise models use medians of recent values: a median forgets an outlier entirely, where
//! a mean would keep it for its whole memory. The capacity is fixed, so nothing is allocated; with
//! 32 values a sort is cheaper than a heap or a tree.

/// The newest `N` values of a series, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Ring<const N: usize> {
    values: [f64; N],
    len: usize,
}

impl<const N: usize> Ring<N> {
    pub(super) const fn new() -> Self {
        Self {
            values: [0.0; N],
            len: 0,
        }
    }

    /// Appends a value, and drops the oldest one if the ring is full.
    pub(super) fn push(&mut self, value: f64) {
        if self.len == N {
            self.values.rotate_left(1);
            self.values[N - 1] = value;
        } else {
            self.values[self.len] = value;
            self.len += 1;
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len == N
    }

    pub(super) fn as_slice(&self) -> &[f64] {
        &self.values[..self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f64] {
        &mut self.values[..self.len]
    }

    /// Splits the values into the older ones and the newest `newest`.
    pub(super) fn split(&self, newest: usize) -> (&[f64], &[f64]) {
        self.as_slice().split_at(self.len.saturating_sub(newest))
    }

    pub(super) fn median(&self) -> Option<f64> {
        median::<N>(self.as_slice())
    }
}

/// Median of at most `N` values (further ones are ignored): the mean of the middle two if their
/// number is even. Returns `None` without values.
pub(super) fn median<const N: usize>(values: &[f64]) -> Option<f64> {
    let len = values.len().min(N);
    let mut sorted = [0.0; N];
    let sorted = &mut sorted[..len];
    sorted.copy_from_slice(&values[..len]);
    if len == 0 {
        return None;
    }
    let (lower, upper, _) = sorted.select_nth_unstable_by(len / 2, f64::total_cmp);
    let below = || lower.iter().copied().max_by(f64::total_cmp);
    Some(match below() {
        Some(below) if len.is_multiple_of(2) => 0.5 * (below + *upper),
        _ => *upper,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_drops_the_oldest_value() {
        let mut ring = Ring::<4>::new();
        assert_eq!(ring.median(), None);
        for value in [9.0, 1.0, 3.0, 2.0, 8.0] {
            ring.push(value);
        }
        assert_eq!(ring.as_slice(), [1.0, 3.0, 2.0, 8.0]);
        assert_eq!(ring.median(), Some(2.5));
        assert_eq!(
            ring.split(3),
            ([1.0].as_slice(), [3.0, 2.0, 8.0].as_slice())
        );
    }

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_value() {
        assert_eq!(median::<8>(&[5.0, -1.0, 2.0]), Some(2.0));
    }
}
