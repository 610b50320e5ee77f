//! Growth of the root dispersion, as encoded on the socket.
//!
//! Upstream models the variance of its clock, in s^2, as a polynomial of the time t in
//! seconds since a base time, and its readers compute
//!
//! ```text
//! dispersion(t) = sqrt(base + linear t + quadratic t^2 + cubic t^3)
//! ```
//!
//! RFC 5905 (section 11.1, PHI) and this daemon let the dispersion itself grow at a constant
//! rate: `d + r t`. Its square is such a polynomial, `d^2 + 2 d r t + r^2 t^2`, so readers of
//! either daemon get the right value from the same formula.

use ntp_time::{Frequency, NtpDuration, NtpTimestamp};
use serde::{Deserialize, Serialize};

use super::encoding;

/// Variance of the clock as a polynomial of time; the members are flat in the JSON of
/// [`System`](super::System).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootVariance {
    /// Time at which t is zero.
    #[serde(rename = "root_variance_base_time", with = "encoding")]
    pub base_time: NtpTimestamp,
    /// Variance at the base time in s^2.
    #[serde(rename = "root_variance_base", with = "encoding")]
    pub base: f64,
    /// Linear coefficient in s^2/s.
    #[serde(rename = "root_variance_linear", with = "encoding")]
    pub linear: f64,
    /// Quadratic coefficient in s^2/s^2.
    #[serde(rename = "root_variance_quadratic", with = "encoding")]
    pub quadratic: f64,
    /// Cubic coefficient in s^2/s^3.
    #[serde(rename = "root_variance_cubic", with = "encoding")]
    pub cubic: f64,
}

impl RootVariance {
    /// Creates a model of a root dispersion that is `dispersion` at `at` and grows at `rate`.
    pub fn growing(at: NtpTimestamp, dispersion: NtpDuration, rate: Frequency) -> Self {
        let (dispersion, rate) = (encoding::seconds(dispersion), rate.as_ratio());
        Self {
            base_time: at,
            base: dispersion * dispersion,
            linear: 2.0 * dispersion * rate,
            quadratic: rate * rate,
            cubic: 0.0,
        }
    }

    /// Returns the root dispersion at `time`. Before the base time, which happens after a backward
    /// step of the clock, it is that of the base time.
    pub fn dispersion_at(&self, time: NtpTimestamp) -> NtpDuration {
        let t = encoding::seconds(time - self.base_time).max(0.0);
        let variance = self.base + t * (self.linear + t * (self.quadratic + t * self.cubic));
        encoding::Encoding::from_wire(variance.max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_formula_yields_the_linear_dispersion() {
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
    fn extreme_models_saturate_without_panic() {
        let at = NtpTimestamp::ZERO;
        let later = at + NtpDuration::from_seconds(100);
        let mut model = RootVariance::growing(at, NtpDuration::MAX, Frequency::ZERO);
        model.cubic = f64::MAX;
        assert_eq!(model.dispersion_at(later), NtpDuration::MAX);
        model.cubic = f64::MIN;
        assert_eq!(model.dispersion_at(later), NtpDuration::ZERO);
    }
}
