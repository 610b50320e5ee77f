//! Resource limits of the key-exchange server: hundreds of idle and slow connections from many
//! addresses.
//!
//! Honest clients are served meanwhile, and the limits of `[[nts-ke-server]]` hold: connections in
//! total and per address, and thus the daemon's descriptors and memory.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::Scenario;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::{nts_query, scenario, wait};
use ntp_proto::nts::AeadAlgorithm;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::LIMIT;

/// Configured limits: connections in total and per address.
const CONNECTIONS: usize = 100;
const PER_ADDRESS: usize = 8;
/// Allowance for other file descriptors.
const OTHER_DESCRIPTORS: usize = 16;
/// Maximum memory per connection in octets, including TLS buffers.
const CONNECTION_MEMORY: u64 = 128 << 10;

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario!(five_hundred_idle_connections_do_not_block_key_exchange),
    scenario!(five_thousand_idle_connections_do_not_block_key_exchange).slow(),
];

fn five_hundred_idle_connections_do_not_block_key_exchange() {
    check_limits(20, 25);
}

fn five_thousand_idle_connections_do_not_block_key_exchange() {
    check_limits(50, 100);
}

/// Opens idle connections from `hosts` hosts, `connections` from each.
fn check_limits(hosts: usize, connections: usize) {
    allow_descriptors(2 * hosts * connections);
    let network = Network::new();
    let (honest, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("server", &host.names());
    let setup = Setup::new(1)
        .unsteered()
        .with(&certificate.ke_server_section(
            "[::]:4460",
            &format!(
                "key-exchange-timeout-ms = 600000\nconcurrent-connections = {CONNECTIONS}\n\
                 connections-per-address = {PER_ADDRESS}"
            ),
        ));
    let daemon = setup.start(Some(&host));
    daemon
        .process
        .wait_for_event(LIMIT, "ke_server_started", &[]);
    let server = |number: usize| {
        let address = if number.is_multiple_of(2) {
            host.v4()
        } else {
            host.v6()
        };
        SocketAddr::new(address, 4460)
    };
    let exchange = |number| {
        let algorithm = AeadAlgorithm::AesSivCmac256;
        let got = nts_query::exchange(&honest, server(number), &authority.path(), algorithm);
        assert_eq!(got.expect("keys for an honest client").cookies.len(), 8);
    };
    exchange(0);
    let (descriptors, memory) = (
        daemon.process.descriptors(),
        daemon.process.resident_bytes(),
    );

    let mut idle = Vec::new();
    for number in 0..hosts {
        let attacker = network.host();
        idle.extend(idle_connections(&attacker, server(number), connections));
        if (number + 1).is_multiple_of(5) {
            exchange(number);
        }
        idle.push(Held::Host(attacker));
    }
    exchange(1);
    let most = descriptors + CONNECTIONS + OTHER_DESCRIPTORS;
    wait::until(LIMIT, "no more connections than permitted", || {
        (daemon.process.descriptors() <= most).then_some(())
    });
    let now = daemon.process.resident_bytes();
    println!(
        "{} connections: {} of {most} descriptors, {:.1} MiB of memory, {:.1} before",
        hosts * connections,
        daemon.process.descriptors(),
        now as f64 / f64::from(1 << 20),
        memory as f64 / f64::from(1 << 20),
    );
    assert!(now <= memory + (CONNECTIONS as u64) * CONNECTION_MEMORY);
}

/// Resources that must stay open.
enum Held {
    Connection(#[expect(dead_code, reason = "only kept open")] TcpStream),
    Host(#[expect(dead_code, reason = "only kept open")] Host),
}

/// Opens idle connections. Every third sends the start of a TLS handshake, the rest nothing.
fn idle_connections(host: &Host, server: SocketAddr, count: usize) -> Vec<Held> {
    host.inside(|| {
        let connect = |number: usize| {
            let mut socket = TcpStream::connect(server).expect("a listener");
            if number.is_multiple_of(3) {
                // The server may have closed it already.
                let _ = socket.write_all(&[22, 3, 1, 1, 0, 1]);
            }
            Held::Connection(socket)
        };
        (0..count).map(connect).collect()
    })
}

fn allow_descriptors(count: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = (count as u64).max(limit.current.unwrap_or(u64::MAX));
    limit.current = Some(limit.maximum.map_or(wanted, |maximum| wanted.min(maximum)));
    setrlimit(Resource::Nofile, limit).expect("more descriptors, up to the hard limit");
}
