//! Turns an estimate into an adjustment.
//!
//! After every measurement the discipline estimates the phase of the free-running oscillator
//! relative to true time. The sum of all corrections (from the ledger) added to it is the *offset*
//! of the system clock from true time. [`Steering`](crate::discipline::Steering) decides how to
//! correct it: by a step, or by a slew that the next measurement plans again.
//!
//! A slew consists of two adjustments: the frequency correction plus the slew rate first, the
//! frequency correction alone when the time is up. The ledger is written from the clock's answers
//! (when each change took effect, which frequency the kernel kept), so a timer that fires late
//! causes a known overshoot, which the next measurement corrects; estimation is not disturbed.
//!
//! A step makes timestamps from before and after it incomparable, so open exchanges are abandoned.
//! A jump by another program is recorded in the ledger like a step of our own, but increases the
//! uncertainty: the jump alone does not show whether the clock was set or the machine was
//! suspended, so nothing is corrected before fresh measurements.

use ntp_time::{
    Applied, ClockStatus, Frequency, LeapIndicator, Monotonic, NtpDuration, ReferenceId, Stratum,
    SystemTime,
};

use super::source::{Source, SourceInput};
use super::{Engine, Event, Now, Output, PersistedState, SourceId, SourceName, SourceOffset};
use crate::discipline::{Decision, ErrorFigures, Estimate, MeasurementOutcome, Update};

/// Error bound above which the clock is not synchronised. RFC 5905's MAXDIST is of this order; at a
/// drift allowance of 15 ppm, as it is after hours without a sample, it is reached after about a day without sources.
pub(super) const SYNCHRONIZED_BOUND: NtpDuration = NtpDuration::from_millis(1500);

/// Minimum duration of a slew: below it, the jitter of two system calls matters.
const SLEW_MINIMUM: NtpDuration = NtpDuration::from_seconds(1);

/// Interval at which the persistent state is handed out.
const PERSIST_INTERVAL: NtpDuration = NtpDuration::from_seconds(3600);

/// Largest error that the kernel can express.
pub(super) const UNKNOWN_ERROR: NtpDuration = NtpDuration::from_seconds(16);

/// Interval at which the kernel increases its `maxerror` by 500 ppm. Between two updates the value
/// is constant while the true error may grow.
const KERNEL_TICK: NtpDuration = NtpDuration::from_seconds(1);

/// A jump of the clock happens before it is detected, so the ledger dates it a little earlier: a
/// timestamp that precedes the detecting reading by the noise of readings is then on the right
/// side.
const READING_SLACK: NtpDuration = NtpDuration::from_micros(100);

/// A slew in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slew {
    /// Time at which the frequency returns to `base`.
    pub(super) ends: Monotonic,
    /// Frequency correction of the oscillator.
    pub(super) base: Frequency,
}

/// Synchronisation state that is published to clients and the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct SyncState {
    pub(super) synchronized: bool,
    pub(super) leap: LeapIndicator,
    pub(super) stratum: Stratum,
    pub(super) reference_id: ReferenceId,
    /// The source of the newest update.
    pub(super) reference: Option<SourceId>,
    /// System time of the newest update from a source.
    pub(super) reference_time: Option<SystemTime>,
}

impl Default for SyncState {
    fn default() -> Self {
        Self {
            synchronized: false,
            leap: LeapIndicator::None,
            stratum: Stratum::UNSYNCHRONIZED,
            reference_id: ReferenceId::XNON,
            reference: None,
            reference_time: None,
        }
    }
}

impl Engine {
    /// Adjusts the clock after a measurement.
    pub(super) fn steer(&mut self, now: Now, outcome: &MeasurementOutcome) {
        if *outcome == MeasurementOutcome::Restarted {
            self.emit(Event::DisciplineRestarted {});
            // Without an estimate nothing is known of the clock's error.
            self.refresh_status(now);
        }
        if *outcome == MeasurementOutcome::FrequencyReplaced {
            // Corrections that were based on the wrong frequency do not count.
            self.steering.allow_step();
        }
        let free = self.ledger.free_time(now.system);
        let agreement = self.discipline.agreement(free);
        if !agreement.majority {
            self.steering.record_no_majority();
            self.time_floor.record_hold(now.monotonic, false);
            return self.report_no_majority(now);
        }
        let Some(estimate) = self.discipline.estimate(free) else {
            return;
        };
        if !self.check_floor(now, &estimate) {
            return;
        }
        let mut step = NtpDuration::ZERO;
        if self.steers() {
            self.report_frequency(now, &estimate);
            let (offset, estimate) = self.relative_to_target(now, &estimate);
            self.hand_over(now, offset);
            let update = self.steering_update(now);
            let decision = self.steering.decide(offset, &estimate, update);
            if !self.apply_decision(now, offset, decision) {
                return;
            }
            step = self.pending_adjustment.step.unwrap_or(step);
        }
        self.follow_reference(now, step);
        let holds = self.sync.synchronized
            && step == NtpDuration::ZERO
            && self.steering.step_wait(now.monotonic).is_none();
        self.time_floor.record_hold(now.monotonic, holds);
    }

    /// Reports an oscillator whose error exceeds what the clock can correct.
    fn report_frequency(&mut self, now: Now, estimate: &Estimate) {
        let limit = self.config.steering.maximum_frequency;
        let excess = estimate.frequency.as_ratio().abs() - limit.as_ratio();
        // An estimate that is still uncertain may exceed the limit by chance.
        if excess > estimate.frequency_sigma
            && self.frequency_report_limit.admit(now.monotonic).is_some()
        {
            let frequency = estimate.frequency;
            self.emit(Event::FrequencyOutOfRange { frequency, limit });
        }
    }

    /// Returns the offset of the clock from its target, and the estimate relative to the target:
    /// while a leap second is smeared, the target runs at another rate than UTC.
    pub(super) fn relative_to_target(
        &self,
        now: Now,
        estimate: &Estimate,
    ) -> (NtpDuration, Estimate) {
        let ahead = estimate.phase + self.ledger.correction(now.system);
        let (target, rate) = self.smear_target(now.system - ahead);
        let relative = Estimate {
            frequency: estimate.frequency - rate,
            ..*estimate
        };
        (ahead - target, relative)
    }

    /// Adjusts the clock after a change of its target without a measurement.
    pub(super) fn resteer(&mut self, now: Now) {
        let estimate = self.discipline.estimate(self.ledger.free_time(now.system));
        let Some(estimate) = estimate.filter(|_| self.steers()) else {
            return;
        };
        let (offset, estimate) = self.relative_to_target(now, &estimate);
        let update = self.steering_update(now);
        let decision = self.steering.decide(offset, &estimate, update);
        if self.apply_decision(now, offset, decision) {
            let step = self.pending_adjustment.step.unwrap_or(NtpDuration::ZERO);
            self.update_kernel_errors(now, step);
        }
    }

    /// Requests a step, which ends a slew in progress.
    pub(super) fn request_step(&mut self, now: Now, by: NtpDuration, frequency: Frequency) {
        self.resume_steering(now, by);
        self.slew = None;
        self.pending_adjustment.step = Some(by);
        self.pending_adjustment.frequency = Some(frequency);
        self.emit(Event::ClockStepped {
            step: by,
            warn: self.config.warn_on_jump,
        });
    }

    /// Requests the adjustment. Returns false if a panic threshold forbids it.
    pub(super) fn apply_decision(
        &mut self,
        now: Now,
        offset: NtpDuration,
        decision: Decision,
    ) -> bool {
        match decision {
            Decision::Hold => {}
            Decision::Wait {
                frequency,
                step,
                remaining,
                begins,
            } => {
                if self.refusal.is_none() {
                    self.slew = None;
                    self.pending_adjustment.frequency = Some(frequency);
                }
                if begins {
                    self.report_pending_step(now, step, remaining);
                }
            }
            Decision::Step { by, frequency } => self.request_step(now, by, frequency),
            Decision::Slew {
                frequency,
                base,
                duration,
            } => {
                self.resume_steering(now, -offset);
                self.slew = Some(Slew {
                    ends: now.monotonic + duration,
                    base,
                });
                self.pending_adjustment.frequency = Some(frequency);
                self.emit(Event::ClockSlewing {
                    offset: -offset,
                    frequency: base,
                    duration,
                });
            }
            Decision::Panic(excess) => {
                self.refuse_step(now, excess);
                return false;
            }
        }
        true
    }

    fn report_pending_step(&mut self, now: Now, step: NtpDuration, wait: NtpDuration) {
        if let Some(suppressed) = self.pending_step_limit.admit(now.monotonic) {
            self.emit(Event::StepPending {
                step,
                wait,
                suppressed,
            });
        }
    }

    fn steering_update(&self, now: Now) -> Update {
        let free = self.ledger.free_time(now.system);
        let sources = self.sources.in_use.iter();
        let selected = sources.filter(|source| self.discipline.is_selected(source.key, free));
        let (rate, fastest) = selected
            .map(|source| source.interval().as_seconds_f64().recip())
            .fold((0.0, 0.0_f64), |(sum, most), rate| {
                (sum + rate, most.max(rate))
            });
        Update {
            at: now.monotonic,
            until_next: self.measurement_spacing(),
            agreeing: self.discipline.agreement(free).agreeing,
            // 1 if no source is selected: `max` ignores the NaN.
            relative_rate: (rate / fastest).max(1.0),
        }
    }

    /// Mean time between two measurements of any source: the time available for a slew. The next
    /// measurement may come much sooner if two sources are polled in succession; it then takes over
    /// the rest of the slew.
    fn measurement_spacing(&self) -> NtpDuration {
        let sources = self.sources.in_use.iter();
        let reachable = sources.filter(|source| source.reach().is_reachable());
        let rate: f64 = reachable
            .map(|source| source.interval().as_seconds_f64().recip())
            .sum();
        NtpDuration::from_seconds_f64(rate.recip()).max(SLEW_MINIMUM)
    }

    pub(super) fn end_slew(&mut self, now: Now) {
        if let Some(slew) = self.slew.filter(|slew| slew.ends <= now.monotonic) {
            self.slew = None;
            self.pending_adjustment.frequency = Some(slew.base);
        }
    }

    // ---- changes of the clock

    /// Sends the changes requested by this input as one adjustment.
    pub(super) fn flush_adjustment(&mut self) {
        let adjustment = core::mem::take(&mut self.pending_adjustment);
        if adjustment.step.is_some()
            || adjustment.frequency.is_some()
            || adjustment.status.is_some()
        {
            self.awaiting_clock = true;
            // In front, so that requests of the same batch are timestamped by the changed clock.
            self.outputs.push_front(Output::Adjust(adjustment));
        }
    }

    /// Records the change that the clock made.
    pub(super) fn clock_applied(&mut self, now: Now, applied: Applied) {
        self.awaiting_clock = false;
        self.jump_detector.record_own_step(applied.step);
        if applied.step != NtpDuration::ZERO || applied.frequency != self.ledger.frequency() {
            self.ledger.record(&applied);
            self.follow_phase_free(&applied);
        }
        if applied.step != NtpDuration::ZERO {
            self.clock_epoch = self.clock_epoch.wrapping_add(1);
            self.handle_all(now, SourceInput::ClockStepped);
            self.shift_measurements(applied.step);
        }
    }

    /// Corrects the last measurements for a step of the clock. Otherwise readers would see offsets
    /// of the clock before the step until each source has replied again.
    fn shift_measurements(&mut self, step: NtpDuration) {
        let sources = self.sources.in_use.iter_mut();
        for measured in sources.filter_map(|source| source.measured.as_mut()) {
            measured.offset -= step;
            measured.at = measured.at + step;
        }
    }

    /// Handles a jump of the system clock made by another program.
    pub(super) fn clock_jumped(&mut self, now: Now, jump: NtpDuration) {
        let frequency = self.ledger.frequency();
        self.clock_epoch = self.clock_epoch.wrapping_add(1);
        let applied = Applied {
            at: now.system - jump - READING_SLACK,
            step: jump,
            frequency,
        };
        self.ledger.record(&applied);
        self.follow_phase_free(&applied);
        self.handle_all(now, SourceInput::ClockStepped);
        if self.detect_leap_second(now, jump) {
            return;
        }
        self.phase_free.restart();
        self.shift_measurements(jump);
        self.emit(Event::ClockDisturbed { change: jump });
        self.reacquire(now, jump);
    }

    /// Restarts estimation after the clock became uncertain by `by`: ends the slew, whose target is
    /// invalid, and polls all sources.
    pub(super) fn reacquire(&mut self, now: Now, by: NtpDuration) {
        if let Some(slew) = self.slew.take() {
            self.pending_adjustment.frequency = Some(slew.base);
        }
        self.discipline
            .handle_disturbance(self.ledger.free_time(now.system), by.abs().as_seconds_f64());
        self.steering.allow_step();
        self.local.end_handover();
        if self.sync.synchronized && self.error_figures(now).is_none() {
            // The clock is not usable until a source was measured again.
            self.sync.synchronized = false;
            self.set_status(now, UNKNOWN_ERROR, UNKNOWN_ERROR);
        }
        for source in &mut self.sources.in_use {
            source.restart(now.monotonic);
        }
    }

    // ---- published state

    /// Updates the published state after a measurement. `step` is about to be made; the state is
    /// that of the clock after it.
    pub(super) fn follow_reference(&mut self, now: Now, step: NtpDuration) {
        let Some(figures) = self.figures_after(now, step, NtpDuration::ZERO) else {
            return;
        };
        let system = now.system + step;
        let best = self
            .sources
            .in_use
            .iter()
            .find(|source| source.key == figures.best);
        let Some((best, measured)) = best.and_then(|best| Some((best, best.measured?))) else {
            return;
        };
        let before = self.sync;
        let stratum = measured.stratum.below();
        let reference_id = best.reference_id();
        let source = self.sources.source_name(best);
        self.plan_leap(now, system);
        self.sync = SyncState {
            synchronized: figures.bound <= SYNCHRONIZED_BOUND,
            leap: self.leap_announcement(),
            stratum,
            reference_id,
            reference: Some(source.id),
            reference_time: Some(system),
        };
        self.local_identity
            .record_reference_timestamp(system.to_ntp());
        match (before.synchronized, self.sync.synchronized) {
            (false, true) => self.emit(Event::Synchronized { stratum, source }),
            (true, false) => {
                let bound = figures.bound;
                self.emit(Event::SynchronizationLost { bound });
            }
            (true, true) => self.report_reference(now, &before, source),
            (false, false) => {}
        }
        self.update_kernel_errors(now, step);
    }

    /// Reports that stratum or reference ID differ from those of `before`.
    fn report_reference(&mut self, now: Now, before: &SyncState, source: SourceName) {
        let SyncState {
            stratum,
            reference_id,
            ..
        } = self.sync;
        if (before.stratum, before.reference_id) != (stratum, reference_id)
            && let Some(suppressed) = self.reference_limit.admit(now.monotonic)
        {
            self.emit(Event::ReferenceChanged {
                stratum,
                reference_id,
                source,
                suppressed,
            });
        }
    }

    /// Error estimates of the system clock.
    pub(super) fn error_figures(&self, now: Now) -> Option<ErrorFigures> {
        self.figures_after(now, NtpDuration::ZERO, NtpDuration::ZERO)
    }

    /// Error estimates relative to the served time, which is smeared while a leap second is
    /// smeared.
    pub(super) fn served_figures(&self, now: Now) -> Option<ErrorFigures> {
        let (target, _) = self.smear_target(now.system);
        self.figures_after(now, -target, NtpDuration::ZERO)
    }

    /// How fast the oscillator may leave the estimate.
    pub(super) fn drift_allowance(&self, now: Now) -> Frequency {
        self.discipline
            .drift_allowance(self.ledger.free_time(now.system))
    }

    /// Error estimates of the clock after `step`, at `ahead` from now without further measurements.
    fn figures_after(
        &self,
        now: Now,
        step: NtpDuration,
        ahead: NtpDuration,
    ) -> Option<ErrorFigures> {
        let prediction = self.discipline.prediction()?;
        let free = self.ledger.free_time(now.system);
        let offset = prediction.estimate(free).phase + self.ledger.correction(now.system);
        prediction.error_figures(free + ahead, offset + step)
    }

    /// Sets the error estimates in the kernel that hold until its next own update.
    fn update_kernel_errors(&mut self, now: Now, step: NtpDuration) {
        if let Some(figures) = self.figures_after(now, step, KERNEL_TICK) {
            self.set_status(now, figures.bound, figures.estimated_error);
        }
    }

    /// Refreshes the error estimates in the kernel and checks whether synchronisation is lost.
    /// Called periodically.
    pub(super) fn refresh_status(&mut self, now: Now) {
        let figures = self.error_figures(now);
        let bound = figures.map_or(UNKNOWN_ERROR, |figures| figures.bound);
        if self.sync.synchronized && bound > SYNCHRONIZED_BOUND {
            self.sync.synchronized = false;
            self.time_floor.record_hold(now.monotonic, false);
            self.emit(Event::SynchronizationLost { bound });
            self.set_status(now, bound, UNKNOWN_ERROR);
        }
        self.update_kernel_errors(now, NtpDuration::ZERO);
    }

    pub(super) fn set_status(
        &mut self,
        now: Now,
        bound: NtpDuration,
        estimated_error: NtpDuration,
    ) {
        if !self.steers() {
            return;
        }
        self.pending_adjustment.status = Some(ClockStatus {
            leap: self.kernel_leap(),
            estimated_error: estimated_error.min(UNKNOWN_ERROR),
            bound: bound.min(UNKNOWN_ERROR),
            tai_offset: self.tai_offset(now),
        });
    }

    fn report_no_majority(&mut self, now: Now) {
        let free = self.ledger.free_time(now.system);
        let agreement = self.discipline.agreement(free);
        let sources: Vec<_> = self
            .sources
            .in_use
            .iter()
            .filter_map(|source| {
                let measured = source.measured?;
                Some(SourceOffset {
                    source: self.sources.source_name(source),
                    offset: measured.offset,
                    uncertainty: measured.uncertainty.unwrap_or(NtpDuration::MAX),
                })
            })
            .collect();
        // During the initial burst, disagreement is only missing data.
        if self.sources.in_use.iter().any(Source::is_in_burst) {
            return;
        }
        if self.no_majority_limit.admit(now.monotonic).is_some() {
            self.emit(Event::NoMajority {
                agreeing: agreement.agreeing,
                required: agreement.required,
                sources,
            });
        }
    }

    /// Hands out the persistent state when it first exists, when the frequency becomes known, and
    /// once an hour.
    pub(super) fn persist_if_due(&mut self, now: Now) {
        let knows_more =
            |had_frequency: bool| !had_frequency && self.discipline.frequency_prior().is_some();
        let due = self.persisted.is_none_or(|(last, had_frequency)| {
            now.monotonic - last >= PERSIST_INTERVAL || knows_more(had_frequency)
        });
        if due && self.sync.synchronized {
            self.persist(now);
        }
    }

    /// Hands out the persistent state.
    pub(super) fn persist(&mut self, now: Now) {
        let state = self.persistent_state(now);
        if state != PersistedState::default() {
            self.persisted = Some((now.monotonic, state.frequency.is_some()));
            if let Some(floor) = state.time_floor {
                self.time_floor.record_saved(floor);
            }
            self.outputs.push_back(Output::Persist(state));
        }
    }
}
