//! Who asks, over all workers and addresses: their lists put together for somebody who wants to see them.
//!
//! Each worker has a list of its own ([`SharedClientList`]), which is locked for nothing but copying it; sorting comes afterwards.
//!
//! One client meets one worker, but where the kernel cannot steer it may be in several lists; so what they say of one address is added up. What a client
//! asked at different addresses of ours stays apart.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::Arc;

use ntp_proto::server::ClientEntry;
use ntp_worker::SharedClientList;

/// Clients of one address or of several.
#[derive(Clone, Debug, Default)]
pub struct Register {
    clients: Vec<(SocketAddr, ClientEntry)>,
    /// For how many clients there is room (`client-list-size`).
    pub size: usize,
    /// Datagrams that were not entered, because a list was just being copied.
    pub missed: u64,
    /// How often a client had to make room for another one.
    pub displaced: u64,
}

impl Register {
    /// Takes in what the workers at `address` know.
    pub(super) fn add(
        &mut self,
        address: SocketAddr,
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

    /// How many clients are remembered.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Those who asked most often, at most `limit` of them, with the address at which they asked.
    pub fn busiest(mut self, limit: usize) -> Vec<(SocketAddr, ClientEntry)> {
        let order = |(server, client): &(SocketAddr, ClientEntry)| {
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
    use std::net::IpAddr;

    use ntp_proto::server::{Kind, Verdict};
    use ntp_time::Monotonic;

    use super::*;

    const TIME: Verdict = Verdict::Answer {
        kind: Kind::Time,
        interleaved: false,
        authenticated: false,
    };

    /// A worker's list of clients 10.0.0.N, each with its number of requests.
    fn list(clients: &[(u8, usize)]) -> Arc<SharedClientList> {
        let worker = SharedClientList::new([1; 32]);
        worker.resize(64, 1);
        for (host, requests) in clients {
            let mut heard = vec![([10, 0, 0, *host].into(), TIME); *requests];
            worker.record_batch(Monotonic::from_nanos(0), &mut heard);
            assert!(heard.is_empty());
        }
        Arc::new(worker)
    }

    fn server(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn one_client_of_several_workers_is_one_and_of_several_addresses_is_several() {
        let mut register = Register::default();
        register.add(
            server(123),
            64,
            &[list(&[(1, 5), (2, 9)]), list(&[(3, 1), (1, 6)])],
        );
        register.add(server(124), 64, &[list(&[(1, 10)])]);
        assert_eq!((register.len(), register.size), (4, 128));
        assert_eq!((register.missed, register.displaced), (0, 0));
        let told = |limit| -> Vec<(u16, IpAddr, u64)> {
            let busiest = register.clone().busiest(limit).into_iter();
            busiest
                .map(|(server, client)| (server.port(), client.address, client.requests))
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
            assert_eq!(told(limit), expected[..limit.min(4)], "{limit}");
        }
    }
    #[test]
    fn a_batch_that_comes_while_the_list_is_open_is_missed_and_the_next_is_not() {
        let worker = list(&[]);
        let batch = || vec![([10, 0, 0, 1].into(), TIME); 5];
        let open = worker.lock();
        let mut heard = batch();
        worker.record_batch(Monotonic::from_nanos(0), &mut heard);
        assert!(heard.is_empty());
        drop(open);
        worker.record_batch(Monotonic::from_nanos(0), &mut batch());
        let mut register = Register::default();
        register.add(server(123), 64, &[Arc::clone(&worker)]);
        assert_eq!((register.missed, register.busiest(1)[0].1.requests), (5, 5));
        worker.resize(64, 1);
        let mut register = Register::default();
        register.add(server(123), 64, &[worker]);
        assert_eq!((register.missed, register.len()), (0, 0));
    }
}
