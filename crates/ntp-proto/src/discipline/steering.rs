//! Steering: turns an estimate into corrections of the clock.
//!
//! # Problem
//! The oscillator's frequency is corrected by running the clock at minus the estimate. That leaves
//! the *gap*, the estimated error of the system clock, which must be removed by a step (time jumps)
//! or a slew (time runs a little faster or slower for a while).
//!
//! # Step or slew
//! Programs rely on smooth time, so the clock is stepped only while they cannot do that yet: in the
//! first three updates, or when the engine allows it because someone else stepped the clock, or the
//! machine slept or migrated. Even then a gap that a slew removes before the next update is slewed.
//! With `step-threshold` configured the rule is upstream's: larger gaps are stepped at any time.
//! Steps after start-up that nothing but the sources asks for are delayed, see
//! [`stepout`](super::stepout).
//!
//! # Duration of a slew
//! A short slew is good for the phase, a long one for the frequency: a gap g removed over L of
//! every T seconds costs a mean square phase error of g^2 L/(3T) and a mean square frequency error
//! of g^2/(L T). No fixed share of T suits all worlds. Both costs grow with g^2, so the best L
//! depends not on the current gap but on the usual one: in the steady state the mean square gap is
//! the growth of the phase variance between updates, to be compared with the mean variance V that
//! the phase has anyway. A slew may outlast T: the next update then plans the rest again, so gaps
//! decay with the time constant L and cost g^2 L/(2T). We take the longest slew that adds no more
//! than a share s to V:
//!
//! ```text
//! L = 2 s T V / max(growth(T), (g/5)^2),   at least T/64
//! ```
//!
//! Where noise dominates, each sample corrects only a little, and L is several T: the frequency
//! becomes nearly as smooth as the estimate. Where wander dominates, most of the error *is* the
//! gap, and L is short. A gap beyond five standard deviations is not the steady state but a new
//! jump, and is removed at once. The frequency error falls with the root of s: s = 0.1 costs 1 to
//! 2 % of phase error. With n equal sources there are n times as many corrections, so s grows with
//! n: the estimate of the frequency is smoother than that of one source, and only slews made it
//! rougher. Slow sources beside a fast one add hardly any corrections, so what counts is their rate
//! over that of the fastest source: a pulse each second beside four servers is steered as alone.
//!
//! # Panic
//! A gap beyond the configured panic thresholds is not corrected, neither by a step nor by a slew.
//! An operator can force the step; the sum of steps is then counted anew for its threshold, as after
//! a restart, because the operator has looked at them.

use ntp_time::{Frequency, Monotonic, NtpDuration};
use serde::{Deserialize, Serialize};

use super::confidence::{OUTLIER, STEP};
use super::report::Estimate;
use super::stepout::{Conditions, NEW_TIME, Stepout, Verdict};

/// Largest correction by a step or slew in each direction; `None` is no limit. A correction equal
/// to the limit is refused, as upstream does, so zero forbids all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicThreshold {
    /// Limit for setting the clock forward.
    #[serde(with = "ntp_time::exact")]
    pub forward: Option<NtpDuration>,
    /// Limit for setting it back.
    #[serde(with = "ntp_time::exact")]
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

/// Configuration of steering.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SteeringConfig {
    /// Gaps larger than this are stepped at any time; `None`: our own rule, see the module.
    #[serde(with = "ntp_time::exact")]
    pub step_threshold: Option<NtpDuration>,
    /// Number of updates at the start that may step.
    pub steps_at_start: u32,
    /// Shortest time for which the sources must hold a new time before the clock is stepped to it,
    /// after start-up. Zero does not wait.
    #[serde(with = "ntp_time::exact")]
    pub stepout_time: NtpDuration,
    /// Number of polls of each source during which they must hold it.
    pub stepout_polls: u32,
    /// Panic threshold until the first update has succeeded.
    pub startup_panic: PanicThreshold,
    /// Panic threshold for each later correction.
    pub single_panic: PanicThreshold,
    /// Limit of the sum of all later steps' magnitudes; `None` is no limit.
    #[serde(with = "ntp_time::exact")]
    pub accumulated_panic: Option<NtpDuration>,
    /// Largest frequency of a slew, on top of the base frequency.
    #[serde(with = "ntp_time::exact")]
    pub slew_maximum: Frequency,
    /// Shortest slew.
    #[serde(with = "ntp_time::exact")]
    pub slew_minimum_duration: NtpDuration,
    /// Largest total frequency correction: what the clock can do.
    #[serde(with = "ntp_time::exact")]
    pub maximum_frequency: Frequency,
}

impl Default for SteeringConfig {
    /// Upstream's panic thresholds (1000 s; at the start any time forward, a day back), and our own
    /// rule for steps and slews.
    fn default() -> Self {
        let thousand = Some(NtpDuration::from_seconds(1000));
        Self {
            step_threshold: None,
            steps_at_start: 3,
            // ntpd's default. Shorter than the polls of several sources need, it would protect from
            // nothing; much longer, a machine that was paused unnoticed stays wrong.
            stepout_time: NtpDuration::from_seconds(300),
            stepout_polls: 4,
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

/// Correction of the clock that follows from an estimate.
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
    /// Change nothing, because the estimate is not finite.
    Hold,
    /// Run at `frequency` without a correction of the phase: the sources have not held their new
    /// time for long enough.
    Wait {
        /// Correction relative to the bare oscillator.
        frequency: Frequency,
        /// The step that is waited for.
        step: NtpDuration,
        /// Shortest time until the step.
        remaining: NtpDuration,
        /// Whether the sources have only now come to this time.
        begins: bool,
    },
    /// Change nothing: a panic threshold forbids the correction.
    Panic(Excess),
}

/// A correction that a panic threshold forbids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// The threshold.
    pub which: Panic,
    /// The correction that is not made.
    pub correction: NtpDuration,
    /// Value of the threshold.
    pub limit: NtpDuration,
}

/// Circumstances of an update.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Time of the update.
    pub at: Monotonic,
    /// Expected time to the next update.
    pub until_next: NtpDuration,
    /// Number of sources that agree.
    pub agreeing: usize,
    /// Rate of the measurements of all selected sources over that of the fastest one: from 1 for a
    /// single source to n for n equal ones.
    pub relative_rate: f64,
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
    /// Name of the configuration key.
    pub fn key(self) -> &'static str {
        match self {
            Self::Startup => "startup-step-panic-threshold",
            Self::Single => "single-step-panic-threshold",
            Self::Accumulated => "accumulated-step-panic-threshold",
        }
    }
}

/// Share of the phase's own variance that a slew may add, multiplied by the relative rate of the
/// measurements. Trades phase against frequency error: half of it would have 1.4 times the frequency error, more than chrony's,
/// for 1 to 2 % less phase error; twice this 0.7 times, for 3 % more.
const SLEW_PHASE_COST: f64 = 0.1;
/// Largest share. With four sources, which have a third of chrony's phase error, 0.1 had 2.7 times
/// its frequency error; this has 1.5 times, for 2 to 5 % more phase error.
const MAX_SLEW_PHASE_COST: f64 = 0.3;
/// Shortest slew as a share of the poll interval: shorter ones cost frequency and gain nothing in
/// phase.
const MIN_SLEW_SHARE: f64 = 1.0 / 64.0;

/// See [`SLEW_PHASE_COST`].
fn phase_cost(relative_rate: f64) -> f64 {
    (SLEW_PHASE_COST * relative_rate).clamp(SLEW_PHASE_COST, MAX_SLEW_PHASE_COST)
}

/// Turns estimates into decisions. Its only state is what steps and thresholds need.
#[derive(Clone, Debug)]
pub struct Steering {
    config: SteeringConfig,
    /// Number of updates that may still step.
    steps_left: u32,
    /// Whether an update has succeeded.
    settled: bool,
    /// Sum of the magnitudes of the steps after the first update.
    accumulated: NtpDuration,
    /// Part of that sum that does not count for its threshold: what an operator has looked at.
    approved: NtpDuration,
    stepout: Stepout,
    /// How far the clock was set forward before the first update, without a measurement.
    set_forward: NtpDuration,
    /// Size of a gap that we made ourselves and that is slewed, however long that takes.
    slewed_gap: NtpDuration,
}

impl Steering {
    /// Creates the state before the first correction.
    pub fn new(config: SteeringConfig) -> Self {
        Self {
            config,
            steps_left: config.steps_at_start,
            settled: false,
            accumulated: NtpDuration::ZERO,
            approved: NtpDuration::ZERO,
            stepout: Stepout::default(),
            set_forward: NtpDuration::ZERO,
            slewed_gap: NtpDuration::ZERO,
        }
    }

    /// Records that the sources have no majority.
    pub fn record_no_majority(&mut self) {
        self.stepout.forget();
    }

    /// Records that the clock was set forward before the first update, to a time that is no
    /// measurement. The panic threshold of start-up applies to the sum of that and the correction:
    /// what was assumed may be taken back.
    pub fn record_set_forward(&mut self, by: NtpDuration) {
        self.set_forward = by;
    }

    /// Lets the next step wait as one after start-up.
    pub fn withhold_step(&mut self) {
        self.steps_left = 0;
    }

    /// Records that the target of the clock moves by `gap`, which is slewed and not stepped.
    pub fn slew_gap(&mut self, gap: NtpDuration) {
        self.slewed_gap = gap.abs();
    }

    /// Allows the next updates to step as at the start, after someone else stepped the clock, or
    /// the machine slept or migrated. More than one, because the first sample may be a late
    /// packet's.
    pub fn allow_step(&mut self) {
        self.steps_left = self.config.steps_at_start.max(1);
    }

    /// Replaces the configuration; the accumulated steps still count.
    pub fn reconfigure(&mut self, config: SteeringConfig) {
        self.config = config;
    }

    /// Decides on a step that an operator requests, whatever the rules for steps and slews. The
    /// panic thresholds apply as for every step, unless `forced`.
    pub fn step(&mut self, gap: NtpDuration, estimate: &Estimate, forced: bool) -> Decision {
        let base = -estimate.frequency;
        if !base.as_ratio().is_finite() {
            return Decision::Hold;
        }
        let correction = -gap;
        let excess = self.excess(correction, true);
        if let Some(excess) = excess.filter(|_| !forced) {
            return Decision::Panic(excess);
        }
        if self.settled {
            self.accumulated += correction.abs();
        }
        if excess.is_some() {
            self.approved = self.accumulated;
        }
        self.settled = true;
        self.stepout.forget();
        Decision::Step {
            by: correction,
            frequency: base.limited(self.config.maximum_frequency),
        }
    }

    /// Shortest time until the sources have held their new time for long enough, if they hold one.
    pub fn step_wait(&self, now: Monotonic) -> Option<NtpDuration> {
        self.stepout.remaining(now, self.config.stepout_time)
    }

    /// Sum of the magnitudes of all steps after the first update.
    pub fn accumulated(&self) -> NtpDuration {
        self.accumulated
    }

    /// Decides on the correction, once per update. `gap` is the system clock minus the estimate of
    /// true time.
    ///
    /// Each call is an update: steps are counted as made.
    pub fn decide(&mut self, gap: NtpDuration, estimate: &Estimate, update: Update) -> Decision {
        let base = -estimate.frequency;
        if !base.as_ratio().is_finite() || !estimate.link_sigma.is_finite() {
            return Decision::Hold;
        }
        let base = base.limited(self.config.maximum_frequency);
        let correction = -gap;
        let wants_step = self.wants_step(gap, estimate, update.until_next);
        let permitted = self.may_step_at_once(gap);
        if wants_step && !permitted {
            let conditions = self.stepout_conditions(update.agreeing);
            if let Verdict::Wait { remaining, begins } =
                self.stepout.demand(update.at, correction, conditions)
            {
                return Decision::Wait {
                    frequency: base,
                    step: correction,
                    remaining,
                    begins,
                };
            }
        }
        if let Some(excess) = self.excess(correction, wants_step) {
            return Decision::Panic(excess);
        }
        if wants_step && self.settled {
            self.accumulated += correction.abs();
        }
        self.settled = true;
        self.steps_left = self.steps_left.saturating_sub(1);
        if gap.abs() <= NEW_TIME {
            self.slewed_gap = NtpDuration::ZERO;
        }
        if !wants_step {
            self.stepout.record_agreement(update.at);
            return self.slew(correction.as_seconds_f64(), base, estimate, update);
        }
        if permitted {
            self.stepout.forget();
        } else {
            self.stepout.record_step();
        }
        Decision::Step {
            by: correction,
            frequency: base,
        }
    }

    /// Whether the gap should be removed by a step rather than a slew.
    fn wants_step(&self, gap: NtpDuration, estimate: &Estimate, until_next: NtpDuration) -> bool {
        if let Some(threshold) = self.config.step_threshold {
            return gap.abs() > threshold;
        }
        let new_time = gap.abs() > NEW_TIME + self.slewed_gap;
        let gap = gap.abs().as_seconds_f64();
        let slewed_in_time =
            gap <= self.config.slew_maximum.as_ratio() * until_next.as_seconds_f64();
        (self.steps_left > 0 || new_time) && gap > STEP * estimate.link_sigma && !slewed_in_time
    }

    /// Whether a step needs no confirmation: there is a reason for it other than the sources, or it
    /// is small.
    fn may_step_at_once(&self, gap: NtpDuration) -> bool {
        self.steps_left > 0 || gap.abs() <= NEW_TIME
    }

    fn stepout_conditions(&self, agreeing: usize) -> Conditions {
        let agreeing = u32::try_from(agreeing.max(1)).unwrap_or(u32::MAX);
        let threshold = self.config.stepout_time;
        let polls = if threshold > NtpDuration::ZERO {
            self.config.stepout_polls
        } else {
            0
        };
        Conditions {
            threshold,
            updates: polls.saturating_mul(agreeing),
        }
    }

    /// Returns what a panic threshold forbids of the correction, if one does.
    fn excess(&self, correction: NtpDuration, steps: bool) -> Option<Excess> {
        let (which, limit) = self.panic_limit(correction, steps)?;
        Some(Excess {
            which,
            correction,
            limit,
        })
    }

    /// The panic threshold that forbids the correction, and its value.
    fn panic_limit(&self, correction: NtpDuration, steps: bool) -> Option<(Panic, NtpDuration)> {
        if !self.settled {
            let limit = self
                .config
                .startup_panic
                .exceeded_by(correction + self.set_forward)?;
            // A small slew must not stop a daemon whose configuration forbids steps.
            return steps.then_some((Panic::Startup, limit));
        }
        let single = self.config.single_panic.exceeded_by(correction);
        if let Some(limit) = single.filter(|limit| steps || *limit > NtpDuration::ZERO) {
            return Some((Panic::Single, limit));
        }
        let limit = self.config.accumulated_panic?;
        let sum = self.accumulated - self.approved + correction.abs();
        (steps && sum > limit).then_some((Panic::Accumulated, limit))
    }

    /// Plans a slew, see the module.
    fn slew(
        &self,
        correction: f64,
        base: Frequency,
        estimate: &Estimate,
        update: Update,
    ) -> Decision {
        let interval = update.until_next.as_seconds_f64().max(1.0);
        let jump = correction / OUTLIER;
        let usual = estimate.growth(interval).max(jump * jump);
        let share = if usual > 0.0 {
            2.0 * phase_cost(update.relative_rate) * estimate.mean_variance(interval) / usual
        } else {
            1.0
        };
        let planned = interval * share.max(MIN_SLEW_SHARE);

        // A slew may use what its own limit and the clock's range leave.
        let range = self.config.maximum_frequency.as_ratio();
        let available = (range - base.as_ratio() * correction.signum()).max(0.0);
        let fastest = self.config.slew_maximum.as_ratio().min(available);
        if fastest <= 0.0 {
            return Decision::Slew {
                frequency: base,
                base,
                duration: NtpDuration::ZERO,
            };
        }
        let duration = planned
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

    const POLL: Update = update(64);

    const fn update(until_next: i64) -> Update {
        Update {
            at: Monotonic::from_nanos(0),
            until_next: NtpDuration::from_seconds(until_next),
            agreeing: 3,
            relative_rate: 3.0,
        }
    }

    fn estimate_with(link_sigma: f64) -> Estimate {
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
            steering.decide(NtpDuration::ZERO, &estimate_with(1e-4), POLL);
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
            steering.decide(seconds(0.1), &estimate_with(1e-3), update(2)),
            Decision::Step {
                by: seconds(-0.1),
                frequency: Frequency::from_ppm(-30.0)
            }
        );
        // Half a millisecond is slewed before the next sample.
        slew_of(steering.decide(seconds(5e-4), &estimate_with(1e-5), update(2)));
        // What may be noise is not stepped.
        slew_of(steering.decide(seconds(0.1), &estimate_with(0.1), update(2)));
    }

    #[test]
    fn later_gaps_are_slewed_at_500_ppm() {
        let mut steering = settled(SteeringConfig::default());
        let (rate, duration) = slew_of(steering.decide(seconds(0.09), &estimate_with(1e-4), POLL));
        assert!((rate + 500e-6).abs() < 1e-12);
        assert!((duration - 180.0).abs() < 1e-6);
        steering.allow_step();
        for _ in 0..SteeringConfig::default().steps_at_start {
            assert!(matches!(
                steering.decide(seconds(1.0), &estimate_with(1e-4), POLL),
                Decision::Step { .. }
            ));
        }
        slew_of(steering.decide(seconds(0.09), &estimate_with(1e-4), POLL));
    }

    #[test]
    fn a_later_step_waits_until_the_sources_have_held_their_time() {
        for step_threshold in [None, Some(seconds(0.01))] {
            let mut steering = settled(SteeringConfig {
                step_threshold,
                ..SteeringConfig::default()
            });
            let mut at = |second: i64, gap: f64| {
                let at = Monotonic::from_nanos(second * 1_000_000_000);
                steering.decide(seconds(gap), &estimate_with(1e-4), Update { at, ..POLL })
            };
            for second in (0..300).step_by(20) {
                assert_eq!(
                    at(second, 900.0),
                    Decision::Wait {
                        frequency: Frequency::from_ppm(-30.0),
                        step: seconds(-900.0),
                        remaining: NtpDuration::from_seconds(300 - second),
                        begins: second == 0,
                    }
                );
            }
            assert!(matches!(at(300, 900.0), Decision::Step { .. }));
            // Beyond the panic threshold nothing happens before the time is held, either.
            for second in (400..1000).step_by(20) {
                assert!(matches!(at(second, 2000.0), Decision::Wait { .. }));
            }
            assert!(matches!(at(1000, 2000.0), Decision::Panic(_)));
        }
    }

    #[test]
    fn a_configured_step_threshold_applies_at_any_time() {
        let mut steering = settled(SteeringConfig {
            step_threshold: Some(seconds(0.01)),
            ..SteeringConfig::default()
        });
        for _ in 0..10 {
            assert!(matches!(
                steering.decide(seconds(-0.02), &estimate_with(1e-4), POLL),
                Decision::Step { .. }
            ));
        }
        slew_of(steering.decide(seconds(0.009), &estimate_with(1e-4), POLL));
        assert_eq!(steering.accumulated(), seconds(0.02) * 10);
    }

    #[test]
    fn a_panic_threshold_refuses_the_correction() {
        let config = SteeringConfig {
            step_threshold: Some(seconds(0.01)),
            accumulated_panic: Some(seconds(5.0)),
            ..SteeringConfig::default()
        };
        let day = NtpDuration::from_seconds(86_400);
        let mut steering = Steering::new(config);
        assert!(matches!(
            steering.decide(day, &estimate_with(1e-4), POLL),
            Decision::Panic(Excess {
                which: Panic::Startup,
                ..
            })
        ));
        // A machine without a battery clock needs half a century forward.
        assert!(matches!(
            steering.decide(-(day * 20_000), &estimate_with(1e-4), POLL),
            Decision::Step { .. }
        ));
        steering.allow_step();
        for gap in [1000, -1000, 5000] {
            assert!(matches!(
                steering.decide(NtpDuration::from_seconds(gap), &estimate_with(1e-4), POLL),
                Decision::Panic(Excess {
                    which: Panic::Single,
                    ..
                })
            ));
        }
        let gap = NtpDuration::from_seconds(3);
        assert!(matches!(
            steering.decide(gap, &estimate_with(1e-4), POLL),
            Decision::Step { .. }
        ));
        assert_eq!(
            steering.decide(-gap, &estimate_with(1e-4), POLL),
            Decision::Panic(Excess {
                which: Panic::Accumulated,
                correction: gap,
                limit: seconds(5.0)
            })
        );
        // An operator forces it: the sum counts anew.
        for forced in [false, true] {
            let decision = steering.step(-gap, &estimate_with(1e-4), forced);
            assert_eq!(matches!(decision, Decision::Step { .. }), forced);
        }
        assert_eq!(steering.accumulated(), gap * 2);
        let decision = steering.step(gap, &estimate_with(1e-4), false);
        assert!(matches!(decision, Decision::Step { .. }));
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
            slew_of(steering.decide(seconds(1e-5), &estimate_with(1e-4), POLL));
        }
    }

    #[test]
    fn slews_are_long_in_noise_and_short_in_wander() {
        let steering = settled(SteeringConfig::default());
        // The estimate is stable: each update corrects a small share of the uncertainty.
        let stable = estimate_with(1e-4);
        let (_, slow) = slew_of(steering.clone().decide(seconds(1e-5), &stable, POLL));
        assert!(slow > 64.0, "{slow}");
        // Three equal sources: the slew is three times as long as for one.
        let alone = Update {
            relative_rate: 1.0,
            ..POLL
        };
        let (_, of_one) = slew_of(steering.clone().decide(seconds(1e-5), &stable, alone));
        assert!((slow / of_one - 3.0).abs() < 1e-6, "{slow} {of_one}");
        // A jump is removed at once.
        let (_, jump) = slew_of(steering.clone().decide(seconds(1e-2), &stable, POLL));
        assert!((jump - 20.0).abs() < 1e-6);
        // The phase drifts away between updates.
        let restless = Estimate {
            wander: 1e-6,
            ..estimate_with(1e-6)
        };
        let (_, quick) = slew_of(steering.clone().decide(seconds(3e-4), &restless, alone));
        assert!(quick <= 4.0, "{quick}");
    }

    #[test]
    fn the_frequency_range_of_the_clock_is_respected() {
        let mut steering = settled(SteeringConfig {
            maximum_frequency: Frequency::from_ppm(50.0),
            ..SteeringConfig::default()
        });
        let (rate, duration) = slew_of(steering.decide(seconds(0.09), &estimate_with(1e-4), POLL));
        // The base takes -30 ppm of -50.
        assert!((rate + 20e-6).abs() < 1e-12);
        assert!((rate * duration + 0.09).abs() < 1e-9);
    }

    #[test]
    fn an_estimate_that_is_not_finite_changes_nothing() {
        let mut steering = Steering::new(SteeringConfig::default());
        let estimate = Estimate {
            frequency: Frequency::from_ratio(f64::NAN),
            ..estimate_with(1.0)
        };
        assert_eq!(
            steering.decide(NtpDuration::MAX, &estimate, POLL),
            Decision::Hold
        );
    }
}
