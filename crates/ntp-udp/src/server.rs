//! A server's sockets: one address, several workers, replies from the destination address of the
//! request.
//!
//! # Sharing an address
//! Each worker has a socket of its own at the same address (`SO_REUSEPORT`), and
//! [`steering`](crate::steering) distributes the clients. That option has a drawback: a second
//! daemon of the same user could join, and each would get a share of the clients unnoticed. The
//! first socket is therefore bound without it, which the kernel refuses if there is any other, and
//! enables sharing only afterwards.
//!
//! # A wildcard beside a single address
//! `0.0.0.0:123` and `127.0.0.1:123` overlap; the kernel passes a datagram to the socket with the
//! more specific address. It permits such a pair only if both have `SO_REUSEADDR` at the time
//! of binding. They have it just then, so that no other program can bind the port afterwards.
//! Bind the wildcard first: without the option, it conflicts with every other socket of the
//! port.
//!
//! # Addresses that do not exist yet
//! A daemon may start before the network does. Sockets are bound to an address whether the machine
//! has it or not (`IP_FREEBIND`), and serve it once it appears. Wildcard sockets serve every
//! address.
//!
//! # No fragments
//! Replies are sent with the Don't Fragment bit and without path MTU discovery
//! (`IP_PMTUDISC_PROBE`): they are no longer than the request that arrived, and fit every link that
//! IPv6 can use. Forged ICMP messages therefore cannot cause fragmentation, which is a known way to
//! spoof parts of a server's replies. It also saves the kernel an identification number for each
//! IPv4 packet (RFC 6864 section 4.1).
//!
//! # Bursts and pauses
//! The kernel queues datagrams while a worker does not run, and drops them when the receive buffer
//! is full. Its default holds 90 to 280 requests, less than 6 ms at 50 000 requests a second. The
//! buffer is therefore enlarged as far as permitted, and datagrams carry the number of those that
//! were dropped before them (`SO_RXQ_OVFL`).
//!
//! # Waiting
//! Workers wait inside of the receiving call, not in `poll(2)` before it: under light load that
//! halves the number of system calls. [`ServerSocket::stop_receiving`] ends the wait, from any
//! thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use ntp_time::RawStamp;
use ntp_types::path::InterfaceName;

use crate::inbox::Inbox;
use crate::outbox::{Outbox, Sent};
use crate::steering::Steering;
use crate::{Facility, Shortcoming, TimestampMode, path, stamping, syscall};

/// Size of the receive buffer in octets, without the kernel's overhead, for which it adds as much
/// again. 20 ms at 50 000 requests a second are 1000 datagrams; each occupies 0.75 KiB over
/// loopback and, with the buffer of a network card, up to 4 KiB. More would only delay replies
/// beyond what clients wait for when the server is overloaded.
const RECEIVE_BUFFER: i32 = 2 << 20;

/// A UDP socket that serves all clients.
#[derive(Debug)]
pub struct ServerSocket {
    socket: OwnedFd,
    stamps_transmissions: bool,
}

/// Options of server sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerOptions {
    /// Which component timestamps packets; the interface is not used.
    pub timestamps: TimestampMode,
    /// An IPv6 wildcard does not serve IPv4.
    pub only_ipv6: bool,
    /// Serve this network interface or VRF only.
    pub device: Option<InterfaceName>,
    /// Differentiated services code point of the replies, 0 to 63 (RFC 2474).
    pub dscp: u8,
    /// Secret key of the distribution of clients over workers.
    pub steering_key: u32,
}

impl ServerSocket {
    /// Binds one socket at `address`, and returns its shortcomings. Port 0 lets the system choose.
    ///
    /// # Errors
    /// As [`bind_group`](Self::bind_group).
    pub fn bind(
        address: SocketAddr,
        options: &ServerOptions,
    ) -> io::Result<(Self, Vec<Shortcoming>)> {
        let mut missing = Vec::new();
        let socket = Self::open(address, options, &mut missing)?;
        syscall::bind(socket.as_fd(), &address.into())?;
        Ok((socket, missing))
    }

    /// As [`bind_group`](Self::bind_group), where the sockets `beside` have the same port at an
    /// overlapping address: one is the wildcard, the other is not.
    ///
    /// # Errors
    /// As `bind_group`.
    pub fn bind_group_beside(
        beside: &[BorrowedFd<'_>],
        address: SocketAddr,
        count: usize,
        options: &ServerOptions,
    ) -> io::Result<(Vec<Self>, Vec<Shortcoming>)> {
        let reuse = |socket: BorrowedFd<'_>, value| {
            syscall::set_option(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, value)
        };
        let permitted: io::Result<()> = beside.iter().try_for_each(|it| reuse(*it, 1));
        let bound = permitted.and_then(|()| {
            Self::bind_all(address, count, options, |socket| reuse(socket.as_fd(), 1))
        });
        let group = bound
            .iter()
            .flat_map(|(group, _)| group.iter().map(Self::as_fd));
        for socket in beside.iter().copied().chain(group) {
            // Cannot fail on a socket that permitted it before; the option would only stay set.
            let _ = reuse(socket, 0);
        }
        bound
    }

    /// Binds `count` sockets that share `address` (at least one), among which the kernel
    /// distributes clients by their address, and returns their shortcomings.
    ///
    /// # Errors
    /// `AddrInUse` if another process has the address and port, another instance of this program
    /// included; `PermissionDenied` for a port below 1024 without the permission; else the
    /// operating system's.
    pub fn bind_group(
        address: SocketAddr,
        count: usize,
        options: &ServerOptions,
    ) -> io::Result<(Vec<Self>, Vec<Shortcoming>)> {
        Self::bind_all(address, count, options, |_| Ok(()))
    }

    /// Binds the sockets, each after `prepare`.
    fn bind_all(
        address: SocketAddr,
        count: usize,
        options: &ServerOptions,
        prepare: impl Fn(&Self) -> io::Result<()>,
    ) -> io::Result<(Vec<Self>, Vec<Shortcoming>)> {
        let mut missing = Vec::new();
        let first = Self::open(address, options, &mut missing)?;
        prepare(&first)?;
        syscall::bind(first.as_fd(), &address.into())?;
        // The port may have been chosen just now.
        let address = first.local_addr()?;
        let mut group = vec![first];
        if count <= 1 {
            return Ok((group, missing));
        }
        allow_port_sharing(&group[0])?;
        for _ in 1..count {
            // They have the same shortcomings as the first one.
            let socket = Self::open(address, options, &mut Vec::new())?;
            prepare(&socket)?;
            allow_port_sharing(&socket)?;
            syscall::bind(socket.as_fd(), &address.into())?;
            group.push(socket);
        }
        // Only now do they form a group, which a program can be attached to; there is one for all.
        let steering = Steering::new(options.steering_key, count);
        if let Err(cause) = steering.attach(group[0].as_fd()) {
            missing.push(Shortcoming::new(Facility::Steering, &cause));
        }
        Ok((group, missing))
    }

    fn open(
        address: SocketAddr,
        options: &ServerOptions,
        missing: &mut Vec<Shortcoming>,
    ) -> io::Result<Self> {
        let (family, level, information, freebind) = if address.is_ipv4() {
            (
                libc::AF_INET,
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                libc::IP_FREEBIND,
            )
        } else {
            (
                libc::AF_INET6,
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVPKTINFO,
                libc::IPV6_FREEBIND,
            )
        };
        let socket = syscall::socket(family, libc::SOCK_DGRAM, 0)?;
        syscall::set_blocking(socket.as_fd())?;
        if let Some(device) = options.device {
            path::bind_to_device(socket.as_fd(), device)?;
        }
        path::set_dscp(socket.as_fd(), address, options.dscp)?;
        if address.is_ipv6() {
            let only = options.only_ipv6.into();
            syscall::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only)?;
        }
        for (facility, option) in [
            (Facility::ReplySource, information),
            (Facility::LateAddresses, freebind),
        ] {
            if let Err(cause) = syscall::set_option(socket.as_fd(), level, option, 1) {
                missing.push(Shortcoming::new(facility, &cause));
            }
        }
        enlarge_receive_buffer(socket.as_fd());
        let counted = syscall::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        if let Err(cause) = counted {
            missing.push(Shortcoming::new(Facility::DropCount, &cause));
        }
        // IPv6 sockets may serve IPv4, too. A system without the option fragments when it must,
        // which needs no report.
        let whole = libc::IP_PMTUDISC_PROBE;
        let _ = syscall::set_option(
            socket.as_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            whole,
        );
        let stamps_transmissions =
            stamping::enable_by_request(socket.as_fd(), options.timestamps, missing);
        Ok(Self {
            socket,
            stamps_transmissions,
        })
    }

    /// Returns the local address and port.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        syscall::local_address(self.as_fd())
    }

    /// Returns whether the timestamp of a sent datagram may be requested; if not, a token keeps it
    /// from being sent.
    pub fn stamps_transmissions(&self) -> bool {
        self.stamps_transmissions
    }

    /// Waits for a datagram and receives it with all others that have arrived, as many as fit.
    /// Returns the number; 0, or some for which [`Inbox::get`] returns `None`, after
    /// [`stop_receiving`](Self::stop_receiving).
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait_receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        inbox.receive(self.as_fd(), true)
    }

    /// Receives the datagrams that have arrived, as many as fit. Returns the number.
    ///
    /// # Errors
    /// `WouldBlock` if there are none; else the operating system's.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        inbox.receive(self.as_fd(), false)
    }

    /// Sends the datagrams of `outbox`, which is empty afterwards. An outbox that requests
    /// timestamps must always be used with the same socket.
    pub fn send<T: Copy>(&self, outbox: &mut Outbox<T>) -> Sent {
        outbox.send(self.as_fd())
    }

    /// Takes the transmit timestamps that have arrived for datagrams of `outbox`, each with its
    /// token. Most interfaces set the timestamp before [`send`](Self::send) returns.
    pub fn transmit_stamps<T: Copy>(&self, outbox: &mut Outbox<T>, take: impl FnMut(T, RawStamp)) {
        outbox.transmit_stamps(self.as_fd(), take);
    }

    /// Ends all waits for datagrams, now and in the future.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn stop_receiving(&self) -> io::Result<()> {
        syscall::stop_receiving(self.as_fd())
    }
}

/// Enlarges the receive buffer to [`RECEIVE_BUFFER`] with `CAP_NET_ADMIN`, else up to
/// `net.core.rmem_max`. A kernel that refuses both has its own limits, and what it drops is counted.
fn enlarge_receive_buffer(socket: BorrowedFd<'_>) {
    let set = |option| syscall::set_option(socket, libc::SOL_SOCKET, option, RECEIVE_BUFFER);
    let _ = set(libc::SO_RCVBUFFORCE).or_else(|_| set(libc::SO_RCVBUF));
}

fn allow_port_sharing(socket: &ServerSocket) -> io::Result<()> {
    syscall::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
}

impl AsFd for ServerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ServerSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
