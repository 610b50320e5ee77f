//! The leap second ahead: whether there is one, and what happens when.
//!
//! What is known and what the handlings mean stands in [`leap`](crate::leap). Here is the engine's plan, made anew with every update from
//! a source and carried out by a timer:
//!
//! | moment | kernel | slew | smear |
//! |---|---|---|---|
//! | last day of the month | announced, kernel armed | announced | not announced: clients must not act on smeared time |
//! | noon | - | - | the clock begins to aim away from UTC |
//! | UTC jumps | the kernel jumps with it, which is noticed as a jump of the clock | true time jumps, the clock is slewed after it | true time and aim jump, the clock does not |
//! | noon | - | - | the aim is UTC again |
//!
//! # Whom to believe
//! A list that is valid today has the last word: what it does not have does not happen, whoever announces it, and what it has
//! happens without anybody's announcement. One exception: where a source smears, nothing is done by the list alone, for a
//! second inserted into smeared time would be a second too many.

use ntp_time::{Frequency, LeapIndicator, Monotonic, NtpDuration, ReferenceId, SystemTime};

use super::Thinner;
use super::{Engine, Event, Now};
use crate::leap::{LeapHandling, LeapSecond, LeapTable, SMEAR, is_last_day_of_month};

/// What a server calls its reference while it smears. The address belongs to no host; chronyd's smearing servers use the same.
pub(super) const SMEARED: ReferenceId = ReferenceId::new([127, 127, 1, 255]);

/// Servers go on announcing a leap second through the second itself, which a clock then has twice. Armed again within it, the
/// kernel would carry out another one. No two leap seconds are less than half a year apart.
const PAUSE: NtpDuration = NtpDuration::from_seconds(86_400);

/// The kernel acts at its next timer tick after midnight, which is at most 10 ms later.
const GRACE: NtpDuration = NtpDuration::from_millis(20);

/// Within the repeated second a list cannot say which of the two it is, and the kernel keeps the offset to TAI by itself.
const AMBIGUOUS: NtpDuration = NtpDuration::from_seconds(2);

/// A jump of this much more or less than a second may be a leap second.
const TOLERANCE: NtpDuration = NtpDuration::from_millis(100);

/// The leap second ahead, or the one that is being smeared.
#[derive(Debug, Default)]
pub(super) struct LeapPlan {
    /// The list, if there is one.
    table: Option<LeapTable>,
    second: Option<LeapSecond>,
    /// Whether UTC has jumped already (and the rest is smeared).
    past: bool,
    /// When to look again.
    pub(super) due: Option<Monotonic>,
    /// When UTC last jumped.
    jumped: Option<Monotonic>,
    contradicted: Thinner,
    /// Whether the operator was told that the list has expired.
    expiry_told: bool,
}

impl Engine {
    /// Makes the plan for a clock that reads `system` from now on.
    pub(super) fn plan_leap(&mut self, now: Now, system: SystemTime) {
        self.tell_expiry(system);
        if !self.is_smearing_on(system) {
            let second = self.leap_ahead(now, system);
            if second != self.leap.second && second.is_some() {
                self.leap.past = second.is_some_and(|second| second.midnight <= system);
                if let Some(second) = second.filter(|_| !self.leap.past) {
                    self.emit(Event::LeapPlanned {
                        leap: second.indicator(),
                        handling: self.config.leap_handling,
                    });
                }
            }
            self.leap.second = second;
        }
        self.arm_leap_timer(now, system);
    }

    /// Whether UTC has jumped and the smear goes on, which nobody announces any more.
    fn is_smearing_on(&self, system: SystemTime) -> bool {
        self.config.leap_handling == LeapHandling::Smear
            && self.leap.past
            && self
                .leap
                .second
                .is_some_and(|second| system < second.smear_window().1)
    }

    fn leap_ahead(&mut self, now: Now, system: SystemTime) -> Option<LeapSecond> {
        if self
            .leap
            .jumped
            .is_some_and(|at| now.monotonic - at < PAUSE)
        {
            return None;
        }
        let announced = self.majority_announces(now);
        let announced = is_last_day_of_month(system)
            .then(|| LeapSecond::announced(announced, system))
            .flatten();
        let table = self.leap.table.as_ref();
        let Some(table) = table.filter(|table| table.is_valid(system)) else {
            return announced;
        };
        let listed = table.near(system, SMEAR).filter(|second| {
            let smeared_still = self.config.leap_handling == LeapHandling::Smear
                && system < second.smear_window().1;
            system < second.midnight || smeared_still
        });
        match (listed, announced) {
            // Theirs is smeared already.
            (Some(_), None) if self.follows_smeared_time() => None,
            (None, Some(denied)) => {
                if self.leap.contradicted.admit(now.monotonic).is_some() {
                    self.emit(Event::LeapContradicted(denied.indicator()));
                }
                None
            }
            (listed, _) => listed,
        }
    }

    /// What more than half of the selected sources announce.
    fn majority_announces(&self, now: Now) -> LeapIndicator {
        let free = self.ledger.free(now.system);
        let (mut selected, mut inserting, mut deleting) = (0, 0, 0);
        for member in &self.sources.members {
            if let Some(measured) = member.measured
                && self.discipline.is_selected(member.key, free)
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
            .members
            .iter()
            .filter_map(|member| member.measured);
        measured.any(|measured| measured.reference_id == SMEARED)
    }

    fn tell_expiry(&mut self, system: SystemTime) {
        let Some(table) = &self.leap.table else {
            return;
        };
        let (expires, expired) = (table.expires(), !table.is_valid(system));
        if expired && !self.leap.expiry_told {
            self.emit(Event::LeapListExpired(expires));
        }
        self.leap.expiry_told = expired;
    }

    // ---- when

    /// The readings of the clock at which something happens.
    fn leap_moments(&self) -> impl Iterator<Item = SystemTime> {
        let moments = self
            .leap
            .second
            .map(|second| match self.config.leap_handling {
                LeapHandling::Kernel => [Some(second.moment() + GRACE), None, None],
                LeapHandling::Slew => [Some(second.moment()), None, None],
                LeapHandling::Smear => {
                    let (begin, end) = second.smear_window();
                    let jump = (!self.leap.past).then(|| smeared_moment(&second));
                    [Some(begin), jump, Some(end)]
                }
            });
        moments.into_iter().flatten().flatten()
    }

    fn arm_leap_timer(&mut self, now: Now, system: SystemTime) {
        let next = self.leap_moments().filter(|moment| *moment > system).min();
        self.leap.due = next.map(|moment| now.monotonic + (moment - system));
    }

    /// Something may be due.
    pub(super) fn run_leap_timer(&mut self, now: Now) {
        if self.leap.due.is_none_or(|due| due > now.monotonic) {
            return;
        }
        if let Some(second) = self.leap.second {
            let jumps = match self.config.leap_handling {
                // To be woken was all: the clocks are compared at every input.
                LeapHandling::Kernel => false,
                LeapHandling::Slew => now.system >= second.moment(),
                LeapHandling::Smear => !self.leap.past && now.system >= smeared_moment(&second),
            };
            if jumps {
                self.give_up_exchanges();
                self.utc_jumped(now, second);
            }
            if self.config.leap_handling == LeapHandling::Smear
                && now.system >= second.smear_window().1
            {
                self.leap.second = None;
            }
            if self.config.leap_handling != LeapHandling::Kernel {
                self.steer_without_news(now);
            }
        }
        self.arm_leap_timer(now, now.system);
    }

    /// UTC jumped. Free time went on, true time was set.
    fn utc_jumped(&mut self, now: Now, second: LeapSecond) {
        let handling = self.config.leap_handling;
        self.discipline.true_time_jumped(second.jump());
        self.leap.jumped = Some(now.monotonic);
        self.leap.past = true;
        if handling != LeapHandling::Smear {
            self.leap.second = None;
        }
        self.sync.leap = LeapIndicator::None;
        self.emit(Event::LeapSecond {
            leap: second.indicator(),
            handling,
        });
    }

    /// Whether a jump of the clock is the leap second that we told the kernel to carry out: by one second in the announced
    /// direction, at midnight UTC. If so, true time has jumped too.
    pub(super) fn took_leap_second(&mut self, now: Now, jump: NtpDuration) -> bool {
        let Some(second) = self
            .leap
            .second
            .filter(|_| self.config.leap_handling == LeapHandling::Kernel)
        else {
            return false;
        };
        // The jump is noticed at the next look, which may be a housekeeping interval later.
        let near = (now.system - second.midnight).abs() < super::HOUSEKEEPING * 2;
        let own = near && (jump - second.jump()).abs() < TOLERANCE;
        if own {
            self.utc_jumped(now, second);
        }
        own
    }

    // ---- what it means for others

    /// What is announced to clients.
    pub(super) fn leap_announcement(&self) -> LeapIndicator {
        match (self.config.leap_handling, self.leap.second) {
            (LeapHandling::Kernel | LeapHandling::Slew, Some(second)) => second.indicator(),
            _ => LeapIndicator::None,
        }
    }

    /// What the kernel is told to do.
    pub(super) fn kernel_leap(&self) -> LeapIndicator {
        if !self.sync.synchronized {
            LeapIndicator::Unsynchronized
        } else if self.config.leap_handling == LeapHandling::Kernel {
            self.sync.leap
        } else {
            LeapIndicator::None
        }
    }

    /// TAI - UTC for the kernel, where it is known for certain.
    pub(super) fn tai_offset(&self, now: Now) -> Option<i32> {
        let ambiguous = |at| now.monotonic - at < AMBIGUOUS;
        if self.leap.jumped.is_some_and(ambiguous) {
            return None;
        }
        self.leap.table.as_ref()?.tai_offset(now.system)
    }

    /// How far the clock is meant to be ahead of UTC when it reads `system`, and how fast that changes.
    pub(super) fn aim(&self, system: SystemTime) -> (NtpDuration, Frequency) {
        match self.leap.second {
            Some(second) if self.config.leap_handling == LeapHandling::Smear => {
                second.aim(system, self.leap.past)
            }
            _ => Default::default(),
        }
    }

    /// Whether the time that is served is smeared when the clock reads `system`.
    pub(super) fn is_smearing(&self, system: SystemTime) -> bool {
        self.aim(system).1 != Frequency::ZERO
    }

    /// Another list.
    pub(super) fn leap_list_changed(&mut self, table: Option<&LeapTable>) {
        self.leap.table = table.cloned();
        self.leap.expiry_told = false;
    }

    /// Until when the list is complete; None without a list.
    pub(super) fn leap_list_expires(&self) -> Option<SystemTime> {
        self.leap.table.as_ref().map(LeapTable::expires)
    }
}

/// The reading of a smeared clock when UTC jumps: half of the second is smeared then.
fn smeared_moment(second: &LeapSecond) -> SystemTime {
    second.midnight - NtpDuration::from_millis(500)
}
