//! Bank of 42 hypotheses about oscillator and noise, weighted by how well they predict the samples.
//!
//! # Problem
//! A Kalman filter is optimal if it knows how much the oscillator wanders and how noisy the samples
//! are. Neither is known, and a filter tuned for the wrong wander reacts too slowly or too fast.
//!
//! # Idea
//! Run one filter for each combination of 21 rungs of wander and two noise laws. Each rung has
//! twice the wander of the last, from an ovenised crystal (1e-11 s/s per sqrt(s)) to a broken
//! virtual machine (1e-5); the laws are *queue* and *flat* of the `noise` module. Bayes' rule does
//! the tuning: a hypothesis that gave innovation `nu` the variance `S` is weighted by
//!
//! ```text
//! w <- w * exp(-nu^2 / 2S) / sqrt(S)
//! ```
//!
//! and the output is the weighted mean. Time constant, jitter, wander and error figures follow from
//! the weights. Oscillators change (a fan starts, a machine migrates), so after each sample a
//! thousandth of every weight leaks to each neighbouring rung and to the other law. They also jump,
//! so a thousandth of the low rungs' weight leaks to higher ones at once. After a jump a filter
//! with a short memory then dominates for a while; without a jump this has no effect. It reduces
//! RMS and maximum error of 1 ppm jumps by a third. Mixing the states as well, as the IMM filter
//! does, was no better.
//!
//! # Kinds of queue
//! Under the queue law the sample itself is ambiguous: six kinds of queue, each of which corrects a
//! filter by its own score `r_l` (derivative of the log likelihood) and information `i_l`. A filter
//! is updated with all of them at once and keeps one Gaussian (moment matching). With e_l the
//! posterior of kind l the update has rank one along g = P H^T:
//!
//! ```text
//! x += g sum e r        P -= g g^T ( sum e i - (sum e r^2 - (sum e r)^2) )
//! ```
//!
//! Which kind a source has is a matter of its path, so the weights of the kinds belong to the
//! source, and the filters share them.
//!
//! Reading: Y. Bar-Shalom, X. Li, T. Kirubarajan, "Estimation with Applications to Tracking and
//! Navigation", chapter 11.

use core::cell::OnceCell;

use super::box_law::Correction;
use super::hypothesis::{Hypothesis, ObservationIndex};
use super::math;
use super::noise::{KIND_COUNT, KindBelief, Noise};

/// Number of wander rungs: with a factor of two they reach from a good oven to 1e-5 s/s per
/// sqrt(s), more than any usable oscillator. A wander ten times above the top costs 4.7 times the
/// error, ten times below the bottom 1.5 times.
const RUNGS: usize = 21;
/// Wander of the lowest rung, s/s per sqrt(s): a good oven.
const LOWEST_WANDER: f64 = 1e-11;
/// Ratio of neighbouring rungs. Two puts every wander within sqrt(2) of a rung; 3.16 cost 10 % in
/// the worst case.
const RUNG_FACTOR: f64 = 2.0;
/// Most likely wander a priori, that of a plain crystal in a box with a fan. Above it each rung is
/// half as likely as the one below: otherwise the least likely oscillators would make everything
/// look uncertain during the first few dozen samples.
const TYPICAL_WANDER: f64 = 1e-8;
/// Exponent with which the prior falls below [`TYPICAL_WANDER`], to a sixth at the lowest rung:
/// ovens are rarer than crystals, but not rare. On a noisy path low rungs cannot be told apart for
/// hours, and the prior decides. With 0 (all alike) the truth was outside the estimated error in
/// 0.3 % of the seconds with queues of 10 ms and a wander of 1e-8; with 0.5 an oven there has a
/// 30 % larger error than necessary.
const LOW_WANDER_EXPONENT: f64 = 0.25;
/// Share of the weight that leaks per sample to each neighbouring rung and to the other law: the
/// wander changes about once in 1000 samples. 1e-2 costs 1 %, 1e-4 is no better.
pub(super) const LEAK: f64 = 1e-3;
/// Rungs that receive the weight for frequency jumps: 1e-8 to 1.6e-7, which is 0.1 to 1.3 ppm from
/// one sample to the next at a poll interval of 64 s. Higher rungs would follow every late packet;
/// rungs from here upwards are reached by the leak to neighbours.
const JUMP_RUNGS: core::ops::Range<usize> = 10..15;
/// Smallest weight: every hypothesis can recover and has a finite logarithm, and no mean changes.
const MIN_WEIGHT: f64 = 1e-30;

const LAWS: usize = 2;
const MEMBERS: usize = LAWS * RUNGS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Law {
    Queue,
    Flat,
}

#[derive(Clone, Debug)]
struct Member {
    filter: Hypothesis,
    law: Law,
    wander: f64,
    weight: f64,
}

/// All hypotheses and their weights.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    /// Rungs of the queue law from the lowest upwards, then those of the flat law.
    members: Box<[Member]>,
    /// Cache of [`Self::moments`]; cleared by every change.
    moments: OnceCell<Moments>,
}

/// Difference between a sample and the mixture's prediction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Innovation {
    /// Mean of the innovations, seconds.
    pub(super) mean: f64,
    /// Predicted variance, without the noise of the sample.
    pub(super) variance: f64,
}

/// Uncertainty of the phase relative to one source: variance, and covariance with the frequency.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) variance: f64,
    pub(super) covariance: f64,
}

/// Mean and covariance of the mixture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub(super) phase: f64,
    pub(super) frequency: f64,
    pub(super) phase_variance: f64,
    pub(super) frequency_variance: f64,
    pub(super) covariance: f64,
    /// Square of the geometric mean of the wander. The mean square would be dominated by the
    /// one jump in a thousand samples.
    pub(super) wander_squared: f64,
}

impl Bank {
    pub(super) fn new() -> Self {
        let laws = [Law::Queue, Law::Flat].into_iter();
        let members = laws.flat_map(|law| {
            (0..RUNGS as i32).map(move |rung| Member {
                filter: Hypothesis::new(),
                law,
                wander: LOWEST_WANDER * RUNG_FACTOR.powi(rung),
                weight: 1.0,
            })
        });
        let mut bank = Self {
            members: members.collect(),
            moments: OnceCell::new(),
        };
        bank.forget_weights();
        bank
    }

    /// Applies a change to every filter.
    pub(super) fn for_each(&mut self, mut change: impl FnMut(&mut Hypothesis)) {
        self.moments.take();
        self.members
            .iter_mut()
            .for_each(|member| change(&mut member.filter));
    }

    /// Resets all weights to their prior.
    pub(super) fn forget_weights(&mut self) {
        self.moments.take();
        for member in &mut self.members {
            let above = member.wander / TYPICAL_WANDER;
            member.weight = above.recip().min(math::powf(above, LOW_WANDER_EXPONENT));
        }
        self.normalise();
    }

    /// Predicts every filter by `dt` seconds.
    pub(super) fn predict(&mut self, dt: f64) {
        self.moments.take();
        for member in &mut self.members {
            member.filter.predict(dt, member.wander);
        }
    }

    /// Weighted mean over the hypotheses.
    pub(super) fn mix(&self, of: impl Fn(&Hypothesis) -> f64) -> f64 {
        self.members
            .iter()
            .map(|member| member.weight * of(&member.filter))
            .sum()
    }

    /// Weighted mean of a function of the wander, which both laws share.
    pub(super) fn mix_wander(&self, of: impl Fn(f64) -> f64) -> f64 {
        let values: [f64; RUNGS] = core::array::from_fn(|rung| of(self.members[rung].wander));
        let members = self.members.iter().zip(values.iter().cycle());
        members.map(|(member, value)| member.weight * value).sum()
    }

    /// Moments of the mixture at the filters' time; computed once after each change.
    pub(super) fn moments(&self) -> &Moments {
        self.moments.get_or_init(|| self.compute_moments())
    }

    fn compute_moments(&self) -> Moments {
        let phase = self.mix(Hypothesis::phase);
        let frequency = self.mix(Hypothesis::frequency);
        Moments {
            phase,
            frequency,
            phase_variance: self
                .mix(|filter| filter.phase_variance() + (filter.phase() - phase).powi(2)),
            frequency_variance: self.mix(|filter| {
                filter.frequency_variance() + (filter.frequency() - frequency).powi(2)
            }),
            covariance: self.mix(|filter| {
                filter.phase_frequency_covariance()
                    + (filter.phase() - phase) * (filter.frequency() - frequency)
            }),
            wander_squared: math::exp(self.mix_wander(math::ln)).powi(2),
        }
    }

    /// Uncertainty of the phase relative to the source in `slot`, its asymmetry excluded.
    pub(super) fn link(&self, slot: usize) -> Link {
        let observation = ObservationIndex { slot, lag: 0.0 };
        let phase = self.mix(|filter| filter.predicted(observation));
        let frequency = self.mix(Hypothesis::frequency);
        Link {
            variance: self.mix(|filter| {
                filter.predicted_variance(observation)
                    + (filter.predicted(observation) - phase).powi(2)
            }),
            covariance: self.mix(|filter| {
                filter.link_frequency_covariance(slot)
                    + (filter.predicted(observation) - phase) * (filter.frequency() - frequency)
            }),
        }
    }

    /// Compares a sample with the prediction. `shift` is added to its phase under the queue law.
    pub(super) fn innovation(
        &self,
        observation: ObservationIndex,
        y: f64,
        shift: f64,
    ) -> Innovation {
        let of = |member: &Member| {
            let shift = if member.law == Law::Queue { shift } else { 0.0 };
            y + shift - member.filter.predicted(observation)
        };
        let mean = self
            .members
            .iter()
            .map(|member| member.weight * of(member))
            .sum::<f64>();
        let variance = self
            .members
            .iter()
            .map(|member| {
                member.weight
                    * (member.filter.predicted_variance(observation) + (of(member) - mean).powi(2))
            })
            .sum();
        Innovation { mean, variance }
    }

    /// Mean variance of the sample's own noise, over the hypotheses.
    pub(super) fn noise_variance(&self, queue: f64, flat: f64) -> f64 {
        self.members
            .iter()
            .map(|member| {
                member.weight
                    * match member.law {
                        Law::Queue => queue,
                        Law::Flat => flat,
                    }
            })
            .sum()
    }

    /// Applies a change to every filter, with the sample's noise variance under the filter's law.
    pub(super) fn for_each_with_noise(
        &mut self,
        queue: f64,
        flat: f64,
        mut change: impl FnMut(&mut Hypothesis, f64),
    ) {
        self.moments.take();
        for member in &mut self.members {
            let noise = match member.law {
                Law::Queue => queue,
                Law::Flat => flat,
            };
            change(&mut member.filter, noise);
        }
    }

    /// Updates every filter, the weights, and the belief about the source's kinds of queue.
    pub(super) fn update(
        &mut self,
        observation: ObservationIndex,
        y: f64,
        noise: &Noise,
        belief: &mut KindBelief,
    ) {
        self.moments.take();
        let mut likelihoods = [0.0; MEMBERS];
        let mut posteriors = [[0.0; KIND_COUNT]; RUNGS];
        let prior = belief.0.map(|weight| math::ln(weight.max(MIN_WEIGHT)));
        for (index, (member, likelihood)) in
            self.members.iter_mut().zip(&mut likelihoods).enumerate()
        {
            *likelihood = match member.law {
                Law::Queue => {
                    let (likelihood, posterior) =
                        update_queue(&mut member.filter, observation, y, noise, &prior);
                    posteriors[index % RUNGS] = posterior;
                    likelihood
                }
                Law::Flat => update_flat(&mut member.filter, observation, y, noise.flat),
            };
        }
        self.weigh(&likelihoods);
        self.leak();

        let queues = self.members[..RUNGS].iter().zip(&posteriors);
        let mut mixed = [0.0; KIND_COUNT];
        let mut total = 0.0;
        for (member, posterior) in queues {
            total += member.weight;
            for (sum, share) in mixed.iter_mut().zip(posterior) {
                *sum += member.weight * share;
            }
        }
        *belief = KindBelief(mixed.map(|sum| sum / total));
        belief.leak();
    }

    /// Multiplies the weights by likelihoods, given as logarithms.
    fn weigh(&mut self, likelihoods: &[f64; MEMBERS]) {
        let best = likelihoods.iter().copied().fold(f64::MIN, f64::max);
        for (member, likelihood) in self.members.iter_mut().zip(likelihoods) {
            member.weight = member.weight.max(MIN_WEIGHT) * math::exp(likelihood - best);
        }
        self.normalise();
    }

    /// Moves weight to neighbouring rungs, to the other law and to the jump rungs.
    fn leak(&mut self) {
        let before: [f64; MEMBERS] = core::array::from_fn(|index| self.members[index].weight);
        for (law, ladder) in self.members.chunks_mut(RUNGS).enumerate() {
            let at = |rung: usize, law: usize| before[law * RUNGS + rung];
            let low: f64 = (0..JUMP_RUNGS.start).map(|rung| at(rung, law)).sum();
            let jumped = LEAK * low / JUMP_RUNGS.len() as f64;
            for (rung, member) in ladder.iter_mut().enumerate() {
                // The ends of the ladder reflect: their neighbour beyond is themselves.
                let up = at((rung + 1).min(RUNGS - 1), law);
                let down = at(rung.saturating_sub(1), law);
                let own = at(rung, law);
                let average = (0..LAWS).map(|law| at(rung, law)).sum::<f64>() / LAWS as f64;
                member.weight = own + LEAK * (up - own + down - own) + LEAK * (average - own);
                if rung < JUMP_RUNGS.start {
                    member.weight -= LEAK * own;
                } else if JUMP_RUNGS.contains(&rung) {
                    member.weight += jumped;
                }
                member.weight = member.weight.max(MIN_WEIGHT);
            }
        }
        self.normalise();
    }

    fn normalise(&mut self) {
        let total: f64 = self.members.iter().map(|member| member.weight).sum();
        for member in &mut self.members {
            member.weight /= total;
        }
    }

    /// Whether all weights and filters are valid. If not, the bank must be restarted.
    pub(super) fn is_sound(&self) -> bool {
        self.members
            .iter()
            .all(|member| member.weight.is_finite() && member.filter.is_sound())
    }
}

/// Applies the ordinary Kalman update and returns the logarithm of the likelihood.
fn update_flat(filter: &mut Hypothesis, observation: ObservationIndex, y: f64, noise: f64) -> f64 {
    let innovation = y - filter.predicted(observation);
    let correction = Correction::normal(innovation, filter.predicted_variance(observation), noise);
    filter.update(observation, correction.score, correction.information);
    correction.log_likelihood
}

/// Applies the update with all kinds of queue, given the logarithms of their weights; also returns
/// their posterior.
fn update_queue(
    filter: &mut Hypothesis,
    observation: ObservationIndex,
    y: f64,
    noise: &Noise,
    prior: &[f64; KIND_COUNT],
) -> (f64, [f64; KIND_COUNT]) {
    let innovation = y - filter.predicted(observation);
    let variance = filter.predicted_variance(observation);
    let corrections = noise
        .kinds
        .map(|kind| kind.correction(innovation, variance));
    let logs: [f64; KIND_COUNT] =
        core::array::from_fn(|kind| prior[kind] + corrections[kind].log_likelihood);
    let best = logs.iter().copied().fold(f64::MIN, f64::max);
    let likelihoods = logs.map(|log| math::exp(log - best));
    let total: f64 = likelihoods.iter().sum();
    let posterior = likelihoods.map(|likelihood| likelihood / total);

    let mean = |of: &dyn Fn(&Correction) -> f64| -> f64 {
        let pairs = posterior.iter().zip(&corrections);
        pairs
            .map(|(share, correction)| share * of(correction))
            .sum()
    };
    let score = mean(&|correction| correction.score);
    let score_variance = mean(&|correction| correction.score.powi(2)) - score * score;
    let information = mean(&|correction| correction.information) - score_variance;
    filter.update(observation, score, information);
    (best + math::ln(total), posterior)
}

#[cfg(test)]
mod tests {
    use super::super::noise::KindNoise;
    use super::super::testworld::Rng;
    use super::*;

    const OBSERVATION: ObservationIndex = ObservationIndex { slot: 0, lag: 0.0 };

    fn symmetric(variance: f64) -> Noise {
        Noise {
            kinds: [KindNoise::Normal {
                shift: 0.0,
                variance,
            }; KIND_COUNT],
            symmetric: variance,
            flat: variance,
        }
    }

    fn started() -> Bank {
        let mut bank = Bank::new();
        bank.for_each(|filter| {
            filter.restart(0.0, 1e-8);
            filter.add_source(0.0);
            filter.reset_phase(OBSERVATION, 0.0, 1e-8);
        });
        bank
    }

    #[test]
    fn weights_converge_to_the_true_wander() {
        let wander = 1e-8;
        let (mut bank, mut rng, mut belief) = (started(), Rng::new(11), KindBelief::PRIOR);
        let (mut phase, mut frequency) = (0.0, 3e-6);
        for _ in 0..2000 {
            for _ in 0..16 {
                frequency += wander * rng.normal();
                phase += frequency;
            }
            bank.predict(16.0);
            bank.update(
                OBSERVATION,
                phase + 1e-6 * rng.normal(),
                &symmetric(1e-12),
                &mut belief,
            );
        }
        let found = bank.mix_wander(f64::ln).exp();
        assert!((0.6e-8..1.7e-8).contains(&found), "{found}");
        let moments = bank.moments();
        assert!((moments.phase - phase).abs() < 4e-6);
        assert!((moments.frequency - frequency).abs() < 4.0 * moments.frequency_variance.sqrt());
    }

    #[test]
    fn weights_sum_to_one_and_stay_above_the_minimum() {
        let (mut bank, mut belief) = (started(), KindBelief::PRIOR);
        for step in 0..300 {
            bank.predict(1.0);
            bank.update(
                OBSERVATION,
                f64::from(step % 7) * 1e-3,
                &symmetric(1e-18),
                &mut belief,
            );
        }
        assert!((bank.mix(|_| 1.0) - 1.0).abs() < 1e-12);
        assert!(
            bank.members
                .iter()
                .all(|member| member.weight > MIN_WEIGHT / 2.0)
        );
    }

    #[test]
    fn identical_kinds_give_the_ordinary_update() {
        let mut bank = started();
        bank.predict(16.0);
        let mut queue = bank.members[5].filter.clone();
        let mut flat = queue.clone();
        let noise = symmetric(1e-10);
        let (likelihood, posterior) = update_queue(
            &mut queue,
            OBSERVATION,
            2e-4,
            &noise,
            &KindBelief::PRIOR.0.map(math::ln),
        );
        let ordinary = update_flat(&mut flat, OBSERVATION, 2e-4, 1e-10);
        assert!((likelihood - ordinary).abs() < 1e-9);
        assert!((posterior[0] - KindBelief::PRIOR.0[0]).abs() < 1e-12);
        assert!((queue.phase() - flat.phase()).abs() < 1e-15);
        assert!((queue.phase_variance() / flat.phase_variance() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn extrapolated_moments_equal_those_of_a_prediction() {
        let mut bank = started();
        // Only one wander: the mixture's spread is predicted exactly, its wander by the mean.
        for (index, member) in bank.members.iter_mut().enumerate() {
            member.weight = if index % RUNGS == 7 { 0.5 } else { 0.0 };
        }
        bank.predict(7.0);
        let ahead = bank.moments().after(50.0);
        bank.predict(50.0);
        let there = bank.moments();
        for (a, b) in [
            (ahead.phase_variance, there.phase_variance),
            (ahead.frequency_variance, there.frequency_variance),
            (ahead.covariance, there.covariance),
        ] {
            assert!((a / b - 1.0).abs() < 1e-9);
        }
    }
}
