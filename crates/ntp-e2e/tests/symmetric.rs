//! Symmetric keys and interleaved mode between us and the daemons of the world, in both directions.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::clients::{self, Client, Question};
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::{Observation, Source};
use ntp_e2e::peers::{self, Peer, SharedKey};
use ntp_e2e::scenario;

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

/// A server that has time to give without having a source.
const SERVER: &str = "[[server]]\nlisten = \"[::]:123\"";
const LOCAL: &str = "[synchronization]\nlocal-stratum = 1\n";

/// The number of [`WRONG_KEY`], which the other side knows with another secret.
const WRONG: u32 = 9;

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(chronyd_proves_itself_to_us_with_every_type_of_key),
            scenario!(ntpsec_proves_itself_to_us_with_every_type_of_key),
            scenario!(a_server_that_does_not_accept_our_key_says_so_and_it_is_told_once),
            scenario!(chronyd_is_convinced_by_us_with_every_type_of_key),
            scenario!(ntpsec_is_convinced_by_us_with_every_type_of_key),
            scenario!(interleaved_mode_with_chronyd_as_the_server),
            scenario!(interleaved_mode_with_chronyd_as_the_client),
            scenario!(interleaved_mode_between_two_of_us_and_with_a_key),
        ],
    )
}

/// Addresses of `host`, one for each key and one more: no daemon likes to have the same server twice.
fn addresses(host: &Host) -> Vec<IpAddr> {
    let octets = 200..=200 + SharedKey::ALL.len() as u8;
    octets
        .map(|last| {
            let address = Ipv4Addr::new(10, 77, 0, last);
            host.ip(&format!("address add {address}/24 dev eth0"));
            address.into()
        })
        .collect()
}

/// All keys, and [`WRONG`] with this digit for a secret.
fn keys(digit: char) -> Vec<SharedKey> {
    let secret = match digit {
        'a' => "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        _ => "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    };
    let wrong = SharedKey {
        id: WRONG,
        secret,
        ..SharedKey::ALL[0]
    };
    SharedKey::ALL.into_iter().chain([wrong]).collect()
}

fn name(address: IpAddr) -> String {
    SocketAddr::new(address, 123).to_string()
}

fn proves_itself(start: impl Fn(&Host, &[SharedKey]) -> Peer) {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let addresses = addresses(&server);
    let _server = start(&server, &keys('a'));
    let mut setup = Setup::new(1).keys(&keys('b'));
    for (address, key) in addresses.iter().zip(keys('b')) {
        setup = setup.server_with(&name(*address), &format!("key = {}", key.id));
    }
    let mut daemon = setup.start(Some(&client));
    let (liar, honest) = addresses.split_last().expect("some");
    let is_measured = |observation: &Observation, address: &IpAddr| {
        let source = observation.source(&name(*address));
        source.is_some_and(Source::is_measured)
    };
    let seen = daemon.wait_until(LIMIT, "every key at work", |observation| {
        let tried = observation.source(&name(*liar));
        honest
            .iter()
            .all(|address| is_measured(observation, address))
            && tried.is_some_and(|source| source.packets_sent() >= 3)
    });
    for (address, key) in honest.iter().zip(SharedKey::ALL) {
        let expected = format!("key {} ({})", key.id, key.kind);
        let source = seen.source(&name(*address)).expect("configured");
        assert_eq!(source.authentication(), expected);
    }
    let liar = seen.source(&name(*liar)).expect("configured");
    assert!(!liar.is_measured(), "another secret was believed");
    assert_eq!(daemon.process.lines_with("uses MD5").len(), 1);
    assert_eq!(daemon.stop().code(), Some(0));
}

fn chronyd_proves_itself_to_us_with_every_type_of_key() {
    proves_itself(|host, keys| peers::chronyd_with_keys(host, 1, keys));
}

fn ntpsec_proves_itself_to_us_with_every_type_of_key() {
    proves_itself(|host, keys| peers::ntpsec_with_keys(host, 2, keys));
}

fn a_server_that_does_not_accept_our_key_says_so_and_it_is_told_once() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    // Neither chronyd nor ntpsec sends crypto-NAKs; we do.
    let serving = Setup::new(1)
        .replacing("[synchronization]\n", LOCAL)
        .keys(&keys('a'))
        .with(SERVER);
    let _serving = serving.start(Some(&server));
    let source = name(server.v4());
    let setup = Setup::new(1)
        .keys(&keys('b'))
        .server_with(&source, &format!("key = {WRONG}"));
    let mut daemon = setup.start(Some(&client));
    let seen = daemon.wait_until(LIMIT, "crypto-NAKs", |observation| {
        let source = observation.source(&source);
        source.is_some_and(|source| source.crypto_naks() >= 3)
    });
    let source = seen.source(&source).expect("configured");
    assert!(!source.is_measured());
    let told = daemon.process.lines_with("does not accept our key");
    assert_eq!(told.len(), 1, "{told:#?}");
}

fn is_convinced(start: impl Fn(&Host, &[Question], &[SharedKey]) -> Client, options: &'static str) {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let addresses = addresses(&server);
    let setup = Setup::new(1)
        .replacing("[synchronization]\n", LOCAL)
        .keys(&keys('a'))
        .with(SERVER);
    let mut daemon = setup.start(Some(&server));
    let questions: Vec<_> = addresses
        .iter()
        .zip(keys('b'))
        .map(|(address, key)| Question {
            server: *address,
            key: Some(key.id),
            options,
        })
        .collect();
    let asking = start(&client, &questions, &keys('b'));
    let (liar, honest) = addresses.split_last().expect("some");
    for address in honest {
        asking.wait_measured(LIMIT, *address, |_| true);
    }
    daemon.wait_until(LIMIT, "a refusal of the wrong secret", |observation| {
        observation.served("denied_packets") > 0
    });
    let believed = asking.measurements(*liar);
    assert!(believed.iter().all(|words| !is_good(words)), "{believed:?}");
}

/// chronyd logs what fails its tests, too: the columns of RFC 5905's tests are ones then.
fn is_good(words: &[String]) -> bool {
    words.get(5).is_some_and(|tests| tests == "111")
        && words.get(6).is_some_and(|tests| tests == "111")
}

fn chronyd_is_convinced_by_us_with_every_type_of_key() {
    is_convinced(clients::chronyd, "iburst minpoll 1 maxpoll 1");
}

fn ntpsec_is_convinced_by_us_with_every_type_of_key() {
    is_convinced(clients::ntpsec, "iburst minpoll 3 maxpoll 3");
}

fn interleaved_mode_with_chronyd_as_the_server() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _chronyd = peers::chronyd(&server, 1);
    for address in [server.v4(), server.v6()] {
        let setup = Setup::new(1).server_with(&name(address), "interleaved = true");
        let mut daemon = setup.start(Some(&client));
        is_interleaved_with(&mut daemon, &name(address));
    }
}

fn is_interleaved_with(daemon: &mut ntp_e2e::daemon::Daemon, server: &str) {
    let seen = daemon.wait_until(LIMIT, "interleaved mode", |observation| {
        let source = observation.source(server);
        source.is_some_and(|source| source.is_interleaved() && source.packets_sent() >= 8)
    });
    // And what comes of it are measurements.
    assert!(seen.source(server).is_some_and(Source::is_measured));
    let close = daemon.wait_until(LIMIT, "a small error", |observation| {
        observation.is_synchronized() && observation.true_offset().abs() < 0.005
    });
    assert!(close.true_offset().abs() <= close.error_bound());
}

fn interleaved_mode_with_chronyd_as_the_client() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = Setup::new(1)
        .replacing("[synchronization]\n", LOCAL)
        .with(SERVER);
    let _daemon = setup.start(Some(&server));
    let questions = [server.v4(), server.v6()].map(|server| Question {
        options: "xleave iburst minpoll 0 maxpoll 0",
        ..Question::plain(server)
    });
    let chronyd = clients::chronyd(&client, &questions, &[]);
    for question in &questions {
        chronyd.wait_measured(LIMIT, question.server, clients::is_interleaved);
    }
}

fn interleaved_mode_between_two_of_us_and_with_a_key() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let serving = Setup::new(1)
        .replacing("[synchronization]\n", LOCAL)
        // So that the client, whose clock is wrong as well, has somebody to follow.
        .replacing("virtual-offset = 0.25", "virtual-offset = 0.0")
        .replacing("virtual-frequency = 40.0", "virtual-frequency = 0.0")
        .keys(&SharedKey::ALL)
        .with(SERVER);
    let _serving = serving.start(Some(&server));
    let source = name(server.v4());
    let asking = Setup::new(1)
        .keys(&SharedKey::ALL)
        .server_with(&source, "interleaved = true\nkey = 1");
    let mut asking = asking.start(Some(&client));
    is_interleaved_with(&mut asking, &source);
}
