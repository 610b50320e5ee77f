//! The machine's own addresses, and notification of their changes.
//!
//! A time daemon monitors address changes for two reasons: a server socket bound to an address that
//! appears late, and sources that become reachable when a network does. For both it has to read the
//! addresses again, so the monitor only reports that something changed: messages are counted, not
//! parsed, and nothing that another process might send to the socket can mislead the daemon.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::address::RawAddress;
use crate::cmsg::ControlBuffer;
use crate::syscall;
use crate::{Facility, Shortcoming};

/// Returns the internet addresses of all interfaces, loopback included, sorted and without
/// duplicates.
///
/// # Errors
/// Those of `getifaddrs(3)`.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses = syscall::interface_addresses()?;
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Messages read by one [`AddressMonitor::drain`]: more than a real change brings, and a bound for
/// the loop.
const MESSAGES_PER_DRAIN: usize = 256;

/// Becomes readable when an interface or an address appears, changes or disappears.
#[derive(Debug)]
pub struct AddressMonitor {
    socket: OwnedFd,
}

impl AddressMonitor {
    /// Subscribes to the kernel's notifications (netlink).
    ///
    /// # Errors
    /// The shortcoming to report; changes are then only noticed at regular checks.
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

    /// Returns whether there was a notification since the last call; read the addresses again then.
    /// False also if the monitor no longer works, for it is optional.
    pub fn changed(&mut self) -> bool {
        self.drain().is_ok()
    }

    /// Discards the notifications so far. Returns if there were any; read the addresses again then.
    ///
    /// # Errors
    /// `WouldBlock` if there was none since the last call. Any other error means that the monitor
    /// no longer works.
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
                // More notifications than the kernel's buffer holds.
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
    fn draining_the_monitor_never_blocks() {
        let monitor = match AddressMonitor::open() {
            Ok(monitor) => monitor,
            Err(shortcoming) => {
                eprintln!("skipped: {shortcoming}");
                return;
            }
        };
        // Other processes may change addresses meanwhile, though hardly this often.
        let dry = (0..1000).find_map(|_| monitor.drain().err());
        assert_eq!(
            dry.map(|error| error.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
    }
}
