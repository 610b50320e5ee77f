//! Enabling packet timestamps of the kernel.
//!
//! # Fallbacks
//! The newest and best option is tried first; each option that the kernel refuses leads to the next
//! one and to one shortcoming:
//!
//! | option | receive | transmit |
//! |---|---|---|
//! | `SO_TIMESTAMPING` with hardware (if requested) | kernel, ns; the interface's are not used yet | the same |
//! | `SO_TIMESTAMPING` | kernel, ns | kernel, ns |
//! | `SO_TIMESTAMPING`, receive only | kernel, ns | - |
//! | `SO_TIMESTAMPNS` | kernel, ns | - |
//! | `SO_TIMESTAMP` | kernel, us | - |
//! | none | - | - |
//!
//! Transmit timestamps are returned through the socket's error queue. `OPT_ID` numbers them,
//! `OPT_TSONLY` omits the packet itself (which also needs no privilege where the administrator has
//! forbidden the rest), `OPT_CMSG` adds address information.
//!
//! # The guard socket
//! The kernel takes receive timestamps only while some socket has enabled them, and it enables them
//! lazily, from a work queue. On a machine where no other socket does, the first reply on a new
//! socket can arrive before that and lack a timestamp. One idle socket that enables timestamps and
//! lives as long as the process keeps them on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::syscall;
use crate::{Facility, Shortcoming, SocketOptions, TimestampMode};

/// Options whose times have 64 bits, also as the type of their control messages (`SCM_*`).
#[cfg(target_pointer_width = "64")]
pub(crate) use libc::{SO_TIMESTAMP, SO_TIMESTAMPING, SO_TIMESTAMPNS};

/// 32-bit kernels have them since Linux 5.1 (`SO_TIMESTAMP_NEW` etc., asm-generic/socket.h); the times
/// of the older options end in 2038.
#[cfg(target_pointer_width = "32")]
mod time64 {
    pub(crate) const SO_TIMESTAMP: libc::c_int = 63;
    pub(crate) const SO_TIMESTAMPNS: libc::c_int = 64;
    pub(crate) const SO_TIMESTAMPING: libc::c_int = 65;
}
#[cfg(target_pointer_width = "32")]
pub(crate) use time64::{SO_TIMESTAMP, SO_TIMESTAMPING, SO_TIMESTAMPNS};

const RECEIVE: u32 = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
const BY_REQUEST: u32 = RECEIVE | libc::SOF_TIMESTAMPING_OPT_ID | libc::SOF_TIMESTAMPING_OPT_TSONLY;
const BOTH: u32 = RECEIVE
    | libc::SOF_TIMESTAMPING_TX_SOFTWARE
    | libc::SOF_TIMESTAMPING_OPT_ID
    | libc::SOF_TIMESTAMPING_OPT_TSONLY
    | libc::SOF_TIMESTAMPING_OPT_CMSG;
const HARDWARE: u32 = BOTH
    | libc::SOF_TIMESTAMPING_RX_HARDWARE
    | libc::SOF_TIMESTAMPING_TX_HARDWARE
    | libc::SOF_TIMESTAMPING_RAW_HARDWARE;

/// Enables timestamping as far as `mode` requests and the system supports it. Returns whether
/// transmissions are timestamped.
pub(crate) fn enable(
    socket: BorrowedFd<'_>,
    mode: TimestampMode,
    missing: &mut Vec<Shortcoming>,
) -> bool {
    let hardware = mode == TimestampMode::Hardware;
    let choices = [
        (hardware, HARDWARE, Facility::HardwareStamps),
        (mode.wants_transmit(), BOTH, Facility::TransmitStamps),
    ];
    enable_first(socket, mode, &choices, missing)
}

/// For sockets on which transmit timestamps are requested for each datagram: enables receive
/// timestamps as far as the system supports them, and the numbering of transmit timestamps. Returns
/// whether these can be requested.
pub(crate) fn enable_by_request(
    socket: BorrowedFd<'_>,
    mode: TimestampMode,
    missing: &mut Vec<Shortcoming>,
) -> bool {
    let choices = [(mode.wants_transmit(), BY_REQUEST, Facility::TransmitStamps)];
    enable_first(socket, mode, &choices, missing)
}

/// Enables the first choice that is wanted and supported: whether it is wanted, its flags, and what
/// is missing without it. Without any, enables receive timestamps and returns false.
fn enable_first(
    socket: BorrowedFd<'_>,
    mode: TimestampMode,
    choices: &[(bool, u32, Facility)],
    missing: &mut Vec<Shortcoming>,
) -> bool {
    if mode == TimestampMode::Software {
        return false;
    }
    for (_, flags, facility) in choices.iter().filter(|(wanted, ..)| *wanted) {
        match timestamping(socket, *flags) {
            Ok(()) => return true,
            Err(cause) => missing.push(Shortcoming::new(*facility, &cause)),
        }
    }
    missing.extend(enable_receive(socket).err());
    false
}

/// After [`enable_by_request`]: restarts the numbering of timestamped datagrams at 0.
pub(crate) fn restart_numbers(socket: BorrowedFd<'_>) -> io::Result<()> {
    timestamping(socket, RECEIVE)?;
    timestamping(socket, BY_REQUEST)
}

/// The fallbacks for received datagrams.
fn enable_receive(socket: BorrowedFd<'_>) -> Result<(), Shortcoming> {
    if timestamping(socket, RECEIVE).is_ok() {
        return Ok(());
    }
    let Err(no_nanoseconds) = switch_on(socket, SO_TIMESTAMPNS) else {
        return Ok(());
    };
    match switch_on(socket, SO_TIMESTAMP) {
        Ok(()) => Err(Shortcoming::new(
            Facility::NanosecondStamps,
            &no_nanoseconds,
        )),
        Err(cause) => Err(Shortcoming::new(Facility::ReceiveStamps, &cause)),
    }
}

fn timestamping(socket: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    syscall::set_option(
        socket,
        libc::SOL_SOCKET,
        SO_TIMESTAMPING,
        flags.cast_signed(),
    )
}

fn switch_on(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    syscall::set_option(socket, libc::SOL_SOCKET, option, 1)
}

/// An idle socket that keeps the kernel's receive timestamping enabled while it lives.
///
/// It is not bound to a port: nothing can be sent to it.
#[derive(Debug)]
pub struct TimestampingGuard {
    _socket: Option<OwnedFd>,
}

impl TimestampingGuard {
    /// Opens the socket; opens none if `options` need no timestamps of the kernel.
    ///
    /// # Errors
    /// The shortcoming to report; everything else works without the guard.
    pub fn open(options: &SocketOptions) -> Result<Self, Shortcoming> {
        if options.timestamps == TimestampMode::Software {
            return Ok(Self { _socket: None });
        }
        let open = |family| syscall::socket(family, libc::SOCK_DGRAM, 0);
        let socket = open(libc::AF_INET)
            .or_else(|_| open(libc::AF_INET6))
            .map_err(|cause| Shortcoming::new(Facility::PermanentStamping, &cause))?;
        match enable_receive(socket.as_fd()) {
            // Coarse timestamps enable the same mechanism.
            Ok(())
            | Err(Shortcoming {
                facility: Facility::NanosecondStamps,
                ..
            }) => Ok(Self {
                _socket: Some(socket),
            }),
            Err(Shortcoming { error, .. }) => Err(Shortcoming {
                facility: Facility::PermanentStamping,
                error,
            }),
        }
    }
}
