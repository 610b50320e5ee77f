//! The time types of ntpd-rs.
//!
//! A time daemon handles four clocks, and most historical bugs come from using a reading of one as
//! a reading of another. Here each has its own type, and mixing them does not compile:
//!
//! | clock | type | meaning |
//! |---|---|---|
//! | monotonic | [`Monotonic`] | for timers and ages only; never set, never compared with the others |
//! | system | [`SystemTime`] | `CLOCK_REALTIME`; packets are timestamped in it |
//! | free-running | [`FreeTime`] | the system clock with all of our steps and frequency changes undone: the bare oscillator, used for all estimation |
//! | true | [`UtcEstimate`] | UTC as estimated, always with a bound |
//!
//! The [`Ledger`] maps system time to free-running time. On the wire, time is an [`NtpTimestamp`]
//! (64 bits, wraps every 136 years). Differences of any of these are an [`NtpDuration`].
//!
//! All types are plain numbers: this crate reads no clock.
#![forbid(unsafe_code)]

mod adjust;
mod bound;
mod duration;
mod free;
mod frequency;
mod json;
mod leap;
mod poll;
mod refid;
mod scale;
mod stamp;
mod stratum;
mod time32;
mod timestamp;

pub use adjust::{Adjustment, Applied, ClockStatus};
pub use bound::UtcEstimate;
pub use duration::{NtpDuration, NtpShort};
pub use free::{FreeTime, Ledger};
pub use frequency::Frequency;
pub use json::exact;
pub use leap::LeapIndicator;
pub use poll::{PollInterval, PollLimits};
pub use refid::ReferenceId;
pub use scale::{Era, Timescale};
pub use stamp::{RawStamp, Stamp, StampClock, StampSource};
pub use stratum::Stratum;
pub use time32::Time32;
pub use timestamp::{InvalidTime, Monotonic, NtpTimestamp, SystemTime};
