//! What must hold in every world, whatever happens in it.
//!
//! - **Truth lies inside the bound.** Whenever the engine claims a bound (one below 16 s, which stands for "unknown"), the clock's true
//!   error is no larger. Suspended from a disturbance of the clock until the engine has had its next look at it, in the
//!   moments around a leap second, and where a scenario gives the lie to most servers.
//! - **Synchronised means something.** A clock is called synchronised only while its bound is below 2 s.
//! - **Time runs forward.** The engine steps only in its first three decisions and in the first three after a
//!   disturbance, unless the operator set `step-threshold`.
//! - **No false alarm.** It reports a disturbance only when there was one.
//! - **Servers are treated well.** Poll intervals stay within their limits, and no association asks twice within a second
//!   unless clock or network gave it a reason.
//! - **Numbers are sane.** Frequencies stay within the clock's range; everything is finite.
//! - **The engine comes to rest.** It does not ask to be woken again and again at the same moment.

use core::fmt;
use std::collections::BTreeMap;

use ntp_proto::engine::{EngineConfig, Event, ExchangeId, Snapshot, SourceId};
use ntp_time::{Adjustment, Applied, NtpDuration, PollLimits};

use crate::TrueTime;

/// Which invariants a scenario promises to leave standing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Truth is inside the bound.
    pub bound: bool,
    /// No step but those that are always allowed.
    pub no_steps: bool,
    /// No association asks twice within a second.
    pub spacing: bool,
    /// Seconds between looks at all that the engine shows; zero for none. Its bound is compared with the truth
    /// each second and whenever it was told something.
    pub look_every: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            bound: true,
            no_steps: true,
            spacing: true,
            look_every: 8.0,
        }
    }
}

/// Something that must always hold did not.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// When, in seconds since the beginning.
    pub at: f64,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "scenario \"{0}\", seed {1}, at {2:.6} s: {3}\nto see it again: ntp_sim::World::new(&scenario, {1}) and run({2:.6})",
            self.scenario, self.seed, self.at, self.what
        )
    }
}

impl std::error::Error for Violation {}

/// Decisions at the start that may step.
const STEPS_AT_START: u32 = 3;
/// What the engine says when it can promise nothing (RFC 5905, MAXDISP).
const NO_CLAIM: NtpDuration = NtpDuration::from_seconds(16);
/// The engine gives up at 1.5 s, and looks every 16 s.
const WORST_SYNCHRONIZED: NtpDuration = NtpDuration::from_seconds(2);
/// Around a leap second our reading and UTC repeat their second not quite at the same moment.
const LEAP_MARGIN: f64 = 2.0;
/// A frequency error of more than this is none of a crystal.
const CREDIBLE_FREQUENCY: f64 = 2e-3;
/// Calls of the engine at one moment, over all causes.
const CALLS_AT_ONE_MOMENT: u32 = 200_000;
/// Requests of one association are at least this far apart, seconds.
const LEAST_SPACING: f64 = 1.0;

/// The checker of one run.
#[derive(Clone, Debug)]
pub(crate) struct Checker {
    rules: Rules,
    limits: PollLimits,
    maximum_frequency: f64,
    steerable: bool,
    step_threshold: bool,
    steps_allowed: u32,
    /// Disturbances that the engine has not reported yet.
    unreported: u32,
    /// The engine has not had a chance yet to notice the latest disturbance.
    blind: bool,
    requests: BTreeMap<SourceId, TrueTime>,
    /// Requests are excused from their spacing until then.
    hurry: TrueTime,
    moment: (TrueTime, u32),
    /// The engine was called since the last look.
    stirred: bool,
    found: Option<(TrueTime, String)>,
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
            unreported: 0,
            blind: false,
            requests: BTreeMap::new(),
            hurry: TrueTime::ZERO,
            moment: (TrueTime::ZERO, 0),
            stirred: false,
            found: None,
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        self.rules
    }

    /// The first thing that was found.
    pub(crate) fn found(&self) -> Option<&(TrueTime, String)> {
        self.found.as_ref()
    }

    fn blame(&mut self, at: TrueTime, what: String) {
        self.found.get_or_insert((at, what));
    }

    /// The script meddles with the clock.
    pub(crate) fn disturbed(&mut self) {
        // A sleep is reported as such, and the jump that came with it on its own.
        self.unreported += 2;
        self.blind = true;
    }

    /// The network changed: sources may be asked at once.
    pub(crate) fn hurried(&mut self, at: TrueTime) {
        self.hurry = at + 1.0;
    }

    /// An operator asked for something: sources may be asked at once, and the clock stepped if it `steps`.
    pub(crate) fn commanded(&mut self, at: TrueTime, steps: bool) {
        self.hurried(at);
        if steps {
            self.steps_allowed += 1;
        }
    }

    /// The engine is about to be called with a fresh reading of the clocks.
    pub(crate) fn called(&mut self, at: TrueTime) {
        let (moment, calls) = self.moment;
        self.moment = if moment == at {
            (at, calls + 1)
        } else {
            (at, 1)
        };
        if self.moment.1 == CALLS_AT_ONE_MOMENT {
            self.blame(
                at,
                format!("the engine was called {CALLS_AT_ONE_MOMENT} times at one moment"),
            );
        }
        self.blind = false;
        self.stirred = true;
    }

    /// Whether the engine was called since this was last asked.
    pub(crate) fn take_stirred(&mut self) -> bool {
        core::mem::replace(&mut self.stirred, false)
    }

    pub(crate) fn request(&mut self, at: TrueTime, exchange: ExchangeId) {
        let last = self.requests.insert(exchange.source, at);
        if let Some(last) = last
            && self.rules.spacing
            && at - last < LEAST_SPACING
            && at > self.hurry
        {
            self.blame(
                at,
                format!(
                    "source {} was asked twice within {:.3} s",
                    exchange.source,
                    at - last
                ),
            );
        }
    }

    pub(crate) fn adjusted(&mut self, at: TrueTime, adjustment: &Adjustment, applied: &Applied) {
        if !self.steerable {
            self.blame(
                at,
                format!("a clock that must not be steered was told {adjustment:?}"),
            );
        }
        if adjustment.step.is_some()
            && self.rules.no_steps
            && !self.step_threshold
            && self.steps_allowed == 0
        {
            self.blame(
                at,
                format!("the clock was stepped by {} without leave", applied.step),
            );
        }
        // Written so that NaN fails.
        let within = |frequency: f64| frequency.abs() <= self.maximum_frequency;
        if !within(applied.frequency.as_ratio())
            || !adjustment
                .frequency
                .is_none_or(|asked| within(asked.as_ratio()))
        {
            self.blame(
                at,
                format!("the clock was told to run at {}", applied.frequency),
            );
        }
    }

    pub(crate) fn event(&mut self, at: TrueTime, event: &Event) {
        match event {
            Event::Stepped { .. } | Event::Slewing { .. } => {
                self.steps_allowed = self.steps_allowed.saturating_sub(1);
            }
            Event::ClockDisturbed { .. } | Event::Resumed { .. } => {
                self.steps_allowed = STEPS_AT_START;
                self.hurried(at);
                match self.unreported.checked_sub(1) {
                    Some(left) => self.unreported = left,
                    None => self.blame(at, format!("nobody touched the clock, but: {event}")),
                }
            }
            _ => {}
        }
    }

    /// Looks at all that the engine shows.
    pub(crate) fn look(&mut self, at: TrueTime, snapshot: &Snapshot) {
        let system = &snapshot.system;
        if system.synchronized
            && system.bound > WORST_SYNCHRONIZED
            && self.rules.bound
            && !self.blind
        {
            self.blame(
                at,
                format!(
                    "the clock is called synchronised at a bound of {}",
                    system.bound
                ),
            );
        }
        let sane = |frequency: f64| frequency.abs() <= CREDIBLE_FREQUENCY;
        if !sane(system.frequency.as_ratio())
            || !system.frequency_uncertainty.as_ratio().is_finite()
        {
            self.blame(
                at,
                format!(
                    "frequency {} +- {}",
                    system.frequency, system.frequency_uncertainty
                ),
            );
        }
        for source in &snapshot.sources {
            if self.limits.clamp(source.poll) != source.poll {
                self.blame(
                    at,
                    format!("source {} is polled every {}", source.name, source.poll),
                );
            }
        }
    }

    /// Compares the bound with the truth: `error` is the clock's true error, `leap` the distance to a leap second, in
    /// seconds.
    pub(crate) fn claim(
        &mut self,
        at: TrueTime,
        error: f64,
        leap: Option<f64>,
        bound: NtpDuration,
    ) {
        let excused =
            !self.rules.bound || self.blind || leap.is_some_and(|distance| distance < LEAP_MARGIN);
        if excused || bound >= NO_CLAIM {
            return;
        }
        if !bound.is_negative() && error.abs() <= bound.as_seconds_f64() {
            return;
        }
        self.blame(
            at,
            format!("the clock is wrong by {error:.9} s, but the bound is {bound}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::{Action, Scenario, run};

    /// What the checker says about a scenario that breaks a promise.
    fn verdict(scenario: &Scenario) -> String {
        run(scenario, 5)
            .expect_err("a promise was broken")
            .to_string()
    }

    #[test]
    fn a_bound_that_lies_is_found_and_can_be_seen_again() {
        let conspiracy = Scenario::new("conspiracy").with_servers(3).but(|world| {
            world
                .servers
                .iter_mut()
                .for_each(|server| server.error = 0.05);
        });
        let said = verdict(&conspiracy);
        assert!(
            said.contains("\"conspiracy\", seed 5, at ") && said.contains("but the bound is"),
            "{said}"
        );
        assert!(said.contains("World::new(&scenario, 5)"), "{said}");
    }

    #[test]
    fn a_step_without_leave_is_found() {
        let pause = Scenario::new("pause")
            .with_servers(3)
            .at(2000.0, Action::Pause(10.0))
            .but(|world| {
                world.rules.bound = false;
            });
        let said = verdict(&pause);
        assert!(
            said.contains("stepped by ") && said.contains("without leave"),
            "{said}"
        );
    }
}
