//! A client's socket: one peer, a port that nobody can guess, and stamps on everything.
//!
//! # Why connected
//! The kernel then delivers datagrams from the peer's address and port only, and tells about unreachable
//! peers. A fresh socket for each exchange makes the kernel choose a new random port each time
//! (RFC 9109), so that a forger off the path has to guess it.
//!
//! # Life of an exchange
//! 1. [`ClientSocket::open`], [`ClientSocket::send`].
//! 2. If [`ClientSocket::stamps_transmissions`]: [`ClientSocket::take_transmit_stamp`] until it is there, at once for
//!    most interfaces, else when the socket signals an error or priority event. The stamp may come after the reply.
//! 3. When readable: [`ClientSocket::receive`].
//!
//! Errors are the operating system's, unwrapped, so that the caller can sort them by number; the peer they are about is
//! [`ClientSocket::remote`]. ICMP messages are hints and not proof, for they are easily forged: whoever gets one
//! should go on waiting for
//! the reply.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use ntp_time::Stamp;

use crate::address::{RawAddress, canonical};
use crate::ancillary::{Ancillary, Report};
use crate::cmsg::ControlBuffer;
use crate::{Facility, Shortcoming, SocketOptions, stamping, syscall};

/// A UDP socket that talks with one server.
#[derive(Debug)]
pub struct ClientSocket {
    socket: OwnedFd,
    remote: SocketAddr,
    stamps_transmissions: bool,
}

/// A datagram that has been received; its contents are in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffer.
    pub len: usize,
    /// The datagram was longer than the buffer, and its end is lost.
    pub truncated: bool,
    /// Where it came from.
    pub remote: SocketAddr,
    /// The address it was sent to.
    pub local: Option<IpAddr>,
    /// The index of the interface at which it arrived.
    pub interface: Option<u32>,
    /// When it arrived; `None` if nobody stamped it, and the caller has only its own reading.
    pub stamp: Option<Stamp>,
}

/// An entry of a socket's error queue.
#[derive(Debug)]
pub enum ErrorQueue {
    /// When a datagram left.
    TransmitStamp(Stamp),
    /// A datagram did not reach the peer, or so someone on the way says.
    Unreachable(io::Error),
    /// Nothing is in the queue.
    Empty,
}

impl ClientSocket {
    /// Opens a socket to `remote` with a port of the kernel's choice, and tells what it lacks of `options`.
    ///
    /// # Errors
    /// If there is no such socket (address family not supported, too many files), no way to the peer at the moment,
    /// or if the interface that the configuration demands does not exist: another would not be what the operator wants.
    pub fn open(
        remote: SocketAddr,
        options: &SocketOptions,
    ) -> io::Result<(Self, Vec<Shortcoming>)> {
        let remote = canonical(remote);
        let family = if remote.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        let socket = syscall::socket(family, libc::SOCK_DGRAM, 0)?;

        if let Some(interface) = &options.interface {
            let name = interface.as_c_bytes();
            syscall::set_option_bytes(
                socket.as_fd(),
                libc::SOL_SOCKET,
                libc::SO_BINDTODEVICE,
                name,
            )?;
        }
        let mut missing = Vec::new();
        let stamps_transmissions =
            stamping::enable(socket.as_fd(), options.timestamps, &mut missing);
        enable_information(socket.as_fd(), remote, &mut missing);

        // Connecting chooses the port too. All options are in force before the first datagram can arrive.
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

    /// The peer.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Our own address and port.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = syscall::own_address(self.as_fd())?;
        address
            .to_socket_addr()
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Whether a transmit stamp will follow each datagram, through the error queue.
    pub fn stamps_transmissions(&self) -> bool {
        self.stamps_transmissions
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room; else what the operating system says of the peer, which may be the answer to
    /// an earlier datagram. The datagram has not been sent then.
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
    /// `WouldBlock` if there is none; else what the operating system says of the peer, typically
    /// `ConnectionRefused`: it does not listen.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let (mut sender, mut control) = (RawAddress::empty(), ControlBuffer::new());
        loop {
            let (len, flags) =
                syscall::receive(self.as_fd(), buffer, &mut sender, &mut control, 0)?;
            let remote = sender.to_socket_addr().unwrap_or(self.remote);
            // Only possible in the instant between the choice of the port and the connection, so it ends.
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
                stamp: ancillary.stamp(),
            });
        }
    }

    /// Takes the next entry from the error queue, without waiting.
    ///
    /// # Errors
    /// If the queue cannot be read; that it is empty is [`ErrorQueue::Empty`].
    pub fn take_transmit_stamp(&self) -> io::Result<ErrorQueue> {
        // Room for a whole frame: some systems give the packet back along with its stamp.
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
                // 0 is the moment of leaving; others tell of queues and acknowledgements.
                (Some(Report { info: 0, .. }) | None, Some(stamp)) => {
                    return Ok(ErrorQueue::TransmitStamp(stamp));
                }
                // Each turn takes an entry of a queue that only our own datagrams fill.
                _ => {}
            }
        }
    }
}

/// Asks for what else the kernel can tell about datagrams.
fn enable_information(socket: BorrowedFd<'_>, remote: SocketAddr, missing: &mut Vec<Shortcoming>) {
    let (level, address, errors) = if remote.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_RECVERR)
    } else {
        (
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            libc::IPV6_RECVERR,
        )
    };
    let wanted = [
        (Facility::DestinationAddress, level, address),
        (Facility::NetworkErrors, level, errors),
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
