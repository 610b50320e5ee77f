//! Bound sockets without serving threads.
//!
//! Binding comes first when a daemon starts: if another instance is running, it is detected before
//! anything of that instance is touched.
//!
//! # Overlapping addresses
//! A wildcard may stand beside single addresses of the same port. Both are served, each with its
//! own rules. Wildcards are bound first, which fails if any other program uses the port (see
//! [`ntp_udp::ServerSocket`]).
//!
//! # A kernel without IPv6
//! The IPv6 wildcard is replaced by that of IPv4, which it includes otherwise. Other IPv6
//! addresses are left out: no client can reach them. Both are reported and end nothing, because a
//! configuration must work on all machines that it is installed on.
//!
//! # A device that does not exist
//! An address whose device does not exist waits for it: interfaces of VPNs and VRFs appear late, and
//! an address that does not exist yet ends nothing either (see [`ntp_udp::ServerSocket`]). A device that is
//! removed or renamed later makes its address wait in the same way (see [`ntp_udp::has_lost_device`]).
//! So does an address that cannot be bound because another one still holds the port on a device
//! that was renamed: the next round of the daemon closes that one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use ntp_os_clock::Translator;
use ntp_proto::server::Claim;
use ntp_types::event::Event;
use ntp_types::path::ListenAddress;
use ntp_udp::{ServerSocket, Shortcoming, lacks_device, lacks_ipv6};

use super::endpoint::Endpoint;
use super::{Listener, ServeError, Servers};
use crate::log;

/// Bound sockets without serving threads.
#[derive(Debug, Default)]
pub struct Bound {
    pub(super) endpoints: Vec<(Listener, Vec<ServerSocket>)>,
    /// Those whose device does not exist.
    pub(super) waiting: Vec<Listener>,
    missing: Vec<Shortcoming>,
}

/// An address and whether it takes clients of both families.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) address: ListenAddress,
    pub(super) only_ipv6: bool,
}

impl Site {
    pub(super) fn of(listener: &Listener) -> Self {
        Self {
            address: listener.address,
            only_ipv6: listener.options.only_ipv6,
        }
    }

    /// Order of binding: the wildcard of both families, the others, single addresses.
    pub(super) fn rank(self) -> u8 {
        match self.address.socket {
            address if !address.ip().is_unspecified() => 2,
            SocketAddr::V4(_) => 1,
            SocketAddr::V6(_) => 0,
        }
    }

    /// Whether this is a wildcard that includes `other`, another address of the same port.
    pub(super) fn covers(self, other: Self) -> bool {
        let (ours, theirs) = (self.address.socket, other.address.socket);
        self.address.device == other.address.device
            && ours.port() == theirs.port()
            && ours.port() != 0
            && ours.ip().is_unspecified()
            && ours.ip() != theirs.ip()
            && (ours.is_ipv4() == theirs.is_ipv4() || (ours.is_ipv6() && !self.only_ipv6))
    }
}

impl Bound {
    /// Binds all sockets.
    ///
    /// # Errors
    /// If one of the addresses cannot be bound.
    pub fn bind(listeners: Vec<Listener>) -> Result<Self, ServeError> {
        Self::bind_beside(&[], listeners)
    }

    /// Binds all sockets beside those of existing endpoints.
    ///
    /// # Errors
    /// If one of the addresses cannot be bound.
    pub(super) fn bind_beside(
        existing: &[Endpoint],
        listeners: Vec<Listener>,
    ) -> Result<Self, ServeError> {
        let mut order: Vec<usize> = (0..listeners.len()).collect();
        order.sort_by_key(|index| Site::of(&listeners[*index]).rank());
        let mut bound = Self::default();
        let mut groups: Vec<(usize, Vec<ServerSocket>)> = Vec::new();
        let mut waiting = Vec::new();
        for index in order {
            let site = Site::of(&listeners[index]);
            let overlaps = |other: Site| site.covers(other) || other.covers(site);
            let old = existing.iter().filter(|it| overlaps(it.site()));
            let new = groups.iter();
            let new = new.filter(|(other, _)| overlaps(Site::of(&listeners[*other])));
            let beside: Vec<BorrowedFd<'_>> = old
                .flat_map(Endpoint::sockets)
                .chain(new.flat_map(|(_, group)| group.iter().map(AsFd::as_fd)))
                .collect();
            match bind_group(&listeners[index], &beside) {
                Ok(Some((sockets, lacking))) => {
                    bound.missing.extend(lacking);
                    groups.push((index, sockets));
                }
                Ok(None) => {}
                Err(error)
                    if lacks_device(site.address, &error) || is_held_by_lost(existing, &error) =>
                {
                    waiting.push(index);
                }
                Err(error) => return Err(ServeError::Bind(site.address, error)),
            }
        }
        groups.sort_by_key(|(index, _)| *index);
        let mut groups = groups.into_iter().peekable();
        for (index, listener) in listeners.into_iter().enumerate() {
            if let Some((_, sockets)) = groups.next_if(|(own, _)| *own == index) {
                bound.endpoints.push((listener, sockets));
            } else if waiting.contains(&index) {
                bound.waiting.push(listener);
            }
        }
        Ok(bound)
    }

    /// Returns whether no address is to be served, now or when its device appears.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.waiting.is_empty()
    }

    /// Optional facilities that this system lacks.
    pub fn missing(&self) -> &[Shortcoming] {
        &self.missing
    }

    /// Starts all threads, which serve `claim` until the first [`publish`](Servers::publish).
    /// `seed` returns a fresh secret for each call.
    ///
    /// # Errors
    /// If not enough threads can be started. No thread is left running then.
    pub fn start(
        self,
        claim: Claim,
        translator: &Translator,
        mut seed: impl FnMut() -> [u8; 32],
    ) -> Result<Servers, ServeError> {
        let mut servers = Servers::new(translator)?;
        servers.add(self, claim, &mut seed)?;
        Ok(servers)
    }
}

/// Whether the address may be in use by an endpoint that will be closed, because its device was
/// renamed a moment ago.
fn is_held_by_lost(existing: &[Endpoint], error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse && existing.iter().any(Endpoint::has_lost_device)
}

type Group = (Vec<ServerSocket>, Vec<Shortcoming>);

/// Binds the sockets of one address; `None` if the kernel lacks its family.
fn bind_group(listener: &Listener, beside: &[BorrowedFd<'_>]) -> io::Result<Option<Group>> {
    let bind = |address| {
        let workers = listener.workers.max(1);
        let options = &listener.options;
        match beside {
            [] => ServerSocket::bind_group(address, workers, options),
            _ => ServerSocket::bind_group_beside(beside, address, workers, options),
        }
    };
    let address = listener.address.socket;
    match bind(address) {
        Ok(group) => Ok(Some(group)),
        Err(error) if lacks_ipv6(address, &error) => {
            let site = Site::of(listener);
            let wildcard = address.ip().is_unspecified() && !site.only_ipv6;
            let instead = wildcard.then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into());
            let group = instead.map(bind).transpose();
            // An address that waits is tried in each round; reported when it is served.
            let waits = |error| lacks_device(listener.address, error);
            if !group.as_ref().is_err_and(waits) {
                log::emit(&Event::ServerWithoutIpv6 { address, instead });
            }
            group
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_the_addresses_of_its_families() {
        let site = |text: &str| Site {
            address: text
                .trim_end_matches('6')
                .trim_end_matches('/')
                .parse()
                .unwrap(),
            only_ipv6: text.ends_with("/6"),
        };
        for (wildcard, other, covers) in [
            ("0.0.0.0:123", "127.0.0.1:123", true),
            ("0.0.0.0:123", "127.0.0.1:124", false),
            ("0.0.0.0:123", "[::1]:123", false),
            ("0.0.0.0:123", "[::]:123", false),
            ("[::]:123", "[::1]:123", true),
            ("[::]:123", "127.0.0.1:123", true),
            ("[::]:123", "0.0.0.0:123", true),
            ("[::]:123/6", "127.0.0.1:123", false),
            ("[::]:123/6", "[::1]:123", true),
            ("127.0.0.1:123", "0.0.0.0:123", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
            ("0.0.0.0:123%red", "127.0.0.1:123%red", true),
            ("0.0.0.0:123%red", "127.0.0.1:123%blue", false),
        ] {
            assert_eq!(
                site(wildcard).covers(site(other)),
                covers,
                "{wildcard} {other}"
            );
        }
    }
}
