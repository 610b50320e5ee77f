//! Noticing that someone else changed the system clock.
//!
//! The monotonic clock cannot be set, and on Linux it runs at the same rate as the system clock,
//! our own frequency corrections included. So the difference of the two changes only by steps: ours, which are
//! written down, the kernel's leap second, which is announced, and everybody else's, which are the ones to notice.
//! Where the monotonic clock stands still during suspend, that looks the same, and it is treated the same: what the
//! clock did meanwhile is unknown, so nothing is assumed about it.
//!
//! A clock laid over another one (the virtual clock) runs at a slightly different rate than the monotonic clock;
//! the allowance grows with the time between two looks to cover that. It makes the sharpness of this test about
//! 10 ms plus 10 ms for 16 s; what is smaller is left to the filter's outlier gate.

use ntp_time::{Frequency, NtpDuration};

use super::Now;

/// Steps below this are not looked for: a descheduled process may read its clocks this far apart.
const FLOOR: NtpDuration = NtpDuration::from_millis(10);

/// Rate by which the two clocks may drift apart: a virtual clock's frequency error plus the largest slew.
const RATE: Frequency = Frequency::from_ppm(1100.0);

/// The watch over the difference of system and monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct DisruptionWatch {
    threshold: NtpDuration,
    last: Now,
}

impl DisruptionWatch {
    pub(super) fn new(now: Now, threshold: Option<NtpDuration>) -> Self {
        Self {
            threshold: threshold.unwrap_or(FLOOR),
            last: now,
        }
    }

    /// The operator wants another threshold.
    pub(super) fn set_threshold(&mut self, threshold: Option<NtpDuration>) {
        self.threshold = threshold.unwrap_or(FLOOR);
    }

    /// The clock was changed by ourselves and now reads `now`; `step` is how much of that was a step.
    pub(super) fn own_step(&mut self, step: NtpDuration) {
        self.last.system = self.last.system + step;
    }

    /// Compares the clocks. Returns by how much the system clock jumped, if it did.
    pub(super) fn look(&mut self, now: Now) -> Option<NtpDuration> {
        let elapsed = now.monotonic - self.last.monotonic;
        let jump = (now.system - self.last.system) - elapsed;
        self.last = now;
        (jump.abs() > self.threshold + elapsed.scaled(RATE.as_ratio())).then_some(jump)
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
    fn tells_a_foreign_step_from_our_own_and_from_a_slew() {
        let mut watch = DisruptionWatch::new(now(0, 0), None);
        assert_eq!(
            watch.look(now(16_000, 16_008)),
            None,
            "500 ppm for 16 s is a slew"
        );
        watch.own_step(NtpDuration::from_seconds(-5));
        assert_eq!(watch.look(now(17_000, 12_008)), None, "our own step");
        assert_eq!(
            watch.look(now(18_000, 13_108)),
            Some(NtpDuration::from_millis(100))
        );
        assert_eq!(watch.look(now(19_000, 14_108)), None, "told once");
    }
}
