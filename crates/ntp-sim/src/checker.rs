//! Invariants of every simulated world.
//!
//! - **The bound contains the true error.** Whenever the engine claims a bound (below 16 s, which
//!   means "unknown"), the clock's true error is no larger. Suspended from a disturbance of the
//!   clock until the engine is called again, around a leap second, and where a scenario makes most
//!   servers wrong.
//! - **Synchronised has a meaning.** A clock is called synchronised only while its bound is below 2
//!   s.
//! - **Time runs forward.** The engine steps only in its first three decisions, in the first three
//!   after a disturbance, and some minutes after it has reported that the sources ask for a step,
//!   unless the operator set `step-threshold`.
//! - **No false alarm.** The engine reports a disturbance only if there was one.
//! - **Servers are not overloaded.** Poll intervals stay within their limits, and no association
//!   sends two requests within a second unless the clock or the network gave it a reason.
//! - **Numbers are plausible.** Frequencies stay within the clock's range; everything is finite.
//! - **The engine comes to rest.** It does not request to be woken again and again at the same
//!   time.

use core::fmt;
use std::collections::BTreeMap;

use ntp_proto::engine::{EngineConfig, Event, ExchangeId, SourceId};
use ntp_time::{Adjustment, Applied, NtpDuration, PollLimits};
use ntp_types::status::EngineStatus;

use crate::TrueTime;

/// Invariants that the checker enforces in a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// The bound contains the true error.
    pub bound: bool,
    /// No steps except those that are always allowed.
    pub no_steps: bool,
    /// No association sends two requests within a second.
    pub spacing: bool,
    /// Largest plausible frequency error in the status, s/s.
    pub frequency: f64,
    /// Seconds between checks of the whole status; zero for none. The bound is compared with the
    /// truth each second and after every input.
    pub check_interval: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            bound: true,
            no_steps: true,
            spacing: true,
            frequency: CREDIBLE_FREQUENCY,
            check_interval: 8.0,
        }
    }
}

/// An invariant was violated.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed of the run.
    pub seed: u64,
    /// Time of the violation, in seconds since the beginning.
    pub at: f64,
    /// Description of the violation.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "scenario \"{0}\", seed {1}, at {2:.6} s: {3}\nto see it again: ntp_sim::World::new(&scenario, {1}) and run({2:.6})",
            self.scenario, self.seed, self.at, self.message
        )
    }
}

impl std::error::Error for Violation {}

/// Shortest time from the report of a pending step to the step, seconds.
const STEPOUT: f64 = 290.0;
/// Number of decisions at the start that may step.
const STEPS_AT_START: u32 = 3;
/// The engine's bound while it cannot guarantee anything (RFC 5905, MAXDISP).
const NO_CLAIM: NtpDuration = NtpDuration::from_seconds(16);
/// The engine gives up at 1.5 s, and checks every 16 s.
const WORST_SYNCHRONIZED: NtpDuration = NtpDuration::from_seconds(2);
/// Around a leap second the clock and UTC do not repeat their second at exactly the same moment.
const LEAP_MARGIN: f64 = 2.0;
/// A larger frequency error is not plausible for a crystal.
const CREDIBLE_FREQUENCY: f64 = 2e-3;
/// Maximum number of engine calls at one moment, over all causes.
const CALLS_AT_ONE_MOMENT: u32 = 200_000;
/// Minimum time between requests of one association, in seconds.
const MINIMUM_SPACING: f64 = 1.0;

/// Running state of the checker.
#[derive(Clone, Debug)]
pub(crate) struct Checker {
    rules: Rules,
    limits: PollLimits,
    maximum_frequency: f64,
    steerable: bool,
    step_threshold: bool,
    steps_allowed: u32,
    /// When the engine reported that the sources ask for a step.
    step_pending: Option<TrueTime>,
    /// Disturbances that the engine has not reported yet.
    unreported: u32,
    /// The engine has not been called since the latest disturbance.
    disturbance_unseen: bool,
    requests: BTreeMap<SourceId, TrueTime>,
    /// Requests need not be spaced until then.
    fast_polls_until: TrueTime,
    moment: (TrueTime, u32),
    /// The engine was called since the last check.
    called_since_check: bool,
    violation: Option<(TrueTime, String)>,
}

impl Checker {
    pub(crate) fn new(rules: Rules, config: &EngineConfig) -> Self {
        let limits = config
            .sources
            .iter()
            .map(|source| source.association.limits)
            .reduce(|a, b| PollLimits {
                min: a.min.min(b.min),
                max: a.max.max(b.max),
            });
        Self {
            rules,
            limits: limits.unwrap_or_default(),
            maximum_frequency: config.steering.maximum_frequency.as_ratio(),
            steerable: config.clock.steerable,
            step_threshold: config.steering.step_threshold.is_some(),
            steps_allowed: STEPS_AT_START,
            step_pending: None,
            unreported: 0,
            disturbance_unseen: false,
            requests: BTreeMap::new(),
            fast_polls_until: TrueTime::ZERO,
            moment: (TrueTime::ZERO, 0),
            called_since_check: false,
            violation: None,
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        self.rules
    }

    /// Returns the first violation.
    pub(crate) fn violation(&self) -> Option<&(TrueTime, String)> {
        self.violation.as_ref()
    }

    fn report(&mut self, at: TrueTime, message: String) {
        self.violation.get_or_insert((at, message));
    }

    /// The script disturbs the clock.
    pub(crate) fn clock_disturbed(&mut self) {
        // The engine reports a suspend, and separately the jump of the clock that came with it.
        self.unreported += 2;
        self.disturbance_unseen = true;
    }

    /// The network changed: sources may be polled at once.
    pub(crate) fn allow_fast_polls(&mut self, at: TrueTime) {
        self.fast_polls_until = at + 1.0;
    }

    /// An operator's command: sources may be polled at once, and the clock may be stepped if
    /// `steps`.
    pub(crate) fn operator_command(&mut self, at: TrueTime, steps: bool) {
        self.allow_fast_polls(at);
        if steps {
            self.steps_allowed += 1;
        }
    }

    /// The engine is about to be called with a fresh reading of the clocks.
    pub(crate) fn engine_called(&mut self, at: TrueTime) {
        let (moment, calls) = self.moment;
        self.moment = if moment == at {
            (at, calls + 1)
        } else {
            (at, 1)
        };
        if self.moment.1 == CALLS_AT_ONE_MOMENT {
            self.report(
                at,
                format!("the engine was called {CALLS_AT_ONE_MOMENT} times at one moment"),
            );
        }
        self.disturbance_unseen = false;
        self.called_since_check = true;
    }

    /// Returns whether the engine was called since the previous call of this method.
    pub(crate) fn take_engine_called(&mut self) -> bool {
        core::mem::replace(&mut self.called_since_check, false)
    }

    pub(crate) fn request(&mut self, at: TrueTime, exchange: ExchangeId) {
        let last = self.requests.insert(exchange.source, at);
        if let Some(last) = last
            && self.rules.spacing
            && at - last < MINIMUM_SPACING
            && at > self.fast_polls_until
        {
            self.report(
                at,
                format!(
                    "source {} sent two requests within {:.3} s",
                    exchange.source,
                    at - last
                ),
            );
        }
    }

    pub(crate) fn adjusted(&mut self, at: TrueTime, adjustment: &Adjustment, applied: &Applied) {
        if !self.steerable {
            self.report(
                at,
                format!("a clock that must not be steered was adjusted: {adjustment:?}"),
            );
        }
        if adjustment.step.is_some()
            && self.rules.no_steps
            && !self.step_threshold
            && self.steps_allowed == 0
            && self.step_pending.is_none_or(|since| at - since < STEPOUT)
        {
            self.report(
                at,
                format!(
                    "the clock was stepped by {} without permission",
                    applied.step
                ),
            );
        }
        // Written so that NaN fails.
        let within = |frequency: f64| frequency.abs() <= self.maximum_frequency;
        if !within(applied.frequency.as_ratio())
            || !adjustment
                .frequency
                .is_none_or(|requested| within(requested.as_ratio()))
        {
            self.report(
                at,
                format!("the clock was set to run at {}", applied.frequency),
            );
        }
    }

    pub(crate) fn event(&mut self, at: TrueTime, event: &Event) {
        match event {
            Event::ClockStepped { .. } | Event::ClockSlewing { .. } => {
                self.steps_allowed = self.steps_allowed.saturating_sub(1);
            }
            Event::StepPending { .. } => self.step_pending = Some(at),
            Event::ClockDisturbed { .. }
            | Event::Resumed { .. }
            | Event::MachineDisrupted { .. } => {
                self.steps_allowed = STEPS_AT_START;
                self.allow_fast_polls(at);
                match self.unreported.checked_sub(1) {
                    Some(left) => self.unreported = left,
                    None => self.report(at, format!("disturbance without a cause: {event}")),
                }
            }
            _ => {}
        }
    }

    /// Checks everything that the engine's status shows.
    pub(crate) fn check_status(&mut self, at: TrueTime, status: &EngineStatus) {
        let system = &status.system;
        let bound = system.error_bound.unwrap_or(NtpDuration::MAX);
        if system.synchronized
            && bound > WORST_SYNCHRONIZED
            && self.rules.bound
            && !self.disturbance_unseen
        {
            self.report(
                at,
                format!("the clock is called synchronised at a bound of {bound}"),
            );
        }
        let sane = |frequency: f64| frequency.abs() <= self.rules.frequency;
        if !sane(system.frequency.as_ratio())
            || !system.frequency_uncertainty.as_ratio().is_finite()
        {
            self.report(
                at,
                format!(
                    "frequency {} +- {}",
                    system.frequency, system.frequency_uncertainty
                ),
            );
        }
        for source in &status.sources {
            // The minimum of a server that sent RATE kisses may exceed the configured maximum.
            let longest = self.limits.max.max(source.poll_min);
            if source.poll < self.limits.min || source.poll > longest {
                self.report(
                    at,
                    format!("source {} is polled every {}", source.name, source.poll),
                );
            }
        }
    }

    /// Compares the bound with the truth: `error` is the clock's true error and `leap` the distance
    /// to a leap second, in seconds.
    pub(crate) fn check_bound(
        &mut self,
        at: TrueTime,
        error: f64,
        leap: Option<f64>,
        bound: NtpDuration,
    ) {
        let excused = !self.rules.bound
            || self.disturbance_unseen
            || leap.is_some_and(|distance| distance < LEAP_MARGIN);
        if excused || bound >= NO_CLAIM {
            return;
        }
        if !bound.is_negative() && error.abs() <= bound.as_seconds_f64() {
            return;
        }
        self.report(
            at,
            format!("the clock is wrong by {error:.9} s, but the bound is {bound}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::NtpDuration;

    use crate::{Action, Scenario, run};

    /// Returns the violation that a scenario leads to.
    fn verdict(scenario: &Scenario) -> String {
        run(scenario, 5)
            .expect_err("a promise was broken")
            .to_string()
    }

    #[test]
    fn a_bound_that_lies_is_found_and_can_be_seen_again() {
        let wrong_majority = Scenario::new("wrong majority")
            .with_servers(3)
            .modify(|world| {
                world
                    .servers
                    .iter_mut()
                    .for_each(|server| server.error = 0.05);
            });
        let message = verdict(&wrong_majority);
        assert!(
            message.contains("\"wrong majority\", seed 5, at ")
                && message.contains("but the bound is"),
            "{message}"
        );
        assert!(message.contains("World::new(&scenario, 5)"), "{message}");
    }

    #[test]
    fn a_step_without_leave_is_found() {
        let pause = Scenario::new("pause")
            .with_servers(3)
            .at(2000.0, Action::Pause(10.0))
            .modify(|world| {
                world.rules.bound = false;
                world.engine.steering.stepout_time = NtpDuration::ZERO;
            });
        let message = verdict(&pause);
        assert!(
            message.contains("stepped by ") && message.contains("without permission"),
            "{message}"
        );
    }
}
