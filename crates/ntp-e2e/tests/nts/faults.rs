//! NTS with faulty servers, faulty clients and attackers: log messages, retries and recovery.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::{Authority, Certificate};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::faulty_ke_server::{CRITICAL, FaultyKeServer, KeBehaviour, record};
use ntp_e2e::harness::Scenario;
use ntp_e2e::log_event::LogEvent;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::Source;
use ntp_e2e::process::Process;
use ntp_e2e::{nts_query, scenario, wait};
use ntp_proto::nts::AeadAlgorithm;
use ntp_types::event::KeyExchangeFailure;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use serde_json::Value;

use super::{LIMIT, nts_server, start_accepting_foreign_cookies, start_with_key_exchange};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario!(faulty_key_servers_are_reported_once_and_retried_with_backoff),
    scenario!(repeated_nts_naks_increase_the_key_exchange_backoff),
    scenario!(forged_nts_naks_do_not_discard_keys),
    scenario!(faulty_key_exchange_clients_are_only_logged_at_debug_level),
];

/// Starts a key-exchange server on all addresses of `host`; port 0 selects a free one.
fn start_ke_server(
    host: &Host,
    port: u16,
    certificate: &Certificate,
    behaviour: KeBehaviour,
    ntp_port: Option<u16>,
) -> FaultyKeServer {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    host.inside(|| FaultyKeServer::start(address, certificate, behaviour, ntp_port))
        .expect("a socket")
}

/// A client of these servers without leniency for certificate times.
fn client(sources: &[SocketAddr], authority: &Authority) -> Setup {
    let strict = Setup::new(1).synchronization("certificate-time-leniency = 0");
    sources
        .iter()
        .fold(strict, |setup, source| setup.nts_source(*source, authority))
}

/// Name and explanation of each source, from `ntp-ctl explain`.
fn explained(setup: &Setup) -> Vec<(String, String)> {
    let mut command = setup.command(None, Program::Ctl);
    command.args(["explain", "--json"]);
    let mut process = Process::spawn("ntp-ctl explain", command);
    assert_eq!(process.wait_exit(LIMIT).code(), Some(0));
    let report: Value = serde_json::from_str(&process.lines().concat()).expect("JSON");
    let of = |list: &str| report[list].as_array().cloned().unwrap_or_default();
    let both = of("sources").into_iter().chain(of("missing"));
    both.map(|it| {
        let name = it["name"].as_str().unwrap_or_default().to_owned();
        (name, it["why"].to_string())
    })
    .collect()
}

/// Behaviour, certificate, and reason of the failure for each server; `None` if the exchange must
/// succeed.
fn cases(
    good: &Certificate,
    others: [Certificate; 4],
) -> Vec<(KeBehaviour, Certificate, Option<KeyExchangeFailure>)> {
    use KeyExchangeFailure as Reason;
    let [expired, early, foreign, unknown] = others;
    let end = record(CRITICAL, &[]);
    let respond =
        |records: &[Vec<u8>]| KeBehaviour::Response([&records.concat(), &end[..]].concat());
    let agreed = [
        record(CRITICAL | 1, &[0, 0]),
        record(CRITICAL | 4, &[0, 30]),
    ]
    .concat();
    let cookie = |length| respond(&[agreed.clone(), record(5, &vec![7; length])]);
    let cookies = |count, length| KeBehaviour::ExtraCookies { count, length };
    let with_certificates = [
        (expired, Reason::CertificateExpired),
        (early, Reason::CertificateNotYetValid),
        (foreign, Reason::NameMismatch),
        (unknown, Reason::UnknownAuthority),
    ]
    .map(|(certificate, reason)| (KeBehaviour::Correct, certificate, Some(reason)));
    let with_good_certificate = [
        (KeBehaviour::NoAlpn, Some(Reason::NotNtsKe)),
        (KeBehaviour::OtherAlpn, Some(Reason::NotNtsKe)),
        (KeBehaviour::OnlyTls12, Some(Reason::TlsVersion)),
        (KeBehaviour::Silent, Some(Reason::Timeout)),
        (KeBehaviour::SilentInTls, Some(Reason::Timeout)),
        (KeBehaviour::Closes, Some(Reason::ConnectionLost)),
        (KeBehaviour::ClosesMidResponse, Some(Reason::BadResponse)),
        (KeBehaviour::EndlessResponse, Some(Reason::BadResponse)),
        // Internal server error, bad request, and a warning.
        (
            respond(&[record(CRITICAL | 2, &[0, 2])]),
            Some(Reason::RefusedByServer),
        ),
        (
            respond(&[record(CRITICAL | 2, &[0, 1])]),
            Some(Reason::RefusedByServer),
        ),
        (
            respond(&[record(CRITICAL | 3, &[0, 7])]),
            Some(Reason::RefusedByServer),
        ),
        // An unknown critical record.
        (
            respond(&[agreed.clone(), record(CRITICAL | 4711, b"?")]),
            Some(Reason::BadResponse),
        ),
        (cookie(0), Some(Reason::BadResponse)),
        (cookie(5000), Some(Reason::BadResponse)),
        (cookies(5000, 100), Some(Reason::BadResponse)),
        (KeBehaviour::Fragmented(1), None),
        (KeBehaviour::Fragmented(7), None),
        (cookies(5000, 0), None),
        (cookies(12, 5000), None),
    ]
    .map(|(behaviour, reason)| (behaviour, good.clone(), reason));
    with_certificates
        .into_iter()
        .chain(with_good_certificate)
        .collect()
}

fn faulty_key_servers_are_reported_once_and_retried_with_backoff() {
    let network = Network::new();
    let (client_host, host) = (network.host(), network.host());
    let (authority, untrusted) = (Authority::new(), Authority::new());
    let good = authority.issue("good", &host.names());
    let others = [
        authority.issue_for_years("expired", &host.names(), (2020, 2021)),
        authority.issue_for_years("early", &host.names(), (2090, 2100)),
        authority.issue("foreign", &["ntp.example".to_owned()]),
        untrusted.issue("unknown", &host.names()),
    ];
    let _time = start_accepting_foreign_cookies(&host);
    let mut servers = Vec::new();
    for (behaviour, certificate, reason) in cases(&good, others) {
        let server = start_ke_server(&host, 0, &certificate, behaviour, None);
        servers.push((server, reason));
    }
    let both = [(client_host.v4(), host.v4()), (client_host.v6(), host.v6())];
    let pairs = both.iter().flat_map(|(own, address)| {
        servers.iter().map(move |(server, reason)| {
            let name = SocketAddr::new(*address, server.address().port());
            (*own, name, server, *reason)
        })
    });
    let pairs: Vec<_> = pairs.collect();
    let sources: Vec<_> = pairs.iter().map(|(_, name, ..)| *name).collect();
    let setup = client(&sources, &authority);
    let mut daemon = setup.start(Some(&client_host));

    let failures = |daemon: &Daemon, name: &SocketAddr| {
        let mut failures = daemon.process.events("key_exchange_failed");
        failures.retain(|event| event.field("source") == name.to_string());
        failures
    };
    for (own, name, server, reason) in &pairs {
        let Some(reason) = reason else {
            let source = [("source", &*name.to_string())];
            (daemon.process).wait_for_event(LIMIT, "keys_exchanged", &source);
            continue;
        };
        // By then a second line would have been logged.
        wait::until(LIMIT, "the third attempt", || {
            (server.connections_from(*own).len() >= 3).then_some(())
        });
        let failures = failures(&daemon, name);
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert_eq!(failures[0].field("reason"), reason.name(), "{failures:?}");
        let retry: f64 = failures[0].field("retry").parse().expect("seconds");
        assert!((3.0..6.0).contains(&retry), "{retry}");
        let advice = format!("ntp-ctl nts check {name}");
        assert!(failures[0].line().contains(&advice), "{failures:?}");
        // 4 s and 8 s, randomised by a quarter.
        let times = server.connections_from(*own);
        for (pair, least) in times.windows(2).zip([3, 6]) {
            let waited = pair[1] - pair[0];
            assert!(waited >= Duration::from_secs(least), "{name}: {waited:?}");
        }
    }
    let explained = explained(&setup);
    for (_, name, _, reason) in &pairs {
        if reason.is_none() {
            continue;
        }
        let why = explained
            .iter()
            .find(|(source, _)| *source == name.to_string());
        let (_, why) = why.expect("an explanation of each source");
        assert!(why.contains("key exchange failed: "), "{why}");
    }

    for (server, _) in &servers {
        server.repair(&good);
    }
    for (_, name, ..) in &pairs {
        let source = [("source", &*name.to_string())];
        (daemon.process).wait_for_event(LIMIT, "keys_exchanged", &source);
        daemon.wait_until(LIMIT, "an authenticated reply", |observation| {
            let source = observation.source(&name.to_string());
            source.is_some_and(Source::is_measured)
        });
        assert!(failures(&daemon, name).len() <= 1);
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Reports of NTS NAKs.
fn nts_naks(daemon: &Daemon) -> Vec<LogEvent> {
    let mut rejected = daemon.process.events("reply_rejected");
    rejected.retain(|event| event.field("reason") == "nts-nak");
    rejected
}

fn repeated_nts_naks_increase_the_key_exchange_backoff() {
    let network = Network::new();
    let (client_host, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("good", &host.names());
    let server = start_ke_server(&host, 4460, &certificate, KeBehaviour::Correct, None);
    // A time server with another keyset.
    let server_setup = nts_server();
    let other_keyset = server_setup.start(Some(&host));
    other_keyset
        .process
        .wait_for_event(LIMIT, "server_started", &[]);
    let sources = [host.v4(), host.v6()].map(|address| SocketAddr::new(address, 4460));
    let setup = client(&sources, &authority);
    let mut daemon = setup.start(Some(&client_host));
    for own in [client_host.v4(), client_host.v6()] {
        wait::until(LIMIT, "the third exchange", || {
            (server.connections_from(own).len() >= 3).then_some(())
        });
        let times = server.connections_from(own);
        for (pair, least) in times.windows(2).zip([3, 6]) {
            let waited = pair[1] - pair[0];
            assert!(waited >= Duration::from_secs(least), "{waited:?}");
        }
    }
    let refusals = nts_naks(&daemon);
    assert_eq!(refusals.len(), 2, "one for each source: {refusals:?}");
    for (name, why) in explained(&setup) {
        assert!(why.contains("NTSN"), "{name}: {why}");
        assert!(why.contains("ntp-ctl nts check"), "{name}: {why}");
    }
    drop(other_keyset);
    let _time = start_accepting_foreign_cookies(&host);
    daemon.wait_synchronized(LIMIT);
    for name in sources {
        daemon.wait_until(LIMIT, "an authenticated reply", |observation| {
            let source = observation.source(&name.to_string());
            source.is_some_and(Source::is_measured)
        });
    }
}

/// An on-path attacker: sees all packets, and forges unauthenticated ones.
struct OnPath {
    mode: Arc<AtomicU8>,
    forged: Arc<AtomicU8>,
    ended: Arc<AtomicBool>,
}

/// Mode: sends a forged NTS NAK before each reply.
const FORGE: u8 = 1;
/// Mode: also suppresses the reply.
const SUPPRESS: u8 = 2;

impl OnPath {
    fn start(socket: UdpSocket, host: &Host) -> Self {
        let stop_check_interval = Duration::from_millis(100);
        socket
            .set_read_timeout(Some(stop_check_interval))
            .expect("a socket");
        let upstream = host.udp(host.v4(), 0);
        upstream.connect((host.v4(), 123)).expect("a route");
        upstream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a socket");
        let attacker = Self {
            mode: Arc::new(AtomicU8::new(FORGE)),
            forged: Arc::default(),
            ended: Arc::default(),
        };
        let (mode, forged, ended) = (
            Arc::clone(&attacker.mode),
            Arc::clone(&attacker.forged),
            Arc::clone(&attacker.ended),
        );
        thread::spawn(move || {
            let mut octets = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut octets) else {
                    continue;
                };
                let mode = mode.load(Ordering::Relaxed);
                if mode != 0 {
                    let _ = socket.send_to(&nts_nak(&octets[..length]), client);
                    let _ = forged.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                        count.checked_add(1)
                    });
                }
                if mode != SUPPRESS
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
        let target = self.forged.load(Ordering::Relaxed) + more;
        wait::until(LIMIT, "forgeries", || {
            (self.forged.load(Ordering::Relaxed) >= target).then_some(())
        });
    }
}

impl Drop for OnPath {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// A forged NTS NAK that matches the request (RFC 8915 section 5.7).
fn nts_nak(request: &[u8]) -> Vec<u8> {
    let mut kiss = vec![0; 48];
    kiss[0] = 0b11_100_100;
    kiss[2] = request[2];
    kiss[12..16].copy_from_slice(b"NTSN");
    for place in [24, 32, 40] {
        kiss[place..place + 8].copy_from_slice(&request[40..48]);
    }
    // The unique identifier, the first extension field.
    kiss.extend_from_slice(&request[48..84]);
    kiss
}

fn forged_nts_naks_do_not_discard_keys() {
    let network = Network::new();
    let (client_host, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("good", &host.names());
    let server = start_ke_server(&host, 4460, &certificate, KeBehaviour::Correct, Some(1123));
    let _time = start_accepting_foreign_cookies(&host);
    let attacker = OnPath::start(host.udp(host.v4(), 1123), &host);
    let setup = client(&[SocketAddr::new(host.v4(), 4460)], &authority);
    let mut daemon = setup.start(Some(&client_host));
    daemon.wait_synchronized(LIMIT);
    attacker.wait_for_forgeries(6);
    assert_eq!(
        server.connections_from(client_host.v4()).len(),
        1,
        "working keys must not be exchanged again"
    );
    // Suppressing replies is denial of service in any case; the keys remain valid afterwards.
    attacker.mode.store(SUPPRESS, Ordering::Relaxed);
    attacker.wait_for_forgeries(5);
    wait::until(LIMIT, "another exchange", || {
        (server.connections_from(client_host.v4()).len() >= 2).then_some(())
    });
    attacker.mode.store(0, Ordering::Relaxed);
    daemon.wait_until(LIMIT, "replies again", |observation| {
        (observation.sources().first()).is_some_and(|source| source.unanswered_polls() == 0)
    });
    assert!(server.connections_from(client_host.v4()).len() <= 4);
    let refusals = nts_naks(&daemon);
    assert!(refusals.len() <= 1, "{refusals:?}");
}

/// Pieces of a message, each sent separately.
type Pieces = &'static [&'static [u8]];

/// Messages of a client after its handshake, and the code of the Error record in the response.
const FAULTY_REQUESTS: &[(&str, Pieces, Option<u8>)] = &[
    ("nothing", &[], None),
    (
        "an unknown critical record",
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

fn faulty_key_exchange_clients_are_only_logged_at_debug_level() {
    let network = Network::new();
    let (client_host, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("good", &host.names());
    let setup = nts_server().with(&certificate.ke_server_section(
        "[::]:4460",
        "key-exchange-timeout-ms = 20000\nconnections-per-address = 1000",
    ));
    let mut daemon = start_with_key_exchange(&setup, &host);
    daemon
        .process
        .wait_for_event(LIMIT, "certificate_loaded", &[]);
    daemon.process.wait_for_event(LIMIT, "server_started", &[]);
    let before = daemon.process.all_events().len();
    for address in [host.v4(), host.v6()] {
        let client = FaultyClient {
            host: &client_host,
            server: SocketAddr::new(address, 4460),
            authority: &authority,
        };
        client.send_other_protocols();
        client.send_faulty_requests();
        client.send_request_split_at_every_position();
        client.send_endless_request();
        let honest = nts_query::exchange(
            &client_host,
            client.server,
            &authority.path(),
            AeadAlgorithm::AesSivCmac256,
        );
        assert_eq!(honest.expect("keys").cookies.len(), 8);
    }
    let log = daemon.process.all_events().split_off(before);
    assert!(log.iter().all(|event| event.level() == "DEBUG"), "{log:#?}");
    assert_eq!(daemon.stop().code(), Some(0));
}

/// A client that violates the protocol.
struct FaultyClient<'a> {
    host: &'a Host,
    server: SocketAddr,
    authority: &'a Authority,
}

impl FaultyClient<'_> {
    fn connect(&self) -> TcpStream {
        let socket = self
            .host
            .inside(|| TcpStream::connect(self.server))
            .expect("a listener");
        socket.set_read_timeout(Some(LIMIT)).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        socket
    }

    fn tls(&self, alpn: &[Vec<u8>]) -> ClientConnection {
        tls(self.authority, self.server.ip(), alpn)
    }

    /// Connects, and runs `work` in a TLS session for key exchange.
    fn in_tls<T>(&self, work: impl FnOnce(&mut Stream<'_, ClientConnection, TcpStream>) -> T) -> T {
        let mut socket = self.connect();
        let mut tls = self.tls(&[b"ntske/1".to_vec()]);
        work(&mut Stream::new(&mut tls, &mut socket))
    }

    /// HTTP, an incomplete handshake, TLS 1.2, and TLS 1.3 with another or no ALPN.
    fn send_other_protocols(&self) {
        for octets in [
            &b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"[..],
            // The start of a TLS 1.2 ClientHello.
            &[22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3],
        ] {
            self.connect().write_all(octets).expect("a connection");
        }
        let mut tls12 = self.connect();
        tls12
            .write_all(&client_hello_of_tls12())
            .expect("a connection");
        let mut alert = [0; 7];
        tls12.read_exact(&mut alert).expect("an alert");
        assert_eq!((alert[0], alert[5]), (21, 2), "a fatal alert");
        for alpn in [&[][..], &[b"h2".to_vec()]] {
            let mut socket = self.connect();
            let mut tls = self.tls(alpn);
            let read = Stream::new(&mut tls, &mut socket).read(&mut [0; 64]);
            assert!(matches!(read, Ok(0) | Err(_)), "{alpn:?}: {read:?}");
        }
    }

    /// [`FAULTY_REQUESTS`], with the expected Error records.
    fn send_faulty_requests(&self) {
        for (what, pieces, error) in FAULTY_REQUESTS {
            let mut response = Vec::new();
            self.in_tls(|stream| {
                for piece in *pieces {
                    stream.write_all(piece).expect("a connection");
                }
                stream.flush().expect("a connection");
                stream.conn.send_close_notify();
                stream.flush().expect("a connection");
                let _ = stream.read_to_end(&mut response);
            });
            let expected = error.map(|code| [0x80, 2, 0, 2, 0, code]);
            assert_eq!(response.first_chunk(), expected.as_ref(), "{what}");
        }
    }

    /// A valid request in two pieces of any lengths, and finally octet by octet. Each is answered.
    fn send_request_split_at_every_position(&self) {
        let request = [
            0x80, 1, 0, 2, 0, 0, 0x80, 4, 0, 4, 0, 30, 0, 15, 0x80, 0, 0, 0,
        ];
        for at in 0..=request.len() {
            let (front, back) = request.split_at(at);
            let pieces = if back.is_empty() {
                front.chunks(1)
            } else {
                front.chunks(18)
            };
            let mut response = Vec::new();
            self.in_tls(|stream| {
                for piece in pieces.chain([back]) {
                    stream.write_all(piece).expect("a connection");
                    stream.flush().expect("a connection");
                }
                let _ = stream.read_to_end(&mut response);
            });
            assert_eq!(
                response.get(..6),
                Some(&[0x80, 1, 0, 2, 0, 0][..]),
                "split at {at}"
            );
        }
    }

    /// A request without end, which the server must abort.
    fn send_endless_request(&self) {
        self.in_tls(|stream| while stream.write_all(&record(4711, &[0; 1000])).is_ok() {});
    }
}

/// A TLS client before its handshake.
fn tls(authority: &Authority, server: IpAddr, alpn: &[Vec<u8>]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority.path()).expect("a certificate");
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.to_vec();
    ClientConnection::new(Arc::new(config), ServerName::from(server)).expect("valid parameters")
}

/// A TLS 1.2 ClientHello (RFC 5246 section 7.4.1.2): random, no session, one cipher suite, no
/// compression, no extensions.
fn client_hello_of_tls12() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let length = u8::try_from(hello.len()).expect("a short message");
    let mut octets = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    octets.extend(hello);
    octets
}
