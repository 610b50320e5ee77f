//! What the engine asks of a clock and what the clock answers.
//!
//! The request is one message so that a shell can carry it out without judgement; the answer
//! says what was really done and when, because a kernel rounds frequencies and a timer fires late.
//! The [`Ledger`](crate::Ledger) is kept from the answers, never from the requests.

use crate::{Frequency, LeapIndicator, NtpDuration, SystemTime};

/// A change to the disciplined clock. Absent parts stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Adjustment {
    /// Add this to the clock's reading at once.
    pub step: Option<NtpDuration>,
    /// Run at this correction relative to the bare oscillator from now on, until changed.
    pub frequency: Option<Frequency>,
    /// What other programs may read about the clock.
    pub status: Option<ClockStatus>,
}

/// The state that the kernel keeps for other programs to read (`adjtimex(2)`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockStatus {
    /// Leap second to carry out at the end of the day, or that the clock is not synchronised.
    pub leap: LeapIndicator,
    /// Estimated error: the kernel's `esterror`.
    pub estimated_error: NtpDuration,
    /// Guaranteed bound: the kernel's `maxerror`, which the kernel itself then lets grow by 500 ppm.
    pub bound: NtpDuration,
    /// TAI - UTC in seconds, where known.
    pub tai_offset: Option<i32>,
}

/// What a clock did with an [`Adjustment`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Applied {
    /// System time at which the change took effect: the last reading on the old line.
    pub at: SystemTime,
    /// The step that was made; the first reading on the new line is `at + step`.
    pub step: NtpDuration,
    /// The frequency correction that the clock has now, after the kernel's rounding and limits.
    pub frequency: Frequency,
}
