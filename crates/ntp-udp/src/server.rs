//! A server's sockets: one address, several workers, answers from where the question went.
//!
//! # Sharing an address
//! Each worker has a socket of its own at the same address (`SO_REUSEPORT`), and [`steering`](crate::steering) spreads the
//! clients. That option has a drawback: a second daemon of the same user could join, and each would
//! get a share of the clients without anyone noticing. So the first socket is bound without it, which the kernel refuses if there is any other, and
//! allows company only afterwards.
//!
//! # Addresses that are not there yet
//! A daemon may start before the network does. Sockets are bound to an address whether the machine has it or not
//! (`IP_FREEBIND`), and serve it from when it appears. Wildcard sockets serve every address that there ever is.
//!
//! # Never in fragments
//! Answers leave with the Don't Fragment bit and without asking what size the path takes (`IP_PMTUDISC_PROBE`): they are no longer
//! than the request that found its way here, and fit every link that IPv6 could cross. So nobody can
//! talk us into fragmenting by forged ICMP messages, which is a known way to put words into a server's mouth. It also saves the
//! kernel an identification number for each IPv4 packet (RFC 6864 section 4.1).
//!
//! # Waiting
//! Workers wait inside of the receiving call, not in `poll(2)` before it: under light load that halves the
//! number of system calls. [`ServerSocket::end_receiving`] ends the wait, from any thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use ntp_time::Stamp;

use crate::inbox::Inbox;
use crate::outbox::{Outbox, Sent};
use crate::steering::Steering;
use crate::{Facility, Shortcoming, TimestampMode, stamping, syscall};

/// A UDP socket that receives from everyone and answers.
#[derive(Debug)]
pub struct ServerSocket {
    socket: OwnedFd,
    stamps_transmissions: bool,
}

/// How server sockets are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerOptions {
    /// Who shall stamp packets; the interface is not asked.
    pub timestamps: TimestampMode,
    /// An IPv6 wildcard leaves IPv4 to others.
    pub only_ipv6: bool,
    /// Secret by which clients are spread over workers.
    pub steering_key: u32,
}

impl ServerSocket {
    /// One socket at `address`, and what it lacks of `options`. Port 0 lets the system choose.
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

    /// `count` sockets that share `address` (at least one), among which the kernel spreads clients by their
    /// address, and what they lack of `options`.
    ///
    /// # Errors
    /// `AddrInUse` if anybody else has the address and port, this program's other instance included;
    /// `PermissionDenied` for a port below 1024 without the right to; else what the operating system says.
    pub fn bind_group(
        address: SocketAddr,
        count: usize,
        options: &ServerOptions,
    ) -> io::Result<(Vec<Self>, Vec<Shortcoming>)> {
        let (first, mut missing) = Self::bind(address, options)?;
        // The port may have been chosen just now.
        let address = first.local_addr()?;
        let mut group = vec![first];
        if count <= 1 {
            return Ok((group, missing));
        }
        allow_company(&group[0])?;
        for _ in 1..count {
            // They lack what the first one lacks.
            let socket = Self::open(address, options, &mut Vec::new())?;
            allow_company(&socket)?;
            syscall::bind(socket.as_fd(), &address.into())?;
            group.push(socket);
        }
        // Only now are they a group, which a program can be given to; it is one for all.
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
        // IPv6 sockets may serve IPv4, too. A system that does not know it fragments when it must, which is no loss to tell of.
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

    /// Whether the stamp of a sent datagram may be asked for; if not, a token keeps it from being sent.
    pub fn stamps_transmissions(&self) -> bool {
        self.stamps_transmissions
    }

    /// Waits for a datagram and takes it with all that came meanwhile, as many as fit. Returns how many; 0, or some for
    /// which [`Inbox::get`] has nothing, after [`end_receiving`](Self::end_receiving).
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        inbox.receive(self.as_fd(), true)
    }

    /// Takes the datagrams that have come, as many as fit. Returns how many.
    ///
    /// # Errors
    /// `WouldBlock` if there are none; else what the operating system says.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        inbox.receive(self.as_fd(), false)
    }

    /// Sends what waits in `outbox`, which is empty afterwards. An outbox that asks for stamps belongs to one socket for
    /// ever.
    pub fn send<T: Copy>(&self, outbox: &mut Outbox<T>) -> Sent {
        outbox.send(self.as_fd())
    }

    /// Takes the transmit stamps that have come back for datagrams of `outbox`, each with its token. Most interfaces stamp
    /// before [`send`](Self::send) returns.
    pub fn transmit_stamps<T: Copy>(&self, outbox: &mut Outbox<T>, take: impl FnMut(T, Stamp)) {
        outbox.transmit_stamps(self.as_fd(), take);
    }

    /// Ends the wait of whoever receives, for good.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn end_receiving(&self) -> io::Result<()> {
        syscall::end_receiving(self.as_fd())
    }
}

fn allow_company(socket: &ServerSocket) -> io::Result<()> {
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
