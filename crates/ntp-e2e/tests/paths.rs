//! The path of a source: `bind-address`, `bind-device` and `dscp`, on a host in two networks with
//! the same addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::log_event::LogEvent;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::{Observation, Source};
use ntp_e2e::process::Process;
use ntp_e2e::{peers, scenario, wait};
use rustix::process::Signal;

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
            scenario!(a_device_that_is_made_again_is_used_again),
            scenario!(devices_that_swap_their_names_are_both_served),
            scenario!(an_address_whose_device_another_one_has_now_is_reported_as_stopped),
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

/// A host that uses and serves a network behind a device, `eth1`, which comes and goes.
struct Rebinding {
    arrangement: Arrangement,
    authority: Authority,
    setup: Setup,
    daemon: Daemon,
}

impl Rebinding {
    /// Events and addresses of what is served by the name of the device.
    const NAMED: [(&str, &str); 2] = [
        ("server_started", "0.0.0.0:123%eth1"),
        // An address that appears later than the device.
        ("ke_server_started", "10.77.0.9:4460%eth1"),
    ];
    /// The same by an alternative name.
    const BY_ALTERNATIVE: (&str, &str) = ("server_started", "0.0.0.0:1123%uplink");

    fn new() -> Self {
        let arrangement = Arrangement::new();
        let authority = Authority::new();
        (arrangement.client).ip("link property add dev eth1 altname uplink");
        let certificate = authority.issue("eth1", &[SECOND.to_string()]);
        let bind = "bind-device = \"eth1\"";
        let setup = Setup::new(1)
            .unsteered()
            .synchronization("local-stratum = 10")
            .server_with(&arrangement.server().to_string(), bind)
            .with(&format!("[[server]]\nlisten = \"0.0.0.0:123\"\n{bind}"))
            .with("[[server]]\nlisten = \"0.0.0.0:1123\"\nbind-device = \"uplink\"")
            .with(&certificate.ke_server_section("10.77.0.9:4460", bind));
        let daemon = setup.start(Some(&arrangement.client));
        Self {
            arrangement,
            authority,
            setup,
            daemon,
        }
    }

    fn ip(&self, arguments: &str) {
        self.arrangement.client.ip(arguments);
    }

    fn make_device(&self) {
        self.arrangement.networks[1].attach(&self.arrangement.client, "eth1", SECOND);
        self.ip("link property add dev eth1 altname uplink");
    }

    /// Number of events at an address.
    fn count(&self, (event, address): (&str, &str)) -> usize {
        let events = self.daemon.process.events(event);
        let at_address = |event: &&LogEvent| event.field("address") == address;
        events.iter().filter(at_address).count()
    }

    fn wait_for(&self, event: (&str, &str), count: usize) {
        wait::until(LIMIT, &format!("{event:?} number {count}"), || {
            (self.count(event) >= count).then_some(())
        });
    }

    /// Asserts that the device is served and used, both after they were started `count` times.
    fn assert_works(&mut self, count: usize) {
        for event in Self::NAMED {
            self.wait_for(event, count);
        }
        let (_, text) = self.setup.ntp_ctl(&["servers"]);
        assert!(!text.contains("not served"), "{text}");
        let peer = &self.arrangement.servers[1];
        wait::until_slowly(LIMIT, "keys and an authenticated reply", || {
            let mut check = self.setup.command(Some(peer), Program::Ctl);
            check
                .args(["nts", "check", "10.77.0.9", "--no-system-authorities"])
                .arg("--ca")
                .arg(self.authority.path());
            let (code, _) = Process::spawn("ntp-ctl nts check", check).outcome();
            (code == Some(0)).then_some(())
        });
        let source = self.source();
        (self.daemon).wait_until(LIMIT, "the source", |it| answers(it, &source));
    }

    /// Applies `changes`, and asserts that what has the name of the device waits for it then.
    fn assert_waits_after(&mut self, changes: &[&str]) {
        let waiting = Self::NAMED.map(|(_, address)| ("server_waiting", address));
        let before = waiting.map(|event| self.count(event));
        changes.iter().for_each(|it| self.ip(it));
        for (event, count) in waiting.into_iter().zip(before) {
            self.wait_for(event, count + 1);
        }
        let (_, text) = self.setup.ntp_ctl(&["servers"]);
        for (_, address) in Self::NAMED {
            assert!(text.contains(&format!("{address}: not served")), "{text}");
        }
        let source = self.source();
        (self.daemon).wait_until(LIMIT, "an unreachable source", |it| !answers(it, &source));
    }

    fn source(&self) -> String {
        format!("{}:123%eth1", self.arrangement.server())
    }
}

fn a_device_that_is_made_again_is_used_again() {
    let mut rebinding = Rebinding::new();
    let peer = &rebinding.arrangement.servers[1];
    let _time = peers::test_server(peer, peer.v4(), 0.0);
    rebinding.assert_works(1);
    rebinding.wait_for(Rebinding::BY_ALTERNATIVE, 1);

    rebinding.assert_waits_after(&["link delete eth1"]);
    rebinding.wait_for(("server_waiting", Rebinding::BY_ALTERNATIVE.1), 1);
    // A reload changes nothing of it, but reports it once more.
    let (code, text) = rebinding.setup.ntp_ctl(&["reload"]);
    assert_eq!(code, Some(0), "{text}");
    rebinding.make_device();
    rebinding.assert_works(2);
    rebinding.wait_for(Rebinding::BY_ALTERNATIVE, 2);

    // Whether the daemon sees the moment without the device or not.
    rebinding.ip("link delete eth1");
    rebinding.make_device();
    rebinding.assert_works(3);
    rebinding.wait_for(Rebinding::BY_ALTERNATIVE, 3);

    // What the alternative name means is the same.
    rebinding.assert_waits_after(&["link set eth1 down", "link set eth1 name eth2"]);
    rebinding.ip("link set eth2 name eth1");
    rebinding.ip("link set eth1 up");
    rebinding.assert_works(4);
    assert_eq!(rebinding.count(Rebinding::BY_ALTERNATIVE), 3);
    for (event, address) in Rebinding::NAMED {
        assert_eq!(rebinding.count((event, address)), 4, "{address}");
        assert!(rebinding.count(("server_waiting", address)) <= 4);
    }
    assert_eq!(rebinding.daemon.stop().code(), Some(0));
}

/// A host that serves time and keys at the same addresses behind two devices, `eth1` and `eth2`,
/// which also has the alternative name `uplink`.
struct TwoDevices {
    arrangement: Arrangement,
    /// Its certificates are deleted with it.
    _authority: Authority,
    setup: Setup,
    daemon: Daemon,
    /// What is served, each by the event of its start and the address.
    served: Vec<(&'static str, String)>,
}

impl TwoDevices {
    /// Address behind each device, and the event that reports it.
    const LISTEN: [(&str, &str); 3] = [
        ("server_started", "0.0.0.0:123"),
        // The device is its scope.
        ("server_started", "[fe80::77]:1123"),
        ("ke_server_started", "0.0.0.0:4460"),
    ];

    /// Serves behind the devices of these names.
    fn new(names: [&str; 2]) -> Self {
        let arrangement = Arrangement::new();
        let host = &arrangement.client;
        arrangement.networks[1].attach(host, "eth2", Ipv4Addr::new(10, 78, 0, 9));
        host.ip("link property add dev eth2 altname uplink");
        let authority = Authority::new();
        let certificate = authority.issue("server", &[SECOND.to_string()]);
        let mut setup = Setup::new(1)
            .unsteered()
            .synchronization("local-stratum = 1");
        let mut served = Vec::new();
        for name in names {
            let bind = format!("bind-device = \"{name}\"");
            for (event, listen) in Self::LISTEN {
                setup = setup.with(&match event {
                    "server_started" => format!("[[server]]\nlisten = \"{listen}\"\n{bind}"),
                    _ => certificate.ke_server_section(listen, &bind),
                });
                served.push((event, format!("{listen}%{name}")));
            }
        }
        let daemon = setup.start(Some(host));
        let devices = Self {
            arrangement,
            _authority: authority,
            setup,
            daemon,
            served,
        };
        devices.wait_for_all(1);
        devices
    }

    /// Waits until each address has been served `count` times.
    fn wait_for_all(&self, count: usize) {
        for (event, address) in &self.served {
            let what = format!("{event} of {address}, number {count}");
            wait::until(LIMIT, &what, || {
                let events = self.daemon.process.events(event);
                let at_address = events.iter().filter(|it| it.field("address") == *address);
                (at_address.count() >= count).then_some(())
            });
        }
    }

    /// Applies changes of the devices.
    fn ip(&self, changes: &[&str]) {
        let host = &self.arrangement.client;
        changes.iter().for_each(|change| host.ip(change));
    }

    /// Applies changes that the daemon sees all at once.
    fn ip_at_once(&mut self, changes: &[&str]) {
        self.daemon.process.signal(Signal::STOP);
        self.ip(changes);
        self.daemon.process.signal(Signal::CONT);
    }

    fn assert_no_event(&self, names: &[&str]) {
        for name in names {
            let events = self.daemon.process.events(name);
            assert!(events.is_empty(), "{events:?}");
        }
    }
}

/// Swaps the names of `eth1` and `eth2`.
const SWAP: [&str; 7] = [
    "link set eth1 down",
    "link set eth2 down",
    "link set eth1 name other",
    "link set eth2 name eth1",
    "link set other name eth2",
    "link set eth1 up",
    "link set eth2 up",
];

fn devices_that_swap_their_names_are_both_served() {
    let mut devices = TwoDevices::new(["eth1", "eth2"]);
    devices.ip_at_once(&SWAP);
    devices.wait_for_all(2);
    devices.assert_no_event(&["server_failed", "server_waiting", "ke_server_stopped"]);

    // Any part of the changes.
    devices.ip(&SWAP);
    wait::until(LIMIT, "all addresses", || {
        let (_, text) = devices.setup.ntp_ctl(&["servers"]);
        let is_listed = |(_, address): &(&str, String)| text.contains(address);
        let all = devices.served.iter().all(is_listed);
        (all && !text.contains("not served")).then_some(())
    });
    devices.assert_no_event(&["server_failed", "ke_server_stopped"]);
    assert_eq!(devices.daemon.stop().code(), Some(0));
}

fn an_address_whose_device_another_one_has_now_is_reported_as_stopped() {
    let mut devices = TwoDevices::new(["eth1", "uplink"]);
    devices.ip_at_once(&[
        "link property del dev eth2 altname uplink",
        "link property add dev eth1 altname uplink",
    ]);
    for (event, listen) in TwoDevices::LISTEN {
        let address = format!("{listen}%uplink");
        let stopped = event.replace("started", "stopped");
        let process = &devices.daemon.process;
        process.wait_for_event(LIMIT, &stopped, &[("address", &address)]);
        let failures = process.events("server_failed");
        let names_it = |it: &LogEvent| it.field("error").contains(&address);
        assert!(failures.iter().any(names_it), "{failures:?}");
    }
    devices.assert_no_event(&["server_waiting"]);
    let (_, text) = devices.setup.ntp_ctl(&["servers"]);
    for (_, address) in &devices.served {
        assert_eq!(text.contains(address), address.ends_with("eth1"), "{text}");
    }
    assert_eq!(devices.daemon.stop().code(), Some(0));
}
