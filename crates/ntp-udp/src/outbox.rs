//! Datagrams sent together, each from the address of our choice, and stamped by the kernel if that is asked for.
//!
//! # Transmit stamps by request
//! A stamp costs the kernel a copy of the datagram and us a look into the error queue, so it is asked for datagram by
//! datagram, with a control message (`SO_TIMESTAMPING` in `sendmsg`). The kernel numbers the stamped ones of a socket
//! (`OPT_ID`), beginning at 0; we count along and keep the caller's token for the last [`REMEMBERED`] of them. A stamped datagram that could not be
//! sent may or may not have used a number: then the socket's numbering is begun anew, and what is still on its way is forgotten.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use ntp_time::Stamp;

use crate::address::RawAddress;
use crate::ancillary::{Ancillary, Report};
use crate::cmsg::ControlBuffer;
use crate::inbox::Arrival;
use crate::mmsg::Messages;
use crate::{stamping, syscall};

/// Stamps that may be on their way at once; a power of two.
const REMEMBERED: usize = 256;

/// Room for datagrams of up to 1472 bytes each, all for one socket. Nothing is allocated after it was made. `T` names
/// those whose stamp is wanted.
#[derive(Debug)]
pub struct Outbox<T = ()> {
    messages: Messages,
    filled: usize,
    /// Which of the waiting datagrams ask for a stamp, and in whose name.
    tokens: Box<[Option<T>]>,
    /// The number that the kernel gives to the next stamped datagram.
    next_number: u32,
    /// Tokens by number.
    remembered: Box<[Option<T>; REMEMBERED]>,
}

/// What became of the datagrams of an [`Outbox`].
#[derive(Debug, Default)]
pub struct Sent {
    /// Datagrams that left.
    pub sent: usize,
    /// Datagrams that did not.
    pub failed: usize,
    /// Why the first of those did not.
    pub error: Option<io::Error>,
}

impl<T: Copy> Outbox<T> {
    /// Room for `capacity` datagrams, at least one.
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

    /// How many datagrams wait.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Whether no more would fit.
    pub fn is_full(&self) -> bool {
        self.filled == self.messages.capacity()
    }

    /// Adds an empty answer to `arrival`, which will leave from the address that it came to; [`write`](Self::write) is to give
    /// it its contents. Its place is [`len`](Self::len) before the call. False, and no change, if there is no room.
    pub fn reply(&mut self, arrival: &Arrival<'_>) -> bool {
        // An address that means something on one link only needs that link; others take the way that the routes say.
        let link = match arrival.from.ip() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => arrival.interface,
            _ => None,
        };
        self.add(arrival.sender, arrival.own, link.unwrap_or(0))
    }

    /// Adds an empty datagram for `to` that leaves from `source`, or from the address of the system's choice. Both must be of
    /// the socket's family. Else as [`reply`](Self::reply).
    pub fn push(&mut self, to: SocketAddr, source: Option<IpAddr>) -> bool {
        self.add(&to.into(), source, 0)
    }

    /// Gives the datagram at `place` its contents. With a `token`, its stamp is asked for. False, and no change, if there is
    /// no such datagram, or the contents are too long.
    pub fn write(&mut self, place: usize, payload: &[u8], token: Option<T>) -> bool {
        if place >= self.filled || !self.messages.fill(place, payload) {
            return false;
        }
        // Asked for once, however often the contents change.
        if token.is_some() && self.tokens[place].is_none() {
            let what = libc::SOF_TIMESTAMPING_TX_SOFTWARE.to_ne_bytes();
            let (level, kind) = (libc::SOL_SOCKET, libc::SO_TIMESTAMPING);
            self.messages.control(place, level, kind, &what);
        }
        self.tokens[place] = token.or(self.tokens[place]);
        true
    }

    fn add(&mut self, to: &RawAddress, source: Option<IpAddr>, link: u32) -> bool {
        let place = self.filled;
        let ready = self.messages.address(place, to)
            && source.is_none_or(|source| self.leave_from(place, to, source, link));
        if ready {
            self.tokens[place] = None;
            self.filled += 1;
        }
        ready
    }

    /// The address to leave from, in the words of the socket's family, which is that of the address it goes to.
    fn leave_from(&mut self, place: usize, to: &RawAddress, source: IpAddr, link: u32) -> bool {
        if to.is_ipv6() {
            let mut info = [0; 20];
            let source = match source {
                IpAddr::V4(source) => source.to_ipv6_mapped(),
                IpAddr::V6(source) => source,
            };
            info[..16].copy_from_slice(&source.octets());
            info[16..].copy_from_slice(&link.to_ne_bytes());
            let (level, kind) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
            return self.messages.control(place, level, kind, &info);
        }
        let IpAddr::V4(source) = source.to_canonical() else {
            return false;
        };
        // Interface, address to leave from, and one that is of no meaning when sending.
        let mut info = [0; 12];
        info[..4].copy_from_slice(&link.to_ne_bytes());
        info[4..8].copy_from_slice(&source.octets());
        let (level, kind) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
        self.messages.control(place, level, kind, &info)
    }

    /// As on a system without the calls for many messages.
    #[cfg(test)]
    pub(crate) fn one_by_one(mut self) -> Self {
        self.messages.pretend_one_by_one();
        self
    }

    /// Sends all that wait, without waiting, and is empty afterwards. What cannot be sent is skipped.
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
                    // Without room now there is none for the rest either.
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
            self.renumber(socket);
        }
        sent
    }

    fn renumber(&mut self, socket: BorrowedFd<'_>) {
        self.transmit_stamps(socket, |_, _| {});
        self.next_number = 0;
        self.remembered.fill(None);
        // If it fails, no token is found any more, and the caller goes without stamps.
        let _ = stamping::restart_numbers(socket);
    }

    /// Takes the stamps that have come back, each with the token it was asked for with.
    pub(crate) fn transmit_stamps(
        &mut self,
        socket: BorrowedFd<'_>,
        mut take: impl FnMut(T, Stamp),
    ) {
        // The datagram itself is not given back (`OPT_TSONLY`).
        let mut nothing = [0; 64];
        let (mut sender, mut control) = (RawAddress::empty(), ControlBuffer::new());
        // Our own datagrams fill the queue, no faster than this empties it.
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
            // 0 is the moment of leaving; others tell of queues and acknowledgements.
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
