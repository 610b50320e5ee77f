//! The clients of all workers and addresses, merged into one table.
//!
//! Each worker has a list of its own ([`SharedClientList`]), which is locked only while it is copied;
//! sorting is done afterwards.
//!
//! A client normally reaches one worker, but where the kernel cannot steer it may be in several
//! lists, so the entries of one address are added up. Requests of one client to different addresses
//! of ours stay separate.

use std::cmp::Reverse;

use ntp_types::path::ListenAddress;
use std::sync::Arc;

use ntp_proto::server::ClientEntry;
use ntp_worker::SharedClientList;

/// Clients of one listening address or of several.
#[derive(Clone, Debug, Default)]
pub struct ClientTable {
    clients: Vec<(ListenAddress, ClientEntry)>,
    /// Capacity (`client-list-size`).
    pub size: usize,
    /// Datagrams that were not entered because a list was being copied.
    pub missed: u64,
    /// Number of entries that were replaced by another client.
    pub displaced: u64,
}

impl ClientTable {
    /// Adds the clients that the workers at `address` know.
    pub(super) fn add(
        &mut self,
        address: ListenAddress,
        size: usize,
        workers: &[Arc<SharedClientList>],
    ) {
        self.size += size;
        let mut entries = Vec::with_capacity(size);
        for worker in workers {
            let list = worker.lock();
            entries.extend(list.entries());
            self.displaced += list.displaced();
            self.missed += worker.missed();
        }
        if workers.len() > 1 {
            entries.sort_unstable_by_key(|entry| entry.address);
            entries.dedup_by(|double, kept| {
                let same = double.address == kept.address;
                if same {
                    kept.merge(double);
                }
                same
            });
        }
        let clients = entries.into_iter().map(|entry| (address, entry));
        self.clients.extend(clients);
    }

    /// Adds up the requests of each client to all listening addresses; the first one stands for them.
    #[must_use]
    pub fn by_client(mut self) -> Self {
        self.clients
            .sort_unstable_by_key(|(server, client)| (client.address, *server));
        self.clients.dedup_by(|(_, double), (_, kept)| {
            let same = double.address == kept.address;
            if same {
                kept.merge(double);
            }
            same
        });
        self
    }

    /// Number of clients.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Returns whether there are no clients.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Returns the at most `limit` clients with the most requests, each with the listening address.
    pub fn busiest(mut self, limit: usize) -> Vec<(ListenAddress, ClientEntry)> {
        let order = |(server, client): &(ListenAddress, ClientEntry)| {
            (Reverse(client.requests), client.address, *server)
        };
        if limit < self.clients.len() {
            self.clients.select_nth_unstable_by_key(limit, order);
            self.clients.truncate(limit);
        }
        self.clients.sort_unstable_by_key(order);
        self.clients
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use ntp_proto::server::{Kind, Verdict};
    use ntp_time::Monotonic;

    use super::*;

    const TIME: Verdict = Verdict::Answer {
        kind: Kind::Time,
        interleaved: false,
        authenticated: false,
    };

    /// Returns a worker's list of clients 10.0.0.N, each with its number of requests.
    fn list(clients: &[(u8, usize)]) -> Arc<SharedClientList> {
        let worker = SharedClientList::new([1; 32]);
        worker.resize(64, 1);
        for (host, requests) in clients {
            let mut batch = vec![([10, 0, 0, *host].into(), TIME); *requests];
            worker.record_batch(Monotonic::from_nanos(0), &mut batch);
            assert!(batch.is_empty());
        }
        Arc::new(worker)
    }

    fn server(port: u16) -> ListenAddress {
        SocketAddr::from(([192, 0, 2, 1], port)).into()
    }

    #[test]
    fn clients_are_merged_over_workers_but_not_over_addresses() {
        let mut table = ClientTable::default();
        table.add(
            server(123),
            64,
            &[list(&[(1, 5), (2, 9)]), list(&[(3, 1), (1, 6)])],
        );
        table.add(server(124), 64, &[list(&[(1, 10)])]);
        assert_eq!((table.len(), table.size), (4, 128));
        assert_eq!((table.missed, table.displaced), (0, 0));
        let busiest = |limit| -> Vec<(u16, IpAddr, u64)> {
            let clients = table.clone().busiest(limit).into_iter();
            clients
                .map(|(server, client)| (server.socket.port(), client.address, client.requests))
                .collect()
        };
        let host = |host| IpAddr::from([10, 0, 0, host]);
        let expected = [
            (123, host(1), 11),
            (124, host(1), 10),
            (123, host(2), 9),
            (123, host(3), 1),
        ];
        for limit in 0..6 {
            assert_eq!(busiest(limit), expected[..limit.min(4)], "{limit}");
        }
    }

    #[test]
    fn requests_to_several_addresses_can_be_added_up() {
        let mut table = ClientTable::default();
        table.add(server(123), 64, &[list(&[(1, 5), (2, 9)])]);
        table.add(server(124), 64, &[list(&[(1, 10)])]);
        let clients = table.by_client().busiest(9);
        let found = clients
            .iter()
            .map(|(server, it)| (server.socket.port(), it.requests));
        assert_eq!(found.collect::<Vec<_>>(), [(123, 15), (123, 9)]);
    }

    #[test]
    fn a_batch_during_a_copy_is_missed_and_the_next_is_entered() {
        let worker = list(&[]);
        let new_batch = || vec![([10, 0, 0, 1].into(), TIME); 5];
        let open = worker.lock();
        let mut batch = new_batch();
        worker.record_batch(Monotonic::from_nanos(0), &mut batch);
        assert!(batch.is_empty());
        drop(open);
        worker.record_batch(Monotonic::from_nanos(0), &mut new_batch());
        let mut table = ClientTable::default();
        table.add(server(123), 64, &[Arc::clone(&worker)]);
        assert_eq!((table.missed, table.busiest(1)[0].1.requests), (5, 5));
        worker.resize(64, 1);
        let mut table = ClientTable::default();
        table.add(server(123), 64, &[worker]);
        assert_eq!((table.missed, table.len()), (0, 0));
    }
}
