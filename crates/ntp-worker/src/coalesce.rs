//! Batching delay under load, so that one wake-up serves several requests.
//!
//! Between two requests a worker sleeps in the receiving call, and each request wakes it up. For
//! one or two requests per millisecond that is right. For tens of them the wake-up costs more than
//! the answer: two context switches, cold caches, an interrupt to another processor. Network cards
//! have the same problem and solve it by interrupt moderation (coalescing). A worker does the same:
//! when requests arrive close together, it sleeps for a fixed time after each batch, then receives
//! all that arrived meanwhile in one call.
//!
//! Accuracy does not suffer: a request carries the kernel's receive timestamp and a reply the time
//! at which it leaves, so a client subtracts the wait from its delay. The remaining cost is the
//! drift of our clock during the wait, at most a nanosecond.
//!
//! ```text
//! wait if   time since the last batch / requests in this batch  <  MAX_SPACING    (smoothed)
//! ```

use core::time::Duration;

use ntp_time::{NtpDuration, SystemTime};

/// Length of the wait. The kernel adds its timer slack, 50 us.
pub(super) const DELAY: Duration = Duration::from_micros(100);
/// Mean spacing of requests below which waiting saves time: at this spacing a wake-up serves two.
const MAX_SPACING: NtpDuration = NtpDuration::from_micros(75);
/// Divisor of the exponential smoothing, a power of two.
const SMOOTHING: i64 = 8;
/// Longer intervals between batches count as this.
const MAX_INTERVAL: NtpDuration = NtpDuration::from_millis(1);

/// Smoothed spacing of the most recent requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coalescing {
    /// When the last batch left.
    last: Option<SystemTime>,
    spacing: NtpDuration,
}

impl Coalescing {
    pub(super) const fn new() -> Self {
        Self {
            last: None,
            spacing: MAX_INTERVAL,
        }
    }

    /// Returns `true` if the worker should wait before it receives again, after a batch of `count`
    /// replies that left at `now`. `capacity` is the largest batch.
    pub(super) fn should_wait(&mut self, now: SystemTime, count: usize, capacity: usize) -> bool {
        let since = self
            .last
            .replace(now)
            .map_or(MAX_INTERVAL, |last| now - last);
        let since = since.max(NtpDuration::ZERO).min(MAX_INTERVAL);
        let spacing = NtpDuration::from_bits(since.to_bits() / count.max(1) as i64);
        let change = spacing - self.spacing;
        self.spacing += NtpDuration::from_bits(change.to_bits() / SMOOTHING);
        // A worker that receives half of a full batch at once is too busy to wait.
        self.spacing < MAX_SPACING && count < capacity / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 64;

    /// Whether a worker waits in the end if batches of `count` arrive every `micros`.
    fn waits(count: usize, micros: i64) -> bool {
        let mut coalescing = Coalescing::new();
        let at = |number: i64| SystemTime::from_nanos(number * micros * 1000);
        (0..200).fold(false, |_, number| {
            coalescing.should_wait(at(number), count, CAPACITY)
        })
    }

    #[test]
    fn a_worker_waits_only_under_load() {
        assert!(!waits(1, 1_000_000));
        assert!(!waits(1, 200));
        assert!(waits(1, 20));
        // While waiting: as many requests as before, in fewer batches.
        assert!(waits(8, 160));
        assert!(!waits(2, 400));
    }

    #[test]
    fn a_worker_with_large_batches_does_not_wait() {
        assert!(waits(CAPACITY / 2 - 1, 150));
        assert!(!waits(CAPACITY / 2, 150));
        assert!(!waits(CAPACITY, 150));
    }

    #[test]
    fn one_burst_at_low_load_does_not_start_waiting() {
        let mut coalescing = Coalescing::new();
        for second in 0..100 {
            assert!(!coalescing.should_wait(
                SystemTime::from_nanos(second * 1_000_000_000),
                1,
                CAPACITY
            ));
            assert!(!coalescing.should_wait(
                SystemTime::from_nanos(second * 1_000_000_000 + 20_000),
                3,
                CAPACITY
            ));
        }
    }

    #[test]
    fn spacing_stays_in_range_after_a_clock_step() {
        let mut coalescing = Coalescing::new();
        for time in [5_000_000_000, 0, i64::MAX, i64::MIN, 7] {
            coalescing.should_wait(SystemTime::from_nanos(time), 1, CAPACITY);
        }
        assert!(coalescing.spacing >= NtpDuration::ZERO && coalescing.spacing <= MAX_INTERVAL);
    }
}
