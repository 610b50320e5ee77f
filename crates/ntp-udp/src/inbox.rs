//! Datagrams received together, in memory that is used again and again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use ntp_time::Stamp;

use crate::address::RawAddress;
use crate::ancillary::Ancillary;
use crate::mmsg::Messages;

/// Room for datagrams of up to 1472 bytes each. Nothing is allocated after it was made.
#[derive(Debug)]
pub struct Inbox {
    messages: Messages,
}

/// A datagram in an [`Inbox`].
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// Its contents.
    pub payload: &'a [u8],
    /// It was longer than the room, and its end is lost.
    pub truncated: bool,
    /// Where it came from, an IPv4 client of a dual-stack socket by its IPv4 address.
    pub from: SocketAddr,
    /// When it arrived; `None` if nobody stamped it, and the caller has only its own reading.
    pub stamp: Option<Stamp>,
    /// Our address, from which an answer has to leave; `None` if it is not known, or no answer can leave
    /// from it (multicast).
    pub own: Option<IpAddr>,
    /// The index of the interface at which it arrived.
    pub interface: Option<u32>,
    pub(crate) sender: &'a RawAddress,
}

impl Inbox {
    /// Room for `capacity` datagrams, at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            messages: Messages::new(capacity),
        }
    }

    /// How many datagrams fit.
    pub fn capacity(&self) -> usize {
        self.messages.capacity()
    }

    /// The `index`th of the datagrams received last. `None` beyond them, and for one without an address of the internet's, which is
    /// how the end of receiving shows up.
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
            sender: incoming.address,
        })
    }

    /// As on a system without the calls for many messages.
    #[cfg(test)]
    pub(crate) fn one_by_one(mut self) -> Self {
        self.messages.pretend_one_by_one();
        self
    }

    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, wait: bool) -> io::Result<usize> {
        self.messages.receive(socket, wait)
    }
}
