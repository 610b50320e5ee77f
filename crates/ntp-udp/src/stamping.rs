//! Making the kernel stamp packets.
//!
//! # The ladder
//! The newest and best option is tried first; whatever the kernel refuses costs one rung and one named
//! shortcoming:
//!
//! | rung | receive | transmit |
//! |---|---|---|
//! | `SO_TIMESTAMPING` with hardware (if asked for) | interface, else kernel | interface, else kernel |
//! | `SO_TIMESTAMPING` | kernel, ns | kernel, ns |
//! | `SO_TIMESTAMPING`, receive only | kernel, ns | - |
//! | `SO_TIMESTAMPNS` | kernel, ns | - |
//! | `SO_TIMESTAMP` | kernel, us | - |
//! | nothing | - | - |
//!
//! Transmit stamps come back through the socket's error queue. `OPT_ID` numbers them, `OPT_TSONLY` leaves
//! the packet itself out (which also needs no privilege where the administrator has forbidden the rest), `OPT_CMSG`
//! adds address information.
//!
//! # The keeper
//! The kernel takes receive stamps only while some socket wants them, and switches that on lazily, from a work queue.
//! On a machine
//! where no other socket asks, the first reply of a fresh socket can arrive before the switch and go unstamped.
//! One idle socket that wants stamps and lives as long as the process keeps the switch on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::syscall;
use crate::{Facility, Shortcoming, SocketOptions, TimestampMode};

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

/// Switches stamping on as far as `mode` asks and the system allows. Returns whether transmissions are stamped.
pub(crate) fn enable(
    socket: BorrowedFd<'_>,
    mode: TimestampMode,
    missing: &mut Vec<Shortcoming>,
) -> bool {
    if mode == TimestampMode::Software {
        return false;
    }
    if mode == TimestampMode::Hardware {
        match timestamping(socket, HARDWARE) {
            Ok(()) => return true,
            Err(cause) => missing.push(Shortcoming::new(Facility::HardwareStamps, &cause)),
        }
    }
    if mode.wants_transmit() {
        match timestamping(socket, BOTH) {
            Ok(()) => return true,
            Err(cause) => missing.push(Shortcoming::new(Facility::TransmitStamps, &cause)),
        }
    }
    missing.extend(enable_receive(socket).err());
    false
}

/// For sockets on which stamps of departing packets are asked for one by one: receive stamps as far as the
/// system allows, and the numbering of transmit stamps. Returns whether these can be asked for.
pub(crate) fn enable_by_request(
    socket: BorrowedFd<'_>,
    mode: TimestampMode,
    missing: &mut Vec<Shortcoming>,
) -> bool {
    if mode == TimestampMode::Software {
        return false;
    }
    if mode.wants_transmit() {
        match timestamping(socket, BY_REQUEST) {
            Ok(()) => return true,
            Err(cause) => missing.push(Shortcoming::new(Facility::TransmitStamps, &cause)),
        }
    }
    missing.extend(enable_receive(socket).err());
    false
}

/// After [`enable_by_request`]: the next stamped datagram is number 0 again.
pub(crate) fn restart_numbers(socket: BorrowedFd<'_>) -> io::Result<()> {
    timestamping(socket, RECEIVE)?;
    timestamping(socket, BY_REQUEST)
}

/// The lower half of the ladder.
fn enable_receive(socket: BorrowedFd<'_>) -> Result<(), Shortcoming> {
    if timestamping(socket, RECEIVE).is_ok() {
        return Ok(());
    }
    let Err(no_nanoseconds) = switch_on(socket, libc::SO_TIMESTAMPNS) else {
        return Ok(());
    };
    match switch_on(socket, libc::SO_TIMESTAMP) {
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
        libc::SO_TIMESTAMPING,
        flags.cast_signed(),
    )
}

fn switch_on(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    syscall::set_option(socket, libc::SOL_SOCKET, option, 1)
}

/// An idle socket that keeps the kernel's receive stamping switched on while it lives.
///
/// It has no port: nothing can be sent to it.
#[derive(Debug)]
pub struct StampKeeper {
    _socket: Option<OwnedFd>,
}

impl StampKeeper {
    /// Opens the keeper; one without a socket if `options` want no stamps of the kernel.
    ///
    /// # Errors
    /// The shortcoming to report; everything else works without a keeper.
    pub fn open(options: &SocketOptions) -> Result<Self, Shortcoming> {
        if options.timestamps == TimestampMode::Software {
            return Ok(Self { _socket: None });
        }
        let open = |family| syscall::socket(family, libc::SOCK_DGRAM, 0);
        let socket = open(libc::AF_INET)
            .or_else(|_| open(libc::AF_INET6))
            .map_err(|cause| Shortcoming::new(Facility::PermanentStamping, &cause))?;
        match enable_receive(socket.as_fd()) {
            // Coarse stamps keep the same switch on.
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
