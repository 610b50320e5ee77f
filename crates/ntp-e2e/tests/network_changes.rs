//! Network changes under a running daemon: addresses are added and removed, interfaces go down,
//! routes change, as with roaming notebooks, moved containers and expired leases. None of these may
//! require a restart, step the clock, or cause wrong log messages.
//!
//! Changes are made with `ip`. Tests wait for the daemon's next polls: each exchange has its own
//! socket, so the next poll shows whether the daemon has adapted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::{Daemon, Setup, assert_error_within};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::log_event::LogEvent;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::{Observation, Source};
use ntp_e2e::process::Process;
use ntp_e2e::query::{self, Reply};
use ntp_e2e::{peers, scenario, wait};
use ntp_types::event::{Rejection, SendError};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Timeout of one query; a lost reply is requested again.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Error of a virtual clock synchronised to a virtual host, in seconds, even on a busy machine.
const CLOSE: f64 = 0.010;

const SERVERS: &str = "[[server]]\nlisten = \"0.0.0.0:123\"\n[[server]]\nlisten = \"[::]:123\"";

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(a_client_sends_from_its_new_address_after_a_network_change),
            scenario!(a_server_answers_on_added_addresses_and_survives_their_removal),
            scenario!(an_interface_that_goes_down_is_logged_once_and_reused_when_up),
            scenario!(a_network_that_comes_up_after_a_failed_burst_is_used_at_once),
            scenario!(a_source_at_our_own_address_is_not_used),
            scenario!(a_server_synchronised_to_our_new_address_is_rejected_as_a_loop),
            scenario!(a_source_switches_to_the_remaining_address_family),
            scenario!(a_link_local_source_follows_its_interface),
        ],
    )
}

/// Address and port in the notation of the configuration and the observation.
fn name(address: IpAddr) -> String {
    SocketAddr::new(address, 123).to_string()
}

fn is_answering(observation: &Observation, name: &str) -> bool {
    observation.source(name).is_some_and(|source| {
        source.unanswered_polls() == 0 && source.is_measured() && source.state() == "selected"
    })
}

fn polls(observation: &Observation, name: &str) -> u64 {
    observation.source(name).map_or(0, Source::packets_sent)
}

/// Events of level WARN and ERROR after the first `before` events, which may contain warnings
/// about the machine. Ignores warnings about the leap-second list, which come later.
fn problems(daemon: &Daemon, before: usize) -> Vec<LogEvent> {
    let mut events = daemon.process.all_events().split_off(before);
    events.retain(|event| ["WARN", "ERROR"].contains(&event.level()));
    events.retain(|event| !["leap_list_expired", "leap_list_missing"].contains(&event.name()));
    events
}

/// Waits until the clock can no longer be stepped: only the first three updates may step it.
#[track_caller]
fn wait_settled(daemon: &mut Daemon, source: &str) -> Observation {
    daemon.wait_until(LIMIT, "a clock that is slewed only", |observation| {
        observation.is_synchronized() && polls(observation, source) > 4
    })
}

/// Asserts that the clock was stepped once, at the start.
#[track_caller]
fn assert_no_further_step(daemon: &Daemon) {
    let steps = daemon.process.events("clock_stepped");
    assert_eq!(steps.len(), 1, "{steps:?}");
}

/// A proxy on the server's host that relays requests and records their source addresses.
#[derive(Debug)]
struct RecordingProxy {
    shared: Arc<ProxyState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct ProxyState {
    /// Receives requests.
    listen: UdpSocket,
    /// Connected to the server.
    upstream: UdpSocket,
    /// Stratum and reference ID to insert into replies.
    claim: Option<(u8, [u8; 4])>,
    clients: Mutex<Vec<IpAddr>>,
    ended: AtomicBool,
}

/// Interval at which the proxy checks whether to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);

impl RecordingProxy {
    /// Relays from `address` of `host` to the server at the host's own address.
    fn start(host: &Host, address: IpAddr, claim: Option<(u8, [u8; 4])>) -> Self {
        let listen = host.udp(address, 123);
        let upstream = host.udp(host.v4(), 0);
        upstream.connect((host.v4(), 123)).expect("a route");
        for socket in [&listen, &upstream] {
            socket
                .set_read_timeout(Some(STOP_CHECK_INTERVAL))
                .expect("a time");
        }
        let shared = Arc::new(ProxyState {
            listen,
            upstream,
            claim,
            clients: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let state = Arc::clone(&shared);
        Self {
            shared,
            thread: Some(thread::spawn(move || state.run())),
        }
    }

    /// Source addresses of all requests, in order.
    fn clients(&self) -> Vec<IpAddr> {
        self.shared.clients().clone()
    }
}

impl Drop for RecordingProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl ProxyState {
    fn run(&self) {
        let mut buffer = [0; 1024];
        while !self.ended.load(Ordering::Relaxed) {
            let Ok((length, client)) = self.listen.recv_from(&mut buffer) else {
                continue;
            };
            self.clients().push(client.ip());
            let sent = self.upstream.send(&buffer[..length]);
            let Ok(length) = sent.and_then(|_| self.upstream.recv(&mut buffer)) else {
                continue;
            };
            if let Some((stratum, reference_id)) = self.claim {
                buffer[1] = stratum;
                buffer[12..16].copy_from_slice(&reference_id);
            }
            // The route to the client may be gone, as the tests intend.
            let _ = self.listen.send_to(&buffer[..length], client);
        }
    }

    fn clients(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn a_client_sends_from_its_new_address_after_a_network_change() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    // The server is behind a router, which is the same host; the second network is a direct link.
    let far: IpAddr = [10, 88, 0, 1].into();
    let moved: IpAddr = [10, 99, 0, 2].into();
    server.ip(&format!("address add {far}/32 dev lo"));
    client.ip(&format!(
        "link add eth1 type veth peer name eth1 netns {}",
        server.namespace()
    ));
    server.ip("address add 10.99.0.1/24 dev eth1");
    server.ip("link set eth1 up");
    client.ip(&format!("route add default via {}", server.v4()));
    let _server = peers::test_server(&server, server.v4(), 0.0);
    let proxy = RecordingProxy::start(&server, far, None);

    let setup = Setup::new(1).server(&name(far));
    let mut daemon = setup.start(Some(&client));
    wait_settled(&mut daemon, &name(far));
    assert!(
        proxy
            .clients()
            .iter()
            .all(|address| *address == client.v4())
    );

    let events_before = daemon.process.all_events().len();
    // The new network is up before the old one is removed, so that there is always one, and no
    // reason to warn.
    client.ip(&format!("address add {moved}/24 dev eth1"));
    client.ip("link set eth1 up");
    client.ip("route replace default via 10.99.0.1");
    client.ip(&format!("address del {}/24 dev eth0", client.v4()));
    let before = proxy.clients().len();
    wait::until(LIMIT, "three requests from the new address", || {
        let clients = proxy.clients().split_off(before);
        let new = clients.iter().filter(|address| **address == moved).count();
        (new >= 3).then_some(())
    });
    let last = daemon.wait_until(LIMIT, "an answered poll", |observation| {
        is_answering(observation, &name(far))
    });
    assert!(last.is_synchronized());
    assert_error_within(&last, CLOSE);
    let late = proxy.clients().split_off(before + 1);
    assert!(late.iter().all(|address| *address == moved), "{late:?}");
    assert_eq!(problems(&daemon, events_before), []);
    assert_eq!(daemon.process.events("source_added").len(), 1);
    assert_no_further_step(&daemon);
}

fn wait_for_reply(client: &Host, server: IpAddr) {
    let what = format!("a reply from {server}");
    wait::until(LIMIT, &what, || {
        let reply = query::query_from(client, server, QUERY_TIMEOUT).ok();
        reply.filter(Reply::is_synchronized)
    });
}

fn a_server_answers_on_added_addresses_and_survives_their_removal() {
    let network = Network::new();
    let (client, server, upstream) = (network.host(), network.host(), network.host());
    let _upstream = peers::test_server(&upstream, upstream.v4(), 0.0);
    let setup = Setup::new(1).server(&name(upstream.v4())).with(SERVERS);
    let mut daemon = setup.start(Some(&server));
    wait_settled(&mut daemon, &name(upstream.v4()));
    let events_before = daemon.process.all_events().len();
    let late: [(IpAddr, u8); 2] = [
        ([10, 77, 0, 200].into(), 24),
        ([0xfd00, 0x77, 0, 0, 0, 0, 0, 0x200].into(), 64),
    ];
    for (address, length) in late {
        server.ip(&format!("address add {address}/{length} dev eth0 nodad"));
        wait_for_reply(&client, address);
    }
    // Requests keep arriving while the addresses are removed, so some replies have no source
    // address.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for (address, _) in late {
            let done = &done;
            let socket = client.udp_to(address);
            scope.spawn(move || {
                let mut request = [0; 48];
                request[0] = 0b00_100_011;
                request[47] = 1;
                while !done.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&request, (address, 123));
                }
            });
        }
        for (address, length) in late {
            server.ip(&format!("address del {address}/{length} dev eth0"));
        }
        done.store(true, Ordering::Relaxed);
    });
    for address in [server.v4(), server.v6()] {
        wait_for_reply(&client, address);
    }
    for (address, _) in late {
        assert!(
            query::query_from(&client, address, QUERY_TIMEOUT).is_err(),
            "{address} is gone"
        );
    }
    assert!(daemon.process.is_running());
    assert_eq!(problems(&daemon, events_before), []);
    assert_no_further_step(&daemon);
    assert_eq!(daemon.stop().code(), Some(0));
}

fn an_interface_that_goes_down_is_logged_once_and_reused_when_up() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = peers::test_server(&server, server.v4(), 0.0);
    let server_name = name(server.v4());
    let setup = Setup::new(1).server(&server_name);
    let mut daemon = setup.start(Some(&client));
    let before = wait_settled(&mut daemon, &server_name);
    let events_before = daemon.process.all_events().len();
    client.ip("link set eth0 down");
    let down = daemon.wait_until(LIMIT, "an unanswered poll", |observation| {
        polls(observation, &server_name) > polls(&before, &server_name)
            && !is_answering(observation, &server_name)
    });
    let explanation = setup.ntp_ctl(&["explain"]).1;
    assert!(
        explanation.contains(&SendError::NoRoute.to_string()),
        "{explanation}"
    );
    // After eight unanswered polls the source is unreachable; further polls must not log that
    // again.
    let dead = daemon.wait_until(LIMIT, "ten unanswered polls", |observation| {
        polls(observation, &server_name) >= polls(&down, &server_name) + 10
    });
    assert!(dead.is_synchronized(), "holdover");
    assert!(dead.error_bound() > down.error_bound());
    assert_error_within(&dead, CLOSE.max(before.error_bound()));
    let logged = problems(&daemon, events_before);
    assert!(
        matches!(&logged[..], [once] if once.field("source") == server_name),
        "{logged:#?}"
    );
    let explanation = setup.ntp_ctl(&["explain"]).1;
    assert!(
        explanation.contains(&SendError::NoRoute.to_string()),
        "{explanation}"
    );

    let up = daemon.observe().expect("an observation");
    client.ip("link set eth0 up");
    let back = daemon.wait_until(LIMIT, "a reply", |observation| {
        is_answering(observation, &server_name)
    });
    assert!(polls(&back, &server_name) <= polls(&up, &server_name) + 3);
    assert_error_within(&back, CLOSE);
    let reachable = daemon.process.events("source_reachable");
    let of_server = |event: &&LogEvent| event.field("source") == server_name;
    assert_eq!(reachable.iter().filter(of_server).count(), 2);
    assert_no_further_step(&daemon);
}

fn a_network_that_comes_up_after_a_failed_burst_is_used_at_once() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = peers::test_server(&server, server.v4(), 0.0);
    let server_name = name(server.v4());
    client.ip("link set eth0 down");
    // After the burst the next poll is 1024 s later.
    let setup = Setup::new(1).with(&format!(
        "[[source]]\nmode = \"server\"\naddress = \"{server_name}\"\n\
         poll-interval-limits = {{ min = 10, max = 10 }}\ninitial-poll-interval = 10"
    ));
    let mut daemon = setup.start(Some(&client));
    daemon.wait_until(LIMIT, "an unanswered burst", |observation| {
        polls(observation, &server_name) >= 8
    });
    client.ip("link set eth0 up");
    let found = daemon.wait_synchronized(LIMIT);
    assert!(is_answering(&found, &server_name));
}

fn a_source_at_our_own_address_is_not_used() {
    let network = Network::new();
    let (host, upstream) = (network.host(), network.host());
    let _upstream = peers::test_server(&upstream, upstream.v4(), 0.0);
    let own = IpAddr::from([10, 77, 0, 200]);
    let own_name = name(own);
    let setup = Setup::new(1)
        .server(&name(upstream.v4()))
        .server(&own_name)
        .with(SERVERS);
    let mut daemon = setup.start(Some(&host));
    daemon.wait_until(LIMIT, "synchronisation", |observation| {
        is_answering(observation, &name(upstream.v4()))
    });
    host.ip(&format!("address add {own}/24 dev eth0"));
    let ours = Rejection::Ourselves;
    let reason = [("reason", ours.name())];
    (daemon.process).wait_for_event(LIMIT, "reply_rejected", &reason);
    let recognised = daemon.observe().expect("an observation");
    daemon.wait_until(LIMIT, "five more polls of ourselves", |observation| {
        let source = observation.source(&own_name).expect("it is configured");
        assert!(!source.is_measured(), "{observation:#?}");
        polls(observation, &own_name) >= polls(&recognised, &own_name) + 5
    });
    let explanation = setup.ntp_ctl(&["explain"]).1;
    assert!(explanation.contains(&ours.to_string()), "{explanation}");
    let mut rejected = daemon.process.events("reply_rejected");
    rejected.retain(|event| event.field("reason") == ours.name());
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_no_further_step(&daemon);
}

fn a_server_synchronised_to_our_new_address_is_rejected_as_a_loop() {
    let network = Network::new();
    let (host, upstream) = (network.host(), network.host());
    let _upstream = peers::test_server(&upstream, upstream.v4(), 0.0);
    let own = Ipv4Addr::new(10, 77, 0, 200);
    let fellow = IpAddr::from([10, 77, 0, 201]);
    upstream.ip(&format!("address add {fellow}/24 dev eth0"));
    // Its reference ID is an address that no host has yet.
    let _proxy = RecordingProxy::start(&upstream, fellow, Some((3, own.octets())));
    let fellow_name = name(fellow);
    let setup = Setup::new(1)
        .server(&name(upstream.v4()))
        .server(&fellow_name);
    let mut daemon = setup.start(Some(&host));
    daemon.wait_until(LIMIT, "two sources", |observation| {
        let sources = observation.sources();
        observation.is_synchronized() && sources.iter().all(|source| source.is_measured())
    });
    assert_eq!(daemon.process.events("reply_rejected"), []);
    host.ip(&format!("address add {own}/24 dev eth0"));
    let fields = [("source", &*fellow_name), ("reason", "loop")];
    (daemon.process).wait_for_event(LIMIT, "reply_rejected", &fields);
    host.ip(&format!("address del {own}/24 dev eth0"));
    daemon.wait_until(LIMIT, "its time again", |observation| {
        is_answering(observation, &fellow_name)
    });
}

fn a_source_switches_to_the_remaining_address_family() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _servers =
        [server.v4(), server.v6()].map(|address| peers::test_server(&server, address, 0.0));
    client.set_names(&[("both.test", &[server.v4(), server.v6()])]);
    let setup = Setup::new(1).server("both.test");
    let mut daemon = setup.start(Some(&client));
    let in_use = |observation: &Observation| {
        let source = observation.source("both.test:123")?;
        is_answering(observation, source.name()).then(|| source.address().to_owned())
    };
    let first = wait_settled(&mut daemon, "both.test:123");
    assert_ne!(in_use(&first), None);
    // The resolver's order is unknown, so each address is removed in turn.
    let mut used = in_use(&first);
    for _ in 0..2 {
        let is_v4 = used == Some(name(server.v4()));
        let (own, other) = if is_v4 {
            (format!("{}/24", client.v4()), server.v6())
        } else {
            (format!("{}/64", client.v6()), server.v4())
        };
        let lost = daemon.observe().expect("an observation");
        client.ip(&format!("address del {own} dev eth0"));
        let moved = daemon.wait_until(LIMIT, "the other address", |observation| {
            in_use(observation) == Some(name(other))
        });
        assert!(moved.is_synchronized());
        assert_error_within(&moved, CLOSE.max(lost.error_bound()));
        used = in_use(&moved);
        client.ip(&format!("address add {own} dev eth0"));
    }
    assert_no_further_step(&daemon);
}

/// A link-local source is configured by the number of its interface, or by a name that the
/// interface gets only later.
fn a_link_local_source_follows_its_interface() {
    let network = Network::new();
    let (server, client) = (network.host(), network.host());
    for address in ["fe80::77:1", "fe80::77:2"] {
        server.ip(&format!("address add {address}/64 dev eth0 nodad"));
    }
    let served = Setup::new(1)
        .synchronization("local-stratum = 1")
        .with(SERVERS)
        .without_clock_error();
    let _server = served.start(Some(&server));
    let numbered = client.inside(|| ("fe80::77:1%eth0", 123).to_socket_addrs());
    let numbered = numbered
        .expect("eth0 exists")
        .next()
        .expect("an address")
        .to_string();
    let named = "[fe80::77:2%lan0]:123";
    let setup = Setup::new(1).server(&numbered).server(named);
    let mut daemon = setup.start(Some(&client));
    daemon.wait_until(LIMIT, "time of the link-local server", |observation| {
        is_answering(observation, &numbered)
    });
    assert!(!is_answering(&daemon.observe().expect("a state"), named));
    client.ip("link set eth0 down");
    client.ip("link set eth0 name lan0");
    client.ip("link set lan0 up");
    client.ip(&format!(
        "address add {}/24 dev lan0",
        Ipv4Addr::new(10, 77, 0, 99)
    ));
    daemon.wait_until(
        LIMIT,
        "time over the interface that appeared",
        |observation| is_answering(observation, named) && is_answering(observation, &numbered),
    );
    // Commands take the same notation.
    let mut query = setup.command(Some(&client), Program::Ctl);
    query.args(["query", "fe80::77:2%lan0", "--samples", "1"]);
    let (code, output) = Process::spawn("ntp-ctl query", query).outcome();
    assert_eq!(code, Some(0), "{output}");
    let (code, output) = setup.ntp_ctl(&["source", "remove", "fe80::77:2%lan0"]);
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(daemon.stop().code(), Some(0));
}
