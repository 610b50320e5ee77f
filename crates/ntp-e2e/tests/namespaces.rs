//! The daemon with chronyd and ntpsec on virtual hosts: unreachable and wrong servers, pools, bad
//! links, and forged replies.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntp_e2e::daemon::{Setup, assert_error_within};
use ntp_e2e::delay_proxy::{DelayProxy, Link};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::{Observation, Source};
use ntp_e2e::peers::{self, Peer};
use ntp_e2e::{scenario, wait};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Error of a virtual clock synchronised to a virtual host, in seconds, even on a busy machine.
const CLOSE: f64 = 0.010;

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(the_daemon_synchronises_to_chronyd_over_ipv4_and_ipv6),
            scenario!(the_daemon_synchronises_to_ntpsec_over_ipv4_and_ipv6),
            scenario!(the_daemon_synchronises_to_others_in_versions_1_to_3),
            scenario!(an_unreachable_server_leads_to_holdover_and_is_used_again),
            scenario!(one_falseticker_among_four_servers_is_rejected),
            scenario!(an_unreachable_pool_member_is_replaced),
            scenario!(a_failed_name_lookup_is_retried),
            scenario!(a_lossy_and_jittery_path_stays_inside_the_bound),
            scenario!(an_asymmetric_path_stays_inside_the_bound),
            scenario!(a_very_bad_path_stays_inside_the_bound).slow(),
            scenario!(forged_replies_are_ignored),
        ],
    )
}

/// Address and port in the notation of the configuration and the observation.
fn name(address: IpAddr) -> String {
    SocketAddr::new(address, 123).to_string()
}

fn assert_synchronises_over_ipv4_and_ipv6(start: impl Fn(&Host) -> Peer, stratum: u64) {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = start(&server);
    for address in [server.v4(), server.v6()] {
        let setup = Setup::new(1).server(&name(address));
        let mut daemon = setup.start(Some(&client));
        let synchronized = daemon.wait_synchronized(LIMIT);
        assert_eq!(synchronized.stratum(), stratum + 1);
        assert_eq!(
            synchronized.source(&name(address)).map(Source::state),
            Some("selected")
        );
        let close = daemon.wait_until(LIMIT, "a small error", |observation| {
            observation.true_offset().abs() < CLOSE
        });
        assert_error_within(&close, CLOSE);
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

fn the_daemon_synchronises_to_chronyd_over_ipv4_and_ipv6() {
    assert_synchronises_over_ipv4_and_ipv6(|host| peers::chronyd(host, 1), 1);
}

fn the_daemon_synchronises_to_ntpsec_over_ipv4_and_ipv6() {
    assert_synchronises_over_ipv4_and_ipv6(|host| peers::ntpsec(host, 2), 2);
}

fn the_daemon_synchronises_to_others_in_versions_1_to_3() {
    let network = Network::new();
    let (client, one, other) = (network.host(), network.host(), network.host());
    let _servers = [peers::chronyd(&one, 1), peers::ntpsec(&other, 2)];
    for version in 1..=3 {
        let key = format!("ntp-version = {version}");
        let setup = Setup::new(2)
            .server_with(&name(one.v4()), &key)
            .server_with(&name(other.v6()), &key);
        let mut daemon = setup.start(Some(&client));
        daemon.wait_synchronized(LIMIT);
        daemon.wait_until(LIMIT, "both in use", |observation| {
            [name(one.v4()), name(other.v6())]
                .iter()
                .all(|name| observation.source(name).map(Source::state) == Some("selected"))
        });
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

fn an_unreachable_server_leads_to_holdover_and_is_used_again() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let chronyd = peers::chronyd(&server, 1);
    let server_name = name(server.v4());
    let setup = Setup::new(1).server(&server_name);
    let mut daemon = setup.start(Some(&client));
    let before = daemon.wait_synchronized(LIMIT);
    drop(chronyd);
    let polls = |observation: &Observation| {
        observation
            .source(&server_name)
            .map_or(0, Source::unanswered_polls)
    };
    let alone = daemon.wait_until(LIMIT, "three unanswered polls", |observation| {
        polls(observation) >= 3
    });
    // Holdover: the clock stays synchronised, and the error bound grows.
    assert!(alone.is_synchronized());
    assert_error_within(&alone, CLOSE.max(before.error_bound()));
    let later = daemon.wait_until(LIMIT, "more unanswered polls", |observation| {
        polls(observation) >= 6
    });
    assert!(later.error_bound() > alone.error_bound());
    assert_error_within(&later, CLOSE.max(before.error_bound()));

    let _chronyd = peers::chronyd(&server, 1);
    let back = daemon.wait_until(LIMIT, "replies again", |observation| {
        let source = observation.source(&server_name);
        observation.is_synchronized()
            && source.is_some_and(|source| {
                source.unanswered_polls() == 0 && source.state() == "selected"
            })
    });
    assert_error_within(&back, CLOSE);
    assert_eq!(
        daemon.process.events("clock_stepped").len(),
        1,
        "the first correction only"
    );
}

fn one_falseticker_among_four_servers_is_rejected() {
    let network = Network::new();
    let client = network.host();
    let hosts = [
        network.host(),
        network.host(),
        network.host(),
        network.host(),
    ];
    let _correct = [
        peers::chronyd(&hosts[0], 1),
        peers::ntpsec(&hosts[1], 2),
        peers::chronyd(&hosts[2], 3),
    ];
    let _falseticker = peers::test_server(&hosts[3], hosts[3].v4(), 0.05);
    let setup = hosts
        .iter()
        .fold(Setup::new(3), |setup, host| setup.server(&name(host.v4())));
    let mut daemon = setup.start(Some(&client));
    let state = |observation: &Observation, host: &Host| {
        observation
            .source(&name(host.v4()))
            .map(|source| source.state().to_owned())
    };
    let judged = daemon.wait_until(LIMIT, "a falseticker", |observation| {
        observation.is_synchronized()
            && state(observation, &hosts[3]).as_deref() == Some("falseticker")
    });
    for host in &hosts[..3] {
        assert_eq!(state(&judged, host).as_deref(), Some("selected"));
    }
    // Long enough for a wrongly selected falseticker to move the clock.
    let last = daemon.wait_until(LIMIT, "ten polls of each source", |observation| {
        observation
            .sources()
            .iter()
            .all(|source| source.packets_sent() >= 10)
    });
    assert_error_within(&last, CLOSE);
}

fn an_unreachable_pool_member_is_replaced() {
    let network = Network::new();
    let client = network.host();
    let hosts = [
        network.host(),
        network.host(),
        network.host(),
        network.host(),
    ];
    let mut servers: Vec<_> = hosts
        .iter()
        .map(|host| (name(host.v4()), peers::test_server(host, host.v4(), 0.0)))
        .collect();
    client.set_names(&[("pool.test", &hosts.each_ref().map(Host::v4))]);
    let setup = Setup::new(2).pool("pool.test", 3);
    let mut daemon = setup.start(Some(&client));
    let first = daemon.wait_until(LIMIT, "three members", |observation| {
        observation.is_synchronized()
            && observation
                .sources()
                .iter()
                .filter(|source| source.is_measured())
                .count()
                == 3
    });
    let members = addresses(&first);
    assert!(
        first
            .sources()
            .iter()
            .all(|source| source.name() == "pool.test:123"),
        "{first:#?}"
    );
    let victim = members[0].clone();
    let spare = servers
        .iter()
        .map(|(name, _)| name)
        .find(|name| !members.contains(name))
        .cloned();
    let spare = spare.expect("three of four");
    servers.retain(|(name, _)| *name != victim);
    let second = daemon.wait_until(LIMIT, "the spare server", |observation| {
        let members = addresses(observation);
        members.contains(&spare) && !members.contains(&victim)
    });
    assert_eq!(second.sources().len(), 3);
    assert!(second.is_synchronized());
    assert_error_within(&second, CLOSE);
}

fn addresses(observation: &Observation) -> Vec<String> {
    observation
        .sources()
        .iter()
        .map(|source| source.address().to_owned())
        .collect()
}

fn a_failed_name_lookup_is_retried() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _server = peers::test_server(&server, server.v6(), 0.0);
    client.set_names(&[]);
    let setup = Setup::new(1).server("late.test");
    let mut daemon = setup.start(Some(&client));
    let host = [("host", "late.test")];
    let warning = (daemon.process).wait_for_event(LIMIT, "resolve_failed", &host);
    assert_eq!(warning.level(), "WARN");
    client.set_names(&[("late.test", &[server.v6()])]);
    let found = daemon.wait_synchronized(LIMIT);
    assert_eq!(addresses(&found), [name(server.v6())]);
}

/// Starts a link from `client` to the server at `address`. Returns the proxy and its address.
fn link(client: &Host, address: IpAddr, link: Link) -> (DelayProxy, SocketAddr) {
    let (listen, upstream) = (client.udp(client.v4(), 0), client.udp(client.v4(), 0));
    let start = listen.local_addr().expect("bound");
    let proxy = DelayProxy::start(listen, upstream, (address, 123).into(), link).expect("a proxy");
    (proxy, start)
}

/// Synchronises to three chronyds through links of this kind, and asserts that the true error stays
/// inside the bound.
fn assert_error_stays_inside_the_bound(kind: Link, span: Duration, worst: f64) {
    let network = Network::new();
    let client = network.host();
    let hosts = [network.host(), network.host(), network.host()];
    let _servers = hosts.each_ref().map(|host| peers::chronyd(host, 1));
    let mut links = Vec::new();
    let mut setup = Setup::new(2);
    for (host, seed) in hosts.iter().zip(1..) {
        let (proxy, start) = link(&client, host.v4(), Link { seed, ..kind });
        links.push(proxy);
        setup = setup.server(&start.to_string());
    }
    let mut daemon = setup.start(Some(&client));
    daemon.wait_synchronized(LIMIT);
    let mut last = None;
    wait::throughout(span, || {
        let observation = daemon.observe().expect("an observation");
        assert!(observation.is_synchronized());
        assert_error_within(&observation, worst);
        last = Some(observation);
    });
    let last = last.expect("an observation");
    // The bound must be mostly due to the path, not arbitrarily wide.
    assert!(last.error_bound() < 0.2, "bound {} s", last.error_bound());
    assert!(last.estimated_error() <= last.error_bound());
}

fn a_lossy_and_jittery_path_stays_inside_the_bound() {
    let kind = Link {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        loss: 0.2,
        duplication: 0.05,
        reordering: 0.05,
        ..Link::PERFECT
    };
    // The first packets of two sources may both be reordered by 100 ms, and each is wrong by half
    // of that.
    assert_error_stays_inside_the_bound(kind, Duration::from_secs(20), 0.08);
}

fn an_asymmetric_path_stays_inside_the_bound() {
    let kind = Link {
        delay: Duration::from_millis(5),
        asymmetry: Duration::from_millis(30),
        ..Link::PERFECT
    };
    // Half of the asymmetry is an error that cannot be measured, but must be inside the bound.
    assert_error_stays_inside_the_bound(kind, Duration::from_secs(15), 0.05);
}

fn a_very_bad_path_stays_inside_the_bound() {
    let kind = Link {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(20),
        asymmetry: Duration::from_millis(20),
        loss: 0.4,
        reordering: 0.2,
        ..Link::PERFECT
    };
    assert_error_stays_inside_the_bound(kind, Duration::from_secs(300), 0.1);
}

fn forged_replies_are_ignored() {
    let network = Network::new();
    let (client, front, server, attacker) = (
        network.host(),
        network.host(),
        network.host(),
        network.host(),
    );
    let _chronyd = peers::chronyd(&server, 1);
    // The attacker can send from the server's address, but receives nothing that is sent there.
    attacker.set_sysctl("ipv4/conf/all/arp_ignore", "1");
    attacker.set_sysctl("ipv4/conf/all/arp_announce", "2");
    attacker.ip(&format!("address add {}/32 dev lo", front.v4()));
    let upstream = front.udp(front.v4(), 0);
    upstream.connect((server.v4(), 123)).expect("a route");
    let attack = Attack::start(AttackedServer {
        listen: front.udp(front.v4(), 123),
        upstream,
        spoofed: attacker.udp(front.v4(), 123),
        own: attacker.udp(attacker.v4(), 123),
    });

    let setup = Setup::new(1).server(&name(front.v4()));
    let mut daemon = setup.start(Some(&client));
    let last = daemon.wait_until(LIMIT, "ten polls under attack", |observation| {
        let sources = observation.sources();
        observation.is_synchronized() && sources.iter().all(|source| source.packets_sent() >= 10)
    });
    assert_eq!(last.sources()[0].state(), "selected");
    assert_error_within(&last, CLOSE);
    // They arrived at an open socket, and were logged once.
    let mut rejected = daemon.process.events("reply_rejected");
    rejected.retain(|event| event.field("reason") == "wrong-origin");
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    drop(attack);
}

/// A relay to a correct server, with an off-path attacker who knows everything that is not random:
/// address, port and time of each request. Forged replies arrive before each true reply.
#[derive(Debug)]
struct AttackedServer {
    /// Receives the client's requests.
    listen: UdpSocket,
    /// Connected to the correct server.
    upstream: UdpSocket,
    /// The attacker's socket with the server's address.
    spoofed: UdpSocket,
    /// The attacker's socket with its own address.
    own: UdpSocket,
}

/// Interval at which the relay checks whether to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);

impl AttackedServer {
    /// Relays until `ended`.
    fn run(&self, ended: &AtomicBool) -> io::Result<()> {
        self.listen.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;
        self.upstream.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;
        let mut previous = [0; 8];
        let mut buffer = [0; 1024];
        while !ended.load(Ordering::Relaxed) {
            let Ok((length, client)) = self.listen.recv_from(&mut buffer) else {
                continue;
            };
            let Some(transmit) = buffer[..length].get(40..48) else {
                continue;
            };
            let mut nonce = [0; 8];
            nonce.copy_from_slice(transmit);
            let mut guessed = nonce;
            guessed[7] ^= 1;
            for origin in [[0; 8], guessed, previous] {
                for stratum in [1, 0] {
                    self.spoofed.send_to(&forgery(stratum, origin), client)?;
                }
            }
            // With the right nonce, but from another address.
            self.own.send_to(&forgery(1, nonce), client)?;
            previous = nonce;
            self.upstream.send(&buffer[..length])?;
            if let Ok(length) = self.upstream.recv(&mut buffer) {
                self.listen.send_to(&buffer[..length], client)?;
            }
        }
        Ok(())
    }
}

/// A forged reply: the time is an hour ahead, or at stratum 0 a DENY kiss.
fn forgery(stratum: u8, origin: [u8; 8]) -> [u8; 48] {
    #[expect(
        clippy::disallowed_methods,
        reason = "a forged reply needs plausible timestamps"
    )]
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let hour_ahead = (unix + 2_208_988_800 + 3600) << 32;
    let mut reply = [0; 48];
    reply[..4].copy_from_slice(&[0b00_100_100, stratum, 1, 0xe8]);
    reply[12..16].copy_from_slice(if stratum == 0 { b"DENY" } else { b"GPS\0" });
    reply[24..32].copy_from_slice(&origin);
    reply[32..40].copy_from_slice(&hour_ahead.to_be_bytes());
    reply[40..48].copy_from_slice(&hour_ahead.to_be_bytes());
    reply
}

/// A running [`AttackedServer`]. Stopped when dropped.
#[derive(Debug)]
struct Attack {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Attack {
    fn start(server: AttackedServer) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ended = ended.clone();
            move || server.run(&ended)
        });
        Self {
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the attacked server failed: {error}");
        }
    }
}
