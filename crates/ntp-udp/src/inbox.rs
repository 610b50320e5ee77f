//! Datagrams received in batches, in reused memory.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use ntp_time::RawStamp;

use crate::address::RawAddress;
use crate::ancillary::Ancillary;
use crate::mmsg::Messages;

/// Buffer for received datagrams of up to 1472 bytes each. Allocates only when created.
#[derive(Debug)]
pub struct Inbox {
    messages: Messages,
}

/// A datagram in an [`Inbox`].
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// Its contents.
    pub payload: &'a [u8],
    /// It was longer than the buffer and was truncated.
    pub truncated: bool,
    /// Source address; an IPv4 client of a dual-stack socket by its IPv4 address.
    pub from: SocketAddr,
    /// Time of arrival; `None` if it was not timestamped, and only the caller's own reading is
    /// available.
    pub stamp: Option<RawStamp>,
    /// Local address from which a reply has to be sent; `None` if it is not known, or if no reply
    /// can be sent from it (multicast).
    pub own: Option<IpAddr>,
    /// Index of the interface at which it arrived.
    pub interface: Option<u32>,
    /// Number of datagrams that the kernel had dropped at this socket when this one arrived, modulo
    /// 2^32; `None` before the first.
    pub dropped: Option<u32>,
    pub(crate) sender: &'a RawAddress,
}

impl Inbox {
    /// Creates a buffer for `capacity` datagrams, at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            messages: Messages::new(capacity),
        }
    }

    /// Number of datagrams that fit.
    pub fn capacity(&self) -> usize {
        self.messages.capacity()
    }

    /// Returns the `index`th datagram of the last batch. `None` beyond them, and for one without an
    /// internet address, which is how the end of receiving appears.
    pub fn get(&self, index: usize) -> Option<Arrival<'_>> {
        let incoming = self.messages.incoming(index)?;
        let from = incoming.address.to_socket_addr()?;
        let ancillary = Ancillary::of(incoming.control);
        Some(Arrival {
            payload: incoming.payload,
            truncated: incoming.truncated,
            from,
            stamp: ancillary.stamp(),
            own: ancillary.own,
            interface: ancillary.interface,
            dropped: ancillary.dropped,
            sender: incoming.address,
        })
    }

    /// Uses single calls, as on a system without batch calls.
    #[cfg(test)]
    pub(crate) fn with_single_calls(mut self) -> Self {
        self.messages.force_single_calls();
        self
    }

    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, wait: bool) -> io::Result<usize> {
        self.messages.receive(socket, wait)
    }
}
