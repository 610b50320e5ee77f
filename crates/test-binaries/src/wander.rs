//! An oscillator whose frequency wanders, for machines whose own oscillator is perfect.
//!
//! The clock of an emulated machine that counts instructions has a constant frequency, so nothing
//! would be left to do for the clock under test after a while. True time can wander against it
//! instead: each second its frequency changes by a normal random number, the model of the
//! simulator's worlds. The walk follows from a seed, so all programs of a machine agree on it.

use std::sync::Arc;

use ntp_sim::Rng;
use ntp_time::NtpDuration;

/// A random walk of the frequency.
#[derive(Clone, Debug, PartialEq)]
pub struct Wander {
    /// Time gained until each whole second, in seconds. At least two.
    gained: Arc<[f64]>,
}

impl Wander {
    /// A walk of `per_second` (change of the frequency in each second, s/s, one standard deviation)
    /// for a duration in seconds; afterwards the frequency stays.
    pub fn new(per_second: f64, seed: u64, seconds: u32) -> Self {
        let mut numbers = Rng::new(seed, 0);
        let (mut gained, mut frequency) = (0.0, 0.0);
        let walk = (0..seconds.max(1)).map(|_| {
            frequency += per_second * numbers.normal();
            gained += frequency;
            gained
        });
        Self {
            gained: core::iter::once(0.0).chain(walk).collect(),
        }
    }

    /// Time gained until `elapsed`.
    pub(crate) fn gained(&self, elapsed: NtpDuration) -> NtpDuration {
        let elapsed = elapsed.as_seconds_f64();
        let last = self.gained.len() - 2;
        let second = (elapsed.max(0.0) as usize).min(last);
        let (before, after) = (self.gained[second], self.gained[second + 1]);
        NtpDuration::from_seconds_f64(before + (after - before) * (elapsed - second as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequency_walks_and_stays_at_the_end() {
        let wander = Wander::new(1e-9, 3, 10_000);
        assert_eq!(wander, Wander::new(1e-9, 3, 10_000), "one seed, one walk");
        let at = |seconds: f64| {
            let gained = wander.gained(NtpDuration::from_seconds_f64(seconds));
            gained.as_seconds_f64()
        };
        let frequency = |second: f64| at(second + 1.0) - at(second);
        assert_eq!(at(0.0), 0.0);
        // A hundred steps of 1e-9 are 1e-8 in the root mean square.
        let squares = (0..99).map(|part| {
            let from = f64::from(part) * 100.0;
            (frequency(from + 100.0) - frequency(from)).powi(2)
        });
        let step = (squares.sum::<f64>() / 99.0).sqrt();
        assert!((0.8e-8..1.25e-8).contains(&step), "{step:e}");
        assert!(
            (frequency(10_000.0) - frequency(12_345.0)).abs() < 2e-9,
            "the walk ends"
        );
        assert!((at(100.5) - (at(100.0) + at(101.0)) / 2.0).abs() < 2e-9);
    }
}
