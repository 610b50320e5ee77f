//! Steps that a panic threshold forbids.
//!
//! A correction beyond a panic threshold is either that of a clock that is far off, or the work of
//! sources that are wrong together; nothing here can tell the two apart. The engine then stops
//! steering: a slew ends, the frequency is held, and the clock counts as unsynchronised, for the
//! kernel and for clients. Everything else goes on, so that an operator sees what the sources show
//! and can force the step.
//!
//! Steering also resumes by itself once the correction is one that the thresholds permit: such a
//! correction would be made at any other time, so to refuse it here would protect from nothing, and
//! after a mistake of the sources it would leave all their clients wrong until an operator comes.
//! Sources that were wrong gain nothing: what they could ask for before is what they can ask for
//! now, after the same stepout time.
//!
//! With `on-panic = "exit"` the engine halts instead, as upstream does.

use core::fmt;

use ntp_time::{NtpDuration, SystemTime};
use ntp_types::status::RefusedStepStatus;

use super::steer::UNKNOWN_ERROR;
use super::{Engine, Event, LogRateLimit, Now};
use crate::discipline::{Excess, Panic};

/// A step that a panic threshold forbids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefusedStep {
    /// The threshold.
    pub which: Panic,
    /// The correction that the sources show.
    pub correction: NtpDuration,
    /// The threshold's value.
    pub limit: NtpDuration,
    /// Reading of the clock.
    pub clock: SystemTime,
}

impl RefusedStep {
    pub(super) fn new(now: Now, excess: Excess) -> Self {
        let Excess {
            which,
            correction,
            limit,
        } = excess;
        Self {
            which,
            correction,
            limit,
            clock: now.system,
        }
    }

    /// Returns the event. `exits` is whether the daemon ends, `suppressed` the number of refusals
    /// that were not reported.
    pub fn event(&self, exits: bool, suppressed: u64) -> Event {
        Event::StepRefused {
            threshold: self.which.key().to_owned(),
            limit: self.limit,
            correction: self.correction,
            clock: self.clock,
            exits,
            suppressed,
        }
    }
}

impl fmt::Display for RefusedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the clock reads {}, the sources {}: the correction of {} exceeds {} = {}",
            self.clock,
            self.clock + self.correction,
            self.correction,
            self.which.key(),
            self.limit
        )
    }
}

/// A refusal that lasts.
#[derive(Debug)]
pub(super) struct StepRefusal {
    step: RefusedStep,
    since: Now,
    /// The first refusal is reported, and one each hour: logs are rotated.
    report_limit: LogRateLimit,
}

impl Engine {
    /// Stops steering, or halts: a panic threshold forbids the correction.
    pub(super) fn refuse_step(&mut self, now: Now, excess: Excess) {
        let step = RefusedStep::new(now, excess);
        if self.config.exit_on_panic {
            self.emit(step.event(true, 0));
            return self.halt(step);
        }
        if let Some(slew) = self.slew.take() {
            self.pending_adjustment.frequency = Some(slew.base);
        }
        let refusal = self.refusal.get_or_insert_with(|| StepRefusal {
            step,
            since: now,
            report_limit: LogRateLimit::default(),
        });
        refusal.step = step;
        if let Some(suppressed) = refusal.report_limit.admit(now.monotonic) {
            self.emit(step.event(false, suppressed));
        }
        self.time_floor.record_hold(now.monotonic, false);
        if core::mem::take(&mut self.sync.synchronized) {
            let figures = self.error_figures(now);
            let bound = figures.map_or(UNKNOWN_ERROR, |figures| figures.bound);
            self.emit(Event::SynchronizationLost { bound });
        }
        self.set_status(now, UNKNOWN_ERROR, UNKNOWN_ERROR);
    }

    /// Ends a refusal: the clock is corrected by `correction`.
    pub(super) fn resume_steering(&mut self, now: Now, correction: NtpDuration) {
        if let Some(refusal) = self.refusal.take() {
            let after = now.monotonic - refusal.since.monotonic;
            self.emit(Event::SteeringResumed { correction, after });
        }
    }

    /// Decides again on a refused correction: the thresholds may have changed.
    pub(super) fn repeat_refused_decision(&mut self, now: Now) {
        if self.refusal.is_some() {
            self.resteer(now);
        }
    }

    /// Returns whether a panic threshold keeps the clock from being steered.
    pub const fn step_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// The refusal for readers.
    pub(super) fn refused_step(&self) -> Option<RefusedStepStatus> {
        let StepRefusal { step, since, .. } = self.refusal.as_ref()?;
        Some(RefusedStepStatus {
            threshold: step.which.key().to_owned(),
            limit: step.limit,
            correction: step.correction,
            since: since.system,
        })
    }
}
