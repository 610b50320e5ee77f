//! Tests of the load generator against the real server.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use ntp_daemon::serve::{Bound, Listener, Servers};
use ntp_os_clock::Clock;
use ntp_proto::keys::{Algorithm, Key, KeyRing};
use ntp_proto::nts::{
    AeadAlgorithm, KeyExchangeResult, Keyset, MasterSecret, NextProtocol, SessionKeys,
};
use ntp_proto::server::{Claim, Policy, Versions};
use ntp_proto::wire::Version;
use ntp_time::{Frequency, NtpDuration};
use ntp_udp::ServerOptions;
use test_binaries::load::{ClientProtocol, Plan, Report, run};

const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::Md5,
    Algorithm::Sha1,
    Algorithm::Sha256,
    Algorithm::Sha384,
    Algorithm::Sha512,
    Algorithm::Aes128Cmac,
    Algorithm::Aes256Cmac,
];

/// A key of each type, numbered from 1.
fn keys() -> impl Iterator<Item = Key> {
    (1..).zip(ALGORITHMS).map(|(number, algorithm)| {
        let length = algorithm.secret_length().unwrap_or(20);
        Key::new(number, algorithm, &[0x5a; 32][..length]).unwrap()
    })
}

fn serve(address: &str) -> Servers {
    let listener = Listener {
        address: address.parse().unwrap(),
        workers: 1,
        batching_under_load: false,
        policy: Policy {
            keys: KeyRing::new(keys()).unwrap(),
            versions: Versions::UP_TO_4.with(Version::V5),
            ..Policy::default()
        },
        options: ServerOptions::default(),
    };
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let bound = Bound::bind(vec![listener]).unwrap();
    bound
        .start(Claim::UNSYNCHRONIZED, &clock.translator(), || [7; 32])
        .unwrap()
}

fn load(target: SocketAddr, protocol: ClientProtocol) -> Report {
    let sources = target.is_ipv4().then(|| "127.1.0.0/28".parse().unwrap());
    let plan = Plan {
        target,
        rate: 1000.0,
        duration: Duration::from_millis(200),
        protocol,
        sources,
        clients: None,
        ports: 3,
        burst: 1,
        // No reply is late or lost, even on an overloaded machine.
        timeout: Duration::from_secs(30),
        seed: 1,
        process: None,
    };
    run(&plan).unwrap()
}

fn assert_all_answered(report: &Report) {
    let outcome = (
        report.answered,
        report.lost(),
        report.invalid,
        report.kissed,
    );
    assert_eq!(outcome, (200, 0, 0, 0));
}

#[test]
fn keys_of_all_types_authenticate_requests_and_replies() {
    let servers = serve("127.0.0.1:0");
    let address = servers.addresses().next().unwrap().socket;
    for key in keys() {
        let protocol = ClientProtocol {
            key: Some(Arc::new(key)),
            ..ClientProtocol::default()
        };
        assert_all_answered(&load(address, protocol));
    }
}

#[test]
fn a_reply_without_the_right_mac_is_invalid_and_its_request_lost() {
    let servers = serve("127.0.0.1:0");
    let address = servers.addresses().next().unwrap().socket;
    // The server has this key number with another secret, and sends a crypto-NAK.
    let wrong = Key::new(6, Algorithm::Aes128Cmac, &[1; 16]).unwrap();
    let plan = Plan {
        target: address,
        rate: 1000.0,
        duration: Duration::from_millis(20),
        protocol: ClientProtocol {
            key: Some(Arc::new(wrong)),
            ..ClientProtocol::default()
        },
        sources: None,
        clients: None,
        ports: 1,
        burst: 1,
        timeout: Duration::from_millis(500),
        seed: 1,
        process: None,
    };
    let report = run(&plan).unwrap();
    assert_eq!((report.answered, report.lost()), (0, 20));
    assert!(report.invalid > 0);
}

#[test]
fn interleaved_clients_get_the_timestamps_of_their_previous_replies() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let servers = serve(address);
        let address = servers.addresses().next().unwrap().socket;
        let protocol = ClientProtocol {
            interleaved: true,
            key: keys().last().map(Arc::new),
            ..ClientProtocol::default()
        };
        let report = load(address, protocol);
        assert_all_answered(&report);
        // The first two exchanges of each client are basic; so is one whose previous reply was
        // pending.
        assert!(report.interleaved > 20, "{report}");
        let offset = report.offset.percentile(50.0).unwrap();
        assert!(offset.abs() < NtpDuration::from_seconds(1), "{report}");
    }
}

#[test]
fn requests_of_version_5_are_answered() {
    let servers = serve("127.0.0.1:0");
    let address = servers.addresses().next().unwrap().socket;
    let protocol = ClientProtocol {
        version_5: true,
        ..ClientProtocol::default()
    };
    let report = load(address, protocol);
    assert_all_answered(&report);
    let details = servers.status().remove(0).details;
    assert_eq!(details.accepted_by_version[4], report.answered);
    let offset = report.offset.percentile(50.0).unwrap();
    assert!(offset.abs() < NtpDuration::from_seconds(1), "{report}");
}

fn keyset(fill: u8) -> Arc<Keyset> {
    Arc::new(Keyset::new(MasterSecret::new([fill; MasterSecret::LENGTH])))
}

/// A session with two cookies, in which the client uses `expected` as the key of replies, and the
/// server `real`.
fn session(algorithm: AeadAlgorithm, expected: u8, real: u8) -> KeyExchangeResult {
    let length = algorithm.key_length();
    let keys = |replies: u8| {
        let [requests, replies] = [9, replies].map(|fill| vec![fill; length]);
        SessionKeys::new(algorithm, &requests, &replies).unwrap()
    };
    let cookie = |nonce| keyset(1).seal_cookie(&keys(real), [nonce; 16]).unwrap();
    KeyExchangeResult {
        protocol: NextProtocol::NtpV4,
        keys: keys(expected),
        legacy_keys: None,
        cookies: [1, 2].map(cookie).into(),
        server: None,
        port: None,
    }
}

fn load_with_nts(keys_of_server: u8, nts: Vec<KeyExchangeResult>) -> Report {
    let mut servers = serve("127.0.0.1:0");
    servers.publish_keyset(&keyset(keys_of_server));
    let plan = Plan {
        target: servers.addresses().next().unwrap().socket,
        rate: 1000.0,
        duration: Duration::from_millis(50),
        protocol: ClientProtocol {
            nts,
            ..ClientProtocol::default()
        },
        sources: None,
        clients: None,
        ports: 2,
        burst: 10,
        timeout: Duration::from_millis(500),
        seed: 1,
        process: Some(std::process::id()),
    };
    run(&plan).unwrap()
}

#[test]
fn nts_works_with_every_algorithm_and_reused_cookies_are_counted() {
    for algorithm in AeadAlgorithm::ALL {
        let report = load_with_nts(1, vec![session(algorithm, 5, 5); 3]);
        assert_eq!((report.sent, report.unsent), (50, 0));
        assert_eq!(
            (report.kissed, report.invalid),
            (0, 0),
            "{algorithm}: {report}"
        );
        assert!(report.answered > 0, "{algorithm}: {report}");
        // The first ten are sent together, and there are six cookies.
        assert!(report.reused_cookies >= 4, "{algorithm}: {report}");
        assert!(report.process_cpu > Some(Duration::ZERO));
    }
}

#[test]
fn nts_naks_count_as_kissed() {
    let report = load_with_nts(2, vec![session(AeadAlgorithm::AesSivCmac256, 5, 5)]);
    assert_eq!((report.answered, report.invalid), (0, 0), "{report}");
    assert!(report.kissed > 0, "{report}");
}

#[test]
fn a_reply_with_a_wrong_authenticator_is_invalid() {
    let report = load_with_nts(1, vec![session(AeadAlgorithm::Aes128GcmSiv, 5, 6)]);
    assert_eq!((report.answered, report.kissed), (0, 0), "{report}");
    assert!(report.invalid > 0, "{report}");
}
