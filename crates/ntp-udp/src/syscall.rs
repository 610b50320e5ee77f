//! Libc's socket functions behind safe signatures, where `nix` has none.
//!
//! Interrupted calls are repeated; no other error is handled here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use crate::address::RawAddress;
use crate::cmsg::ControlBuffer;

/// A structure of the C library with all fields zero. It may have padding fields that differ by
/// target and cannot be named, so that a literal of it compiles on some targets only: code starts
/// from this value and sets fields.
///
/// # Safety
/// All zero bits are a value of the type.
pub(crate) unsafe trait Blank: Sized {
    // SAFETY: the implementation states that all zero bits are a value.
    const BLANK: Self = unsafe { core::mem::zeroed() };
}

// SAFETY: these consist of integers and pointers, and of structures of such.
unsafe impl Blank for libc::iovec {}
// SAFETY: as above.
unsafe impl Blank for libc::msghdr {}
// SAFETY: as above.
unsafe impl Blank for libc::mmsghdr {}
// SAFETY: as above.
unsafe impl Blank for libc::pollfd {}
// SAFETY: as above.
unsafe impl Blank for libc::sock_fprog {}

/// Creates a non-blocking, close-on-exec socket.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    match plain_socket(family, kind | flags, protocol) {
        // Simulators and very old kernels do not support flags here.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let socket = plain_socket(family, kind, protocol)?;
            set_flags(&socket)?;
            Ok(socket)
        }
        result => result,
    }
}

fn plain_socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket has no preconditions.
    let fd = check(unsafe { libc::socket(family, kind, protocol) })?;
    // SAFETY: the descriptor is new and owned by nothing else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_flags(socket: &OwnedFd) -> io::Result<()> {
    fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let status = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(socket, FcntlArg::F_SETFL(status | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Sets an option whose value is an int.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    set_option_bytes(socket, level, name, &value.to_ne_bytes())
}

/// Sets an option whose value is bytes.
pub(crate) fn set_option_bytes(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &[u8],
) -> io::Result<()> {
    // SAFETY: pointer and length are those of `value`, which the call only reads.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast::<c_void>(),
            value.len() as socklen_t,
        )
    })?;
    Ok(())
}

/// Reads an option whose value is bytes. The rest of the result is zero.
pub(crate) fn option_bytes<const N: usize>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
) -> io::Result<[u8; N]> {
    let mut value = [0; N];
    let mut len = N as socklen_t;
    // SAFETY: the buffer has `len` bytes and is exclusively ours during the call.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast::<c_void>(),
            &raw mut len,
        )
    })?;
    Ok(value)
}

/// Instruction of a packet filter as the kernel reads it (`sock_filter`, linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterInstruction {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

const _: () = assert!(size_of::<FilterInstruction>() == 8);

/// Attaches a program that selects a socket to all sockets that share the address of this one.
pub(crate) fn attach_reuseport_filter(
    socket: BorrowedFd<'_>,
    instructions: &[FilterInstruction],
) -> io::Result<()> {
    let mut program = libc::sock_fprog::BLANK;
    program.len = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The call copies the program; nothing is written through the pointer.
    program.filter = instructions.as_ptr().cast_mut().cast();
    // SAFETY: the value is a sock_fprog whose pointer and length are those of a live slice, with the
    // layout of `sock_filter`; the call only reads both.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast::<c_void>(),
            size_of::<libc::sock_fprog>() as socklen_t,
        )
    })?;
    Ok(())
}

/// Ends all waits for a datagram on the socket, now and in the future.
///
/// Shutting down is meant for connections; on a UDP socket without a peer Linux returns `ENOTCONN`,
/// but ends all waiting for datagrams first.
pub(crate) fn stop_receiving(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: shutdown has no preconditions.
    match check(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RD) }) {
        Err(error) if error.raw_os_error() != Some(libc::ENOTCONN) => Err(error),
        _ => Ok(()),
    }
}

/// Makes the socket blocking.
pub(crate) fn set_blocking(socket: BorrowedFd<'_>) -> io::Result<()> {
    let status = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(socket, FcntlArg::F_SETFL(status - OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Connects the socket to its peer; for UDP that sends nothing and cannot block.
pub(crate) fn connect(socket: BorrowedFd<'_>, address: &RawAddress) -> io::Result<()> {
    let bytes = address.as_bytes();
    // SAFETY: pointer and length are those of `bytes`, aligned as RawAddress promises; the call
    // only reads.
    retry(|| unsafe {
        libc::connect(
            socket.as_raw_fd(),
            bytes.as_ptr().cast::<libc::sockaddr>(),
            bytes.len() as socklen_t,
        ) as isize
    })?;
    Ok(())
}

/// Binds the socket to a local address.
pub(crate) fn bind(socket: BorrowedFd<'_>, address: &RawAddress) -> io::Result<()> {
    let bytes = address.as_bytes();
    // SAFETY: pointer and length are those of `bytes`, aligned as RawAddress promises; the call
    // only reads.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            bytes.as_ptr().cast::<libc::sockaddr>(),
            bytes.len() as socklen_t,
        )
    })?;
    Ok(())
}

/// Returns the socket's local address.
pub(crate) fn local_address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut address = RawAddress::empty();
    let mut len = RawAddress::CAPACITY as socklen_t;
    // SAFETY: the buffer has `len` bytes, aligned as RawAddress promises, and exclusively ours
    // during the call.
    check(unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            address.buffer_mut().as_mut_ptr().cast::<libc::sockaddr>(),
            &raw mut len,
        )
    })?;
    address.set_len(len as usize);
    let address = address.to_socket_addr();
    address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Sends a datagram to the socket's peer. Returns the number of bytes accepted.
pub(crate) fn send(socket: BorrowedFd<'_>, payload: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of `payload`, which the call only reads.
    retry(|| unsafe {
        libc::send(
            socket.as_raw_fd(),
            payload.as_ptr().cast::<c_void>(),
            payload.len(),
            0,
        )
    })
}

/// Receives a datagram, or with `MSG_ERRQUEUE` an entry of the error queue. Returns the number of
/// bytes written to `payload`, and the flags of the message.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    payload: &mut [u8],
    sender: &mut RawAddress,
    control: &mut ControlBuffer,
    flags: c_int,
) -> io::Result<(usize, c_int)> {
    let mut part = libc::iovec::BLANK;
    part.iov_base = payload.as_mut_ptr().cast::<c_void>();
    part.iov_len = payload.len();
    let room = control.buffer_mut();
    let mut message = libc::msghdr::BLANK;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = room.as_mut_ptr().cast::<c_void>();
    let control_room = room.len();
    message.msg_name = sender.buffer_mut().as_mut_ptr().cast::<c_void>();

    let len = retry(|| {
        message.msg_namelen = RawAddress::CAPACITY as socklen_t;
        message.msg_controllen = control_room as _;
        // SAFETY: all pointers in `message` and their lengths belong to buffers that outlive the
        // call, are exclusively ours during it, and are aligned as their types promise.
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) }
    })?;
    sender.set_len(message.msg_namelen as usize);
    #[allow(clippy::unnecessary_cast, reason = "musl declares a shorter number")]
    control.set_len(message.msg_controllen as usize);
    Ok((len.min(payload.len()), message.msg_flags))
}

/// Returns the internet addresses of all interfaces.
pub(crate) fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = core::ptr::null_mut();
    // SAFETY: `list` is a valid location for the pointer that the call returns.
    check(unsafe { libc::getifaddrs(&raw mut list) })?;

    let mut found = Vec::new();
    let mut entry = list;
    // SAFETY: getifaddrs returned a linked list that is valid until it is freed below.
    while let Some(interface) = unsafe { entry.as_ref() } {
        // SAFETY: ifa_addr is null or points to a sockaddr of the length that its family implies.
        if let Some(address) = unsafe { internet_address(interface.ifa_addr) } {
            found.push(address);
        }
        entry = interface.ifa_next;
    }
    // SAFETY: the list came from getifaddrs, is freed once, and no reference into it is left.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// # Safety
/// `address` is null or points to a `sockaddr` that is as long as its family implies.
unsafe fn internet_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller guarantees at least a sockaddr's family field.
    let family = unsafe { address.as_ref() }.map(|address| c_int::from(address.sa_family))?;
    let len = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    // SAFETY: the caller guarantees `len` bytes with this family.
    let bytes = unsafe { core::slice::from_raw_parts(address.cast::<u8>(), len) };
    RawAddress::from_bytes(bytes)
        .to_socket_addr()
        .map(|address| address.ip())
}

/// Waits until one of `events` occurs; returns false after `limit_ms`.
#[cfg(test)]
pub(crate) fn wait_for(socket: BorrowedFd<'_>, events: libc::c_short, limit_ms: c_int) -> bool {
    let mut entry = libc::pollfd::BLANK;
    (entry.fd, entry.events) = (socket.as_raw_fd(), events);
    // SAFETY: `entry` is one valid pollfd, exclusively ours during the call.
    retry(|| unsafe { libc::poll(&raw mut entry, 1, limit_ms) as isize })
        .is_ok_and(|ready| ready > 0)
}

pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Repeats a call until no signal interrupts it.
pub(crate) fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
