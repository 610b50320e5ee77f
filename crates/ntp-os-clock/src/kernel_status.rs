//! Status that the kernel keeps with its clock (`adjtimex(2)`): error figures and leap second.
//!
//! # Purpose
//! Other programs learn from the kernel whether the time is good: `maxerror` holds the guaranteed
//! bound and `esterror` the estimate, both in microseconds and rounded **up**, since an error
//! figure must never shrink by conversion. The kernel increases `maxerror` by 500 us each second
//! and declares the clock unsynchronised at 16 s, so both have to be rewritten every few seconds.
//! While the clock counts as synchronised the kernel also copies it to the hardware clock every 11
//! minutes.
//!
//! # The kernel's own leap second
//! With `STA_INS` set, the kernel repeats the last second of the UTC day; the state shows the
//! progress:
//!
//! ```text
//!   OK --STA_INS--> INS --midnight: clock steps back 1 s--> OOP --next second--> WAIT --STA_INS cleared--> OK
//!   OK --STA_DEL--> DEL --23:59:59: clock steps on 1 s-----------------------> WAIT --STA_DEL cleared--> OK
//! ```
//!
//! A step of one second seen in OOP or WAIT is therefore the leap second; any other has another
//! cause. The kernel returns ERROR instead of any of these while the clock is unsynchronised.

use ntp_time::{ClockStatus, Frequency, LeapIndicator, NtpDuration, SystemTime};

use crate::Rate;
use crate::kernel_types::Timex;
use crate::rate::TickScale;
use crate::step::reported_time;

/// State of the kernel's leap second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeapState {
    /// No leap second announced (`TIME_OK`).
    None,
    /// One will be inserted at the end of the UTC day (`TIME_INS`).
    InsertPending,
    /// One will be deleted at the end of the UTC day (`TIME_DEL`).
    DeletePending,
    /// The inserted second is running now (`TIME_OOP`).
    Inserting,
    /// A leap second is over, and its flag not yet cleared (`TIME_WAIT`).
    Done,
    /// The clock is not synchronised, which hides the above (`TIME_ERROR`).
    Unsynchronized,
}

impl LeapState {
    pub(crate) const fn from_raw(state: libc::c_int) -> Self {
        match state {
            libc::TIME_OK => Self::None,
            libc::TIME_INS => Self::InsertPending,
            libc::TIME_DEL => Self::DeletePending,
            libc::TIME_OOP => Self::Inserting,
            libc::TIME_WAIT => Self::Done,
            _ => Self::Unsynchronized,
        }
    }

    /// Returns whether a step of one second just now is the kernel's own leap second.
    pub const fn explains_a_step(self) -> bool {
        matches!(self, Self::Inserting | Self::Done)
    }
}

/// Status of the kernel's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelStatus {
    /// Time of this reading; `None` where a simulator leaves the field empty.
    pub time: Option<SystemTime>,
    /// Offset that the kernel's own loop still has to correct; zero while we discipline.
    pub offset: NtpDuration,
    /// Frequency correction in force.
    pub frequency: Frequency,
    /// Frequency correction in the kernel's fields.
    pub rate: Rate,
    /// `maxerror`: the guaranteed bound.
    pub maximum_error: NtpDuration,
    /// `esterror`: the estimate.
    pub estimated_error: NtpDuration,
    /// The `STA_*` bits.
    pub bits: i32,
    /// TAI - UTC in seconds; 0 while it is not set.
    pub tai_offset: i32,
    /// State of the leap second.
    pub state: LeapState,
}

impl KernelStatus {
    pub(crate) fn from_timex(timex: &Timex, state: libc::c_int, scale: TickScale) -> Self {
        let in_nanos = timex.status & libc::STA_NANO != 0;
        let rate = rate_from_timex(timex);
        let offset = timex.offset;
        Self {
            time: reported_time(timex.time, in_nanos),
            offset: if in_nanos {
                NtpDuration::from_nanos(offset)
            } else {
                NtpDuration::from_micros(offset)
            },
            frequency: scale.to_frequency(rate),
            rate,
            maximum_error: NtpDuration::from_micros(timex.maxerror),
            estimated_error: NtpDuration::from_micros(timex.esterror),
            bits: timex.status,
            tai_offset: timex.tai,
            state: LeapState::from_raw(state),
        }
    }

    /// Returns whether the clock counts as synchronised.
    pub const fn is_synchronized(&self) -> bool {
        self.bits & libc::STA_UNSYNC == 0
    }

    /// Returns the leap indicator of the status bits.
    pub const fn leap(&self) -> LeapIndicator {
        leap_from_bits(self.bits)
    }

    /// Returns whether one of the kernel's own loops steers the clock: phase, frequency or pulse
    /// per second.
    pub const fn kernel_is_steering(&self) -> bool {
        const LOOPS: i32 = libc::STA_PLL | libc::STA_FLL | libc::STA_PPSFREQ | libc::STA_PPSTIME;
        self.bits & LOOPS != 0
    }
}

/// Returns the frequency fields of a filled `timex`.
pub(crate) fn rate_from_timex(timex: &Timex) -> Rate {
    Rate {
        tick: timex.tick,
        fine: timex.freq,
    }
}

/// Returns the status bits for a leap indicator. They disable all loops of the kernel; it keeps the
/// bits that only it may write (`STA_RONLY`).
pub(crate) const fn status_bits(leap: LeapIndicator) -> i32 {
    match leap {
        LeapIndicator::None => 0,
        LeapIndicator::Insert => libc::STA_INS,
        LeapIndicator::Delete => libc::STA_DEL,
        LeapIndicator::Unsynchronized => libc::STA_UNSYNC,
    }
}

const fn leap_from_bits(bits: i32) -> LeapIndicator {
    if bits & libc::STA_UNSYNC != 0 {
        LeapIndicator::Unsynchronized
    } else if bits & libc::STA_INS != 0 {
        LeapIndicator::Insert
    } else if bits & libc::STA_DEL != 0 {
        LeapIndicator::Delete
    } else {
        LeapIndicator::None
    }
}

/// Writes a status into a request.
pub(crate) fn set_status(request: &mut Timex, status: &ClockStatus) {
    request.modes |= libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
    request.status = status_bits(status.leap);
    request.maxerror = micros_ceil(status.bound);
    request.esterror = micros_ceil(status.estimated_error);
    // Kernels before 6.13 ignore zero, and none accepts a negative number; the field is called
    // `constant` because ADJ_TIMECONST, which we never use, shares it.
    if let Some(tai) = status.tai_offset.filter(|tai| *tai > 0) {
        request.modes |= libc::ADJ_TAI;
        request.constant = tai.into();
    }
}

/// The kernel's largest error figure, 16 s in microseconds; beyond it the clock is unsynchronised.
const MAX_ERROR: i64 = 16_000_000;

/// Converts to microseconds, rounded up, between 0 and the kernel's largest figure. The kernel
/// treats an error of that size as "unsynchronised" within a second, so the limit hides nothing.
fn micros_ceil(error: NtpDuration) -> i64 {
    // From the exact bits, because nanoseconds are already rounded to the nearest.
    let micros = (i128::from(error.to_bits().max(0)) * 1_000_000 + 0xffff_ffff) >> 32;
    micros.min(i128::from(MAX_ERROR)) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn errors_are_rounded_up_by_less_than_a_microsecond(bits in 0i64..16 << 32) {
            let exact = NtpDuration::from_bits(bits);
            let micros = i128::from(micros_ceil(exact));
            prop_assert!(micros << 32 >= i128::from(bits) * 1_000_000);
            prop_assert!((micros - 1) << 32 < i128::from(bits) * 1_000_000);
        }

        #[test]
        fn error_figures_are_clamped(bits: i64) {
            let micros = micros_ceil(NtpDuration::from_bits(bits));
            prop_assert!((0..=MAX_ERROR).contains(&micros));
        }
    }

    #[test]
    fn leap_announcements_round_trip() {
        for bits in 0..4 {
            let leap = LeapIndicator::from_bits(bits);
            assert_eq!(leap_from_bits(status_bits(leap)), leap);
        }
    }

    #[test]
    fn no_request_enables_a_kernel_loop() {
        let mut request = Timex::default();
        for bits in 0..4 {
            set_status(
                &mut request,
                &ClockStatus {
                    leap: LeapIndicator::from_bits(bits),
                    estimated_error: NtpDuration::from_nanos(1),
                    bound: NtpDuration::from_seconds(3),
                    tai_offset: Some(37),
                },
            );
            let seen = KernelStatus::from_timex(&request, libc::TIME_OK, TickScale::new(100));
            assert!(!seen.kernel_is_steering());
            assert_eq!(seen.bits & libc::STA_RONLY, 0);
            assert_eq!(seen.estimated_error, NtpDuration::from_micros(1));
            assert_eq!(seen.maximum_error, NtpDuration::from_seconds(3));
            assert_eq!(request.constant, 37);
        }
    }

    #[test]
    fn units_follow_the_nanosecond_bit() {
        let mut timex = Timex::default();
        timex.offset = 1500;
        timex.tick = 10_000;
        let coarse = KernelStatus::from_timex(&timex, libc::TIME_ERROR, TickScale::new(100));
        assert_eq!(coarse.offset, NtpDuration::from_micros(1500));
        assert_eq!(
            (coarse.time, coarse.state),
            (None, LeapState::Unsynchronized)
        );
        timex.status = libc::STA_NANO;
        let fine = KernelStatus::from_timex(&timex, libc::TIME_OOP, TickScale::new(100));
        assert_eq!(fine.offset, NtpDuration::from_nanos(1500));
        assert!(fine.state.explains_a_step());
    }
}
