//! How a server's clock moves against true time.
//!
//! Real servers are not constant: a server of stratum 2 follows another server over a network and
//! wanders with its own oscillator, and a liar moves on purpose. An asymmetry of the path that
//! changes slowly looks the same to a client as a server that moves by half of it.
//!
//! All values are in seconds, and in seconds per second.

use crate::{Rng, TrueTime};

/// Error of a server's clock over time, in addition to its constant error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Course {
    /// No further error.
    Steady,
    /// Runs away by `rate` from `from` on.
    Drift {
        /// Seconds since the beginning.
        from: f64,
        /// Error per second.
        rate: f64,
    },
    /// Moves by `by` at `from`.
    Step {
        /// Seconds since the beginning.
        from: f64,
        /// Size of the step.
        by: f64,
    },
    /// Rises to `height` within `period` and falls back to zero, again and again.
    Sawtooth {
        /// Largest error.
        height: f64,
        /// Seconds from one fall to the next.
        period: f64,
        /// Share of the first period that has passed at the beginning.
        phase: f64,
    },
    /// A sine, as the asymmetry of a path between day and night.
    Sine {
        /// Largest error.
        amplitude: f64,
        /// Seconds.
        period: f64,
    },
    /// Follows a perfect server.
    Disciplined(Follower),
}

/// A server of stratum 2: a free oscillator, steered by a filter of constant gain that measures a
/// perfect server every `POLL` seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Follower {
    /// Random walk of its oscillator, s/s per sqrt(s).
    pub wander: f64,
    /// Mean queue in each direction of its path to the perfect server.
    pub queue: f64,
}

/// Seconds between two measurements of a [`Follower`].
const POLL: f64 = 64.0;

/// Running state of a course.
#[derive(Clone, Debug)]
pub(crate) struct CourseState {
    course: Course,
    follower: Option<FollowerState>,
}

impl CourseState {
    pub(crate) fn new(course: Course, rng: Rng) -> Self {
        let follower = match course {
            Course::Disciplined(follower) => Some(FollowerState::new(follower, rng)),
            _ => None,
        };
        Self { course, follower }
    }

    /// The error at `now`, which must not go backwards.
    pub(crate) fn error(&mut self, now: TrueTime) -> f64 {
        let seconds = now.as_seconds();
        match self.course {
            Course::Steady => 0.0,
            Course::Drift { from, rate } => rate * (seconds - from).max(0.0),
            Course::Step { from, by } => {
                if seconds >= from {
                    by
                } else {
                    0.0
                }
            }
            Course::Sawtooth {
                height,
                period,
                phase,
            } => height * (seconds / period + phase).fract(),
            Course::Sine { amplitude, period } => {
                amplitude * (core::f64::consts::TAU * seconds / period).sin()
            }
            Course::Disciplined(_) => self
                .follower
                .as_mut()
                .map_or(0.0, |follower| follower.error(seconds)),
        }
    }
}

#[derive(Clone, Debug)]
struct FollowerState {
    model: Follower,
    rng: Rng,
    /// Gains of the filter in phase and frequency (1/s).
    gain: (f64, f64),
    /// Error of the undisciplined oscillator: phase and frequency.
    oscillator: (f64, f64),
    /// Its estimate.
    estimate: (f64, f64),
    /// Number of seconds that have passed.
    seconds: f64,
}

impl FollowerState {
    fn new(model: Follower, rng: Rng) -> Self {
        Self {
            model,
            rng,
            gain: steady_gain(model.wander, model.queue),
            oscillator: (0.0, 0.0),
            estimate: (0.0, 0.0),
            seconds: 0.0,
        }
    }

    /// The error of the disciplined clock: estimate minus truth.
    fn error(&mut self, now: f64) -> f64 {
        while self.seconds + 1.0 <= now {
            self.seconds += 1.0;
            self.oscillator.0 += self.oscillator.1;
            self.oscillator.1 += self.model.wander * self.rng.normal();
            self.estimate.0 += self.estimate.1;
            if self.seconds % POLL == 0.0 {
                self.measure();
            }
        }
        self.estimate.0 - self.oscillator.0
    }

    fn measure(&mut self) {
        let queues = self.rng.exponential() - self.rng.exponential();
        let measured = self.oscillator.0 + self.model.queue * queues / 2.0;
        let innovation = measured - self.estimate.0;
        self.estimate.0 += self.gain.0 * innovation;
        self.estimate.1 += self.gain.1 * innovation;
    }
}

/// Gain of the Kalman filter for a random walk of frequency in its steady state, by iteration of
/// the Riccati equation. The noise of a sample is that of the difference of two exponential queues.
fn steady_gain(wander: f64, queue: f64) -> (f64, f64) {
    let noise = queue * queue / 2.0;
    let q = wander * wander;
    // Variances of phase and frequency, and their covariance.
    let (mut phase, mut covariance, mut frequency) = (noise, 0.0, 1e-16);
    let mut gain = (0.0, 0.0);
    for _ in 0..2000 {
        phase += POLL * (2.0 * covariance + POLL * frequency) + q * POLL.powi(3) / 3.0;
        covariance += POLL * frequency + q * POLL.powi(2) / 2.0;
        frequency += q * POLL;
        gain = (phase / (phase + noise), covariance / (phase + noise));
        frequency -= gain.1 * covariance;
        covariance -= gain.0 * covariance;
        phase -= gain.0 * phase;
    }
    gain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_stays_near_its_server() {
        let course = Course::Disciplined(Follower {
            wander: 1e-9,
            queue: 2e-4,
        });
        let mut state = CourseState::new(course, Rng::new(3, 1));
        let mut squares = 0.0;
        for second in 1..=100_000 {
            squares += state
                .error(TrueTime::from_seconds(f64::from(second)))
                .powi(2);
        }
        let rms = (squares / 1e5).sqrt();
        assert!((2e-5..6e-5).contains(&rms), "{rms}");
    }

    #[test]
    fn a_sawtooth_falls_back() {
        let course = Course::Sawtooth {
            height: 4e-3,
            period: 1000.0,
            phase: 0.5,
        };
        let mut state = CourseState::new(course, Rng::new(3, 1));
        let at = |state: &mut CourseState, seconds| state.error(TrueTime::from_seconds(seconds));
        assert!((at(&mut state, 0.0) - 2e-3).abs() < 1e-9);
        assert!((at(&mut state, 499.0) - 3.996e-3).abs() < 1e-9);
        assert!(at(&mut state, 500.0).abs() < 1e-9);
    }
}
