//! Requests to the drivers of devices, `ioctl(2)`, behind a safe signature.
//!
//! A kernel structure is an array of octets with typed accessors. No structure of the C library is
//! used: their padding and the width of their fields differ by target, and the kernel needs no
//! alignment. The accessors are checked against the offsets of the kernel's headers by tests.
//!
//! A [`Request`] can only be made in this file. Its length is that of the structure which the kernel
//! reads and writes, so that a call cannot leave the array.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use libc::c_void;

/// A kernel structure of `N` octets in the byte order of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Structure<const N: usize>([u8; N]);

impl<const N: usize> Structure<N> {
    pub(crate) const ZERO: Self = Self([0; N]);

    /// Returns the `M` octets at an offset, zeros beyond the end.
    pub(crate) fn octets<const M: usize>(&self, at: usize) -> [u8; M] {
        let rest = self.0.get(at..).unwrap_or_default();
        rest.first_chunk().copied().unwrap_or([0; M])
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.octets(at))
    }

    pub(crate) fn i32(&self, at: usize) -> i32 {
        i32::from_ne_bytes(self.octets(at))
    }

    pub(crate) fn i64(&self, at: usize) -> i64 {
        i64::from_ne_bytes(self.octets(at))
    }

    /// Returns a time as seconds, and nanoseconds in the 32 bits after them, in nanoseconds.
    pub(crate) fn time(&self, at: usize) -> i64 {
        let seconds = self.i64(at).saturating_mul(1_000_000_000);
        seconds.saturating_add(i64::from(self.u32(at.saturating_add(8))))
    }

    pub(crate) fn set_u32(&mut self, at: usize, value: u32) {
        let rest = self.0.get_mut(at..).unwrap_or_default();
        if let Some(octets) = rest.first_chunk_mut() {
            *octets = value.to_ne_bytes();
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

/// A request whose structure has `N` octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<const N: usize> {
    number: libc::Ioctl,
    /// Name in the kernel's headers.
    pub(crate) name: &'static str,
}

// The type of a request of PPS devices is a pointer: `linux/pps.h` gives its length, not that of
// the structure (RFC 2783 section 3.4 leaves it open).
type Pointer = *mut c_void;
const PPS: u32 = b'p' as u32;
const PTP: u32 = b'=' as u32;

/// Declares requests: name, direction, type, number, octets of the structure.
macro_rules! requests {
    ($($name:ident: $code:ident::<$coded:ty>($group:ident, $index:literal), $size:literal;)*) => {
        $(
            pub(crate) const $name: Request<$size> = Request {
                number: libc::$code::<$coded>($group, $index),
                name: stringify!($name),
            };
        )*
    };
}

requests! {
    PPS_GETPARAMS: _IOR::<Pointer>(PPS, 0xa1), 40;
    PPS_SETPARAMS: _IOW::<Pointer>(PPS, 0xa2), 40;
    PPS_GETCAP: _IOR::<Pointer>(PPS, 0xa3), 4;
    // 60 octets on i386 and for its programs on other kernels; the longest is safe everywhere.
    PPS_FETCH: _IOWR::<Pointer>(PPS, 0xa4), 64;
    PTP_CLOCK_GETCAPS: _IOR::<[u8; 80]>(PTP, 1), 80;
    PTP_EXTTS_REQUEST: _IOW::<[u8; 16]>(PTP, 2), 16;
    PTP_SYS_OFFSET: _IOW::<[u8; 832]>(PTP, 5), 832;
    PTP_PIN_GETFUNC: _IOWR::<[u8; 96]>(PTP, 6), 96;
    PTP_PIN_SETFUNC: _IOW::<[u8; 96]>(PTP, 7), 96;
    PTP_SYS_OFFSET_PRECISE: _IOWR::<[u8; 64]>(PTP, 8), 64;
    PTP_SYS_OFFSET_EXTENDED: _IOWR::<[u8; 1216]>(PTP, 9), 1216;
    // Linux 6.7: lets a descriptor read the external time stamps of chosen channels only.
    PTP_MASK_EN_SINGLE: _IOW::<[u8; 4]>(PTP, 20), 4;
}

/// `_IO('=', 19)`, Linux 6.7: lets the descriptor read no external time stamps. It has no structure.
pub(crate) const PTP_MASK_CLEAR_ALL: Request<0> = Request {
    number: libc::_IO(PTP, 19),
    name: "PTP_MASK_CLEAR_ALL",
};

/// Makes a request to the driver of an open file. Repeats it if a signal interrupts it.
///
/// # Errors
/// Those of the driver; `ENOTTY` from a file that is no such device.
pub(crate) fn request<const N: usize>(
    device: impl AsFd,
    request: Request<N>,
    structure: &mut Structure<N>,
) -> io::Result<()> {
    let descriptor = device.as_fd();
    loop {
        // SAFETY: the descriptor is open. The kernel reads and writes at most the structure of the
        // request, which has at most N octets (see the requests above), and the array is
        // exclusively ours during the call.
        let result = unsafe {
            libc::ioctl(
                descriptor.as_raw_fd(),
                request.number,
                structure.bytes_mut().as_mut_ptr().cast::<c_void>(),
            )
        };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number<const N: usize>(request: Request<N>) -> u32 {
        request.number as u32
    }

    /// The numbers that a C program prints on a machine with the usual encoding of requests.
    #[test]
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    ))]
    fn numbers_are_those_of_the_kernel_headers() {
        let pointer = if cfg!(target_pointer_width = "64") {
            8 << 16
        } else {
            4 << 16
        };
        assert_eq!(number(PPS_GETPARAMS), 0x8000_70a1 | pointer);
        assert_eq!(number(PPS_SETPARAMS), 0x4000_70a2 | pointer);
        assert_eq!(number(PPS_GETCAP), 0x8000_70a3 | pointer);
        assert_eq!(number(PPS_FETCH), 0xc000_70a4 | pointer);
        assert_eq!(number(PTP_CLOCK_GETCAPS), 0x8050_3d01);
        assert_eq!(number(PTP_EXTTS_REQUEST), 0x4010_3d02);
        assert_eq!(number(PTP_SYS_OFFSET), 0x4340_3d05);
        assert_eq!(number(PTP_PIN_GETFUNC), 0xc060_3d06);
        assert_eq!(number(PTP_PIN_SETFUNC), 0x4060_3d07);
        assert_eq!(number(PTP_SYS_OFFSET_PRECISE), 0xc040_3d08);
        assert_eq!(number(PTP_SYS_OFFSET_EXTENDED), 0xc4c0_3d09);
        assert_eq!(number(PTP_MASK_CLEAR_ALL), 0x3d13);
        assert_eq!(number(PTP_MASK_EN_SINGLE), 0x4004_3d14);
    }

    #[test]
    fn accessors_stay_inside_the_structure() {
        let mut structure = Structure::<12>::ZERO;
        structure.set_u32(8, 7);
        structure.set_u32(9, u32::MAX);
        assert_eq!(
            (structure.u32(8), structure.u32(9), structure.u32(99)),
            (7, 0, 0)
        );
        assert_eq!(structure.i64(8), 0);
        assert_eq!(structure.time(0), 7);
    }
}
