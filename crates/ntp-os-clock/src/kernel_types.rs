//! Structures that the kernel's clock functions read and write.
//!
//! Those of the C library differ by target: `long`, `time_t` and `suseconds_t` have several widths,
//! and where `time_t` became wider the structures have padding without a name. The kernel has one
//! layout for all targets (`__kernel_timespec`, `__kernel_timex`; linux/time_types.h, linux/timex.h).
//! It is that of the C library on 64-bit targets; 32-bit kernels take it in calls of their own
//! (Linux 5.1). Times therefore have 64 bits everywhere, whatever the width of `time_t`.

use core::mem::offset_of;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Seconds and nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timespec {
    seconds: i64,
    nanos: i64,
}

impl Timespec {
    pub(crate) const fn as_nanos(self) -> i64 {
        self.seconds
            .saturating_mul(NANOS_PER_SECOND)
            .saturating_add(self.nanos)
    }
}

/// Seconds, and microseconds or (with `STA_NANO`, `ADJ_NANO`) nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelTime {
    pub(crate) tv_sec: i64,
    pub(crate) tv_usec: i64,
}

/// State of `CLOCK_REALTIME` and requests to change it (`adjtimex(2)`). The default changes nothing:
/// all fields zero, `modes` too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timex {
    pub(crate) modes: u32,
    padding_before_offset: u32,
    pub(crate) offset: i64,
    pub(crate) freq: i64,
    pub(crate) maxerror: i64,
    pub(crate) esterror: i64,
    pub(crate) status: i32,
    padding_before_constant: u32,
    pub(crate) constant: i64,
    precision: i64,
    tolerance: i64,
    pub(crate) time: KernelTime,
    pub(crate) tick: i64,
    ppsfreq: i64,
    jitter: i64,
    shift: i32,
    padding_before_stabil: u32,
    stabil: i64,
    jitcnt: i64,
    calcnt: i64,
    errcnt: i64,
    stbcnt: i64,
    pub(crate) tai: i32,
    reserved: [u32; 11],
}

// Sizes and offsets of the kernel's headers: a wrong one would change the clock in a wrong way.
const _: () = assert!(size_of::<Timespec>() == 16);
const _: () = assert!(size_of::<Timex>() == 208);
const _: () = assert!(offset_of!(Timex, offset) == 8 && offset_of!(Timex, freq) == 16);
const _: () = assert!(offset_of!(Timex, maxerror) == 24 && offset_of!(Timex, esterror) == 32);
const _: () = assert!(offset_of!(Timex, status) == 40 && offset_of!(Timex, constant) == 48);
const _: () = assert!(offset_of!(Timex, time) == 72 && offset_of!(Timex, tick) == 88);
const _: () = assert!(offset_of!(Timex, stabil) == 120 && offset_of!(Timex, tai) == 160);

#[cfg(test)]
mod tests {
    use super::*;

    /// There the C library's functions take the kernel's structures.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn layouts_are_those_of_the_c_library_with_64_bits() {
        macro_rules! same {
            ($type:ty: $($field:ident)*) => {
                $(assert_eq!(offset_of!(Timex, $field), offset_of!($type, $field));)*
            };
        }
        same!(libc::timex: modes offset freq maxerror esterror status constant time tick tai);
        assert_eq!(size_of::<Timex>(), size_of::<libc::timex>());
        assert_eq!(size_of::<Timespec>(), size_of::<libc::timespec>());
        assert_eq!(
            offset_of!(Timespec, nanos),
            offset_of!(libc::timespec, tv_nsec)
        );
    }

    #[test]
    fn times_after_2038_are_read() {
        let time = Timespec {
            seconds: 1 << 31,
            nanos: 5,
        };
        assert_eq!(time.as_nanos(), (1 << 31) * NANOS_PER_SECOND + 5);
    }
}
