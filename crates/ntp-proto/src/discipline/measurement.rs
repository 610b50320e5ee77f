//! Measurement: one exchange with a server, or one sample of a reference clock, as the clock
//! algorithm sees it.
//!
//! The client half of the engine turns four timestamps (RFC 5905 section 8) into a *phase* and a
//! *delay*; a reference clock yields a phase only. The phase is in free-running time, the timescale in which our own corrections are
//! undone: it is the bare oscillator minus true time. Free time is exact about our corrections, so
//! no history has to be rewritten when the clock is steered.
//!
//! # Correctness interval
//! The two directions of the exchange share the delay in an unknown way, so the phase is off by at
//! most half of it; the server itself is off by at most its own root distance (RFC 5905 section
//! 11.2). Hence the *correctness interval*
//!
//! ```text
//! phase +- ( (delay + root delay)/2 + root dispersion + 3 stamp noise + drift rate * age )
//! ```
//!
//! which contains the truth as long as the server is right about itself. Selection, the reported
//! bound and the prior of a source's asymmetry all use this sum.
//!
//! A reference clock has no path. Its stated accuracy takes the place of the root dispersion, and
//! its stated noise ([`NoiseLaw::Gaussian`]) is added to that of the timestamp.

use ntp_time::{FreeTime, NtpDuration};

use super::InvalidMeasurement;
use super::confidence::{NEGATIVE_DELAY, STAMP};

/// How the noise of a source's samples is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum NoiseLaw {
    /// By the delay of each sample: packets wait in queues. For a network path.
    #[default]
    Queue,
    /// By a statement about all samples. For a reference clock.
    Gaussian {
        /// Standard deviation of a sample.
        sigma: NtpDuration,
    },
}

/// Result of one exchange with a server, or a sample of a reference clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Local midpoint of the exchange, or time of the sample.
    pub at: FreeTime,
    /// Free-running clock minus true time, assuming that both directions took equally long.
    pub phase: NtpDuration,
    /// Round trip without the server's processing time; timestamp noise may make it slightly
    /// negative. `None` for a reference clock, whose noise is stated by its [`NoiseLaw`].
    pub delay: Option<NtpDuration>,
    /// Standard deviation of the phase in seconds, caused by timestamps and both clocks' precision.
    pub stamp_noise: f64,
    /// The server's own round trip to its reference clock.
    pub root_delay: NtpDuration,
    /// The server's own error besides half of its root delay, or the stated accuracy of a reference
    /// clock.
    pub root_dispersion: NtpDuration,
}

/// Additional allowance for a negative delay, seconds: unmodelled timestamp jitter of virtual
/// machines and network cards.
const NEGATIVE_DELAY_ALLOWANCE: f64 = 1e-4;

/// Smallest credible stamp noise, seconds: the resolution of a timestamp.
const STAMP_NOISE_FLOOR: f64 = 1e-9;

impl Measurement {
    /// Checks the values. All values of a measurement that passes are finite.
    pub(super) fn check(&self, law: NoiseLaw) -> Result<(), InvalidMeasurement> {
        if !(0.0..=1.0).contains(&self.stamp_noise) {
            return Err(InvalidMeasurement::AbsurdNoise);
        }
        if law == NoiseLaw::Queue && self.delay.is_none() {
            return Err(InvalidMeasurement::MissingDelay);
        }
        let least = -NEGATIVE_DELAY * self.stamp_noise - NEGATIVE_DELAY_ALLOWANCE;
        if self
            .delay
            .is_some_and(|delay| delay.as_seconds_f64() < least)
            || self.root_delay.is_negative()
            || self.root_dispersion.is_negative()
        {
            return Err(InvalidMeasurement::NegativeDelay);
        }
        Ok(())
    }

    /// Returns the measurement with the noise that `law` states included.
    pub(super) fn under(&self, law: NoiseLaw) -> Self {
        let stamp_noise = match law {
            NoiseLaw::Queue => self.stamp_noise,
            NoiseLaw::Gaussian { sigma } => {
                let sigma = sigma.as_seconds_f64();
                (self.stamp_noise * self.stamp_noise + sigma * sigma).sqrt()
            }
        };
        Self {
            stamp_noise,
            ..*self
        }
    }

    /// Round trip in seconds, at least zero; zero for a reference clock.
    pub(super) fn delay_seconds(&self) -> f64 {
        self.delay
            .map_or(0.0, |delay| delay.as_seconds_f64().max(0.0))
    }

    /// Stamp noise in seconds, at least a nanosecond.
    pub(super) fn noise(&self) -> f64 {
        self.stamp_noise.max(STAMP_NOISE_FLOOR)
    }

    /// The server's share of the half-width, in seconds. The accuracy of a reference clock is never
    /// ignored: nothing else limits its error.
    pub(super) fn server_error(&self, ignore_dispersion: bool) -> f64 {
        let dispersion = if ignore_dispersion && self.delay.is_some() {
            0.0
        } else {
            self.root_dispersion.as_seconds_f64()
        };
        self.root_delay.as_seconds_f64() / 2.0 + dispersion
    }

    /// Half-width of the correctness interval at the time of the measurement, in seconds.
    pub(super) fn half_width(&self, ignore_dispersion: bool) -> f64 {
        self.delay_seconds() / 2.0 + self.server_error(ignore_dispersion) + STAMP * self.noise()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(delay: f64, stamp_noise: f64) -> Measurement {
        Measurement {
            at: FreeTime::from_nanos(0),
            phase: NtpDuration::ZERO,
            delay: Some(NtpDuration::from_seconds_f64(delay)),
            stamp_noise,
            root_delay: NtpDuration::from_millis(20),
            root_dispersion: NtpDuration::from_millis(3),
        }
    }

    #[test]
    fn the_half_width_is_the_root_distance() {
        let half = measurement(0.010, 1e-6).half_width(false);
        assert!((half - (0.005 + 0.010 + 0.003 + 3e-6)).abs() < 1e-9);
        let trusting = measurement(0.010, 1e-6).half_width(true);
        assert!((half - trusting - 0.003).abs() < 1e-9);
    }

    #[test]
    fn only_a_slightly_negative_delay_is_accepted() {
        assert_eq!(measurement(-1e-5, 1e-6).check(NoiseLaw::Queue), Ok(()));
        assert_eq!(measurement(-1e-5, 1e-6).delay_seconds(), 0.0);
        assert_eq!(
            measurement(-1e-3, 1e-6).check(NoiseLaw::Queue),
            Err(InvalidMeasurement::NegativeDelay)
        );
    }

    #[test]
    fn noise_must_be_a_number_in_range() {
        for noise in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
            assert_eq!(
                measurement(0.01, noise).check(NoiseLaw::Queue),
                Err(InvalidMeasurement::AbsurdNoise)
            );
        }
    }

    #[test]
    fn a_reference_clock_is_off_by_its_accuracy_and_its_noise() {
        let sigma = NtpDuration::from_micros(40);
        let sample = Measurement {
            delay: None,
            root_delay: NtpDuration::ZERO,
            ..measurement(0.0, 30e-6)
        };
        assert_eq!(
            sample.check(NoiseLaw::Queue),
            Err(InvalidMeasurement::MissingDelay)
        );
        let law = NoiseLaw::Gaussian { sigma };
        assert_eq!(sample.check(law), Ok(()));
        let sample = sample.under(law);
        for ignore_dispersion in [false, true] {
            let half = sample.half_width(ignore_dispersion);
            assert!((half - (0.003 + 3.0 * 50e-6)).abs() < 1e-9, "{half}");
        }
    }
}
