//! Steering: from an estimate to what the clock should do.
//!
//! # Problem
//! The oscillator's frequency is undone by running the clock at minus the estimate. That leaves the
//! *gap*, the system clock's error as far as we know it, which must be removed by a step (time
//! jumps) or a slew (time runs a little faster or slower for a while).
//!
//! # Step or slew
//! Programs trust time to be smooth, so we step only while nobody can rely on it yet: in the first
//! three updates, or when the engine says so because someone else stepped the clock, the machine
//! slept or was moved. Even then a gap that a slew removes before the next update is slewed. An
//! operator who sets `step-threshold` gets upstream's meaning instead: larger gaps step, for the
//! whole life of the daemon.
//!
//! # How long a slew
//! Phase wants it short, frequency wants it long: a gap g removed over L of every T seconds costs a
//! mean square phase error of g^2 L/(3T) and a mean square frequency error of g^2/(L T). A fixed
//! share of T is wrong everywhere. Both costs grow with g^2, so the best L does not depend on the
//! gap at hand but on what gaps are like: in the steady state their mean square is the growth of
//! the phase variance between updates, and it is to be compared with the mean variance V that the
//! phase has anyway. A slew may outlast T: the next update then plans the rest of it anew, so gaps fade with the time
//! constant L and cost g^2 L/(2T). We take the longest slew that adds no more than a share s to V:
//!
//! ```text
//! L = 2 s T V / max(growth(T), (g/5)^2),   at least T/64
//! ```
//!
//! Where noise dominates, each sample corrects little of what is unknown, and L is several T: the
//! frequency becomes nearly as smooth as the estimate. Where wander dominates, most of the error *is* the
//! gap, and L is short. A gap beyond five sigmas is no steady state but a jump just found, and is
//! removed at once. This is a trade, frequency error falls with the root of s: s = 0.05 costs 1 to 2 % of phase.
//!
//! # Panic
//! A gap beyond the operator's thresholds is refused, whether it would be stepped or slewed:
//! somebody should look at it first.

use ntp_time::{Frequency, NtpDuration};

use super::figures::Estimate;

/// The most that a step or slew may correct in each direction; None is no limit. A correction equal
/// to the limit is refused, as upstream does, so zero forbids every one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PanicThreshold {
    /// Limit for setting the clock forward.
    pub forward: Option<NtpDuration>,
    /// Limit for setting it back.
    pub backward: Option<NtpDuration>,
}

impl PanicThreshold {
    /// The limit that `correction` reaches or passes, if any.
    fn exceeded_by(&self, correction: NtpDuration) -> Option<NtpDuration> {
        let limit = if correction.is_negative() {
            self.backward
        } else {
            self.forward
        };
        limit.filter(|limit| correction.abs() >= *limit)
    }
}

/// The operator's wishes about steering.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SteeringConfig {
    /// Gaps larger than this are stepped at any time; None: our own rule, see the module.
    pub step_threshold: Option<NtpDuration>,
    /// Updates at the start that may step.
    pub steps_at_start: u32,
    /// Panic threshold until the first update has succeeded.
    pub startup_panic: PanicThreshold,
    /// Panic threshold for each later correction.
    pub single_panic: PanicThreshold,
    /// Limit of the sum of all later steps' magnitudes; None is no limit.
    pub accumulated_panic: Option<NtpDuration>,
    /// Largest frequency of a slew, on top of the base frequency.
    pub slew_maximum: Frequency,
    /// Shortest slew.
    pub slew_minimum_duration: NtpDuration,
    /// Largest total frequency correction: what the clock can do.
    pub maximum_frequency: Frequency,
}

impl Default for SteeringConfig {
    /// Upstream's panic thresholds (1000 s; at start any time forward, a day back), and our own
    /// rule for steps and slews.
    fn default() -> Self {
        let thousand = Some(NtpDuration::from_seconds(1000));
        Self {
            step_threshold: None,
            steps_at_start: 3,
            startup_panic: PanicThreshold {
                forward: None,
                backward: Some(NtpDuration::from_seconds(86_400)),
            },
            single_panic: PanicThreshold {
                forward: thousand,
                backward: thousand,
            },
            accumulated_panic: None,
            slew_maximum: Frequency::from_ppm(500.0),
            slew_minimum_duration: NtpDuration::from_seconds(1),
            // The range of Linux's tick adjustment.
            maximum_frequency: Frequency::from_ppm(100_000.0),
        }
    }
}

/// What the clock should do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Jump, then run at `frequency`.
    Step {
        /// To be added to the clock.
        by: NtpDuration,
        /// Correction relative to the bare oscillator.
        frequency: Frequency,
    },
    /// Run at `frequency` for `duration`, then at `base`.
    Slew {
        /// Correction during the slew: base plus slew.
        frequency: Frequency,
        /// Correction afterwards.
        base: Frequency,
        /// Length of the slew.
        duration: NtpDuration,
    },
    /// Leave everything as it is: there is no sensible estimate.
    Hold,
    /// Touch nothing and tell the operator.
    Panic {
        /// The threshold that was reached.
        which: Panic,
        /// The correction that would have been made.
        correction: NtpDuration,
        /// The threshold's value.
        limit: NtpDuration,
    },
}

/// A panic threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panic {
    /// `startup-step-panic-threshold`.
    Startup,
    /// `single-step-panic-threshold`.
    Single,
    /// `accumulated-step-panic-threshold`.
    Accumulated,
}

impl Panic {
    /// The configuration's name for it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Startup => "startup-step-panic-threshold",
            Self::Single => "single-step-panic-threshold",
            Self::Accumulated => "accumulated-step-panic-threshold",
        }
    }
}

/// Share of the phase's own variance that a slew may add.
const PHASE_SACRIFICE: f64 = 0.05;
/// The shortest slew as a share of the poll interval: shorter ones cost frequency and gain nothing
/// in phase.
const SHORTEST_SHARE: f64 = 1.0 / 64.0;
/// A gap beyond this many sigmas of the steady state's is a jump.
const JUMP_SIGMAS: f64 = 5.0;
/// A gap is stepped only if it is beyond this many of its sigmas. The first sample's sigma is d/sqrt(8) for a round trip of d, and
/// it is wrong by d/2 at most: beyond three sigmas, 1.06 d, a step cannot make the clock worse. A smaller one waits for the
/// next sample of the burst.
const STEP_SIGMAS: f64 = 3.0;

/// Turns estimates into decisions; remembers only what the thresholds need.
#[derive(Clone, Debug)]
pub struct Steering {
    config: SteeringConfig,
    /// Updates that may still step.
    steps_left: u32,
    /// Whether an update has succeeded.
    settled: bool,
    /// Sum of the magnitudes of the steps after the first update.
    accumulated: NtpDuration,
}

impl Steering {
    /// With nothing corrected so far.
    pub fn new(config: SteeringConfig) -> Self {
        Self {
            config,
            steps_left: config.steps_at_start,
            settled: false,
            accumulated: NtpDuration::ZERO,
        }
    }

    /// The next updates may step as at the start: the clock was stepped by someone else, or the machine slept or
    /// moved. More than one, because the first sample may be a late packet's.
    pub fn allow_step(&mut self) {
        self.steps_left = self.config.steps_at_start.max(1);
    }

    /// The operator's wishes are others now; what was corrected so far still counts.
    pub fn reconfigure(&mut self, config: SteeringConfig) {
        self.config = config;
    }

    /// A step that the operator asks for, whatever the rules say about step or slew. The panic thresholds hold, as for
    /// every step, unless it is `forced`.
    pub fn step(&mut self, gap: NtpDuration, estimate: &Estimate, forced: bool) -> Decision {
        let base = -estimate.frequency;
        if !base.as_ratio().is_finite() {
            return Decision::Hold;
        }
        let correction = -gap;
        if let Some((which, limit)) = self.refuses(correction, true).filter(|_| !forced) {
            return Decision::Panic {
                which,
                correction,
                limit,
            };
        }
        if self.settled {
            self.accumulated += correction.abs();
        }
        self.settled = true;
        Decision::Step {
            by: correction,
            frequency: base.limited(self.config.maximum_frequency),
        }
    }

    /// Sum of the magnitudes of all steps after the first update.
    pub fn accumulated(&self) -> NtpDuration {
        self.accumulated
    }

    /// Decides, once per update. `gap` is the system clock minus the estimate of true time,
    /// `until_next` the expected time to the next update.
    ///
    /// Calling it is an update: steps are counted as made.
    pub fn decide(
        &mut self,
        gap: NtpDuration,
        estimate: &Estimate,
        until_next: NtpDuration,
    ) -> Decision {
        let base = -estimate.frequency;
        if !base.as_ratio().is_finite() || !estimate.link_sigma.is_finite() {
            return Decision::Hold;
        }
        let base = base.limited(self.config.maximum_frequency);
        let correction = -gap;
        let steps = self.wants_step(gap, estimate, until_next);
        if let Some((which, limit)) = self.refuses(correction, steps) {
            return Decision::Panic {
                which,
                correction,
                limit,
            };
        }
        if steps && self.settled {
            self.accumulated += correction.abs();
        }
        self.settled = true;
        self.steps_left = self.steps_left.saturating_sub(1);
        if steps {
            Decision::Step {
                by: correction,
                frequency: base,
            }
        } else {
            self.slew(correction.as_seconds_f64(), base, estimate, until_next)
        }
    }

    fn wants_step(&self, gap: NtpDuration, estimate: &Estimate, until_next: NtpDuration) -> bool {
        if let Some(threshold) = self.config.step_threshold {
            return gap.abs() > threshold;
        }
        let gap = gap.abs().as_seconds_f64();
        let slewed_in_time =
            gap <= self.config.slew_maximum.as_ratio() * until_next.as_seconds_f64();
        self.steps_left > 0 && gap > STEP_SIGMAS * estimate.link_sigma && !slewed_in_time
    }

    fn refuses(&self, correction: NtpDuration, steps: bool) -> Option<(Panic, NtpDuration)> {
        if !self.settled {
            let limit = self.config.startup_panic.exceeded_by(correction)?;
            // Slewing what is not even worth a step must not stop a daemon whose operator forbade
            // steps.
            return steps.then_some((Panic::Startup, limit));
        }
        let single = self.config.single_panic.exceeded_by(correction);
        if let Some(limit) = single.filter(|limit| steps || *limit > NtpDuration::ZERO) {
            return Some((Panic::Single, limit));
        }
        let limit = self.config.accumulated_panic?;
        (steps && self.accumulated + correction.abs() > limit)
            .then_some((Panic::Accumulated, limit))
    }

    fn slew(
        &self,
        correction: f64,
        base: Frequency,
        estimate: &Estimate,
        until_next: NtpDuration,
    ) -> Decision {
        let interval = until_next.as_seconds_f64().max(1.0);
        let jump = correction / JUMP_SIGMAS;
        let usual = estimate.growth(interval).max(jump * jump);
        let share = if usual > 0.0 {
            2.0 * PHASE_SACRIFICE * estimate.mean_variance(interval) / usual
        } else {
            1.0
        };
        let wished = interval * share.max(SHORTEST_SHARE);

        // What the slew may use is what its own limit and the clock's range leave.
        let range = self.config.maximum_frequency.as_ratio();
        let room = (range - base.as_ratio() * correction.signum()).max(0.0);
        let fastest = self.config.slew_maximum.as_ratio().min(room);
        if fastest <= 0.0 {
            return Decision::Slew {
                frequency: base,
                base,
                duration: NtpDuration::ZERO,
            };
        }
        let duration = wished
            .max(self.config.slew_minimum_duration.as_seconds_f64())
            .max(correction.abs() / fastest);
        Decision::Slew {
            frequency: base + Frequency::from_ratio(correction / duration),
            base,
            duration: NtpDuration::from_seconds_f64(duration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: NtpDuration = NtpDuration::from_seconds(64);

    fn known_to(link_sigma: f64) -> Estimate {
        Estimate {
            phase: NtpDuration::ZERO,
            frequency: Frequency::from_ppm(30.0),
            phase_sigma: link_sigma,
            link_sigma,
            frequency_sigma: 1e-8,
            covariance: 0.0,
            wander: 1e-10,
        }
    }

    fn seconds(value: f64) -> NtpDuration {
        NtpDuration::from_seconds_f64(value)
    }

    fn settled(config: SteeringConfig) -> Steering {
        let mut steering = Steering::new(config);
        for _ in 0..config.steps_at_start {
            steering.decide(NtpDuration::ZERO, &known_to(1e-4), POLL);
        }
        steering
    }

    fn slew_of(decision: Decision) -> (f64, f64) {
        match decision {
            Decision::Slew {
                frequency,
                base,
                duration,
            } => ((frequency - base).as_ratio(), duration.as_seconds_f64()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_updates_step_what_a_slew_cannot_reach() {
        let mut steering = Steering::new(SteeringConfig::default());
        assert_eq!(
            steering.decide(seconds(0.1), &known_to(1e-3), NtpDuration::from_seconds(2)),
            Decision::Step {
                by: seconds(-0.1),
                frequency: Frequency::from_ppm(-30.0)
            }
        );
        // Half a millisecond is slewed before the next sample.
        slew_of(steering.decide(seconds(5e-4), &known_to(1e-5), NtpDuration::from_seconds(2)));
        // What may be noise is not stepped.
        slew_of(steering.decide(seconds(0.1), &known_to(0.1), NtpDuration::from_seconds(2)));
    }

    #[test]
    fn later_gaps_are_slewed_at_500_ppm() {
        let mut steering = settled(SteeringConfig::default());
        let (rate, duration) = slew_of(steering.decide(seconds(1.0), &known_to(1e-4), POLL));
        assert!((rate + 500e-6).abs() < 1e-12);
        assert!((duration - 2000.0).abs() < 1e-6);
        steering.allow_step();
        for _ in 0..SteeringConfig::default().steps_at_start {
            assert!(matches!(
                steering.decide(seconds(1.0), &known_to(1e-4), POLL),
                Decision::Step { .. }
            ));
        }
        slew_of(steering.decide(seconds(1.0), &known_to(1e-4), POLL));
    }

    #[test]
    fn a_step_threshold_of_the_operator_holds_for_life() {
        let mut steering = settled(SteeringConfig {
            step_threshold: Some(seconds(0.01)),
            ..SteeringConfig::default()
        });
        for _ in 0..10 {
            assert!(matches!(
                steering.decide(seconds(-0.02), &known_to(1e-4), POLL),
                Decision::Step { .. }
            ));
        }
        slew_of(steering.decide(seconds(0.009), &known_to(1e-4), POLL));
        assert_eq!(steering.accumulated(), seconds(0.02) * 10);
    }

    #[test]
    fn panic_thresholds_are_strict_and_touch_nothing() {
        let config = SteeringConfig {
            step_threshold: Some(seconds(0.01)),
            accumulated_panic: Some(seconds(5.0)),
            ..SteeringConfig::default()
        };
        let day = NtpDuration::from_seconds(86_400);
        let mut steering = Steering::new(config);
        assert!(matches!(
            steering.decide(day, &known_to(1e-4), POLL),
            Decision::Panic {
                which: Panic::Startup,
                ..
            }
        ));
        // Half a century forward is what a machine without a battery clock needs.
        assert!(matches!(
            steering.decide(-(day * 20_000), &known_to(1e-4), POLL),
            Decision::Step { .. }
        ));
        for gap in [1000, -1000, 5000] {
            assert!(matches!(
                steering.decide(NtpDuration::from_seconds(gap), &known_to(1e-4), POLL),
                Decision::Panic {
                    which: Panic::Single,
                    ..
                }
            ));
        }
        let gap = NtpDuration::from_seconds(3);
        assert!(matches!(
            steering.decide(gap, &known_to(1e-4), POLL),
            Decision::Step { .. }
        ));
        assert_eq!(
            steering.decide(-gap, &known_to(1e-4), POLL),
            Decision::Panic {
                which: Panic::Accumulated,
                correction: gap,
                limit: seconds(5.0)
            }
        );
    }

    #[test]
    fn a_forbidden_step_does_not_forbid_small_slews() {
        let none = PanicThreshold {
            forward: Some(NtpDuration::ZERO),
            backward: Some(NtpDuration::ZERO),
        };
        let mut steering = Steering::new(SteeringConfig {
            startup_panic: none,
            single_panic: none,
            ..SteeringConfig::default()
        });
        for _ in 0..3 {
            slew_of(steering.decide(seconds(1e-5), &known_to(1e-4), POLL));
        }
    }

    #[test]
    fn noise_is_slewed_slowly_and_wander_quickly() {
        let steering = settled(SteeringConfig::default());
        // The estimate is stable: each update corrects a small share of what is unknown.
        let stable = known_to(1e-4);
        let (_, slow) = slew_of(steering.clone().decide(seconds(1e-5), &stable, POLL));
        assert!(slow > 64.0, "{slow}");
        // A jump does not wait.
        let (_, jump) = slew_of(steering.clone().decide(seconds(1e-2), &stable, POLL));
        assert!((jump - 20.0).abs() < 1e-6);
        // The phase runs away between updates.
        let restless = Estimate {
            wander: 1e-6,
            ..known_to(1e-6)
        };
        let (_, quick) = slew_of(steering.clone().decide(seconds(3e-4), &restless, POLL));
        assert!(quick <= 4.0, "{quick}");
    }

    #[test]
    fn the_clock_s_range_is_kept() {
        let mut steering = settled(SteeringConfig {
            maximum_frequency: Frequency::from_ppm(50.0),
            ..SteeringConfig::default()
        });
        let (rate, duration) = slew_of(steering.decide(seconds(1.0), &known_to(1e-4), POLL));
        // The base takes -30 ppm of -50.
        assert!((rate + 20e-6).abs() < 1e-12);
        assert!((rate * duration + 1.0).abs() < 1e-9);
    }

    #[test]
    fn nonsense_is_held() {
        let mut steering = Steering::new(SteeringConfig::default());
        let estimate = Estimate {
            frequency: Frequency::from_ratio(f64::NAN),
            ..known_to(1.0)
        };
        assert_eq!(
            steering.decide(NtpDuration::MAX, &estimate, POLL),
            Decision::Hold
        );
    }
}
