//! The outlook: what is known at the last sample, small enough to be carried forward at leisure.
//!
//! # Problem
//! Between samples many ask how wrong the clock is: the kernel's error figures, each reply to a client,
//! readers, the simulator once a second. The answer needs the moments of the whole bank, thousands of
//! multiplications; yet between samples nothing is learnt, time only passes.
//!
//! # Idea
//! All hypotheses are carried forward by the same two lines, `theta += f dt` and the growth of the
//! covariance, so the mixture's moments are carried forward by them too:
//!
//! ```text
//! var(theta)' = var(theta) + 2 dt cov(theta, f) + dt^2 var(f) + W^2 dt^3/3
//! cov'        = cov + dt var(f) + W^2 dt^2/2          var(f)' = var(f) + W^2 dt
//! ```
//!
//! exactly, but for W, for which the typical wander is taken. The guarantee is carried by the drift allowance. An outlook
//! is a few dozen numbers, a copy, and costs a dozen multiplications per question.

use ntp_time::{FreeTime, Frequency, NtpDuration};

use super::bank::{Link, Moments};
use super::figures::{ERROR_SIGMAS, Estimate, Figures};
use super::source::{Carriage, Sighting, SourceKey, drift_rate};

/// Where the truth must lie if most sources are right, see `selection`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guarantee {
    /// The stretch of phases, as of one moment.
    pub(super) sighting: Sighting,
    /// The nearest of the sources.
    pub(super) best: SourceKey,
}

/// Estimate and error figures from the last sample on.
#[derive(Clone, Copy, Debug)]
pub struct Outlook {
    /// Time of the moments.
    pub(super) since: FreeTime,
    pub(super) origin: NtpDuration,
    pub(super) moments: Moments,
    pub(super) link: Link,
    /// How many sigmas of the biases' prior count, squared: see `figures`.
    pub(super) asymmetry_sigmas_squared: f64,
    pub(super) guarantee: Option<Guarantee>,
    pub(super) drift_allowance: Frequency,
    /// What the frequency may be wrong by whatever the filters believe, s/s.
    pub(super) youth: f64,
}

impl Link {
    fn after(&self, moments: &Moments, dt: f64) -> Self {
        let growth = moments.wander_squared * dt.abs();
        Self {
            variance: self.variance
                + (2.0 * self.covariance + (moments.frequency_variance + growth / 3.0) * dt) * dt,
            covariance: self.covariance + (moments.frequency_variance + growth / 2.0) * dt,
        }
    }
}

impl Moments {
    /// The moments `dt` seconds later, or earlier.
    pub(super) fn after(&self, dt: f64) -> Self {
        let own = Link {
            variance: self.phase_variance,
            covariance: self.covariance,
        };
        let own = own.after(self, dt);
        Self {
            phase: self.phase + dt * self.frequency,
            phase_variance: own.variance,
            frequency_variance: self.frequency_variance + self.wander_squared * dt.abs(),
            covariance: own.covariance,
            ..*self
        }
    }
}

impl Outlook {
    /// The estimate at `at`.
    pub fn estimate(&self, at: FreeTime) -> Estimate {
        let dt = (at - self.since).as_seconds_f64();
        let moments = self.moments.after(dt);
        let link = self.link.after(&self.moments, dt);
        Estimate {
            phase: self.origin + NtpDuration::from_seconds_f64(moments.phase),
            frequency: Frequency::from_ratio(moments.frequency),
            phase_sigma: moments.phase_variance.max(0.0).sqrt(),
            link_sigma: link.variance.max(0.0).sqrt(),
            frequency_sigma: moments.frequency_variance.max(0.0).sqrt(),
            covariance: link.covariance,
            wander: moments.wander_squared.sqrt(),
        }
    }

    /// The error figures at `at`, given how far the system clock is from the best estimate (what is
    /// left to be slewed). None while nothing is guaranteed.
    pub fn figures(&self, at: FreeTime, residual: NtpDuration) -> Option<Figures> {
        let Guarantee { sighting, best } = self.guarantee?;
        let estimate = self.estimate(at);
        let stretch = sighting.interval(&Carriage {
            now: at,
            origin: self.origin,
            frequency: self.moments.frequency,
            drift: drift_rate(self.drift_allowance, estimate.frequency_sigma, self.youth),
        });
        let phase = (estimate.phase - self.origin).as_seconds_f64();
        let residual = residual.abs().as_seconds_f64();
        let bound = (phase - stretch.centre).abs() + stretch.half_width + residual;
        let bound = NtpDuration::from_seconds_f64(bound) + NtpDuration::EPSILON;
        let root_delay = NtpDuration::from_seconds_f64(sighting.root_delay);
        let estimated_error = self.statistical_error(&estimate) + residual;
        // Four sigmas of a path that might be asymmetric by half of its delay are more than that half.
        let estimated_error = NtpDuration::from_seconds_f64(estimated_error).min(bound);
        Some(Figures {
            root_delay,
            root_dispersion: (bound - root_delay.half()).max(estimated_error),
            bound,
            estimated_error,
            best,
        })
    }

    /// Error of the estimate in seconds, exceeded once in a thousand cases.
    fn statistical_error(&self, estimate: &Estimate) -> f64 {
        let link = estimate.link_sigma.powi(2);
        let shared = (estimate.phase_sigma.powi(2) - link).max(0.0);
        (ERROR_SIGMAS.powi(2) * link + self.asymmetry_sigmas_squared * shared).sqrt()
    }
}
