//! Why an address cannot be listened on, or not any more, although its configuration is right.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use ntp_types::path::{InterfaceName, ListenAddress};

use crate::path::{bind_to_device, bound_device};
use crate::syscall;

/// Returns whether the error of an IPv6 address is that of a kernel without IPv6.
pub fn lacks_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    address.is_ipv6() && error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Returns whether the error of an address is that of a device that does not exist.
pub fn lacks_device(address: ListenAddress, error: &io::Error) -> bool {
    address.device.is_some() && error.raw_os_error() == Some(libc::ENODEV)
}

/// Returns whether a socket that was bound to the device of `address` is no longer bound to what
/// has that name now. One system call as long as it is.
///
/// The kernel binds sockets to the number of a device, not to its name. A device that is removed and
/// made again with the same name has another number, and a device that is renamed keeps its number.
pub fn has_lost_device(socket: BorrowedFd<'_>, address: ListenAddress) -> bool {
    let Some(device) = address.device else {
        return false;
    };
    let is_lost = match bound_device(socket) {
        Ok(name) if name == *device.as_c_bytes() => Ok(false),
        // Renamed, or configured by an alternative name.
        Ok(name) => name_of(device).map(|own| own != name),
        Err(error) => Err(error),
    };
    is_lost.unwrap_or_else(|error| lacks_device(address, &error))
}

/// Returns the name under which the kernel reports `device`, which may be an alternative name.
fn name_of(device: InterfaceName) -> io::Result<[u8; InterfaceName::SIZE]> {
    // Every kernel has IPv4; devices do not depend on the family.
    let socket = syscall::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    bind_to_device(socket.as_fd(), device)?;
    bound_device(socket.as_fd())
}
