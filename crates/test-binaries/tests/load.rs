//! The load generator against the real server: what it speaks, and what it does not take for an answer.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use ntp_daemon::serve::{Bound, Listener, Servers};
use ntp_os_clock::Clock;
use ntp_proto::keys::{Algorithm, Key, KeyRing};
use ntp_proto::server::{Claim, Policy};
use ntp_time::{Frequency, NtpDuration};
use ntp_udp::ServerOptions;
use test_binaries::load::{Dialect, Plan, Report, run};

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
        rest_under_load: false,
        policy: Policy {
            keys: KeyRing::new(keys()).unwrap(),
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

fn load(target: SocketAddr, dialect: Dialect) -> Report {
    let sources = target.is_ipv4().then(|| "127.1.0.0/28".parse().unwrap());
    let plan = Plan {
        target,
        rate: 1000.0,
        duration: Duration::from_millis(200),
        dialect,
        sources,
        clients: None,
        ports: 3,
        burst: 1,
        // Nothing is late, and nothing is lost, on a machine in whatever distress.
        patience: Duration::from_secs(30),
        seed: 1,
    };
    run(&plan).unwrap()
}

fn all_answered(report: &Report) {
    let outcome = (
        report.answered,
        report.lost(),
        report.invalid,
        report.kissed,
    );
    assert_eq!(outcome, (200, 0, 0, 0));
}

#[test]
fn keys_of_all_types_are_spoken_and_checked() {
    let servers = serve("127.0.0.1:0");
    let address = servers.addresses().next().unwrap();
    for key in keys() {
        let dialect = Dialect {
            key: Some(Arc::new(key)),
            interleaved: false,
        };
        all_answered(&load(address, dialect));
    }
}

#[test]
fn an_answer_without_the_right_mac_is_invalid_and_its_request_lost() {
    let servers = serve("127.0.0.1:0");
    let address = servers.addresses().next().unwrap();
    // The server knows the number, but not this secret: it says so, unsigned.
    let wrong = Key::new(6, Algorithm::Aes128Cmac, &[1; 16]).unwrap();
    let plan = Plan {
        target: address,
        rate: 1000.0,
        duration: Duration::from_millis(20),
        dialect: Dialect {
            key: Some(Arc::new(wrong)),
            interleaved: false,
        },
        sources: None,
        clients: None,
        ports: 1,
        burst: 1,
        patience: Duration::from_millis(500),
        seed: 1,
    };
    let report = run(&plan).unwrap();
    assert_eq!((report.answered, report.lost()), (0, 20));
    assert!(report.invalid > 0);
}

#[test]
fn interleaved_clients_get_the_stamps_of_their_last_answers() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let servers = serve(address);
        let address = servers.addresses().next().unwrap();
        let dialect = Dialect {
            interleaved: true,
            key: keys().last().map(Arc::new),
        };
        let report = load(address, dialect);
        all_answered(&report);
        // The first two exchanges of each client are basic; so is one whose answer was still under way.
        assert!(report.interleaved > 20, "{report}");
        let offset = report.offset.percentile(50.0).unwrap();
        assert!(offset.abs() < NtpDuration::from_seconds(1), "{report}");
    }
}
