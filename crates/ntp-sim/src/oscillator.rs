//! A crystal oscillator.
//!
//! Its frequency error, in s/s, is the sum of what crystals do, brought up to date once a second:
//!
//! ```text
//! y(t) = offset + walk(t) + white(t) + A sin(2 pi t / P) + jumps
//! ```
//!
//! - `offset`: cut and age, tens of ppm;
//! - `walk`: each second it moves by `wander` x N(0,1) (random-walk frequency noise), the long-term enemy;
//! - `white`: each second a fresh `white` x N(0,1) (white frequency noise), the short-term one;
//! - the sine: the temperature of day and night;
//! - jumps: a heating that switches on, or what a test wants.

use crate::{Chance, TrueTime};

/// The laws of an oscillator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Oscillator {
    /// Constant frequency error, s/s.
    pub offset: f64,
    /// Random walk, s/s per sqrt(s).
    pub wander: f64,
    /// White frequency noise, s/s in each second.
    pub white: f64,
    /// Periodic change.
    pub sine: Option<Sine>,
}

/// A periodic change of frequency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sine {
    /// Largest deviation, s/s.
    pub amplitude: f64,
    /// Seconds.
    pub period: f64,
}

/// An oscillator at work.
#[derive(Clone, Debug)]
pub(crate) struct Crystal {
    laws: Oscillator,
    chance: Chance,
    /// Offset, walk and jumps so far.
    slow: f64,
    error: f64,
}

impl Crystal {
    pub(crate) fn new(laws: Oscillator, chance: Chance) -> Self {
        let mut crystal = Self {
            laws,
            chance,
            slow: laws.offset,
            error: laws.offset,
        };
        crystal.tick(TrueTime::ZERO);
        crystal
    }

    /// The frequency error now, s/s.
    pub(crate) fn error(&self) -> f64 {
        self.error
    }

    /// A second begins.
    pub(crate) fn tick(&mut self, now: TrueTime) {
        if self.laws.wander > 0.0 {
            self.slow += self.laws.wander * self.chance.normal();
        }
        self.error = self.slow;
        if self.laws.white > 0.0 {
            self.error += self.laws.white * self.chance.normal();
        }
        if let Some(Sine { amplitude, period }) = self.laws.sine {
            self.error += amplitude * (core::f64::consts::TAU * now.as_seconds() / period).sin();
        }
    }

    /// The frequency changes at once, and stays changed.
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
        let laws = Oscillator {
            wander: 1e-9,
            ..Oscillator::default()
        };
        let runs = 400;
        let mean_square = (0..runs)
            .map(|seed| {
                let mut crystal = Crystal::new(laws, Chance::new(seed, 0));
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
