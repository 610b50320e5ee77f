//! Predicted transmit delay: the time from reading the clock to the departure of a reply.
//!
//! The transmit timestamp of a reply is written before the reply is handed to the kernel, so it is
//! early by the time from there to the wire. The replies of a batch leave one after the other, so
//! the last of many leaves some tens of microseconds after the first. Half of this delay would be
//! an error of the client's clock, so it is predicted and added:
//!
//! ```text
//! reply k of a batch leaves at   reading + base + k * spacing
//! ```
//!
//! Both numbers are learnt from kernel transmit timestamps, which are requested a few times a
//! second, and for interleaved clients in any case. An occasional preemption of the thread must not
//! move them, so each is a running median: one step up when a sample is above, one step down when
//! it is below. Without kernel timestamps both stay zero.

use ntp_time::{NtpDuration, SystemTime};

/// Interval between requested samples.
const SAMPLE_INTERVAL: NtpDuration = NtpDuration::from_millis(50);
/// A running median moves by its value divided by this, but at least by `MIN_STEP`.
const STEP_DIVISOR: i64 = 16;
const MIN_STEP: NtpDuration = NtpDuration::from_nanos(50);
/// Upper limits of both medians; longer delays do not occur on a working machine.
const MAX_BASE: NtpDuration = NtpDuration::from_micros(200);
const MAX_SPACING: NtpDuration = NtpDuration::from_micros(50);

/// Transmit delay of one worker's socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TransmitDelay {
    /// From the reading of the clock to the first reply of a batch.
    base: Option<NtpDuration>,
    /// From one reply of a batch to the next.
    spacing: Option<NtpDuration>,
    /// When a sample was requested last.
    sampled: Option<SystemTime>,
}

impl TransmitDelay {
    /// Predicted time from the reading of the clock to the departure of reply `index` of the batch.
    pub(super) fn predict(&self, index: usize) -> NtpDuration {
        let spacing = self.spacing.unwrap_or_default();
        self.base.unwrap_or_default() + spacing * index as i64
    }

    /// Returns `true`, and restarts the interval, if a transmit timestamp should be requested: once
    /// per interval, and after a step of the clock.
    pub(super) fn sample_due(&mut self, now: SystemTime) -> bool {
        let due = self
            .sampled
            .is_none_or(|last| (now - last).abs() >= SAMPLE_INTERVAL);
        if due {
            self.sampled = Some(now);
        }
        due
    }

    /// Updates the medians: reply `index` left `delay` after the reading of the clock.
    pub(super) fn update(&mut self, index: usize, delay: NtpDuration) {
        match i64::try_from(index) {
            Ok(0) => step_median(&mut self.base, delay, MAX_BASE),
            Ok(index) => {
                let each = (delay - self.base.unwrap_or_default()).as_nanos() / index;
                step_median(
                    &mut self.spacing,
                    NtpDuration::from_nanos(each),
                    MAX_SPACING,
                );
            }
            Err(_) => {}
        }
    }
}

/// Moves a running median towards `sample`, which is limited to the range from zero to `max`.
fn step_median(median: &mut Option<NtpDuration>, sample: NtpDuration, max: NtpDuration) {
    let sample = sample.max(NtpDuration::ZERO).min(max);
    let next = match *median {
        None => sample,
        Some(median) => {
            let step = NtpDuration::from_bits(median.to_bits() / STEP_DIVISOR).max(MIN_STEP);
            median + (sample - median).max(-step).min(step)
        }
    };
    *median = Some(next);
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(micros: i64) -> NtpDuration {
        NtpDuration::from_micros(micros)
    }

    fn near(actual: NtpDuration, expected: NtpDuration) -> bool {
        (actual - expected).abs() <= NtpDuration::from_nanos(200)
    }

    #[test]
    fn the_delay_of_a_batch_is_learnt_from_a_few_samples() {
        let mut delay = TransmitDelay::default();
        assert_eq!(delay.predict(63), NtpDuration::ZERO);
        for _ in 0..200 {
            delay.update(0, micros(5));
            delay.update(20, micros(45));
        }
        assert!(near(delay.predict(0), micros(5)));
        assert!(near(delay.predict(30), micros(65)), "{delay:?}");
    }

    #[test]
    fn preemption_of_the_thread_does_not_move_the_medians() {
        let mut delay = TransmitDelay::default();
        for number in 0..2000 {
            let late = number % 7 == 0;
            delay.update(0, if late { micros(150) } else { micros(6) });
            let last = if late { micros(90_000) } else { micros(26) };
            delay.update(10, last);
        }
        assert!((delay.predict(0) - micros(6)).abs() < micros(1));
        assert!(
            (delay.predict(10) - micros(26)).abs() < micros(5),
            "{delay:?}"
        );
    }

    #[test]
    fn out_of_range_samples_are_clamped() {
        let mut delay = TransmitDelay::default();
        delay.update(0, NtpDuration::MAX);
        assert_eq!(delay.predict(0), MAX_BASE);
        delay.update(0, NtpDuration::MIN);
        delay.update(3, NtpDuration::MIN);
        assert!(delay.predict(3) <= MAX_BASE);
    }

    #[test]
    fn a_sample_is_due_once_per_interval_and_after_a_step() {
        let mut delay = TransmitDelay::default();
        let start = SystemTime::from_nanos(1);
        assert!(delay.sample_due(start));
        assert!(!delay.sample_due(start + micros(1)));
        assert!(delay.sample_due(start + SAMPLE_INTERVAL));
        assert!(delay.sample_due(start - micros(60_000_000)));
    }
}
