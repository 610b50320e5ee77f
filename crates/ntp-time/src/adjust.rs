//! Requests to the disciplined clock, and their results.
//!
//! A request is one message that the caller of the engine executes as it is. The result contains
//! what was done and when, because a kernel rounds frequencies and a timer fires late. The
//! [`Ledger`](crate::Ledger) is written from results, never from requests.

use serde::{Deserialize, Serialize};

use crate::{Frequency, LeapIndicator, NtpDuration, SystemTime};

/// Change of the disciplined clock. Parts that are `None` stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Adjustment {
    /// Value to add to the clock's reading at once.
    pub step: Option<NtpDuration>,
    /// Frequency correction relative to the bare oscillator, from now on.
    pub frequency: Option<Frequency>,
    /// State of the clock for other programs to read.
    pub status: Option<ClockStatus>,
}

/// State of the clock that the kernel keeps for other programs to read (`adjtimex(2)`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockStatus {
    /// Leap second at the end of the day, or that the clock is not synchronised.
    pub leap: LeapIndicator,
    /// Estimated error: the kernel's `esterror`.
    pub estimated_error: NtpDuration,
    /// Guaranteed bound: the kernel's `maxerror`, which the kernel then increases by 500 ppm.
    pub bound: NtpDuration,
    /// TAI - UTC in seconds, where known.
    pub tai_offset: Option<i32>,
}

/// Result of an [`Adjustment`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// System time at which the change took effect: the last reading on the old line.
    #[serde(with = "crate::exact")]
    pub at: SystemTime,
    /// Step that was made; the first reading on the new line is `at + step`.
    #[serde(with = "crate::exact")]
    pub step: NtpDuration,
    /// Frequency correction in force now, after the kernel's rounding and limits.
    #[serde(with = "crate::exact")]
    pub frequency: Frequency,
}
