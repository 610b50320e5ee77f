//! One exchange with a server, as the clock algorithm sees it.
//!
//! The client half of the engine turns four timestamps (RFC 5905 section 8) into a *phase* and a
//! *delay*. The phase is in free-running time, the timescale in which our own corrections are
//! undone: it is the bare oscillator minus true time. Free time is exact about what we did to the
//! clock, so nothing here ever has to be rewritten when the clock is steered.
//!
//! # How wrong can it be?
//! The two directions of the exchange share the delay in an unknown way, so the phase is off by at
//! most half of it; the server itself is off by at most its own root distance (RFC 5905 section
//! 11.2). Hence the *correctness interval*
//!
//! ```text
//! phase +- ( (delay + root delay)/2 + root dispersion + 3 stamp noise + drift rate * age )
//! ```
//!
//! which contains the truth as long as the server tells the truth. Selection, the reported bound
//! and the prior of a source's asymmetry all use this one sum.

use ntp_time::{FreeTime, NtpDuration};

/// What one exchange with a server told us.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Local midpoint of the exchange.
    pub at: FreeTime,
    /// Free-running clock minus true time, assuming that both directions took equally long.
    pub phase: NtpDuration,
    /// Round trip, without the server's processing time; noise of the stamps may bring it a little
    /// below zero.
    pub delay: NtpDuration,
    /// Standard deviation, in seconds, of what stamps and both clocks' precision add to the phase.
    pub stamp_noise: f64,
    /// The server's own round trip to its reference clock.
    pub root_delay: NtpDuration,
    /// The server's own error besides half of its root delay.
    pub root_dispersion: NtpDuration,
}

/// Why a measurement was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No source has this key: it left, or never joined.
    UnknownSource,
    /// The stamp noise is not a number between 0 and 1 s: a defect of the caller.
    AbsurdNoise,
    /// The delay is negative beyond what stamps can do, or the root delay or dispersion is: the
    /// server is at fault.
    NegativeDelay,
    /// Older than what is known by more than an exchange can take.
    OutOfOrder,
}

/// Sigmas of stamp noise inside the interval: 3, because the interval is meant to be a guarantee.
const INTERVAL_SIGMAS: f64 = 3.0;

/// Sigmas by which a delay may be negative before we blame the server. The delay carries twice the
/// noise of the phase, so these are five of its own.
const NEGATIVE_DELAY_SIGMAS: f64 = 10.0;

/// What a virtual machine's or a network card's unmodelled stamp jitter may add to that.
const NEGATIVE_DELAY_ALLOWANCE: f64 = 1e-4;

/// Smallest believable stamp noise: one nanosecond, the resolution of a stamp.
const STAMP_NOISE_FLOOR: f64 = 1e-9;

impl Measurement {
    /// Turns away what cannot be a measurement. Everything that passes is finite.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        if !(0.0..=1.0).contains(&self.stamp_noise) {
            return Err(Rejection::AbsurdNoise);
        }
        let least = -NEGATIVE_DELAY_SIGMAS * self.stamp_noise - NEGATIVE_DELAY_ALLOWANCE;
        if self.delay.as_seconds_f64() < least
            || self.root_delay.is_negative()
            || self.root_dispersion.is_negative()
        {
            return Err(Rejection::NegativeDelay);
        }
        Ok(())
    }

    /// Round trip in seconds, never negative.
    pub(super) fn delay_seconds(&self) -> f64 {
        self.delay.as_seconds_f64().max(0.0)
    }

    /// Stamp noise in seconds, at least a nanosecond.
    pub(super) fn noise(&self) -> f64 {
        self.stamp_noise.max(STAMP_NOISE_FLOOR)
    }

    /// The server's own share of the interval, in seconds.
    pub(super) fn server_error(&self, ignore_dispersion: bool) -> f64 {
        let dispersion = if ignore_dispersion {
            0.0
        } else {
            self.root_dispersion.as_seconds_f64()
        };
        self.root_delay.as_seconds_f64() / 2.0 + dispersion
    }

    /// Half of the correctness interval at the time of the measurement, in seconds.
    pub(super) fn half_width(&self, ignore_dispersion: bool) -> f64 {
        self.delay_seconds() / 2.0
            + self.server_error(ignore_dispersion)
            + INTERVAL_SIGMAS * self.noise()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(delay: f64, stamp_noise: f64) -> Measurement {
        Measurement {
            at: FreeTime::from_nanos(0),
            phase: NtpDuration::ZERO,
            delay: NtpDuration::from_seconds_f64(delay),
            stamp_noise,
            root_delay: NtpDuration::from_millis(20),
            root_dispersion: NtpDuration::from_millis(3),
        }
    }

    #[test]
    fn the_interval_is_the_root_distance() {
        let half = measurement(0.010, 1e-6).half_width(false);
        assert!((half - (0.005 + 0.010 + 0.003 + 3e-6)).abs() < 1e-9);
        let trusting = measurement(0.010, 1e-6).half_width(true);
        assert!((half - trusting - 0.003).abs() < 1e-9);
    }

    #[test]
    fn a_slightly_negative_delay_is_noise_and_a_very_negative_one_a_lie() {
        assert_eq!(measurement(-1e-5, 1e-6).check(), Ok(()));
        assert_eq!(measurement(-1e-5, 1e-6).delay_seconds(), 0.0);
        assert_eq!(
            measurement(-1e-3, 1e-6).check(),
            Err(Rejection::NegativeDelay)
        );
    }

    #[test]
    fn noise_must_be_a_number() {
        for noise in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
            assert_eq!(
                measurement(0.01, noise).check(),
                Err(Rejection::AbsurdNoise)
            );
        }
    }
}
