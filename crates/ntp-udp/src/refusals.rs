//! System calls that a seccomp filter denied: caught, recorded, and failed with "not permitted".
//!
//! # Problem
//! A filter can deny a call with an error number, but then the denial remains unnoticed: by the
//! operator whose daemon is being attacked, and by the developer who forgot that some library needs
//! the call. Or it can end the process, which is too much for a call that a library tries and can
//! do without.
//!
//! # Solution
//! The filter sends SIGSYS instead of making the call (`SECCOMP_RET_TRAP`, seccomp(2)). The handler
//! records the number of the call and the kind of the thread in a bit table, and returns `-EPERM`
//! to the interrupted code, as the kernel would have. The main loop reads the table when it wakes
//! up ([`take`]). Each pair of call and kind is reported once, so that the log cannot be flooded.
//!
//! Replacing the handler or blocking the signal does not help an attacker: the call is not made in
//! any case, and the kernel ends a process that blocks this signal.
//!
//! The module is in this crate because catching a signal needs `unsafe`.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether denied calls can be caught on this processor: where its registers are known here.
pub const CAN_BE_CAUGHT: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Number of distinct kinds of threads.
pub const KINDS: usize = 8;

/// Number of distinct calls. Kernels have some 470; numbers of other conventions are far beyond and
/// share the last entry.
const CALLS: usize = 1024;
const WORDS: usize = CALLS / 64;

/// A bit for each kind of thread and call.
type Table = [[AtomicU64; WORDS]; KINDS];

static REFUSED: Table = [const { [const { AtomicU64::new(0) }; WORDS] }; KINDS];
static REPORTED: Table = [const { [const { AtomicU64::new(0) }; WORDS] }; KINDS];
/// Whether `REFUSED` may contain bits that are not in `REPORTED`.
static UNREPORTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    // Constant, and without a destructor: a signal handler may read it at any time.
    static KIND: Cell<usize> = const { Cell::new(0) };
}

/// A denied call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kind of the thread that made it, as set by [`label_thread`]; 0 if not set.
    pub kind: usize,
    /// Number of the call; `None` if it is not a number of any kernel.
    pub call: Option<usize>,
}

/// Installs the handler for denied calls, for all threads.
///
/// # Errors
/// Those of `sigaction(2)`; `Unsupported` where [`CAN_BE_CAUGHT`] is false.
pub fn catch() -> io::Result<()> {
    if !CAN_BE_CAUGHT {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: all-zero is a valid `sigaction` (empty mask); the handler has the signature that
    // SA_SIGINFO asks for, and only touches its arguments, atomics, and a thread-local that needs
    // no initialisation.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_refusal as extern "C" fn(_, _, _) as usize as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets the kind of the calling thread. Kinds from [`KINDS`] on become the last.
pub fn label_thread(kind: usize) {
    KIND.set(kind.min(KINDS - 1));
}

/// Returns the denied calls that have not been returned yet.
pub fn take() -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if !UNREPORTED.swap(false, Ordering::AcqRel) {
        return refusals;
    }
    for (kind, (refused, reported)) in REFUSED.iter().zip(&REPORTED).enumerate() {
        for (word, (refused, reported)) in refused.iter().zip(reported).enumerate() {
            let bits = refused.load(Ordering::Relaxed);
            let fresh = bits & !reported.fetch_or(bits, Ordering::Relaxed);
            let calls = (0..64).filter(|bit| fresh & (1 << bit) != 0);
            refusals.extend(calls.map(|bit| {
                let call = word * 64 + bit;
                Refusal {
                    kind,
                    call: (call != CALLS - 1).then_some(call),
                }
            }));
        }
    }
    refusals
}

/// Records a call of the calling thread.
fn record(call: usize) {
    let call = call.min(CALLS - 1);
    let words = REFUSED.get(KIND.get());
    if let Some(word) = words.and_then(|words| words.get(call / 64)) {
        let bit = 1 << (call % 64);
        if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            UNREPORTED.store(true, Ordering::Release);
        }
    }
}

extern "C" fn on_refusal(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    /// The signal was raised by seccomp, and not sent by a process (siginfo.h).
    const SYS_SECCOMP: libc::c_int = 1;
    // SAFETY: the kernel passes pointers to a siginfo_t and a ucontext_t of the interrupted code,
    // which nothing else refers to.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<libc::ucontext_t>()) };
    if info.si_code == SYS_SECCOMP {
        record(deny(&mut context.uc_mcontext));
    }
}

/// Makes the interrupted call fail with "not permitted", and returns its number.
#[cfg(target_arch = "x86_64")]
fn deny(registers: &mut libc::mcontext_t) -> usize {
    let Some(register) = registers.gregs.get_mut(libc::REG_RAX as usize) else {
        return usize::MAX;
    };
    let call = core::mem::replace(register, -i64::from(libc::EPERM));
    usize::try_from(call).unwrap_or(usize::MAX)
}

#[cfg(target_arch = "aarch64")]
fn deny(registers: &mut libc::mcontext_t) -> usize {
    registers.regs[0] = (-i64::from(libc::EPERM)).cast_unsigned();
    usize::try_from(registers.regs[8]).unwrap_or(usize::MAX)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn deny(_: &mut libc::mcontext_t) -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_of_each_thread_kind_is_reported_once() {
        let record_all = |kind, calls: &[usize]| {
            label_thread(kind);
            calls.iter().for_each(|call| record(*call));
        };
        record_all(1, &[0, 63, 64, 64]);
        record_all(KINDS + 7, &[64, 1 << 30]);
        let refusal = |kind, call| Refusal { kind, call };
        assert_eq!(
            take(),
            [
                refusal(1, Some(0)),
                refusal(1, Some(63)),
                refusal(1, Some(64)),
                refusal(KINDS - 1, Some(64)),
                refusal(KINDS - 1, None),
            ]
        );
        record_all(1, &[64]);
        assert_eq!(take(), []);
        record_all(1, &[65]);
        assert_eq!(take(), [refusal(1, Some(65))]);
    }
}
