//! The kernel's clock functions behind safe signatures.

use std::io;

use libc::{c_int, c_void};
use nix::unistd::{SysconfVar, sysconf};

use crate::kernel_types::{Timespec, Timex};

/// Calls of 32-bit kernels (5.1 and newer) that take the structures of 64-bit ones. The numbers are
/// the same on all of them.
#[cfg(target_pointer_width = "32")]
mod time64 {
    pub(super) const SYS_CLOCK_GETTIME64: libc::c_long = 403;
    pub(super) const SYS_CLOCK_ADJTIME64: libc::c_long = 405;
    pub(super) const SYS_CLOCK_GETRES_TIME64: libc::c_long = 406;
}

/// Reads a clock (`CLOCK_*`), in nanoseconds.
///
/// # Errors
/// If the kernel does not have that clock.
#[inline]
pub(crate) fn read_clock(clock: c_int) -> io::Result<i64> {
    let mut time = Timespec::default();
    let at = &raw mut time;
    // The function of the C library, which a simulator can replace.
    #[cfg(target_pointer_width = "64")]
    // SAFETY: `time` has the layout of a timespec and is exclusively ours during the call.
    let result = unsafe { libc::clock_gettime(clock, at.cast()) };
    #[cfg(target_pointer_width = "32")]
    // SAFETY: as above, for the structure of this call.
    let result = unsafe { libc::syscall(time64::SYS_CLOCK_GETTIME64, clock, at) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.as_nanos())
}

/// Returns the resolution that the kernel claims for a clock, in nanoseconds.
pub(crate) fn clock_resolution(clock: c_int) -> io::Result<i64> {
    let mut time = Timespec::default();
    let at = &raw mut time;
    #[cfg(target_pointer_width = "64")]
    // SAFETY: `time` has the layout of a timespec and is exclusively ours during the call.
    let result = unsafe { libc::clock_getres(clock, at.cast()) };
    #[cfg(target_pointer_width = "32")]
    // SAFETY: as above, for the structure of this call.
    let result = unsafe { libc::syscall(time64::SYS_CLOCK_GETRES_TIME64, clock, at) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.as_nanos())
}

/// Reads and, as far as `request.modes` requests it, changes `CLOCK_REALTIME`. Afterwards `request`
/// holds the kernel's state. Returns the leap second state (`TIME_OK` ... `TIME_ERROR`).
pub(crate) fn adjust_realtime(request: &mut Timex) -> io::Result<c_int> {
    let at = core::ptr::from_mut(request);
    #[cfg(target_pointer_width = "64")]
    // SAFETY: `request` has the layout of a timex and is exclusively ours during the call.
    let state = unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, at.cast()) };
    #[cfg(target_pointer_width = "32")]
    // SAFETY: as above, for the structure of this call.
    let state =
        unsafe { libc::syscall(time64::SYS_CLOCK_ADJTIME64, libc::CLOCK_REALTIME, at) as c_int };
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
    // SAFETY: Dl_info consists of pointers, for which all zero bits are a value.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: dladdr only compares the address with the list of loaded objects, and fills `info`.
    let found = unsafe { libc::dladdr(function, &raw mut info) };
    (found != 0).then_some(info.dli_fbase as usize)
}
