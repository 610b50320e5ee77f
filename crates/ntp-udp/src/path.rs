//! The path of a socket: device, local address and traffic class.
//!
//! # Device
//! `SO_BINDTODEVICE` restricts a socket to an interface or to the interfaces of a VRF, whose routes
//! it then uses. From Linux 5.7 on, no capability is needed; before that, CAP_NET_RAW is.
//!
//! # Traffic class
//! The code point occupies the upper six bits of `IP_TOS` and `IPV6_TCLASS`. The lower two bits are
//! those of ECN (RFC 3168 section 5): they stay zero, which is right for UDP, and the kernel keeps
//! its own for TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use ntp_types::path::{InterfaceName, NetworkPath};

use crate::syscall;

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The device does not exist (`ENODEV`), or may not be used (`EPERM`).
    #[error("bind-device {0}: {1}")]
    Device(InterfaceName, io::Error),
    /// The machine does not have the address (`EADDRNOTAVAIL`), or it is of the other family
    /// (`EAFNOSUPPORT`).
    #[error("bind-address {0}: {1}")]
    Address(IpAddr, io::Error),
    /// Another error.
    #[error(transparent)]
    Other(#[from] io::Error),
}

impl From<PathError> for io::Error {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Device(_, error)
            | PathError::Address(_, error)
            | PathError::Other(error) => error,
        }
    }
}

/// Restricts an unconnected socket of the family of `remote` to `path`.
///
/// # Errors
/// If the operating system refuses a part of it.
pub fn choose_path(
    socket: BorrowedFd<'_>,
    remote: SocketAddr,
    path: &NetworkPath,
) -> Result<(), PathError> {
    if let Some(device) = path.device {
        bind_to_device(socket, device)?;
    }
    set_dscp(socket, remote, path.dscp)?;
    if let Some(address) = path.address {
        let own = SocketAddr::new(address, 0);
        let bound = if own.is_ipv4() == remote.is_ipv4() {
            syscall::bind(socket, &own.into())
        } else {
            Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
        };
        bound.map_err(|error| PathError::Address(address, error))?;
    }
    Ok(())
}

/// Restricts a socket to a network interface or a VRF.
pub(crate) fn bind_to_device(
    socket: BorrowedFd<'_>,
    device: InterfaceName,
) -> Result<(), PathError> {
    let name = device.as_c_bytes();
    syscall::set_option_bytes(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name)
        .map_err(|error| PathError::Device(device, error))
}

/// Returns the present name of the device to which a socket is bound, with zeros at the end.
///
/// # Errors
/// `ENODEV` if the device has been removed.
pub(crate) fn bound_device(socket: BorrowedFd<'_>) -> io::Result<[u8; InterfaceName::SIZE]> {
    syscall::option_bytes(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE)
}

/// Sets the code point of sent packets. A socket of IPv6 may send IPv4, too.
pub(crate) fn set_dscp(socket: BorrowedFd<'_>, family: SocketAddr, dscp: u8) -> io::Result<()> {
    if dscp == 0 {
        return Ok(());
    }
    let octet = i32::from(dscp) << 2;
    if family.is_ipv6() {
        syscall::set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, octet)?;
    }
    syscall::set_option(socket, libc::IPPROTO_IP, libc::IP_TOS, octet)
}
