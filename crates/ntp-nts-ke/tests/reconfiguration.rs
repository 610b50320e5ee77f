//! Endpoints that come, change and go while keys are given out.

mod arena;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use arena::{Authority, ask, endpoint, request, start, until};
use ntp_nts_ke::client::{Report, exchange};
use ntp_nts_ke::failure::Failure;
use ntp_nts_ke::server::{CertificatePaths, Endpoint, StartError};

fn told_port(report: Report) -> Option<u16> {
    report.outcome.expect("keys").port
}

fn with_port(mut endpoint: Endpoint, port: u16) -> Endpoint {
    endpoint.policy.ntp_port = Some(port);
    endpoint
}

#[test]
fn an_endpoint_changes_without_a_gap_and_another_comes_and_both_go() {
    let authority = Authority::new();
    let first = endpoint(vec![authority.good()]);
    let mut running = start(first.clone());
    // Somebody is in the middle of it, and ends as he began.
    let mut slow = TcpStream::connect(running.address).unwrap();
    slow.write_all(&[22, 3, 1]).unwrap();

    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut second = with_port(first.clone(), 2);
    second.listen = free;
    let changed = with_port(first.clone(), 1);
    let problems = running.server.follow(vec![changed.clone(), second.clone()]);
    assert!(problems.is_empty(), "{problems:?}");
    let addresses: Vec<_> = running.server.addresses().collect();
    assert_eq!(addresses, [running.address, free]);
    // The thread takes it in when it has a moment.
    until("the change", || {
        told_port(ask(&running, &authority)) == Some(1)
    });
    let path = authority.path();
    let at = |address: SocketAddr| exchange(&request("127.0.0.1", address.port(), &path));
    assert_eq!(told_port(at(free)), Some(2));
    slow.set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let still_there = slow.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(still_there, std::io::ErrorKind::WouldBlock);

    // The address of one that goes can be taken at once, by a wildcard too.
    let mut wildcard = with_port(first, 3);
    wildcard.listen = SocketAddr::new([0, 0, 0, 0].into(), free.port());
    let problems = running.server.follow(vec![changed, wildcard]);
    assert!(problems.is_empty(), "{problems:?}");
    until("the wildcard", || {
        at(free).outcome.is_ok_and(|keys| keys.port == Some(3))
    });

    assert!(running.server.follow(Vec::new()).is_empty());
    for address in [running.address, free] {
        until("nobody listens", || {
            matches!(at(address).outcome, Err(Failure::Connect(_)))
        });
    }
    assert_eq!(running.server.addresses().count(), 0);
    until("no certificate is shown", || {
        running.server.certificates().is_empty()
    });
}

#[test]
fn what_cannot_be_followed_is_named_and_stays_as_it_was() {
    let authority = Authority::new();
    let mut running = start(with_port(endpoint(vec![authority.good()]), 1));
    let missing = CertificatePaths {
        chain: "/nowhere/chain.pem".into(),
        key: "/nowhere/key.pem".into(),
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut second = endpoint(vec![authority.good()]);
    second.listen = taken.local_addr().unwrap();
    let problems = running
        .server
        .follow(vec![with_port(endpoint(vec![missing]), 2), second]);
    assert!(
        matches!(
            problems[..],
            [StartError::Certificate(_), StartError::Listen(..)]
        ),
        "{problems:?}"
    );
    assert_eq!(running.server.addresses().count(), 1);
    assert_eq!(told_port(ask(&running, &authority)), Some(1));
}

#[test]
fn the_certificates_in_use_are_known_with_the_end_of_their_chains() {
    let authority = Authority::new();
    let one = authority.issue("one", &["a.example", "127.0.0.1"], (2020, 2040));
    let two = authority.issue("two", &["b.example"], (2020, 2030));
    let running = start(endpoint(vec![one.clone(), two]));
    until("they are shown", || {
        running.server.certificates().len() == 2
    });
    let shown = running.server.certificates();
    assert_eq!(shown[0].path, one.chain);
    assert_eq!(shown[0].names, ["a.example", "127.0.0.1"]);
    // 2040-01-01 and 2030-01-01.
    let ends = [shown[0].expires, shown[1].expires];
    assert_eq!(ends, [Some(2_208_988_800), Some(1_893_456_000)]);

    let renewed = authority.issue("renewed", &["a.example"], (2020, 2050));
    std::fs::copy(&renewed.chain, &one.chain).unwrap();
    std::fs::copy(&renewed.key, &one.key).unwrap();
    running.server.reload();
    until("the renewed one is shown", || {
        running.server.certificates()[0].expires == Some(2_524_608_000)
    });
}
