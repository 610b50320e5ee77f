//! Box law: a sample bounds the phase on both sides, and all phases between are equally likely.
//!
//! # Problem
//! If both queues of a path are memoryless, a packet that is `x` late in total spent any share of it
//! in either direction with the same probability. Its phase is then wrong by up to `x/2`, and within
//! that every error is equally likely. A Gaussian of the same variance forgets that nothing lies
//! outside: two samples whose boxes overlap by little show more than either of them.
//!
//! # Update
//! The filter predicts the phase of the sample with a mean and a variance s^2. Within the box the
//! posterior is a truncated normal distribution, which is replaced by a Gaussian of the same mean
//! and variance (moment matching). A small share of the samples, [`LEAK`], follows a wide Gaussian
//! instead, so that a sample outside of its box is doubted and does not break the filter. With nu
//! the innovation and e the half width
//!
//! ```text
//! L = (1 - leak) (Phi((nu + e)/s) - Phi((nu - e)/s)) / 2e  +  leak N(nu; 0, s^2 + x^2/2)
//! ```
//!
//! Reading: D. Simon, "Optimal State Estimation", section 7.5 (truncation of a density at
//! constraints).

use super::math;

/// Share of samples outside of their box: without it a timestamp that is early by accident would
/// exclude the truth for ever. Validated by simulation only.
const LEAK: f64 = 0.02;
/// Probability of the box, under the prediction, below which the truncated normal distribution is
/// replaced by its tail at the nearer edge (from 6.4 standard deviations on): the difference of two
/// probabilities has no digits left.
const MIN_PROBABILITY: f64 = 1e-10;
/// Half width of a box, in standard deviations of the prediction, below which the density does not
/// change across it: the sample is then as good as exact, and no difference of probabilities is
/// needed.
const NARROW: f64 = 1e-4;
/// Smallest variance that a box leaves, as a share of the predicted one.
const MIN_SHARE: f64 = 1e-4;
/// Standard deviations of the timestamps' noise by which a box is wider on each side: a uniform
/// error of that standard deviation ends there.
const STAMP_SIGMAS: f64 = 1.732_050_807_568_877_2;
/// ln(sqrt(2 pi)): likelihoods of the other laws are without this constant.
const LN_SQRT_TWO_PI: f64 = 0.918_938_533_204_672_8;

/// Noise of a sample under the box law.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoxNoise {
    /// Half of the excess delay and the noise of the timestamps, seconds.
    half_width: f64,
    /// Variance of a sample outside of its box, s^2.
    wide: f64,
}

/// Effect of a sample on a filter, see [`Hypothesis::update`](super::hypothesis::Hypothesis).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Correction {
    pub(super) score: f64,
    pub(super) information: f64,
    /// Logarithm of the likelihood, without the constant of the normal density.
    pub(super) log_likelihood: f64,
}

impl Correction {
    /// The ordinary Kalman update: a normal law of variance `noise`, with a predicted `variance`.
    pub(super) fn normal(innovation: f64, variance: f64, noise: f64) -> Self {
        let total = variance + noise;
        let score = innovation / total;
        Self {
            score,
            information: 1.0 / total,
            log_likelihood: -0.5 * (math::ln(total) + innovation * score),
        }
    }
}

impl BoxNoise {
    /// Noise of a sample with this excess delay.
    pub(super) fn new(excess: f64, stamp_noise: f64) -> Self {
        Self {
            half_width: excess / 2.0 + STAMP_SIGMAS * stamp_noise,
            wide: excess * excess / 2.0 + stamp_noise * stamp_noise,
        }
    }

    /// Variance of the sample's error.
    pub(super) fn variance(&self) -> f64 {
        (1.0 - LEAK) * self.half_width * self.half_width / 3.0 + LEAK * self.wide
    }

    /// Correction of a filter that predicted the sample's phase with this variance.
    pub(super) fn correction(&self, innovation: f64, variance: f64) -> Correction {
        let inside = self.truncated(innovation, variance);
        let spread = variance + self.wide;
        let gain = variance / spread;
        let outside = Moments {
            mean: gain * innovation,
            variance: variance * (1.0 - gain),
            log_likelihood: math::ln(LEAK)
                - 0.5 * (math::ln(spread) + innovation * innovation / spread),
        };
        let best = inside.log_likelihood.max(outside.log_likelihood);
        let weights = [inside, outside].map(|part| math::exp(part.log_likelihood - best));
        let total = weights[0] + weights[1];
        let share = weights[0] / total;
        let mean = share * inside.mean + (1.0 - share) * outside.mean;
        let spread_of_means = share * (1.0 - share) * (inside.mean - outside.mean).powi(2);
        let posterior =
            share * inside.variance + (1.0 - share) * outside.variance + spread_of_means;
        Correction {
            score: mean / variance,
            information: (variance - posterior) / (variance * variance),
            log_likelihood: best + math::ln(total),
        }
    }

    /// The deviation from the prediction, if it is inside of the box.
    fn truncated(&self, innovation: f64, variance: f64) -> Moments {
        let sigma = variance.sqrt();
        if self.half_width < NARROW * sigma {
            let deviation = innovation / sigma;
            return Moments {
                mean: innovation,
                variance: self.half_width * self.half_width / 3.0,
                log_likelihood: math::ln(1.0 - LEAK)
                    - math::ln(sigma)
                    - 0.5 * deviation * deviation,
            };
        }
        let (low, high) = (innovation - self.half_width, innovation + self.half_width);
        // In the left half the probabilities are exact.
        let mirror = low > 0.0;
        let (a, b) = if mirror {
            (-high / sigma, -low / sigma)
        } else {
            (low / sigma, high / sigma)
        };
        let probability = cumulative(b) - cumulative(a);
        let width = math::ln(2.0 * self.half_width) - LN_SQRT_TWO_PI - math::ln(1.0 - LEAK);
        if probability < MIN_PROBABILITY {
            // Far outside: the tail falls like an exponential beyond the nearer edge, which is b.
            let distance = -b;
            let nearer_edge = if mirror { low } else { high };
            let beyond = (sigma / distance).min(self.half_width);
            return Moments {
                mean: nearer_edge + if mirror { beyond } else { -beyond },
                variance: beyond * beyond,
                log_likelihood: -0.5 * distance * distance
                    - math::ln(distance)
                    - LN_SQRT_TWO_PI
                    - width,
            };
        }
        let slope = (density(a) - density(b)) / probability;
        let share = 1.0 + (a * density(a) - b * density(b)) / probability - slope * slope;
        Moments {
            mean: sigma * if mirror { -slope } else { slope },
            variance: variance * share.clamp(MIN_SHARE, 1.0),
            log_likelihood: math::ln(probability) - width,
        }
    }
}

/// Distribution of the deviation from the prediction, and the likelihood of its case.
#[derive(Clone, Copy, Debug)]
struct Moments {
    mean: f64,
    variance: f64,
    log_likelihood: f64,
}

/// Density of the standard normal distribution.
fn density(z: f64) -> f64 {
    math::exp(-0.5 * z * z - LN_SQRT_TWO_PI)
}

/// Cumulative distribution function of the standard normal distribution.
fn cumulative(z: f64) -> f64 {
    0.5 * math::erfc(-z * core::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of the posterior, and the likelihood, by summation over the prior.
    fn summed(bounds: &BoxNoise, innovation: f64, variance: f64) -> [f64; 3] {
        let sigma = variance.sqrt();
        let step = sigma / 500.0;
        let wide = |error: f64| {
            let scaled = error * error / bounds.wide;
            math::exp(-0.5 * scaled) / bounds.wide.sqrt()
        };
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        for index in -6000..=6000 {
            let x = step * f64::from(index);
            let error = innovation - x;
            let inside = error.abs() < bounds.half_width;
            let flat = math::exp(LN_SQRT_TWO_PI) / (2.0 * bounds.half_width);
            let likelihood = LEAK * wide(error) + if inside { (1.0 - LEAK) * flat } else { 0.0 };
            let weight = likelihood * density(x / sigma) * step / sigma;
            total += weight;
            first += weight * x;
            second += weight * x * x;
        }
        let mean = first / total;
        [mean, second / total - mean * mean, math::ln(total)]
    }

    #[test]
    fn the_correction_has_the_moments_of_the_posterior() {
        let bounds = BoxNoise::new(2e-4, 1e-6);
        for innovation in [0.0, 3e-5, -9e-5, 1.5e-4] {
            for variance in [1e-10, 4e-9] {
                let correction = bounds.correction(innovation, variance);
                let [mean, left, likelihood] = summed(&bounds, innovation, variance);
                let scale = variance.sqrt();
                assert!((correction.score * variance - mean).abs() < 0.01 * scale);
                let posterior = variance - correction.information * variance * variance;
                assert!(
                    (posterior - left).abs() < 0.02 * variance,
                    "{posterior} {left}"
                );
                assert!((correction.log_likelihood - likelihood).abs() < 0.02);
            }
        }
    }

    #[test]
    fn a_sample_far_outside_its_box_is_doubted() {
        let bounds = BoxNoise::new(1e-5, 0.0);
        let correction = bounds.correction(1e-3, 1e-12);
        // It would move the filter by 1e-3 if it were believed.
        assert!((correction.score * 1e-12).abs() < 3e-5);
        assert!(correction.information.is_finite() && correction.log_likelihood.is_finite());
    }

    #[test]
    fn a_box_of_any_width_gives_numbers() {
        for width in [0.0, 1e-12, 1e-9, 1e-3] {
            for sigma in [1e-10_f64, 1e-6, 0.1, 10.0] {
                for innovation in [0.0, 1e-9, -1e-3, 1.0] {
                    let bounds = BoxNoise::new(width, 0.0);
                    let correction = bounds.correction(innovation, sigma * sigma);
                    let left = 1.0 - correction.information * sigma * sigma;
                    assert!(correction.score.is_finite(), "{width} {sigma} {innovation}");
                    assert!(correction.log_likelihood.is_finite());
                    assert!(
                        (-1e-9..10.0).contains(&left),
                        "{width} {sigma} {innovation} {left}"
                    );
                }
            }
        }
        // A box that is narrow against the prediction sets the clock.
        let correction = BoxNoise::new(1e-10, 0.0).correction(0.3, 1.0);
        assert!((correction.score - 0.3).abs() < 1e-6);
    }

    #[test]
    fn a_wide_box_changes_nothing() {
        let bounds = BoxNoise::new(1.0, 0.0);
        let correction = bounds.correction(1e-6, 1e-12);
        assert!((correction.score * 1e-12).abs() < 1e-10);
        assert!(correction.information * 1e-12 < 1e-3);
    }
}
