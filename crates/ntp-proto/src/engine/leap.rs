//! Plans and carries out leap seconds.
//!
//! The sources of information and the kinds of handling are described in [`leap`](crate::leap).
//! This is the plan of the engine, updated with every measurement and carried out by a timer:
//!
//! | moment | kernel | slew | smear |
//! |---|---|---|---|
//! | last day of the month | announced, kernel armed | announced | not announced: clients must not act on smeared time |
//! | noon before | - | - | the target begins to deviate from UTC |
//! | UTC jumps | the kernel jumps with it, which is detected as a jump of the clock | true time jumps, the clock is slewed | true time and target jump, the clock does not |
//! | noon after | - | - | the target is UTC again |
//!
//! # Precedence
//! A valid list takes precedence: a leap second that is not in it does not happen, whatever sources
//! announce, and one that is in it happens without any announcement. Exception: if a source smears,
//! the list alone is not sufficient, because a second inserted into smeared time would be one too
//! many.

use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, ReferenceId, SystemTime, Timescale,
};

use super::source::SourceInput;
use super::{Engine, Event, LogRateLimit, Now};
use crate::leap::{LeapHandling, LeapSecond, LeapTable, SMEAR, is_last_day_of_month};

/// Time after a leap second during which announcements are ignored. Servers announce a leap second
/// during the second itself, which a clock then has twice; armed again within it, the kernel would
/// carry out another one. Leap seconds are at least half a year apart.
const ANNOUNCEMENT_PAUSE: NtpDuration = NtpDuration::from_seconds(86_400);

/// The kernel acts at its first timer tick after midnight, at most 10 ms later.
const KERNEL_TICK: NtpDuration = NtpDuration::from_millis(20);

/// Time after a leap second during which TAI - UTC is not set. In the repeated second the list
/// cannot tell which of the two it is, and the kernel updates the offset itself.
const TAI_AMBIGUOUS: NtpDuration = NtpDuration::from_seconds(2);

/// Maximum deviation from one second of a jump that is taken for a leap second.
const JUMP_TOLERANCE: NtpDuration = NtpDuration::from_millis(100);

/// The scheduled leap second, or the one being smeared.
#[derive(Debug, Default)]
pub(super) struct LeapPlan {
    /// The list of leap seconds, if any.
    table: Option<LeapTable>,
    second: Option<LeapSecond>,
    /// Whether UTC has jumped already, while the smear continues.
    utc_jumped: bool,
    /// Time of the next action.
    pub(super) due: Option<Monotonic>,
    /// Time of the last leap second.
    last_jump: Option<Monotonic>,
    contradiction_limit: LogRateLimit,
    /// Whether the expiry of the list was reported.
    expiry_reported: bool,
}

impl Engine {
    /// Updates the plan for a clock that reads `system` from now on.
    pub(super) fn plan_leap(&mut self, now: Now, system: SystemTime) {
        self.report_list_expiry(system);
        if !self.continues_smearing(system) {
            let second = self.leap_ahead(now, system);
            if second != self.leap.second && second.is_some() {
                self.leap.utc_jumped = second.is_some_and(|second| second.midnight <= system);
                if let Some(second) = second.filter(|_| !self.leap.utc_jumped) {
                    self.emit(Event::LeapSecondAhead {
                        leap: second.indicator(),
                        handling: self.config.leap_handling,
                    });
                }
            }
            self.leap.second = second;
        }
        self.arm_leap_timer(now, system);
    }

    /// Whether UTC has jumped and the smear continues, which no source announces any more.
    fn continues_smearing(&self, system: SystemTime) -> bool {
        self.config.leap_handling == LeapHandling::Smear
            && self.leap.utc_jumped
            && self
                .leap
                .second
                .is_some_and(|second| system < second.smear_window().1)
    }

    fn leap_ahead(&mut self, now: Now, system: SystemTime) -> Option<LeapSecond> {
        if self
            .leap
            .last_jump
            .is_some_and(|at| now.monotonic - at < ANNOUNCEMENT_PAUSE)
        {
            return None;
        }
        let announced = self.majority_announces(now);
        let announced = is_last_day_of_month(system)
            .then(|| LeapSecond::from_indicator(announced, system))
            .flatten();
        let table = self.leap.table.as_ref();
        let Some(table) = table.filter(|table| table.is_valid(system)) else {
            return announced;
        };
        let listed = table.nearest(system, SMEAR).filter(|second| {
            let still_smearing = self.config.leap_handling == LeapHandling::Smear
                && system < second.smear_window().1;
            system < second.midnight || still_smearing
        });
        match (listed, announced) {
            // The sources smear it already.
            (Some(_), None) if self.follows_smeared_time() => None,
            (None, Some(denied)) => {
                if self.leap.contradiction_limit.admit(now.monotonic).is_some() {
                    self.emit(Event::LeapSecondContradicted {
                        leap: denied.indicator(),
                    });
                }
                None
            }
            (listed, _) => listed,
        }
    }

    /// Leap second announced by more than half of the selected sources.
    fn majority_announces(&self, now: Now) -> LeapIndicator {
        let free = self.ledger.free_time(now.system);
        let (mut selected, mut inserting, mut deleting) = (0, 0, 0);
        for source in &self.sources.in_use {
            if let Some(measured) = source.measured
                && self.discipline.is_selected(source.key, free)
            {
                selected += 1;
                inserting += usize::from(measured.leap == LeapIndicator::Insert);
                deleting += usize::from(measured.leap == LeapIndicator::Delete);
            }
        }
        if 2 * inserting > selected {
            LeapIndicator::Insert
        } else if 2 * deleting > selected {
            LeapIndicator::Delete
        } else {
            LeapIndicator::None
        }
    }

    fn follows_smeared_time(&self) -> bool {
        let mut measured = self
            .sources
            .in_use
            .iter()
            .filter_map(|source| source.measured);
        measured.any(|measured| measured.reference_id == ReferenceId::SMEARED)
    }

    fn report_list_expiry(&mut self, system: SystemTime) {
        let Some(table) = &self.leap.table else {
            return;
        };
        let (expires, expired) = (table.expires(), !table.is_valid(system));
        if expired && !self.leap.expiry_reported {
            self.emit(Event::LeapListExpired { expired: expires });
        }
        self.leap.expiry_reported = expired;
    }

    // ---- timer

    /// Readings of the clock at which the plan requires an action.
    fn leap_times(&self) -> impl Iterator<Item = SystemTime> {
        let moments = self
            .leap
            .second
            .map(|second| match self.config.leap_handling {
                LeapHandling::Kernel => [Some(second.moment() + KERNEL_TICK), None, None],
                LeapHandling::Slew => [Some(second.moment()), None, None],
                LeapHandling::Smear => {
                    let (begin, end) = second.smear_window();
                    let jump = (!self.leap.utc_jumped).then(|| smear_midpoint(&second));
                    [Some(begin), jump, Some(end)]
                }
            });
        moments.into_iter().flatten().flatten()
    }

    fn arm_leap_timer(&mut self, now: Now, system: SystemTime) {
        let next = self.leap_times().filter(|moment| *moment > system).min();
        self.leap.due = next.map(|moment| now.monotonic + (moment - system));
    }

    /// Carries out the action that is due, if any.
    pub(super) fn run_leap_timer(&mut self, now: Now) {
        if self.leap.due.is_none_or(|due| due > now.monotonic) {
            return;
        }
        if let Some(second) = self.leap.second {
            let jumps = match self.config.leap_handling {
                // The wake-up suffices: the clocks are compared at every input.
                LeapHandling::Kernel => false,
                LeapHandling::Slew => now.system >= second.moment(),
                LeapHandling::Smear => {
                    !self.leap.utc_jumped && now.system >= smear_midpoint(&second)
                }
            };
            if jumps {
                self.handle_all(now, SourceInput::ClockStepped);
                self.utc_jumped(now, second);
            }
            if self.config.leap_handling == LeapHandling::Smear
                && now.system >= second.smear_window().1
            {
                self.leap.second = None;
            }
            if self.config.leap_handling != LeapHandling::Kernel {
                self.resteer(now);
            }
        }
        self.arm_leap_timer(now, now.system);
    }

    /// Accounts for a leap second: free-running time continues, true time jumps.
    fn utc_jumped(&mut self, now: Now, second: LeapSecond) {
        let handling = self.config.leap_handling;
        self.discipline.apply_leap_second(second.jump());
        if handling == LeapHandling::Slew {
            self.steering.slew_gap(second.jump());
        }
        self.leap.last_jump = Some(now.monotonic);
        self.leap.utc_jumped = true;
        if handling != LeapHandling::Smear {
            self.leap.second = None;
        }
        self.sync.leap = LeapIndicator::None;
        self.emit(Event::LeapSecond {
            leap: second.indicator(),
            handling,
        });
    }

    /// Whether a jump of the clock is the leap second that the kernel was armed for: one second in
    /// the announced direction, at midnight UTC. If so, accounts for the leap second.
    pub(super) fn detect_leap_second(&mut self, now: Now, jump: NtpDuration) -> bool {
        let Some(second) = self
            .leap
            .second
            .filter(|_| self.config.leap_handling == LeapHandling::Kernel)
        else {
            return false;
        };
        // The jump is detected at the next input, which may be a housekeeping interval later.
        let near = (now.system - second.midnight).abs() < super::HOUSEKEEPING * 2;
        let own = near && (jump - second.jump()).abs() < JUMP_TOLERANCE;
        if own {
            self.utc_jumped(now, second);
        }
        own
    }

    // ---- published state

    /// Leap indicator sent to clients.
    pub(super) fn leap_announcement(&self) -> LeapIndicator {
        match (self.config.leap_handling, self.leap.second) {
            (LeapHandling::Kernel | LeapHandling::Slew, Some(second)) => second.indicator(),
            _ => LeapIndicator::None,
        }
    }

    /// Leap indicator sent to clients of version 5: for leap seconds within 14 days
    /// (draft-ietf-ntp-ntpv5, "Header"), as far as the list knows them.
    pub(super) fn leap_within_a_fortnight(&self, system: SystemTime) -> LeapIndicator {
        const FORTNIGHT: NtpDuration = NtpDuration::from_seconds(14 * 86_400);
        let announced = self.leap_announcement();
        let handled = matches!(
            self.config.leap_handling,
            LeapHandling::Kernel | LeapHandling::Slew
        );
        let table = self.leap.table.as_ref();
        let listed = table
            .filter(|table| handled && table.is_valid(system))
            .and_then(|table| table.nearest(system, FORTNIGHT))
            .filter(|second| system < second.midnight);
        listed.map_or(announced, |second| second.indicator())
    }

    /// Timescale of the clock.
    pub(super) fn served_timescale(&self) -> Timescale {
        if self.config.leap_handling == LeapHandling::Smear || self.follows_smeared_time() {
            Timescale::SmearedUtc
        } else {
            Timescale::Utc
        }
    }

    /// Leap indicator for the kernel.
    pub(super) fn kernel_leap(&self) -> LeapIndicator {
        if !self.sync.synchronized {
            LeapIndicator::Unsynchronized
        } else if self.config.leap_handling == LeapHandling::Kernel {
            self.sync.leap
        } else {
            LeapIndicator::None
        }
    }

    /// TAI - UTC for the kernel. `None` while unknown or ambiguous.
    pub(super) fn tai_offset(&self, now: Now) -> Option<i32> {
        let ambiguous = |at| now.monotonic - at < TAI_AMBIGUOUS;
        if self.leap.last_jump.is_some_and(ambiguous) {
            return None;
        }
        self.leap.table.as_ref()?.tai_offset(now.system)
    }

    /// Intended offset of the clock from UTC when it reads `system`, and the rate of change of that
    /// offset.
    pub(super) fn smear_target(&self, system: SystemTime) -> (NtpDuration, Frequency) {
        match self.leap.second {
            Some(second) if self.config.leap_handling == LeapHandling::Smear => {
                second.smear_offset(system, self.leap.utc_jumped)
            }
            _ => Default::default(),
        }
    }

    /// Whether the served time is smeared when the clock reads `system`.
    pub(super) fn is_smearing(&self, system: SystemTime) -> bool {
        self.smear_target(system).1 != Frequency::ZERO
    }

    /// Replaces the list of leap seconds.
    pub(super) fn leap_list_changed(&mut self, table: Option<&LeapTable>) {
        self.leap.table = table.cloned();
        self.leap.expiry_reported = false;
    }

    /// Expiry time of the list. `None` without a list.
    pub(super) fn leap_list_expires(&self) -> Option<SystemTime> {
        self.leap.table.as_ref().map(LeapTable::expires)
    }
}

/// Reading of a smeared clock when UTC jumps: half of the second is smeared then.
fn smear_midpoint(second: &LeapSecond) -> SystemTime {
    second.midnight - NtpDuration::from_millis(500)
}
