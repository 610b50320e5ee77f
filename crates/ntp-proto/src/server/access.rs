//! Access control: which clients are served, and how the others are refused.
//!
//! There are two ways to state it. A deny list and an allow list: a client on the deny list is
//! refused with that list's action; of the others, a client that is not on the allow list is
//! refused with *that* list's action. Or rules, of which the one with the longest prefix that
//! contains the client decides; their order does not matter. A refused client gets no reply, or a
//! DENY kiss (RFC 5905 section 7.4).
//!
//! # Decisions by address range
//! Both are converted to the same table: the address space is divided into ranges of equal
//! decision, of which only the first addresses are stored, in ascending order. A lookup is one
//! binary search: a hundred thousand networks cost eighteen comparisons and 6 MB at most; the usual
//! table has one to three ranges. Two tables are equal if they decide equally for every client.
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
    ipv4: Decisions<u32>,
    ipv6: Decisions<u128>,
}

/// A deny list or an allow list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessList {
    /// The networks.
    pub networks: Networks,
    /// How clients are refused.
    pub refusal: Refusal,
}

/// Decision of [`Access::from_rules`] for the clients of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// An address of the network; the bits after the prefix are ignored.
    pub address: IpAddr,
    /// Prefix length; a longer one than the address counts as its full length.
    pub length: u8,
    /// How its clients are refused; `None` if they are served.
    pub refusal: Option<Refusal>,
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
        Self::from_rules(None, [])
    }

    /// Refuses clients on `denylist`, and those that are not on `allowlist`; the former is checked
    /// first.
    pub fn from_lists(denylist: &AccessList, allowlist: &AccessList) -> Self {
        let refusals = (denylist.refusal, allowlist.refusal);
        let (denied, allowed) = (&denylist.networks, &allowlist.networks);
        Self {
            ipv4: Decisions::from_lists(&denied.ipv4, &allowed.ipv4, refusals),
            ipv6: Decisions::from_lists(&denied.ipv6, &allowed.ipv6, refusals),
        }
    }

    /// Decides by the rule with the longest prefix that contains the client, and by `default` if
    /// there is none. Of several rules for one network, the last one holds.
    pub fn from_rules(
        default: Option<Refusal>,
        rules: impl IntoIterator<Item = AccessRule>,
    ) -> Self {
        let mut ipv4 = Vec::new();
        let mut ipv6 = Vec::new();
        for rule in rules {
            match NetworkRange::new(rule.address, rule.length) {
                NetworkRange::V4(range) => ipv4.push((range, rule.refusal)),
                NetworkRange::V6(range) => ipv6.push((range, rule.refusal)),
            }
        }
        Self {
            ipv4: Decisions::from_networks(default, ipv4),
            ipv6: Decisions::from_networks(default, ipv6),
        }
    }

    /// How `client` is refused; `None` if it is allowed.
    pub fn refusal(&self, client: IpAddr) -> Option<Refusal> {
        self.check(client.into())
    }

    #[inline]
    pub(super) fn check(&self, client: Client) -> Option<Refusal> {
        match client {
            Client::V4(bits) => self.ipv4.refusal(bits),
            Client::V6(bits) => self.ipv6.refusal(bits),
        }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::allow_all()
    }
}

/// An address as an integer.
trait Bits: Copy + Ord + Default {
    /// The next address; `None` after the last one.
    fn successor(self) -> Option<Self>;
}

impl Bits for u32 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Bits for u128 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// Ranges of addresses with their decisions: first addresses, in ascending order from zero.
/// Neighbours have different decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decisions<T>(Vec<(T, Option<Refusal>)>);

impl<T: Bits> Decisions<T> {
    fn from_lists(denied: &Ranges<T>, allowed: &Ranges<T>, refusals: (Refusal, Refusal)) -> Self {
        // Decisions change only where a range begins or ends.
        let ends = |&(first, last): &(T, T)| [Some(first), last.successor()];
        let ranges = denied.0.iter().chain(&allowed.0);
        let mut firsts: Vec<T> = ranges.flat_map(ends).flatten().collect();
        firsts.push(T::default());
        firsts.sort_unstable();
        let mut all = Self(Vec::new());
        for first in firsts {
            let refusal = if denied.contains(first) {
                Some(refusals.0)
            } else if allowed.contains(first) {
                None
            } else {
                Some(refusals.1)
            };
            all.change_at(first, refusal);
        }
        all.0.shrink_to_fit();
        all
    }

    /// `networks` are ranges of prefixes: any two are disjoint, or one contains the other.
    fn from_networks(
        default: Option<Refusal>,
        mut networks: Vec<((T, T), Option<Refusal>)>,
    ) -> Self {
        // A network comes before those that it contains. Stable: of equal ones, the last one holds.
        networks
            .sort_by(|((first, last), _), ((other, end), _)| first.cmp(other).then(end.cmp(last)));
        let mut all = Self(vec![(T::default(), default)]);
        // The networks that contain the current address, the narrowest one last.
        let mut open: Vec<(T, Option<Refusal>)> = Vec::new();
        for ((first, last), refusal) in networks {
            while let Some((end, _)) = open.pop_if(|(end, _)| *end < first) {
                all.end_network(end, &open, default);
            }
            all.change_at(first, refusal);
            open.push((last, refusal));
        }
        while let Some((end, _)) = open.pop() {
            all.end_network(end, &open, default);
        }
        all.0.shrink_to_fit();
        all
    }

    /// After `end`, the network around the ended one decides again.
    fn end_network(&mut self, end: T, around: &[(T, Option<Refusal>)], default: Option<Refusal>) {
        if let Some(next) = end.successor() {
            self.change_at(next, around.last().map_or(default, |(_, refusal)| *refusal));
        }
    }

    /// Sets the decision from `first` on, which is not before the last change.
    fn change_at(&mut self, first: T, refusal: Option<Refusal>) {
        self.0.pop_if(|(last, _)| *last == first);
        if self.0.last().is_none_or(|(_, last)| *last != refusal) {
            self.0.push((first, refusal));
        }
    }

    #[inline]
    fn refusal(&self, address: T) -> Option<Refusal> {
        // The range that contains the address is the last one that does not begin after it.
        let candidates = self.0.partition_point(|(first, _)| *first <= address);
        let (_, refusal) = self.0.get(candidates.checked_sub(1)?)?;
        *refusal
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
            match NetworkRange::new(address, length) {
                NetworkRange::V4(range) => ipv4.push(range),
                NetworkRange::V6(range) => ipv6.push(range),
            }
        }
        Self {
            ipv4: Ranges::union(ipv4),
            ipv6: Ranges::union(ipv6),
        }
    }

    /// Whether one of the networks contains `client`.
    pub fn contains(&self, client: IpAddr) -> bool {
        match client.into() {
            Client::V4(bits) => self.ipv4.contains(bits),
            Client::V6(bits) => self.ipv6.contains(bits),
        }
    }
}

/// First and last address of a network.
enum NetworkRange {
    V4((u32, u32)),
    V6((u128, u128)),
}

impl NetworkRange {
    fn new(address: IpAddr, length: u8) -> Self {
        match (address.to_canonical(), address) {
            // A prefix shorter than that of mapped addresses extends beyond IPv4: not a mapped
            // network.
            (IpAddr::V4(mapped), IpAddr::V6(_)) if length >= 96 => {
                Self::ipv4(mapped.to_bits(), length - 96)
            }
            (_, IpAddr::V4(address)) => Self::ipv4(address.to_bits(), length),
            (_, IpAddr::V6(address)) => {
                let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                Self::V6((address.to_bits() & !host, address.to_bits() | host))
            }
        }
    }

    fn ipv4(address: u32, length: u8) -> Self {
        let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
        Self::V4((address & !host, address | host))
    }
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
        let denylist = AccessList {
            networks: networks(&["192.0.2.128/25", "2001:db8:bad::/48"]),
            refusal: Refusal::Deny,
        };
        let allowlist = AccessList {
            networks: networks(&["192.0.2.0/24", "2001:db8::/32"]),
            refusal: Refusal::Ignore,
        };
        let access = Access::from_lists(&denylist, &allowlist);
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

    /// Case 01 of public reports: refuse all, then allow networks, and refuse a part of one.
    #[test]
    fn the_most_specific_rule_decides() {
        let rule = |text: &str, refusal| {
            let (address, length) = text.split_once('/').unwrap();
            AccessRule {
                address: address.parse().unwrap(),
                length: length.parse().unwrap(),
                refusal,
            }
        };
        let mut rules = vec![
            rule("0.0.0.0/0", Some(Refusal::Ignore)),
            rule("192.0.2.0/24", None),
            rule("192.0.2.64/26", Some(Refusal::Deny)),
            rule("192.0.2.66/32", None),
            rule("2001:db8::/32", None),
            rule("255.255.255.255/32", None),
        ];
        for _ in 0..2 {
            let access = Access::from_rules(Some(Refusal::Deny), rules.clone());
            for (client, refusal) in [
                ("192.0.2.1", None),
                ("192.0.2.63", None),
                ("192.0.2.64", Some(Refusal::Deny)),
                ("::ffff:192.0.2.66", None),
                ("192.0.2.67", Some(Refusal::Deny)),
                ("192.0.2.128", None),
                ("192.0.3.0", Some(Refusal::Ignore)),
                ("255.255.255.255", None),
                ("2001:db8::1", None),
                ("2001:db9::1", Some(Refusal::Deny)),
            ] {
                assert_eq!(access.refusal(ip(client)), refusal, "{client}");
            }
            rules.reverse();
        }
    }

    fn refusal() -> impl Strategy<Value = Option<Refusal>> {
        prop::sample::select(vec![None, Some(Refusal::Ignore), Some(Refusal::Deny)])
    }

    /// Whether `client` belongs to the network, by comparison of the addresses' bits.
    fn is_within((address, length): (IpAddr, u8), client: IpAddr) -> bool {
        match (address, client) {
            (IpAddr::V4(net), IpAddr::V4(client)) => {
                let differ = net.to_bits() ^ client.to_bits();
                differ.leading_zeros() >= u32::from(length).min(32)
            }
            (IpAddr::V6(net), IpAddr::V6(client)) => {
                let differ = net.to_bits() ^ client.to_bits();
                differ.leading_zeros() >= u32::from(length).min(128)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_set_contains_an_address_if_one_of_its_networks_does(
            list in vec(network(), 0..8),
            (client, _) in network(),
        ) {
            let expected = list.iter().any(|network| is_within(*network, client));
            prop_assert_eq!(Networks::new(list).contains(client), expected);
        }

        #[test]
        fn lists_decide_as_their_networks_do(
            denied in vec(network(), 0..6),
            allowed in vec(network(), 0..6),
            (client, _) in network(),
        ) {
            let list = |networks: &[(IpAddr, u8)], refusal| AccessList {
                networks: Networks::new(networks.iter().copied()),
                refusal,
            };
            let (denylist, allowlist) =
                (list(&denied, Refusal::Deny), list(&allowed, Refusal::Ignore));
            let expected = if denylist.networks.contains(client) {
                Some(Refusal::Deny)
            } else if allowlist.networks.contains(client) {
                None
            } else {
                Some(Refusal::Ignore)
            };
            let access = Access::from_lists(&denylist, &allowlist);
            prop_assert_eq!(access.refusal(client), expected);
        }

        #[test]
        fn of_the_rules_that_contain_a_client_the_longest_prefix_decides(
            default in refusal(),
            rules in vec((network(), refusal()), 0..10),
            (client, _) in network(),
        ) {
            let containing = rules.iter().filter(|(network, _)| is_within(*network, client));
            // Of equal lengths, `max_by_key` returns the last one.
            let bits = if client.is_ipv4() { 32 } else { 128 };
            let longest = containing.max_by_key(|((_, length), _)| (*length).min(bits));
            let expected = longest.map_or(default, |(_, refusal)| *refusal);
            let access = Access::from_rules(default, rules.iter().map(|((address, length), refusal)| {
                AccessRule { address: *address, length: *length, refusal: *refusal }
            }));
            prop_assert_eq!(access.refusal(client), expected);
            let firsts = |changes: usize| changes <= 2 * rules.len() + 1;
            prop_assert!(firsts(access.ipv4.0.len()) && firsts(access.ipv6.0.len()));
        }
    }
}
