//! Short rests under load, so that one wake-up serves several requests.
//!
//! Between two requests a worker sleeps in the receiving call, and each request wakes it up. For a request or two in a
//! millisecond that is right. For tens of them waking up costs more than answering: two switches of
//! context, cold caches, an interrupt to another processor. Network cards have the same problem, and solve it by moderating their interrupts;
//! so does a worker. When requests come close together it rests for a fixed time
//! after each batch, takes what has come meanwhile in one call, and goes on.
//!
//! Accuracy does not suffer: requests carry the kernel's arrival stamp and replies the time at which they leave, so a
//! client subtracts the rest from its delay. What it pays is the drift of our clock in that time, a nanosecond at most.
//!
//! ```text
//! rest if   time since the last batch / requests in this batch  <  CLOSE    (smoothed)
//! ```

use core::time::Duration;

use ntp_time::{NtpDuration, SystemTime};

/// How long a rest is. The kernel adds its timer slack, 50 us.
pub(super) const REST: Duration = Duration::from_micros(100);
/// Mean distance of requests below which resting pays: with it, a wake-up serves two.
const CLOSE: NtpDuration = NtpDuration::from_micros(75);
/// Weight of the past, as a power of two.
const MEMORY: i64 = 8;
/// Longer pauses all mean the same.
const LONGEST: NtpDuration = NtpDuration::from_millis(1);

/// How close together requests have come lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lull {
    last: Option<SystemTime>,
    distance: NtpDuration,
}

impl Lull {
    pub(super) const fn new() -> Self {
        Self {
            last: None,
            distance: LONGEST,
        }
    }

    /// Whether to rest, after a batch of `count` answers that left at `now`.
    pub(super) fn after(&mut self, now: SystemTime, count: usize, room: usize) -> bool {
        let since = self.last.replace(now).map_or(LONGEST, |last| now - last);
        let since = since.max(NtpDuration::ZERO).min(LONGEST);
        let distance = NtpDuration::from_bits(since.to_bits() / count.max(1) as i64);
        let change = distance - self.distance;
        self.distance += NtpDuration::from_bits(change.to_bits() / MEMORY);
        // Who has got half of what can be taken at once has no time to rest.
        self.distance < CLOSE && count < room / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 64;

    /// Whether a worker rests in the end, when batches of `count` come every `micros`.
    fn rests(count: usize, micros: i64) -> bool {
        let mut lull = Lull::new();
        let at = |number: i64| SystemTime::from_nanos(number * micros * 1000);
        (0..200).fold(false, |_, number| lull.after(at(number), count, ROOM))
    }

    #[test]
    fn only_the_busy_rest() {
        assert!(!rests(1, 1_000_000));
        assert!(!rests(1, 200));
        assert!(rests(1, 20));
        // While resting: as many requests as before, in fewer batches.
        assert!(rests(8, 160));
        assert!(!rests(2, 400));
    }

    #[test]
    fn those_who_do_not_keep_up_do_not_rest() {
        assert!(rests(ROOM / 2 - 1, 150));
        assert!(!rests(ROOM / 2, 150));
        assert!(!rests(ROOM, 150));
    }

    #[test]
    fn one_burst_in_a_quiet_time_changes_nothing() {
        let mut lull = Lull::new();
        for second in 0..100 {
            assert!(!lull.after(SystemTime::from_nanos(second * 1_000_000_000), 1, ROOM));
            assert!(!lull.after(
                SystemTime::from_nanos(second * 1_000_000_000 + 20_000),
                3,
                ROOM
            ));
        }
    }

    #[test]
    fn a_step_of_the_clock_does_no_harm() {
        let mut lull = Lull::new();
        for time in [5_000_000_000, 0, i64::MAX, i64::MIN, 7] {
            lull.after(SystemTime::from_nanos(time), 1, ROOM);
        }
        assert!(lull.distance >= NtpDuration::ZERO && lull.distance <= LONGEST);
    }
}
