//! `ntp-ctl nts check` against real servers, and against everything that can be wrong with one.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::{Authority, Certificate};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::peers;
use ntp_e2e::{process, scenario};
use serde_json::Value;

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(servers_of_all_kinds_pass_in_both_families),
            scenario!(what_is_wrong_with_a_certificate_is_told_with_its_remedy),
            scenario!(a_wrong_clock_is_told_from_an_expired_certificate),
            scenario!(what_is_wrong_with_a_connection_is_told),
            scenario!(what_is_wrong_after_the_key_exchange_is_told),
        ],
    )
}

/// A check under way.
struct Check(Child);

/// What it said.
struct Outcome {
    code: Option<i32>,
    found: Value,
    said: String,
}

impl Check {
    fn start(client: &Host, of: &str, more: &[&str]) -> Self {
        let mut command = process::command(Some(client), Program::Ctl.path());
        command.args(["nts", "check", of, "--json", "--timeout=60s"]);
        command.args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("ntp-ctl starts"))
    }

    fn end(self) -> Outcome {
        let output = self.0.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Outcome {
            code: output.status.code(),
            found: serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {output:?}")),
            said,
        }
    }
}

impl Outcome {
    /// Asserts the exit code, the class, and that all of `words` are in what people read.
    #[track_caller]
    fn fails_with(&self, code: i32, class: &str, words: &[&str]) {
        let Self {
            code: got,
            found,
            said,
        } = self;
        assert_eq!(*got, Some(code), "{said}\n{found:#}");
        assert_eq!(found["problem"]["class"], class, "{found:#}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in:\n{said}");
        }
    }
}

fn ca(authority: &Authority) -> String {
    format!("--ca={}", authority.path().display())
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn names(host: &Host) -> Vec<String> {
    vec![host.v4().to_string(), host.v6().to_string()]
}

/// A daemon that offers its clock, which is `offset` seconds ahead, as it is.
fn server(offset: f64) -> Setup {
    Setup::new(1)
        .replacing(
            "virtual-offset = 0.25",
            &format!("virtual-offset = {offset:?}"),
        )
        .replacing("virtual-frequency = 40.0\n", "")
        .replacing(
            "[synchronization]\n",
            "[synchronization]\nlocal-stratum = 1\n",
        )
        .with("[[server]]\nlisten = \"[::]:123\"")
}

fn key_exchange(port: u16, certificate: &Certificate, more: &str) -> String {
    format!(
        "[[nts-ke-server]]\nlisten = \"[::]:{port}\"\ncertificate-chain-path = \"{}\"\nprivate-key-path = \"{}\"\n\
         key-exchange-timeout-ms = 60000\n{more}",
        certificate.chain.display(),
        certificate.key.display(),
    )
}

fn start(setup: &Setup, host: &Host) -> Daemon {
    let daemon = setup.start(Some(host));
    daemon
        .process
        .wait_for_line(LIMIT, "giving out NTS keys at");
    daemon
}

fn servers_of_all_kinds_pass_in_both_families() {
    let network = Network::new();
    let authority = Authority::new();
    let (client, ours, chrony, ntpsec) = (
        network.host(),
        network.host(),
        network.host(),
        network.host(),
    );
    let issue = |file, host| authority.issue(file, &names(host));
    let setup = server(0.0).with(&key_exchange(4460, &issue("ours", &ours), ""));
    let _ours = start(&setup, &ours);
    let _chrony = peers::chronyd_giving_keys(&chrony, 2, &issue("chrony", &chrony));
    let _ntpsec = peers::ntpsec_giving_keys(&ntpsec, 2, &issue("ntpsec", &ntpsec));
    // Debian's versions of the others have no AES-128-GCM-SIV.
    for (host, aead) in [(&ours, 30), (&chrony, 15), (&ntpsec, 15)] {
        for address in [host.v4(), host.v6()] {
            let checked = Check::start(&client, &address.to_string(), &[&ca(&authority)]).end();
            let found = &checked.found;
            assert_eq!(checked.code, Some(0), "{}\n{found:#}", checked.said);
            assert_eq!(checked.said, "");
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
                assert!((0.0..60.0).contains(&took), "{stage}: {took}");
            }
            let offset = found["time"]["offset"].as_f64().expect("an offset");
            assert!(offset.abs() < 1.0, "{offset}");
        }
    }
}

fn what_is_wrong_with_a_certificate_is_told_with_its_remedy() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let own = names(&host);
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
    let _daemon = start(&server(0.0).with(&sections), &host);
    let check = |port, more: &[&str]| Check::start(&client, &at(host.v6(), port), more).end();
    let ca = ca(&authority);

    check(4460, &[]).fails_with(9, "issuer", &["CN=an authority for tests", "--ca"]);
    let outcome = check(4461, &[&ca]);
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
            "our clock says 20",
            "agrees with ours",
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
        "agrees with ours",
    ];
    check(4463, &[&ca]).fails_with(8, "not-yet-valid", &words);

    let missing = authority.directory().join("missing.pem");
    let missing = format!("--ca={}", missing.display());
    check(4460, &[&missing]).fails_with(1, "here", &["missing.pem"]);
}

fn a_wrong_clock_is_told_from_an_expired_certificate() {
    const TWENTY_YEARS: f64 = 631_152_000.0;
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue_for_years("server", &names(&host), (2041, 2060));
    let setup = server(TWENTY_YEARS).with(&key_exchange(4460, &certificate, ""));
    let _daemon = start(&setup, &host);
    let outcome = Check::start(&client, &host.v4().to_string(), &[&ca(&authority)]).end();
    outcome.fails_with(8, "not-yet-valid", &["ours is probably behind by 6311"]);
}

/// Answers one connection with `answer`, whatever it says.
fn answering_once(host: &Host, answer: &'static [u8]) -> u16 {
    let listener = host
        .inside(|| TcpListener::bind((host.v4(), 0)))
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
            // Until the other side has read it and hung up.
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    port
}

fn what_is_wrong_with_a_connection_is_told() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let check = |port| Check::start(&client, &at(host.v4(), port), &[]).end();
    check(4460).fails_with(
        3,
        "connect",
        &["nothing listens on that port", "TCP port 4460"],
    );
    // TLS alerts (RFC 8446 section 6): the answers of a server that knows TLS 1.2 only, and of one that knows no key exchange.
    let old = answering_once(&host, &[21, 3, 3, 0, 2, 2, 70]);
    check(old).fails_with(4, "tls", &["TLS 1.3"]);
    let web = answering_once(&host, &[21, 3, 3, 0, 2, 2, 120]);
    check(web).fails_with(5, "alpn", &["ntske/1"]);
    let ssh = answering_once(
        &host,
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\nand so on and so on\r\n",
    );
    check(ssh).fails_with(4, "tls", &["not TLS"]);
    let nameless = Check::start(&client, "nobody.invalid", &[]).end();
    nameless.fails_with(2, "lookup", &["getent hosts nobody.invalid"]);

    // One that is synchronised to nothing has no keys of its fleet.
    let setup = server(0.0);
    let secret = setup.file("secret", &"s".repeat(32));
    let lines = format!("[keyset]\nshared-secret-path = \"{}\"", secret.display());
    let certificate = authority.issue("server", &names(&host));
    let setup = setup
        .with(&lines)
        .with(&key_exchange(4460, &certificate, ""));
    let _daemon = start(&setup, &host);
    let refused = Check::start(&client, &host.v4().to_string(), &[&ca(&authority)]).end();
    refused.fails_with(
        11,
        "response",
        &["the server refuses: it has an internal error"],
    );
}

fn what_is_wrong_after_the_key_exchange_is_told() {
    let network = Network::new();
    let (client, host, plain, stranger, lost) = (
        network.host(),
        network.host(),
        network.host(),
        network.host(),
        network.host(),
    );
    let authority = Authority::new();
    let certificate = authority.issue("server", &names(&host));
    let _plain = peers::shifted(&plain, plain.v4(), 0.0);
    let keyset = plain_directory(&authority);
    let strange = server(0.0).with(&format!("[keyset]\nkey-storage-path = \"{keyset}\""));
    let strange = strange.start(Some(&stranger));
    strange.process.wait_for_line(LIMIT, "serving time at");
    // It hears, and says nothing.
    let _silent = plain.udp(plain.v6(), 1123);
    // Serves and gives keys, but has nobody to be synchronised with.
    let unsynchronised = server(0.0)
        .replacing("local-stratum = 1\n", "")
        .with(&key_exchange(
            4460,
            &authority.issue("lost", &names(&lost)),
            "",
        ));
    let _lost = start(&unsynchronised, &lost);

    let v4 = |of: &Host| format!("ntp-server = \"{}\"", of.v4());
    let cases = [
        (4461, format!("{}\nntp-port = 9", v4(&plain))),
        (
            4462,
            format!("ntp-server = \"{}\"\nntp-port = 1123", plain.v6()),
        ),
        (4463, v4(&plain)),
        (4464, v4(&stranger)),
        (4465, "ntp-server = \"nobody.invalid\"".to_owned()),
    ];
    let mut setup = server(0.0);
    for (port, lines) in &cases {
        setup = setup.with(&key_exchange(*port, &certificate, lines));
    }
    let _daemon = start(&setup, &host);
    let ca = ca(&authority);
    let begin = |at: &str| Check::start(&client, at, &[&ca]);
    let under_way: Vec<_> = cases
        .iter()
        .map(|(port, _)| begin(&at(host.v4(), *port)))
        .collect();
    let sealed = begin(&lost.v4().to_string());
    let ended: Vec<_> = under_way.into_iter().map(Check::end).collect();

    ended[0].fails_with(12, "no-reply", &["does not answer", "UDP port 9"]);
    let address = at(plain.v6(), 1123);
    ended[1].fails_with(12, "no-reply", &[&address, "UDP port 1123"]);
    ended[2].fails_with(14, "unauthenticated", &["knows nothing of NTS"]);
    ended[3].fails_with(13, "nak", &["NTSN", "shared-secret-path"]);
    ended[4].fails_with(2, "lookup", &["nobody.invalid"]);
    sealed
        .end()
        .fails_with(15, "unusable", &["not synchronised"]);
    for outcome in &ended {
        assert_eq!(outcome.found["cookies"]["count"], 8, "{:#}", outcome.found);
        assert_eq!(outcome.found["ntp_server"]["named"], true);
    }
}

fn plain_directory(authority: &Authority) -> String {
    authority.directory().join("keyset").display().to_string()
}
