//! Free-running time, and the ledger that maps system time to it.
//!
//! # Problem
//! The estimator needs an undisturbed oscillator, but packets are timestamped by the clock that we
//! steer. If every correction is recorded with the time at which it took effect, it can be undone
//! exactly, which gives the clock that would exist without corrections. Estimation uses that clock:
//! steering does not disturb it, and no history has to be rewritten after a step.
//!
//! # Idea
//! With a frequency correction `a` in force the system clock advances by `1 + a` for each second of
//! the bare oscillator. Between two changes free time is therefore a line over system time:
//!
//! ```text
//! free(s) = free_k + (s - system_k) / (1 + a_k)
//!         = free_k + (s - system_k) - (s - system_k) * a_k / (1 + a_k)
//! ```
//!
//! The second form keeps the large part in fixed point and only the small correction in floating
//! point. Each change closes a segment. Several segments are kept, because a packet's timestamp may
//! be older than the last change; timestamps older than all segments use the oldest.
//!
//! A step makes a range of system times ambiguous (backward) or void (forward). The newest segment
//! that begins at or before the timestamp is used, and the engine discards exchanges during a step.
//!
//! The kernel rounds frequencies to 2^-16 ppm and applies them at its next tick. `Applied` reports
//! the rounded value; the remaining error looks like wander far below any oscillator's own.

use core::ops::{Add, Sub};

use crate::timestamp::nanosecond_point;
use crate::{Applied, Frequency, NtpDuration, NtpTimestamp, SystemTime};

/// Reading of the bare oscillator: nanoseconds on the scale of the system clock when the ledger was
/// created, with every correction since then undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FreeTime(i64);
nanosecond_point!(FreeTime);

impl FreeTime {
    /// This reading of the oscillator minus `true_time`, a server's timestamp. Valid while the two
    /// are less than 68 years apart.
    pub fn ahead_of(self, true_time: NtpTimestamp) -> NtpDuration {
        NtpTimestamp::from_unix_nanos(self.0) - true_time
    }

    /// Whether [`Self::ahead_of`] is right: this reading is less than 68 years from `true_time`, of
    /// whose possible eras the one nearest to the release of this program is meant.
    pub fn is_comparable_with(self, true_time: NtpTimestamp) -> bool {
        self.is_comparable_with_time(SystemTime::RELEASED.nearest(true_time))
    }

    /// Whether [`Self::ahead_of`] is right for this time, whose era is known.
    pub fn is_comparable_with_time(self, true_time: SystemTime) -> bool {
        (SystemTime::from_nanos(self.0) - true_time).abs() < COMPARABLE
    }
}

/// Largest difference that [`FreeTime::ahead_of`] can tell, 2^31 s less a day: the two timestamps of
/// an exchange, and a leap second, must not make the difference.
const COMPARABLE: NtpDuration = NtpDuration::from_seconds((1 << 31) - 86_400);

/// Number of segments kept. A slew takes two, samples come at most once a second and an exchange
/// times out after a few seconds, so 16 are enough.
const SEGMENTS: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Segment {
    /// First system time of the segment.
    system: SystemTime,
    /// Free time at `system`.
    free: FreeTime,
    /// Correction in force since then.
    frequency: Frequency,
}

impl Segment {
    fn free_at(&self, system: SystemTime) -> FreeTime {
        let elapsed = system - self.system;
        let ratio = self.frequency.as_ratio();
        self.free + elapsed - elapsed.scaled(ratio / (1.0 + ratio))
    }
}

/// The map between system time and free-running time.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Oldest first; never empty.
    segments: [Segment; SEGMENTS],
    len: usize,
}

impl Ledger {
    /// Creates a ledger for a clock that runs with the correction `frequency` from `now` on. Free
    /// time starts equal to system time.
    pub fn new(now: SystemTime, frequency: Frequency) -> Self {
        let first = Segment {
            system: now,
            free: FreeTime(now.as_nanos()),
            frequency,
        };
        Self {
            segments: [first; SEGMENTS],
            len: 1,
        }
    }

    fn newest(&self) -> &Segment {
        &self.segments[self.len - 1]
    }

    /// Records a change of the clock: our own as the clock reported it, or a detected one by
    /// someone else.
    pub fn record(&mut self, applied: &Applied) {
        let next = Segment {
            system: applied.at + applied.step,
            free: self.newest().free_at(applied.at),
            frequency: applied.frequency,
        };
        if self.len == SEGMENTS {
            self.segments.rotate_left(1);
            self.segments[SEGMENTS - 1] = next;
        } else {
            self.segments[self.len] = next;
            self.len += 1;
        }
    }

    /// Free time at `system`, by the segment in which `system` lies.
    pub fn free_time(&self, system: SystemTime) -> FreeTime {
        let segments = &self.segments[..self.len];
        segments
            .iter()
            .rev()
            .find(|segment| segment.system <= system)
            .unwrap_or(&segments[0])
            .free_at(system)
    }

    /// System clock minus bare oscillator at `system`, by the newest segment: the sum of all
    /// corrections so far.
    pub fn correction(&self, system: SystemTime) -> NtpDuration {
        NtpDuration::from_nanos(
            system
                .as_nanos()
                .saturating_sub(self.newest().free_at(system).0),
        )
    }

    /// System clock minus bare oscillator when the system clock read `system`, by the segment in
    /// which `system` lies.
    pub fn past_correction(&self, system: SystemTime) -> NtpDuration {
        let free = self.free_time(system).0;
        NtpDuration::from_nanos(system.as_nanos().saturating_sub(free))
    }

    /// Frequency correction in force.
    pub fn frequency(&self) -> Frequency {
        self.newest().frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> SystemTime {
        SystemTime::from_nanos((seconds * 1e9) as i64)
    }

    fn change(seconds: f64, step: f64, ppm: f64) -> Applied {
        Applied {
            at: at(seconds),
            step: NtpDuration::from_seconds_f64(step),
            frequency: Frequency::from_ppm(ppm),
        }
    }

    /// A clock that is 73 years ahead was taken for one that is 63 years behind.
    #[test]
    fn a_reading_of_another_era_is_not_compared() {
        let year = 365.25 * 86_400.0;
        let truth = at(56.0 * year);
        for (ahead, comparable) in [
            (-56.0, true),
            (-67.9, true),
            (-70.0, false),
            (67.9, true),
            (73.0, false),
            (136.2, false),
        ] {
            let reading = truth.as_nanos() + (ahead * year * 1e9) as i64;
            let free = FreeTime::from_nanos(reading);
            assert_eq!(
                free.is_comparable_with(truth.to_ntp()),
                comparable,
                "{ahead}"
            );
        }
    }

    #[test]
    fn frequency_corrections_and_steps_are_undone() {
        let mut ledger = Ledger::new(at(1000.0), Frequency::ZERO);
        ledger.record(&change(1100.0, 0.0, 100.0));
        // 100 s at +100 ppm: the oscillator itself advanced by 100 / 1.0001 s.
        let free = ledger.free_time(at(1200.0));
        assert_eq!(
            (free - FreeTime::from_nanos(1_100_000_000_000)).as_nanos(),
            99_990_001_000
        );
        assert_eq!(ledger.past_correction(at(1050.0)), NtpDuration::ZERO);
        assert_eq!(ledger.past_correction(at(1200.0)).as_nanos(), 9_999_000);
        ledger.record(&change(1200.0, -10.0, 0.0));
        assert_eq!(ledger.free_time(at(1190.0)), free);
        assert_eq!(
            ledger.correction(at(1190.0)).as_nanos(),
            9_999_000 - 10_000_000_000
        );
    }

    #[test]
    fn an_old_timestamp_uses_the_segment_in_which_it_lies() {
        let mut ledger = Ledger::new(at(0.0), Frequency::ZERO);
        ledger.record(&change(100.0, 0.0, 500.0));
        assert_eq!(
            ledger.free_time(at(99.0)),
            FreeTime::from_nanos(99_000_000_000)
        );
    }

    #[test]
    fn an_initial_frequency_correction_is_undone() {
        let ledger = Ledger::new(at(0.0), Frequency::from_ppm(-50.0));
        assert_eq!(ledger.free_time(at(1000.0)).as_nanos(), 1_000_050_002_500);
    }

    #[test]
    fn the_oldest_segments_are_dropped() {
        let mut ledger = Ledger::new(at(0.0), Frequency::ZERO);
        for k in 1..100 {
            ledger.record(&change(f64::from(k), 0.0, 0.0));
        }
        assert_eq!(
            ledger.free_time(at(99.5)),
            FreeTime::from_nanos(99_500_000_000)
        );
        // Older than all segments: extrapolated by the oldest.
        assert_eq!(
            ledger.free_time(at(1.5)),
            FreeTime::from_nanos(1_500_000_000)
        );
    }
}
