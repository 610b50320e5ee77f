//! Signals as flags that the main loop checks.
//!
//! A handler only sets a flag; [`PollSet::wait`](crate::wait::PollSet::wait) is interrupted and the
//! loop checks the flags. A signal that arrives between the check and the wait would remain
//! unnoticed until the next wake-up, so the handler also sets an alarm for one second later, which
//! interrupts that wait. This needs no descriptor, and causes no wake-ups otherwise.
//!
//! The module is in this crate because installing a handler needs `unsafe`, and because waiting and
//! signals belong together.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static TERMINATE: AtomicBool = AtomicBool::new(false);
static HANGUP: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(signal: libc::c_int) {
    match signal {
        libc::SIGTERM | libc::SIGINT => TERMINATE.store(true, Ordering::SeqCst),
        libc::SIGHUP => HANGUP.store(true, Ordering::SeqCst),
        _ => return,
    }
    // SAFETY: `alarm` is async-signal-safe and has no preconditions.
    unsafe { libc::alarm(1) };
}

/// Installs handlers for SIGTERM, SIGINT and SIGHUP, for the life of the process.
///
/// # Errors
/// Those of `sigaction(2)`.
pub fn install() -> io::Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGALRM] {
        // SAFETY: all-zero is a valid `sigaction` (empty mask, no flags); the handler is an `extern
        // "C"` function that only touches atomics and calls an async-signal-safe function. Without
        // SA_RESTART waits are interrupted.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Blocks all signals in the calling thread, for its life, so that other threads of the process
/// handle them; except those that a thread causes itself and that end the process if they are
/// blocked.
///
/// # Errors
/// Those of `pthread_sigmask(3)`.
pub fn leave_to_other_threads() -> io::Result<()> {
    // SAFETY: all-zero is a valid signal set to be overwritten; both pointers are to live sets, and
    // no old set is asked for.
    let error = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigdelset(&raw mut all, libc::SIGSYS);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut())
    };
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Returns whether the process was requested to terminate (SIGTERM, SIGINT).
pub fn terminate_requested() -> bool {
    TERMINATE.load(Ordering::SeqCst)
}

/// Returns whether a signal is pending.
pub fn pending() -> bool {
    terminate_requested() || HANGUP.load(Ordering::SeqCst)
}

/// Returns whether a SIGHUP arrived since the last call.
pub fn take_hangup() -> bool {
    HANGUP.swap(false, Ordering::SeqCst)
}
