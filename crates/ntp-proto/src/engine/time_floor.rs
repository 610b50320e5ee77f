//! The floor under time: a moment that is past, as an earlier run has saved it.
//!
//! True time only grows, so what a synchronised clock has shown, less its error bound, is a lower
//! limit for ever. But the saved limit is only as good as the sources that it came from. A run
//! that followed wrong servers must not decide over later ones. Therefore:
//!
//! * **It is learnt slowly.** The floor is saved only after the sources have held their time for an
//!   hour ([`HELD`]), and never beyond what `startup-step-panic-threshold` could have made of the
//!   clock that this run began with.
//! * **It is questioned.** Sources that show an earlier time contradict it. Two witnesses outweigh
//!   it: two agreeing sources, or one and the clock, if that showed about the same time at the
//!   start and not one before this program was released. A step that only sources ask for then
//!   waits as one after start-up does. A lone source is not followed, unless it is less than
//!   [`SMALL`] below the floor, which is what the start may take back in any case.
//! * **It is forgotten.** Once the witnesses have held their time for an hour, the floor is
//!   replaced by theirs. An operator's `step` or `force-sync` needs no witness.

use ntp_time::{Monotonic, NtpDuration, SystemTime};
use serde::{Deserialize, Serialize};

use super::steer::SYNCHRONIZED_BOUND;
use super::{Engine, Event, LogRateLimit, Now};
use crate::discipline::Estimate;

/// Time for which the sources must hold their time before the floor is saved. Shorter, a mistake
/// that is noticed and corrected is saved; longer, machines that run for some hours a day and have
/// no battery clock save no floor.
const HELD: NtpDuration = NtpDuration::from_seconds(3600);
/// Contradiction that needs no witness: the default of `startup-step-panic-threshold` backward.
const SMALL: NtpDuration = NtpDuration::from_seconds(86_400);
/// Difference between two readings at the start above which the clock was set between them. It is
/// set by a minute at least, and reading it takes milliseconds.
const SET_FORWARD: NtpDuration = NtpDuration::from_seconds(30);

/// What is known of the time before any measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimePrior {
    /// Reading of the clock when the daemon started, before it was set to any known time.
    #[serde(with = "ntp_time::exact")]
    pub clock: SystemTime,
    /// The floor that an earlier run has saved.
    #[serde(with = "ntp_time::exact")]
    pub floor: Option<SystemTime>,
}

/// The floor, and what the sources say about it.
#[derive(Debug)]
pub(super) struct TimeFloor {
    floor: Option<SystemTime>,
    /// Reading of the clock at the start, before it was set forward.
    clock: SystemTime,
    /// How far it was then set forward.
    set_forward: NtpDuration,
    started: Monotonic,
    /// Since when the sources have held their time.
    held_since: Option<Monotonic>,
    /// Whether witnesses outweigh the floor.
    overruled: bool,
    report_limit: LogRateLimit,
}

impl TimeFloor {
    pub(super) fn new(now: Now, prior: Option<TimePrior>) -> Self {
        let clock = prior.map_or(now.system, |prior| prior.clock);
        let change = now.system - clock;
        Self {
            floor: prior.and_then(|prior| prior.floor),
            clock,
            set_forward: if change > SET_FORWARD {
                change
            } else {
                NtpDuration::ZERO
            },
            started: now.monotonic,
            held_since: None,
            overruled: false,
            report_limit: LogRateLimit::default(),
        }
    }

    /// How far the clock was set forward at the start, without a measurement.
    pub(super) fn set_forward(&self) -> NtpDuration {
        self.set_forward
    }

    /// Records whether the sources hold the time that the clock shows.
    pub(super) fn record_hold(&mut self, now: Monotonic, holds: bool) {
        self.held_since = match self.held_since {
            Some(since) if holds => Some(since),
            _ => holds.then_some(now),
        };
    }

    fn is_held(&self, now: Monotonic) -> bool {
        self.held_since.is_some_and(|since| now - since >= HELD)
    }

    /// Whether the clock as it was at the start shows a time near that of the sources. `ahead` is
    /// how far the clock, without our corrections since, is ahead of them.
    fn clock_agrees(&self, ahead: NtpDuration) -> bool {
        let plausible = self.clock >= SystemTime::RELEASED;
        plausible && (ahead - self.set_forward).abs() < SMALL
    }

    /// Latest floor that can be saved: the clock cannot have been right beyond what the start may
    /// add to its reading, or to the release of this program.
    fn ceiling(&self, now: Monotonic, forward: Option<NtpDuration>) -> SystemTime {
        match forward {
            Some(forward) => self.clock.max(SystemTime::RELEASED) + forward + (now - self.started),
            None => SystemTime::from_nanos(i64::MAX),
        }
    }

    /// The floor to save, if the sources have held their time for long enough, and whether it
    /// replaces the saved one. `past` is a moment that they show to be past.
    pub(super) fn to_save(
        &self,
        now: Monotonic,
        past: SystemTime,
        forward: Option<NtpDuration>,
    ) -> Option<(SystemTime, bool)> {
        let past = past.min(self.ceiling(now, forward));
        self.is_held(now).then_some((past, self.overruled))
    }

    /// Records that `floor` was saved.
    pub(super) fn record_saved(&mut self, floor: SystemTime) {
        self.floor = Some(floor).max(self.floor.filter(|_| !self.overruled));
        self.overruled = false;
    }
}

impl Engine {
    /// Compares the time of the sources with the floor. Returns whether the clock may follow them.
    pub(super) fn check_floor(&mut self, now: Now, estimate: &Estimate) -> bool {
        let Some(floor) = self.time_floor.floor else {
            return true;
        };
        let time = now.system - (estimate.phase + self.ledger.correction(now.system));
        let below = floor - time;
        if below <= SYNCHRONIZED_BOUND {
            self.time_floor.overruled = false;
            return true;
        }
        let free = self.ledger.free_time(now.system);
        let agreeing = self.discipline.agreement(free).agreeing;
        let required = self.config.discipline.minimum_agreeing_sources.max(2);
        let by_clock = self.time_floor.clock_agrees(estimate.phase);
        let overruled = by_clock || agreeing >= required;
        let followed = overruled || below < SMALL;
        self.time_floor.overruled = overruled;
        if !by_clock && below >= SMALL {
            self.steering.withhold_step();
        }
        if let Some(suppressed) = self.time_floor.report_limit.admit(now.monotonic) {
            self.emit(Event::FloorContradicted {
                saved: floor,
                time,
                agreeing,
                followed,
                suppressed,
            });
        }
        followed
    }

    /// Forgets the floor if the sources contradict it: an operator has decided so.
    pub(super) fn drop_contradicted_floor(&mut self, now: Now, estimate: &Estimate) {
        let time = now.system - (estimate.phase + self.ledger.correction(now.system));
        let contradicted = |floor: &SystemTime| *floor - time > SYNCHRONIZED_BOUND;
        if self.time_floor.floor.as_ref().is_some_and(contradicted) {
            self.time_floor.floor = None;
            self.outputs
                .push_back(super::Output::Persist(super::PersistedState {
                    replaces_floor: true,
                    ..super::PersistedState::default()
                }));
        }
    }

    /// The floor, if the sources contradict it.
    pub(super) fn contradicted_floor(&self, now: Now) -> Option<SystemTime> {
        let time = now.system - self.prediction()?.offset(now.system);
        let floor = self.time_floor.floor?;
        (floor - time > SYNCHRONIZED_BOUND).then_some(floor)
    }
}
