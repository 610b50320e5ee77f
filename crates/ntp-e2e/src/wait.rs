//! Waiting for a condition.
//!
//! The limit says when hope is lost, not how long a thing should take: it is generous, so that a loaded machine
//! only makes a test slower. This is the one place of the test suite that sleeps.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);
/// Between two looks that cost the other side something.
const UNHURRIED: Duration = Duration::from_millis(1100);

/// Looks until `probe` finds something, and returns that.
///
/// # Panics
/// With `what` in the message, if it found nothing within `limit`.
pub fn until<T>(limit: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    found(look(limit, INTERVAL, probe), limit, what)
}

/// The same with more than a second between two looks.
///
/// # Panics
/// As [`until`].
pub fn until_unhurried<T>(limit: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    found(look(limit, UNHURRIED, probe), limit, what)
}

/// As [`until`], for what need not happen: nothing if `limit` passes.
pub fn try_until<T>(limit: Duration, probe: impl FnMut() -> Option<T>) -> Option<T> {
    look(limit, INTERVAL, probe)
}

fn found<T>(found: Option<T>, limit: Duration, what: &str) -> T {
    match found {
        Some(found) => found,
        None => panic!("waited {limit:?} in vain for {what}"),
    }
}

fn look<T>(limit: Duration, interval: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(limit);
    loop {
        let found = probe();
        if found.is_some() || deadline.passed() {
            return found;
        }
        pause(interval);
    }
}

/// Calls `check`, which panics if it is not content, again and again for the whole of `span`: for what must never
/// happen.
pub fn throughout(span: Duration, mut check: impl FnMut()) {
    let deadline = Deadline::after(span);
    while !deadline.passed() {
        check();
        pause(INTERVAL);
    }
}

/// Lets so much time pass, for whoever strikes at moments of chance. It is no way to wait for something.
pub fn moment(span: Duration) {
    pause(span);
}

/// A moment at which patience ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// In `limit` from now.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test of real processes runs in real time"
    )]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Whether it is past.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// Time until then, zero if it is past.
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
    reason = "between two looks at another process"
)]
fn pause(interval: Duration) {
    thread::sleep(interval);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_returned_at_once() {
        let mut looks = 0;
        let found = until(Duration::from_secs(60), "the third look", || {
            looks += 1;
            (looks == 3).then_some("it")
        });
        assert_eq!((found, looks), ("it", 3));
    }

    #[test]
    #[should_panic(expected = "in vain for a miracle")]
    fn waiting_ends() {
        until(Duration::ZERO, "a miracle", || None::<()>);
    }
}
