//! Sources with `fallback`: when they take part in the selection, and when not.
//!
//! # Problem
//! Some sources are better than none, but must not be followed, nor vote, while better ones work:
//! the servers of a DHCP lease beside those that the operator chose, or servers without
//! authentication beside those with NTS.
//!
//! # Idea
//! Such sources are measured all the time, but *held back*: for the selection they are sources with
//! `noselect`. They take part after too few others have been usable for `fallback-after`. What
//! *usable* means is what the clock needs anyway: a valid majority. The time counts only while a
//! source with `fallback` answers. Otherwise a machine whose network comes late, so that no source
//! answers at first, would follow whichever answers first.
//!
//! They are held back again after the others have been a majority by themselves for
//! [`REGULAR_HOLD`]. Like every source without precedence they then lose what they have left in the
//! estimate, because they may be wrong. The difference is slewed in both directions, unless one side
//! must have been wrong ([`HANDOVER_LIMIT`]).

use ntp_time::{Monotonic, NtpDuration, SystemTime};

use super::source::Source;
use super::{Engine, Event, Now};

/// Time for which the other sources must be a majority before those with `fallback` are held back:
/// a burst after a long silence, and a poll interval of 64 s. With less, servers that answer now and
/// then would cause a change each time.
const REGULAR_HOLD: NtpDuration = NtpDuration::from_seconds(64);

/// Largest difference that is slewed when other sources are followed: the uncertainty up to which a
/// source is used by default. Right sources differ by less.
const HANDOVER_LIMIT: NtpDuration = NtpDuration::from_millis(1500);

/// State of the fallback.
#[derive(Debug, Default)]
pub(super) struct Fallback {
    /// Since when the sources with `fallback` take part.
    active: Option<(Monotonic, SystemTime)>,
    /// Since when the condition for a change has held.
    pending: Option<Monotonic>,
    /// When the change is due, if the condition still holds then.
    pub(super) next_due: Option<Monotonic>,
}

impl Fallback {
    /// Since when sources with `fallback` take part, if they do.
    pub(super) fn since(&self) -> Option<SystemTime> {
        self.active.map(|(_, since)| since)
    }
}

impl Engine {
    /// Follows whether enough sources without `fallback` are usable, after each input.
    pub(super) fn update_fallback(&mut self, now: Now) {
        let is_active = self.fallback.active.is_some();
        if !self.sources.has_alternatives() {
            self.fallback.pending = None;
            self.fallback.next_due = None;
            if is_active {
                self.end_fallback(now);
            }
            return;
        }
        let free = self.ledger.free_time(now.system);
        if is_active
            && self
                .fallback
                .next_due
                .is_some_and(|due| due <= now.monotonic)
        {
            // Those that have become stale since the last sample do not count.
            self.reselect(now);
        }
        let regular = self.discipline.regular_majority(free);
        let (changes, wait) = if is_active {
            (regular, REGULAR_HOLD)
        } else {
            let answers = self.sources.in_use.iter().any(|it| self.may_replace(it));
            (!regular && answers, self.config.fallback_after)
        };
        let pending = changes.then(|| self.fallback.pending.unwrap_or(now.monotonic));
        let due = pending.map(|since| since + wait);
        let is_due = due.is_some_and(|due| due <= now.monotonic);
        self.fallback.pending = pending.filter(|_| !is_due);
        self.fallback.next_due = due.filter(|_| !is_due);
        match (is_due, is_active) {
            (true, false) => self.begin_fallback(now, wait),
            (true, true) => self.end_fallback(now),
            (false, _) => {}
        }
    }

    /// Whether the source answers and could be used in place of those without `fallback`.
    fn may_replace(&self, source: &Source) -> bool {
        let options = self.sources.config(source).selection;
        options.fallback
            && !options.noselect
            && source.reachable
            && source.is_eligible()
            && source.duplicate_of.is_none()
    }

    fn begin_fallback(&mut self, now: Now, after: NtpDuration) {
        self.fallback.active = Some((now.monotonic, now.system));
        self.emit(Event::FallbackStarted { after });
        self.set_fallback(now, true);
    }

    fn end_fallback(&mut self, now: Now) {
        let Some((since, _)) = self.fallback.active.take() else {
            return;
        };
        self.emit(Event::FallbackEnded {
            after: now.monotonic - since,
        });
        self.set_fallback(now, false);
    }

    fn set_fallback(&mut self, now: Now, takes_part: bool) {
        if self.sync.synchronized {
            self.local.begin_handover(now, HANDOVER_LIMIT);
        }
        self.sources.fallback_takes_part = takes_part;
        self.sources.selection_outdated = true;
        self.update_selection(now);
    }
}
