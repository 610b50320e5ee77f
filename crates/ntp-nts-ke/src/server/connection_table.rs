//! Open connections in order of arrival, with limits.
//!
//! There are two limits: connections in all, and connections of one *network* (an IPv4 address or
//! an IPv6 /64, which is what one customer has). A new connection is always accepted. It evicts the
//! oldest one of its network if the network is at its limit, otherwise the oldest of all if the
//! table is full.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

/// The unit of the limit per network: an IPv4 address (mapped) or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Network(Ipv6Addr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
            }
        })
    }
}

/// Identifies a connection; later ones have larger numbers.
pub(super) type ConnectionId = u64;

/// The open connections, each with a value of the caller.
#[derive(Debug)]
pub(super) struct ConnectionTable<T> {
    connections: BTreeMap<ConnectionId, (Network, T)>,
    /// The same connections by network.
    networks: BTreeSet<(Network, ConnectionId)>,
    last: ConnectionId,
    limit: usize,
    per_network: usize,
}

impl<T> ConnectionTable<T> {
    /// A table for `limit` connections, of which `per_network` may be from one network. A limit of
    /// 0 counts as 1.
    pub(super) fn new(limit: usize, per_network: usize) -> Self {
        Self {
            connections: BTreeMap::new(),
            networks: BTreeSet::new(),
            last: 0,
            limit: limit.max(1),
            per_network: per_network.max(1),
        }
    }

    /// Changes the limits. Does not close connections; each new one still evicts at most one.
    pub(super) fn set_limits(&mut self, limit: usize, per_network: usize) {
        (self.limit, self.per_network) = (limit.max(1), per_network.max(1));
    }

    /// Removes and returns the connection that a new one from `network` evicts, if any.
    pub(super) fn evict_for(&mut self, network: Network) -> Option<T> {
        let mut own = self
            .networks
            .range((network, 0)..=(network, ConnectionId::MAX));
        let oldest_own = own.next().map(|(_, id)| *id);
        let have = oldest_own.map_or(0, |_| 1 + own.count());
        let oldest = || self.connections.first_key_value().map(|(id, _)| *id);
        let evicted = if have >= self.per_network {
            oldest_own
        } else if self.connections.len() >= self.limit {
            oldest()
        } else {
            None
        };
        evicted.and_then(|id| self.remove(id))
    }

    /// Returns a new id.
    pub(super) fn next_id(&mut self) -> ConnectionId {
        self.last += 1;
        self.last
    }

    /// Adds a connection.
    pub(super) fn insert(&mut self, id: ConnectionId, network: Network, value: T) {
        self.connections.insert(id, (network, value));
        self.networks.insert((network, id));
    }

    /// Removes a connection and returns its value; `None` if it was removed before.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let (network, value) = self.connections.remove(&id)?;
        self.networks.remove(&(network, id));
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().unwrap().into()
    }

    /// Adds a connection and returns the id of the one that it evicts.
    fn connect(table: &mut ConnectionTable<ConnectionId>, from: &str) -> Option<ConnectionId> {
        let evicted = table.evict_for(network(from));
        let id = table.next_id();
        table.insert(id, network(from), id);
        evicted
    }

    #[test]
    fn addresses_of_one_ipv6_prefix_are_one_network() {
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::2:3:4:5"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }

    #[test]
    fn a_network_at_its_limit_evicts_its_own_oldest_connection() {
        let mut table = ConnectionTable::new(10, 2);
        for (from, evicted) in [
            ("192.0.2.9", None),
            ("192.0.2.1", None),
            ("192.0.2.1", None),
            ("192.0.2.1", Some(2)),
            ("192.0.2.1", Some(3)),
            ("2001:db8::1", None),
            ("2001:db8::2", None),
            ("2001:db8::3", Some(6)),
        ] {
            assert_eq!(connect(&mut table, from), evicted, "{from}");
        }
        assert_eq!(table.connections.len(), 5);
    }

    #[test]
    fn a_full_table_evicts_its_oldest_connection_and_ignores_removed_ones() {
        let mut table = ConnectionTable::new(3, 3);
        for last in 1..=3 {
            assert_eq!(connect(&mut table, &format!("192.0.2.{last}")), None);
        }
        assert_eq!(connect(&mut table, "192.0.2.4"), Some(1));
        assert_eq!(table.remove(2), Some(2));
        assert_eq!(table.remove(2), None);
        assert_eq!(connect(&mut table, "192.0.2.5"), None);
        assert_eq!(connect(&mut table, "192.0.2.6"), Some(3));
        assert_eq!(table.connections.len(), table.networks.len());
    }
}
