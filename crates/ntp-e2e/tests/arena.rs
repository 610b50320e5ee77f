//! Tests of the test infrastructure: virtual hosts, peers, the delay proxy, and cleanup.

use std::fs;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::delay_proxy::{DelayProxy, Link};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::process::{self, Process};
use ntp_e2e::query::{self, Reply};
use ntp_e2e::{peers, scenario};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(chronyd_answers_over_ipv4_and_ipv6),
            scenario!(ntpsec_answers_over_ipv4_and_ipv6),
            scenario!(a_server_with_an_offset_is_measured_with_that_offset),
            scenario!(peers_cannot_set_the_clock),
            scenario!(chronyd_measures_the_same_offset_as_we_do),
            scenario!(a_name_resolves_to_the_configured_addresses),
            scenario!(a_delay_proxy_relays_between_two_hosts),
            scenario!(dropping_a_network_removes_its_namespaces),
        ],
    )
}

fn query_server(client: &Host, server: IpAddr) -> Reply {
    query::query_from(client, server, LIMIT).expect("a reply")
}

fn assert_answers_over_ipv4_and_ipv6(client: &Host, server: &Host, stratum: u8) {
    for address in [server.v4(), server.v6()] {
        let reply = query_server(client, address);
        assert!(reply.is_synchronized(), "{reply:?}");
        assert_eq!(reply.stratum, stratum);
        assert!(reply.offset.abs() <= reply.delay / 2.0 + 1e-3, "{reply:?}");
    }
}

fn chronyd_answers_over_ipv4_and_ipv6() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _chronyd = peers::chronyd(&server, 1);
    assert_answers_over_ipv4_and_ipv6(&client, &server, 1);
}

fn ntpsec_answers_over_ipv4_and_ipv6() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _ntpd = peers::ntpsec(&server, 2);
    assert_answers_over_ipv4_and_ipv6(&client, &server, 2);
}

fn a_server_with_an_offset_is_measured_with_that_offset() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = peers::test_server(&server, server.v6(), 0.05);
    let reply = query_server(&client, server.v6());
    assert!(
        (reply.offset - 0.05).abs() <= reply.delay / 2.0 + 1e-3,
        "{reply:?}"
    );
}

fn peers_cannot_set_the_clock() {
    let network = Network::new();
    let server = network.host();
    let mut date = process::command(Some(&server), "date");
    date.args(["--set", "@0"]);
    let mut date = Process::spawn("date", date);
    assert!(!date.wait_exit(LIMIT).success());
    assert!(
        !date.lines_with("Operation not permitted").is_empty(),
        "{:?}",
        date.lines()
    );
}

fn chronyd_measures_the_same_offset_as_we_do() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = peers::test_server(&server, server.v4(), -0.05);
    let measured = peers::measure_with_chronyd(&client, server.v4());
    assert!((measured + 0.05).abs() < 0.01, "{measured}");
}

fn a_name_resolves_to_the_configured_addresses() {
    let network = Network::new();
    let host = network.host();
    let addresses: [IpAddr; 3] = [[10, 77, 0, 8].into(), [10, 77, 0, 9].into(), host.v6()];
    host.set_names(&[("pool.test", &addresses)]);
    let mut resolve = process::command(Some(&host), "getent");
    resolve.args(["ahosts", "pool.test"]);
    let mut resolve = Process::spawn("getent", resolve);
    assert!(resolve.wait_exit(LIMIT).success());
    for address in addresses {
        assert!(
            !resolve.lines_with(&address.to_string()).is_empty(),
            "{:?}",
            resolve.lines()
        );
    }
}

fn a_delay_proxy_relays_between_two_hosts() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _chronyd = peers::chronyd(&server, 1);
    let (inner, outer) = (client.udp(client.v4(), 0), client.udp(client.v4(), 0));
    let address = inner.local_addr().expect("bound");
    let link = Link {
        delay: Duration::from_millis(20),
        ..Link::PERFECT
    };
    let _proxy = DelayProxy::start(inner, outer, (server.v4(), 123).into(), link).expect("a proxy");
    let reply = query::query(&client.udp(client.v4(), 0), address, LIMIT).expect("a reply");
    assert!(reply.delay >= 0.04, "{reply:?}");
}

fn dropping_a_network_removes_its_namespaces() {
    let network = Network::new();
    let host = network.host();
    host.set_names(&[]);
    let files = [
        format!("/run/netns/{}", host.namespace()),
        format!("/etc/netns/{}", host.namespace()),
    ];
    assert!(files.iter().all(|file| fs::exists(file).expect("readable")));
    drop((host, network));
    assert!(
        files
            .iter()
            .all(|file| !fs::exists(file).expect("readable"))
    );
}
