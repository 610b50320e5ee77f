//! Prediction: the state at the last sample, in a form that is cheap to extrapolate.
//!
//! # Problem
//! Between samples the error of the clock is needed often: for the kernel's error figures, for each
//! reply to a client, for status readers, and in the simulator once a second. It depends on the
//! moments of the whole bank, thousands of multiplications; but between samples nothing is learnt,
//! only time passes.
//!
//! # Idea
//! All hypotheses are predicted by the same two lines, `theta += f dt` and the growth of the
//! covariance, so the moments of the mixture are predicted by them too:
//!
//! ```text
//! var(theta)' = var(theta) + 2 dt cov(theta, f) + dt^2 var(f) + W^2 dt^3/3
//! cov'        = cov + dt var(f) + W^2 dt^2/2          var(f)' = var(f) + W^2 dt
//! ```
//!
//! That is exact except for W, for which the geometric mean is used. The guaranteed interval widens
//! by the drift allowance. A prediction is a copy of a few dozen numbers, and an evaluation costs a
//! dozen multiplications.

use ntp_time::{FreeTime, Frequency, NtpDuration};

use super::bank::{Link, Moments};
use super::confidence::CLAIM;
use super::guarantee::Guarantee;
use super::report::{ErrorFigures, Estimate};
use super::source::{Propagation, drift_rate};

/// Estimate and error figures from the last sample on.
#[derive(Clone, Copy, Debug)]
pub struct Prediction {
    /// Time of the moments.
    pub(super) since: FreeTime,
    pub(super) origin: NtpDuration,
    pub(super) moments: Moments,
    pub(super) link: Link,
    /// Square of what the asymmetry of all paths together adds to the estimated error, s^2: see
    /// `report`.
    pub(super) asymmetry_squared: f64,
    pub(super) guarantee: Option<Guarantee>,
    pub(super) drift_allowance: Frequency,
    /// See `allowance::slack`.
    pub(super) slack: f64,
    /// Frequency error that is possible whatever the filters believe, s/s.
    pub(super) startup_drift: f64,
}

impl Link {
    /// The values `dt` seconds later, or earlier.
    pub(super) fn after(&self, moments: &Moments, dt: f64) -> Self {
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

impl Prediction {
    /// Estimate at `at`.
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

    /// Error figures at `at`, given the difference of the system clock from the estimate (what is
    /// left to be slewed). Returns `None` while there is no guarantee.
    pub fn error_figures(&self, at: FreeTime, residual: NtpDuration) -> Option<ErrorFigures> {
        let Guarantee { interval, best } = self.guarantee?;
        let estimate = self.estimate(at);
        let span = interval.propagate(&Propagation {
            now: at,
            origin: self.origin,
            frequency: self.moments.frequency,
            drift: drift_rate(
                self.drift_allowance,
                estimate.frequency_sigma,
                self.startup_drift,
            ),
            slack: self.slack,
        });
        let phase = (estimate.phase - self.origin).as_seconds_f64();
        let residual = residual.abs().as_seconds_f64();
        let bound = (phase - span.centre).abs() + span.half_width + residual;
        let bound = NtpDuration::from_seconds_f64(bound) + NtpDuration::EPSILON;
        let root_delay = NtpDuration::from_seconds_f64(interval.root_delay);
        let estimated_error = self.statistical_error(&estimate) + residual;
        // Four sigmas of a path that may be asymmetric by half of its delay exceed that half.
        let estimated_error = NtpDuration::from_seconds_f64(estimated_error).min(bound);
        Some(ErrorFigures {
            root_delay,
            root_dispersion: (bound - root_delay.half()).max(estimated_error),
            bound,
            estimated_error,
            best,
        })
    }

    /// Error of the estimate in seconds that is exceeded in one of a thousand cases.
    fn statistical_error(&self, estimate: &Estimate) -> f64 {
        (CLAIM.powi(2) * estimate.link_sigma.powi(2) + self.asymmetry_squared).sqrt()
    }
}
