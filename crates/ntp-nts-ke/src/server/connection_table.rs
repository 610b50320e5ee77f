//! Who is connected, in the order of arrival, and who must go to make room.
//!
//! Two limits: connections in all, and connections of one *network* (an IPv4 address or a /64 of IPv6, which is what one customer has). A newcomer
//! is always let in; who goes is the oldest of its network if the network has its share, else the oldest of all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

/// One who can use up one share.
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

/// Names a connection; later ones have larger numbers.
pub(super) type Seat = u64;

/// The connections, each with something of the caller's.
#[derive(Debug)]
pub(super) struct Table<T> {
    seats: BTreeMap<Seat, (Network, T)>,
    /// The same by network.
    networks: BTreeSet<(Network, Seat)>,
    next: Seat,
    limit: usize,
    share: usize,
}

impl<T> Table<T> {
    /// A table for `limit` connections, `share` of them from one network; at least one.
    pub(super) fn new(limit: usize, share: usize) -> Self {
        Self {
            seats: BTreeMap::new(),
            networks: BTreeSet::new(),
            next: 0,
            limit: limit.max(1),
            share: share.max(1),
        }
    }

    /// Takes other limits. Whoever is seated may stay; newcomers displace one each, as ever.
    pub(super) fn set_limits(&mut self, limit: usize, share: usize) {
        (self.limit, self.share) = (limit.max(1), share.max(1));
    }

    /// Makes room for one of `network` and gives back who had to go for it.
    pub(super) fn make_room(&mut self, network: Network) -> Option<T> {
        let mut own = self.networks.range((network, 0)..=(network, Seat::MAX));
        let oldest_own = own.next().map(|(_, seat)| *seat);
        let have = oldest_own.map_or(0, |_| 1 + own.count());
        let oldest = || self.seats.first_key_value().map(|(seat, _)| *seat);
        let goes = if have >= self.share {
            oldest_own
        } else if self.seats.len() >= self.limit {
            oldest()
        } else {
            None
        };
        goes.and_then(|seat| self.leave(seat))
    }

    /// The number of the next one.
    pub(super) fn next_seat(&mut self) -> Seat {
        self.next += 1;
        self.next
    }

    /// Seats one.
    pub(super) fn sit(&mut self, seat: Seat, network: Network, with: T) {
        self.seats.insert(seat, (network, with));
        self.networks.insert((network, seat));
    }

    /// One goes, if it has not gone before.
    pub(super) fn leave(&mut self, seat: Seat) -> Option<T> {
        let (network, with) = self.seats.remove(&seat)?;
        self.networks.remove(&(network, seat));
        Some(with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().unwrap().into()
    }

    /// Lets one in and says who went, by the order of arrival.
    fn arrive(table: &mut Table<Seat>, from: &str) -> Option<Seat> {
        let gone = table.make_room(network(from));
        let seat = table.next_seat();
        table.sit(seat, network(from), seat);
        gone
    }

    #[test]
    fn one_customer_is_one_network() {
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::2:3:4:5"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }

    #[test]
    fn at_its_share_a_network_displaces_only_itself() {
        let mut table = Table::new(10, 2);
        for (from, gone) in [
            ("192.0.2.9", None),
            ("192.0.2.1", None),
            ("192.0.2.1", None),
            ("192.0.2.1", Some(2)),
            ("192.0.2.1", Some(3)),
            ("2001:db8::1", None),
            ("2001:db8::2", None),
            ("2001:db8::3", Some(6)),
        ] {
            assert_eq!(arrive(&mut table, from), gone, "{from}");
        }
        assert_eq!(table.seats.len(), 5);
    }

    #[test]
    fn a_full_table_loses_its_oldest_and_whoever_left_counts_no_more() {
        let mut table = Table::new(3, 3);
        for last in 1..=3 {
            assert_eq!(arrive(&mut table, &format!("192.0.2.{last}")), None);
        }
        assert_eq!(arrive(&mut table, "192.0.2.4"), Some(1));
        assert_eq!(table.leave(2), Some(2));
        assert_eq!(table.leave(2), None);
        assert_eq!(arrive(&mut table, "192.0.2.5"), None);
        assert_eq!(arrive(&mut table, "192.0.2.6"), Some(3));
        assert_eq!(table.seats.len(), table.networks.len());
    }
}
