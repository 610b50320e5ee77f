//! A crystal oscillator.
//!
//! Its frequency error, in s/s, is the sum of these parts, updated once a second:
//!
//! ```text
//! y(t) = offset + walk(t) + white(t) + A sin(2 pi t / P) + jumps
//! ```
//!
//! - `offset`: cut and age, tens of ppm;
//! - `walk`: each second it moves by `wander` x N(0,1) (random-walk frequency noise), which
//!   dominates in the long term;
//! - `white`: each second a new `white` x N(0,1) (white frequency noise), which dominates in the
//!   short term;
//! - the sine: the temperature of day and night;
//! - jumps: a heating that switches on, or a test's script.

use crate::{Rng, TrueTime};

/// Parameters of an oscillator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Oscillator {
    /// Constant frequency error, s/s.
    pub offset: f64,
    /// Random walk, s/s per sqrt(s).
    pub wander: f64,
    /// White frequency noise, s/s in each second.
    pub white: f64,
    /// Periodic frequency change.
    pub sine: Option<Sine>,
}

/// A periodic change of frequency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sine {
    /// Amplitude, s/s.
    pub amplitude: f64,
    /// Period, seconds.
    pub period: f64,
}

/// Running state of an oscillator.
#[derive(Clone, Debug)]
pub(crate) struct Crystal {
    model: Oscillator,
    rng: Rng,
    /// Sum of offset, walk and jumps.
    slow: f64,
    error: f64,
}

impl Crystal {
    pub(crate) fn new(model: Oscillator, rng: Rng) -> Self {
        let mut crystal = Self {
            model,
            rng,
            slow: model.offset,
            error: model.offset,
        };
        crystal.tick(TrueTime::ZERO);
        crystal
    }

    /// Present frequency error, s/s.
    pub(crate) fn error(&self) -> f64 {
        self.error
    }

    /// Advances to the next second.
    pub(crate) fn tick(&mut self, now: TrueTime) {
        if self.model.wander > 0.0 {
            self.slow += self.model.wander * self.rng.normal();
        }
        self.error = self.slow;
        if self.model.white > 0.0 {
            self.error += self.model.white * self.rng.normal();
        }
        if let Some(Sine { amplitude, period }) = self.model.sine {
            self.error += amplitude * (core::f64::consts::TAU * now.as_seconds() / period).sin();
        }
    }

    /// Changes the frequency at once and permanently.
    pub(crate) fn jump(&mut self, by: f64) {
        self.slow += by;
        self.error += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wander_grows_with_the_root_of_time() {
        let model = Oscillator {
            wander: 1e-9,
            ..Oscillator::default()
        };
        let runs = 400;
        let mean_square = (0..runs)
            .map(|seed| {
                let mut crystal = Crystal::new(model, Rng::new(seed, 0));
                (1..1000)
                    .for_each(|second| crystal.tick(TrueTime::from_seconds(f64::from(second))));
                crystal.error().powi(2)
            })
            .sum::<f64>()
            / runs as f64;
        let expected = 1000.0 * 1e-18;
        assert!(
            (mean_square / expected - 1.0).abs() < 0.25,
            "{mean_square:e}"
        );
    }
}
