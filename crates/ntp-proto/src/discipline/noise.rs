//! Noise of a sample, given its excess delay: two laws, and the kinds of queue within the first.
//!
//! # Two laws
//! A client does not know what kind of noise it observes, so two laws compete and the data decide.
//!
//! * **Queue**: packets wait in queues. The excess delay `x` then explains all the noise, and a
//!   sample with x = 0 is perfect; its kinds are described below.
//! * **Flat**: the noise does not show in the delay (a server with a noisy clock, bell-shaped
//!   jitter). Then its variance is measured without the delay: each sample is compared with the
//!   line through its two neighbours. The median of 32 such squared residuals resists outliers; a
//!   very late packet (x beyond three typical excesses) still counts as late.
//!
//! # Kinds of queue
//! How the excess divides between request and reply depends on the queues:
//!
//! * **Box**: both directions alike and memoryless. Every share is equally likely, so the error is
//!   uniform in +-x/2 and a sample *bounds* the phase on both sides: see `box_law`.
//! * **Bell**: both directions alike, each the sum of several queues. Equal shares are more likely.
//!   The variance would be x^2/12 for one memoryless queue each and less for more, or x^2/4 if all
//!   of it fell in one direction; `x^2/8` also covers what none of the kinds describes.
//! * **One-way**: one direction is much busier than the other. If the request path has the long
//!   queue and the reply path an exponential rest of scale `s`, then of a total excess `x` the rest
//!   took a truncated exponential share with
//!
//! ```text
//! mean  m = s - x/(e^z - 1)        variance  v = s^2 - x^2 e^z/(e^z - 1)^2        z = x/s
//! ```
//!
//! so the phase is off by x/2 - m and can be corrected: for s -> 0 by the full half, for s ->
//! infinity by nothing, with variance x^2/12 again. There are four: request or reply congested,
//! with s = 0.02 and 0.15 of the typical excess. A box without them has five times the error with
//! a queue in one direction only.
//!
//! Nothing is estimated, only weighted, and each source's weights leak back towards the symmetric
//! kinds, which have a prior of 96 %: with equal priors a cold start took twice as long.
//!
//! # Stated noise
//! A sample of a reference clock has no delay. Its variance is the stated one, or the measured one
//! of the flat law if that is larger: a clock that is worse than its operator believes must not
//! make every second sample an outlier. Both laws and all kinds then say the same, so such a source
//! does not shift the weights that network paths have taught.
//!
//! Units are seconds and seconds squared.

use ntp_time::{FreeTime, NtpDuration};

use super::bank::LEAK;
use super::box_law::{BoxNoise, Correction};
use super::math;
use super::path::PathReading;
use super::ring::Ring;

/// Divisor of the squared excess: between 12 (both directions alike) and 4 (all in one). Used by
/// the bell, by the flat law and by the gate.
const QUEUE_DIVISOR: f64 = 8.0;
/// Number of typical excesses beyond which a packet is late under the flat law. Below it the excess
/// is part of the measured variance; the same height as for a longer route.
const LATE_FLAT: f64 = 3.0;
/// Number of typical excesses beyond which the kind of queue is unknown under the queue law. In a
/// world with sparse, very late packets the error is 12 times larger without both this limit and
/// the gate's test of the uncorrected sample; either is sufficient, both together are best.
const LATE_QUEUE: f64 = 4.0;
/// Median of a squared standard normal variable.
const MEDIAN_CHI_SQUARE: f64 = 0.455;
/// Height of the observed minimum of n one-sided queues over the true one, in typical excesses.
const ONE_SIDED_MINIMUM: f64 = 1.4;
/// The truncated exponential's variance is at least (its scale)^2 divided by this, because the
/// scale is a guess: without a floor a wrong guess makes samples look perfect, a higher one gives
/// up the correction. Validated by simulation only.
const SCALE_DOUBT_DIVISOR: f64 = 20.0;
/// Share of the prior that is mixed into the kinds' weights per sample: networks change as often
/// as oscillators do.
const KIND_CHANGE: f64 = LEAK;

/// Kind of queue.
#[derive(Clone, Copy, Debug)]
enum QueueKind {
    /// Both directions alike, memoryless: every share of the excess is equally likely.
    Box,
    /// Both directions alike, each the sum of several queues: equal shares are likely.
    Bell,
    /// One direction is congested: requests (+1) or replies (-1).
    OneWay {
        direction: f64,
        /// Scale of the other direction's queue, as a share of the typical excess.
        rest: f64,
    },
}

/// Number of [`KINDS`].
pub(super) const KIND_COUNT: usize = 6;

/// Two pairs are enough: one pair in the middle (0.07) missed both ends by a factor of three, three
/// pairs gained nothing.
const KINDS: [QueueKind; KIND_COUNT] = [
    QueueKind::Bell,
    QueueKind::Box,
    QueueKind::one_way(1.0, 0.02),
    QueueKind::one_way(-1.0, 0.02),
    QueueKind::one_way(1.0, 0.15),
    QueueKind::one_way(-1.0, 0.15),
];

/// Prior of the kinds: 0.5 for each symmetric one, 0.01 for the others, normalised.
const PRIOR: [f64; KIND_COUNT] = [
    0.5 / 1.04,
    0.5 / 1.04,
    0.01 / 1.04,
    0.01 / 1.04,
    0.01 / 1.04,
    0.01 / 1.04,
];

/// Noise of a sample under one kind of queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum KindNoise {
    Normal {
        /// To be added to the phase.
        shift: f64,
        /// Variance of the remaining error.
        variance: f64,
    },
    Box(BoxNoise),
}

impl KindNoise {
    /// Correction of a filter that predicted the sample's phase with this variance.
    pub(super) fn correction(&self, innovation: f64, predicted_variance: f64) -> Correction {
        match self {
            Self::Normal { shift, variance } => {
                Correction::normal(innovation + shift, predicted_variance, *variance)
            }
            Self::Box(bounds) => bounds.correction(innovation, predicted_variance),
        }
    }

    /// What is to be added to the phase, and the variance of the remaining error.
    fn moments(&self) -> (f64, f64) {
        match self {
            Self::Normal { shift, variance } => (*shift, *variance),
            Self::Box(bounds) => (0.0, bounds.variance()),
        }
    }
}

/// Noise of a sample under both laws.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    /// Under the queue law, for each of [`KINDS`].
    pub(super) kinds: [KindNoise; KIND_COUNT],
    /// Variance under the queue law without any assumption about directions.
    pub(super) symmetric: f64,
    /// Variance under the flat law.
    pub(super) flat: f64,
}

impl Noise {
    pub(super) fn new(path: &PathReading, flat: &FlatNoise, stamp_noise: f64) -> Self {
        let floor = stamp_noise * stamp_noise;
        let excess = path.excess();
        let late = (excess - LATE_FLAT * path.typical).max(0.0);
        let flat = flat.variance().unwrap_or(excess * excess / QUEUE_DIVISOR)
            + late * late / QUEUE_DIVISOR
            + floor;
        Self {
            kinds: KINDS.map(|kind| kind.evaluate(path, stamp_noise)),
            symmetric: excess * excess / QUEUE_DIVISOR + floor,
            flat,
        }
    }

    /// Noise of a sample without a delay, whose variance `sigma`^2 is stated.
    pub(super) fn stated(sigma: f64, flat: &FlatNoise) -> Self {
        let stated = sigma * sigma;
        let variance = flat.variance().map_or(stated, |known| known.max(stated));
        let kind = KindNoise::Normal {
            shift: 0.0,
            variance,
        };
        Self {
            kinds: [kind; KIND_COUNT],
            symmetric: variance,
            flat: variance,
        }
    }
}

impl QueueKind {
    const fn one_way(direction: f64, rest: f64) -> Self {
        Self::OneWay { direction, rest }
    }

    /// Noise of a sample; `stamp_noise` is the standard deviation of its timestamps.
    fn evaluate(&self, path: &PathReading, stamp_noise: f64) -> KindNoise {
        let floor = stamp_noise * stamp_noise;
        let (direction, rest) = match self {
            Self::Box => return KindNoise::Box(BoxNoise::new(path.excess(), stamp_noise)),
            Self::Bell => {
                let excess = path.excess();
                return KindNoise::Normal {
                    shift: 0.0,
                    variance: excess * excess / QUEUE_DIVISOR + floor,
                };
            }
            Self::OneWay { direction, rest } => (direction, rest),
        };
        // The minimum of one-sided queues falls as 1/n, that of the rest in the other direction as
        // 1/sqrt(n).
        let above_minimum = ONE_SIDED_MINIMUM
            * path.typical
            * ((rest / path.baseline_samples).sqrt() + 1.0 / path.baseline_samples);
        let raw =
            path.above_baseline + above_minimum + path.baseline_uncertainty / path.baseline_samples;
        let excess = raw.min(LATE_QUEUE * path.typical);
        let late = raw - excess;
        let (mean, variance) = truncated_exponential(rest * path.typical, excess);
        KindNoise::Normal {
            shift: direction * (excess / 2.0 - mean),
            variance: variance + late * late / QUEUE_DIVISOR + floor,
        }
    }
}

/// Mean and variance of an exponential variable of the given scale, conditional on `0..=limit`.
fn truncated_exponential(scale: f64, limit: f64) -> (f64, f64) {
    // A picosecond avoids a division by zero on a path without queues.
    let scale = scale + 1e-12;
    let ratio = limit / scale;
    if ratio > 40.0 {
        // The limit has no effect.
        (scale, scale * scale)
    } else if ratio < 0.01 {
        // Uniform over the whole range; the formulae below would cancel.
        (limit / 2.0, limit * limit / 12.0)
    } else {
        let growth = math::exp_m1(ratio);
        let mean = scale - limit / growth;
        let variance = scale * scale - (limit / growth).powi(2) * (growth + 1.0);
        let baseline_uncertainty = limit.min(scale).powi(2) / SCALE_DOUBT_DIVISOR;
        (mean, variance.max(baseline_uncertainty))
    }
}

/// Weights of the kinds of queue for one source. They sum to one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct KindBelief(pub(super) [f64; KIND_COUNT]);

impl KindBelief {
    pub(super) const PRIOR: Self = Self(PRIOR);

    /// Mean of what is to be added to the phase, and variance of the mixture of the kinds.
    pub(super) fn collapse(&self, noise: &Noise) -> (f64, f64) {
        let kinds = noise.kinds.map(|kind| kind.moments());
        let pairs = || self.0.iter().zip(&kinds);
        let mean: f64 = pairs().map(|(weight, (shift, _))| weight * shift).sum();
        let variance = pairs()
            .map(|(weight, (shift, variance))| weight * (variance + (shift - mean).powi(2)))
            .sum();
        (mean, variance)
    }

    /// Mixes in the prior, because networks change.
    pub(super) fn leak(&mut self) {
        for (weight, prior) in self.0.iter_mut().zip(PRIOR) {
            *weight += KIND_CHANGE * (prior - *weight);
        }
    }
}

/// Noise measured from the phases alone.
#[derive(Clone, Debug)]
pub(super) struct FlatNoise {
    residuals: Ring<32>,
    /// The two samples before the current one, newest first.
    before: [Option<(FreeTime, NtpDuration)>; 2],
}

impl FlatNoise {
    pub(super) const fn new() -> Self {
        Self {
            residuals: Ring::new(),
            before: [None; 2],
        }
    }

    /// Forgets the last two samples, after a jump of the clock or of true time. The measured noise
    /// is kept.
    pub(super) fn forget_neighbours(&mut self) {
        self.before = [None; 2];
    }

    /// Moves the last two samples by a known amount.
    pub(super) fn shift(&mut self, by: NtpDuration) {
        for (_, phase) in self.before.iter_mut().flatten() {
            *phase += by;
        }
    }

    /// Adds the phase of a sample: the middle one of the last three is compared with the line
    /// through the outer two.
    pub(super) fn observe(&mut self, at: FreeTime, phase: NtpDuration) {
        let [newer, older] = self.before;
        if newer.is_some_and(|(then, _)| at <= then) {
            // Out of order: a new line begins here.
            self.before = [Some((at, phase)), None];
            return;
        }
        if let (Some((t1, y1)), Some((t2, y2))) = (newer, older) {
            let share = (at - t1).as_seconds_f64() / (at - t2).as_seconds_f64();
            // Differences first: the phases themselves may be half a century.
            let from_older = (y1 - y2).as_seconds_f64();
            let from_newest = (y1 - phase).as_seconds_f64();
            let residual = share * from_older + (1.0 - share) * from_newest;
            let spread = 1.0 + share * share + (1.0 - share) * (1.0 - share);
            self.residuals.push(residual * residual / spread);
        }
        self.before = [Some((at, phase)), newer];
    }

    /// Measured variance of the noise. Returns `None` before the first residual.
    fn variance(&self) -> Option<f64> {
        self.residuals
            .median()
            .map(|median| median / MEDIAN_CHI_SQUARE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testworld::Rng;
    use super::*;

    fn reading(above_baseline: f64) -> PathReading {
        PathReading {
            above_baseline,
            typical: 1e-3,
            baseline_uncertainty: 0.0,
            baseline_samples: 1e6,
            shift: None,
        }
    }

    #[test]
    fn a_truncated_exponential_has_the_moments_of_one() {
        let mut rng = Rng::new(3);
        for limit in [0.3, 1.0, 3.0] {
            let kept: Vec<f64> = (0..200_000)
                .map(|_| rng.exponential())
                .filter(|value| *value < limit)
                .collect();
            let count = kept.len() as f64;
            let mean = kept.iter().sum::<f64>() / count;
            let variance = kept.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            let (m, v) = truncated_exponential(1.0, limit);
            assert!((m - mean).abs() < 0.01 * mean, "{m} {mean}");
            assert!((v - variance).abs() < 0.03 * variance, "{v} {variance}");
        }
    }

    #[test]
    fn the_branches_of_the_truncated_exponential_meet() {
        for ratio in [0.01, 40.0] {
            let below = truncated_exponential(1.0, ratio * 0.999_999);
            let above = truncated_exponential(1.0, ratio * 1.000_001);
            // The flat branch leaves out a term of ratio/6.
            assert!((below.0 - above.0).abs() < 2e-3 * above.0);
        }
    }

    #[test]
    fn a_one_sided_queue_is_corrected_by_half_the_excess() {
        let moments = |direction: f64| {
            QueueKind::one_way(direction, 0.02)
                .evaluate(&reading(3e-3), 0.0)
                .moments()
        };
        let (shift, variance) = moments(1.0);
        assert!((shift - 1.48e-3).abs() < 2e-5);
        assert!(variance.sqrt() < 3e-5);
        assert_eq!(moments(-1.0).0, -shift);
    }

    #[test]
    fn a_very_late_packet_is_noisy_under_every_kind() {
        for kind in KINDS {
            let (_, variance) = kind.evaluate(&reading(1.0), 0.0).moments();
            assert!(variance.sqrt() > 0.28);
        }
    }

    #[test]
    fn drift_does_not_affect_flat_noise() {
        let mut rng = Rng::new(5);
        let mut flat = FlatNoise::new();
        for index in 0..200 {
            let seconds = 64.0 * f64::from(index) + 10.0 * rng.uniform();
            let phase = 1e9 + 1e-4 * seconds + 1e-5 * rng.normal();
            flat.observe(
                FreeTime::from_nanos((seconds * 1e9) as i64),
                NtpDuration::from_seconds(1_000_000_000)
                    + NtpDuration::from_seconds_f64(phase - 1e9),
            );
        }
        let sigma = flat.variance().unwrap().sqrt();
        assert!((0.5e-5..2e-5).contains(&sigma), "{sigma}");
    }
}
