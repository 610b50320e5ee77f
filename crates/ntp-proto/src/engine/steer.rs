//! Where an estimate becomes an adjustment.
//!
//! After every measurement the discipline says where the bare oscillator stands against true time. Adding
//! what our corrections have done so far (the ledger's sum) gives the *gap*: how far the system clock is ahead of
//! true time now. [`Steering`](crate::discipline::Steering) decides how to close it: a step,
//! or a slew, the rest of which the next measurement plans anew.
//!
//! A slew is two adjustments: run at the oscillator's correction plus the slew rate, then, when the time is up,
//! at the oscillator's correction alone. The ledger is written from what the clock answers (when each change took effect,
//! what the kernel kept of the frequency), so a timer that fires late costs a known overshoot which the next
//! measurement takes back; estimation is not disturbed.
//!
//! A step makes stamps from before and after it incomparable on the wire, so exchanges in flight are given up.
//! A jump that was not ours is entered in the ledger like our own, then distrusted: whether the clock was
//! set or the machine slept cannot be told from the jump alone, so nothing is corrected
//! before fresh measurements say what is true.

use ntp_time::{
    Applied, ClockStatus, Frequency, LeapIndicator, Monotonic, NtpDuration, ReferenceId, Stratum,
    SystemTime,
};

use super::{Engine, Event, Halt, Kept, Now, Output};
use crate::client::sanity::reference_id_of;
use crate::discipline::{Blame, Decision, Estimate, Figures, Outcome};

/// Above this bound the clock is not called synchronised any more: RFC 5905's MAXDIST is of this
/// order, and at 15 ppm of drift allowance it is reached after about a day without sources.
pub(super) const SYNCHRONIZED_BOUND: NtpDuration = NtpDuration::from_millis(1500);

/// No oscillator does this between two polls: a clock that is found this far off was moved (a virtual machine
/// paused or migrated unseen), and may be stepped as at the start.
const MOVED: NtpDuration = NtpDuration::from_millis(100);

/// A slew shorter than this is not worth two system calls' jitter.
const SLEW_MINIMUM: NtpDuration = NtpDuration::from_seconds(1);

/// How often what a later run needs is handed out for saving.
const PERSIST_INTERVAL: NtpDuration = NtpDuration::from_seconds(3600);

/// What the kernel calls the largest error it can express.
const UNKNOWN_ERROR: NtpDuration = NtpDuration::from_seconds(16);

/// The kernel adds 500 ppm to the largest error that it was told, but once a second: until then the figure stands still while truth
/// may drift away.
const KERNEL_TICK: NtpDuration = NtpDuration::from_seconds(1);

/// A jump of the clock happened before it was noticed, so the ledger may date it a little earlier: a stamp that is older than the reading
/// that noticed it, by the noise of readings, then falls on the right side.
const READING_SLACK: NtpDuration = NtpDuration::from_micros(100);

/// A slew in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slew {
    /// When the frequency goes back to `base`.
    pub(super) ends: Monotonic,
    /// The oscillator's own correction.
    pub(super) base: Frequency,
}

/// What we tell others about our time.
#[derive(Clone, Copy, Debug)]
pub(super) struct SyncState {
    pub(super) synchronized: bool,
    pub(super) leap: LeapIndicator,
    pub(super) stratum: Stratum,
    pub(super) reference_id: ReferenceId,
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
            reference_time: None,
        }
    }
}

impl Engine {
    /// A measurement was taken: follow what is known now.
    pub(super) fn steer(&mut self, now: Now, outcome: &Outcome) {
        if *outcome == Outcome::Restarted {
            self.emit(Event::DisciplineRestarted);
        }
        let free = self.ledger.free(now.system);
        let agreement = self.discipline.agreement(free);
        if !agreement.majority {
            return self.tell_no_majority(now);
        }
        let Some(estimate) = self.discipline.estimate(free) else {
            return;
        };
        let mut step = NtpDuration::ZERO;
        if self.steers() {
            let (gap, estimate) = self.aimed(now, &estimate);
            if *outcome == Outcome::Blamed(Blame::Clock) && gap.abs() > MOVED {
                self.steering.allow_step();
            }
            let decision = self
                .steering
                .decide(gap, &estimate, self.measurement_spacing());
            if !self.carry_out(now, gap, decision) {
                return;
            }
            step = self.wanted.step.unwrap_or(step);
        }
        self.follow_reference(now, step);
    }

    /// How far the clock is ahead of where it is meant to be, and the estimate as steering should see it: while a leap second is smeared the
    /// clock is meant to run at another rate than UTC.
    pub(super) fn aimed(&self, now: Now, estimate: &Estimate) -> (NtpDuration, Estimate) {
        let ahead = estimate.phase + self.ledger.correction(now.system);
        let (aim, rate) = self.aim(now.system - ahead);
        let aimed = Estimate {
            frequency: estimate.frequency - rate,
            ..*estimate
        };
        (ahead - aim, aimed)
    }

    /// Where the clock is meant to be has changed, by no measurement.
    pub(super) fn steer_without_news(&mut self, now: Now) {
        let estimate = self.discipline.estimate(self.ledger.free(now.system));
        let Some(estimate) = estimate.filter(|_| self.steers()) else {
            return;
        };
        let (gap, estimate) = self.aimed(now, &estimate);
        let decision = self
            .steering
            .decide(gap, &estimate, self.measurement_spacing());
        if self.carry_out(now, gap, decision) {
            let step = self.wanted.step.unwrap_or(NtpDuration::ZERO);
            self.tell_kernel(now, step);
        }
    }

    /// Returns whether the daemon may go on.
    fn carry_out(&mut self, now: Now, gap: NtpDuration, decision: Decision) -> bool {
        match decision {
            Decision::Hold => {}
            Decision::Step { by, frequency } => {
                self.slew = None;
                self.wanted.step = Some(by);
                self.wanted.frequency = Some(frequency);
                self.emit(Event::Stepped {
                    by,
                    warn: self.config.warn_on_jump,
                });
            }
            Decision::Slew {
                frequency,
                base,
                duration,
            } => {
                self.slew = Some(Slew {
                    ends: now.monotonic + duration,
                    base,
                });
                self.wanted.frequency = Some(frequency);
                self.emit(Event::Slewing {
                    offset: gap,
                    frequency: base,
                    duration,
                });
            }
            Decision::Panic {
                which,
                correction,
                limit,
            } => {
                self.halt(Halt::Panic {
                    which,
                    correction,
                    limit,
                    clock: now.system,
                });
                return false;
            }
        }
        true
    }

    /// Mean time between two measurements of any source: what a slew has to do its work. The next one in particular may
    /// come much sooner, if two sources happen to be asked one after the other; it then takes the rest of the slew over.
    fn measurement_spacing(&self) -> NtpDuration {
        let members = self.sources.members.iter();
        let reachable = members.filter(|member| member.association.reach().is_reachable());
        let rate: f64 = reachable
            .map(|member| member.association.interval().as_seconds_f64().recip())
            .sum();
        NtpDuration::from_seconds_f64(rate.recip()).max(SLEW_MINIMUM)
    }

    pub(super) fn end_slew(&mut self, now: Now) {
        if let Some(slew) = self.slew.filter(|slew| slew.ends <= now.monotonic) {
            self.slew = None;
            self.wanted.frequency = Some(slew.base);
        }
    }

    // ---- the clock's side

    /// Sends what this input led to as one change of the clock.
    pub(super) fn flush_adjustment(&mut self) {
        let wanted = core::mem::take(&mut self.wanted);
        if wanted.step.is_some() || wanted.frequency.is_some() || wanted.status.is_some() {
            self.applying = true;
            // First, so that requests of the same batch are stamped by the changed clock.
            self.outputs.push_front(Output::Adjust(wanted));
        }
    }

    /// The clock says what it did.
    pub(super) fn clock_applied(&mut self, applied: Applied) {
        self.applying = false;
        self.watch.own_step(applied.step);
        if applied.step != NtpDuration::ZERO || applied.frequency != self.ledger.frequency() {
            self.ledger.record(&applied);
        }
        if applied.step != NtpDuration::ZERO {
            self.clock_epoch = self.clock_epoch.wrapping_add(1);
            self.give_up_exchanges();
            self.carry_over(applied.step);
        }
    }

    /// The clock was stepped, and true time was not: what sources said last is said of the clock as it is now. Otherwise readers
    /// would see offsets of a clock that is gone, until each source has answered again.
    fn carry_over(&mut self, step: NtpDuration) {
        let members = self.sources.members.iter_mut();
        for measured in members.filter_map(|member| member.measured.as_mut()) {
            measured.offset += step;
            measured.at = measured.at + step;
        }
    }

    /// The system clock jumped, and it was not us.
    pub(super) fn clock_jumped(&mut self, now: Now, jump: NtpDuration) {
        let frequency = self.ledger.frequency();
        self.clock_epoch = self.clock_epoch.wrapping_add(1);
        self.ledger.record(&Applied {
            at: now.system - jump - READING_SLACK,
            step: jump,
            frequency,
        });
        self.give_up_exchanges();
        if self.took_leap_second(now, jump) {
            return;
        }
        self.carry_over(jump);
        self.emit(Event::ClockDisturbed { by: jump });
        self.reacquire(now, jump);
    }

    /// What is known of the clock is uncertain by `by`: end a slew that aims at nothing any more and ask
    /// everybody again.
    pub(super) fn reacquire(&mut self, now: Now, by: NtpDuration) {
        if let Some(slew) = self.slew.take() {
            self.wanted.frequency = Some(slew.base);
        }
        self.discipline
            .clock_disturbed(self.ledger.free(now.system), by.abs().as_seconds_f64());
        self.steering.allow_step();
        if self.sync.synchronized && self.figures(now).is_none() {
            // Nobody may rely on this clock until a source has told what became of it.
            self.sync.synchronized = false;
            self.set_status(now, UNKNOWN_ERROR, UNKNOWN_ERROR);
        }
        for member in &mut self.sources.members {
            member.association.restart(now.monotonic);
        }
    }

    pub(super) fn give_up_exchanges(&mut self) {
        for member in &mut self.sources.members {
            if let Some(exchange) = member.association.void_stamps() {
                self.outputs.push_back(Output::Close(exchange));
            }
        }
    }

    // ---- what we say about the clock

    /// Publishes what a measurement led to. `step` is about to be made: what is said is about the clock after it.
    pub(super) fn follow_reference(&mut self, now: Now, step: NtpDuration) {
        let Some(figures) = self.figures_after(now, step, NtpDuration::ZERO) else {
            return;
        };
        let system = now.system + step;
        let best = self
            .sources
            .members
            .iter()
            .position(|member| member.key == figures.best);
        let Some((position, measured)) =
            best.and_then(|at| Some((at, self.sources.members[at].measured?)))
        else {
            return;
        };
        let member = &self.sources.members[position];
        let was = self.sync.synchronized;
        let stratum = measured.stratum.below();
        let reference_id = reference_id_of(member.association.remote().ip());
        let reference = self.sources.subject(member);
        self.plan_leap(now, system);
        self.sync = SyncState {
            synchronized: figures.bound <= SYNCHRONIZED_BOUND,
            leap: self.leap_announcement(),
            stratum,
            reference_id,
            reference_time: Some(system),
        };
        self.us.says(system.to_ntp());
        if self.sync.synchronized && !was {
            self.emit(Event::Synchronized { stratum, reference });
        }
        self.tell_kernel(now, step);
    }

    /// Error figures for the system clock as it stands now.
    pub(super) fn figures(&self, now: Now) -> Option<Figures> {
        self.figures_after(now, NtpDuration::ZERO, NtpDuration::ZERO)
    }

    /// The same against what is served, which is smeared time while a leap second is smeared.
    pub(super) fn served_figures(&self, now: Now) -> Option<Figures> {
        let (aim, _) = self.aim(now.system);
        self.figures_after(now, -aim, NtpDuration::ZERO)
    }

    /// The same for the clock once `step` has been made, and `ahead` of now if nothing more becomes known.
    fn figures_after(&self, now: Now, step: NtpDuration, ahead: NtpDuration) -> Option<Figures> {
        let outlook = self.discipline.outlook()?;
        let free = self.ledger.free(now.system);
        let gap = outlook.estimate(free).phase + self.ledger.correction(now.system);
        outlook.figures(free + ahead, gap + step)
    }

    /// Tells the kernel the error figures that hold until it lets them grow itself.
    fn tell_kernel(&mut self, now: Now, step: NtpDuration) {
        if let Some(figures) = self.figures_after(now, step, KERNEL_TICK) {
            self.set_status(now, figures.bound, figures.estimated_error);
        }
    }

    /// Periodically: tells the kernel the error figures, and notices when they have grown too large.
    pub(super) fn refresh_status(&mut self, now: Now) {
        let figures = self.figures(now);
        let bound = figures.map_or(UNKNOWN_ERROR, |figures| figures.bound);
        if self.sync.synchronized && bound > SYNCHRONIZED_BOUND {
            self.sync.synchronized = false;
            self.emit(Event::SynchronizationLost { bound });
            self.set_status(now, bound, UNKNOWN_ERROR);
        }
        self.tell_kernel(now, NtpDuration::ZERO);
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
        self.wanted.status = Some(ClockStatus {
            leap: self.kernel_leap(),
            estimated_error: estimated_error.min(UNKNOWN_ERROR),
            bound: bound.min(UNKNOWN_ERROR),
            tai_offset: self.tai_offset(now),
        });
    }

    fn tell_no_majority(&mut self, now: Now) {
        let free = self.ledger.free(now.system);
        let agreement = self.discipline.agreement(free);
        let said: Vec<_> = self
            .sources
            .members
            .iter()
            .filter_map(|member| {
                let measured = member.measured?;
                Some((
                    self.sources.subject(member),
                    measured.offset,
                    measured.uncertainty,
                ))
            })
            .collect();
        // While sources are still being asked for the first time, disagreement is only incompleteness.
        if self
            .sources
            .members
            .iter()
            .any(|member| member.association.schedule().is_in_burst())
        {
            return;
        }
        let needed = self
            .config
            .discipline
            .minimum_agreeing_sources
            .max(said.len() / 2 + 1);
        if self.majority_missing.admit(now.monotonic).is_some() {
            self.emit(Event::NoMajority {
                agreeing: agreement.agreeing,
                needed,
                said,
            });
        }
    }

    /// Hands out what is worth keeping: as soon as there is anything, when the frequency becomes known, and once an hour.
    pub(super) fn persist_hourly(&mut self, now: Now) {
        let knows_more =
            |had_frequency: bool| !had_frequency && self.discipline.frequency_prior().is_some();
        let due = self.persisted.is_none_or(|(last, had_frequency)| {
            now.monotonic - last >= PERSIST_INTERVAL || knows_more(had_frequency)
        });
        if due && self.sync.synchronized {
            self.persist(now);
        }
    }

    /// Hands out what is worth keeping.
    pub(super) fn persist(&mut self, now: Now) {
        let kept = self.kept(now);
        if kept != Kept::default() {
            self.persisted = Some((now.monotonic, kept.frequency.is_some()));
            self.outputs.push_back(Output::Persist(kept));
        }
    }
}
