//! Isolated networks: the local reference with chronyd as source and client, and a group in orphan
//! mode with a real chronyd.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::query::query_from;
use ntp_e2e::{peers, scenario, wait};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(a_chronyd_client_follows_an_isolated_machine),
            scenario!(a_source_of_the_local_stratum_is_followed_until_it_is_lost),
            scenario!(an_operator_sets_the_time_of_an_isolated_machine),
            scenario!(a_group_with_chronyd_elects_one_and_returns_to_a_real_source_without_a_step)
                .slow(),
        ],
    )
}

fn name(address: IpAddr) -> String {
    SocketAddr::new(address, 123).to_string()
}

/// Waits until the server at `address` is synchronised at this stratum.
fn wait_for_stratum(host: &Host, address: IpAddr, stratum: u8) {
    let what = format!("stratum {stratum} of {address}");
    wait::until_slowly(LIMIT, &what, || {
        let reply = query_from(host, address, Duration::from_secs(1)).ok()?;
        (reply.is_synchronized() && reply.stratum == stratum).then_some(())
    });
}

fn a_chronyd_client_follows_an_isolated_machine() {
    let network = Network::new();
    let (server, client) = (network.host(), network.host());
    let setup = Setup::new(1)
        .with("[[server]]\nlisten = \"0.0.0.0:123\"\n[local]\nstratum = 10")
        .without_clock_error();
    let mut daemon = setup.start(Some(&server));
    wait_for_stratum(&client, server.v4(), 10);
    let reply = query_from(&client, server.v4(), Duration::from_secs(5)).unwrap();
    assert_eq!((reply.leap, reply.reference_id), (0, [127, 127, 1, 1]));
    let offset = peers::measure_with_chronyd(&client, server.v4());
    assert!(offset.abs() < 0.05, "{offset}");
    let (code, tracking) = setup.ntp_ctl(&["tracking"]);
    assert!(
        code == Some(0) && tracking.contains("127.127.1.1 (local)"),
        "{tracking}"
    );
    let (_, explained) = setup.ntp_ctl(&["explain"]);
    assert!(
        explained.contains("local time is served at stratum 10"),
        "{explained}"
    );
    assert_eq!(daemon.stop().code(), Some(0));
}

fn an_operator_sets_the_time_of_an_isolated_machine() {
    let network = Network::new();
    let server = network.host();
    let setup = Setup::new(1).with("[local]").replacing(
        "kind = \"virtual\"\n",
        "kind = \"virtual\"\nmanual = true\n",
    );
    let mut daemon = setup.start(Some(&server));
    daemon
        .process
        .wait_for_event(LIMIT, "local_time_started", &[]);
    let ctl = |arguments: &[&str]| {
        let (code, output) = setup.ntp_ctl(arguments);
        assert_eq!(code, Some(0), "{output}");
        output
    };
    let output = ctl(&["settime", "1 minute"]);
    assert!(
        output.contains("Clock was 59.") || output.contains("Clock was 6"),
        "{output}"
    );
    // The command takes its time on a busy machine.
    daemon.wait_until(LIMIT, "the entered time", |it| {
        (50.0..60.1).contains(&it.true_offset())
    });
    assert_eq!(ctl(&["manual", "list"]).lines().count(), 2);
    ctl(&["manual", "delete", "0"]);
    assert_eq!(ctl(&["manual", "list"]).lines().count(), 1);
    ctl(&["manual", "off"]);
    let (code, output) = setup.ntp_ctl(&["settime", "now"]);
    assert!(
        code != Some(0) && output.contains("manual time is off"),
        "{output}"
    );
    assert_eq!(daemon.stop().code(), Some(0));
}

fn a_source_of_the_local_stratum_is_followed_until_it_is_lost() {
    let network = Network::new();
    let (source, server) = (network.host(), network.host());
    let chronyd = peers::chronyd(&source, 3);
    let setup = Setup::new(1)
        .server(&name(source.v4()))
        .with("[[server]]\nlisten = \"0.0.0.0:123\"\n[local]\nstratum = 3");
    let mut daemon = setup.start(Some(&server));
    wait_for_stratum(&source, server.v4(), 4);
    drop(chronyd);
    wait_for_stratum(&source, server.v4(), 3);
    daemon
        .process
        .wait_for_event(LIMIT, "local_time_started", &[]);
    let _chronyd = peers::chronyd(&source, 3);
    wait_for_stratum(&source, server.v4(), 4);
    daemon
        .process
        .wait_for_event(LIMIT, "local_time_ended", &[]);
    assert_eq!(
        daemon.process.events("clock_stepped").len(),
        1,
        "the first correction only"
    );
    assert_eq!(daemon.stop().code(), Some(0));
}

/// A member of a group, with these sources.
fn member(sources: &[&Host]) -> Setup {
    let sources = sources.iter().map(|host| name(host.v4()));
    let setup = sources.fold(Setup::new(1), |setup, source| setup.server(&source));
    setup.with(
        "[[server]]\nlisten = \"0.0.0.0:123\"\n\
         [local]\nstratum = 8\norphan = true\nwait-unsynced = 10",
    )
}

fn a_group_with_chronyd_elects_one_and_returns_to_a_real_source_without_a_step() {
    let network = Network::new();
    let hosts = [network.host(), network.host(), network.host()];
    let (real, watcher) = (network.host(), network.host());
    let [first, second, third] = &hosts;
    let lines: String = [first, third, &real]
        .iter()
        .map(|host| format!("server {} minpoll 1 maxpoll 1 iburst\n", host.v4()))
        .collect();
    // The distance is reached within seconds after the loss of all sources.
    let lines = format!("{lines}local stratum 8 orphan distance 0.1\nmaxclockerror 2000\n");
    let _chronyd = peers::chronyd_with(second, &lines, &[]);
    let setups = [
        member(&[second, third, &real]),
        member(&[first, second, &real]),
    ];
    let mut one: Daemon = setups[0].start(Some(first));
    let mut other: Daemon = setups[1].start(Some(third));
    let strata = |expected: [u8; 3]| {
        for (host, stratum) in hosts.iter().zip(expected) {
            wait_for_stratum(&watcher, host.v4(), stratum);
        }
    };
    // Ours has the smallest address, then chronyd.
    strata([8, 9, 9]);
    first.ip("link set eth0 down");
    wait_for_stratum(&watcher, second.v4(), 8);
    wait_for_stratum(&watcher, third.v4(), 9);
    first.ip("link set eth0 up");
    strata([8, 9, 9]);
    let steps = |daemon: &Daemon| daemon.process.events("clock_stepped").len();
    let before = (steps(&one), steps(&other));
    let _real = peers::chronyd(&real, 1);
    strata([2, 2, 2]);
    one.wait_until(LIMIT, "a small error", |it| it.true_offset().abs() < 0.2);
    assert_eq!(
        (steps(&one), steps(&other)),
        before,
        "no step at the handover"
    );
    assert_eq!(one.stop().code(), Some(0));
    assert_eq!(other.stop().code(), Some(0));
}
