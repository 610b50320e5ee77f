//! The clock that was, and the clock that would have been.
//!
//! Until the replayed engine decides otherwise both are one, and recorded readings are passed on as they are. Afterwards a recorded reading is taken to free-running
//! time by the ledger of what was done, and from there by the line that the last replayed adjustment began.

use ntp_time::{Adjustment, Applied, FreeTime, Frequency, Ledger, NtpDuration, SystemTime};

#[derive(Debug)]
pub(crate) struct Clocks {
    was: Ledger,
    /// Where the would-be clock's present line begins, and its rate.
    would: (FreeTime, SystemTime, Frequency),
    /// Since when they differ.
    pub(crate) diverged: Option<SystemTime>,
}

impl Clocks {
    pub(crate) fn new(now: SystemTime, frequency: Frequency) -> Self {
        let was = Ledger::new(now, frequency);
        let would = (was.free_time(now), now, frequency);
        Self {
            was,
            would,
            diverged: None,
        }
    }

    /// What the would-be clock would have read when the recorded one read `recorded`.
    pub(crate) fn reading(&self, recorded: SystemTime) -> SystemTime {
        if self.diverged.is_none() {
            return recorded;
        }
        let (begin, reading, frequency) = self.would;
        let elapsed = self.was.free_time(recorded) - begin;
        reading + elapsed + elapsed.scaled(frequency.as_ratio())
    }

    /// The recorded clock was changed.
    pub(crate) fn was_applied(&mut self, applied: &Applied) {
        let free = self.was.free_time(applied.at);
        self.was.record(applied);
        if self.diverged.is_none() {
            self.would = (free, applied.at + applied.step, applied.frequency);
        }
    }

    /// The replayed engine changes the would-be clock, when the recorded one reads `recorded`.
    pub(crate) fn would_apply(&mut self, recorded: SystemTime, wanted: &Adjustment) -> Applied {
        let applied = Applied {
            at: self.reading(recorded),
            step: wanted.step.unwrap_or(NtpDuration::ZERO),
            frequency: wanted.frequency.unwrap_or(self.would.2),
        };
        self.would = (
            self.was.free_time(recorded),
            applied.at + applied.step,
            applied.frequency,
        );
        self.diverged.get_or_insert(recorded);
        applied
    }
}
