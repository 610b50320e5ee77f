//! Opens the listening socket, with options that the standard library does not offer.
//!
//! A wildcard may stand beside single addresses of the same port; the kernel passes a connection to
//! the more specific address. It permits such a pair only if both sockets have `SO_REUSEPORT` and
//! belong to one user at the time of binding. They have the option just then, so that no other
//! program can share the port. A daemon that changes its user must therefore change the owner of
//! its sockets, too (`fchown`), or it can never bind an address beside them.
//!
//! An address need not exist yet, as for [time](ntp_udp::ServerSocket): interfaces get their addresses
//! after they appear, and those of IPv6 are checked for duplicates first.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;

use ntp_types::path::{ListenAddress, NetworkPath};
use ntp_udp::choose_path;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen as start, socket_with, sockopt,
};

/// Number of connections that the kernel completes before they are accepted; the kernel has a limit
/// of its own.
const BACKLOG: i32 = 4096;

/// Listens on `address`, beside sockets with the same port at an overlapping address. The IPv6
/// wildcard also accepts IPv4 unless `only_ipv6` is set.
///
/// # Errors
/// Those of the operating system: `EAFNOSUPPORT` if this kernel lacks the family, `ENODEV` if the
/// device does not exist.
pub(super) fn listen(
    address: ListenAddress,
    only_ipv6: bool,
    beside: &[&TcpListener],
) -> io::Result<TcpListener> {
    for other in beside {
        sockopt::set_socket_reuseport(other, true)?;
    }
    let listener = open(address, only_ipv6, !beside.is_empty());
    for other in beside.iter().copied().chain(&listener) {
        // Cannot fail on a socket that permitted it before; the option would only stay set.
        let _ = sockopt::set_socket_reuseport(other, false);
    }
    listener
}

fn open(address: ListenAddress, only_ipv6: bool, share: bool) -> io::Result<TcpListener> {
    let path = NetworkPath {
        device: address.device,
        ..NetworkPath::default()
    };
    let address = address.socket;
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Before the address is bound, which may be in use behind another device. Connections inherit it.
    choose_path(socket.as_fd(), address, &path)?;
    // Lingering connections of an earlier run must not block the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // A kernel without the option serves the addresses that exist.
    let _ = if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only_ipv6)?;
        sockopt::set_ipv6_freebind(&socket, true)
    } else {
        sockopt::set_ip_freebind(&socket, true)
    };
    if share {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind(&socket, &address)?;
    start(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}
