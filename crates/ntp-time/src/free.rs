//! Free-running time, and the ledger that maps system time to it.
//!
//! # Why
//! The estimator wants to watch one undisturbed oscillator, but the clock that stamps packets is the
//! one we steer. If every correction is written down with the moment at which it took effect, it can be
//! undone exactly: what remains is the clock that would exist had we never touched it. Estimation happens
//! there; steering cannot disturb what is known, and no history has to be rewritten after a step.
//!
//! # How
//! With a frequency correction `a` in force the system clock advances by `1 + a` for each second of the
//! bare oscillator. Between two changes free time is therefore a line over system time:
//!
//! ```text
//! free(s) = free_k + (s - system_k) / (1 + a_k)
//!         = free_k + (s - system_k) - (s - system_k) * a_k / (1 + a_k)
//! ```
//!
//! The second form keeps the large part in fixed point and only the small correction in floating point.
//! Each change closes a segment. A handful of segments is kept, because a packet's stamp is a little
//! older than the change that may have happened since; stamps older than all segments use the oldest.
//!
//! A step makes a range of system times ambiguous (backward) or void (forward). The newest segment
//! that begins at or before the stamp wins, and the engine discards exchanges that straddle a step.
//!
//! The kernel itself rounds frequencies to 2^-16 ppm and applies them at its next tick; `Applied` reports
//! what it kept, and the remainder looks like oscillator wander far below any oscillator's own.

use core::ops::{Add, Sub};

use crate::timestamp::nanosecond_point;
use crate::{Applied, Frequency, NtpDuration, NtpTimestamp, SystemTime};

/// A reading of the bare oscillator: nanoseconds on the scale of the system clock when the
/// ledger was opened, with every correction since then undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FreeTime(i64);
nanosecond_point!(FreeTime);

impl FreeTime {
    /// How far this reading of the oscillator is ahead of `true_time` as a server stamped it.
    /// Right while the two are less than 68 years apart.
    pub fn ahead_of(self, true_time: NtpTimestamp) -> NtpDuration {
        NtpTimestamp::from_unix_nanos(self.0) - true_time
    }
}

/// Segments kept. A slew costs two, samples come at most once a second and an exchange
/// is given up after a few seconds, so 16 reach back far enough.
const SEGMENTS: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Segment {
    /// First system time of the segment.
    system: SystemTime,
    /// Free time at that moment.
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
    /// Opens the ledger: from `now` on, the clock runs with `frequency` as its correction.
    /// Free time starts out equal to system time.
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

    /// Enters a change of the clock: our own as the clock reported it, or someone else's as noticed.
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

    /// Free time of a system time; for a stamp from before the newest change, by the segment it fell in.
    pub fn free(&self, system: SystemTime) -> FreeTime {
        let segments = &self.segments[..self.len];
        segments
            .iter()
            .rev()
            .find(|segment| segment.system <= system)
            .unwrap_or(&segments[0])
            .free_at(system)
    }

    /// How far the system clock stands ahead of the bare oscillator at `system`, by the newest segment:
    /// the sum of all corrections so far, `c` in the design.
    pub fn correction(&self, system: SystemTime) -> NtpDuration {
        NtpDuration::from_nanos(
            system
                .as_nanos()
                .saturating_sub(self.newest().free_at(system).0),
        )
    }

    /// The frequency correction in force.
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

    #[test]
    fn undoes_frequency_and_steps() {
        let mut ledger = Ledger::new(at(1000.0), Frequency::ZERO);
        ledger.record(&change(1100.0, 0.0, 100.0));
        // 100 s at +100 ppm: the oscillator itself advanced by 100 / 1.0001 s.
        let free = ledger.free(at(1200.0));
        assert_eq!(
            (free - FreeTime::from_nanos(1_100_000_000_000)).as_nanos(),
            99_990_001_000
        );
        ledger.record(&change(1200.0, -10.0, 0.0));
        assert_eq!(ledger.free(at(1190.0)), free);
        assert_eq!(
            ledger.correction(at(1190.0)).as_nanos(),
            9_999_000 - 10_000_000_000
        );
    }

    #[test]
    fn a_late_stamp_uses_the_segment_it_fell_in() {
        let mut ledger = Ledger::new(at(0.0), Frequency::ZERO);
        ledger.record(&change(100.0, 0.0, 500.0));
        assert_eq!(ledger.free(at(99.0)), FreeTime::from_nanos(99_000_000_000));
    }

    #[test]
    fn opening_with_a_frequency_in_force_undoes_it() {
        let ledger = Ledger::new(at(0.0), Frequency::from_ppm(-50.0));
        assert_eq!(ledger.free(at(1000.0)).as_nanos(), 1_000_050_002_500);
    }

    #[test]
    fn keeps_only_so_many_segments() {
        let mut ledger = Ledger::new(at(0.0), Frequency::ZERO);
        for k in 1..100 {
            ledger.record(&change(f64::from(k), 0.0, 0.0));
        }
        assert_eq!(ledger.free(at(99.5)), FreeTime::from_nanos(99_500_000_000));
        // Older than everything kept: extrapolated, not lost.
        assert_eq!(ledger.free(at(1.5)), FreeTime::from_nanos(1_500_000_000));
    }
}
