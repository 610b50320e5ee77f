//! System calls that a seccomp filter refused: caught, remembered, and answered with "not permitted".
//!
//! # Problem
//! A filter can refuse a call with an error number, and then nobody learns of it: neither the operator whose daemon is
//! being taken over, nor the author who forgot that some library needs the call. Or it can end the process, which is too much
//! for a call that a library tries and lives without.
//!
//! # Idea
//! The filter sends SIGSYS instead of making the call (`SECCOMP_RET_TRAP`, seccomp(2)). The handler notes the number of the
//! call and the kind of the thread in a table of bits, and gives the interrupted code the answer `-EPERM`, as the kernel
//! would have. The main loop looks at the table when it wakes up ([`take`]). Each pair of call and kind is told once, so that nobody can
//! fill a log.
//!
//! Whoever replaces the handler or blocks the signal wins nothing: the call is not made in any case, and the kernel ends a
//! process that blocks a signal which it must not miss.
//!
//! The module stands here because catching a signal needs `unsafe`.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether refused calls can be caught on this processor: where its registers are known here.
pub const CAN_BE_CAUGHT: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Kinds of threads that can be told apart.
pub const KINDS: usize = 8;

/// Calls that can be told apart. Kernels have some 470; numbers of other conventions are far beyond and share the last place.
const CALLS: usize = 1024;
const WORDS: usize = CALLS / 64;

/// A bit for each kind of thread and call.
type Table = [[AtomicU64; WORDS]; KINDS];

static REFUSED: Table = [const { [const { AtomicU64::new(0) }; WORDS] }; KINDS];
static TOLD: Table = [const { [const { AtomicU64::new(0) }; WORDS] }; KINDS];
/// Whether there may be something in `REFUSED` that is not in `TOLD`.
static NEWS: AtomicBool = AtomicBool::new(false);

thread_local! {
    // Constant, and with nothing to be dropped: a signal handler may read it at any time.
    static KIND: Cell<usize> = const { Cell::new(0) };
}

/// A call that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What [`label_thread`] said of the thread that made it; 0 if nothing was said.
    pub kind: usize,
    /// The call's number, unless it is one that no kernel knows.
    pub call: Option<usize>,
}

/// Catches refused calls from now on, in all threads.
///
/// # Errors
/// Those of `sigaction(2)`; `Unsupported` where [`CAN_BE_CAUGHT`] is false.
pub fn catch() -> io::Result<()> {
    if !CAN_BE_CAUGHT {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: all-zero is a valid `sigaction` (empty mask); the handler has the signature that SA_SIGINFO asks for, and only
    // touches its arguments, atomics, and a thread-local that needs no initialisation.
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

/// Says of which kind the calling thread is. Kinds from [`KINDS`] on are taken for the last.
pub fn label_thread(kind: usize) {
    KIND.set(kind.min(KINDS - 1));
}

/// The calls that were refused and are not told yet.
pub fn take() -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if !NEWS.swap(false, Ordering::AcqRel) {
        return refusals;
    }
    for (kind, (refused, told)) in REFUSED.iter().zip(&TOLD).enumerate() {
        for (word, (refused, told)) in refused.iter().zip(told).enumerate() {
            let bits = refused.load(Ordering::Relaxed);
            let fresh = bits & !told.fetch_or(bits, Ordering::Relaxed);
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

/// Remembers a call of the calling thread.
fn note(call: usize) {
    let call = call.min(CALLS - 1);
    let words = REFUSED.get(KIND.get());
    if let Some(word) = words.and_then(|words| words.get(call / 64)) {
        let bit = 1 << (call % 64);
        if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            NEWS.store(true, Ordering::Release);
        }
    }
}

extern "C" fn on_refusal(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    /// The signal is about a system call, and not sent by somebody (siginfo.h).
    const SYS_SECCOMP: libc::c_int = 1;
    // SAFETY: the kernel passes pointers to a siginfo_t and a ucontext_t of the interrupted code, which nobody else has.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<libc::ucontext_t>()) };
    if info.si_code == SYS_SECCOMP {
        note(answer(&mut context.uc_mcontext));
    }
}

/// The number of the call that the interrupted code wanted to make; its answer becomes "not permitted".
#[cfg(target_arch = "x86_64")]
fn answer(registers: &mut libc::mcontext_t) -> usize {
    let Some(register) = registers.gregs.get_mut(libc::REG_RAX as usize) else {
        return usize::MAX;
    };
    let call = core::mem::replace(register, -i64::from(libc::EPERM));
    usize::try_from(call).unwrap_or(usize::MAX)
}

#[cfg(target_arch = "aarch64")]
fn answer(registers: &mut libc::mcontext_t) -> usize {
    registers.regs[0] = (-i64::from(libc::EPERM)).cast_unsigned();
    usize::try_from(registers.regs[8]).unwrap_or(usize::MAX)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn answer(_: &mut libc::mcontext_t) -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_of_each_kind_of_thread_is_told_once() {
        let noted = |kind, calls: &[usize]| {
            label_thread(kind);
            calls.iter().for_each(|call| note(*call));
        };
        noted(1, &[0, 63, 64, 64]);
        noted(KINDS + 7, &[64, 1 << 30]);
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
        noted(1, &[64]);
        assert_eq!(take(), []);
        noted(1, &[65]);
        assert_eq!(take(), [refusal(1, Some(65))]);
    }
}
