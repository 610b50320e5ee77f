//! A software clock over another one.
//!
//! # Purpose
//! A demonstration, a test over real sockets or a dry run on a production machine needs a clock
//! that can be steered without privilege and whose true error is known. This one computes its
//! reading from a *base* reading, normally `CLOCK_REALTIME`, so **any** base reading converts: the
//! daemon's own and the kernel's packet timestamps alike, with no loss of accuracy.
//!
//! # Model
//! The simulated oscillator runs at `1 + e` relative to the base, and a correction `a` at `1 + a`
//! relative to the oscillator, exactly as [`Ledger`](ntp_time::Ledger) undoes it. Between two
//! changes the clock is linear in base time:
//!
//! ```text
//! virtual(b) = virtual_k + (b - base_k) * (1 + e)(1 + a_k)
//!            = virtual_k + (b - base_k) + (b - base_k) * (e + a_k + e a_k)
//! ```
//!
//! Each change ends a segment. Some are kept, since a packet's timestamp is a little older than a
//! change that may have been made since; timestamps older than all of them extend the oldest. A
//! step needs no special case, because segments are looked up by base time, which has no gaps.
//!
//! Time is an argument: the type reads no clock, and a test that calls it is deterministic.

use ntp_time::{Adjustment, Applied, ClockStatus, Frequency, NtpDuration, SystemTime};

use crate::rate::TickScale;

/// Number of segments kept; as many as the ledger keeps.
const MAX_SEGMENTS: usize = 16;

/// Fastest slew that the engine's defaults permit (500 ppm), and a little for the rounding of readings.
const LARGEST_SLEW: Frequency = Frequency::from_ppm(600.0);

#[derive(Clone, Copy, Debug)]
struct Segment {
    base: SystemTime,
    reading: SystemTime,
    correction: Frequency,
}

/// A software clock over a base clock.
#[derive(Clone, Debug)]
pub struct VirtualClock {
    /// Oldest first; never empty.
    segments: Vec<Segment>,
    frequency_error: Frequency,
    /// Rounds and limits corrections like the kernel, if present.
    kernel_scale: Option<TickScale>,
    status: Option<ClockStatus>,
}

impl VirtualClock {
    /// Creates a clock that at `base_now` is `initial_offset` ahead of the base and whose
    /// oscillator runs fast by `frequency_error`.
    pub fn new(
        base_now: SystemTime,
        initial_offset: NtpDuration,
        frequency_error: Frequency,
    ) -> Self {
        let mut segments = Vec::with_capacity(MAX_SEGMENTS);
        segments.push(Segment {
            base: base_now,
            reading: base_now + initial_offset,
            correction: Frequency::ZERO,
        });
        Self {
            segments,
            frequency_error,
            kernel_scale: None,
            status: None,
        }
    }

    /// Rounds and limits corrections like Linux on a system with 100 ticks a second: multiples of
    /// 2^-16 ppm within +-100500 ppm.
    #[must_use]
    pub fn with_kernel_limits(mut self) -> Self {
        self.kernel_scale = Some(TickScale::new(100));
        self
    }

    /// Returns the largest difference between the rates of this clock and its base: the error of the
    /// oscillator, uncorrected, and a slew.
    pub fn rate_difference(&self) -> Frequency {
        Frequency::from_ratio(self.frequency_error.as_ratio().abs()) + LARGEST_SLEW
    }

    /// Returns the reading of this clock at the moment at which the base clock read `base`.
    pub fn translate(&self, base: SystemTime) -> SystemTime {
        let segment = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.base <= base);
        self.reading_on(segment.unwrap_or(&self.segments[0]), base)
    }

    /// Offset of this clock from the base: its true error, if the base is true.
    pub fn true_offset(&self, base: SystemTime) -> NtpDuration {
        self.translate(base) - base
    }

    /// Frequency error of the free-running oscillator relative to the base.
    pub fn frequency_error(&self) -> Frequency {
        self.frequency_error
    }

    /// Frequency correction in force.
    pub fn frequency(&self) -> Frequency {
        self.newest().correction
    }

    /// Status last applied.
    pub fn status(&self) -> Option<&ClockStatus> {
        self.status.as_ref()
    }

    /// Applies an adjustment at the moment at which the base clock reads `base_now`.
    pub fn apply(&mut self, base_now: SystemTime, adjustment: &Adjustment) -> Applied {
        if let Some(status) = adjustment.status {
            self.status = Some(status);
        }
        let at = self.reading_on(self.newest(), base_now);
        let step = NtpDuration::from_nanos(adjustment.step.map_or(0, NtpDuration::as_nanos));
        let correction = adjustment
            .frequency
            .map_or(self.frequency(), |frequency| self.quantized(frequency));
        if step != NtpDuration::ZERO || adjustment.frequency.is_some() {
            if self.segments.len() == MAX_SEGMENTS {
                self.segments.remove(0);
            }
            self.segments.push(Segment {
                base: base_now,
                reading: at + step,
                correction,
            });
        }
        Applied {
            at,
            step,
            frequency: correction,
        }
    }

    fn newest(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    fn quantized(&self, frequency: Frequency) -> Frequency {
        match self.kernel_scale {
            Some(kernel_scale) => kernel_scale.to_frequency(kernel_scale.to_rate(frequency)),
            None => frequency,
        }
    }

    fn reading_on(&self, segment: &Segment, base: SystemTime) -> SystemTime {
        let (e, a) = (
            self.frequency_error.as_ratio(),
            segment.correction.as_ratio(),
        );
        let elapsed = base - segment.base;
        segment.reading + elapsed + elapsed.scaled(e + a + e * a)
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::Ledger;
    use proptest::prelude::*;

    use super::*;

    const START: SystemTime = SystemTime::from_nanos(1_700_000_000_123_456_789);

    fn slew(ppm: f64) -> Adjustment {
        Adjustment {
            frequency: Some(Frequency::from_ppm(ppm)),
            ..Adjustment::default()
        }
    }

    fn step(nanos: i64) -> Adjustment {
        Adjustment {
            step: Some(NtpDuration::from_nanos(nanos)),
            ..Adjustment::default()
        }
    }

    /// A change some time after the previous one: pause in ns, step in ns, correction in ppm.
    fn changes() -> impl Strategy<Value = Vec<(i64, i64, f64)>> {
        let change = (
            1i64..2_000_000_000_000,
            -5_000_000_000i64..5_000_000_000,
            -90_000f64..90_000.0,
        );
        prop::collection::vec(change, 0..40)
    }

    proptest! {
        /// The property on which the estimation relies: the ledger recovers the free-running
        /// oscillator from the clock's results, whatever was done to the clock. Each change may
        /// cost one rounding on either side.
        #[test]
        fn the_ledger_recovers_the_free_running_oscillator(
            changes in changes(), offset in -1_000_000_000_000i64..1_000_000_000_000, error in -400f64..400.0,
        ) {
            let error = Frequency::from_ppm(error);
            let mut clock = VirtualClock::new(START, NtpDuration::from_nanos(offset), error).with_kernel_limits();
            let mut ledger = Ledger::new(clock.translate(START), clock.frequency());
            let first = ledger.free_time(clock.translate(START));
            let mut base = START;
            for (count, (pause, nanos, ppm)) in changes.into_iter().enumerate() {
                base = base + NtpDuration::from_nanos(pause);
                let change = Adjustment {
                    step: Some(NtpDuration::from_nanos(nanos)),
                    frequency: Some(Frequency::from_ppm(ppm)),
                    status: None,
                };
                ledger.record(&clock.apply(base, &change));
                let elapsed = base - START;
                let oscillator = elapsed + elapsed.scaled(error.as_ratio());
                let found = ledger.free_time(clock.translate(base)) - first;
                let tolerance = 2 + 2 * count as i64;
                prop_assert!((found - oscillator).as_nanos().abs() <= tolerance, "{found} {oscillator}");
            }
        }

        #[test]
        fn time_does_not_run_backwards_without_a_step(
            changes in changes(), early in 0f64..1.0, late in 0f64..1.0,
        ) {
            let mut clock = VirtualClock::new(START, NtpDuration::ZERO, Frequency::from_ppm(30.0));
            let mut base = START;
            for (pause, _, ppm) in changes {
                base = base + NtpDuration::from_nanos(pause);
                clock.apply(base, &slew(ppm));
                let span = 3_000_000_000f64;
                let (a, b) = (early.min(late) * span, early.max(late) * span);
                let around = base - NtpDuration::from_millis(1500);
                let (a, b) = (around + NtpDuration::from_nanos(a as i64), around + NtpDuration::from_nanos(b as i64));
                prop_assert!(clock.translate(a) <= clock.translate(b));
            }
        }

        #[test]
        fn the_reverse_adjustment_cancels(nanos in -1i64 << 60..1 << 60, ppm in -500f64..500.0) {
            let mut clock = VirtualClock::new(START, NtpDuration::from_millis(7), Frequency::ZERO);
            let later = START + NtpDuration::from_seconds(100);
            let end = later + NtpDuration::from_seconds(100);
            clock.apply(START, &step(nanos));
            clock.apply(START, &slew(ppm));
            clock.apply(later, &step(-nanos));
            // The oscillator is exact here, so equal spans at opposite corrections cancel to the
            // rounding.
            clock.apply(later, &slew(-ppm));
            let left = clock.true_offset(end) - NtpDuration::from_millis(7);
            prop_assert!(left.as_nanos().abs() <= 2, "{left}");
        }
    }

    #[test]
    fn a_stamp_from_before_the_latest_changes_keeps_its_reading() {
        let mut clock = VirtualClock::new(
            START,
            NtpDuration::from_seconds(3),
            Frequency::from_ppm(50.0),
        );
        let stamp = START + NtpDuration::from_millis(10);
        let reading = clock.translate(stamp);
        for k in 1..MAX_SEGMENTS as i64 {
            let base = stamp + NtpDuration::from_micros(k);
            clock.apply(base, &step(-1_000_000_000));
        }
        assert_eq!(clock.translate(stamp), reading);
    }

    #[test]
    fn memory_is_bounded() {
        let mut clock = VirtualClock::new(START, NtpDuration::ZERO, Frequency::ZERO);
        for k in 1..1000 {
            clock.apply(START + NtpDuration::from_seconds(k), &slew(0.0));
        }
        assert_eq!(clock.segments.len(), MAX_SEGMENTS);
    }

    #[test]
    fn the_true_error_is_known() {
        let offset = NtpDuration::from_millis(-20);
        let clock = VirtualClock::new(START, offset, Frequency::from_ppm(10.0));
        assert_eq!(clock.true_offset(START), offset);
        let later = START + NtpDuration::from_seconds(1000);
        assert_eq!(
            clock.true_offset(later).as_nanos(),
            -20_000_000 + 10_000_000
        );
    }

    #[test]
    fn kernel_limits_round_and_clamp() {
        let mut clock =
            VirtualClock::new(START, NtpDuration::ZERO, Frequency::ZERO).with_kernel_limits();
        assert_eq!(
            clock.apply(START, &slew(1e6)).frequency.as_ppm().round(),
            100_500.0
        );
        let quantized = clock.apply(START, &slew(1.000_001)).frequency;
        assert_eq!(quantized, Frequency::from_ppm(1.0));
    }

    #[test]
    fn the_rate_difference_covers_the_oscillator_and_a_slew() {
        let error = Frequency::from_ppm(-20_000.0);
        let mut clock = VirtualClock::new(START, NtpDuration::ZERO, error);
        let slew = Adjustment {
            frequency: Some(Frequency::from_ppm(-500.0)),
            ..Adjustment::default()
        };
        clock.apply(START, &slew);
        let after = START + NtpDuration::from_seconds(60);
        let apart = (clock.translate(after) - after).abs();
        let covered = NtpDuration::from_seconds(60).scaled(clock.rate_difference().as_ratio());
        assert!(apart < covered, "{apart} {covered}");
    }

    #[test]
    fn a_status_update_starts_no_segment() {
        let mut clock = VirtualClock::new(START, NtpDuration::ZERO, Frequency::ZERO);
        let status = ClockStatus {
            leap: ntp_time::LeapIndicator::None,
            estimated_error: NtpDuration::from_micros(1),
            bound: NtpDuration::from_micros(9),
            tai_offset: None,
        };
        let applied = clock.apply(
            START,
            &Adjustment {
                status: Some(status),
                ..Adjustment::default()
            },
        );
        assert_eq!((applied.at, applied.step), (START, NtpDuration::ZERO));
        assert_eq!((clock.segments.len(), clock.status()), (1, Some(&status)));
    }
}
