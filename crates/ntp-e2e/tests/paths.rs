//! The path of a source: `bind-address`, `bind-device` and `dscp`, on a host in two networks with
//! the same addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::{Observation, Source};
use ntp_e2e::process::Process;
use ntp_e2e::{peers, scenario};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);
/// The client's address in the second network.
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
/// How far the server of the second network is ahead, in seconds.
const AHEAD: f64 = 5.0;

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(servers_with_one_address_behind_two_devices_are_two_sources),
            scenario!(requests_have_the_address_of_their_source),
            scenario!(a_missing_device_is_reported_and_used_when_it_appears),
            scenario!(time_and_keys_are_served_behind_each_device_and_behind_one_that_appears_late),
        ],
    )
}

/// Two networks with the same addresses, a client in both, and a server in each.
struct Arrangement {
    client: Host,
    servers: [Host; 2],
    networks: [Network; 2],
}

impl Arrangement {
    fn new() -> Self {
        let networks = [Network::new(), Network::new()];
        let client = networks[0].host();
        // Its number, so that both servers have the same one.
        let _unused = networks[1].host();
        let servers = [networks[0].host(), networks[1].host()];
        assert_eq!(servers[0].v4(), servers[1].v4());
        networks[1].attach(&client, "eth1", SECOND);
        Self {
            client,
            servers,
            networks,
        }
    }

    fn server(&self) -> IpAddr {
        self.servers[0].v4()
    }
}

fn answers(observation: &Observation, name: &str) -> bool {
    let source = observation.source(name);
    source.is_some_and(|source| source.is_measured() && source.unanswered_polls() == 0)
}

fn servers_with_one_address_behind_two_devices_are_two_sources() {
    let arrangement = Arrangement::new();
    let address = arrangement.server();
    let _first = peers::test_server(&arrangement.servers[0], address, 0.0);
    let _second = peers::test_server(&arrangement.servers[1], address, AHEAD);
    let setup = Setup::new(1)
        .server_with(&address.to_string(), "bind-device = \"eth0\"")
        .server_with(&address.to_string(), "bind-device = \"eth1\"");
    let names = ["eth0", "eth1"].map(|device| format!("{address}:123%{device}"));
    let mut daemon = setup.start(Some(&arrangement.client));
    let observation = daemon.wait_until(LIMIT, "both servers", |observation| {
        names.iter().all(|name| answers(observation, name))
    });
    let [first, second] = names.each_ref().map(|name| observation.source(name));
    let offset = |source: Option<Source<'_>>| source.map_or(f64::NAN, Source::offset);
    let difference = offset(second) - offset(first);
    assert!((difference - AHEAD).abs() < 0.1, "{difference}");
    // One address is two servers: neither is the duplicate of the other.
    let (code, text) = setup.ntp_ctl(&["explain"]);
    assert!(code == Some(0) && !text.contains("same server"), "{text}");
    let (code, text) = setup.ntp_ctl(&["source", &names[1]]);
    assert!(
        code == Some(0) && text.contains(&SECOND.to_string()),
        "{text}"
    );
    // An address alone is ambiguous, and a change at run time makes another source.
    let (code, text) = setup.ntp_ctl(&["source", "remove", &address.to_string()]);
    assert!(code == Some(1) && text.contains(&names[0]), "{text}");
    let (code, text) = setup.ntp_ctl(&["source", "remove", &names[1]]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = setup.ntp_ctl(&[
        "source",
        "add",
        &address.to_string(),
        "bind-device=eth1",
        "poll-interval-limits.min=1",
    ]);
    assert_eq!(code, Some(0), "{text}");
    daemon.wait_until(LIMIT, "the second server again", |observation| {
        answers(observation, &names[1])
    });
    let (code, text) = setup.ntp_ctl(&["source", "add", "192.0.2.1", "dscp=64"]);
    assert!(code == Some(1) && text.contains("0 to 63"), "{text}");
}

fn requests_have_the_address_of_their_source() {
    let arrangement = Arrangement::new();
    let address = arrangement.server();
    arrangement.client.ip("address add 10.77.0.10/24 dev eth1");
    let silent = arrangement.servers[1].udp(address, 123);
    let own = "10.77.0.10";
    let setup = Setup::new(1).server_with(
        &address.to_string(),
        &format!("bind-device = \"eth1\"\nbind-address = \"{own}\"\ndscp = 46"),
    );
    let _daemon = setup.start(Some(&arrangement.client));
    silent.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let (_, from) = silent.recv_from(&mut [0; 1024]).expect("a request");
    assert_eq!(from.ip().to_string(), own);
}

fn a_missing_device_is_reported_and_used_when_it_appears() {
    let arrangement = Arrangement::new();
    let address = arrangement.server();
    arrangement.client.ip("link delete eth1");
    let _first = peers::test_server(&arrangement.servers[0], address, 0.0);
    let _second = peers::test_server(&arrangement.servers[1], address, 0.0);
    let setup = Setup::new(1)
        .server_with(&address.to_string(), "bind-device = \"eth0\"")
        .server_with(&address.to_string(), "bind-device = \"eth1\"");
    let name = format!("{address}:123%eth1");
    let mut daemon = setup.start(Some(&arrangement.client));
    daemon.wait_synchronized(LIMIT);
    let source = [("source", name.as_str())];
    daemon.process.wait_for_event(LIMIT, "send_failed", &source);
    let (_, text) = setup.ntp_ctl(&["explain"]);
    assert!(text.contains("`bind-device` cannot be used"), "{text}");
    arrangement.networks[1].attach(&arrangement.client, "eth1", SECOND);
    daemon.wait_until(LIMIT, "the second server", |observation| {
        answers(observation, &name)
    });
    assert_eq!(daemon.stop().code(), Some(0));
}

fn time_and_keys_are_served_behind_each_device_and_behind_one_that_appears_late() {
    let arrangement = Arrangement::new();
    let Arrangement {
        client: server,
        servers: clients,
        networks,
    } = &arrangement;
    server.ip("link delete eth1");
    let authority = Authority::new();
    let own = [server.v4(), SECOND.into()].map(|address| address.to_string());
    let mut setup = Setup::new(1)
        .unsteered()
        .synchronization("local-stratum = 1");
    for (device, name) in ["eth0", "eth1"].iter().zip(&own) {
        let bind = format!("bind-device = \"{device}\"");
        let certificate = authority.issue(device, std::slice::from_ref(name));
        let keys = certificate.ke_server_section("0.0.0.0:4460", &bind);
        setup = setup.with(&format!(
            "[[server]]\nlisten = \"0.0.0.0:123\"\n{bind}\n{keys}"
        ));
    }
    let mut daemon = setup.start(Some(server));
    let served = |daemon: &mut Daemon, device: &str| {
        for (event, port) in [("server_started", 123), ("ke_server_started", 4460)] {
            let address = format!("0.0.0.0:{port}%{device}");
            (daemon.process).wait_for_event(LIMIT, event, &[("address", &address)]);
        }
    };
    served(&mut daemon, "eth0");
    let waiting = ["0.0.0.0:123%eth1", "0.0.0.0:4460%eth1"];
    for address in waiting {
        (daemon.process).wait_for_event(LIMIT, "server_waiting", &[("address", address)]);
    }
    for command in ["explain", "servers"] {
        let (code, text) = setup.ntp_ctl(&[command]);
        assert_eq!(code, Some(0), "{text}");
        assert!(waiting.iter().all(|it| text.contains(it)), "{text}");
    }
    networks[1].attach(server, "eth1", SECOND);
    served(&mut daemon, "eth1");
    let (_, text) = setup.ntp_ctl(&["explain"]);
    assert!(!text.contains("bind-device"), "{text}");
    // Each network gets its own certificate and an authenticated reply.
    for (client, address) in clients.iter().zip(&own) {
        let mut check = setup.command(Some(client), Program::Ctl);
        check
            .args(["nts", "check", address, "--no-system-authorities", "--ca"])
            .arg(authority.path());
        let (code, text) = Process::spawn("ntp-ctl nts check", check).outcome();
        assert_eq!(code, Some(0), "{text}");
    }
    assert_eq!(daemon.stop().code(), Some(0));
}
