//! Machines whose network changes under a running daemon: addresses that come and go, interfaces that fall silent, routes that
//! lead elsewhere. A notebook that is carried about, a container that is moved and a lease that runs out all look like this, and none of
//! them is a reason to restart, to step the clock, or to say anything that is not so.
//!
//! Every change is made with `ip`, and what is waited for is never a time but what the daemon does next: each exchange has a socket of its own, so
//! the next poll is what shows whether it has understood.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::{Daemon, Setup, assert_truth_inside};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::{Observation, Source};
use ntp_e2e::process::Process;
use ntp_e2e::query::{self, Answer};
use ntp_e2e::{peers, scenario, wait};

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);
/// An answer comes at once or not at all; a lost one is asked for again.
const ANSWER: Duration = Duration::from_secs(1);
/// A virtual clock that follows a virtual host's server is off by less, however busy the machine.
const CLOSE: f64 = 0.010;

const SERVERS: &str = "[[server]]\nlisten = \"0.0.0.0:123\"\n[[server]]\nlisten = \"[::]:123\"";

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(a_client_that_moves_asks_from_its_new_address_and_goes_on),
            scenario!(a_server_answers_at_an_address_that_came_after_it_and_survives_its_end),
            scenario!(an_interface_that_is_down_is_told_once_and_used_again_as_soon_as_it_is_up),
            scenario!(a_network_that_comes_late_is_used_at_once_though_the_burst_was_in_vain),
            scenario!(a_source_that_turns_out_to_be_ourselves_is_not_followed),
            scenario!(a_server_that_follows_our_new_address_is_a_loop_from_then_on),
            scenario!(a_source_is_followed_in_the_family_that_is_left),
        ],
    )
}

/// Address and port as the configuration and the observation write them.
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

/// The lines of warning and error after the first `before` lines, in which a daemon may say what it likes about the machine it is started on. How old
/// that machine's list of leap seconds is, it says later.
fn complaints(daemon: &Daemon, before: usize) -> Vec<String> {
    let mut lines = daemon.process.lines().split_off(before);
    lines.retain(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    lines.retain(|line| !line.contains("the list of leap seconds"));
    lines
}

/// What `ntp-ctl explain` says.
fn explained(setup: &Setup) -> String {
    let mut command = setup.command(None, Program::Ctl);
    command.arg("explain");
    let mut process = Process::spawn("ntp-ctl explain", command);
    process.wait_exit(LIMIT);
    process.lines().join("\n")
}

/// Waits until the clock is only slewed: the first three updates may step it.
#[track_caller]
fn wait_settled(daemon: &mut Daemon, source: &str) -> Observation {
    daemon.wait_until(LIMIT, "a clock that is slewed only", |observation| {
        observation.is_synchronized() && polls(observation, source) > 4
    })
}

/// Asserts that the clock was set once, at the start, and never after.
#[track_caller]
fn assert_no_further_step(daemon: &Daemon) {
    let steps = daemon.process.lines_with("clock stepped by");
    assert_eq!(steps.len(), 1, "{steps:?}");
}

/// Stands before a server: passes on what it is asked, and knows who asked.
#[derive(Debug)]
struct Gatekeeper {
    shared: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Gate {
    /// Where clients ask.
    listen: UdpSocket,
    /// Connected to the server.
    upstream: UdpSocket,
    /// Stratum and reference ID to be said instead of the server's own.
    claim: Option<(u8, [u8; 4])>,
    askers: Mutex<Vec<IpAddr>>,
    ended: AtomicBool,
}

/// How often it looks whether it should end.
const LOOK_UP: Duration = Duration::from_millis(100);

impl Gatekeeper {
    /// Opens the gate at `address` of `host`, in front of the server at its ordinary one.
    fn start(host: &Host, address: IpAddr, claim: Option<(u8, [u8; 4])>) -> Self {
        let listen = host.udp(address, 123);
        let upstream = host.udp(host.v4(), 0);
        upstream.connect((host.v4(), 123)).expect("a route");
        for socket in [&listen, &upstream] {
            socket.set_read_timeout(Some(LOOK_UP)).expect("a time");
        }
        let shared = Arc::new(Gate {
            listen,
            upstream,
            claim,
            askers: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let gate = Arc::clone(&shared);
        Self {
            shared,
            thread: Some(thread::spawn(move || gate.keep())),
        }
    }

    /// Who asked, in order.
    fn askers(&self) -> Vec<IpAddr> {
        self.shared.askers().clone()
    }
}

impl Drop for Gatekeeper {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Gate {
    fn keep(&self) {
        let mut buffer = [0; 1024];
        while !self.ended.load(Ordering::Relaxed) {
            let Ok((length, client)) = self.listen.recv_from(&mut buffer) else {
                continue;
            };
            self.askers().push(client.ip());
            let sent = self.upstream.send(&buffer[..length]);
            let Ok(length) = sent.and_then(|_| self.upstream.recv(&mut buffer)) else {
                continue;
            };
            if let Some((stratum, reference_id)) = self.claim {
                buffer[1] = stratum;
                buffer[12..16].copy_from_slice(&reference_id);
            }
            // The way back may have gone meanwhile, which is what the tests are about.
            let _ = self.listen.send_to(&buffer[..length], client);
        }
    }

    fn askers(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn a_client_that_moves_asks_from_its_new_address_and_goes_on() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    // The server is beyond a router, which is the same machine for simplicity; the second network is a wire between the two.
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
    let _server = peers::shifted(&server, server.v4(), 0.0);
    let gatekeeper = Gatekeeper::start(&server, far, None);

    let setup = Setup::new(1).server(&name(far));
    let mut daemon = setup.start(Some(&client));
    wait_settled(&mut daemon, &name(far));
    assert!(
        gatekeeper
            .askers()
            .iter()
            .all(|asker| *asker == client.v4())
    );

    let said = daemon.process.lines().len();
    // The new network is there before the old one goes, so that there is no moment without one, and no excuse to complain.
    client.ip(&format!("address add {moved}/24 dev eth1"));
    client.ip("link set eth1 up");
    client.ip("route replace default via 10.99.0.1");
    client.ip(&format!("address del {}/24 dev eth0", client.v4()));
    let before = gatekeeper.askers().len();
    wait::until(LIMIT, "three requests from the new address", || {
        let askers = gatekeeper.askers().split_off(before);
        let new = askers.iter().filter(|asker| **asker == moved).count();
        (new >= 3).then_some(())
    });
    let last = daemon.wait_until(LIMIT, "an answered poll", |observation| {
        is_answering(observation, &name(far))
    });
    assert!(last.is_synchronized());
    assert_truth_inside(&last, CLOSE);
    let late = gatekeeper.askers().split_off(before + 1);
    assert!(late.iter().all(|asker| *asker == moved), "{late:?}");
    assert_eq!(complaints(&daemon, said), Vec::<String>::new());
    assert_eq!(daemon.process.lines_with("new source").len(), 1);
    assert_no_further_step(&daemon);
}

fn ask(client: &Host, server: IpAddr) -> io::Result<Answer> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    // What comes from another address than was asked is no answer.
    query::ask(&client.udp(any, 0), SocketAddr::new(server, 123), ANSWER)
}

fn wait_for_answer(client: &Host, server: IpAddr) {
    let what = format!("an answer from {server}");
    wait::until(LIMIT, &what, || {
        let answer = ask(client, server).ok();
        answer.filter(Answer::is_synchronized)
    });
}

fn a_server_answers_at_an_address_that_came_after_it_and_survives_its_end() {
    let network = Network::new();
    let (client, server, upstream) = (network.host(), network.host(), network.host());
    let _upstream = peers::shifted(&upstream, upstream.v4(), 0.0);
    let setup = Setup::new(1).server(&name(upstream.v4())).with(SERVERS);
    let mut daemon = setup.start(Some(&server));
    wait_settled(&mut daemon, &name(upstream.v4()));
    let said = daemon.process.lines().len();
    let late: [(IpAddr, u8); 2] = [
        ([10, 77, 0, 200].into(), 24),
        ([0xfd00, 0x77, 0, 0, 0, 0, 0, 0x200].into(), 64),
    ];
    for (address, length) in late {
        server.ip(&format!("address add {address}/{length} dev eth0 nodad"));
        wait_for_answer(&client, address);
    }
    // Requests are on their way all the time while the addresses go, and some answers have nowhere to leave from.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for (address, _) in late {
            let done = &done;
            let any: IpAddr = if address.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            let socket = client.udp(any, 0);
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
        wait_for_answer(&client, address);
    }
    for (address, _) in late {
        assert!(ask(&client, address).is_err(), "{address} is gone");
    }
    assert!(daemon.process.is_running());
    assert_eq!(complaints(&daemon, said), Vec::<String>::new());
    assert_no_further_step(&daemon);
    assert_eq!(daemon.stop().code(), Some(0));
}

fn an_interface_that_is_down_is_told_once_and_used_again_as_soon_as_it_is_up() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = peers::shifted(&server, server.v4(), 0.0);
    let server_name = name(server.v4());
    let setup = Setup::new(1).server(&server_name);
    let mut daemon = setup.start(Some(&client));
    let before = wait_settled(&mut daemon, &server_name);
    let said = daemon.process.lines().len();
    client.ip("link set eth0 down");
    let down = daemon.wait_until(LIMIT, "an unanswered poll", |observation| {
        polls(observation, &server_name) > polls(&before, &server_name)
            && !is_answering(observation, &server_name)
    });
    let explanation = explained(&setup);
    assert!(explanation.contains("no route to it"), "{explanation}");
    // Eight unanswered polls make a dead source; what is told of that must not be told anew by each poll after them.
    let dead = daemon.wait_until(LIMIT, "ten polls in vain", |observation| {
        polls(observation, &server_name) >= polls(&down, &server_name) + 10
    });
    assert!(dead.is_synchronized(), "the clock runs on");
    assert!(dead.error_bound() > down.error_bound());
    assert_truth_inside(&dead, CLOSE.max(before.error_bound()));
    let told = complaints(&daemon, said);
    assert!(
        matches!(&told[..], [once] if once.contains(&server_name)),
        "{told:#?}"
    );
    let explanation = explained(&setup);
    assert!(explanation.contains("no route to it"), "{explanation}");

    let up = daemon.observe().expect("the socket");
    client.ip("link set eth0 up");
    let back = daemon.wait_until(LIMIT, "an answer", |observation| {
        is_answering(observation, &server_name)
    });
    assert!(polls(&back, &server_name) <= polls(&up, &server_name) + 3);
    assert_truth_inside(&back, CLOSE);
    let answers = format!("source {server_name} answers");
    assert_eq!(daemon.process.lines_with(&answers).len(), 2);
    assert_no_further_step(&daemon);
}

fn a_network_that_comes_late_is_used_at_once_though_the_burst_was_in_vain() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = peers::shifted(&server, server.v4(), 0.0);
    let server_name = name(server.v4());
    client.ip("link set eth0 down");
    // After the burst the next poll is more than a quarter of an hour away.
    let setup = Setup::new(1).with(&format!(
        "[[source]]\nmode = \"server\"\naddress = \"{server_name}\"\n\
         poll-interval-limits = {{ min = 10, max = 10 }}\ninitial-poll-interval = 10"
    ));
    let mut daemon = setup.start(Some(&client));
    daemon.wait_until(LIMIT, "a burst in vain", |observation| {
        polls(observation, &server_name) >= 8
    });
    client.ip("link set eth0 up");
    let found = daemon.wait_synchronized(LIMIT);
    assert!(is_answering(&found, &server_name));
}

fn a_source_that_turns_out_to_be_ourselves_is_not_followed() {
    let network = Network::new();
    let (host, upstream) = (network.host(), network.host());
    let _upstream = peers::shifted(&upstream, upstream.v4(), 0.0);
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
    let ours = "its address leads to this very daemon";
    daemon.process.wait_for_line(LIMIT, ours);
    let recognised = daemon.observe().expect("the socket");
    daemon.wait_until(LIMIT, "five more polls of ourselves", |observation| {
        let source = observation.source(&own_name).expect("it is configured");
        assert!(!source.is_measured(), "{observation:#?}");
        polls(observation, &own_name) >= polls(&recognised, &own_name) + 5
    });
    let explanation = explained(&setup);
    assert!(explanation.contains(ours), "{explanation}");
    assert_eq!(daemon.process.lines_with(ours).len(), 1);
    assert_no_further_step(&daemon);
}

fn a_server_that_follows_our_new_address_is_a_loop_from_then_on() {
    let network = Network::new();
    let (host, upstream) = (network.host(), network.host());
    let _upstream = peers::shifted(&upstream, upstream.v4(), 0.0);
    let own = Ipv4Addr::new(10, 77, 0, 200);
    let fellow = IpAddr::from([10, 77, 0, 201]);
    upstream.ip(&format!("address add {fellow}/24 dev eth0"));
    // It says that it follows an address that is nobody's, so far.
    let _gatekeeper = Gatekeeper::start(&upstream, fellow, Some((3, own.octets())));
    let fellow_name = name(fellow);
    let setup = Setup::new(1)
        .server(&name(upstream.v4()))
        .server(&fellow_name);
    let mut daemon = setup.start(Some(&host));
    daemon.wait_until(LIMIT, "two sources", |observation| {
        let sources = observation.sources();
        observation.is_synchronized() && sources.iter().all(|source| source.is_measured())
    });
    let ours = "the server takes its time from this machine";
    assert!(daemon.process.lines_with(ours).is_empty());
    host.ip(&format!("address add {own}/24 dev eth0"));
    let line = daemon.process.wait_for_line(LIMIT, ours);
    assert!(line.contains(&fellow_name), "{line}");
    host.ip(&format!("address del {own}/24 dev eth0"));
    daemon.wait_until(LIMIT, "its time again", |observation| {
        is_answering(observation, &fellow_name)
    });
}

fn a_source_is_followed_in_the_family_that_is_left() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _servers = [server.v4(), server.v6()].map(|address| peers::shifted(&server, address, 0.0));
    client.set_names(&[("both.test", &[server.v4(), server.v6()])]);
    let setup = Setup::new(1).server("both.test");
    let mut daemon = setup.start(Some(&client));
    let in_use = |observation: &Observation| {
        let source = observation.source("both.test:123")?;
        is_answering(observation, source.name()).then(|| source.address().to_owned())
    };
    let first = wait_settled(&mut daemon, "both.test:123");
    assert_ne!(in_use(&first), None);
    // Which of the two the resolver puts first is its business: each has its turn.
    let mut used = in_use(&first);
    for _ in 0..2 {
        let is_v4 = used == Some(name(server.v4()));
        let (own, other) = if is_v4 {
            (format!("{}/24", client.v4()), server.v6())
        } else {
            (format!("{}/64", client.v6()), server.v4())
        };
        let lost = daemon.observe().expect("the socket");
        client.ip(&format!("address del {own} dev eth0"));
        let moved = daemon.wait_until(LIMIT, "the other address", |observation| {
            in_use(observation) == Some(name(other))
        });
        assert!(moved.is_synchronized());
        assert_truth_inside(&moved, CLOSE.max(lost.error_bound()));
        used = in_use(&moved);
        client.ip(&format!("address add {own} dev eth0"));
    }
    assert_no_further_step(&daemon);
}
