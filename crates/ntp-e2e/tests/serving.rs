//! The daemon as a server: what its clients on other virtual hosts get from it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::query::{self, Answer};
use ntp_e2e::{peers, scenario, wait};

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);
/// An answer comes at once or not at all; a lost one is asked for again.
const ANSWER: Duration = Duration::from_secs(1);
/// What chronyd may see of a synchronised server, however busy the machine.
const CLOSE: f64 = 0.010;

const SERVER: &str = "[[server]]\nlisten = \"[::]:123\"";

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(chronyd_takes_time_from_us_in_both_families),
            scenario!(a_server_without_sources_says_that_it_has_no_time),
            scenario!(a_local_stratum_of_one_serves_without_sources),
            scenario!(a_second_instance_is_refused_and_the_first_goes_on),
            scenario!(a_denied_client_gets_a_kiss_and_an_ignored_one_nothing),
        ],
    )
}

fn ask(client: &Host, server: IpAddr) -> io::Result<Answer> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    query::ask(&client.udp(any, 0), SocketAddr::new(server, 123), ANSWER)
}

fn wait_for_answer(
    client: &Host,
    server: IpAddr,
    what: &str,
    good: impl Fn(&Answer) -> bool,
) -> Answer {
    wait::until(LIMIT, what, || ask(client, server).ok().filter(&good))
}

fn ends_with(mut daemon: Daemon, code: i32) {
    assert_eq!(daemon.process.wait_exit(LIMIT).code(), Some(code));
}

fn chronyd_takes_time_from_us_in_both_families() {
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
        let answer = wait_for_answer(&client, address, "time", Answer::is_synchronized);
        assert_eq!(answer.stratum, 4);
        let wrong = peers::chronyd_measures(&client, address);
        assert!(
            wrong.abs() < CLOSE,
            "chronyd finds {wrong} s over {address}"
        );
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

fn a_server_without_sources_says_that_it_has_no_time() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = Setup::new(1).with(SERVER);
    let _daemon = setup.start(Some(&server));
    let answer = wait_for_answer(&client, server.v4(), "an answer", |_| true);
    assert_eq!((answer.leap, answer.stratum), (3, 16));
}

fn a_local_stratum_of_one_serves_without_sources() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = Setup::new(1)
        .replacing(
            "[synchronization]\n",
            "[synchronization]\nlocal-stratum = 1\nreference-id = \"GPS\"\n",
        )
        .with(SERVER);
    let _daemon = setup.start(Some(&server));
    let answer = wait_for_answer(&client, server.v4(), "an answer", |_| true);
    assert_eq!((answer.leap, answer.stratum), (0, 1));
    assert_eq!(&answer.reference_id, b"GPS ");
}

fn a_second_instance_is_refused_and_the_first_goes_on() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let (first, second) = (Setup::new(1).with(SERVER), Setup::new(1).with(SERVER));
    let mut daemon = first.start(Some(&server));
    wait_for_answer(&client, server.v4(), "an answer", |_| true);
    let refused = second.start(Some(&server));
    refused.process.wait_for_line(LIMIT, "[::]:123");
    ends_with(refused, 70);
    wait_for_answer(&client, server.v6(), "another answer", |_| true);
    assert!(daemon.process.is_running());
}

fn a_denied_client_gets_a_kiss_and_an_ignored_one_nothing() {
    let network = Network::new();
    let (denied, ignored, server) = (network.host(), network.host(), network.host());
    let setup = Setup::new(1).with(&format!(
        "{SERVER}\ndenylist = {{ filter = [\"{}/32\"], action = \"deny\" }}\n\
         allowlist = {{ filter = [\"{}/32\"], action = \"ignore\" }}",
        denied.v4(),
        denied.v4(),
    ));
    let _daemon = setup.start(Some(&server));
    let kiss = wait_for_answer(&denied, server.v4(), "a kiss", |_| true);
    assert_eq!((kiss.stratum, &kiss.reference_id), (0, b"DENY"));
    assert!(
        ask(&ignored, server.v4()).is_err(),
        "an ignored client was answered"
    );
}
