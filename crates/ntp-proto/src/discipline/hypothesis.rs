//! Hypothesis: a Kalman filter that assumes a wander of the oscillator and a noise law.
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
//! # Rank-deficient biases
//! Phase and biases are only observed together: `theta + b_i` is known well, each of them only as
//! well as the prior of the asymmetries. The covariance expresses that by large terms that cancel.
//! All values are seconds squared between 1e-18 and 1, so the cancellation leaves ten digits. A
//! phase uncertain by hours would not survive it and is never entered as a huge variance:
//! [`Hypothesis::reset_phase`] is the exact limit of such an update.
//!
//! Reading: D. Simon, "Optimal State Estimation", chapters 5 and 6; the symmetric rank-one form
//! keeps P = P^T bit by bit.

/// Maximum number of sources in the joint state. With 16 the filters take 110 KiB and 40 000
/// multiplications per sample.
pub(super) const MAX_SLOTS: usize = 16;

const PHASE: usize = 0;
const FREQUENCY: usize = 1;
const FIRST_BIAS: usize = 2;
const DIMENSION: usize = FIRST_BIAS + MAX_SLOTS;

/// Smallest variance: 1e-16 s in phase and 1e-16 in frequency are beyond every timestamp and
/// oscillator.
const VARIANCE_FLOOR: f64 = 1e-32;

/// Selects the row of the observation matrix: which source was observed, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct ObservationIndex {
    /// The source's position in the joint state.
    pub(super) slot: usize,
    /// Age of the sample relative to the filter's time, seconds.
    pub(super) lag: f64,
}

/// Gaussian estimate of the whole state. Only the first `2 + slots` rows and columns are used; the
/// rest is zero.
#[derive(Clone, Debug)]
pub(super) struct Hypothesis {
    /// Number of rows in use.
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

    /// Resets the filter to a frequency with a variance, without sources.
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

    /// Covariance of the frequency with `theta + b` of the source in `slot`.
    pub(super) const fn link_frequency_covariance(&self, slot: usize) -> f64 {
        self.covariance[PHASE][FREQUENCY] + self.covariance[FIRST_BIAS + slot][FREQUENCY]
    }

    /// Predicts the state by `dt` >= 0 seconds; `wander` in s/s per sqrt(s).
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

    /// Predicted phase of the sample.
    pub(super) fn predicted(&self, observation: ObservationIndex) -> f64 {
        self.mean[PHASE] - observation.lag * self.mean[FREQUENCY]
            + self.mean[FIRST_BIAS + observation.slot]
    }

    /// `P H^T`: covariance of the whole state with the predicted phase of the sample.
    fn cross_covariance(&self, observation: ObservationIndex) -> [f64; DIMENSION] {
        let bias = FIRST_BIAS + observation.slot;
        let mut column = [0.0; DIMENSION];
        for (entry, row) in column.iter_mut().zip(&self.covariance).take(self.size) {
            *entry = row[PHASE] - observation.lag * row[FREQUENCY] + row[bias];
        }
        column
    }

    /// Variance of [`Self::predicted`].
    pub(super) fn predicted_variance(&self, observation: ObservationIndex) -> f64 {
        let (bias, lag) = (FIRST_BIAS + observation.slot, observation.lag);
        let [phase, frequency] = [&self.covariance[PHASE], &self.covariance[FREQUENCY]];
        let variance = phase[PHASE] + 2.0 * phase[bias] + self.covariance[bias][bias]
            - lag * (2.0 * (phase[FREQUENCY] + frequency[bias]) - lag * frequency[FREQUENCY]);
        variance.max(VARIANCE_FLOOR)
    }

    /// Applies the update `x += g score`, `P -= g g^T information` with `g = P H^T`. The ordinary
    /// Kalman update for an innovation nu of variance S has score = nu/S and information = 1/S; a
    /// mixture of noise laws has others (see the bank).
    pub(super) fn update(&mut self, observation: ObservationIndex, score: f64, information: f64) {
        let gain = self.cross_covariance(observation);
        for i in 0..self.size {
            self.mean[i] += gain[i] * score;
            for (k, other) in gain.iter().enumerate().take(self.size) {
                self.covariance[i][k] -= gain[i] * other * information;
            }
        }
        self.clamp_variances();
    }

    /// Forgets the phase and sets it from this sample of variance `noise`: the limit of an update
    /// after an infinite inflation of the phase's variance. Biases and frequency are kept.
    pub(super) fn reset_phase(&mut self, observation: ObservationIndex, y: f64, noise: f64) {
        // theta = y + lag f - b - e
        let bias = FIRST_BIAS + observation.slot;
        self.reset_component(PHASE, y, noise, |row| {
            observation.lag * row[FREQUENCY] - row[bias]
        });
    }

    /// Does the same for the bias of the source, when the server moved and not the clock.
    pub(super) fn reset_bias(&mut self, observation: ObservationIndex, y: f64, noise: f64) {
        // b = y - theta + lag f - e
        self.reset_component(FIRST_BIAS + observation.slot, y, noise, |row| {
            observation.lag * row[FREQUENCY] - row[PHASE]
        });
    }

    /// Replaces component `lost` by `y + rest(state) - e`, where `rest` is linear and does not
    /// depend on `lost`.
    fn reset_component(
        &mut self,
        lost: usize,
        y: f64,
        noise: f64,
        rest: impl Fn(&[f64; DIMENSION]) -> f64,
    ) {
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

    /// Adds to the variances of phase and frequency.
    pub(super) fn widen(&mut self, phase: f64, frequency: f64) {
        self.covariance[PHASE][PHASE] += phase;
        self.covariance[FREQUENCY][FREQUENCY] += frequency;
    }

    /// Moves the bias in `slot` by `by` seconds, which are known exactly, and then the phase by
    /// `centre`, which all biases lose.
    pub(super) fn move_source(&mut self, slot: usize, by: f64, centre: f64) {
        self.mean[FIRST_BIAS + slot] += by;
        self.mean[PHASE] += centre;
        for bias in &mut self.mean[FIRST_BIAS..self.size] {
            *bias -= centre;
        }
    }

    /// Adds to the variance of a bias.
    pub(super) fn widen_bias(&mut self, slot: usize, variance: f64) {
        self.covariance[FIRST_BIAS + slot][FIRST_BIAS + slot] += variance;
    }

    /// Moves the origin of the phase by `by` seconds.
    pub(super) fn shift_origin(&mut self, by: f64) {
        self.mean[PHASE] -= by;
    }

    /// Moves the combination `terms` of the biases (slots and their weights) from all biases to the
    /// phase: phase plus bias stay, and so do the variances of these sums.
    ///
    /// With the combination c = sum w b, r = cov(c, state) and s = var(c) the new covariances are
    /// cov(phase + c, ...) and cov(bias - c, ...), written out.
    pub(super) fn move_centre(&mut self, terms: &[(usize, f64)]) {
        let shift: f64 = terms
            .iter()
            .map(|(slot, weight)| weight * self.bias(*slot))
            .sum();
        self.mean[PHASE] += shift;
        for bias in &mut self.mean[FIRST_BIAS..self.size] {
            *bias -= shift;
        }
        let mut r = [0.0; DIMENSION];
        for (slot, weight) in terms {
            let line = &self.covariance[FIRST_BIAS + slot];
            for (sum, entry) in r.iter_mut().zip(line).take(self.size) {
                *sum += weight * entry;
            }
        }
        let s: f64 = terms
            .iter()
            .map(|(slot, weight)| weight * r[FIRST_BIAS + slot])
            .sum();
        self.covariance[PHASE][PHASE] += 2.0 * r[PHASE] + s;
        self.covariance[PHASE][FREQUENCY] += r[FREQUENCY];
        self.covariance[FREQUENCY][PHASE] = self.covariance[PHASE][FREQUENCY];
        for i in FIRST_BIAS..self.size {
            self.covariance[PHASE][i] += r[i] - r[PHASE] - s;
            self.covariance[i][PHASE] = self.covariance[PHASE][i];
            self.covariance[FREQUENCY][i] -= r[FREQUENCY];
            self.covariance[i][FREQUENCY] = self.covariance[FREQUENCY][i];
            for k in FIRST_BIAS..self.size {
                // This order of terms keeps the matrix symmetric bit by bit.
                self.covariance[i][k] -= (r[i] + r[k]) - s;
            }
        }
        self.clamp_variances();
    }

    /// Adds a source in the next slot, with the given bias variance.
    pub(super) fn add_source(&mut self, variance: f64) {
        let row = self.size;
        self.size += 1;
        self.mean[row] = 0.0;
        self.covariance[row] = [0.0; DIMENSION];
        for line in &mut self.covariance {
            line[row] = 0.0;
        }
        self.covariance[row][row] = variance;
    }

    /// Moves the asymmetry of the path of `slot`, so far part of the phase, to the bias: the
    /// variance of `theta + b` stays, but its division between both becomes uncertain by
    /// `variance`.
    pub(super) fn split_asymmetry(&mut self, slot: usize, variance: f64) {
        let bias = FIRST_BIAS + slot;
        self.covariance[PHASE][PHASE] += variance;
        self.covariance[bias][bias] += variance;
        self.covariance[PHASE][bias] -= variance;
        self.covariance[bias][PHASE] -= variance;
    }

    /// Moves the bias of `slot` to the phase, the reverse of [`Self::split_asymmetry`]: `theta + b`
    /// and its variance stay, and the bias is zero and certain.
    pub(super) fn merge_bias(&mut self, slot: usize) {
        let bias = FIRST_BIAS + slot;
        self.mean[PHASE] += self.mean[bias];
        self.mean[bias] = 0.0;
        for k in 0..self.size {
            self.covariance[PHASE][k] += self.covariance[bias][k];
        }
        for line in &mut self.covariance {
            line[PHASE] += line[bias];
            line[bias] = 0.0;
        }
        self.covariance[bias] = [0.0; DIMENSION];
    }

    /// Removes a source; the last one moves into its slot.
    pub(super) fn remove_source(&mut self, slot: usize) {
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

    /// Adds `extra` to the variance of the bias of `slot`, after a path change. If the variance
    /// then exceeds `cap`, the largest credible variance of the new path's asymmetry, the filter is
    /// updated with an observation of bias zero that is just certain enough to bring it to `cap`.
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
        let score = share * self.mean[bias];
        for i in 0..self.size {
            self.mean[i] -= gain[i] * score;
            for (k, other) in gain.iter().enumerate().take(self.size) {
                self.covariance[i][k] -= gain[i] * other * (share * variance);
            }
        }
        self.clamp_variances();
    }

    /// Keeps rounding errors from making a variance negative.
    fn clamp_variances(&mut self) {
        for k in 0..self.size {
            if self.covariance[k][k] < VARIANCE_FLOOR {
                self.covariance[k][k] = VARIANCE_FLOOR;
            }
        }
    }

    /// Whether all values are finite and the frequency is possible for a clock. After absurd input,
    /// rounding can make a covariance indefinite; the frequency then grows without limit.
    pub(super) fn is_sound(&self) -> bool {
        // Without an early end the compiler can test several values at once.
        let finite = |row: &[f64; DIMENSION]| {
            let row = row.iter().take(self.size);
            row.fold(true, |all, x| all & x.is_finite())
        };
        finite(&self.mean)
            && self.covariance.iter().take(self.size).all(finite)
            && self.mean[FREQUENCY].abs() < 1.0
            && self.covariance[FREQUENCY][FREQUENCY] < 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBSERVATION: ObservationIndex = ObservationIndex { slot: 0, lag: 0.0 };

    fn two_sources() -> Hypothesis {
        let mut filter = Hypothesis::new();
        filter.restart(1e-5, 1e-10);
        filter.add_source(0.0);
        filter.reset_phase(OBSERVATION, 0.25, 1e-8);
        filter.split_asymmetry(0, 1e-6);
        filter.add_source(4e-6);
        filter
    }

    #[test]
    fn splitting_asymmetry_keeps_the_variance_of_the_sum() {
        let filter = two_sources();
        assert!((filter.predicted_variance(OBSERVATION) - 1e-8).abs() < 1e-20);
        assert!((filter.phase_variance() - 1.01e-6).abs() < 1e-20);
        // The second source must then show the phase within both asymmetries.
        let second = ObservationIndex { slot: 1, lag: 0.0 };
        assert!((filter.predicted_variance(second) - 5.01e-6).abs() < 1e-18);
    }

    #[test]
    fn resetting_the_phase_is_the_limit_of_a_very_uncertain_update() {
        let observation = ObservationIndex { slot: 1, lag: 0.5 };
        let mut inflated = two_sources();
        inflated.predict(16.0, 1e-9);
        let mut reset = inflated.clone();
        reset.reset_phase(observation, 0.5, 1e-8);
        inflated.widen(1e3, 0.0);
        let variance = inflated.predicted_variance(observation) + 1e-8;
        let innovation = 0.5 - inflated.predicted(observation);
        inflated.update(observation, innovation / variance, 1.0 / variance);
        for i in 0..4 {
            assert!((reset.mean[i] - inflated.mean[i]).abs() < 1e-8);
            for k in 0..4 {
                assert!((reset.covariance[i][k] - inflated.covariance[i][k]).abs() < 1e-11);
            }
        }
    }

    #[test]
    fn a_late_sample_is_compared_at_its_own_time() {
        let mut filter = two_sources();
        filter.predict(10.0, 1e-9);
        let late = ObservationIndex { slot: 0, lag: 10.0 };
        assert!((filter.predicted(late) - 0.25).abs() < 1e-12);
        assert!((filter.predicted_variance(late) - 1e-8).abs() < 1e-12);
    }

    #[test]
    fn removing_a_source_moves_the_last_one_into_its_slot() {
        let mut filter = two_sources();
        filter.add_source(9e-6);
        filter.remove_source(0);
        assert_eq!(filter.size, 4);
        assert_eq!(filter.bias_variance(0), 9e-6);
        assert_eq!(filter.bias_variance(1), 4e-6);
        assert_eq!(filter.covariance[4], [0.0; DIMENSION]);
    }

    #[test]
    fn a_cap_of_zero_resets_the_bias_to_zero() {
        let mut filter = two_sources();
        filter.mean[FIRST_BIAS] = 3e-3;
        filter.redraw_bias(0, 1e-6, 0.0);
        assert!(filter.bias(0).abs() < 1e-12);
        assert!(filter.bias_variance(0) < 1e-20);
    }

    #[test]
    fn moving_the_centre_keeps_the_sums() {
        let mut filter = two_sources();
        filter.mean[FIRST_BIAS] = 2e-3;
        filter.mean[FIRST_BIAS + 1] = -1e-3;
        let other = ObservationIndex { slot: 1, lag: 0.0 };
        let sums = |filter: &Hypothesis| {
            [OBSERVATION, other].map(|of| (filter.predicted(of), filter.predicted_variance(of)))
        };
        let before = sums(&filter);
        filter.move_centre(&[(0, 0.5), (1, 0.5)]);
        assert!((filter.bias(0) + filter.bias(1)).abs() < 1e-15);
        for (now, before) in sums(&filter).into_iter().zip(before) {
            assert!((now.0 - before.0).abs() < 1e-15);
            assert!((now.1 - before.1).abs() < 1e-15);
        }
    }

    #[test]
    fn updates_keep_the_covariance_symmetric_and_positive() {
        let mut filter = two_sources();
        for step in 0..10_000 {
            filter.predict(1.0, 1e-9);
            let observation = ObservationIndex {
                slot: step % 2,
                lag: 0.1,
            };
            let variance = filter.predicted_variance(observation) + 1e-18;
            filter.update(observation, 1e-9 / variance, 1.0 / variance);
        }
        for i in 0..4 {
            assert!(filter.covariance[i][i] > 0.0);
            for k in 0..4 {
                assert_eq!(filter.covariance[i][k], filter.covariance[k][i]);
            }
        }
    }
}
