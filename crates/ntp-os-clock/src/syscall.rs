//! All unsafe code of this crate: libc's clock functions behind safe signatures, where `nix` has
//! none.

use std::io;

use libc::{c_int, c_void};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_getres, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// Reads a clock, in nanoseconds.
///
/// # Errors
/// If the kernel does not have that clock.
#[inline]
pub(crate) fn read_clock(clock: ClockId) -> nix::Result<i64> {
    clock_gettime(clock).map(nanos)
}

/// Returns the resolution that the kernel claims for a clock, in nanoseconds.
pub(crate) fn clock_resolution(clock: ClockId) -> nix::Result<i64> {
    clock_getres(clock).map(nanos)
}

fn nanos(time: TimeSpec) -> i64 {
    i64::from(time.tv_sec())
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(time.tv_nsec()))
}

/// Returns a request that changes nothing: all fields zero, `modes` too.
pub(crate) fn blank_timex() -> libc::timex {
    // SAFETY: timex is a C struct of integers, for which all zero bits is a value.
    unsafe { core::mem::zeroed() }
}

/// Reads and, as far as `request.modes` requests it, changes `CLOCK_REALTIME`. Afterwards `request`
/// holds the kernel's state. Returns the leap second state (`TIME_OK` ... `TIME_ERROR`).
pub(crate) fn adjust_realtime(request: &mut libc::timex) -> io::Result<c_int> {
    // SAFETY: `request` is a valid timex, exclusively ours for the duration of the call.
    let state = unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, core::ptr::from_mut(request)) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state)
}

/// Clock ticks per second as user space counts them (`USER_HZ`), 100 on nearly every system.
pub(crate) fn ticks_per_second() -> i64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    ticks.map_or(100, i64::from)
}

/// Returns whether a library other than the C library provides `clock_gettime`: a preloaded
/// simulator.
///
/// False also where this cannot be determined (a static program, into which nothing can be
/// preloaded).
pub(crate) fn clock_is_simulated() -> bool {
    let clock = object_of(libc::clock_gettime as *const c_void);
    let libc = object_of(libc::getenv as *const c_void);
    matches!((clock, libc), (Some(clock), Some(libc)) if clock != libc)
}

/// Returns the load address of the library that contains a function.
fn object_of(function: *const c_void) -> Option<usize> {
    let mut info = libc::Dl_info {
        dli_fname: core::ptr::null(),
        dli_fbase: core::ptr::null_mut(),
        dli_sname: core::ptr::null(),
        dli_saddr: core::ptr::null_mut(),
    };
    // SAFETY: dladdr only compares the address with the list of loaded objects, and fills `info`.
    let found = unsafe { libc::dladdr(function, &raw mut info) };
    (found != 0).then_some(info.dli_fbase as usize)
}
