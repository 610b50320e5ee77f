//! Wander of the servers' own clocks, learnt from pairs of sources.
//!
//! # Problem
//! A server of stratum 2 moves against true time, and a liar does so on purpose. If a source's bias
//! were a constant, the phase of the clock would follow such a server. How much a server moves
//! cannot be learnt from its samples and our own clock: the source to which our clock is nearest
//! would look perfect.
//!
//! # Idea
//! In the difference of two sources our clock cancels. With samples y_i and y_j at t_i and t_j
//!
//! ```text
//! z = (y_i - y_j) - f (t_i - t_j)        noise R_i + R_j
//! ```
//!
//! is the difference of their biases, a random walk whose rate is learnt as the wander of the
//! oscillator is: nine filters, each with a rate four times that of the last, weighted by how well
//! they predict. A pair is no steadier than the worse of its two. A source is as steady as half of
//! all sources, itself included, confirm:
//!
//! ```text
//! q_i = 1/2 * (the floor(n/2)-th smallest of q_ij over the n-1 others)
//! ```
//!
//! Two colluders of five agree with each other perfectly, but the second smallest of each is a pair
//! with an honest source.
//!
//! Rates in s per sqrt(s), their squares in s^2/s.
//!
//! Reading: C. Greenhall, "A review of reduced Kalman filters for clock ensembles", IEEE
//! Transactions on Ultrasonics 59 (2012): only differences of clocks are observable.

use ntp_time::{FreeTime, NtpDuration};

use super::bank::LEAK;
use super::confidence::OUTLIER;
use super::gate::MAX_FREQUENCY_JUMP;
use super::math;
use super::source::SourceKey;

/// Number of rates.
const RUNGS: usize = 9;
/// Smallest rate: 3 us in a day.
const LOWEST_RATE: f64 = 1e-8;
/// Ratio of neighbouring rates; the largest is 6.6e-4, 5 ms from one poll of 64 s to the next.
const RATE_FACTOR: f64 = 4.0;
/// Ratio of the prior weights of a rate and the one below: servers are taken to be steady until
/// their samples show otherwise. With equal ones a near server beside three noisy ones was taken to
/// wander, because noise can hide it: 2.6 times the error. 0.25 is as good, but three servers of
/// stratum 2 are followed 2 % worse.
const PRIOR_RATIO: f64 = 0.5;
/// Largest squared deviation, in variances, that counts in the evidence: one wild sample, or a step
/// of a server, proves little about its wander.
const MAX_DEVIATION: f64 = 25.0;
/// Smallest variance, as in the filters.
const VARIANCE_FLOOR: f64 = 1e-32;

/// Smallest prior variance of the difference of two biases: a microsecond.
pub(super) const PRIOR_FLOOR: f64 = 1e-12;

/// A sample as far as the pairs need it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairSample {
    pub(super) at: FreeTime,
    pub(super) phase: NtpDuration,
    /// Variance of its noise, s^2.
    pub(super) variance: f64,
}

#[derive(Clone, Copy, Debug)]
struct Rung {
    mean: f64,
    variance: f64,
    weight: f64,
}

/// Relative movement of two sources.
#[derive(Clone, Debug)]
struct Pair {
    /// The two sources, the smaller key first.
    keys: [SourceKey; 2],
    /// Times of the samples of each that were used last.
    used: Option<[FreeTime; 2]>,
    /// Time of the rungs.
    at: FreeTime,
    rungs: [Rung; RUNGS],
}

/// All pairs of the sources in the joint state.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs(Vec<Pair>);

fn squared_rates() -> impl Iterator<Item = f64> {
    (0..RUNGS as i32).map(|rung| (LOWEST_RATE * RATE_FACTOR.powi(rung)).powi(2))
}

impl Pair {
    fn new(keys: [SourceKey; 2], prior: f64) -> Self {
        Self {
            keys,
            used: None,
            at: FreeTime::from_nanos(0),
            rungs: core::array::from_fn(|rung| Rung {
                mean: 0.0,
                variance: prior,
                weight: (1.0 - PRIOR_RATIO) * PRIOR_RATIO.powi(rung as i32),
            }),
        }
    }

    /// Forgets how far the two are apart; the rates are kept.
    fn forget_distance(&mut self, prior: f64) {
        self.used = None;
        for rung in &mut self.rungs {
            rung.mean = 0.0;
            rung.variance = prior;
        }
    }

    /// Moves the difference of the first and the second by a known amount.
    fn shift(&mut self, by: f64) {
        for rung in &mut self.rungs {
            rung.mean += by;
        }
    }

    /// Adds the newest samples of both, if neither was used before. `frequency` is that of the
    /// clock, s/s. After a jump that no drift explains the distance is forgotten, if `prior` is its
    /// variance then.
    fn observe(&mut self, [first, second]: [PairSample; 2], frequency: f64, prior: Option<f64>) {
        let times = [first.at, second.at];
        let seen = |used: [FreeTime; 2]| used[0] == times[0] || used[1] == times[1];
        if self.used.is_some_and(seen) {
            return;
        }
        let now = first.at.max(second.at);
        let elapsed = match self.used {
            Some(_) => (now - self.at).as_seconds_f64().max(0.0),
            None => 0.0,
        };
        self.used = Some(times);
        self.at = now;
        let apart = (first.at - second.at).as_seconds_f64();
        let difference = (first.phase - second.phase).as_seconds_f64() - frequency * apart;
        let noise = first.variance + second.variance;
        let known = self.rungs[RUNGS - 1];
        let usual = OUTLIER * (noise + known.variance).sqrt() + MAX_FREQUENCY_JUMP * elapsed;
        if let Some(prior) = prior.filter(|_| (difference - known.mean).abs() > usual) {
            self.forget_distance(prior);
            self.used = Some(times);
        }
        self.update(difference, noise, elapsed);
    }

    fn update(&mut self, difference: f64, noise: f64, elapsed: f64) {
        let mut logs = [0.0; RUNGS];
        for ((rung, log), rate) in self.rungs.iter_mut().zip(&mut logs).zip(squared_rates()) {
            let predicted = rung.variance + rate * elapsed;
            let total = (predicted + noise).max(VARIANCE_FLOOR);
            let deviation = difference - rung.mean;
            let share = predicted / total;
            *log = -0.5 * ((deviation * deviation / total).min(MAX_DEVIATION) + math::ln(total));
            rung.mean += share * deviation;
            rung.variance = (predicted * (1.0 - share)).max(VARIANCE_FLOOR);
        }
        let best = logs.iter().copied().fold(f64::MIN, f64::max);
        let mut weights: [f64; RUNGS] =
            core::array::from_fn(|rung| self.rungs[rung].weight * math::exp(logs[rung] - best));
        let total: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= total;
        }
        for (rung, state) in self.rungs.iter_mut().enumerate() {
            let own = weights[rung];
            let higher = weights
                .get(rung + 1)
                .map_or(0.0, |up| up - PRIOR_RATIO * own);
            let lower = match rung.checked_sub(1) {
                Some(below) => PRIOR_RATIO * weights[below] - own,
                None => 0.0,
            };
            state.weight = own + LEAK * (higher + lower);
        }
    }

    /// Square of the geometric mean of the rate: the mean square would be dominated by the least
    /// likely rates. The rates are powers, so it is the power of the mean exponent.
    fn squared_rate(&self) -> f64 {
        let exponents = (0_u8..).zip(&self.rungs);
        let mean: f64 = exponents
            .map(|(rung, state)| f64::from(rung) * state.weight)
            .sum();
        (LOWEST_RATE * math::powf(RATE_FACTOR, mean)).powi(2)
    }

    fn partner(&self, key: SourceKey) -> Option<SourceKey> {
        match self.keys {
            [first, second] if first == key => Some(second),
            [first, second] if second == key => Some(first),
            _ => None,
        }
    }
}

impl Pairs {
    #[cfg(test)]
    pub(super) const SIZE_OF_A_PAIR: usize = size_of::<Pair>();

    /// Makes room for the pairs of this many sources.
    pub(super) fn reserve(&mut self, sources: usize) {
        let pairs = sources * sources.saturating_sub(1) / 2;
        self.0.reserve(pairs.saturating_sub(self.0.len()));
    }

    /// Removes all pairs of a source.
    pub(super) fn remove(&mut self, key: SourceKey) {
        self.0.retain(|pair| pair.partner(key).is_none());
    }

    /// Forgets how far a source is from the others, after its path or its clock changed by a jump.
    /// `prior` is the variance of the difference of its bias and another's.
    pub(super) fn forget_distances(&mut self, key: SourceKey, prior: impl Fn(SourceKey) -> f64) {
        for pair in &mut self.0 {
            if let Some(other) = pair.partner(key) {
                pair.forget_distance(prior(other));
            }
        }
    }

    /// Moves the phases of a source by `by` seconds, after a known correction of its clock.
    pub(super) fn shift(&mut self, key: SourceKey, by: f64) {
        for pair in &mut self.0 {
            match pair.keys {
                [first, _] if first == key => pair.shift(by),
                [_, second] if second == key => pair.shift(-by),
                _ => {}
            }
        }
    }

    /// Adds the newest sample of source `a`, beside the newest one of `b`. `prior` is the variance of
    /// the difference of two biases; `jumps` is whether one of them may jump without being in the
    /// joint state, where jumps are noticed.
    pub(super) fn observe(
        &mut self,
        a: (SourceKey, PairSample),
        b: (SourceKey, PairSample),
        frequency: f64,
        (prior, jumps): (f64, bool),
    ) {
        let [first, second] = if a.0 < b.0 { [a, b] } else { [b, a] };
        let keys = [first.0, second.0];
        let index = self.0.iter().position(|pair| pair.keys == keys);
        let index = index.unwrap_or_else(|| {
            self.0.push(Pair::new(keys, prior));
            self.0.len() - 1
        });
        self.0[index].observe([first.1, second.1], frequency, jumps.then_some(prior));
    }

    /// Squared rate of a source, given the others that answer: as small as half of all confirm.
    /// Returns `None` without another source.
    pub(super) fn confirmed_rate(
        &self,
        key: SourceKey,
        present: impl Fn(SourceKey) -> bool,
    ) -> Option<f64> {
        let mut rates = [f64::INFINITY; super::hypothesis::MAX_SLOTS];
        let mut count = 0;
        for pair in &self.0 {
            let known = pair.used.is_some() && pair.partner(key).is_some_and(&present);
            if known && count < rates.len() {
                rates[count] = pair.squared_rate();
                count += 1;
            }
        }
        let rates = &mut rates[..count];
        rates.sort_unstable_by(f64::total_cmp);
        // With the source itself there are count + 1.
        let rank = count.div_ceil(2).checked_sub(1)?;
        Some(rates[rank] / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testworld::Rng;
    use super::*;

    const PRIOR: f64 = 1e-5;
    const NOISE: f64 = 1e-4;

    /// Runs sources with these biases as functions of the time, which may depend on chance.
    fn run<const N: usize>(mut bias: impl FnMut(usize, f64, &mut Rng) -> f64) -> [f64; N] {
        let mut rng = Rng::new(4);
        let mut pairs = Pairs::default();
        let mut newest: [Option<PairSample>; N] = [None; N];
        for poll in 0..1000 {
            for source in 0..N {
                let seconds = 64.0 * f64::from(poll) + source as f64;
                let phase = bias(source, seconds, &mut rng) + NOISE * rng.normal();
                let sample = PairSample {
                    at: FreeTime::from_nanos((seconds * 1e9) as i64),
                    phase: NtpDuration::from_seconds_f64(phase),
                    variance: NOISE * NOISE,
                };
                newest[source] = Some(sample);
                for other in (0..N).filter(|other| *other != source) {
                    if let Some(beside) = newest[other] {
                        let key = |index: usize| SourceKey(index as u32);
                        pairs.observe(
                            (key(source), sample),
                            (key(other), beside),
                            0.0,
                            (PRIOR, false),
                        );
                    }
                }
            }
        }
        core::array::from_fn(|index| {
            pairs
                .confirmed_rate(SourceKey(index as u32), |_| true)
                .unwrap()
                .sqrt()
        })
    }

    #[test]
    fn constant_biases_have_the_smallest_rates() {
        let rates = run::<4>(|source, _, _| 1e-3 * source as f64);
        assert!(rates.iter().all(|rate| *rate < 3e-7), "{rates:?}");
    }

    #[test]
    fn a_wandering_source_is_distinguished_from_two_steady_ones() {
        let mut position = 0.0;
        let rates = run::<3>(|source, _, rng| {
            if source == 2 {
                position += 1e-5 * 8.0 * rng.normal();
                position
            } else {
                0.0
            }
        });
        assert!(rates[0] < 1e-6 && rates[1] < 1e-6, "{rates:?}");
        assert!((3e-6..3e-5).contains(&rates[2]), "{rates:?}");
    }

    #[test]
    fn two_colluders_of_five_do_not_confirm_each_other() {
        let rates = run::<5>(|source, seconds, _| {
            if source >= 3 {
                4e-3 * (seconds / 1000.0).fract()
            } else {
                0.0
            }
        });
        assert!(rates[..3].iter().all(|rate| *rate < 1e-6), "{rates:?}");
        assert!(rates[3..].iter().all(|rate| *rate > 1e-5), "{rates:?}");
    }
}
