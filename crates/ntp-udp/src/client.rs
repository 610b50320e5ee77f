//! A client's socket: one peer, an unpredictable port, and timestamps for every datagram.
//!
//! # Connected
//! The kernel delivers datagrams only from the peer's address and port, and reports unreachable
//! peers. A new socket for each exchange makes the kernel choose a new random port each time (RFC
//! 9109), which an off-path attacker has to guess.
//!
//! # Life of an exchange
//! 1. [`ClientSocket::open`], [`ClientSocket::send`].
//! 2. If [`ClientSocket::stamps_transmissions`]: [`ClientSocket::take_transmit_stamp`] until it is
//!    there, at once for most interfaces, else when the socket signals an error or priority event.
//!    The timestamp may come after the reply.
//! 3. When readable: [`ClientSocket::receive`].
//!
//! Errors are the operating system's, unchanged, so that the caller can classify them by number;
//! they refer to the peer [`ClientSocket::remote`]. ICMP messages are hints and not proof, for they
//! are easily forged: after one, continue to wait for the reply.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use ntp_time::RawStamp;

use crate::address::{RawAddress, canonical};
use crate::ancillary::{self, Ancillary, Report};
use crate::cmsg::ControlBuffer;
use crate::{Facility, PathError, Shortcoming, SocketOptions, choose_path, stamping, syscall};

/// A UDP socket connected to one server.
#[derive(Debug)]
pub struct ClientSocket {
    socket: OwnedFd,
    remote: SocketAddr,
    stamps_transmissions: bool,
}

/// A received datagram; its contents are in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffer.
    pub len: usize,
    /// The datagram was longer than the buffer and was truncated.
    pub truncated: bool,
    /// Source address.
    pub remote: SocketAddr,
    /// Destination address.
    pub local: Option<IpAddr>,
    /// Index of the interface at which it arrived.
    pub interface: Option<u32>,
    /// Hop limit with which it arrived: the TTL of IPv4.
    pub hop_limit: Option<u8>,
    /// Time of arrival; `None` if it was not timestamped, and only the caller's own reading is
    /// available.
    pub stamp: Option<RawStamp>,
}

/// An entry of a socket's error queue.
#[derive(Debug)]
pub enum ErrorQueue {
    /// Transmit timestamp of a datagram.
    TransmitStamp(RawStamp),
    /// A datagram did not reach the peer, according to an ICMP message.
    Unreachable(io::Error),
    /// The queue is empty.
    Empty,
}

impl ClientSocket {
    /// Opens a socket to `remote` with a port of the kernel's choice, and returns its shortcomings.
    ///
    /// # Errors
    /// If the configured path cannot be taken: another one would not be what the operator wants. If
    /// the socket cannot be opened (address family not supported, too many files), or if there is
    /// no route to the peer at the moment.
    pub fn open(
        remote: SocketAddr,
        options: &SocketOptions,
    ) -> Result<(Self, Vec<Shortcoming>), PathError> {
        let remote = canonical(remote);
        let family = if remote.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        let socket = syscall::socket(family, libc::SOCK_DGRAM, 0)?;
        choose_path(socket.as_fd(), remote, &options.path)?;
        let mut missing = Vec::new();
        let stamps_transmissions =
            stamping::enable(socket.as_fd(), options.timestamps, &mut missing);
        enable_information(socket.as_fd(), remote, &mut missing);

        // Connecting chooses the port too. All options are in force before the first datagram can
        // arrive.
        syscall::connect(socket.as_fd(), &remote.into())?;
        Ok((
            Self {
                socket,
                remote,
                stamps_transmissions,
            },
            missing,
        ))
    }

    /// Returns the peer's address.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Returns the local address and port.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        syscall::local_address(self.as_fd())
    }

    /// Returns whether a transmit timestamp follows each datagram through the error queue.
    pub fn stamps_transmissions(&self) -> bool {
        self.stamps_transmissions
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// `WouldBlock` if the send buffer is full; else the operating system's error about the peer,
    /// which may be caused by an earlier datagram. The datagram has not been sent then.
    pub fn send(&self, payload: &[u8]) -> io::Result<()> {
        if syscall::send(self.as_fd(), payload)? == payload.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Receives a datagram from the peer into `buffer`.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else the operating system's error about the peer, typically
    /// `ConnectionRefused`: its port is closed.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let (mut sender, mut control) = (RawAddress::empty(), ControlBuffer::new());
        loop {
            let (len, flags) =
                syscall::receive(self.as_fd(), buffer, &mut sender, &mut control, 0)?;
            let remote = sender.to_socket_addr().unwrap_or(self.remote);
            // Only possible in the instant between the choice of the port and the connection, so
            // the loop ends.
            if (remote.ip(), remote.port()) != (self.remote.ip(), self.remote.port()) {
                continue;
            }
            let ancillary = Ancillary::of(&control);
            return Ok(Received {
                len,
                truncated: flags & libc::MSG_TRUNC != 0,
                remote,
                local: ancillary.local,
                interface: ancillary.interface,
                hop_limit: ancillary::hop_limit(&control),
                stamp: ancillary.stamp(),
            });
        }
    }

    /// Takes the next entry from the error queue, without waiting.
    ///
    /// # Errors
    /// If the queue cannot be read; an empty queue is [`ErrorQueue::Empty`].
    pub fn take_transmit_stamp(&self) -> io::Result<ErrorQueue> {
        // Large enough for a whole frame: some systems return the packet with its timestamp.
        let mut frame = [0; 2048];
        let (mut sender, mut control) = (RawAddress::empty(), ControlBuffer::new());
        loop {
            let read = syscall::receive(
                self.as_fd(),
                &mut frame,
                &mut sender,
                &mut control,
                libc::MSG_ERRQUEUE,
            );
            match read {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(ErrorQueue::Empty);
                }
                Err(error) => return Err(error),
            }
            let ancillary = Ancillary::of(&control);
            match (ancillary.report, ancillary.stamp()) {
                (Some(report), _) if !report.is_stamp() => {
                    let error = io::Error::from_raw_os_error(report.error);
                    return Ok(ErrorQueue::Unreachable(error));
                }
                // 0 is the transmission; others are queues and acknowledgements.
                (Some(Report { info: 0, .. }) | None, Some(stamp)) => {
                    return Ok(ErrorQueue::TransmitStamp(stamp));
                }
                // Each iteration takes an entry of a queue that only our own datagrams fill.
                _ => {}
            }
        }
    }
}

/// Enables other information that the kernel can return with datagrams.
fn enable_information(socket: BorrowedFd<'_>, remote: SocketAddr, missing: &mut Vec<Shortcoming>) {
    let (level, address, errors, hop_limit) = if remote.is_ipv4() {
        (
            libc::IPPROTO_IP,
            libc::IP_PKTINFO,
            libc::IP_RECVERR,
            libc::IP_RECVTTL,
        )
    } else {
        (
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            libc::IPV6_RECVERR,
            libc::IPV6_RECVHOPLIMIT,
        )
    };
    let wanted = [
        (Facility::DestinationAddress, level, address),
        (Facility::NetworkErrors, level, errors),
        (Facility::HopLimit, level, hop_limit),
        (
            Facility::ErrorQueuePriority,
            libc::SOL_SOCKET,
            libc::SO_SELECT_ERR_QUEUE,
        ),
    ];
    for (facility, level, option) in wanted {
        if let Err(cause) = syscall::set_option(socket, level, option, 1) {
            missing.push(Shortcoming::new(facility, &cause));
        }
    }
}

impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ClientSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
