//! The machine's own addresses, and the hint that they have changed.
//!
//! A time daemon listens to address changes for two reasons: a server socket bound to an address
//! that appears late, and sources that come into reach when a network does. Both are remedied by looking again, so the
//! monitor says no more than "something changed": messages are counted, not parsed, and nothing that
//! another process might send to the socket can mislead anyone.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::address::RawAddress;
use crate::cmsg::ControlBuffer;
use crate::syscall;
use crate::{Facility, Shortcoming};

/// The internet addresses of all interfaces, loopback included, sorted and without duplicates.
///
/// # Errors
/// If the operating system does not tell.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses = syscall::interface_addresses()?;
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Messages read by one [`AddressMonitor::drain`]: more than a real event brings, less than a loop without end.
const MESSAGES_PER_DRAIN: usize = 256;

/// Becomes readable when an interface or an address appears, changes or goes.
#[derive(Debug)]
pub struct AddressMonitor {
    socket: OwnedFd,
}

impl AddressMonitor {
    /// Subscribes to the kernel's announcements (netlink).
    ///
    /// # Errors
    /// The shortcoming to report; addresses are then only noticed by looking.
    pub fn open() -> Result<Self, Shortcoming> {
        const GROUPS: libc::c_int =
            libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let subscribe = || {
            let socket = syscall::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
            syscall::bind(socket.as_fd(), &RawAddress::netlink(GROUPS.cast_unsigned()))?;
            Ok(Self { socket })
        };
        subscribe().map_err(|cause| Shortcoming::new(Facility::AddressChanges, &cause))
    }

    /// Whether anything has been announced since the last look; look at the addresses again then. False also if
    /// the monitor no longer works, for it is optional.
    pub fn changed(&mut self) -> bool {
        self.drain().is_ok()
    }

    /// Forgets the announcements so far. Returns if there were any; look at the addresses again then.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has been announced since the last call. Any other error means that the monitor no longer works.
    pub fn drain(&self) -> io::Result<()> {
        let mut message = [0; 4096];
        let (mut sender, mut control) = (RawAddress::empty(), ControlBuffer::new());
        for count in 0..MESSAGES_PER_DRAIN {
            match syscall::receive(
                self.socket.as_fd(),
                &mut message,
                &mut sender,
                &mut control,
                0,
            ) {
                Ok(_) => {}
                // More was announced than the kernel would keep for us.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for AddressMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for AddressMonitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_local() {
        let addresses = local_addresses().unwrap();
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
        assert!(addresses.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_monitor_never_blocks_and_runs_dry() {
        let monitor = match AddressMonitor::open() {
            Ok(monitor) => monitor,
            Err(shortcoming) => {
                eprintln!("skipped: {shortcoming}");
                return;
            }
        };
        // Others may change addresses while we look, though hardly this often.
        let dry = (0..1000).find_map(|_| monitor.drain().err());
        assert_eq!(
            dry.map(|error| error.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
    }
}
