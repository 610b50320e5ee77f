//! The state that the kernel keeps beside its clock (`adjtimex(2)`): who may trust it, and the leap second.
//!
//! # Why it matters
//! Other programs ask the kernel, not us, whether the time is good: `maxerror` carries our guaranteed bound and
//! `esterror` the estimate, both in microseconds and rounded **up**, since an error figure must never shrink on its
//! way. The kernel lets
//! `maxerror` grow by 500 us each second and declares the clock unsynchronised at 16 s, so both have to be
//! rewritten every few seconds. While the clock counts as synchronised the kernel also copies it to the hardware
//! clock every 11 minutes.
//!
//! # The kernel's own leap second
//! With `STA_INS` set, the kernel repeats the last second of the UTC day; the state tells how far it is:
//!
//! ```text
//!   OK --STA_INS--> INS --midnight: clock steps back 1 s--> OOP --next second--> WAIT --STA_INS cleared--> OK
//!   OK --STA_DEL--> DEL --23:59:59: clock steps on 1 s-----------------------> WAIT --STA_DEL cleared--> OK
//! ```
//!
//! A step of one second seen in OOP or WAIT is therefore the leap second; any other is somebody's. The kernel
//! answers ERROR instead of any of these while the clock is unsynchronised.

use ntp_time::{ClockStatus, Frequency, LeapIndicator, NtpDuration, SystemTime};

use crate::Rate;
use crate::rate::TickScale;
use crate::step::reported_time;

/// Where the kernel's leap second machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeapState {
    /// No leap second in sight (`TIME_OK`).
    None,
    /// One will be inserted at the end of the UTC day (`TIME_INS`).
    InsertPending,
    /// One will be deleted at the end of the UTC day (`TIME_DEL`).
    DeletePending,
    /// The inserted second is running now (`TIME_OOP`).
    Inserting,
    /// A leap second is over, and its announcement not yet withdrawn (`TIME_WAIT`).
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

    /// Whether a step of one second just now is the kernel's own leap second.
    pub const fn explains_a_step(self) -> bool {
        matches!(self, Self::Inserting | Self::Done)
    }
}

/// Everything that the kernel tells about its clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelStatus {
    /// When this was read; `None` where a simulator leaves the field empty.
    pub time: Option<SystemTime>,
    /// Offset that the kernel's own loop still has to remove; zero when we discipline.
    pub offset: NtpDuration,
    /// The frequency correction in force.
    pub frequency: Frequency,
    /// The same in the kernel's fields.
    pub rate: Rate,
    /// `maxerror`: the guaranteed bound.
    pub maximum_error: NtpDuration,
    /// `esterror`: the estimate.
    pub estimated_error: NtpDuration,
    /// The `STA_*` bits.
    pub bits: i32,
    /// TAI - UTC in seconds; 0 while nobody has set it.
    pub tai_offset: i32,
    /// The leap second machine.
    pub state: LeapState,
}

impl KernelStatus {
    pub(crate) fn from_timex(timex: &libc::timex, state: libc::c_int, scale: TickScale) -> Self {
        let in_nanos = timex.status & libc::STA_NANO != 0;
        let rate = rate_in(timex);
        let offset = i64::from(timex.offset);
        Self {
            time: reported_time(timex.time, in_nanos),
            offset: if in_nanos {
                NtpDuration::from_nanos(offset)
            } else {
                NtpDuration::from_micros(offset)
            },
            frequency: scale.frequency_of(rate),
            rate,
            maximum_error: NtpDuration::from_micros(i64::from(timex.maxerror)),
            estimated_error: NtpDuration::from_micros(i64::from(timex.esterror)),
            bits: timex.status,
            tai_offset: timex.tai,
            state: LeapState::from_raw(state),
        }
    }

    /// Whether other programs may trust the clock.
    pub const fn is_synchronized(&self) -> bool {
        self.bits & libc::STA_UNSYNC == 0
    }

    /// The announcement that the bits make.
    pub const fn leap(&self) -> LeapIndicator {
        leap_of(self.bits)
    }

    /// Whether one of the kernel's own loops steers the clock: phase, frequency or pulse per second.
    pub const fn kernel_is_steering(&self) -> bool {
        const LOOPS: i32 = libc::STA_PLL | libc::STA_FLL | libc::STA_PPSFREQ | libc::STA_PPSTIME;
        self.bits & LOOPS != 0
    }
}

/// The frequency fields of a filled `timex`.
pub(crate) fn rate_in(timex: &libc::timex) -> Rate {
    Rate {
        tick: i64::from(timex.tick),
        fine: i64::from(timex.freq),
    }
}

/// The status bits for an announcement. All loops of the kernel are off in it; bits that only
/// the kernel writes (`STA_RONLY`) are not ours to set, and it keeps them.
pub(crate) const fn bits_of(leap: LeapIndicator) -> i32 {
    match leap {
        LeapIndicator::None => 0,
        LeapIndicator::Insert => libc::STA_INS,
        LeapIndicator::Delete => libc::STA_DEL,
        LeapIndicator::Unsynchronized => libc::STA_UNSYNC,
    }
}

const fn leap_of(bits: i32) -> LeapIndicator {
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
pub(crate) fn request_status(request: &mut libc::timex, status: &ClockStatus) {
    request.modes |= libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
    request.status = bits_of(status.leap);
    request.maxerror = micros_up(status.bound);
    request.esterror = micros_up(status.estimated_error);
    // Kernels before 6.13 ignore zero, and none accepts a negative number; `constant` is the field's name
    // because ADJ_TIMECONST, which we never use, shares it.
    if let Some(tai) = status.tai_offset.filter(|tai| *tai > 0) {
        request.modes |= libc::ADJ_TAI;
        request.constant = tai.into();
    }
}

/// The kernel's largest error figure, 16 s in microseconds; it declares the clock unsynchronised beyond.
const LARGEST_ERROR: i64 = 16_000_000;

/// Microseconds, rounded up, between 0 and the kernel's largest figure. It takes an error of that size for
/// "unsynchronised" within a second, so nothing is hidden by stopping there.
fn micros_up(error: NtpDuration) -> libc::c_long {
    // From the exact bits, because nanoseconds are already rounded to the nearest.
    let micros = (i128::from(error.to_bits().max(0)) * 1_000_000 + 0xffff_ffff) >> 32;
    micros.min(i128::from(LARGEST_ERROR)) as libc::c_long
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::syscall::blank_timex;

    proptest! {
        #[test]
        fn errors_are_rounded_up_by_less_than_a_microsecond(bits in 0i64..16 << 32) {
            let exact = NtpDuration::from_bits(bits);
            let micros = i128::from(micros_up(exact));
            prop_assert!(micros << 32 >= i128::from(bits) * 1_000_000);
            prop_assert!((micros - 1) << 32 < i128::from(bits) * 1_000_000);
        }

        #[test]
        fn errors_out_of_range_stay_in_it(bits: i64) {
            let micros = i64::from(micros_up(NtpDuration::from_bits(bits)));
            prop_assert!((0..=LARGEST_ERROR).contains(&micros));
        }
    }

    #[test]
    fn announcements_survive() {
        for bits in 0..4 {
            let leap = LeapIndicator::from_bits(bits);
            assert_eq!(leap_of(bits_of(leap)), leap);
        }
    }

    #[test]
    fn no_request_turns_a_loop_of_the_kernel_on() {
        let mut request = blank_timex();
        for bits in 0..4 {
            request_status(
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
            assert_eq!(i64::from(request.constant), 37);
        }
    }

    #[test]
    fn units_follow_the_nanosecond_bit() {
        let mut timex = blank_timex();
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
