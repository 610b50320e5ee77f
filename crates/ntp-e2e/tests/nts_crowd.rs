//! Those who only take up room at our key exchange: idle and slow connections by the hundred, from many addresses.
//!
//! Honest clients are served meanwhile, and the limits of `[[nts-ke-server]]` hold: connections in all and of each address, and with
//! them the daemon's descriptors and memory.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::{nts_query, scenario, wait};
use ntp_proto::nts::AeadAlgorithm;
use rustix::process::{Resource, getrlimit, setrlimit};

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

/// What the daemon is told to bear.
const CONNECTIONS: usize = 100;
const PER_ADDRESS: usize = 8;
/// Descriptors for everything else that may begin meanwhile.
const OTHERS: usize = 16;
/// Octets of memory that each of these connections may take, buffers of TLS included.
const EACH: u64 = 128 << 10;

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(five_hundred_idle_connections_keep_nobody_from_keys),
            scenario!(five_thousand_idle_connections_keep_nobody_from_keys).slow(),
        ],
    )
}

fn five_hundred_idle_connections_keep_nobody_from_keys() {
    crowd(20, 25);
}

fn five_thousand_idle_connections_keep_nobody_from_keys() {
    crowd(50, 100);
}

/// So many hosts with so many connections each.
fn crowd(hosts: usize, connections: usize) {
    allow_descriptors(2 * hosts * connections);
    let network = Network::new();
    let (honest, host) = (network.host(), network.host());
    let authority = Authority::new();
    let names = [host.v4().to_string(), host.v6().to_string()];
    let certificate = authority.issue("server", &names);
    let setup = Setup::new(1)
        .replacing("kind = \"virtual\"\n", "kind = \"none\"\n")
        .replacing("virtual-offset = 0.25\n", "")
        .replacing("virtual-frequency = 40.0\n", "")
        .with(&format!(
            "[[nts-ke-server]]\nlisten = \"[::]:4460\"\ncertificate-chain-path = \"{}\"\nprivate-key-path = \"{}\"\n\
             key-exchange-timeout-ms = 600000\nconcurrent-connections = {CONNECTIONS}\nconnections-per-address = {PER_ADDRESS}",
            certificate.chain.display(),
            certificate.key.display(),
        ));
    let daemon = setup.start(Some(&host));
    daemon
        .process
        .wait_for_line(LIMIT, "giving out NTS keys at");
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
        assert_eq!(got.expect("keys for the honest").cookies.len(), 8);
    };
    exchange(0);
    let (descriptors, memory) = (
        daemon.process.descriptors(),
        daemon.process.resident_bytes(),
    );

    let mut idle = Vec::new();
    for number in 0..hosts {
        let stranger = network.host();
        idle.extend(strangers(&stranger, server(number), connections));
        if (number + 1).is_multiple_of(5) {
            exchange(number);
        }
        idle.push(Stranger::Host(stranger));
    }
    exchange(1);
    let most = descriptors + CONNECTIONS + OTHERS;
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
    assert!(now <= memory + (CONNECTIONS as u64) * EACH);
}

/// What must stay open.
enum Stranger {
    Connection(#[expect(dead_code, reason = "it is only held")] TcpStream),
    Host(#[expect(dead_code, reason = "it is only held")] Host),
}

/// Every third of them begins to speak TLS, and the rest say nothing.
fn strangers(host: &Host, server: SocketAddr, count: usize) -> Vec<Stranger> {
    host.inside(|| {
        let connect = |number: usize| {
            let mut socket = TcpStream::connect(server).expect("a listener");
            if number.is_multiple_of(3) {
                // Evicted meanwhile, perhaps.
                let _ = socket.write_all(&[22, 3, 1, 1, 0, 1]);
            }
            Stranger::Connection(socket)
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
