//! Clocks: reading them, and steering the one that we discipline.
//!
//! This is one of the two crates that may contain `unsafe`; all of it stands in the private
//! module `syscall`, a page of thin wrappers around libc. Everything above is safe and most of it is
//! arithmetic that tests can hold to account without privilege.
//!
//! | room | what |
//! |---|---|
//! | [`realtime`], [`monotonic`], [`monotonic_unsuspended`], [`precision`] | the only places of the project where a clock is read |
//! | [`Rate`] | how Linux writes a frequency down: ticks of 100 ppm plus a fine part |
//! | [`KernelStatus`] | what `adjtimex(2)` shows of the kernel's clock |
//! | [`SystemClock`] | the kernel's `CLOCK_REALTIME`, steered through `clock_adjtime(2)` |
//! | [`VirtualClock`] | a software clock laid over any other, whose true error is known |
//! | [`Clock`] | one of the above, or none: what the daemon holds |
//!
//! Only functions of the C library are called, never raw system calls, so that a preloaded simulator can
//! put a world of its own in place of the machine's. Whatever is optional and missing becomes a
//! [`Shortcoming`] for the caller to report; only a clock that cannot be steered at all is an error.
//!
//! The fields of `timex` are `long`: on 32-bit targets frequencies and errors still fit, and times
//! follow the target's `time_t` (a 32-bit one ends in 2038, as does everything else on such a system).
#![allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the widths of C's long, time_t and suseconds_t differ by target"
)]

mod clock;
mod error;
mod kernel_status;
mod rate;
mod readings;
mod step;
mod syscall;
mod system;
mod virtual_clock;

pub use clock::{Clock, ClockKind, Translator, UnsteeredClock};
pub use error::{ClockError, Shortcoming};
pub use kernel_status::{KernelStatus, LeapState};
pub use rate::Rate;
pub use readings::{
    MonotonicSource, monotonic, monotonic_source, monotonic_unsuspended, precision, realtime,
};
pub use system::SystemClock;
pub use virtual_clock::VirtualClock;
