//! Our server and whoever asks it: the clients of the world, programs that send nonsense, and floods.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::clients::{self, Question};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::peers::{self, SharedKey};
use ntp_e2e::process::{self, Process};
use ntp_e2e::query::{self, Answer};
use ntp_e2e::{scenario, wait};

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);
/// An answer comes at once or not at all.
const ANSWER: Duration = Duration::from_secs(1);

/// One thread, which takes datagrams in the order in which they came.
const SERVER: &str = "[[server]]\nlisten = \"[::]:123\"\nworkers = 1";
const LOCAL: &str = "[synchronization]\nlocal-stratum = 1\n";

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(ntpd_ntpdig_and_rdate_take_time_from_us_in_both_families),
            scenario!(small_clients_of_every_kind_are_answered),
            scenario!(no_nonsense_is_answered_and_no_answer_is_longer_than_its_question),
            scenario!(two_servers_cannot_be_made_to_talk_to_each_other),
            scenario!(
                an_address_that_comes_later_is_served_and_answers_come_from_where_they_were_asked
            ),
            scenario!(an_ipv4_rule_holds_on_a_dual_stack_socket),
            scenario!(a_flood_harms_neither_an_honest_client_nor_our_own_clock),
        ],
    )
}

/// A server with a right clock of its own.
fn local() -> Setup {
    Setup::new(1)
        .replacing("[synchronization]\n", LOCAL)
        .replacing("virtual-offset = 0.25", "virtual-offset = 0.0")
        .replacing("virtual-frequency = 40.0", "virtual-frequency = 0.0")
}

fn any(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn ask(client: &Host, server: IpAddr) -> io::Result<Answer> {
    let socket = client.udp(any(server), 0);
    query::ask(&socket, SocketAddr::new(server, 123), ANSWER)
}

fn wait_for_answer(client: &Host, server: IpAddr) -> Answer {
    wait::until(LIMIT, "an answer", || ask(client, server).ok())
}

fn ntpd_ntpdig_and_rdate_take_time_from_us_in_both_families() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = local().keys(&SharedKey::ALL).with(SERVER);
    let _daemon = setup.start(Some(&server));
    let both = [server.v4(), server.v6()];
    wait_for_answer(&client, server.v4());
    let questions = both.map(|server| Question {
        options: "iburst minpoll 3 maxpoll 3",
        ..Question::plain(server)
    });
    let ntpd = clients::ntpsec(&client, &questions, &[]);
    for address in both {
        for key in [None, Some(&SharedKey::ALL[0]), Some(&SharedKey::ALL[1])] {
            let said = clients::ntpdig(&client, address, key);
            assert!(said.contains("\"stratum\":1"), "{said}");
        }
        let offset = ntpd.wait_measured(LIMIT, address, |_| true);
        assert!(offset.abs() < 0.01, "{offset}");
        let said = clients::rdate(&client, address);
        assert!(said.contains("20"), "no date: {said}");
    }
}

/// A request's 48 octets: leap, version and mode, and a transmit timestamp.
fn request(first: u8) -> Vec<u8> {
    let mut octets = vec![0; 48];
    octets[0] = first;
    octets[40..].copy_from_slice(&0xe9b2_3b5c_1234_5678_u64.to_be_bytes());
    octets
}

const fn first(leap: u8, version: u8, mode: u8) -> u8 {
    leap << 6 | version << 3 | mode
}

/// Sends a datagram, and an honest question behind it, so that it has been dealt with when this returns. Returns
/// what came back for the first.
fn provoke(client: &Host, server: IpAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let socket = client.udp(any(server), 0);
    // A datagram longer than the network permits comes in pieces.
    socket.send_to(payload, (server, 123)).expect("a route");
    wait_for_answer(client, server);
    socket.set_nonblocking(true).expect("a socket");
    let mut reply = vec![0; 65_536];
    let length = socket.recv(&mut reply).ok()?;
    assert!(socket.recv(&mut [0; 1]).is_err(), "two answers");
    reply.truncate(length);
    Some(reply)
}

fn small_clients_of_every_kind_are_answered() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = local().with(SERVER);
    let _daemon = setup.start(Some(&server));
    wait_for_answer(&client, server.v4());
    for address in [server.v4(), server.v6()] {
        for (what, first, mode) in [
            // systemd-timesyncd, SNTP of many devices.
            ("version 4, mode 3", first(0, 4, 3), 4),
            // Busybox, among others.
            ("an unsynchronised version 4 client", first(3, 4, 3), 4),
            ("version 3, mode 3", first(0, 3, 3), 4),
            ("an unsynchronised version 3 client", first(3, 3, 3), 4),
            // Old Windows asks as a peer.
            ("version 3, mode 1", first(0, 3, 1), 2),
        ] {
            let asked = request(first);
            let reply = provoke(&client, address, &asked).expect(what);
            assert_eq!(reply.len(), 48, "{what}");
            assert_eq!(reply[0], first & 0x38 | mode, "{what}: leap, version, mode");
            assert_eq!(reply[1], 1, "{what}: stratum");
            assert_eq!(reply[24..32], asked[40..48], "{what}: origin");
            assert_ne!(reply[40..48], [0; 8], "{what}: transmit");
        }
    }
}

fn no_nonsense_is_answered_and_no_answer_is_longer_than_its_question() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = local().keys(&SharedKey::ALL).with(SERVER);
    let mut daemon = setup.start(Some(&server));
    wait_for_answer(&client, server.v4());
    let good = request(first(0, 4, 3));
    let longer = |by: usize, octet: u8| [good.clone(), vec![octet; by]].concat();
    let ours = provoke(&client, server.v4(), &good).expect("an answer");
    let complaints = daemon.process.lines_with("WARN").len();

    let mut silent: Vec<Vec<u8>> = vec![vec![], vec![0x23], ours];
    silent.extend([1, 12, 40, 47].map(|length| good[..length].to_vec()));
    // No requests: reserved, peers' and servers' answers, broadcasts, control, private.
    silent.extend([0, 2, 4, 5, 6, 7].map(|mode| request(first(0, 4, mode))));
    silent.extend([0, 1, 2, 5, 6, 7].map(|version| request(first(0, version, 3))));
    // What is neither an extension field nor a MAC.
    silent.extend([1, 3, 8, 12, 17, 27].map(|by| longer(by, 0)));
    silent.extend([28, 100, 1400, 4000, 60_000].map(|by| longer(by, 0xff)));
    // The notorious one: a list of the last clients (mode 7).
    silent.push(vec![0x17, 0, 3, 42, 0, 0, 0, 0]);
    for address in [server.v4(), server.v6()] {
        for payload in &silent {
            let reply = provoke(&client, address, payload);
            assert!(reply.is_none(), "{payload:02x?} was answered: {reply:02x?}");
        }
    }

    // Extension fields that nobody knows, and MACs with keys that nobody has.
    let field = [vec![0x7f, 0x00, 0x00, 0x1c], vec![0; 24]].concat();
    let mac = [9_u32.to_be_bytes().to_vec(), vec![0x55; 16]].concat();
    for payload in [
        [good.clone(), field.clone()].concat(),
        [good.clone(), mac.clone()].concat(),
        [good.clone(), field, mac].concat(),
    ] {
        let reply = provoke(&client, server.v4(), &payload).expect("an answer");
        assert!(
            reply.len() <= payload.len(),
            "{} octets for {}",
            reply.len(),
            payload.len()
        );
    }
    assert!(daemon.process.is_running());
    assert_eq!(
        daemon.process.lines_with("WARN").len(),
        complaints,
        "strangers write into the log"
    );
}

/// A host that can send from another's address, and gets nothing that is sent there.
fn impostor(network: &Network, of: &Host) -> (Host, UdpSocket) {
    let host = network.host();
    host.set_sysctl("ipv4/conf/all/arp_ignore", "1");
    host.set_sysctl("ipv4/conf/all/arp_announce", "2");
    host.ip(&format!("address add {}/32 dev lo", of.v4()));
    let socket = host.udp(of.v4(), 123);
    (host, socket)
}

fn two_servers_cannot_be_made_to_talk_to_each_other() {
    let network = Network::new();
    let (client, one, other) = (network.host(), network.host(), network.host());
    let setups = [local().with(SERVER), local().with(SERVER)];
    let daemons = [&one, &other].map(|host| {
        let setup = &setups[usize::from(host.v4() == other.v4())];
        setup.start(Some(host))
    });
    wait_for_answer(&client, one.v4());
    wait_for_answer(&client, other.v4());
    let received = |daemon: &Daemon| {
        daemon
            .observe()
            .expect("a state")
            .served("received_packets")
    };
    let before = daemons.each_ref().map(received);

    let (_impostor, socket) = impostor(&network, &other);
    const EACH: u64 = 20;
    for mode in [1, 3, 2, 4, 5] {
        for _ in 0..EACH {
            let sent = socket.send_to(&request(first(0, 4, mode)), (one.v4(), 123));
            sent.expect("a route");
        }
    }
    // Requests are answered, to whom they claim to be from; and that is the end of it.
    let expected = [before[0] + 5 * EACH, before[1] + 2 * EACH];
    wait::until(LIMIT, "all answers", || {
        let now = daemons.each_ref().map(received);
        (now[0] >= expected[0] && now[1] >= expected[1]).then_some(())
    });
    // Whatever else there were would have come before these answers.
    wait_for_answer(&client, one.v4());
    wait_for_answer(&client, other.v4());
    let expected = expected.map(|count| count + 1);
    // A worker counts when it has answered.
    wait::until(LIMIT, "all of it to be counted", || {
        (daemons.each_ref().map(received) == expected).then_some(())
    });
    wait::throughout(Duration::from_millis(300), || {
        assert_eq!(daemons.each_ref().map(received), expected);
    });
}

fn an_address_that_comes_later_is_served_and_answers_come_from_where_they_were_asked() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let awaited: IpAddr = Ipv4Addr::new(10, 77, 0, 151).into();
    let setup = local().with(&format!(
        "{SERVER}\n[[server]]\nlisten = \"{awaited}:1123\"\nworkers = 1"
    ));
    let _daemon = setup.start(Some(&server));
    wait_for_answer(&client, server.v4());
    let later: [IpAddr; 3] = [
        awaited,
        Ipv4Addr::new(10, 77, 0, 150).into(),
        Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x150).into(),
    ];
    for address in later {
        assert!(ask(&client, address).is_err(), "{address} is not there yet");
        let (length, options) = if address.is_ipv4() {
            (24, "")
        } else {
            (64, " nodad")
        };
        server.ip(&format!("address add {address}/{length} dev eth0{options}"));
    }
    // `query::ask` takes an answer only from the address that it asked.
    for address in later.into_iter().chain([server.v4(), server.v6()]) {
        wait_for_answer(&client, address);
    }
    // So does the section whose address was not there when the daemon started.
    let socket = client.udp(any(awaited), 0);
    wait::until(LIMIT, "an answer of the awaited address", || {
        query::ask(&socket, SocketAddr::new(awaited, 1123), ANSWER).ok()
    });
}

fn an_ipv4_rule_holds_on_a_dual_stack_socket() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let setup = local().with(&format!(
        "{SERVER}\ndenylist = {{ filter = [\"10.77.0.0/24\"], action = \"deny\" }}"
    ));
    let _daemon = setup.start(Some(&server));
    let kiss = wait_for_answer(&client, server.v4());
    assert_eq!((kiss.stratum, &kiss.reference_id), (0, b"DENY"));
    assert_eq!(wait_for_answer(&client, server.v6()).stratum, 1);
}

/// How long a flood lasts, and as long a rest is looked at before it.
const FLOOD: Duration = Duration::from_secs(6);

fn a_flood_harms_neither_an_honest_client_nor_our_own_clock() {
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
    // Every address of a /16 is the second attacker's own, and its answers go there.
    many.ip("route add local 10.99.0.0/16 dev lo");
    server.ip(&format!("route add 10.99.0.0/16 via {}", many.v4()));
    let worst = |daemon: &Daemon, honest: &mut dyn FnMut()| {
        let mut worst = 0.0_f64;
        wait::throughout(FLOOD, || {
            let observation = daemon.observe().expect("a state");
            let error = observation.true_offset().abs();
            assert!(error <= observation.error_bound());
            worst = worst.max(error);
            honest();
        });
        worst
    };
    let at_rest = worst(&daemon, &mut || {});

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
        observation.served("rate_limited_packets") > 10_000
            && observation.served("accepted_packets") > 10_000
    });
    let (mut asked, mut answered) = (0, 0);
    let mut next = wait::Deadline::after(Duration::ZERO);
    let under_load = worst(&daemon, &mut || {
        // An honest client keeps to the limit.
        if next.passed() {
            next = wait::Deadline::after(Duration::from_millis(600));
            asked += 1;
            answered += usize::from(ask(&client, server.v4()).is_ok());
        }
    });
    assert!(
        asked >= 3 && 10 * answered >= 7 * asked,
        "{answered} of {asked}"
    );
    // The flood takes the processors of client, server and attackers alike, so the figure is a coarse one.
    assert!(
        under_load < at_rest.max(0.0005) * 4.0,
        "off by {under_load} s under load, by {at_rest} s at rest"
    );
    drop(floods);
    assert!(daemon.process.is_running());
}
