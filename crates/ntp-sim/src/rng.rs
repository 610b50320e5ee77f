//! Random numbers from a seed, in independent streams.
//!
//! Every part of a world (each path, each server, the oscillator) draws from its own stream of the
//! same seed. What one part does never shifts the numbers of another, and two runs that differ in
//! one thing differ in nothing else.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    generator: ChaCha8Rng,
    /// Second number of a normal pair.
    spare: Option<f64>,
}

impl Rng {
    /// Creates stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self {
            generator,
            spare: None,
        }
    }

    /// Returns 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Returns 256 random bits, as a seed of the engine.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.generator.fill_bytes(&mut seed);
        seed
    }

    /// Uniform in (0, 1].
    pub fn uniform(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Uniform between two values.
    pub fn uniform_between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Log-uniform between two positive values.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        self.uniform_between(low.ln(), high.ln()).exp()
    }

    /// Uniform among `0..count`; zero if `count` is.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next_u64() % (count.max(1) as u64)).unwrap_or(0)
    }

    /// True with this probability.
    pub fn bernoulli(&mut self, probability: f64) -> bool {
        // Uniform excludes zero, so that a probability of 0 never occurs.
        probability > 0.0 && self.uniform() <= probability
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Normal with mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (2.0 * self.exponential()).sqrt();
        let (sine, cosine) = (core::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_differ() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            [rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn the_laws_have_the_moments_they_should() {
        let mut rng = Rng::new(1, 0);
        let count = 100_000;
        let mean = |draw: &mut dyn FnMut() -> f64| {
            (0..count).map(|_| draw()).sum::<f64>() / f64::from(count)
        };
        assert!((mean(&mut || rng.exponential()) - 1.0).abs() < 0.02);
        assert!(mean(&mut || rng.normal()).abs() < 0.02);
        assert!((mean(&mut || rng.normal().powi(2)) - 1.0).abs() < 0.02);
        assert!((mean(&mut || f64::from(rng.bernoulli(0.3))) - 0.3).abs() < 0.01);
    }
}
