//! The bank: 42 hypotheses about oscillator and noise, weighted by how well they foretold the
//! samples.
//!
//! # Problem
//! A Kalman filter is optimal when it is told how much the oscillator wanders and how noisy the
//! samples are. Nobody can tell; and a filter tuned for the wrong wander is either sluggish or
//! nervous.
//!
//! # Idea
//! Run one filter for every answer. Wander climbs a ladder of 21 rungs, each twice the last, from
//! an ovenised crystal (1e-11 s/s per sqrt(s)) to a broken virtual machine (1e-5); each rung stands
//! once under the *queue* law and once under the *flat* law of the `noise` module. Bayes does the
//! tuning: a hypothesis that gave innovation `nu` the variance `S` is weighted by
//!
//! ```text
//! w <- w * exp(-nu^2 / 2S) / sqrt(S)
//! ```
//!
//! and the output is the weighted mean. Time constant, jitter, wander and error figures all come
//! out of the weights. Because oscillators change (a fan starts, a machine migrates), after each
//! sample a thousandth of every weight leaks to each neighbouring rung and to the other law, and a
//! thousandth of the calm rungs' weight leaks at once to restless ones: oscillators also jump. Then
//! a filter with a short memory takes over for a while, which a quiet world does not notice; flips of
//! 1 ppm cost a third less RMS and maximum by it. Mixing
//! the states as well, as the IMM filter does, was no better.
//!
//! # Kinds of queue
//! Under the queue law the sample itself is ambiguous: five kinds of queue, each with its own
//! correction `a_l` and variance `R_l`. A filter meets all five at once and keeps one Gaussian
//! (moment matching). With e_l the posterior of kind l, V_l = h + R_l and r_l = (nu + a_l)/V_l the
//! update is one of rank one along g = P H^T:
//!
//! ```text
//! x += g sum e r        P -= g g^T ( sum e/V - (sum e r^2 - (sum e r)^2) )
//! ```
//!
//! Reading: Y. Bar-Shalom, X. Li, T. Kirubarajan, "Estimation with Applications to Tracking and
//! Navigation", chapter 11.

use super::hypothesis::{Hypothesis, Sight};
use super::math;
use super::noise::{KIND_COUNT, KindBelief, Noise};

/// Rungs of the wander ladder.
const RUNGS: usize = 21;
/// The lowest rung, s/s per sqrt(s): a good oven.
const LOWEST_WANDER: f64 = 1e-11;
/// A factor of two puts every wander within sqrt(2) of a rung; with 3.16 the worst case cost 10 %.
const RUNG_FACTOR: f64 = 2.0;
/// The wander of a plain crystal in a box with a fan: the likeliest beforehand. Beyond it each rung is half as likely as the one
/// below: until a few dozen samples have spoken, the least likely oscillators would make everything look
/// uncertain.
const USUAL_WANDER: f64 = 1e-8;
/// Below it the prior falls with this power of the wander, to a sixth at the lowest rung: ovens are rarer than crystals, but not
/// rare. On a noisy path calm rungs cannot be told apart for hours, and the prior decides. With 0 (all alike) truth was
/// outside the estimated error in 0.3 % of the seconds where queues are of 10 ms and the wander is 1e-8; with 0.5 an oven there is
/// kept 30 % worse than it could be.
const OVEN_RARITY: f64 = 0.25;
/// Chance per sample that the wander moves to a given neighbour, or the noise to the other law.
/// 1e-2 costs 1 %, 1e-4 is no better.
const LEAK: f64 = 1e-3;
/// Where a jump of the frequency lands: 1e-8 to 1.6e-7, which is 0.1 to 1.3 ppm from one sample to the
/// next at a poll interval of 64 s. Higher rungs would follow every late packet; from here upwards the
/// neighbours are near enough.
const JUMP_RUNGS: core::ops::Range<usize> = 10..15;
/// No hypothesis is ever dead for good.
const LEAST_WEIGHT: f64 = 1e-30;

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
    /// The queue law's rungs from the lowest up, then the flat law's.
    members: Box<[Member]>,
}

/// How far a sample was from what the mixture expected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Innovation {
    /// Mean of the innovations, seconds.
    pub(super) mean: f64,
    /// Variance that the mixture had predicted for it, the sample's own noise not included.
    pub(super) variance: f64,
}

/// How well the phase is known against one source: variance, and covariance with the frequency.
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
    /// Square of the typical wander: of its geometric mean, as befits a ladder of equal ratios. The
    /// mean square would be ruled by the one jump in a thousand samples.
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
        };
        bank.forget_weights();
        bank
    }

    /// Applies the same surgery to every hypothesis.
    pub(super) fn for_each(&mut self, mut change: impl FnMut(&mut Hypothesis)) {
        self.members
            .iter_mut()
            .for_each(|member| change(&mut member.filter));
    }

    /// All hypotheses are as likely as they were beforehand.
    pub(super) fn forget_weights(&mut self) {
        for member in &mut self.members {
            let above = member.wander / USUAL_WANDER;
            member.weight = above.recip().min(math::powf(above, OVEN_RARITY));
        }
        self.normalise();
    }

    pub(super) fn predict(&mut self, dt: f64) {
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

    /// Weighted mean of a function of the wander.
    pub(super) fn mix_wander(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.members
            .iter()
            .map(|member| member.weight * of(member.wander))
            .sum()
    }

    /// The mixture's moments at the filter's time.
    pub(super) fn moments(&self) -> Moments {
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

    /// How well the phase is known against the source in `slot`, its asymmetry left out.
    pub(super) fn link(&self, slot: usize) -> Link {
        let sight = Sight { slot, lag: 0.0 };
        let shown = self.mix(|filter| filter.expected(sight));
        let frequency = self.mix(Hypothesis::frequency);
        Link {
            variance: self.mix(|filter| {
                filter.expected_variance(sight) + (filter.expected(sight) - shown).powi(2)
            }),
            covariance: self.mix(|filter| {
                filter.link_frequency_covariance(slot)
                    + (filter.expected(sight) - shown) * (filter.frequency() - frequency)
            }),
        }
    }

    /// Compares a sample with the prediction; `shift` is added to its phase under the queue law.
    pub(super) fn innovation(&self, sight: Sight, y: f64, shift: f64) -> Innovation {
        let of = |member: &Member| {
            let shift = if member.law == Law::Queue { shift } else { 0.0 };
            y + shift - member.filter.expected(sight)
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
                    * (member.filter.expected_variance(sight) + (of(member) - mean).powi(2))
            })
            .sum();
        Innovation { mean, variance }
    }

    /// Mean over the hypotheses of the sample's own variance.
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

    /// Applies a function of the member's own sample variance to each filter.
    pub(super) fn for_each_with_noise(
        &mut self,
        queue: f64,
        flat: f64,
        mut change: impl FnMut(&mut Hypothesis, f64),
    ) {
        for member in &mut self.members {
            let noise = match member.law {
                Law::Queue => queue,
                Law::Flat => flat,
            };
            change(&mut member.filter, noise);
        }
    }

    /// Takes in a sample: every filter moves, the weights move, and so does what is believed of the
    /// source's queues.
    pub(super) fn update(&mut self, sight: Sight, y: f64, noise: &Noise, belief: &mut KindBelief) {
        let mut likelihoods = [0.0; MEMBERS];
        let mut posteriors = [[0.0; KIND_COUNT]; RUNGS];
        for (index, (member, likelihood)) in
            self.members.iter_mut().zip(&mut likelihoods).enumerate()
        {
            *likelihood = match member.law {
                Law::Queue => {
                    let (likelihood, posterior) =
                        update_queue(&mut member.filter, sight, y, noise, belief);
                    posteriors[index % RUNGS] = posterior;
                    likelihood
                }
                Law::Flat => update_flat(&mut member.filter, sight, y, noise.flat),
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

    /// Bayes, from logarithms of likelihoods.
    fn weigh(&mut self, likelihoods: &[f64; MEMBERS]) {
        let best = likelihoods.iter().copied().fold(f64::MIN, f64::max);
        for (member, likelihood) in self.members.iter_mut().zip(likelihoods) {
            member.weight = member.weight.max(LEAST_WEIGHT) * math::exp(likelihood - best);
        }
        self.normalise();
    }

    fn leak(&mut self) {
        let before: [f64; MEMBERS] = core::array::from_fn(|index| self.members[index].weight);
        for (law, ladder) in self.members.chunks_mut(RUNGS).enumerate() {
            let at = |rung: usize, law: usize| before[law * RUNGS + rung];
            let calm: f64 = (0..JUMP_RUNGS.start).map(|rung| at(rung, law)).sum();
            let landed = LEAK * calm / JUMP_RUNGS.len() as f64;
            for (rung, member) in ladder.iter_mut().enumerate() {
                // The ends of the ladder reflect.
                let up = at((rung + 1).min(RUNGS - 1), law);
                let down = at(rung.saturating_sub(1), law);
                let (own, other) = (at(rung, law), at(rung, 1 - law));
                member.weight = own + LEAK * (up - own + down - own) + LEAK / 2.0 * (other - own);
                if rung < JUMP_RUNGS.start {
                    member.weight -= LEAK * own;
                } else if JUMP_RUNGS.contains(&rung) {
                    member.weight += landed;
                }
                member.weight = member.weight.max(LEAST_WEIGHT);
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

    /// Whether all filters are. If one is not, something is wrong beyond repair and the bank must be
    /// restarted.
    pub(super) fn is_sound(&self) -> bool {
        self.members
            .iter()
            .all(|member| member.weight.is_finite() && member.filter.is_sound())
    }
}

/// The ordinary Kalman update; returns the logarithm of the likelihood.
fn update_flat(filter: &mut Hypothesis, sight: Sight, y: f64, noise: f64) -> f64 {
    let innovation = y - filter.expected(sight);
    let variance = filter.expected_variance(sight) + noise;
    filter.update(sight, innovation / variance, 1.0 / variance);
    log_normal(innovation, variance)
}

/// The update with five kinds of queue at once; also returns their posterior.
fn update_queue(
    filter: &mut Hypothesis,
    sight: Sight,
    y: f64,
    noise: &Noise,
    belief: &KindBelief,
) -> (f64, [f64; KIND_COUNT]) {
    let plain = y - filter.expected(sight);
    let prior_variance = filter.expected_variance(sight);
    let innovations = noise.kinds.map(|kind| plain + kind.shift);
    let variances = noise.kinds.map(|kind| prior_variance + kind.variance);

    let logs: [f64; KIND_COUNT] = core::array::from_fn(|kind| {
        math::ln(belief.0[kind].max(LEAST_WEIGHT)) + log_normal(innovations[kind], variances[kind])
    });
    let best = logs.iter().copied().fold(f64::MIN, f64::max);
    let likelihoods = logs.map(|log| math::exp(log - best));
    let total: f64 = likelihoods.iter().sum();
    let posterior = likelihoods.map(|likelihood| likelihood / total);

    let mut pull = 0.0;
    let mut pull_squared = 0.0;
    let mut grip = 0.0;
    for kind in 0..KIND_COUNT {
        let force = innovations[kind] / variances[kind];
        pull += posterior[kind] * force;
        pull_squared += posterior[kind] * force * force;
        grip += posterior[kind] / variances[kind];
    }
    filter.update(sight, pull, grip - (pull_squared - pull * pull));
    (best + math::ln(total), posterior)
}

/// Logarithm of the normal density, up to a constant.
fn log_normal(deviation: f64, variance: f64) -> f64 {
    -0.5 * (math::ln(variance) + deviation * deviation / variance)
}

#[cfg(test)]
mod tests {
    use super::super::noise::KindReading;
    use super::super::testworld::Chance;
    use super::*;

    const SIGHT: Sight = Sight { slot: 0, lag: 0.0 };

    fn symmetric(variance: f64) -> Noise {
        Noise {
            kinds: [KindReading {
                shift: 0.0,
                variance,
            }; KIND_COUNT],
            flat: variance,
        }
    }

    fn started() -> Bank {
        let mut bank = Bank::new();
        bank.for_each(|filter| {
            filter.restart(0.0, 1e-8);
            filter.enter(0.0);
            filter.refix_phase(SIGHT, 0.0, 1e-8);
        });
        bank
    }

    #[test]
    fn the_weights_find_the_wander() {
        let wander = 1e-8;
        let (mut bank, mut chance, mut belief) = (started(), Chance::new(11), KindBelief::PRIOR);
        let (mut phase, mut frequency) = (0.0, 3e-6);
        for _ in 0..2000 {
            for _ in 0..16 {
                frequency += wander * chance.normal();
                phase += frequency;
            }
            bank.predict(16.0);
            bank.update(
                SIGHT,
                phase + 1e-6 * chance.normal(),
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
    fn weights_sum_to_one_and_none_dies() {
        let (mut bank, mut belief) = (started(), KindBelief::PRIOR);
        for step in 0..300 {
            bank.predict(1.0);
            bank.update(
                SIGHT,
                f64::from(step % 7) * 1e-3,
                &symmetric(1e-18),
                &mut belief,
            );
        }
        assert!((bank.mix(|_| 1.0) - 1.0).abs() < 1e-12);
        assert!(
            bank.members
                .iter()
                .all(|member| member.weight > LEAST_WEIGHT / 2.0)
        );
    }

    #[test]
    fn identical_kinds_collapse_to_the_ordinary_update() {
        let mut bank = started();
        bank.predict(16.0);
        let mut queue = bank.members[5].filter.clone();
        let mut flat = queue.clone();
        let noise = symmetric(1e-10);
        let (likelihood, posterior) =
            update_queue(&mut queue, SIGHT, 2e-4, &noise, &KindBelief::PRIOR);
        let ordinary = update_flat(&mut flat, SIGHT, 2e-4, 1e-10);
        assert!((likelihood - ordinary).abs() < 1e-9);
        assert!((posterior[0] - KindBelief::PRIOR.0[0]).abs() < 1e-12);
        assert!((queue.phase() - flat.phase()).abs() < 1e-15);
        assert!((queue.phase_variance() / flat.phase_variance() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn moments_ahead_are_those_of_a_prediction() {
        let mut bank = started();
        // The mixture's spread is carried exactly, its wander by the typical one: let there be only one.
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
