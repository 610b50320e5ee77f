//! Clocks: reading them, and steering the disciplined one.
//!
//! This is one of the two crates that may contain `unsafe`; all of it is in the modules `syscall`,
//! `ioctl`, `mapping`, `shared_memory`, `segment` and `counter`. Everything else is safe, and most
//! of it is arithmetic that can be tested without privilege.
//!
//! | item | purpose |
//! |---|---|
//! | [`realtime`], [`monotonic`], [`monotonic_unsuspended`], [`monotonic_coarse`], [`precision`], [`tai_offset`] | the only places of the project where a clock is read |
//! | [`Rate`] | Linux's representation of a frequency: ticks of 100 ppm plus a fine part |
//! | [`KernelStatus`] | status of the kernel's clock as in `adjtimex(2)` |
//! | [`SystemClock`] | the kernel's `CLOCK_REALTIME`, steered through `clock_adjtime(2)` |
//! | [`VirtualClock`] | a software clock over any other, whose true error is known |
//! | [`Clock`] | one of the above, or none: the clock of the daemon |
//! | [`segment`], [`counter`] | what ClockBound's clients read: a file under a sequence lock, the processor's counter |
//! | [`device`] | devices with a clock or pulses: PPS, PTP clocks, the page of a hypervisor |
//!
//! On 64-bit targets only functions of the C library are called, never raw system calls, so that a
//! preloaded simulator can replace the machine's clocks. A missing optional facility becomes a
//! [`Shortcoming`] for the caller to report; only a clock that cannot be steered at all is an
//! error.
//!
//! Nothing depends on the width of `long` or `time_t`, see `kernel_types`.

mod clock;
pub mod counter;
pub mod device;
mod error;
mod ioctl;
mod kernel_status;
mod kernel_types;
mod mapping;
mod rate;
mod readings;
pub mod segment;
pub mod shared_memory;
mod step;
mod syscall;
mod system;
mod virtual_clock;

pub use clock::{Clock, ClockKind, Translator, UnsteeredClock};
pub use error::{ClockError, Shortcoming};
pub use kernel_status::{KernelStatus, LeapState};
pub use rate::Rate;
pub use readings::{
    MonotonicSource, monotonic, monotonic_coarse, monotonic_source, monotonic_unsuspended,
    precision, realtime, tai_offset,
};
pub use system::SystemClock;
pub use virtual_clock::VirtualClock;
