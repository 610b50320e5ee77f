//! NTS with servers, clients and attackers that do it wrong: what the operator is told, what is left alone, and that it is got over.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::{Authority, Certificate};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::Source;
use ntp_e2e::odd_key_server::{CRITICAL, Conduct, OddKeyServer, keyset_file, record};
use ntp_e2e::process::Process;
use ntp_e2e::{nts_query, scenario, wait};
use ntp_proto::nts::AeadAlgorithm;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use serde_json::Value;

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(of_every_bad_key_server_it_is_said_once_what_is_wrong_and_it_is_got_over),
            scenario!(a_server_that_refuses_every_request_is_asked_for_keys_ever_more_rarely),
            scenario!(forged_refusals_throw_no_keys_away),
            scenario!(odd_clients_are_dealt_with_and_not_a_word_is_logged),
        ],
    )
}

fn names(host: &Host) -> Vec<String> {
    vec![host.v4().to_string(), host.v6().to_string()]
}

/// A daemon that serves time with the cookies of the odd servers, and gives no keys itself.
fn time_server(host: &Host) -> (Daemon, Setup) {
    let setup = local().with("[[server]]\nlisten = \"[::]:123\"\nrequire-nts = \"deny\"");
    // Restricted by the setup, as the daemon demands.
    let path = setup.file("keyset", "");
    std::fs::write(&path, keyset_file()).expect("a file of ours");
    let setup = setup.with(&format!(
        "[keyset]\nkey-storage-path = \"{}\"",
        path.display()
    ));
    let daemon = setup.start(Some(host));
    daemon.process.wait_for_line(LIMIT, "serving time at");
    (daemon, setup)
}

/// A daemon with a right clock of its own.
fn local() -> Setup {
    Setup::new(1)
        .replacing("kind = \"virtual\"\n", "kind = \"none\"\n")
        .replacing("virtual-offset = 0.25\n", "")
        .replacing("virtual-frequency = 40.0\n", "")
        .replacing(
            "[synchronization]\n",
            "[synchronization]\nlocal-stratum = 1\n",
        )
}

/// A daemon that asks all these, and gives a certificate no credit for its own clock.
fn client(sources: &[SocketAddr], authority: &Authority) -> Setup {
    let strict = Setup::new(1).replacing(
        "[synchronization]\n",
        "[synchronization]\ncertificate-time-leniency = 0\n",
    );
    sources.iter().fold(strict, |setup, source| {
        setup.with(&format!(
            "[[source]]\nmode = \"nts\"\naddress = \"{source}\"\ncertificate-authority = \"{}\"\n\
             poll-interval-limits = {{ min = 1, max = 1 }}\ninitial-poll-interval = 1",
            authority.path().display(),
        ))
    })
}

/// What `ntp-ctl explain` says of each source.
fn explained(setup: &Setup) -> Vec<(String, String)> {
    let mut command = setup.command(None, Program::Ctl);
    command.args(["explain", "--json"]);
    let mut process = Process::spawn("ntp-ctl explain", command);
    assert_eq!(process.wait_exit(LIMIT).code(), Some(0));
    let said: Value = serde_json::from_str(&process.lines().concat()).expect("JSON");
    let of = |list: &str| said[list].as_array().cloned().unwrap_or_default();
    let both = of("sources").into_iter().chain(of("missing"));
    both.map(|it| {
        let name = it["name"].as_str().unwrap_or_default().to_owned();
        (name, it["why"].to_string())
    })
    .collect()
}

/// How it behaves, with which certificate, and what of that the operator reads. Nothing if there is nothing wrong with it.
fn cases(
    good: &Certificate,
    others: [Certificate; 4],
) -> Vec<(Conduct, Certificate, Option<&'static str>)> {
    let [expired, early, foreign, unknown] = others;
    let end = record(CRITICAL, &[]);
    let says = |records: &[Vec<u8>]| Conduct::Says([&records.concat(), &end[..]].concat());
    let agreed = [
        record(CRITICAL | 1, &[0, 0]),
        record(CRITICAL | 4, &[0, 30]),
    ]
    .concat();
    let cookie = |length| says(&[agreed.clone(), record(5, &vec![7; length])]);
    let of_good = |conduct, said| (conduct, good.clone(), said);
    vec![
        (Conduct::Good, expired, Some("expired on 2021-01-01")),
        (Conduct::Good, early, Some("is not valid before 2090-01-01")),
        (Conduct::Good, foreign, Some("but for ntp.example")),
        (
            Conduct::Good,
            unknown,
            Some("but not with a key of that name that we believe"),
        ),
        of_good(
            Conduct::NoAlpn,
            Some("it speaks TLS but no key exchange (ntske/1)"),
        ),
        of_good(
            Conduct::OtherAlpn,
            Some("it speaks TLS but no key exchange (ntske/1)"),
        ),
        of_good(Conduct::OnlyTls12, Some("it does not speak TLS 1.3")),
        of_good(
            Conduct::Silent,
            Some("no answer in time while TLS was negotiated"),
        ),
        of_good(
            Conduct::SilentInTls,
            Some("no answer in time while its response was awaited"),
        ),
        of_good(
            Conduct::HangsUp,
            Some("the connection broke while TLS was negotiated: the server hung up"),
        ),
        of_good(
            Conduct::HangsUpInTheMiddle,
            Some("hung up before the end of its response"),
        ),
        of_good(Conduct::Endless, Some("longer than 65536 octets")),
        of_good(
            says(&[record(CRITICAL | 2, &[0, 2])]),
            Some("the server refuses: it has an internal error"),
        ),
        of_good(
            says(&[record(CRITICAL | 2, &[0, 1])]),
            Some("the server refuses: it calls the request malformed"),
        ),
        of_good(
            says(&[record(CRITICAL | 3, &[0, 7])]),
            Some("the unknown warning 7"),
        ),
        of_good(
            says(&[agreed.clone(), record(CRITICAL | 4711, b"?")]),
            Some("demands that record type 4711 be understood"),
        ),
        of_good(cookie(0), Some("no cookie that can be used")),
        of_good(cookie(5000), Some("no cookie that can be used")),
        of_good(
            Conduct::Cookies {
                count: 5000,
                length: 100,
            },
            Some("longer than 65536 octets"),
        ),
        of_good(Conduct::InPieces(1), None),
        of_good(Conduct::InPieces(7), None),
        of_good(
            Conduct::Cookies {
                count: 5000,
                length: 0,
            },
            None,
        ),
        of_good(
            Conduct::Cookies {
                count: 12,
                length: 5000,
            },
            None,
        ),
    ]
}

fn of_every_bad_key_server_it_is_said_once_what_is_wrong_and_it_is_got_over() {
    let network = Network::new();
    let (asking, host) = (network.host(), network.host());
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.issue("good", &names(&host));
    let others = [
        authority.issue_for_years("expired", &names(&host), (2020, 2021)),
        authority.issue_for_years("early", &names(&host), (2090, 2100)),
        authority.issue("foreign", &["ntp.example".to_owned()]),
        stranger.issue("unknown", &names(&host)),
    ];
    let _time = time_server(&host);
    let any = SocketAddr::new("::".parse().expect("an address"), 0);
    let mut servers = Vec::new();
    for (conduct, certificate, said) in cases(&good, others) {
        let server = host.inside(|| OddKeyServer::start(any, &certificate, conduct, None));
        servers.push((server.expect("a socket"), said));
    }
    let both = [(asking.v4(), host.v4()), (asking.v6(), host.v6())];
    let pairs = both.iter().flat_map(|(own, address)| {
        servers.iter().map(move |(server, said)| {
            let name = SocketAddr::new(*address, server.address().port());
            (*own, name, server, *said)
        })
    });
    let pairs: Vec<_> = pairs.collect();
    let sources: Vec<_> = pairs.iter().map(|(_, name, ..)| *name).collect();
    let setup = client(&sources, &authority);
    let mut daemon = setup.start(Some(&asking));

    let failures = |daemon: &Daemon, name: &SocketAddr| {
        let told = format!("no key exchange with {name}: ");
        daemon.process.lines_with(&told)
    };
    for (own, name, server, said) in &pairs {
        let Some(said) = said else {
            let told = format!("exchanged keys with {name}: ");
            daemon.process.wait_for_line(LIMIT, &told);
            continue;
        };
        // Time for another line, if there were one.
        wait::until(LIMIT, "the third attempt", || {
            (server.connected(*own).len() >= 3).then_some(())
        });
        let told = failures(&daemon, name);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(said), "{told:?}");
        assert!(told[0].contains("trying again in "), "{told:?}");
        assert!(
            told[0].contains(&format!("`ntp-ctl nts check {name}`")),
            "{told:?}"
        );
        // 4 s and 8 s, scattered by a quarter.
        let came = server.connected(*own);
        for (pair, least) in came.windows(2).zip([3, 6]) {
            let waited = pair[1] - pair[0];
            assert!(waited >= Duration::from_secs(least), "{name}: {waited:?}");
        }
    }
    let explained = explained(&setup);
    for (_, name, _, said) in &pairs {
        let Some(said) = said else { continue };
        let why = explained
            .iter()
            .find(|(source, _)| *source == name.to_string());
        let (_, why) = why.expect("every source is explained");
        assert!(why.contains(said), "{why}");
    }

    for (server, _) in &servers {
        server.mend(&good);
    }
    for (_, name, ..) in &pairs {
        let told = format!("exchanged keys with {name}: ");
        daemon.process.wait_for_line(LIMIT, &told);
        daemon.wait_until(LIMIT, "an authenticated answer", |observation| {
            let source = observation.source(&name.to_string());
            source.is_some_and(Source::is_measured)
        });
        assert!(failures(&daemon, name).len() <= 1);
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

fn a_server_that_refuses_every_request_is_asked_for_keys_ever_more_rarely() {
    let network = Network::new();
    let (asking, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("good", &names(&host));
    let any = SocketAddr::new("::".parse().expect("an address"), 4460);
    let server = host.inside(|| OddKeyServer::start(any, &certificate, Conduct::Good, None));
    let server = server.expect("a socket");
    // It knows nothing of the keys that the other one gives.
    let serving = local().with("[[server]]\nlisten = \"[::]:123\"\nrequire-nts = \"deny\"");
    let forgetful = serving.start(Some(&host));
    forgetful.process.wait_for_line(LIMIT, "serving time at");
    let sources = [host.v4(), host.v6()].map(|address| SocketAddr::new(address, 4460));
    let setup = client(&sources, &authority);
    let mut daemon = setup.start(Some(&asking));
    for own in [asking.v4(), asking.v6()] {
        wait::until(LIMIT, "the third exchange", || {
            (server.connected(own).len() >= 3).then_some(())
        });
        let came = server.connected(own);
        for (pair, least) in came.windows(2).zip([3, 6]) {
            let waited = pair[1] - pair[0];
            assert!(waited >= Duration::from_secs(least), "{waited:?}");
        }
    }
    let refusals = daemon.process.lines_with("cannot read our NTS cookie");
    assert_eq!(refusals.len(), 2, "one for each source: {refusals:?}");
    for (name, why) in explained(&setup) {
        assert!(why.contains("NTSN"), "{name}: {why}");
        assert!(why.contains("ntp-ctl nts check"), "{name}: {why}");
    }
    drop(forgetful);
    let _time = time_server(&host);
    daemon.wait_synchronized(LIMIT);
    for name in sources {
        daemon.wait_until(LIMIT, "an authenticated answer", |observation| {
            let source = observation.source(&name.to_string());
            source.is_some_and(Source::is_measured)
        });
    }
}

/// Between a client and its server: sees all, can forge what is not authenticated.
struct OnPath {
    attack: Arc<AtomicU8>,
    forged: Arc<AtomicU8>,
    ended: Arc<AtomicBool>,
}

/// Adds a refusal before each answer.
const FORGE: u8 = 1;
/// Leaves the answer out, too.
const SILENCE: u8 = 2;

impl OnPath {
    fn start(socket: UdpSocket, host: &Host) -> Self {
        let look_up = Duration::from_millis(100);
        socket.set_read_timeout(Some(look_up)).expect("a socket");
        let upstream = host.udp(host.v4(), 0);
        upstream.connect((host.v4(), 123)).expect("a route");
        upstream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a socket");
        let attacker = Self {
            attack: Arc::new(AtomicU8::new(FORGE)),
            forged: Arc::default(),
            ended: Arc::default(),
        };
        let (attack, forged, ended) = (
            Arc::clone(&attacker.attack),
            Arc::clone(&attacker.forged),
            Arc::clone(&attacker.ended),
        );
        thread::spawn(move || {
            let mut octets = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut octets) else {
                    continue;
                };
                let attack = attack.load(Ordering::Relaxed);
                if attack != 0 {
                    let _ = socket.send_to(&refusal(&octets[..length]), client);
                    let _ = forged.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                        count.checked_add(1)
                    });
                }
                if attack != SILENCE
                    && upstream.send(&octets[..length]).is_ok()
                    && let Ok(length) = upstream.recv(&mut octets)
                {
                    let _ = socket.send_to(&octets[..length], client);
                }
            }
        });
        attacker
    }

    fn wait_for_forgeries(&self, more: u8) {
        let aim = self.forged.load(Ordering::Relaxed) + more;
        wait::until(LIMIT, "forgeries", || {
            (self.forged.load(Ordering::Relaxed) >= aim).then_some(())
        });
    }
}

impl Drop for OnPath {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// An NTSN kiss that answers the request as well as anybody could (RFC 8915 section 5.7).
fn refusal(request: &[u8]) -> Vec<u8> {
    let mut kiss = vec![0; 48];
    kiss[0] = 0b11_100_100;
    kiss[2] = request[2];
    kiss[12..16].copy_from_slice(b"NTSN");
    for place in [24, 32, 40] {
        kiss[place..place + 8].copy_from_slice(&request[40..48]);
    }
    // The unique identifier, which stands first.
    kiss.extend_from_slice(&request[48..84]);
    kiss
}

fn forged_refusals_throw_no_keys_away() {
    let network = Network::new();
    let (asking, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("good", &names(&host));
    let any = SocketAddr::new("::".parse().expect("an address"), 4460);
    let server = host.inside(|| OddKeyServer::start(any, &certificate, Conduct::Good, Some(1123)));
    let server = server.expect("a socket");
    let _time = time_server(&host);
    let attacker = OnPath::start(host.udp(host.v4(), 1123), &host);
    let setup = client(&[SocketAddr::new(host.v4(), 4460)], &authority);
    let mut daemon = setup.start(Some(&asking));
    daemon.wait_synchronized(LIMIT);
    attacker.wait_for_forgeries(6);
    assert_eq!(
        server.connected(asking.v4()).len(),
        1,
        "keys that work are not exchanged again"
    );
    // Whoever can hold back the answers can stop us anyway; our keys are still the good ones afterwards.
    attacker.attack.store(SILENCE, Ordering::Relaxed);
    attacker.wait_for_forgeries(5);
    wait::until(LIMIT, "another exchange", || {
        (server.connected(asking.v4()).len() >= 2).then_some(())
    });
    attacker.attack.store(0, Ordering::Relaxed);
    daemon.wait_until(LIMIT, "answers again", |observation| {
        (observation.sources().first()).is_some_and(|source| source.unanswered_polls() == 0)
    });
    assert!(server.connected(asking.v4()).len() <= 4);
    let told = daemon.process.lines_with("cannot read our NTS cookie");
    assert!(told.len() <= 1, "{told:?}");
}

/// What is sent, piece by piece.
type Pieces = &'static [&'static [u8]];

/// What a client does after its handshake, and what the server says to it: the number of an Error record, or nothing.
const ODD_REQUESTS: &[(&str, Pieces, Option<u8>)] = &[
    ("nothing", &[], None),
    (
        "a critical record that nobody knows",
        &[&[0x80, 1, 0, 2, 0, 0, 0x92, 0x67, 0, 1, 7, 0x80, 0, 0, 0]],
        Some(0),
    ),
    (
        "an Error record",
        &[&[0x80, 2, 0, 2, 0, 2, 0x80, 0, 0, 0]],
        Some(1),
    ),
    (
        "a Warning record",
        &[&[0x80, 3, 0, 2, 0, 2, 0x80, 0, 0, 0]],
        Some(1),
    ),
    ("an empty message", &[&[0x80, 0, 0, 0]], Some(1)),
    (
        "a message without algorithms",
        &[&[0x80, 1, 0, 2, 0, 0, 0x80, 0, 0, 0]],
        Some(1),
    ),
];

fn odd_clients_are_dealt_with_and_not_a_word_is_logged() {
    let network = Network::new();
    let (asking, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("good", &names(&host));
    let setup = local()
        .with("[[server]]\nlisten = \"[::]:123\"\nrequire-nts = \"deny\"")
        .with(&format!(
            "[[nts-ke-server]]\nlisten = \"[::]:4460\"\ncertificate-chain-path = \"{}\"\nprivate-key-path = \"{}\"\n\
             key-exchange-timeout-ms = 20000\nconnections-per-address = 1000",
            certificate.chain.display(),
            certificate.key.display(),
        ));
    let mut daemon = setup.start(Some(&host));
    daemon
        .process
        .wait_for_line(LIMIT, "giving out NTS keys at");
    daemon
        .process
        .wait_for_line(LIMIT, "keys are given out with the certificate");
    daemon.process.wait_for_line(LIMIT, "serving time at");
    let before = daemon.process.lines().len();
    for address in [host.v4(), host.v6()] {
        let server = SocketAddr::new(address, 4460);
        let connect = || {
            let socket = asking
                .inside(|| TcpStream::connect(server))
                .expect("a listener");
            socket.set_read_timeout(Some(LIMIT)).expect("a socket");
            socket.set_nodelay(true).expect("a socket");
            socket
        };
        // What is no TLS, or none of ours, and one that goes away.
        for octets in [
            &b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"[..],
            // The head of a TLS 1.2 ClientHello that offers nothing above.
            &[22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3],
        ] {
            let mut socket = connect();
            socket.write_all(octets).expect("a connection");
        }
        let mut tls12 = connect();
        tls12
            .write_all(&client_hello_of_tls12())
            .expect("a connection");
        let mut alert = [0; 7];
        tls12.read_exact(&mut alert).expect("an alert");
        assert_eq!((alert[0], alert[5]), (21, 2), "a fatal alert");
        for alpn in [&[][..], &[b"h2".to_vec()]] {
            let mut socket = connect();
            let mut tls = tls(&authority, address, alpn);
            let said = Stream::new(&mut tls, &mut socket).read(&mut [0; 64]);
            assert!(matches!(said, Ok(0) | Err(_)), "{alpn:?}: {said:?}");
        }
        for (what, pieces, error) in ODD_REQUESTS {
            let mut socket = connect();
            let mut tls = tls(&authority, address, &[b"ntske/1".to_vec()]);
            let mut stream = Stream::new(&mut tls, &mut socket);
            for piece in *pieces {
                stream.write_all(piece).expect("a connection");
            }
            stream.flush().expect("a connection");
            stream.conn.send_close_notify();
            stream.flush().expect("a connection");
            let mut response = Vec::new();
            let _ = stream.read_to_end(&mut response);
            let expected = error.map(|code| [0x80, 2, 0, 2, 0, code]);
            assert_eq!(response.first_chunk(), expected.as_ref(), "{what}");
        }
        // However it is cut, a request is a request.
        let request = [
            0x80, 1, 0, 2, 0, 0, 0x80, 4, 0, 4, 0, 30, 0, 15, 0x80, 0, 0, 0,
        ];
        for at in 0..=request.len() {
            let mut socket = connect();
            let mut tls = tls(&authority, address, &[b"ntske/1".to_vec()]);
            let mut stream = Stream::new(&mut tls, &mut socket);
            let (front, back) = request.split_at(at);
            // At the end, every octet for itself.
            let pieces = if back.is_empty() {
                front.chunks(1)
            } else {
                front.chunks(18)
            };
            for piece in pieces.chain([back]) {
                stream.write_all(piece).expect("a connection");
                stream.flush().expect("a connection");
            }
            let mut response = Vec::new();
            let _ = stream.read_to_end(&mut response);
            assert_eq!(
                response.get(..6),
                Some(&[0x80, 1, 0, 2, 0, 0][..]),
                "cut at {at}"
            );
        }
        // And an endless one is cut off.
        let mut socket = connect();
        let mut tls = tls(&authority, address, &[b"ntske/1".to_vec()]);
        let mut stream = Stream::new(&mut tls, &mut socket);
        while stream.write_all(&record(4711, &[0; 1000])).is_ok() {}

        let honest = nts_query::exchange(
            &asking,
            server,
            &authority.path(),
            AeadAlgorithm::AesSivCmac256,
        );
        assert_eq!(honest.expect("keys").cookies.len(), 8);
    }
    let said = daemon.process.lines().split_off(before);
    assert!(said.iter().all(|line| line.contains("DEBUG")), "{said:#?}");
    assert_eq!(daemon.stop().code(), Some(0));
}

/// A client side that has not begun yet.
fn tls(authority: &Authority, server: IpAddr, alpn: &[Vec<u8>]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority.path()).expect("our authority");
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("it has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.to_vec();
    ClientConnection::new(Arc::new(config), ServerName::from(server)).expect("sound parameters")
}

/// RFC 5246 section 7.4.1.2: version 1.2, a random number, no session, one cipher suite, no compression, no extension.
fn client_hello_of_tls12() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let length = u8::try_from(hello.len()).expect("it is short");
    let mut octets = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    octets.extend(hello);
    octets
}
