//! How the root dispersion grows, as the socket tells it.
//!
//! Upstream's daemon models the variance of its clock, in s^2, as a polynomial of the time t in
//! seconds since a base time, and its readers work out
//!
//! ```text
//! dispersion(t) = sqrt(base + linear t + quadratic t^2 + cubic t^3)
//! ```
//!
//! RFC 5905 (section 11.1, PHI) and this daemon let the dispersion itself grow by a constant
//! rate: `d + r t`. Its square is a polynomial of that kind, `d^2 + 2 d r t + r^2 t^2`, so every
//! reader of either daemon gets the right figure from the same formula.

use ntp_time::{Frequency, NtpDuration, NtpTimestamp};
use serde::{Deserialize, Serialize};

use super::form;

/// The variance of the clock as a polynomial of time; the members stand flat in
/// [`System`](super::System)'s JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootVariance {
    /// When t is zero.
    #[serde(rename = "root_variance_base_time", with = "form")]
    pub base_time: NtpTimestamp,
    /// The variance then, in s^2.
    #[serde(rename = "root_variance_base", with = "form")]
    pub base: f64,
    /// Its growth, in s^2/s.
    #[serde(rename = "root_variance_linear", with = "form")]
    pub linear: f64,
    /// In s^2/s^2.
    #[serde(rename = "root_variance_quadratic", with = "form")]
    pub quadratic: f64,
    /// In s^2/s^3.
    #[serde(rename = "root_variance_cubic", with = "form")]
    pub cubic: f64,
}

impl RootVariance {
    /// A root dispersion that is `dispersion` at `at` and grows by `rate` seconds per second.
    pub fn growing(at: NtpTimestamp, dispersion: NtpDuration, rate: Frequency) -> Self {
        let (dispersion, rate) = (form::seconds(dispersion), rate.as_ratio());
        Self {
            base_time: at,
            base: dispersion * dispersion,
            linear: 2.0 * dispersion * rate,
            quadratic: rate * rate,
            cubic: 0.0,
        }
    }

    /// The root dispersion at `time`. Before the base time it is that of the base time: the
    /// daemon's clock has been stepped back since.
    pub fn dispersion_at(&self, time: NtpTimestamp) -> NtpDuration {
        let t = form::seconds(time - self.base_time).max(0.0);
        let variance = self.base + t * (self.linear + t * (self.quadratic + t * self.cubic));
        form::Form::from_wire(variance.max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_dispersion_is_got_back_by_upstreams_formula() {
        let at = NtpTimestamp::from_bits(0xffff_ffff << 32);
        let dispersion = NtpDuration::from_micros(750);
        let model = RootVariance::growing(at, dispersion, Frequency::from_ppm(15.0));
        let error = |seconds, expected| {
            let later = at + NtpDuration::from_seconds(seconds);
            (model.dispersion_at(later) - expected).abs()
        };
        let tolerance = NtpDuration::from_nanos(2);
        assert!(error(0, dispersion) < tolerance);
        assert!(error(1000, NtpDuration::from_micros(15_750)) < tolerance);
        assert!(error(-1000, dispersion) < tolerance);
    }

    #[test]
    fn absurd_models_give_absurd_figures_and_no_panic() {
        let at = NtpTimestamp::ZERO;
        let later = at + NtpDuration::from_seconds(100);
        let mut model = RootVariance::growing(at, NtpDuration::MAX, Frequency::ZERO);
        model.cubic = f64::MAX;
        assert_eq!(model.dispersion_at(later), NtpDuration::MAX);
        model.cubic = f64::MIN;
        assert_eq!(model.dispersion_at(later), NtpDuration::ZERO);
    }
}
