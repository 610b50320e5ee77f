//! How long after the clock was read a reply leaves.
//!
//! The transmit timestamp in a reply is written before the reply is handed to the kernel, so it is early by the way from there
//! to the wire; and the replies of a batch leave one after the other, the last of many some tens of microseconds after the first.
//! Half of that would be an error of the client's clock. It can be foreseen:
//!
//! ```text
//! reply k of a batch leaves at   reading + base + k * pace
//! ```
//!
//! Both numbers come from kernel transmit stamps, which are asked for a few times a second, and for interleaved clients anyway. What the scheduler does
//! to a thread now and then must not move them, so each is a running median: a step up when a sample is above, a step down when it is below.
//! Where the kernel gives no stamps both stay zero.

use ntp_time::{NtpDuration, SystemTime};

/// Between two samples that are asked for on purpose.
const INTERVAL: NtpDuration = NtpDuration::from_millis(50);
/// Steps of the running medians, as a part of their value and at least.
const STEP: i64 = 16;
const LEAST_STEP: NtpDuration = NtpDuration::from_nanos(50);
/// No working machine takes longer, for the first and for each other reply.
const LONGEST_BASE: NtpDuration = NtpDuration::from_micros(200);
const LONGEST_PACE: NtpDuration = NtpDuration::from_micros(50);

/// What has been learnt of one worker's socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Departure {
    base: Option<NtpDuration>,
    pace: Option<NtpDuration>,
    sampled: Option<SystemTime>,
}

impl Departure {
    /// From the reading of the clock to when reply `place` leaves.
    pub(super) fn expected(&self, place: usize) -> NtpDuration {
        let pace = self.pace.unwrap_or_default();
        self.base.unwrap_or_default() + pace * place as i64
    }

    /// Whether it is time to ask for stamps again; if so, it is noted that they were asked for. After a step of the clock it
    /// is, too.
    pub(super) fn wants_sample(&mut self, now: SystemTime) -> bool {
        let wants = self
            .sampled
            .is_none_or(|last| (now - last).abs() >= INTERVAL);
        if wants {
            self.sampled = Some(now);
        }
        wants
    }

    /// Reply `place` left this long after the reading.
    pub(super) fn learn(&mut self, place: usize, after: NtpDuration) {
        match i64::try_from(place) {
            Ok(0) => follow(&mut self.base, after, LONGEST_BASE),
            Ok(place) => {
                let each = (after - self.base.unwrap_or_default()).as_nanos() / place;
                follow(&mut self.pace, NtpDuration::from_nanos(each), LONGEST_PACE);
            }
            Err(_) => {}
        }
    }
}

fn follow(median: &mut Option<NtpDuration>, sample: NtpDuration, longest: NtpDuration) {
    let sample = sample.max(NtpDuration::ZERO).min(longest);
    let next = match *median {
        None => sample,
        Some(median) => {
            let step = NtpDuration::from_bits(median.to_bits() / STEP).max(LEAST_STEP);
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
    fn a_batch_is_foreseen_after_a_few_samples() {
        let mut departure = Departure::default();
        assert_eq!(departure.expected(63), NtpDuration::ZERO);
        for _ in 0..200 {
            departure.learn(0, micros(5));
            departure.learn(20, micros(45));
        }
        assert!(near(departure.expected(0), micros(5)));
        assert!(near(departure.expected(30), micros(65)), "{departure:?}");
    }

    #[test]
    fn a_thread_that_was_interrupted_moves_nothing() {
        let mut departure = Departure::default();
        for number in 0..2000 {
            let late = number % 7 == 0;
            departure.learn(0, if late { micros(150) } else { micros(6) });
            let later = if late { micros(90_000) } else { micros(26) };
            departure.learn(10, later);
        }
        assert!((departure.expected(0) - micros(6)).abs() < micros(1));
        assert!(
            (departure.expected(10) - micros(26)).abs() < micros(5),
            "{departure:?}"
        );
    }

    #[test]
    fn nonsense_is_bounded() {
        let mut departure = Departure::default();
        departure.learn(0, NtpDuration::MAX);
        assert_eq!(departure.expected(0), LONGEST_BASE);
        departure.learn(0, NtpDuration::MIN);
        departure.learn(3, NtpDuration::MIN);
        assert!(departure.expected(3) <= LONGEST_BASE);
    }

    #[test]
    fn samples_are_not_asked_for_with_every_batch() {
        let mut departure = Departure::default();
        let start = SystemTime::from_nanos(1);
        assert!(departure.wants_sample(start));
        assert!(!departure.wants_sample(start + micros(1)));
        assert!(departure.wants_sample(start + INTERVAL));
        assert!(departure.wants_sample(start - micros(60_000_000)));
    }
}
