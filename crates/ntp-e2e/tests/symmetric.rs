//! Symmetric keys and interleaved mode between us and chronyd or ntpsec, in both directions.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::clients::{self, Client, ServerDirective};
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::log_event::LogEvent;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::{Observation, Source};
use ntp_e2e::peers::{self, Peer, SharedKey};
use ntp_e2e::scenario;

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

const SERVER: &str = "[[server]]\nlisten = \"[::]:123\"";

/// Number of a key that has another secret on the other side.
const WRONG_KEY: u32 = 9;

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(we_authenticate_chronyd_with_every_key_type),
            scenario!(we_authenticate_ntpsec_with_every_key_type),
            scenario!(crypto_naks_are_counted_and_logged_once),
            scenario!(chronyd_authenticates_us_with_every_key_type),
            scenario!(ntpsec_authenticates_us_with_every_key_type),
            scenario!(interleaved_mode_with_chronyd_as_the_server),
            scenario!(interleaved_mode_with_chronyd_as_the_client),
            scenario!(interleaved_mode_between_two_daemons_with_a_key),
        ],
    )
}

/// Adds addresses to `host`, one per key and one more, since clients reject duplicate servers.
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

/// All keys, and [`WRONG_KEY`] with a secret of this digit.
fn keys(digit: char) -> Vec<SharedKey> {
    let secret = match digit {
        'a' => "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        _ => "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    };
    let wrong = SharedKey {
        id: WRONG_KEY,
        secret,
        ..SharedKey::ALL[0]
    };
    SharedKey::ALL.into_iter().chain([wrong]).collect()
}

fn name(address: IpAddr) -> String {
    SocketAddr::new(address, 123).to_string()
}

fn assert_we_authenticate(start: impl Fn(&Host, &[SharedKey]) -> Peer) {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let addresses = addresses(&server);
    let _server = start(&server, &keys('a'));
    let mut setup = Setup::new(1).keys(&keys('b'));
    for (address, key) in addresses.iter().zip(keys('b')) {
        setup = setup.server_with(&name(*address), &format!("key = {}", key.id));
    }
    let mut daemon = setup.start(Some(&client));
    let (wrong, correct) = addresses.split_last().expect("some");
    let is_measured = |observation: &Observation, address: &IpAddr| {
        let source = observation.source(&name(*address));
        source.is_some_and(Source::is_measured)
    };
    let seen = daemon.wait_until(LIMIT, "measurements with every key", |observation| {
        let tried = observation.source(&name(*wrong));
        correct
            .iter()
            .all(|address| is_measured(observation, address))
            && tried.is_some_and(|source| source.packets_sent() >= 3)
    });
    for (address, key) in correct.iter().zip(SharedKey::ALL) {
        let expected = format!("key {} ({})", key.id, key.kind);
        let source = seen.source(&name(*address)).expect("configured");
        assert_eq!(source.authentication(), expected);
    }
    let wrong = seen.source(&name(*wrong)).expect("configured");
    assert!(!wrong.is_measured(), "a wrong secret was accepted");
    let warnings = daemon.process.events("configuration_warning");
    let of_md5 = |event: &&LogEvent| event.field("problem").contains("MD5");
    assert_eq!(warnings.iter().filter(of_md5).count(), 1, "{warnings:?}");
    assert_eq!(daemon.stop().code(), Some(0));
}

fn we_authenticate_chronyd_with_every_key_type() {
    assert_we_authenticate(|host, keys| peers::chronyd_with_keys(host, 1, keys));
}

fn we_authenticate_ntpsec_with_every_key_type() {
    assert_we_authenticate(|host, keys| peers::ntpsec_with_keys(host, 2, keys));
}

fn crypto_naks_are_counted_and_logged_once() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    // Neither chronyd nor ntpsec sends crypto-NAKs; we do.
    let server_setup = Setup::new(1)
        .synchronization("local-stratum = 1")
        .keys(&keys('a'))
        .with(SERVER);
    let _server = server_setup.start(Some(&server));
    let source = name(server.v4());
    let setup = Setup::new(1)
        .keys(&keys('b'))
        .server_with(&source, &format!("key = {WRONG_KEY}"));
    let mut daemon = setup.start(Some(&client));
    let seen = daemon.wait_until(LIMIT, "crypto-NAKs", |observation| {
        let source = observation.source(&source);
        source.is_some_and(|source| source.crypto_naks() >= 3)
    });
    let source = seen.source(&source).expect("configured");
    assert!(!source.is_measured());
    let mut rejected = daemon.process.events("reply_rejected");
    rejected.retain(|event| event.field("reason") == "crypto-nak");
    assert_eq!(rejected.len(), 1, "{rejected:#?}");
}

fn assert_authenticates_us(
    start: impl Fn(&Host, &[ServerDirective], &[SharedKey]) -> Client,
    options: &'static str,
) {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let addresses = addresses(&server);
    let setup = Setup::new(1)
        .synchronization("local-stratum = 1")
        .keys(&keys('a'))
        .with(SERVER);
    let mut daemon = setup.start(Some(&server));
    let directives: Vec<_> = addresses
        .iter()
        .zip(keys('b'))
        .map(|(address, key)| ServerDirective {
            server: *address,
            key: Some(key.id),
            options,
        })
        .collect();
    let foreign_client = start(&client, &directives, &keys('b'));
    let (wrong, correct) = addresses.split_last().expect("some");
    for address in correct {
        foreign_client.wait_measured(LIMIT, *address, |_| true);
    }
    daemon.wait_until(LIMIT, "a refusal of the wrong secret", |observation| {
        observation.server_counter("denied_packets") > 0
    });
    let measured = foreign_client.measurements(*wrong);
    assert!(
        measured.iter().all(|words| !passes_tests(words)),
        "{measured:?}"
    );
}

/// Whether a measurement passed chronyd's tests; chronyd logs failed ones with zeros in these
/// columns.
fn passes_tests(words: &[String]) -> bool {
    words.get(5).is_some_and(|tests| tests == "111")
        && words.get(6).is_some_and(|tests| tests == "111")
}

fn chronyd_authenticates_us_with_every_key_type() {
    assert_authenticates_us(clients::chronyd, "iburst minpoll 1 maxpoll 1");
}

fn ntpsec_authenticates_us_with_every_key_type() {
    assert_authenticates_us(clients::ntpsec, "iburst minpoll 3 maxpoll 3");
}

fn interleaved_mode_with_chronyd_as_the_server() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let _chronyd = peers::chronyd(&server, 1);
    for address in [server.v4(), server.v6()] {
        let setup = Setup::new(1).server_with(&name(address), "interleaved = true");
        let mut daemon = setup.start(Some(&client));
        assert_interleaved_with(&mut daemon, &name(address));
    }
}

fn assert_interleaved_with(daemon: &mut ntp_e2e::daemon::Daemon, server: &str) {
    let seen = daemon.wait_until(LIMIT, "interleaved mode", |observation| {
        let source = observation.source(server);
        source.is_some_and(|source| source.is_interleaved() && source.packets_sent() >= 8)
    });
    // Replies in interleaved mode yield measurements.
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
        .synchronization("local-stratum = 1")
        .with(SERVER);
    let _daemon = setup.start(Some(&server));
    let directives = [server.v4(), server.v6()].map(|server| ServerDirective {
        options: "xleave iburst minpoll 0 maxpoll 0",
        ..ServerDirective::plain(server)
    });
    let chronyd = clients::chronyd(&client, &directives, &[]);
    for directive in &directives {
        chronyd.wait_measured(LIMIT, directive.server, clients::is_interleaved);
    }
}

fn interleaved_mode_between_two_daemons_with_a_key() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let server_setup = Setup::new(1)
        .synchronization("local-stratum = 1")
        // The server's clock is correct; the client's is not.
        .without_clock_error()
        .keys(&SharedKey::ALL)
        .with(SERVER);
    let _server = server_setup.start(Some(&server));
    let source = name(server.v4());
    let client_daemon = Setup::new(1)
        .keys(&SharedKey::ALL)
        .server_with(&source, "interleaved = true\nkey = 1");
    let mut client_daemon = client_daemon.start(Some(&client));
    assert_interleaved_with(&mut client_daemon, &source);
}
