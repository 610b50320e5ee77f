//! The time types of ntpd-rs.
//!
//! A time daemon handles four clocks at once, and most of its historical bugs come
//! from taking a reading of one for a reading of another. Here each has a type of
//! its own, and mixing them does not compile:
//!
//! | clock | type | what it is |
//! |---|---|---|
//! | monotonic | [`Monotonic`] | timers and ages only; never set, never compared with the others |
//! | system | [`SystemTime`] | `CLOCK_REALTIME` as the kernel shows it; packets are stamped in it |
//! | free-running | [`FreeTime`] | the system clock with all of our own steps and frequency changes undone: the bare oscillator, in which estimation happens |
//! | true | [`UtcEstimate`] | UTC as far as we can claim it, always with a bound |
//!
//! The [`Ledger`] is the map between system and free-running time. On the wire, time
//! is an [`NtpTimestamp`] (64 bits, wraps every 136 years); differences of any of
//! these are an [`NtpDuration`].
//!
//! All types are plain numbers: no clock is read in this crate.
#![forbid(unsafe_code)]

mod adjust;
mod bound;
mod duration;
mod free;
mod frequency;
mod leap;
mod poll;
mod refid;
mod stamp;
mod stratum;
mod timestamp;

pub use adjust::{Adjustment, Applied, ClockStatus};
pub use bound::UtcEstimate;
pub use duration::{NtpDuration, NtpShort};
pub use free::{FreeTime, Ledger};
pub use frequency::Frequency;
pub use leap::LeapIndicator;
pub use poll::{PollInterval, PollLimits};
pub use refid::ReferenceId;
pub use stamp::{Stamp, StampSource};
pub use stratum::Stratum;
pub use timestamp::{Monotonic, NtpTimestamp, SystemTime};
