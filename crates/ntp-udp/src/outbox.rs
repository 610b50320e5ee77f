//! Datagrams sent in batches, each from a chosen source address, and timestamped by the kernel on
//! request.
//!
//! # Transmit timestamps on request
//! A timestamp costs the kernel a copy of the datagram and us a read of the error queue, so it is
//! requested for each datagram separately, with a control message (`SO_TIMESTAMPING` in `sendmsg`).
//! The kernel numbers the timestamped ones of a socket (`OPT_ID`), beginning at 0; we count along
//! and keep the caller's token for the last [`REMEMBERED`] of them. A timestamped datagram that
//! could not be sent may or may not have used a number: then the socket's numbering is restarted,
//! and pending timestamps are discarded.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use ntp_time::RawStamp;

use crate::address::RawAddress;
use crate::ancillary::{Ancillary, Report};
use crate::cmsg::ControlBuffer;
use crate::inbox::Arrival;
use crate::mmsg::Messages;
use crate::{stamping, syscall};

/// Number of timestamps that may be pending at once; a power of two.
const REMEMBERED: usize = 256;

/// Buffer for datagrams of up to 1472 bytes each, all for one socket. Allocates only when created.
/// `T` identifies those whose timestamp is requested.
#[derive(Debug)]
pub struct Outbox<T = ()> {
    messages: Messages,
    filled: usize,
    /// Which of the queued datagrams request a timestamp, and their tokens.
    tokens: Box<[Option<T>]>,
    /// Number that the kernel gives to the next timestamped datagram.
    next_number: u32,
    /// Tokens by number.
    remembered: Box<[Option<T>; REMEMBERED]>,
}

/// Result of sending an [`Outbox`].
#[derive(Debug, Default)]
pub struct Sent {
    /// Number of datagrams sent.
    pub sent: usize,
    /// Number of datagrams that failed.
    pub failed: usize,
    /// Error of the first that failed.
    pub error: Option<io::Error>,
}

impl<T: Copy> Outbox<T> {
    /// Creates a buffer for `capacity` datagrams, at least one.
    pub fn new(capacity: usize) -> Self {
        let messages = Messages::new(capacity);
        Self {
            tokens: vec![None; messages.capacity()].into_boxed_slice(),
            messages,
            filled: 0,
            next_number: 0,
            remembered: Box::new([None; REMEMBERED]),
        }
    }

    /// Number of queued datagrams.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Returns whether no datagram is queued.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Returns whether the buffer is full.
    pub fn is_full(&self) -> bool {
        self.filled == self.messages.capacity()
    }

    /// Adds an empty reply to `arrival`, to be sent from that one's destination address;
    /// [`write`](Self::write) must set its contents. Its index is [`len`](Self::len) before the
    /// call. Returns false, without a change, if the buffer is full.
    pub fn reply(&mut self, arrival: &Arrival<'_>) -> bool {
        // A link-local address needs its link; others follow the routing table.
        let link = match arrival.from.ip() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => arrival.interface,
            _ => None,
        };
        self.add(arrival.sender, arrival.own, link.unwrap_or(0))
    }

    /// Adds an empty datagram for `to` with the source address `source`, or one of the system's
    /// choice. Both must be of the socket's family. Otherwise like [`reply`](Self::reply).
    pub fn push(&mut self, to: SocketAddr, source: Option<IpAddr>) -> bool {
        self.add(&to.into(), source, 0)
    }

    /// Sets the contents of the datagram at `index`. With a `token`, its timestamp is requested.
    /// Returns false, without a change, if there is no such datagram, or the contents are too long.
    pub fn write(&mut self, index: usize, payload: &[u8], token: Option<T>) -> bool {
        if index >= self.filled || !self.messages.set_payload(index, payload) {
            return false;
        }
        // Requested once, however often the contents change.
        if token.is_some() && self.tokens[index].is_none() {
            let what = libc::SOF_TIMESTAMPING_TX_SOFTWARE.to_ne_bytes();
            let (level, kind) = (libc::SOL_SOCKET, stamping::SO_TIMESTAMPING);
            self.messages.push_control(index, level, kind, &what);
        }
        self.tokens[index] = token.or(self.tokens[index]);
        true
    }

    fn add(&mut self, to: &RawAddress, source: Option<IpAddr>, link: u32) -> bool {
        let index = self.filled;
        let ready = self.messages.set_address(index, to)
            && source.is_none_or(|source| self.set_source(index, to, source, link));
        if ready {
            self.tokens[index] = None;
            self.filled += 1;
        }
        ready
    }

    /// Sets the source address, in the socket's family, which is that of the destination.
    fn set_source(&mut self, index: usize, to: &RawAddress, source: IpAddr, link: u32) -> bool {
        if to.is_ipv6() {
            let mut info = [0; 20];
            let source = match source {
                IpAddr::V4(source) => source.to_ipv6_mapped(),
                IpAddr::V6(source) => source,
            };
            info[..16].copy_from_slice(&source.octets());
            info[16..].copy_from_slice(&link.to_ne_bytes());
            let (level, kind) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
            return self.messages.push_control(index, level, kind, &info);
        }
        let IpAddr::V4(source) = source.to_canonical() else {
            return false;
        };
        // Interface, source address, and one that is ignored when sending.
        let mut info = [0; 12];
        info[..4].copy_from_slice(&link.to_ne_bytes());
        info[4..8].copy_from_slice(&source.octets());
        let (level, kind) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
        self.messages.push_control(index, level, kind, &info)
    }

    /// Uses single calls, as on a system without batch calls.
    #[cfg(test)]
    pub(crate) fn with_single_calls(mut self) -> Self {
        self.messages.force_single_calls();
        self
    }

    /// Sends all queued datagrams without blocking, and empties the buffer. What cannot be sent is
    /// skipped.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) -> Sent {
        let mut sent = Sent::default();
        let mut next = 0;
        let mut lost_count = false;
        while next < self.filled {
            match self.messages.send(socket, next, self.filled) {
                Ok(count) => {
                    let end = (next + count).min(self.filled);
                    for index in next..end {
                        if let Some(token) = self.tokens[index] {
                            self.remembered[self.next_number as usize % REMEMBERED] = Some(token);
                            self.next_number = self.next_number.wrapping_add(1);
                        }
                    }
                    sent.sent += end - next;
                    next = end;
                }
                Err(error) => {
                    lost_count |= self.tokens[next].is_some();
                    // If the send buffer is full now, it is for the rest too.
                    let skipped = if error.kind() == io::ErrorKind::WouldBlock {
                        self.filled - next
                    } else {
                        1
                    };
                    sent.failed += skipped;
                    next += skipped;
                    sent.error.get_or_insert(error);
                }
            }
        }
        self.filled = 0;
        if lost_count {
            self.restart_numbering(socket);
        }
        sent
    }

    fn restart_numbering(&mut self, socket: BorrowedFd<'_>) {
        self.transmit_stamps(socket, |_, _| {});
        self.next_number = 0;
        self.remembered.fill(None);
        // If it fails, no token will be found, and the caller gets no timestamps.
        let _ = stamping::restart_numbers(socket);
    }

    /// Takes the timestamps that have arrived, each with the token of its request.
    pub(crate) fn transmit_stamps(
        &mut self,
        socket: BorrowedFd<'_>,
        mut take: impl FnMut(T, RawStamp),
    ) {
        // The datagram itself is not returned (`OPT_TSONLY`).
        let mut nothing = [0; 64];
        let (mut sender, mut control) = (RawAddress::empty(), ControlBuffer::new());
        // Only our own datagrams fill the queue, no faster than this empties it.
        for _ in 0..REMEMBERED {
            let read = syscall::receive(
                socket,
                &mut nothing,
                &mut sender,
                &mut control,
                libc::MSG_ERRQUEUE,
            );
            if read.is_err() {
                break;
            }
            let ancillary = Ancillary::of(&control);
            // 0 is the transmission; others are queues and acknowledgements.
            if let (Some(report @ Report { info: 0, .. }), Some(stamp)) =
                (ancillary.report, ancillary.stamp())
                && report.is_stamp()
                && self.next_number.wrapping_sub(report.number) as usize <= REMEMBERED
                && let Some(token) = self.remembered[report.number as usize % REMEMBERED].take()
            {
                take(token, stamp);
            }
        }
    }
}
