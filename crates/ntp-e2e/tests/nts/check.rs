//! `ntp-ctl nts check` with real servers and with every kind of faulty one.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::thread;

use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::{Authority, Certificate};
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::Scenario;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::peers;
use ntp_e2e::{process, scenario};
use serde_json::Value;

use super::{LIMIT, start_with_key_exchange};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario!(our_server_chronyd_and_ntpsec_pass_over_ipv4_and_ipv6),
    scenario!(certificate_problems_are_reported_with_a_remedy),
    scenario!(a_wrong_local_clock_is_distinguished_from_an_expired_certificate),
    scenario!(connection_problems_are_reported),
    scenario!(problems_after_the_key_exchange_are_reported),
];

/// A running check.
struct Check(Child);

/// Result of a check.
struct Outcome {
    code: Option<i32>,
    found: Value,
    messages: String,
}

impl Check {
    fn start(client: &Host, of: &str, more: &[&str]) -> Self {
        let mut command = process::command(Some(client), Program::Ctl.path());
        command.args(["nts", "check", of, "--json", "--timeout=60s"]);
        command.args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("ntp-ctl starts"))
    }

    fn finish(self) -> Outcome {
        let output = self.0.wait_with_output().expect("an exit status");
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        Outcome {
            code: output.status.code(),
            found: serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {output:?}")),
            messages,
        }
    }
}

impl Outcome {
    /// Asserts the exit code, the class of the problem, and that the messages contain all `texts`.
    #[track_caller]
    fn fails_with(&self, code: i32, class: &str, texts: &[&str]) {
        let Self {
            code: got,
            found,
            messages,
        } = self;
        assert_eq!(*got, Some(code), "{messages}\n{found:#}");
        assert_eq!(found["problem"]["class"], class, "{found:#}");
        for text in texts {
            assert!(messages.contains(text), "{text:?} is not in:\n{messages}");
        }
    }
}

fn ca(authority: &Authority) -> String {
    format!("--ca={}", authority.path().display())
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// A server with a virtual clock that is `offset` seconds ahead and not steered.
fn server(offset: f64) -> Setup {
    Setup::new(1)
        .replacing(
            "virtual-offset = 0.25",
            &format!("virtual-offset = {offset:?}"),
        )
        .replacing("virtual-frequency = 40.0\n", "")
        .synchronization("local-stratum = 1")
        .with("[[server]]\nlisten = \"[::]:123\"")
}

fn key_exchange(port: u16, certificate: &Certificate, more: &str) -> String {
    certificate.ke_server_section(
        &format!("[::]:{port}"),
        &format!("key-exchange-timeout-ms = 60000\n{more}"),
    )
}

fn our_server_chronyd_and_ntpsec_pass_over_ipv4_and_ipv6() {
    let network = Network::new();
    let authority = Authority::new();
    let (client, ours, chrony, ntpsec) = (
        network.host(),
        network.host(),
        network.host(),
        network.host(),
    );
    let issue = |file, host: &Host| authority.issue(file, &host.names());
    let setup = server(0.0).with(&key_exchange(4460, &issue("ours", &ours), ""));
    let _ours = start_with_key_exchange(&setup, &ours);
    let _chrony = peers::chronyd_nts_server(&chrony, 2, &issue("chrony", &chrony));
    let _ntpsec = peers::ntpsec_nts_server(&ntpsec, 2, &issue("ntpsec", &ntpsec));
    // Debian's versions of the others have no AES-128-GCM-SIV.
    for (host, aead) in [(&ours, 30), (&chrony, 15), (&ntpsec, 15)] {
        for address in [host.v4(), host.v6()] {
            let checked = Check::start(&client, &address.to_string(), &[&ca(&authority)]).finish();
            let found = &checked.found;
            assert_eq!(checked.code, Some(0), "{}\n{found:#}", checked.messages);
            assert_eq!(checked.messages, "");
            assert_eq!(found["problem"], Value::Null);
            assert_eq!(found["peer"], at(address, 4460));
            assert_eq!(
                found["certificates"][0]["names"].as_array().map(Vec::len),
                Some(2)
            );
            assert_eq!(found["aead"]["id"], aead);
            assert_eq!(found["cookies"]["count"], 8);
            assert!(found["cookies"]["octets"].as_u64() > Some(60));
            assert_eq!(found["ntp_server"]["address"], at(address, 123));
            assert_eq!(found["ntp_server"]["named"], false);
            for stage in ["lookup", "connect", "tls", "exchange", "ntp_round_trip"] {
                let took = found["timings"][stage].as_f64().expect(stage);
                // On a busy machine a server's predicted transmit timestamp may be some microseconds late.
                assert!((-1e-4..60.0).contains(&took), "{stage}: {took}");
            }
            let offset = found["time"]["offset"].as_f64().expect("an offset");
            assert!(offset.abs() < 1.0, "{offset}");
        }
    }
}

fn certificate_problems_are_reported_with_a_remedy() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let own = host.names();
    let good = authority.issue("good", &own);
    let other = authority.issue("other", &["ntp.example".to_owned(), "192.0.2.1".to_owned()]);
    let expired = authority.issue_for_years("expired", &own, (2020, 2022));
    let early = authority.issue_for_years("early", &own, (2090, 2100));
    let mut sections = String::new();
    for (port, certificate) in [
        (4460, &good),
        (4461, &other),
        (4462, &expired),
        (4463, &early),
    ] {
        let _ = writeln!(sections, "{}", key_exchange(port, certificate, ""));
    }
    let _daemon = start_with_key_exchange(&server(0.0).with(&sections), &host);
    let check = |port, more: &[&str]| Check::start(&client, &at(host.v6(), port), more).finish();
    let ca = ca(&authority);

    check(4460, &[]).fails_with(9, "issuer", &["CN=an authority for tests", "--ca"]);
    // An authority of somebody else beside the right one, and alone.
    let other_authority = Authority::new();
    let other = self::ca(&other_authority);
    check(4460, &[&other]).fails_with(9, "issuer", &["Not signed by an authority in"]);
    let outcome = check(4461, &[&other, &ca]);
    let address = host.v6().to_string();
    outcome.fails_with(
        6,
        "name",
        &[
            &address,
            "ntp.example, 192.0.2.1",
            "ntp-ctl nts check ntp.example",
        ],
    );
    assert_eq!(outcome.found["certificates"][0]["subject"], "CN=other");
    let outcome = check(4462, &[&ca]);
    outcome.fails_with(
        7,
        "expired",
        &[
            "expired on 2022-01-01 00:00:00 UTC",
            "the local clock reads 20",
            "agrees with the local clock",
        ],
    );
    assert!(outcome.found["certificates"][0]["days_left"].as_f64() < Some(0.0));
    assert!(
        outcome.found["time"]["offset"].is_number(),
        "{:#}",
        outcome.found
    );
    let words = [
        "not valid before 2090-01-01 00:00:00 UTC",
        "agrees with the local clock",
    ];
    check(4463, &[&ca]).fails_with(8, "not-yet-valid", &words);

    let missing = authority.directory().join("missing.pem");
    let missing = format!("--ca={}", missing.display());
    check(4460, &[&missing]).fails_with(1, "here", &["missing.pem"]);
}

fn a_wrong_local_clock_is_distinguished_from_an_expired_certificate() {
    const TWENTY_YEARS: f64 = 631_152_000.0;
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue_for_years("server", &host.names(), (2041, 2060));
    let setup = server(TWENTY_YEARS).with(&key_exchange(4460, &certificate, ""));
    let _daemon = start_with_key_exchange(&setup, &host);
    let outcome = Check::start(&client, &host.v4().to_string(), &[&ca(&authority)]).finish();
    outcome.fails_with(8, "not-yet-valid", &["probably behind by 6311"]);
}

/// Starts a server that sends `response` to one connection. Returns its port.
fn respond_once(host: &Host, response: &'static [u8]) -> u16 {
    let listener = host
        .inside(|| TcpListener::bind((host.v4(), 0)))
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(response);
            // Waits until the client has closed the connection.
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    port
}

fn connection_problems_are_reported() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let check = |port| Check::start(&client, &at(host.v4(), port), &[]).finish();
    check(4460).fails_with(
        3,
        "connect",
        &["nothing listens on that port", "TCP port 4460"],
    );
    // TLS alerts (RFC 8446 section 6): protocol_version of a TLS 1.2 server,
    // no_application_protocol of a web server.
    let old = respond_once(&host, &[21, 3, 3, 0, 2, 2, 70]);
    check(old).fails_with(4, "tls", &["TLS 1.3"]);
    let web = respond_once(&host, &[21, 3, 3, 0, 2, 2, 120]);
    check(web).fails_with(5, "alpn", &["ntske/1"]);
    let ssh = respond_once(
        &host,
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\nand so on and so on\r\n",
    );
    check(ssh).fails_with(4, "tls", &["does not speak TLS"]);
    let nameless = Check::start(&client, "nobody.invalid", &[]).finish();
    nameless.fails_with(16, "lookup", &["getent hosts nobody.invalid"]);

    // A server with a shared secret has no keys until it is synchronised.
    let setup = server(0.0).replacing("local-stratum = 1\n", "");
    let secret = setup.file("secret", &"s".repeat(32));
    let lines = format!("[keyset]\nshared-secret-path = \"{}\"", secret.display());
    let certificate = authority.issue("server", &host.names());
    let setup = setup
        .with(&lines)
        .with(&key_exchange(4460, &certificate, ""));
    let _daemon = start_with_key_exchange(&setup, &host);
    let refused = Check::start(&client, &host.v4().to_string(), &[&ca(&authority)]).finish();
    refused.fails_with(
        11,
        "response",
        &["the server replied with an error: internal server error"],
    );
}

fn problems_after_the_key_exchange_are_reported() {
    let network = Network::new();
    let (client, host, plain, other_keyset, lost) = (
        network.host(),
        network.host(),
        network.host(),
        network.host(),
        network.host(),
    );
    let authority = Authority::new();
    let certificate = authority.issue("server", &host.names());
    let _plain = peers::test_server(&plain, plain.v4(), 0.0);
    let keyset = plain_directory(&authority);
    let other = server(0.0).with(&format!("[keyset]\nkey-storage-path = \"{keyset}\""));
    let other = other.start(Some(&other_keyset));
    other.process.wait_for_event(LIMIT, "server_started", &[]);
    // Receives requests, but never replies.
    let _silent = plain.udp(plain.v6(), 1123);
    // Serves time and keys, but is not synchronised.
    let unsynchronised = server(0.0)
        .replacing("local-stratum = 1\n", "")
        .with(&key_exchange(
            4460,
            &authority.issue("lost", &lost.names()),
            "",
        ));
    let _lost = start_with_key_exchange(&unsynchronised, &lost);

    let v4 = |of: &Host| format!("ntp-server = \"{}\"", of.v4());
    let cases = [
        (4461, format!("{}\nntp-port = 4009", v4(&plain))),
        (
            4462,
            format!("ntp-server = \"{}\"\nntp-port = 1123", plain.v6()),
        ),
        (4463, v4(&plain)),
        (4464, v4(&other_keyset)),
        (4465, "ntp-server = \"nobody.invalid\"".to_owned()),
    ];
    let mut setup = server(0.0);
    for (port, lines) in &cases {
        setup = setup.with(&key_exchange(*port, &certificate, lines));
    }
    let _daemon = start_with_key_exchange(&setup, &host);
    let ca = ca(&authority);
    let start = |at: &str| Check::start(&client, at, &[&ca]);
    let running: Vec<_> = cases
        .iter()
        .map(|(port, _)| start(&at(host.v4(), *port)))
        .collect();
    let unsynchronised_check = start(&lost.v4().to_string());
    let outcomes: Vec<_> = running.into_iter().map(Check::finish).collect();

    outcomes[0].fails_with(12, "no-reply", &["does not reply", "UDP port 4009"]);
    let address = at(plain.v6(), 1123);
    outcomes[1].fails_with(12, "no-reply", &[&address, "UDP port 1123"]);
    outcomes[2].fails_with(14, "unauthenticated", &["does not support NTS"]);
    outcomes[3].fails_with(13, "nak", &["NTSN", "shared-secret-path"]);
    outcomes[4].fails_with(16, "lookup", &["nobody.invalid"]);
    unsynchronised_check
        .finish()
        .fails_with(15, "unusable", &["not synchronised"]);
    for outcome in &outcomes {
        assert_eq!(outcome.found["cookies"]["count"], 8, "{:#}", outcome.found);
        assert_eq!(outcome.found["ntp_server"]["named"], true);
    }
}

fn plain_directory(authority: &Authority) -> String {
    authority.directory().join("keyset").display().to_string()
}
