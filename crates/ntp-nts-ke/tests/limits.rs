//! Limits on the resources of clients, and that they do not affect honest clients.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Authority, endpoint, exchange_keys, start, until};
use ntp_nts_ke::server::{Limits, MAX_CLIENT_OCTETS};

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn idle_and_slow_connections_do_not_stop_honest_clients() {
    let authority = Authority::new();
    let mut endpoint = endpoint(vec![authority.good()]);
    endpoint.limits = Limits {
        connections: 64,
        per_network: 64,
        time: Duration::from_secs(600),
        long_lived: 10,
    };
    let running = start(endpoint);
    let mut idle = Vec::new();
    for number in 0..300 {
        let mut socket = TcpStream::connect(running.address).unwrap();
        if number % 3 == 0 {
            // The beginning of a ClientHello only.
            let _ = socket.write_all(&[22, 3, 1, 1, 0, 1]);
        }
        idle.push(socket);
        if number % 50 == 49 {
            let report = exchange_keys(&running, &authority);
            assert!(report.outcome.is_ok(), "{report:?}");
        }
    }
    let counters = running.server.counters();
    until("all are accepted", || read(&counters.accepted) == 306);
    until("the oldest are evicted", || {
        read(&counters.evicted) >= 300 - 64
    });
    until("all exchanges are counted", || read(&counters.granted) == 6);
    // The evicted connections are closed.
    let mut first = idle.swap_remove(0);
    first
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    assert!(matches!(first.read(&mut [0; 16]), Ok(0) | Err(_)));
}

#[test]
fn duration_and_octets_of_a_connection_are_limited() {
    let authority = Authority::new();
    let mut endpoint = endpoint(vec![authority.good()]);
    endpoint.limits.time = Duration::from_millis(100);
    let running = start(endpoint);
    let counters = running.server.counters();
    let _silent = TcpStream::connect(running.address).unwrap();
    until("the time limit is reached", || {
        read(&counters.timed_out) == 1
    });

    let server = start({
        let mut endpoint = common::endpoint(vec![authority.good()]);
        endpoint.limits.time = Duration::from_secs(600);
        endpoint
    });
    let mut client = TcpStream::connect(server.address).unwrap();
    // One handshake message of 64 KiB, in records of 4 KiB.
    let mut record = vec![22, 3, 1, 16, 0, 1, 0, 255, 255];
    record.resize(5 + 4096, 0);
    let mut sent = 0;
    while sent < 4 * MAX_CLIENT_OCTETS && client.write_all(&record).is_ok() {
        sent += record.len();
        record.truncate(5);
        record.resize(5 + 4096, 0);
    }
    until("the connection is closed", || {
        read(&server.server.counters().failed) == 1
    });
}
