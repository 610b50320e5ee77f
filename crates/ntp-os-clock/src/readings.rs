//! Clock readings. No other code of the project reads a clock; everything below the shells gets
//! time as an argument.
//!
//! # Choice of the monotonic clock
//! Timers and ages should advance while a laptop is suspended: an estimate is an hour old after an
//! hour of suspend. Linux has `CLOCK_BOOTTIME` for that. Its difference to `CLOCK_MONOTONIC`, which
//! stops, is the total time of suspend, so a growing difference *is* a suspend. The choice is made
//! once, because readings of different clocks must never be subtracted from each other.
//!
//! A preloaded simulator replaces the C library's clocks by its own. Existing simulators support
//! `CLOCK_REALTIME` and `CLOCK_MONOTONIC` and abort the process for any other. Where another
//! library provides `clock_gettime`, only these two are therefore read: there is no suspend in a
//! simulation. The exception is [`monotonic_coarse`], for ClockBound's segments only, which real
//! clients read.

use std::sync::OnceLock;

use libc::c_int;
use ntp_time::{Monotonic, NtpDuration, SystemTime};

use crate::{Shortcoming, syscall};

/// The clock that [`monotonic`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonotonicSource {
    /// `CLOCK_BOOTTIME`, which advances during suspend.
    BootTime,
    /// `CLOCK_MONOTONIC`, the fallback, which stops during suspend.
    Monotonic,
}

impl MonotonicSource {
    const fn id(self) -> c_int {
        match self {
            Self::BootTime => libc::CLOCK_BOOTTIME,
            Self::Monotonic => libc::CLOCK_MONOTONIC,
        }
    }

    /// Returns the shortcoming of this choice, for the caller to report.
    pub const fn shortcoming(self) -> Option<Shortcoming> {
        match self {
            Self::BootTime => None,
            Self::Monotonic => Some(Shortcoming::NoBootTime),
        }
    }
}

/// Returns the clock that [`monotonic`] reads, chosen at the first use and fixed for the life of
/// the process.
pub fn monotonic_source() -> MonotonicSource {
    static SOURCE: OnceLock<MonotonicSource> = OnceLock::new();
    *SOURCE.get_or_init(|| {
        if !syscall::clock_is_simulated() && syscall::read_clock(libc::CLOCK_BOOTTIME).is_ok() {
            MonotonicSource::BootTime
        } else {
            MonotonicSource::Monotonic
        }
    })
}

/// Reads the monotonic clock, for timers and ages; advances during suspend where the system
/// supports it.
pub fn monotonic() -> Monotonic {
    Monotonic::from_nanos(read(monotonic_source().id()))
}

/// Reads `CLOCK_MONOTONIC`, which stops during suspend: `monotonic() - monotonic_unsuspended()`
/// grows by the length of every suspend, and by nothing else.
pub fn monotonic_unsuspended() -> Monotonic {
    Monotonic::from_nanos(read(libc::CLOCK_MONOTONIC))
}

/// Reads `CLOCK_MONOTONIC_COARSE`: [`monotonic_unsuspended`] at the last tick of the kernel's timer,
/// at most 10 ms ago.
pub fn monotonic_coarse() -> Monotonic {
    Monotonic::from_nanos(read(libc::CLOCK_MONOTONIC_COARSE))
}

/// Reads the kernel's `CLOCK_REALTIME`, without entering the kernel where libc and hardware permit.
pub fn realtime() -> SystemTime {
    SystemTime::from_nanos(read(libc::CLOCK_REALTIME))
}

/// Returns TAI minus UTC as the kernel knows it from a time daemon. `None` if it does not: it is zero
/// then, and in a simulation.
pub fn tai_offset() -> Option<NtpDuration> {
    if syscall::clock_is_simulated() {
        return None;
    }
    let tai = syscall::read_clock(libc::CLOCK_TAI).ok()?;
    // The second reading is later, so that a part of a second is missing.
    let seconds = (tai - read(libc::CLOCK_REALTIME))
        .unsigned_abs()
        .div_ceil(1_000_000_000);
    let seconds = i32::try_from(seconds).ok().filter(|seconds| *seconds > 1)?;
    Some(NtpDuration::from_seconds(seconds.into()))
}

/// Number of readings by [`precision`]: a millisecond or so, whatever the clock.
const PRECISION_READINGS: usize = 20_000;

/// Measures the precision of the system clock as log2 seconds (RFC 5905 section 7.3): the smallest
/// step between two successive readings, which is the clock's resolution or the cost of reading it,
/// whichever is larger. Rounded up, and within -32..=-1. Takes about a millisecond; call it once.
pub fn precision() -> i8 {
    let mut smallest: Option<i64> = None;
    let mut last = read(libc::CLOCK_REALTIME);
    for _ in 0..PRECISION_READINGS {
        let next = read(libc::CLOCK_REALTIME);
        let step = next.saturating_sub(last);
        last = next;
        if step > 0 {
            smallest = Some(smallest.map_or(step, |known| known.min(step)));
        }
    }
    // A clock whose step is longer than the loop, or one that a simulator advances only during
    // waits.
    let step = smallest
        .or_else(|| syscall::clock_resolution(libc::CLOCK_REALTIME).ok())
        .unwrap_or(1_000_000);
    log2_seconds(step)
}

/// Returns the smallest exponent `k` with `2^k s >= nanos`, within -32..=-1.
fn log2_seconds(nanos: i64) -> i8 {
    let nanos = u128::try_from(nanos).unwrap_or(0);
    // 2^k s >= nanos  <=>  10^9 >= nanos * 2^-k
    (-32..-1)
        .find(|exponent: &i8| 1_000_000_000 >= nanos << exponent.unsigned_abs())
        .unwrap_or(-1)
}

/// Reads a clock. These clocks exist on every Linux and the calls have no other way to fail; a
/// broken libc gives zero, for want of anything better.
fn read(clock: c_int) -> i64 {
    syscall::read_clock(clock).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_clocks_do_not_go_back() {
        let (a, ua) = (monotonic(), monotonic_unsuspended());
        let (b, ub) = (monotonic(), monotonic_unsuspended());
        assert!(a <= b && ua <= ub && a.as_nanos() > 0);
    }

    #[test]
    fn the_clock_that_runs_through_suspend_is_never_behind() {
        let unsuspended = monotonic_unsuspended();
        assert!(monotonic() >= unsuspended);
    }

    #[test]
    fn precision_is_plausible() {
        // From a nanosecond to ten milliseconds: a jiffy of a kernel without a fine clock.
        assert!((-30..=-6).contains(&precision()), "{}", precision());
    }

    #[test]
    fn log2_is_rounded_up() {
        assert_eq!(log2_seconds(1), -29); // 1.86 ns
        assert_eq!(log2_seconds(30), -24); // 59.6 ns; 2^-25 would be 29.8 ns
        assert_eq!(log2_seconds(29), -25);
        assert_eq!(log2_seconds(1_000_000), -9);
        assert_eq!(log2_seconds(500_000_000), -1);
        assert_eq!(log2_seconds(i64::MAX), -1);
        assert_eq!(log2_seconds(0), -32);
    }
}
