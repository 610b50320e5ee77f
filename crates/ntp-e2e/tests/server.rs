//! The daemon as a server for clients on other virtual hosts.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::query::{self, Reply};
use ntp_e2e::{peers, scenario, wait};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Timeout of one query; a lost reply is requested again.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Offset that chronyd may measure of a synchronised server, in seconds, even on a busy machine.
const CLOSE: f64 = 0.010;

const SERVER: &str = "[[server]]\nlisten = \"[::]:123\"";

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(chronyd_synchronises_to_us_over_ipv4_and_ipv6_and_in_every_version),
            scenario!(a_server_without_sources_announces_unsynchronised),
            scenario!(local_stratum_serves_without_sources),
            scenario!(a_second_instance_fails_and_the_first_keeps_serving),
            scenario!(denied_clients_get_a_kiss_and_ignored_clients_no_reply),
        ],
    )
}

fn wait_for_reply(
    client: &Host,
    server: IpAddr,
    what: &str,
    good: impl Fn(&Reply) -> bool,
) -> Reply {
    wait::until(LIMIT, what, || {
        query::query_from(client, server, QUERY_TIMEOUT)
            .ok()
            .filter(&good)
    })
}

fn assert_exit_code(mut daemon: Daemon, code: i32) {
    assert_eq!(daemon.process.wait_exit(LIMIT).code(), Some(code));
}

fn chronyd_synchronises_to_us_over_ipv4_and_ipv6_and_in_every_version() {
    let network = Network::new();
    let (client, server, upstream) = (network.host(), network.host(), network.host());
    let _chronyd = peers::chronyd(&upstream, 3);
    let source = SocketAddr::new(upstream.v4(), 123).to_string();
    let setup = Setup::new(1).server(&source).with(SERVER);
    let mut daemon = setup.start(Some(&server));
    daemon.wait_synchronized(LIMIT);
    daemon.wait_until(LIMIT, "a small error", |observation| {
        observation.true_offset().abs() < CLOSE / 4.0
    });
    for address in [server.v4(), server.v6()] {
        let reply = wait_for_reply(&client, address, "time", Reply::is_synchronized);
        assert_eq!(reply.stratum, 4);
        let offset = peers::measure_with_chronyd(&client, address);
        assert!(
            offset.abs() < CLOSE,
            "chronyd measures {offset} s over {address}"
        );
    }
    for version in 1..=3 {
        let lines = format!("server {} iburst version {version}", server.v4());
        let offset = peers::try_measure_with_chronyd(&client, &lines).unwrap();
        assert!(
            offset.abs() < CLOSE,
            "chronyd measures {offset} s with version {version}"
        );
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

fn a_server_without_sources_announces_unsynchronised() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = Setup::new(1).with(SERVER);
    let _daemon = setup.start(Some(&server));
    let reply = wait_for_reply(&client, server.v4(), "a reply", |_| true);
    assert_eq!((reply.leap, reply.stratum), (3, 16));
}

fn local_stratum_serves_without_sources() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = Setup::new(1)
        .synchronization("local-stratum = 1\nreference-id = \"GPS\"")
        .with(SERVER);
    let _daemon = setup.start(Some(&server));
    let reply = wait_for_reply(&client, server.v4(), "a reply", |_| true);
    assert_eq!((reply.leap, reply.stratum), (0, 1));
    assert_eq!(&reply.reference_id, b"GPS ");
}

fn a_second_instance_fails_and_the_first_keeps_serving() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let (first, second) = (Setup::new(1).with(SERVER), Setup::new(1).with(SERVER));
    let mut daemon = first.start(Some(&server));
    wait_for_reply(&client, server.v4(), "a reply", |_| true);
    let refused = second.start(Some(&server));
    let failed = refused.process.wait_for_event(LIMIT, "daemon_failed", &[]);
    assert!(failed.line().contains("[::]:123"), "{failed:?}");
    assert_exit_code(refused, 70);
    wait_for_reply(&client, server.v6(), "another reply", |_| true);
    assert!(daemon.process.is_running());
}

fn denied_clients_get_a_kiss_and_ignored_clients_no_reply() {
    let network = Network::new();
    let (denied, ignored, server) = (network.host(), network.host(), network.host());
    let setup = Setup::new(1).with(&format!(
        "{SERVER}\ndenylist = {{ filter = [\"{}/32\"], action = \"deny\" }}\n\
         allowlist = {{ filter = [\"{}/32\"], action = \"ignore\" }}",
        denied.v4(),
        denied.v4(),
    ));
    let _daemon = setup.start(Some(&server));
    let kiss = wait_for_reply(&denied, server.v4(), "a kiss", |_| true);
    assert_eq!((kiss.stratum, &kiss.reference_id), (0, b"DENY"));
    assert!(
        query::query_from(&ignored, server.v4(), QUERY_TIMEOUT).is_err(),
        "an ignored client was answered"
    );
}
