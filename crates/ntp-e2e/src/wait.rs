//! Waits for conditions.
//!
//! Limits are timeouts, not expected durations: they are generous, so that a loaded machine only
//! makes a test slower. This is the only place of the test suite that sleeps.

use std::thread;
use std::time::{Duration, Instant};

/// Interval between two probes.
const INTERVAL: Duration = Duration::from_millis(50);
/// Interval between two probes that put load on a rate-limited server.
const SLOW_INTERVAL: Duration = Duration::from_millis(1100);

/// Calls `probe` until it returns a value, and returns that.
///
/// # Panics
/// With `what` in the message, if it returned none within `limit`.
pub fn until<T>(limit: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    expect(poll(limit, INTERVAL, probe), limit, what)
}

/// The same with more than a second between two calls.
///
/// # Panics
/// As [`until`].
pub fn until_slowly<T>(limit: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    expect(poll(limit, SLOW_INTERVAL, probe), limit, what)
}

/// As [`until`], but returns `None` at the timeout.
pub fn try_until<T>(limit: Duration, probe: impl FnMut() -> Option<T>) -> Option<T> {
    poll(limit, INTERVAL, probe)
}

fn expect<T>(found: Option<T>, limit: Duration, what: &str) -> T {
    match found {
        Some(found) => found,
        None => panic!("timeout ({limit:?}) waiting for {what}"),
    }
}

fn poll<T>(limit: Duration, interval: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(limit);
    loop {
        let found = probe();
        if found.is_some() || deadline.passed() {
            return found;
        }
        pause(interval);
    }
}

/// Calls `check` repeatedly for the whole of `span`; `check` panics if an invariant is violated.
pub fn throughout(span: Duration, mut check: impl FnMut()) {
    let deadline = Deadline::after(span);
    while !deadline.passed() {
        check();
        pause(INTERVAL);
    }
}

/// Sleeps for `span`, for tests that act at random times. Not for waiting for a condition.
pub fn sleep(span: Duration) {
    pause(span);
}

/// A point in time at which waiting ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline `limit` from now.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test of real processes runs in real time"
    )]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Whether the deadline has passed.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// Time until the deadline, zero if it has passed.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test of real processes runs in real time"
    )]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "interval between two probes of another process"
)]
fn pause(interval: Duration) {
    thread::sleep(interval);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_returns_the_first_value() {
        let mut calls = 0;
        let found = until(Duration::from_secs(60), "the third call", || {
            calls += 1;
            (calls == 3).then_some("value")
        });
        assert_eq!((found, calls), ("value", 3));
    }

    #[test]
    #[should_panic(expected = "waiting for nothing")]
    fn until_panics_at_the_timeout() {
        until(Duration::ZERO, "nothing", || None::<()>);
    }
}
