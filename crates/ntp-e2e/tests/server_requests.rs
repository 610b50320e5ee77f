//! Requests to our server: foreign clients, malformed and spoofed packets, and floods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::clients::{self, ServerDirective};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::peers::{self, SharedKey};
use ntp_e2e::process::{self, Process};
use ntp_e2e::query::{self, Reply};
use ntp_e2e::{scenario, wait};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Timeout of one query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// One worker, which processes datagrams in order of arrival.
const SERVER: &str = "[[server]]\nlisten = \"[::]:123\"\nworkers = 1";

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(ntpd_ntpdig_and_rdate_synchronise_to_us_over_ipv4_and_ipv6),
            scenario!(sntp_clients_of_every_kind_are_answered),
            scenario!(malformed_packets_get_no_reply_and_replies_never_exceed_requests),
            scenario!(spoofed_packets_cause_no_loop_between_two_servers),
            scenario!(an_address_added_later_is_served_and_replies_leave_from_it),
            scenario!(an_ipv4_filter_applies_on_a_dual_stack_socket),
            scenario!(a_flood_affects_neither_honest_clients_nor_the_clock),
        ],
    )
}

/// A server with a correct virtual clock and local stratum 1.
fn local() -> Setup {
    Setup::new(1)
        .synchronization("local-stratum = 1")
        .without_clock_error()
}

fn wait_for_reply(client: &Host, server: IpAddr) -> Reply {
    wait::until(LIMIT, "a reply", || {
        query::query_from(client, server, QUERY_TIMEOUT).ok()
    })
}

fn ntpd_ntpdig_and_rdate_synchronise_to_us_over_ipv4_and_ipv6() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = local().keys(&SharedKey::ALL).with(SERVER);
    let _daemon = setup.start(Some(&server));
    let both = [server.v4(), server.v6()];
    wait_for_reply(&client, server.v4());
    let directives = both.map(|server| ServerDirective {
        options: "iburst minpoll 3 maxpoll 3",
        ..ServerDirective::plain(server)
    });
    let ntpd = clients::ntpsec(&client, &directives, &[]);
    for address in both {
        for key in [None, Some(&SharedKey::ALL[0]), Some(&SharedKey::ALL[1])] {
            let output = clients::ntpdig(&client, address, key);
            assert!(output.contains("\"stratum\":1"), "{output}");
        }
        let offset = ntpd.wait_measured(LIMIT, address, |_| true);
        assert!(offset.abs() < 0.01, "{offset}");
        let output = clients::rdate(&client, address);
        assert!(output.contains("20"), "no date in {output}");
    }
}

/// A request of 48 octets with this first octet (leap, version, mode) and a transmit timestamp.
fn request(first: u8) -> Vec<u8> {
    let mut octets = vec![0; 48];
    octets[0] = first;
    octets[40..].copy_from_slice(&0xe9b2_3b5c_1234_5678_u64.to_be_bytes());
    octets
}

const fn first(leap: u8, version: u8, mode: u8) -> u8 {
    leap << 6 | version << 3 | mode
}

/// Sends a datagram, followed by a normal request, so that it has been processed when this returns.
/// Returns the reply to the datagram.
fn reply_to(client: &Host, server: IpAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let socket = client.udp_to(server);
    // A datagram longer than the MTU is fragmented.
    socket.send_to(payload, (server, 123)).expect("a route");
    wait_for_reply(client, server);
    socket.set_nonblocking(true).expect("a socket");
    let mut reply = vec![0; 65_536];
    let length = socket.recv(&mut reply).ok()?;
    assert!(socket.recv(&mut [0; 1]).is_err(), "two replies");
    reply.truncate(length);
    Some(reply)
}

fn sntp_clients_of_every_kind_are_answered() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = local().with(SERVER);
    let _daemon = setup.start(Some(&server));
    wait_for_reply(&client, server.v4());
    for address in [server.v4(), server.v6()] {
        for (what, first, mode) in [
            // systemd-timesyncd and SNTP clients of many devices.
            ("version 4, mode 3", first(0, 4, 3), 4),
            // Busybox, among others.
            ("an unsynchronised version 4 client", first(3, 4, 3), 4),
            ("version 3, mode 3", first(0, 3, 3), 4),
            ("an unsynchronised version 3 client", first(3, 3, 3), 4),
            // Old versions of Windows use symmetric active mode.
            ("version 3, mode 1", first(0, 3, 1), 2),
        ] {
            let request = request(first);
            let reply = reply_to(&client, address, &request).expect(what);
            assert_eq!(reply.len(), 48, "{what}");
            assert_eq!(reply[0], first & 0x38 | mode, "{what}: leap, version, mode");
            assert_eq!(reply[1], 1, "{what}: stratum");
            assert_eq!(reply[24..32], request[40..48], "{what}: origin");
            assert_ne!(reply[40..48], [0; 8], "{what}: transmit");
        }
    }
}

/// Number of warnings so far.
fn warnings(daemon: &Daemon) -> usize {
    let events = daemon.process.all_events();
    events
        .iter()
        .filter(|event| event.level() == "WARN")
        .count()
}

fn malformed_packets_get_no_reply_and_replies_never_exceed_requests() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = local().keys(&SharedKey::ALL).with(SERVER);
    let mut daemon = setup.start(Some(&server));
    wait_for_reply(&client, server.v4());
    let good = request(first(0, 4, 3));
    let longer = |by: usize, octet: u8| [good.clone(), vec![octet; by]].concat();
    let ours = reply_to(&client, server.v4(), &good).expect("a reply");
    let before = warnings(&daemon);

    let mut silent: Vec<Vec<u8>> = vec![vec![], vec![0x23], ours];
    silent.extend([1, 12, 40, 47].map(|length| good[..length].to_vec()));
    // Other modes than requests: reserved, symmetric passive, server, broadcast, control, private.
    silent.extend([0, 2, 4, 5, 6, 7].map(|mode| request(first(0, 4, mode))));
    silent.extend([0, 5, 6, 7].map(|version| request(first(0, version, 3))));
    // Trailing octets that are neither extension field nor MAC.
    silent.extend([1, 3, 8, 12, 17, 27].map(|by| longer(by, 0)));
    silent.extend([28, 100, 1400, 4000, 60_000].map(|by| longer(by, 0xff)));
    // ntpd's `monlist` (mode 7), known from amplification attacks.
    silent.push(vec![0x17, 0, 3, 42, 0, 0, 0, 0]);
    for address in [server.v4(), server.v6()] {
        for payload in &silent {
            let reply = reply_to(&client, address, payload);
            assert!(reply.is_none(), "reply to {payload:02x?}: {reply:02x?}");
        }
    }

    // Unknown extension fields, and MACs with unknown keys.
    let field = [vec![0x7f, 0x00, 0x00, 0x1c], vec![0; 24]].concat();
    let mac = [9_u32.to_be_bytes().to_vec(), vec![0x55; 16]].concat();
    for payload in [
        [good.clone(), field.clone()].concat(),
        [good.clone(), mac.clone()].concat(),
        [good.clone(), field, mac].concat(),
    ] {
        let reply = reply_to(&client, server.v4(), &payload).expect("a reply");
        assert!(
            reply.len() <= payload.len(),
            "{} octets for {}",
            reply.len(),
            payload.len()
        );
    }
    assert!(daemon.process.is_running());
    assert_eq!(warnings(&daemon), before, "packets must not cause warnings");
}

/// A host that sends from the address of another host, but receives nothing that is sent there.
fn spoofing_host(network: &Network, of: &Host) -> (Host, UdpSocket) {
    let host = network.host();
    host.set_sysctl("ipv4/conf/all/arp_ignore", "1");
    host.set_sysctl("ipv4/conf/all/arp_announce", "2");
    host.ip(&format!("address add {}/32 dev lo", of.v4()));
    let socket = host.udp(of.v4(), 123);
    (host, socket)
}

fn spoofed_packets_cause_no_loop_between_two_servers() {
    let network = Network::new();
    let (client, one, other) = (network.host(), network.host(), network.host());
    let setups = [local().with(SERVER), local().with(SERVER)];
    let daemons = [&one, &other].map(|host| {
        let setup = &setups[usize::from(host.v4() == other.v4())];
        setup.start(Some(host))
    });
    wait_for_reply(&client, one.v4());
    wait_for_reply(&client, other.v4());
    let received = |daemon: &Daemon| {
        daemon
            .observe()
            .expect("an observation")
            .server_counter("received_packets")
    };
    let before = daemons.each_ref().map(received);

    let (_attacker, socket) = spoofing_host(&network, &other);
    const EACH: u64 = 20;
    for mode in [1, 3, 2, 4, 5] {
        for _ in 0..EACH {
            let sent = socket.send_to(&request(first(0, 4, mode)), (one.v4(), 123));
            sent.expect("a route");
        }
    }
    // Requests are answered to their claimed source, and cause no further packets.
    let expected = [before[0] + 5 * EACH, before[1] + 2 * EACH];
    wait::until(LIMIT, "all replies", || {
        let now = daemons.each_ref().map(received);
        (now[0] >= expected[0] && now[1] >= expected[1]).then_some(())
    });
    // Further packets would have been processed before these replies.
    wait_for_reply(&client, one.v4());
    wait_for_reply(&client, other.v4());
    // A worker updates its counters after replying.
    let mut last = None;
    let counted = wait::until_slowly(LIMIT, "the counters to stop", || {
        let now = daemons.each_ref().map(received);
        (last.replace(now) == Some(now)).then_some(now)
    });
    for (counted, expected) in counted.iter().zip(expected) {
        // A query is repeated if its reply is late.
        assert!((expected + 1..expected + 10).contains(counted), "{counted}");
    }
    wait::throughout(Duration::from_millis(300), || {
        assert_eq!(daemons.each_ref().map(received), counted);
    });
}

fn an_address_added_later_is_served_and_replies_leave_from_it() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let absent: IpAddr = Ipv4Addr::new(10, 77, 0, 151).into();
    let setup = local().with(&format!(
        "{SERVER}\n[[server]]\nlisten = \"{absent}:1123\"\nworkers = 1"
    ));
    let _daemon = setup.start(Some(&server));
    wait_for_reply(&client, server.v4());
    let later: [IpAddr; 3] = [
        absent,
        Ipv4Addr::new(10, 77, 0, 150).into(),
        Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x150).into(),
    ];
    for address in later {
        assert!(
            query::query_from(&client, address, QUERY_TIMEOUT).is_err(),
            "{address} does not exist yet"
        );
        let (length, options) = if address.is_ipv4() {
            (24, "")
        } else {
            (64, " nodad")
        };
        server.ip(&format!("address add {address}/{length} dev eth0{options}"));
    }
    // `query::query` accepts replies only from the queried address.
    for address in later.into_iter().chain([server.v4(), server.v6()]) {
        wait_for_reply(&client, address);
    }
    // The section whose address did not exist when the daemon started also works.
    let socket = client.udp_to(absent);
    wait::until(LIMIT, "a reply from the added address", || {
        query::query(&socket, SocketAddr::new(absent, 1123), QUERY_TIMEOUT).ok()
    });
}

fn an_ipv4_filter_applies_on_a_dual_stack_socket() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = local().with(&format!(
        "{SERVER}\ndenylist = {{ filter = [\"10.77.0.0/24\"], action = \"deny\" }}"
    ));
    let _daemon = setup.start(Some(&server));
    let kiss = wait_for_reply(&client, server.v4());
    assert_eq!((kiss.stratum, &kiss.reference_id), (0, b"DENY"));
    assert_eq!(wait_for_reply(&client, server.v6()).stratum, 1);
}

/// Duration of the observation under load, and of the one without load before.
const FLOOD: Duration = Duration::from_secs(6);

fn a_flood_affects_neither_honest_clients_nor_the_clock() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let (upstream, one, many) = (network.host(), network.host(), network.host());
    let _chronyd = peers::chronyd(&upstream, 1);
    let source = SocketAddr::new(upstream.v4(), 123).to_string();
    let setup = Setup::new(1).server(&source).with(&format!(
        "{SERVER}\nrate-limiting-cache-size = 1024\nrate-limiting-cutoff-ms = 500"
    ));
    let mut daemon = setup.start(Some(&server));
    daemon.wait_synchronized(LIMIT);
    daemon.wait_until(LIMIT, "a small error", |observation| {
        observation.true_offset().abs() < 0.0005
    });
    // The second attacker owns every address of a /16, and replies are routed to it.
    many.ip("route add local 10.99.0.0/16 dev lo");
    server.ip(&format!("route add 10.99.0.0/16 via {}", many.v4()));
    let worst_error = |daemon: &Daemon, honest: &mut dyn FnMut()| {
        let mut worst = 0.0_f64;
        wait::throughout(FLOOD, || {
            let observation = daemon.observe().expect("an observation");
            let error = observation.true_offset().abs();
            assert!(error <= observation.error_bound());
            worst = worst.max(error);
            honest();
        });
        worst
    };
    let at_rest = worst_error(&daemon, &mut || {});

    let flood = |host: &Host, from: &str| {
        let mut command = process::command(Some(host), Program::Load.path());
        let target = SocketAddr::new(server.v4(), 123).to_string();
        command.args([
            &target,
            "--rate",
            "20000",
            "--duration",
            "8",
            "--burst",
            "20",
        ]);
        command.args(["--from", from, "--json"]);
        Process::spawn("ntp-load", command)
    };
    let floods = [
        flood(&one, &format!("{}/32", one.v4())),
        flood(&many, "10.99.0.0/16"),
    ];
    daemon.wait_until(LIMIT, "the flood", |observation| {
        observation.server_counter("rate_limited_packets") > 10_000
            && observation.server_counter("accepted_packets") > 10_000
    });
    let (mut sent, mut answered) = (0, 0);
    let mut next = wait::Deadline::after(Duration::ZERO);
    let under_load = worst_error(&daemon, &mut || {
        // An honest client respects the rate limit.
        if next.passed() {
            next = wait::Deadline::after(Duration::from_millis(600));
            sent += 1;
            answered += usize::from(query::query_from(&client, server.v4(), QUERY_TIMEOUT).is_ok());
        }
    });
    assert!(
        sent >= 3 && 10 * answered >= 7 * sent,
        "{answered} of {sent}"
    );
    // Attackers, client and server share the CPUs, so the limit is coarse.
    assert!(
        under_load < at_rest.max(0.0005) * 4.0,
        "error {under_load} s under load, {at_rest} s without load"
    );
    drop(floods);
    assert!(daemon.process.is_running());
}
