//! Detects changes of the system clock by other programs.
//!
//! The monotonic clock cannot be set, and on Linux it runs at the same rate as the system clock,
//! including our own frequency corrections. Their difference therefore changes only by steps: our
//! own, which are recorded, the leap second of the kernel, which is announced, and steps by other
//! programs, which are to be detected. If the monotonic clock stops during suspend, that looks the
//! same and is treated the same: what the clock did meanwhile is unknown.
//!
//! A clock on top of another one (the virtual clock) runs at a slightly different rate than the
//! monotonic clock. The tolerance grows with the time between two checks to cover that
//! ([`ClockFacts::rate_difference`](super::ClockFacts)). Steps of less than about 10 ms are left to
//! the outlier gate of the filter.

use ntp_time::{Frequency, NtpDuration};

use super::Now;

/// Default threshold. A descheduled process may read its two clocks this far apart.
const DEFAULT_THRESHOLD: NtpDuration = NtpDuration::from_millis(10);

/// Compares the system clock with the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct JumpDetector {
    threshold: NtpDuration,
    /// Largest difference between the rates of the two clocks.
    rate_difference: Frequency,
    last: Now,
}

impl JumpDetector {
    pub(super) fn new(
        now: Now,
        threshold: Option<NtpDuration>,
        rate_difference: Frequency,
    ) -> Self {
        Self {
            threshold: threshold.unwrap_or(DEFAULT_THRESHOLD),
            rate_difference,
            last: now,
        }
    }

    /// Sets the threshold; `None` selects the default.
    pub(super) fn set_threshold(&mut self, threshold: Option<NtpDuration>) {
        self.threshold = threshold.unwrap_or(DEFAULT_THRESHOLD);
    }

    /// Records a step made by the engine, which is not reported as a jump.
    pub(super) fn record_own_step(&mut self, step: NtpDuration) {
        self.last.system = self.last.system + step;
    }

    /// Compares the clocks. Returns the size of the jump of the system clock, if it jumped.
    pub(super) fn check(&mut self, now: Now) -> Option<NtpDuration> {
        let elapsed = now.monotonic - self.last.monotonic;
        let jump = (now.system - self.last.system) - elapsed;
        self.last = now;
        let tolerance = self.threshold + elapsed.scaled(self.rate_difference.as_ratio());
        (jump.abs() > tolerance).then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::{Monotonic, SystemTime};

    use super::*;

    fn now(monotonic: i64, system: i64) -> Now {
        Now {
            monotonic: Monotonic::from_nanos(monotonic * 1_000_000),
            system: SystemTime::from_nanos(system * 1_000_000),
        }
    }

    #[test]
    fn reports_steps_by_other_programs_but_not_own_steps_or_slews() {
        let mut detector = JumpDetector::new(now(0, 0), None, Frequency::from_ppm(1100.0));
        assert_eq!(
            detector.check(now(16_000, 16_008)),
            None,
            "within the difference of the rates"
        );
        detector.record_own_step(NtpDuration::from_seconds(-5));
        assert_eq!(detector.check(now(17_000, 12_008)), None, "our own step");
        assert_eq!(
            detector.check(now(18_000, 13_108)),
            Some(NtpDuration::from_millis(100))
        );
        assert_eq!(detector.check(now(19_000, 14_108)), None, "reported once");
    }

    #[test]
    fn long_intervals_hide_no_step_of_a_clock_with_the_same_rate() {
        let mut detector = JumpDetector::new(now(0, 0), None, Frequency::ZERO);
        assert_eq!(detector.check(now(64_000, 64_009)), None);
        let jump = NtpDuration::from_millis(12);
        assert_eq!(detector.check(now(128_000, 128_021)), Some(jump));
    }
}
