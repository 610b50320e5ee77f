//! Endpoints that are added, changed and removed at run time.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{Authority, Sealer, endpoint, exchange_keys, keyset, request, start, until};
use ntp_nts_ke::client::{Report, exchange};
use ntp_nts_ke::failure::Failure;
use ntp_nts_ke::server::{Bound, CertificatePaths, EndpointConfig, PreparedEndpoint, StartError};
use ntp_types::path::InterfaceName;

fn port_in_response(report: Report) -> Option<u16> {
    report.outcome.expect("keys").port
}

fn with_port(mut endpoint: EndpointConfig, port: u16) -> EndpointConfig {
    endpoint.policy.ntp_port = Some(port);
    endpoint
}

fn prepared(endpoints: Vec<EndpointConfig>) -> Vec<PreparedEndpoint> {
    endpoints.into_iter().map(PreparedEndpoint::read).collect()
}

#[test]
fn endpoints_are_changed_added_and_removed_without_interruption() {
    let authority = Authority::new();
    let first = endpoint(vec![authority.good()]);
    let mut running = start(first.clone());
    // A connection that is open during the change.
    let mut slow = TcpStream::connect(running.address).unwrap();
    slow.write_all(&[22, 3, 1]).unwrap();

    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut second = with_port(first.clone(), 2002);
    second.listen = free;
    let changed = with_port(first.clone(), 2001);
    let problems = running
        .server
        .set_endpoints(prepared(vec![changed.clone(), second.clone()]));
    assert!(problems.is_empty(), "{problems:?}");
    let addresses = running.server.addresses().map(|it| it.socket);
    let addresses: Vec<_> = addresses.collect();
    assert_eq!(addresses, [running.address, free]);
    // The thread applies the change asynchronously.
    until("the change", || {
        port_in_response(exchange_keys(&running, &authority)) == Some(2001)
    });
    let path = authority.path();
    let at = |address: SocketAddr| exchange(&request("127.0.0.1", address.port(), &path));
    assert_eq!(port_in_response(at(free)), Some(2002));
    slow.set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let still_open = slow.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(still_open, std::io::ErrorKind::WouldBlock);

    // The address of a removed endpoint can be bound at once, also as a wildcard.
    let mut wildcard = with_port(first, 2003);
    wildcard.listen = SocketAddr::new([0, 0, 0, 0].into(), free.port());
    let problems = running
        .server
        .set_endpoints(prepared(vec![changed, wildcard]));
    assert!(problems.is_empty(), "{problems:?}");
    until("the wildcard", || {
        at(free).outcome.is_ok_and(|keys| keys.port == Some(2003))
    });

    assert!(running.server.set_endpoints(Vec::new()).is_empty());
    for address in [running.address, free] {
        until("the endpoint is closed", || {
            matches!(at(address).outcome, Err(Failure::Connect(_)))
        });
    }
    assert_eq!(running.server.addresses().count(), 0);
    until("no certificate is in use", || {
        running.server.certificates().is_empty()
    });
}

#[test]
fn a_failed_change_is_reported_and_leaves_the_endpoint_unchanged() {
    let authority = Authority::new();
    let mut running = start(with_port(endpoint(vec![authority.good()]), 2001));
    let missing = CertificatePaths {
        chain: "/nowhere/chain.pem".into(),
        key: "/nowhere/key.pem".into(),
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut second = endpoint(vec![authority.good()]);
    second.listen = taken.local_addr().unwrap();
    let problems = running.server.set_endpoints(prepared(vec![
        with_port(endpoint(vec![missing]), 2002),
        second,
    ]));
    assert!(
        matches!(
            problems[..],
            [StartError::Certificate(_), StartError::Listen(..)]
        ),
        "{problems:?}"
    );
    assert_eq!(running.server.addresses().count(), 1);
    assert_eq!(
        port_in_response(exchange_keys(&running, &authority)),
        Some(2001)
    );
}

#[test]
fn an_address_that_does_not_exist_yet_is_listened_on() {
    let authority = Authority::new();
    for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
        let bound = Bound::bind(vec![EndpointConfig {
            listen: address.parse().unwrap(),
            ..endpoint(vec![authority.good()])
        }]);
        match bound {
            Ok(bound) if bound.addresses().count() == 1 => {}
            Ok(bound) => assert_eq!(bound.without_ipv6().len(), 1, "{address}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_wildcard_beside_a_single_address_has_its_own_policy() {
    let authority = Authority::new();
    let path = authority.path();
    let free = || TcpListener::bind("0.0.0.0:0")?.local_addr();
    let free = free().unwrap().port();
    let at = |ip: [u8; 4], port| {
        let certificate = authority.issue("both", &["127.0.0.1", "127.0.0.2"], (2020, 2040));
        let mut endpoint = with_port(endpoint(vec![certificate]), port);
        endpoint.listen = SocketAddr::new(ip.into(), free);
        endpoint
    };
    let named = |ip: &str| {
        exchange(&request(ip, free, &path))
            .outcome
            .map(|keys| keys.port)
    };
    // The single address first, as an administrator may write it.
    let bound = Bound::bind(vec![at([127, 0, 0, 1], 2001), at([0, 0, 0, 0], 2002)]);
    let started = bound.unwrap().start(Sealer(keyset(), 0), |_| {}, || {});
    let mut running = started.unwrap();
    assert_eq!(named("127.0.0.1"), Ok(Some(2001)));
    assert_eq!(named("127.0.0.2"), Ok(Some(2002)));
    assert!(TcpListener::bind(("127.0.0.3", free)).is_err());
    // Both orders of a change.
    for first in [at([127, 0, 0, 1], 2003), at([0, 0, 0, 0], 2004)] {
        assert!(running.set_endpoints(prepared(vec![first])).is_empty());
        let both = vec![at([127, 0, 0, 1], 2005), at([0, 0, 0, 0], 2006)];
        let problems = running.set_endpoints(prepared(both));
        assert!(problems.is_empty(), "{problems:?}");
        until("the change", || named("127.0.0.1") == Ok(Some(2005)));
    }
}

#[test]
fn certificates_in_use_are_listed_with_the_expiry_of_their_chains() {
    let authority = Authority::new();
    let one = authority.issue("one", &["a.example", "127.0.0.1"], (2020, 2040));
    let two = authority.issue("two", &["b.example"], (2020, 2030));
    let running = start(endpoint(vec![one.clone(), two]));
    until("they are listed", || {
        running.server.certificates().len() == 2
    });
    let in_use = running.server.certificates();
    assert_eq!(in_use[0].path, one.chain);
    assert_eq!(in_use[0].names, ["a.example", "127.0.0.1"]);
    // 2040-01-01 and 2030-01-01.
    let expiries = [in_use[0].expires, in_use[1].expires];
    assert_eq!(expiries, [Some(2_208_988_800), Some(1_893_456_000)]);

    let renewed = authority.issue("renewed", &["a.example"], (2020, 2050));
    std::fs::copy(&renewed.chain, &one.chain).unwrap();
    std::fs::copy(&renewed.key, &one.key).unwrap();
    running.server.reload();
    until("the renewed one is listed", || {
        running.server.certificates()[0].expires == Some(2_524_608_000)
    });
}

#[test]
fn an_endpoint_behind_a_device_is_another_one_than_without_it() {
    let authority = Authority::new();
    let on = |device: &str| EndpointConfig {
        device: InterfaceName::new(device).ok(),
        ..endpoint(vec![authority.good()])
    };
    let mut running = start(on("lo"));
    assert!(exchange_keys(&running, &authority).outcome.is_ok());
    let address = running.server.addresses().next().unwrap().to_string();
    assert!(address.ends_with("%lo"), "{address}");
    // A missing device is no failure: its endpoint waits, until the next change.
    let both = prepared(vec![on("no-such-device"), on("lo")]);
    let problems = running.server.set_endpoints(both);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(running.server.open_waiting().is_empty());
    let waiting: Vec<_> = running.server.waiting().map(|it| it.to_string()).collect();
    assert_eq!(waiting, ["127.0.0.1:0%no-such-device"]);
    assert!(exchange_keys(&running, &authority).outcome.is_ok());
    // The port that the system chose, without the device.
    let moved = EndpointConfig {
        listen: running.address,
        ..endpoint(vec![authority.good()])
    };
    let problems = running.server.set_endpoints(prepared(vec![moved]));
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(running.server.waiting().count(), 0);
    let address = running.server.addresses().next().unwrap();
    assert_eq!((address.socket, address.device), (running.address, None));
    until("keys", || {
        exchange_keys(&running, &authority).outcome.is_ok()
    });
}

/// Runs `work` on a thread where the kernel refuses IPv6 sockets, as it does without IPv6.
fn without_ipv6<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    let family = u64::try_from(libc::AF_INET6).unwrap();
    let is_ipv6 = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family);
    let rule = SeccompRule::new(vec![is_ipv6.unwrap()]).unwrap();
    let refuse = SeccompAction::Errno(libc::EAFNOSUPPORT.unsigned_abs());
    let filter = SeccompFilter::new(
        [(libc::SYS_socket, vec![rule])].into(),
        SeccompAction::Allow,
        refuse,
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    std::thread::scope(|scope| {
        let confined = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            work()
        });
        confined.join().unwrap()
    })
}

#[test]
fn without_ipv6_in_the_kernel_the_ipv6_wildcard_listens_on_ipv4_also_when_added_later() {
    let authority = Authority::new();
    let free = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let at = |ip: &str| EndpointConfig {
        listen: format!("[{ip}]:{port}").parse().unwrap(),
        device: InterfaceName::new("lo").ok(),
        ..endpoint(vec![authority.good()])
    };
    let ipv4 = SocketAddr::new([0, 0, 0, 0].into(), port);
    let expected = [(at("::").listen, Some(ipv4)), (at("::1").listen, None)];
    let both = || vec![at("::"), at("::1")];
    let is_served = || {
        let report = exchange(&request("127.0.0.1", port, &authority.path()));
        report.outcome.is_ok()
    };

    let bound = without_ipv6(|| Bound::bind(both())).unwrap();
    assert_eq!(bound.without_ipv6(), expected);
    let started = bound.start(Sealer(keyset(), 0), |_| {}, || {});
    let mut server = started.unwrap();
    assert!(is_served());
    // The endpoint is known by its configured address.
    let problems = without_ipv6(|| server.set_endpoints(prepared(both())));
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(server.without_ipv6(), &expected[1..]);
    assert!(is_served());

    assert!(server.set_endpoints(Vec::new()).is_empty());
    until("nothing is served", || !is_served());
    let problems = without_ipv6(|| server.set_endpoints(prepared(both())));
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(server.without_ipv6(), expected);
    let addresses: Vec<_> = server.addresses().map(|it| it.socket).collect();
    assert_eq!(addresses, [ipv4]);
    until("the wildcard is served", is_served);
}
