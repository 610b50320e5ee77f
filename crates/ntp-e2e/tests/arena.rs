//! What the other tests stand on: hosts that reach each other, peers that answer, nothing left behind.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::delay_proxy::{DelayProxy, Link};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::process::{self, Process};
use ntp_e2e::query::{self, Answer};
use ntp_e2e::{peers, scenario};

/// Nothing here takes as long unless it hangs.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(chronyd_answers_in_both_families),
            scenario!(ntpsec_answers_in_both_families),
            scenario!(a_shifted_server_is_ahead_by_as_much),
            scenario!(a_peer_cannot_set_the_clock),
            scenario!(chronyd_measures_a_server_as_we_do),
            scenario!(a_name_has_the_addresses_that_a_host_was_told),
            scenario!(a_proxy_joins_two_hosts),
            scenario!(a_network_vanishes_with_its_value),
        ],
    )
}

fn ask(client: &Host, server: IpAddr) -> Answer {
    let any: IpAddr = if server.is_ipv4() {
        [0; 4].into()
    } else {
        [0_u8; 16].into()
    };
    let socket = client.udp(any, 0);
    query::ask(&socket, SocketAddr::new(server, 123), LIMIT).expect("an answer")
}

fn answers_in_both_families(client: &Host, server: &Host, stratum: u8) {
    for address in [server.v4(), server.v6()] {
        let answer = ask(client, address);
        assert!(answer.is_synchronized(), "{answer:?}");
        assert_eq!(answer.stratum, stratum);
        assert!(
            answer.offset.abs() <= answer.delay / 2.0 + 1e-3,
            "{answer:?}"
        );
    }
}

fn chronyd_answers_in_both_families() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _chronyd = peers::chronyd(&server, 1);
    answers_in_both_families(&client, &server, 1);
}

fn ntpsec_answers_in_both_families() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _ntpd = peers::ntpsec(&server, 2);
    answers_in_both_families(&client, &server, 2);
}

fn a_shifted_server_is_ahead_by_as_much() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = peers::shifted(&server, server.v6(), 0.05);
    let answer = ask(&client, server.v6());
    assert!(
        (answer.offset - 0.05).abs() <= answer.delay / 2.0 + 1e-3,
        "{answer:?}"
    );
}

fn a_peer_cannot_set_the_clock() {
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

fn chronyd_measures_a_server_as_we_do() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = peers::shifted(&server, server.v4(), -0.05);
    let measured = peers::chronyd_measures(&client, server.v4());
    assert!((measured + 0.05).abs() < 0.01, "{measured}");
}

fn a_name_has_the_addresses_that_a_host_was_told() {
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

fn a_proxy_joins_two_hosts() {
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
    let answer = query::ask(&client.udp(client.v4(), 0), address, LIMIT).expect("an answer");
    assert!(answer.delay >= 0.04, "{answer:?}");
}

fn a_network_vanishes_with_its_value() {
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
