//! Access control: a deny list, then an allow list.
//!
//! A client on the deny list is refused with that list's action; of the others, a client that is
//! not on the allow list is refused with *that* list's action. The action is to ignore the request
//! or to send a DENY kiss (RFC 5905 section 7.4).
//!
//! # Networks as ranges
//! Access control only needs to know whether *any* network of a list contains an address, not which
//! one fits best. A list is therefore stored as the union of its networks: disjoint address ranges
//! in ascending order, with overlapping and adjacent ones merged. A lookup is a binary search: a
//! list of a hundred thousand networks costs seventeen comparisons and 3 MB at most; the usual list
//! is one range.
//!
//! # IPv4 on a dual-stack socket
//! A dual-stack socket reports a client `192.0.2.1` as `::ffff:192.0.2.1` (RFC 4291 section
//! 2.5.5.2). Networks and clients in that form count as IPv4, so IPv4 networks apply to such
//! clients and `::/0` does not.

use std::net::IpAddr;

use super::client::Client;

/// Access control of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Checked first: clients on it are refused.
    pub denylist: AccessList,
    /// Checked second: clients not on it are refused.
    pub allowlist: AccessList,
}

/// One of the two lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessList {
    /// The networks.
    pub networks: Networks,
    /// How clients are refused.
    pub refusal: Refusal,
}

/// Action for a refused client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Send no reply.
    Ignore,
    /// Send a DENY kiss.
    Deny,
}

impl Access {
    /// Allows all clients.
    pub fn allow_all() -> Self {
        Self {
            denylist: AccessList {
                networks: Networks::NONE,
                refusal: Refusal::Deny,
            },
            allowlist: AccessList {
                networks: Networks::all(),
                refusal: Refusal::Ignore,
            },
        }
    }

    /// How `client` is refused; `None` if it is allowed.
    pub fn refusal(&self, client: IpAddr) -> Option<Refusal> {
        self.check(client.into())
    }

    #[inline]
    pub(super) fn check(&self, client: Client) -> Option<Refusal> {
        if self.denylist.networks.contains_client(client) {
            Some(self.denylist.refusal)
        } else if !self.allowlist.networks.contains_client(client) {
            Some(self.allowlist.refusal)
        } else {
            None
        }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::allow_all()
    }
}

/// A set of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    ipv4: Ranges<u32>,
    ipv6: Ranges<u128>,
}

impl Networks {
    /// No address at all.
    pub const NONE: Self = Self {
        ipv4: Ranges(Vec::new()),
        ipv6: Ranges(Vec::new()),
    };

    /// Every address.
    pub fn all() -> Self {
        Self {
            ipv4: Ranges(vec![(0, u32::MAX)]),
            ipv6: Ranges(vec![(0, u128::MAX)]),
        }
    }

    /// The union of networks, each given by an address and a prefix length. Host bits are ignored;
    /// a prefix longer than the address counts as its full length.
    pub fn new(networks: impl IntoIterator<Item = (IpAddr, u8)>) -> Self {
        let mut ipv4 = Vec::new();
        let mut ipv6 = Vec::new();
        for (address, length) in networks {
            match (address.to_canonical(), address) {
                // A prefix shorter than that of mapped addresses extends beyond IPv4: not a mapped
                // network.
                (IpAddr::V4(mapped), IpAddr::V6(_)) if length >= 96 => {
                    let host = host_mask(u32::MAX, length - 96);
                    ipv4.push((mapped.to_bits() & !host, mapped.to_bits() | host));
                }
                (_, IpAddr::V4(address)) => {
                    let host = host_mask(u32::MAX, length);
                    ipv4.push((address.to_bits() & !host, address.to_bits() | host));
                }
                (_, IpAddr::V6(address)) => {
                    let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                    ipv6.push((address.to_bits() & !host, address.to_bits() | host));
                }
            }
        }
        Self {
            ipv4: Ranges::union(ipv4),
            ipv6: Ranges::union(ipv6),
        }
    }

    /// Whether one of the networks contains `client`.
    pub fn contains(&self, client: IpAddr) -> bool {
        self.contains_client(client.into())
    }

    #[inline]
    fn contains_client(&self, client: Client) -> bool {
        match client {
            Client::V4(bits) => self.ipv4.contains(bits),
            Client::V6(bits) => self.ipv6.contains(bits),
        }
    }
}

/// Host bits of a network with a prefix of `length` bits.
fn host_mask(all: u32, length: u8) -> u32 {
    all.checked_shr(length.into()).unwrap_or(0)
}

/// Disjoint ranges in ascending order, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ranges<T>(Vec<(T, T)>);

impl<T: Copy + Ord> Ranges<T> {
    fn union(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let mut disjoint: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match disjoint.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => disjoint.push((first, last)),
            }
        }
        disjoint.shrink_to_fit();
        Self(disjoint)
    }

    #[inline]
    fn contains(&self, address: T) -> bool {
        // The only range that can contain the address is the last one that does not begin after it.
        let candidates = self.0.partition_point(|(first, _)| *first <= address);
        match candidates
            .checked_sub(1)
            .and_then(|index| self.0.get(index))
        {
            Some((_, last)) => address <= *last,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn networks(list: &[&str]) -> Networks {
        Networks::new(list.iter().map(|text| {
            let (address, length) = text.split_once('/').unwrap();
            (address.parse().unwrap(), length.parse().unwrap())
        }))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_deny_list_is_checked_before_the_allow_list() {
        let access = Access {
            denylist: AccessList {
                networks: networks(&["192.0.2.128/25", "2001:db8:bad::/48"]),
                refusal: Refusal::Deny,
            },
            allowlist: AccessList {
                networks: networks(&["192.0.2.0/24", "2001:db8::/32"]),
                refusal: Refusal::Ignore,
            },
        };
        for (client, refusal) in [
            ("192.0.2.1", None),
            ("192.0.2.200", Some(Refusal::Deny)),
            ("198.51.100.1", Some(Refusal::Ignore)),
            ("::ffff:192.0.2.1", None),
            ("::ffff:192.0.2.200", Some(Refusal::Deny)),
            ("2001:db8::1", None),
            ("2001:db8:bad::1", Some(Refusal::Deny)),
            ("2001:db9::1", Some(Refusal::Ignore)),
        ] {
            assert_eq!(access.refusal(ip(client)), refusal, "{client}");
        }
        assert_eq!(Access::allow_all().refusal(ip("::ffff:203.0.113.9")), None);
        assert_eq!(Access::allow_all().refusal(ip("2001:db8::1")), None);
    }

    #[test]
    fn mapped_networks_are_ipv4_networks() {
        let list = networks(&["::ffff:192.168.0.0/112"]);
        assert!(list.contains(ip("192.168.255.255")));
        assert!(!list.contains(ip("192.169.0.0")));
        assert!(!networks(&["::/0"]).contains(ip("::ffff:192.168.0.1")));
        assert!(!networks(&["::ffff:0.0.0.0/90"]).contains(ip("192.168.0.1")));
        assert!(!networks(&["0.0.0.0/0"]).contains(ip("::1")));
    }

    #[test]
    fn overlapping_networks_are_merged_into_one_range() {
        let hosts = (0..=255).map(|last| (IpAddr::from([192, 0, 2, last]), 32));
        let nested = (8..=24).map(|length| (ip("192.0.2.0"), length));
        let list = Networks::new(hosts.chain(nested));
        assert_eq!(list.ipv4.0, [(192 << 24, (193 << 24) - 1)]);
    }

    fn network() -> impl Strategy<Value = (IpAddr, u8)> {
        // Few distinct bits, so that networks touch and overlap.
        let ipv4 = (0u32..8, 0u32..8, 0u8..=40)
            .prop_map(|(high, low, length)| (Ipv4Addr::from_bits(high << 29 | low).into(), length));
        let ipv6 = (0u128..8, 0u128..8, any::<u8>()).prop_map(|(high, low, length)| {
            (Ipv6Addr::from_bits(high << 125 | low).into(), length)
        });
        prop_oneof![ipv4, ipv6]
    }

    proptest! {
        #[test]
        fn a_set_contains_an_address_if_one_of_its_networks_does(
            list in vec(network(), 0..8),
            (client, _) in network(),
        ) {
            let expected = list.iter().any(|(address, length)| match (address, client) {
                (IpAddr::V4(net), IpAddr::V4(client)) => {
                    let differ = net.to_bits() ^ client.to_bits();
                    differ.leading_zeros() >= u32::from(*length).min(32)
                }
                (IpAddr::V6(net), IpAddr::V6(client)) => {
                    let differ = net.to_bits() ^ client.to_bits();
                    differ.leading_zeros() >= u32::from(*length).min(128)
                }
                _ => false,
            });
            prop_assert_eq!(Networks::new(list).contains(client), expected);
        }
    }
}
