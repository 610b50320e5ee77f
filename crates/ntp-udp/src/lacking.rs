//! Why an address cannot be listened on although its configuration is right.

use std::io;
use std::net::SocketAddr;

use ntp_types::path::ListenAddress;

/// Returns whether the error of an IPv6 address is that of a kernel without IPv6.
pub fn lacks_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    address.is_ipv6() && error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Returns whether the error of an address is that of a device that does not exist.
pub fn lacks_device(address: ListenAddress, error: &io::Error) -> bool {
    address.device.is_some() && error.raw_os_error() == Some(libc::ENODEV)
}
