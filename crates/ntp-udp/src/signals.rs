//! Signals as flags that the main loop checks.
//!
//! A handler only sets a flag; [`PollSet::wait`](crate::wait::PollSet::wait) is interrupted and the
//! loop checks the flags. A signal that arrives between the check and the wait would remain
//! unnoticed until the next wake-up, so the handler also sets an alarm for one second later, which
//! interrupts that wait. This needs no descriptor, and causes no wake-ups otherwise.
//!
//! # The end of the process
//! SIGTERM and SIGINT must end the process, whatever its threads wait for: a log that nobody reads,
//! a disk that does not answer. If the process still exists [`END_LIMIT`] seconds later, the handler
//! ends it.
//!
//! The module is in this crate because installing a handler needs `unsafe`, and because waiting and
//! signals belong together.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::alarm;

/// Time in seconds from SIGTERM or SIGINT to the end of the process. An orderly end takes less than
/// a second; service managers wait for 90 s, people for less.
pub const END_LIMIT: u32 = 10;

/// Exit code of a process that [`END_LIMIT`] has ended (EX_SOFTWARE).
const END_CODE: libc::c_int = 70;

static TERMINATE: AtomicBool = AtomicBool::new(false);
static HANGUP: AtomicBool = AtomicBool::new(false);
/// Whether the alarm is that of [`END_LIMIT`].
static ENDING: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(signal: libc::c_int) {
    match signal {
        libc::SIGTERM | libc::SIGINT => TERMINATE.store(true, Ordering::SeqCst),
        libc::SIGHUP => HANGUP.store(true, Ordering::SeqCst),
        // The alarm: one second after a signal, or the last one.
        _ if terminate_requested() => return end(),
        _ => return,
    }
    if !ENDING.load(Ordering::SeqCst) {
        alarm::set(1);
    }
}

/// Sets the last alarm, or ends the process if it has gone off.
fn end() {
    if ENDING.swap(true, Ordering::SeqCst) {
        // SAFETY: `_exit` is async-signal-safe and touches no memory of the process.
        unsafe { libc::_exit(END_CODE) }
    }
    alarm::set(END_LIMIT - 1);
}

/// Installs handlers for SIGTERM, SIGINT and SIGHUP, for the life of the process.
///
/// # Errors
/// Those of `sigaction(2)`.
pub fn install() -> io::Result<()> {
    // Without SA_RESTART waits are interrupted.
    let handler = SigHandler::Handler(on_signal);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGALRM,
    ] {
        // SAFETY: the handler only touches atomics and calls `alarm` and `_exit`, which are
        // async-signal-safe.
        unsafe { sigaction(signal, &action) }?;
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
    let mut all = SigSet::all();
    all.remove(Signal::SIGSYS);
    Ok(all.thread_set_mask()?)
}

/// Requests the process to terminate, as SIGTERM does.
pub fn request_termination() {
    TERMINATE.store(true, Ordering::SeqCst);
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
