//! One hypothesis: a Kalman filter that is sure how much the oscillator wanders and which noise law
//! holds.
//!
//! # State
//! `theta` phase (s, relative to the discipline's origin), `f` frequency (s/s), and for each source
//! in the joint state a bias `b_i` (s), the constant part of its path's asymmetry. Between samples
//!
//! ```text
//! theta += f dt        f += W * N(0, dt)        b_i stays
//! Q = W^2 [ dt^3/3  dt^2/2 ]
//!         [ dt^2/2  dt     ]
//! ```
//!
//! # Observation
//! A sample of source i taken `lag` seconds before the filter's time (exchanges overlap, so they do
//! not finish in the order of their midpoints) shows
//!
//! ```text
//! y = theta - lag f + b_i + e = H state + e
//! ```
//!
//! which neglects only the wander within the lag, a fraction of a second.
//!
//! # Why biases can be rank deficient
//! Phase and biases are never seen apart: `theta + b_i` is known well, each of them only as well as
//! the asymmetries are known beforehand. The covariance carries that by large terms that cancel.
//! All values here are seconds squared between 1e-18 and 1, so the cancellation leaves ten digits.
//! What would not survive it, a phase uncertain by hours, is never entered as a huge variance:
//! [`Hypothesis::refix_phase`] is the exact limit of such an update.
//!
//! Reading: D. Simon, "Optimal State Estimation", chapters 5 and 6; the symmetric rank-one form
//! keeps P = P^T bit by bit.

/// Sources in the joint state at most. With 16 the filters cost 110 KiB and 40 000 multiplications
/// per sample.
pub(super) const MAX_SLOTS: usize = 16;

const PHASE: usize = 0;
const FREQUENCY: usize = 1;
const FIRST_BIAS: usize = 2;
const DIMENSION: usize = FIRST_BIAS + MAX_SLOTS;

/// Below this no variance is believed: 1e-16 s in phase and 1e-16 in frequency are beyond every
/// stamp and oscillator.
const VARIANCE_FLOOR: f64 = 1e-32;

/// Which sample is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// The source's place in the joint state.
    pub(super) slot: usize,
    /// Seconds by which the sample is older than the filter.
    pub(super) lag: f64,
}

/// A Gaussian estimate of the whole state. Only the first `2 + slots` rows and columns are in use;
/// the rest is zero.
#[derive(Clone, Debug)]
pub(super) struct Hypothesis {
    /// Rows in use.
    size: usize,
    mean: [f64; DIMENSION],
    covariance: [[f64; DIMENSION]; DIMENSION],
}

impl Hypothesis {
    pub(super) const fn new() -> Self {
        Self {
            size: FIRST_BIAS,
            mean: [0.0; DIMENSION],
            covariance: [[0.0; DIMENSION]; DIMENSION],
        }
    }

    /// Forgets everything but a belief about the frequency; no source is in the state.
    pub(super) fn restart(&mut self, frequency: f64, variance: f64) {
        *self = Self::new();
        self.mean[FREQUENCY] = frequency;
        self.covariance[FREQUENCY][FREQUENCY] = variance;
    }

    pub(super) const fn phase(&self) -> f64 {
        self.mean[PHASE]
    }

    pub(super) const fn frequency(&self) -> f64 {
        self.mean[FREQUENCY]
    }

    pub(super) const fn bias(&self, slot: usize) -> f64 {
        self.mean[FIRST_BIAS + slot]
    }

    pub(super) const fn phase_variance(&self) -> f64 {
        self.covariance[PHASE][PHASE]
    }

    pub(super) const fn frequency_variance(&self) -> f64 {
        self.covariance[FREQUENCY][FREQUENCY]
    }

    pub(super) const fn bias_variance(&self, slot: usize) -> f64 {
        self.covariance[FIRST_BIAS + slot][FIRST_BIAS + slot]
    }

    pub(super) const fn phase_frequency_covariance(&self) -> f64 {
        self.covariance[PHASE][FREQUENCY]
    }

    /// Covariance of the frequency with what source `slot` shows, `theta + b`.
    pub(super) const fn link_frequency_covariance(&self, slot: usize) -> f64 {
        self.covariance[PHASE][FREQUENCY] + self.covariance[FIRST_BIAS + slot][FREQUENCY]
    }

    /// Moves on by `dt` >= 0 seconds, the oscillator wandering by `wander` s/s per sqrt(s).
    pub(super) fn predict(&mut self, dt: f64, wander: f64) {
        self.mean[PHASE] += dt * self.mean[FREQUENCY];
        for k in 0..self.size {
            self.covariance[PHASE][k] += dt * self.covariance[FREQUENCY][k];
        }
        for k in 0..self.size {
            self.covariance[k][PHASE] += dt * self.covariance[k][FREQUENCY];
        }
        let q = wander * wander;
        self.covariance[PHASE][PHASE] += q * dt * dt * dt / 3.0;
        self.covariance[PHASE][FREQUENCY] += q * dt * dt / 2.0;
        self.covariance[FREQUENCY][PHASE] += q * dt * dt / 2.0;
        self.covariance[FREQUENCY][FREQUENCY] += q * dt;
    }

    /// The phase that the sample should show.
    pub(super) fn expected(&self, sight: Sight) -> f64 {
        self.mean[PHASE] - sight.lag * self.mean[FREQUENCY] + self.mean[FIRST_BIAS + sight.slot]
    }

    /// P H^T: covariance of the whole state with what the sample shows.
    fn towards(&self, sight: Sight) -> [f64; DIMENSION] {
        let bias = FIRST_BIAS + sight.slot;
        let mut column = [0.0; DIMENSION];
        for (entry, row) in column.iter_mut().zip(&self.covariance).take(self.size) {
            *entry = row[PHASE] - sight.lag * row[FREQUENCY] + row[bias];
        }
        column
    }

    /// Variance of [`Self::expected`].
    pub(super) fn expected_variance(&self, sight: Sight) -> f64 {
        let (bias, lag) = (FIRST_BIAS + sight.slot, sight.lag);
        let [phase, frequency] = [&self.covariance[PHASE], &self.covariance[FREQUENCY]];
        let variance = phase[PHASE] + 2.0 * phase[bias] + self.covariance[bias][bias]
            - lag * (2.0 * (phase[FREQUENCY] + frequency[bias]) - lag * frequency[FREQUENCY]);
        variance.max(VARIANCE_FLOOR)
    }

    /// The update `x += g pull`, `P -= g g^T grip` with g = P H^T. For an innovation nu of variance
    /// S the ordinary Kalman update is pull = nu/S, grip = 1/S; a mixture of noise laws has others
    /// (see the bank).
    pub(super) fn update(&mut self, sight: Sight, pull: f64, grip: f64) {
        let gain = self.towards(sight);
        for i in 0..self.size {
            self.mean[i] += gain[i] * pull;
            for (k, other) in gain.iter().enumerate().take(self.size) {
                self.covariance[i][k] -= gain[i] * other * grip;
            }
        }
        self.mend();
    }

    /// The phase is lost and this sample, of variance `noise`, tells it anew: the limit of an
    /// update after an infinite inflation of the phase's variance. The clock takes the whole blame;
    /// biases and frequency keep what they know.
    pub(super) fn refix_phase(&mut self, sight: Sight, y: f64, noise: f64) {
        // theta = y + lag f - b - e
        let bias = FIRST_BIAS + sight.slot;
        self.refix(PHASE, y, noise, |row| {
            sight.lag * row[FREQUENCY] - row[bias]
        });
    }

    /// The same for the bias of the source: the server moved, the clock did not.
    pub(super) fn refix_bias(&mut self, sight: Sight, y: f64, noise: f64) {
        // b = y - theta + lag f - e
        self.refix(FIRST_BIAS + sight.slot, y, noise, |row| {
            sight.lag * row[FREQUENCY] - row[PHASE]
        });
    }

    /// Replaces component `lost` by `y + rest(state) - e`, where `rest` is linear and leaves out
    /// `lost`.
    fn refix(&mut self, lost: usize, y: f64, noise: f64, rest: impl Fn(&[f64; DIMENSION]) -> f64) {
        let mut column = [0.0; DIMENSION];
        for (k, entry) in column.iter_mut().enumerate().take(self.size) {
            *entry = if k == lost {
                0.0
            } else {
                rest(&self.covariance[k])
            };
        }
        let variance = rest(&column) + noise;
        self.mean[lost] = y + rest(&self.mean);
        for (row, entry) in self.covariance.iter_mut().zip(column).take(self.size) {
            row[lost] = entry;
        }
        self.covariance[lost] = column;
        self.covariance[lost][lost] = variance.max(noise);
    }

    /// Makes phase and frequency uncertain by these variances more.
    pub(super) fn widen(&mut self, phase: f64, frequency: f64) {
        self.covariance[PHASE][PHASE] += phase;
        self.covariance[FREQUENCY][FREQUENCY] += frequency;
    }

    /// Makes a bias uncertain by this variance more.
    pub(super) fn widen_bias(&mut self, slot: usize, variance: f64) {
        self.covariance[FIRST_BIAS + slot][FIRST_BIAS + slot] += variance;
    }

    /// Shifts the origin of phase.
    pub(super) fn shift_origin(&mut self, by: f64) {
        self.mean[PHASE] -= by;
    }

    /// A new source takes the next slot, its bias uncertain by `variance`.
    pub(super) fn enter(&mut self, variance: f64) {
        let row = self.size;
        self.size += 1;
        self.mean[row] = 0.0;
        self.covariance[row] = [0.0; DIMENSION];
        for line in &mut self.covariance {
            line[row] = 0.0;
        }
        self.covariance[row][row] = variance;
    }

    /// Admits that the path of `slot` may be asymmetric, which so far was taken into the phase:
    /// `theta + b` stays as well known as it is, but how it divides becomes uncertain by
    /// `variance`.
    pub(super) fn admit_asymmetry(&mut self, slot: usize, variance: f64) {
        let bias = FIRST_BIAS + slot;
        self.covariance[PHASE][PHASE] += variance;
        self.covariance[bias][bias] += variance;
        self.covariance[PHASE][bias] -= variance;
        self.covariance[bias][PHASE] -= variance;
    }

    /// Drops a source; the last one moves into its slot.
    pub(super) fn leave(&mut self, slot: usize) {
        let gone = FIRST_BIAS + slot;
        let last = self.size - 1;
        self.mean[gone] = self.mean[last];
        self.covariance[gone] = self.covariance[last];
        for line in &mut self.covariance {
            line[gone] = line[last];
            line[last] = 0.0;
        }
        self.mean[last] = 0.0;
        self.covariance[last] = [0.0; DIMENSION];
        self.size = last;
    }

    /// The path of `slot` changed: its bias is uncertain by `extra` more. Where that exceeds `cap`,
    /// the largest credible variance of the new path's asymmetry, the bias is drawn towards zero as
    /// if someone had told us so with just the certainty that brings it to the cap.
    pub(super) fn redraw_bias(&mut self, slot: usize, extra: f64, cap: f64) {
        let bias = FIRST_BIAS + slot;
        self.covariance[bias][bias] += extra;
        let variance = self.covariance[bias][bias];
        if variance <= cap || variance <= VARIANCE_FLOOR {
            return;
        }
        let share = (variance - cap) / variance;
        let mut gain = [0.0; DIMENSION];
        for (entry, row) in gain.iter_mut().zip(&self.covariance).take(self.size) {
            *entry = row[bias] / variance;
        }
        let pull = share * self.mean[bias];
        for i in 0..self.size {
            self.mean[i] -= gain[i] * pull;
            for (k, other) in gain.iter().enumerate().take(self.size) {
                self.covariance[i][k] -= gain[i] * other * (share * variance);
            }
        }
        self.mend();
    }

    /// Rounding must not make a variance negative.
    fn mend(&mut self) {
        for k in 0..self.size {
            if self.covariance[k][k] < VARIANCE_FLOOR {
                self.covariance[k][k] = VARIANCE_FLOOR;
            }
        }
    }

    /// Whether arithmetic has held: everything is finite, and the frequency is one that a clock can have. After absurd
    /// input rounding can take from a covariance what makes it one, and the frequency is where that explodes.
    pub(super) fn is_sound(&self) -> bool {
        let finite = |row: &[f64; DIMENSION]| row.iter().take(self.size).all(|x| x.is_finite());
        finite(&self.mean)
            && self.covariance.iter().take(self.size).all(finite)
            && self.mean[FREQUENCY].abs() < 1.0
            && self.covariance[FREQUENCY][FREQUENCY] < 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGHT: Sight = Sight { slot: 0, lag: 0.0 };

    fn two_sources() -> Hypothesis {
        let mut filter = Hypothesis::new();
        filter.restart(1e-5, 1e-10);
        filter.enter(0.0);
        filter.refix_phase(SIGHT, 0.25, 1e-8);
        filter.admit_asymmetry(0, 1e-6);
        filter.enter(4e-6);
        filter
    }

    #[test]
    fn admitting_asymmetry_leaves_the_sum_known() {
        let filter = two_sources();
        assert!((filter.expected_variance(SIGHT) - 1e-8).abs() < 1e-20);
        assert!((filter.phase_variance() - 1.01e-6).abs() < 1e-20);
        // The second source must then show the phase within both asymmetries.
        let second = Sight { slot: 1, lag: 0.0 };
        assert!((filter.expected_variance(second) - 5.01e-6).abs() < 1e-18);
    }

    #[test]
    fn refixing_is_the_limit_of_a_hugely_uncertain_update() {
        let sight = Sight { slot: 1, lag: 0.5 };
        let mut inflated = two_sources();
        inflated.predict(16.0, 1e-9);
        let mut refixed = inflated.clone();
        refixed.refix_phase(sight, 0.5, 1e-8);
        inflated.widen(1e3, 0.0);
        let variance = inflated.expected_variance(sight) + 1e-8;
        let innovation = 0.5 - inflated.expected(sight);
        inflated.update(sight, innovation / variance, 1.0 / variance);
        for i in 0..4 {
            assert!((refixed.mean[i] - inflated.mean[i]).abs() < 1e-8);
            for k in 0..4 {
                assert!((refixed.covariance[i][k] - inflated.covariance[i][k]).abs() < 1e-11);
            }
        }
    }

    #[test]
    fn a_late_sample_counts_for_its_own_time() {
        let mut filter = two_sources();
        filter.predict(10.0, 1e-9);
        let late = Sight { slot: 0, lag: 10.0 };
        assert!((filter.expected(late) - 0.25).abs() < 1e-12);
        assert!((filter.expected_variance(late) - 1e-8).abs() < 1e-12);
    }

    #[test]
    fn leaving_moves_the_last_source_down() {
        let mut filter = two_sources();
        filter.enter(9e-6);
        filter.leave(0);
        assert_eq!(filter.size, 4);
        assert_eq!(filter.bias_variance(0), 9e-6);
        assert_eq!(filter.bias_variance(1), 4e-6);
        assert_eq!(filter.covariance[4], [0.0; DIMENSION]);
    }

    #[test]
    fn returning_to_the_home_path_returns_the_bias_to_zero() {
        let mut filter = two_sources();
        filter.mean[FIRST_BIAS] = 3e-3;
        filter.redraw_bias(0, 1e-6, 0.0);
        assert!(filter.bias(0).abs() < 1e-12);
        assert!(filter.bias_variance(0) < 1e-20);
    }

    #[test]
    fn updates_keep_the_covariance_symmetric_and_positive() {
        let mut filter = two_sources();
        for step in 0..10_000 {
            filter.predict(1.0, 1e-9);
            let sight = Sight {
                slot: step % 2,
                lag: 0.1,
            };
            let variance = filter.expected_variance(sight) + 1e-18;
            filter.update(sight, 1e-9 / variance, 1.0 / variance);
        }
        for i in 0..4 {
            assert!(filter.covariance[i][i] > 0.0);
            for k in 0..4 {
                assert_eq!(filter.covariance[i][k], filter.covariance[k][i]);
            }
        }
    }
}
