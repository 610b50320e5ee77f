//! Serving over loopback: threads, sockets, claims.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use std::{fs, io};

use ntp_os_clock::Clock;
use ntp_proto::server::{Access, AccessRule, Refusal};
use ntp_proto::wire::{Header, Mode, Packet, Version, Writer};
use ntp_time::{Frequency, LeapIndicator, NtpDuration, NtpTimestamp, ReferenceId, Stratum};

use super::*;

fn listener(workers: usize) -> Listener {
    Listener {
        address: listening((Ipv4Addr::LOCALHOST, 0)),
        workers,
        batching_under_load: true,
        policy: Policy::default(),
        options: ServerOptions::default(),
    }
}

/// Uses an address where no other test is given a port, so that a closed one stays free.
fn listener_on_reserved_address(workers: usize) -> Listener {
    Listener {
        address: listening((Ipv4Addr::new(127, 83, 1, 9), 0)),
        ..listener(workers)
    }
}

fn start(listeners: Vec<Listener>, clock: &Clock) -> Servers {
    let bound = Bound::bind(listeners).unwrap();
    assert!(bound.missing().is_empty());
    bound
        .start(Claim::UNSYNCHRONIZED, &clock.translator(), || [7; 32])
        .unwrap()
}

fn listening(socket: impl Into<SocketAddr>) -> ListenAddress {
    socket.into().into()
}

fn query(server: ListenAddress) -> Header {
    let client = client(server);
    send(&client);
    receive(&client).expect("a reply")
}

fn client(server: ListenAddress) -> UdpSocket {
    client_at(Ipv4Addr::LOCALHOST, server)
}

fn client_at(address: Ipv4Addr, server: ListenAddress) -> UdpSocket {
    let client = UdpSocket::bind((address, 0)).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    client.connect(server.socket).unwrap();
    client
}

fn send(client: &UdpSocket) {
    let request = Header {
        transmit_timestamp: NtpTimestamp::from_bits(42),
        ..Header::blank(Version::V4, Mode::Client)
    };
    let mut octets = [0; Header::LEN];
    request.emit(&mut Writer::new(&mut octets)).unwrap();
    client.send(&octets).unwrap();
}

fn receive(client: &UdpSocket) -> io::Result<Header> {
    let mut reply = [0; 100];
    let len = client.recv(&mut reply)?;
    let header = Packet::parse(&reply[..len]).unwrap().header;
    assert_eq!(header.origin_timestamp, NtpTimestamp::from_bits(42));
    Ok(header)
}

fn denying() -> Policy {
    Policy {
        access: Access::from_rules(
            None,
            [AccessRule {
                address: "127.0.0.0".parse().unwrap(),
                length: 8,
                refusal: Some(Refusal::Deny),
            }],
        ),
        ..Policy::default()
    }
}

fn is_denied(header: &Header) -> bool {
    header.reference_id == ReferenceId::new(*b"DENY")
}

#[test]
fn every_address_serves_the_latest_claim_in_the_time_of_the_clock() {
    let ahead = NtpDuration::from_seconds(1000);
    let clock = Clock::new_virtual(ahead, Frequency::ZERO);
    let mut servers = start(vec![listener(1), listener(3)], &clock);
    let addresses: Vec<_> = servers.addresses().collect();
    for address in &addresses {
        let before = clock.now();
        let header = query(*address);
        let after = clock.now();
        assert_eq!(header.leap, LeapIndicator::Unsynchronized);
        let received = after.nearest(header.receive_timestamp);
        let transmitted = after.nearest(header.transmit_timestamp);
        let slack = NtpDuration::from_micros(1);
        assert!(before - slack <= received && received <= transmitted);
        assert!(transmitted <= after + slack);
    }
    servers.publish(Claim {
        leap: LeapIndicator::None,
        stratum: Stratum::new(3),
        reference_id: ReferenceId::new([192, 0, 2, 1]),
        root_dispersion: ntp_proto::server::RootDispersion {
            value: NtpDuration::from_millis(5),
            at: clock.now(),
            growth: Frequency::ZERO,
        },
        root_delay: NtpDuration::ZERO,
        ..Claim::UNSYNCHRONIZED
    });
    for address in &addresses {
        let header = query(*address);
        assert_eq!(
            (header.leap, header.stratum),
            (LeapIndicator::None, Stratum::new(3))
        );
    }
    assert!(servers.stop().is_ok());
    let accepted: Vec<_> = servers
        .status()
        .iter()
        .map(|status| (status.requests.received, status.requests.accepted))
        .collect();
    assert_eq!(accepted, [(2, 2), (2, 2)]);
}

#[test]
fn a_second_server_at_the_address_is_refused_with_its_address() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let servers = start(vec![listener(2)], &clock);
    let address = servers.addresses().next().unwrap();
    let again = Listener {
        address,
        ..listener(2)
    };
    let message = Bound::bind(vec![again]).unwrap_err().to_string();
    assert!(message.contains(&address.to_string()), "{message}");
    assert!(message.contains("another time server"), "{message}");
}

#[test]
fn the_end_of_a_worker_wakes_the_main_thread_and_is_reported() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let mut servers = start(vec![listener(2)], &clock);
    let address = servers.addresses().next().unwrap();
    let mut set = PollSet::new();
    servers.register(&mut set);
    assert!(!set.wait(Some(Duration::ZERO)).unwrap());
    assert!(servers.check_workers(&set).is_ok());

    // As if another process had shut the socket down.
    servers.inject_fault();
    set.clear();
    servers.register(&mut set);
    assert!(set.wait(Some(Duration::from_secs(10))).unwrap());
    let failed = servers.check_workers(&set).unwrap_err();
    assert!(matches!(failed, ServeError::Worker(at, _) if at == address));
    assert!(servers.stop().is_ok());
}

#[test]
fn a_new_policy_applies_from_the_next_packet_without_losing_one() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let mut servers = start(vec![listener(2), listener(1)], &clock);
    let addresses: Vec<_> = servers.addresses().collect();
    let client = client(addresses[0]);
    // The kernel switches its stamps on in the background.
    let mut first = 0;
    while servers.status()[0].details.latency.count() == 0 {
        query(addresses[0]);
        first += 1;
        assert!(first < 1_000_000, "no request is stamped");
    }
    let rounds = 100;
    for round in 0..rounds {
        let denies = round % 2 == 1;
        let policy = if denies { denying() } else { Policy::default() };
        // One request is in flight while the policy changes, one follows it.
        send(&client);
        assert!(servers.publish_policy(addresses[0], policy));
        receive(&client).expect("there is a reply under either policy");
        send(&client);
        assert_eq!(is_denied(&receive(&client).unwrap()), denies);
    }
    assert!(
        !is_denied(&query(addresses[1])),
        "the other address has its own"
    );
    let unserved = listening((Ipv4Addr::LOCALHOST, 1));
    assert!(!servers.publish_policy(unserved, denying()));
    // A claim that is published afterwards keeps the new policy.
    servers.publish_policy(addresses[0], denying());
    servers.publish(Claim {
        epoch: 7,
        ..Claim::UNSYNCHRONIZED
    });
    assert!(is_denied(&query(addresses[0])));
    assert!(servers.stop().is_ok());
    let status = servers.status().remove(0);
    assert_eq!(status.requests.received, first + 2 * rounds + 1);
    assert!(status.details.latency.mean().is_some_and(|mean| mean > 0.0));
}

fn listing(size: usize) -> Policy {
    Policy {
        client_list_size: size,
        ..Policy::default()
    }
}

/// Returns the clients of an address as (last octet, requests). Clients are entered after they were
/// answered, so this waits until there are `datagrams`, entered or missed.
fn listed(servers: &Servers, address: ListenAddress, datagrams: u64) -> Vec<(u8, u64)> {
    // Far more attempts than a worker needs; each yields the processor.
    for _ in 0..10_000_000 {
        let table = servers.clients(Some(address)).expect("it is served");
        let missed = table.missed;
        let clients: Vec<_> = table
            .busiest(100)
            .into_iter()
            .map(|(server, client)| {
                assert_eq!((server, client.answered), (address, client.requests));
                let std::net::IpAddr::V4(from) = client.address else {
                    panic!("{}", client.address);
                };
                (from.octets()[3], client.requests)
            })
            .collect();
        let entered: u64 = clients.iter().map(|(_, requests)| requests).sum();
        if entered + missed >= datagrams {
            return clients;
        }
        std::thread::yield_now();
    }
    panic!("they were not entered");
}

#[test]
fn the_client_list_follows_the_policy() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let mut servers = start(vec![listener(2), listener(1)], &clock);
    let [address, other] = servers.addresses().collect::<Vec<_>>()[..] else {
        panic!("two addresses");
    };
    let clients: Vec<_> = (1..=4)
        .map(|host| client_at(Ipv4Addr::new(127, 0, 0, host), address))
        .collect();
    let query_all = || {
        for (client, times) in clients.iter().zip(1..) {
            for _ in 0..times {
                send(client);
                receive(client).expect("a reply");
            }
        }
    };
    query_all();
    assert_eq!(listed(&servers, address, 0), []);
    assert!(servers.publish_policy(address, listing(100)));
    let sizes: Vec<_> = (servers.status().iter())
        .map(|status| status.client_list_size)
        .collect();
    assert_eq!(sizes, [100, 0]);
    query_all();
    let four = [(4, 4), (3, 3), (2, 2), (1, 1)];
    let known = listed(&servers, address, 10);
    assert!(known.iter().zip(four).all(|(is, most)| is.1 <= most.1));
    assert_eq!(servers.clients(Some(other)).unwrap().len(), 0);
    assert_eq!(servers.clients(None).unwrap().size, 100);
    assert!(
        servers
            .clients(Some(listening((Ipv4Addr::LOCALHOST, 1))))
            .is_none()
    );

    // Another policy with the same size keeps the list; another size clears it.
    let before = listed(&servers, address, 10);
    let same = Policy {
        interleaved_pairs: 0,
        ..listing(100)
    };
    servers.publish_policy(address, same);
    assert_eq!(listed(&servers, address, 10), before);
    servers.publish_policy(address, listing(200));
    assert_eq!(listed(&servers, address, 0), []);
    query(address);
    listed(&servers, address, 1);
    // Cleared at once, though no request arrives.
    servers.publish_policy(address, listing(0));
    assert_eq!(listed(&servers, address, 0), []);
    query_all();
    assert!(servers.stop().is_ok());
    assert_eq!(listed(&servers, address, 0), []);
}

#[test]
fn requests_are_answered_while_the_client_list_is_read() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let policy = listing(8);
    let mut servers = start(
        vec![Listener {
            policy,
            ..listener(1)
        }],
        &clock,
    );
    let address = servers.addresses().next().unwrap();
    let client = client(address);
    let reading = servers.endpoints[0].clients_of(0).lock();
    for _ in 0..5 {
        send(&client);
        receive(&client).expect("a reply, though the list is locked");
    }
    drop(reading);
    send(&client);
    receive(&client).unwrap();
    assert!(servers.stop().is_ok());
    let table = servers.clients(None).unwrap();
    let missed = table.missed;
    // The reply to the fifth request is sent before it is entered.
    assert!(missed == 4 || missed == 5, "{missed}");
    assert_eq!(table.busiest(1)[0].1.requests, 6 - missed);
}

#[test]
fn addresses_can_be_added_and_removed_while_others_are_served() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let mut servers = start(vec![listener_on_reserved_address(1)], &clock);
    let first = servers.addresses().next().unwrap();
    let bound = Bound::bind(vec![listener_on_reserved_address(2)]).unwrap();
    let claim = Claim::UNSYNCHRONIZED;
    servers.add(bound, claim, &mut || [8; 32]).unwrap();
    let second = servers.addresses().nth(1).unwrap();
    query(first);
    query(second);
    assert!(servers.remove(first).unwrap());
    assert!(!servers.remove(first).unwrap());
    query(second);
    assert_eq!(servers.addresses().collect::<Vec<_>>(), [second]);

    // The ends of workers that were stopped are no failures.
    let mut set = PollSet::new();
    servers.register(&mut set);
    set.wait(Some(Duration::from_secs(10))).unwrap();
    assert!(servers.check_workers(&set).is_ok());
    // The port is free again.
    let again = Listener {
        address: first,
        ..listener_on_reserved_address(1)
    };
    let bound = Bound::bind(vec![again]).unwrap();
    servers.add(bound, claim, &mut || [9; 32]).unwrap();
    query(first);
}

#[test]
fn a_reconfiguration_is_applied_address_by_address() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let at = |address, workers| Listener {
        address,
        ..listener_on_reserved_address(workers)
    };
    // Fixed addresses, as in a configuration; free ports that the system chose before.
    let free = start(
        vec![
            listener_on_reserved_address(1),
            listener_on_reserved_address(1),
            listener_on_reserved_address(1),
        ],
        &clock,
    );
    let [stays, grows, goes] = free.addresses().collect::<Vec<_>>()[..] else {
        panic!("three addresses");
    };
    drop(free);
    let mut servers = start(vec![at(stays, 1), at(grows, 1), at(goes, 1)], &clock);
    query(stays);
    let taken = UdpSocket::bind("127.83.1.9:0").unwrap();
    let wanted = vec![
        Listener {
            policy: denying(),
            ..at(stays, 1)
        },
        at(grows, 3),
        at(listening(taken.local_addr().unwrap()), 1),
    ];
    let claim = Claim::UNSYNCHRONIZED;
    let (_, problems) = servers.reconfigure(wanted, claim, &mut || [9; 32]);
    let [ServeError::Bind(address, _)] = problems[..] else {
        panic!("{problems:?}");
    };
    assert_eq!(address, listening(taken.local_addr().unwrap()));
    assert_eq!(servers.addresses().collect::<Vec<_>>(), [stays, grows]);
    assert!(is_denied(&query(stays)));
    assert!(!is_denied(&query(grows)));
    assert_eq!(
        servers.status()[0].requests.received,
        2,
        "its threads went on"
    );
    UdpSocket::bind(goes.socket).expect("the address that was given up is free");
}

/// Returns a port that is free at the wildcard of both families.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn a_wildcard_beside_single_addresses_is_served_with_its_own_rules() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let port = free_port();
    let at = |ip: &str, policy| Listener {
        address: SocketAddr::new(ip.parse().unwrap(), port).into(),
        policy,
        options: ServerOptions {
            only_ipv6: true,
            ..ServerOptions::default()
        },
        ..listener(2)
    };
    // The order of an administrator: single addresses first.
    let listeners = || {
        vec![
            at("127.0.0.1", denying()),
            at("::1", denying()),
            at("::", Policy::default()),
            at("0.0.0.0", Policy::default()),
        ]
    };
    let wildcard = listening((Ipv4Addr::new(127, 0, 0, 2), port));
    let check = |servers: &Servers| {
        let addresses: Vec<_> = servers.addresses().collect();
        for address in &addresses[..1] {
            assert!(is_denied(&query(*address)), "{address}");
        }
        assert!(!is_denied(&query(wildcard)));
        addresses
    };
    let mut servers = start(listeners(), &clock);
    let expected: Vec<_> = listeners().iter().map(|it| it.address).collect();
    assert_eq!(check(&servers), expected);

    // No other program can take an address of the port, whatever its options.
    let refused = Bound::bind(vec![at("127.0.0.3", denying())]).unwrap_err();
    assert!(matches!(refused, ServeError::Bind(..)), "{refused}");

    // The wildcards go and come back beside the others.
    let claim = Claim::UNSYNCHRONIZED;
    let single = listeners()[..2].to_vec();
    let (_, problems) = servers.reconfigure(single, claim, &mut || [9; 32]);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(is_denied(&query(expected[0])));
    let (_, problems) = servers.reconfigure(listeners(), claim, &mut || [9; 32]);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(is_denied(&query(expected[0])));
    assert!(!is_denied(&query(wildcard)));

    // So does a single address beside the wildcards.
    let (_, problems) = servers.reconfigure(listeners()[2..].to_vec(), claim, &mut || [9; 32]);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(!is_denied(&query(expected[0])));
    let (_, problems) = servers.reconfigure(listeners(), claim, &mut || [9; 32]);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(is_denied(&query(expected[0])));
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
fn without_ipv6_in_the_kernel_the_ipv6_wildcard_serves_ipv4() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let listener_at = |address: String, only_ipv6| Listener {
        address: address.parse().unwrap(),
        options: ServerOptions {
            only_ipv6,
            ..ServerOptions::default()
        },
        ..listener(1)
    };
    let port = free_port();
    let served = |listeners| -> Vec<ListenAddress> {
        let bound = without_ipv6(|| Bound::bind(listeners).unwrap());
        let claim = Claim::UNSYNCHRONIZED;
        let servers = bound.start(claim, &clock.translator(), || [7; 32]).unwrap();
        servers
            .addresses()
            .inspect(|address| assert!(!is_denied(&query(*address))))
            .collect()
    };
    let wildcard = listening((Ipv4Addr::UNSPECIFIED, port));
    assert_eq!(
        served(vec![listener_at(format!("[::]:{port}"), false)]),
        [wildcard]
    );
    // Nobody reaches a single IPv6 address; the others are served.
    let single = listening((Ipv4Addr::LOCALHOST, port));
    let mixed = || {
        vec![
            listener_at(format!("[::1]:{port}"), false),
            listener_at(single.to_string(), false),
            listener_at(format!("[::]:{port}"), true),
            listener_at(wildcard.to_string(), false),
        ]
    };
    assert_eq!(served(mixed()), [single, wildcard]);
}

/// Requests within a pause of 20 ms at 50 000 requests a second.
const PAUSE: u64 = 1000;

/// More requests than the buffer holds.
const FLOOD: u64 = 30_000;

/// Sends `count` requests to a server that is not running, starts it, and returns its status when
/// it has answered a later request.
fn after_a_pause(count: u64) -> ServerStatus {
    // A bound server that has not been started is one that pauses: the kernel queues.
    let bound = Bound::bind(vec![listener(1)]).unwrap();
    assert_eq!(bound.missing(), []);
    let address = bound.endpoints[0].1[0].local_addr().unwrap();
    let flood = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut request = [0; 48];
    request[0] = 0x23;
    for _ in 0..count {
        flood.send_to(&request, address).unwrap();
    }
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let translator = clock.translator();
    let mut servers = bound
        .start(Claim::UNSYNCHRONIZED, &translator, || [7; 32])
        .unwrap();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let limit = Duration::from_secs(1);
    client.set_read_timeout(Some(limit)).unwrap();
    // The first may find the buffer full.
    let answered = (0..30).any(|_| {
        client.send_to(&request, address).unwrap();
        client.recv(&mut [0; 100]).is_ok()
    });
    assert!(answered);
    servers.stop().unwrap();
    servers.status().remove(0)
}

#[test]
fn a_pause_of_20_ms_loses_nothing_at_50_000_requests_a_second() {
    let permitted = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    if permitted.trim().parse::<u64>().unwrap() < 2 << 20 {
        return eprintln!("skipped: net.core.rmem_max is smaller than the buffer");
    }
    let status = after_a_pause(PAUSE);
    assert_eq!(status.requests.received, PAUSE + 1);
    assert_eq!(status.details.dropped_by_kernel, 0);
}

#[test]
fn requests_that_the_kernel_drops_are_counted() {
    let status = after_a_pause(FLOOD);
    let (received, dropped) = (status.requests.received, status.details.dropped_by_kernel);
    assert!(dropped > 0 && received > 1);
    let sent = received + dropped;
    assert!((FLOOD + 1..=FLOOD + 30).contains(&sent), "{status:?}");
}
