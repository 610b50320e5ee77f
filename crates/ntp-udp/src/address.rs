//! Socket addresses in the kernel's form.
//!
//! A `sockaddr` is bytes whose meaning depends on its first field. It is kept as bytes here and
//! read and written field by field at the offsets of libc's declarations, so no pointer is ever
//! cast and a short or unknown address is `None` instead of undefined behaviour.

use core::ffi::c_int;
use core::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{sockaddr_in, sockaddr_in6, sockaddr_nl};

/// An address as the kernel reads and writes it.
///
/// Invariant: `len <= CAPACITY`; the bytes after `len` are undefined. Aligned as strictly as any
/// `sockaddr`, and laid out as in C: the bytes come first.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

const _: () = assert!(align_of::<RawAddress>() >= align_of::<libc::sockaddr_storage>());

impl RawAddress {
    pub(crate) const CAPACITY: usize = size_of::<libc::sockaddr_storage>();

    /// Creates an empty buffer for an address that the kernel will write.
    pub(crate) const fn empty() -> Self {
        Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
        }
    }

    /// Copies an address from kernel memory or a control message; bytes beyond the capacity are
    /// dropped.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut address = Self::empty();
        address.len = bytes.len().min(Self::CAPACITY);
        address.bytes[..address.len].copy_from_slice(&bytes[..address.len]);
        address
    }

    /// Creates a netlink address that subscribes to multicast groups.
    pub(crate) fn netlink(groups: u32) -> Self {
        let mut address = Self::of_family(libc::AF_NETLINK, size_of::<sockaddr_nl>());
        address.put(offset_of!(sockaddr_nl, nl_groups), &groups.to_ne_bytes());
        address
    }

    fn of_family(family: c_int, len: usize) -> Self {
        let mut address = Self {
            len,
            ..Self::empty()
        };
        let family = family as libc::sa_family_t;
        address.put(offset_of!(libc::sockaddr, sa_family), &family.to_ne_bytes());
        address
    }

    fn put(&mut self, at: usize, field: &[u8]) {
        self.bytes[at..at + field.len()].copy_from_slice(field);
    }

    fn field<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.as_bytes().get(at..at + N)?.try_into().ok()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Copies another address, without its undefined bytes.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.len = other.len;
        self.bytes[..other.len].copy_from_slice(&other.bytes[..other.len]);
    }

    /// Returns the whole buffer, for the kernel to write into; [`Self::set_len`] must follow.
    pub(crate) fn buffer_mut(&mut self) -> &mut [u8; Self::CAPACITY] {
        &mut self.bytes
    }

    /// Sets the length that the kernel returned; the kernel returns the full length even if the
    /// buffer was too small.
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len.min(Self::CAPACITY);
    }

    /// Returns whether the family is IPv6, which may contain a mapped IPv4 address.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.field(offset_of!(libc::sockaddr, sa_family))
            .is_some_and(|family| {
                c_int::from(libc::sa_family_t::from_ne_bytes(family)) == libc::AF_INET6
            })
    }

    /// Returns the internet address, if it is one; a mapped IPv4 address becomes IPv4.
    pub(crate) fn to_socket_addr(self) -> Option<SocketAddr> {
        let family =
            libc::sa_family_t::from_ne_bytes(self.field(offset_of!(libc::sockaddr, sa_family))?);
        match c_int::from(family) {
            libc::AF_INET => {
                let port = u16::from_be_bytes(self.field(offset_of!(sockaddr_in, sin_port))?);
                let ip = Ipv4Addr::from(self.field::<4>(offset_of!(sockaddr_in, sin_addr))?);
                Some(SocketAddr::new(ip.into(), port))
            }
            libc::AF_INET6 => {
                let port = u16::from_be_bytes(self.field(offset_of!(sockaddr_in6, sin6_port))?);
                let ip = Ipv6Addr::from(self.field::<16>(offset_of!(sockaddr_in6, sin6_addr))?);
                let flow = u32::from_be_bytes(self.field(offset_of!(sockaddr_in6, sin6_flowinfo))?);
                let scope =
                    u32::from_ne_bytes(self.field(offset_of!(sockaddr_in6, sin6_scope_id))?);
                Some(canonical(SocketAddrV6::new(ip, port, flow, scope).into()))
            }
            _ => None,
        }
    }
}

/// Converts an IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) to IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddrV4::new(ip, address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

impl From<SocketAddr> for RawAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => {
                let mut raw = Self::of_family(libc::AF_INET, size_of::<sockaddr_in>());
                raw.put(
                    offset_of!(sockaddr_in, sin_port),
                    &address.port().to_be_bytes(),
                );
                raw.put(offset_of!(sockaddr_in, sin_addr), &address.ip().octets());
                raw
            }
            SocketAddr::V6(address) => {
                let mut raw = Self::of_family(libc::AF_INET6, size_of::<sockaddr_in6>());
                raw.put(
                    offset_of!(sockaddr_in6, sin6_port),
                    &address.port().to_be_bytes(),
                );
                raw.put(offset_of!(sockaddr_in6, sin6_addr), &address.ip().octets());
                raw.put(
                    offset_of!(sockaddr_in6, sin6_flowinfo),
                    &address.flowinfo().to_be_bytes(),
                );
                raw.put(
                    offset_of!(sockaddr_in6, sin6_scope_id),
                    &address.scope_id().to_ne_bytes(),
                );
                raw
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_round_trip(ip: [u8; 16], port: u16, flow: u32, scope: u32) {
            let v4 = SocketAddr::new(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]).into(), port);
            prop_assert_eq!(RawAddress::from(v4).to_socket_addr(), Some(v4));
            let v6 = SocketAddr::from(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope));
            prop_assert_eq!(RawAddress::from(v6).to_socket_addr(), Some(canonical(v6)));
        }

        #[test]
        fn arbitrary_bytes_are_an_address_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = RawAddress::from_bytes(&bytes).to_socket_addr();
        }
    }

    #[test]
    fn a_truncated_address_is_none() {
        let whole = RawAddress::from(SocketAddr::from(([192, 0, 2, 1], 123)));
        for len in 0..8 {
            assert_eq!(
                RawAddress::from_bytes(&whole.as_bytes()[..len]).to_socket_addr(),
                None
            );
        }
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:123".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.1:123".parse().unwrap());
        let real: SocketAddr = "[2001:db8::1]:123".parse().unwrap();
        assert_eq!(canonical(real), real);
    }
}
