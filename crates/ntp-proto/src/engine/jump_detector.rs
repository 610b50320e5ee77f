//! Detects changes of the system clock by other programs.
//!
//! The monotonic clock cannot be set, and on Linux it runs at the same rate as the system clock,
//! including our own frequency corrections. Their difference therefore changes only by steps: our
//! own, which are recorded, the leap second of the kernel, which is announced, and steps by other
//! programs, which are to be detected. If the monotonic clock stops during suspend, that looks the
//! same and is treated the same: what the clock did meanwhile is unknown.
//!
//! A clock on top of another one (the virtual clock) runs at a slightly different rate than the
//! monotonic clock. The tolerance grows with the time between two checks to cover that. The
//! resolution of this test is about 10 ms plus 10 ms for 16 s; smaller steps are left to the outlier
//! gate of the filter.

use ntp_time::{Frequency, NtpDuration};

use super::Now;

/// Default threshold. A descheduled process may read its two clocks this far apart.
const DEFAULT_THRESHOLD: NtpDuration = NtpDuration::from_millis(10);

/// Maximum rate difference of the two clocks: frequency error of a virtual clock plus the largest
/// slew rate.
const RATE_TOLERANCE: Frequency = Frequency::from_ppm(1100.0);

/// Compares the system clock with the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct JumpDetector {
    threshold: NtpDuration,
    last: Now,
}

impl JumpDetector {
    pub(super) fn new(now: Now, threshold: Option<NtpDuration>) -> Self {
        Self {
            threshold: threshold.unwrap_or(DEFAULT_THRESHOLD),
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
        (jump.abs() > self.threshold + elapsed.scaled(RATE_TOLERANCE.as_ratio())).then_some(jump)
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
        let mut detector = JumpDetector::new(now(0, 0), None);
        assert_eq!(
            detector.check(now(16_000, 16_008)),
            None,
            "500 ppm for 16 s is a slew"
        );
        detector.record_own_step(NtpDuration::from_seconds(-5));
        assert_eq!(detector.check(now(17_000, 12_008)), None, "our own step");
        assert_eq!(
            detector.check(now(18_000, 13_108)),
            Some(NtpDuration::from_millis(100))
        );
        assert_eq!(detector.check(now(19_000, 14_108)), None, "reported once");
    }
}
