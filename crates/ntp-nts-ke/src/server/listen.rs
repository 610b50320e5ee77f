//! Opens the listening socket, with options that the standard library does not offer.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen as start, socket_with, sockopt,
};

/// Number of connections that the kernel completes before they are accepted; the kernel has a limit
/// of its own.
const BACKLOG: i32 = 4096;

/// Listens on `address`. The IPv6 wildcard also accepts IPv4 unless `only_ipv6` is set.
pub(super) fn listen(address: SocketAddr, only_ipv6: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Lingering connections of an earlier run must not block the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only_ipv6)?;
    }
    bind(&socket, &address)?;
    start(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}
