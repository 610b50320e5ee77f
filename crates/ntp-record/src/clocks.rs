//! The clock that was, and the clock that would have been.
//!
//! Until the replayed engine decides otherwise both are one, and recorded readings are passed on as they are. Afterwards a recorded reading is taken to free-running
//! time by the ledger of what was done, and from there by the line that the last replayed adjustment began.

use ntp_time::{Adjustment, Applied, FreeTime, Frequency, Ledger, NtpDuration, SystemTime};

#[derive(Debug)]
pub(crate) struct Clocks {
    recorded: Ledger,
    /// Where the would-be clock's present line begins, and its rate.
    replayed: (FreeTime, SystemTime, Frequency),
    /// Since when they differ.
    pub(crate) diverged: Option<SystemTime>,
}

impl Clocks {
    pub(crate) fn new(now: SystemTime, frequency: Frequency) -> Self {
        let recorded = Ledger::new(now, frequency);
        let replayed = (recorded.free(now), now, frequency);
        Self {
            recorded,
            replayed,
            diverged: None,
        }
    }

    /// What the would-be clock would have read when the recorded one read `recorded`.
    pub(crate) fn reading(&self, reading: SystemTime) -> SystemTime {
        if self.diverged.is_none() {
            return reading;
        }
        let (begin, initial, frequency) = self.replayed;
        let elapsed = self.recorded.free(reading) - begin;
        initial + elapsed + elapsed.scaled(frequency.as_ratio())
    }

    /// The recorded clock was changed.
    pub(crate) fn record_applied(&mut self, applied: &Applied) {
        let free = self.recorded.free(applied.at);
        self.recorded.record(applied);
        if self.diverged.is_none() {
            self.replayed = (free, applied.at + applied.step, applied.frequency);
        }
    }

    /// The replayed engine changes the would-be clock, when the recorded one reads `recorded`.
    pub(crate) fn apply_replayed(&mut self, reading: SystemTime, wanted: &Adjustment) -> Applied {
        let applied = Applied {
            at: self.reading(reading),
            step: wanted.step.unwrap_or(NtpDuration::ZERO),
            frequency: wanted.frequency.unwrap_or(self.replayed.2),
        };
        self.replayed = (
            self.recorded.free(reading),
            applied.at + applied.step,
            applied.frequency,
        );
        self.diverged.get_or_insert(reading);
        applied
    }
}
