//! NTS while it runs, as an operator sees and changes it: another cookie key, reloads, authorities, certificates that were believed on credit.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use ntp_control_api::control::client::Client;
use ntp_control_api::control::methods::{GetStatus, Nothing};
use ntp_control_api::control::types::{KeyExchange, Status};
use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::{Authority, Certificate};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::process::{self, Process};
use ntp_e2e::{scenario, wait};

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

/// The first second of 2100: when certificates of the arena expire.
const END: f64 = 4_102_444_800.0;

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(another_cookie_key_leaves_old_cookies_their_worth),
            scenario!(another_cookie_key_is_refused_where_there_is_none_to_change),
            scenario!(a_reload_follows_key_exchange_and_keyset),
            scenario!(an_authority_of_a_source_that_is_added_is_believed_or_refused),
            scenario!(a_certificate_that_does_not_stand_when_the_time_is_known_costs_the_keys),
        ],
    )
}

/// A server that offers the machine's clock as it is.
fn server() -> Setup {
    Setup::new(1)
        .replacing("kind = \"virtual\"\n", "kind = \"none\"\n")
        .replacing("virtual-offset = 0.25\n", "")
        .replacing("virtual-frequency = 40.0\n", "")
        .replacing(
            "[synchronization]\n",
            "[synchronization]\nlocal-stratum = 1\n",
        )
        .with("[[server]]\nlisten = \"[::]:123\"")
}

fn key_exchange(port: u16, certificate: &Certificate) -> String {
    format!(
        "[[nts-ke-server]]\nlisten = \"[::]:{port}\"\ncertificate-chain-path = \"{}\"\nprivate-key-path = \"{}\"\n\
         key-exchange-timeout-ms = 60000\n",
        certificate.chain.display(),
        certificate.key.display(),
    )
}

fn start(setup: &Setup, host: &Host) -> Daemon {
    let daemon = setup.start(Some(host));
    daemon.process.wait_for_line(LIMIT, "serving time at");
    daemon
}

fn source(setup: Setup, address: IpAddr, authority: &Authority) -> Setup {
    setup.with(&format!(
        "[[source]]\nmode = \"nts\"\naddress = \"{}\"\ncertificate-authority = \"{}\"\n\
         poll-interval-limits = {{ min = 1, max = 1 }}\ninitial-poll-interval = 1",
        SocketAddr::new(address, 4460),
        authority.path().display(),
    ))
}

fn names(host: &Host) -> Vec<String> {
    vec![host.v4().to_string(), host.v6().to_string()]
}

/// Runs `ntp-ctl` beside a daemon, without writing its file anew, and returns its exit code and all that it said.
fn ntp_ctl(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = process::command(None, Program::Ctl.path());
    command
        .arg("-c")
        .arg(setup.control().with_file_name("ntp.toml"));
    command.args(arguments);
    let mut process = Process::spawn("ntp-ctl", command);
    let code = process.wait_exit(LIMIT).code();
    (code, process.lines().join("\n"))
}

/// The same for one that must succeed.
#[track_caller]
fn succeeds(setup: &Setup, arguments: &[&str]) -> String {
    let (code, said) = ntp_ctl(setup, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

fn status(setup: &Setup) -> Status {
    let mut client = Client::connect(&setup.control(), LIMIT).expect("the control socket");
    client
        .call::<GetStatus>(&Nothing {})
        .expect("the state")
        .status
}

fn given(setup: &Setup) -> KeyExchange {
    status(setup).key_exchange.expect("keys are given out")
}

/// Checks the NTS of `of` from `client`, and returns the exit code and all that was said.
fn check(client: &Host, of: IpAddr, port: u16, authority: &Authority) -> (Option<i32>, String) {
    let mut command = process::command(Some(client), Program::Ctl.path());
    command.args(["nts", "check", &SocketAddr::new(of, port).to_string()]);
    command
        .arg("--timeout=60s")
        .arg("--ca")
        .arg(authority.path());
    let mut process = Process::spawn("ntp-ctl nts check", command);
    let code = process.wait_exit(LIMIT).code();
    (code, process.lines().join("\n"))
}

fn another_cookie_key_leaves_old_cookies_their_worth() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("server", &names(&host));
    let serving = server().with(&key_exchange(4460, &certificate));
    let keyset = serving.state().join("keyset");
    let serving = serving.with(&format!(
        "[keyset]\nkey-storage-path = \"{}\"",
        keyset.display()
    ));
    let mut daemon = start(&serving, &host);
    let asking = source(Setup::new(1), host.v4(), &authority);
    let mut asker = asking.start(Some(&client));
    asker.wait_synchronized(LIMIT);
    assert_eq!(given(&serving).cookie_key, Some(0));

    // The figures of both sides.
    let shown = given(&serving);
    assert!(shown.granted >= 1 && shown.connections >= 1, "{shown:?}");
    assert_eq!(shown.certificates[0].expires, Some(END));
    let said = succeeds(&serving, &["servers"]);
    assert!(said.contains("valid until 2100-01-01"), "{said}");
    let said = succeeds(&serving, &["status", "-f", "prometheus"]);
    for metric in [
        "ntp_system_nts_certificate_expiry_seconds 4102444800\n",
        "ntp_system_nts_ke_granted_total 1\n",
        "ntp_system_nts_ke_failed_total 0\n",
    ] {
        assert!(
            said.contains(metric.trim_end()),
            "{metric} is not in {said}"
        );
    }
    let source = status(&asking).sources.pop().expect("a source");
    assert!(source.nts_cookies.is_some());
    assert_eq!(source.certificate_expires, Some(END));
    let said = succeeds(&asking, &["source", &source.name]);
    assert!(
        said.contains("valid until 2100-01-01") && said.contains("of 8"),
        "{said}"
    );
    let said = succeeds(&asking, &["status", "-f", "prometheus"]);
    assert!(
        said.contains("ntp_source_nts_certificate_expiry_seconds{"),
        "{said}"
    );

    let said = succeeds(&serving, &["rekey"]);
    assert!(
        said.contains("number 1") && said.contains("stay good for 7d"),
        "{said}"
    );
    assert!(said.contains("Written: "), "{said}");
    daemon.process.wait_for_line(LIMIT, "Rekey {} by ");
    assert_eq!(given(&serving).cookie_key, Some(1));
    let now = daemon.observe().expect("its state");
    let enough = now.served("nts_accepted_packets") + 12;
    // More than the client has cookies, so that all of the old ones and some of the new were used.
    let after = daemon.wait_until(LIMIT, "requests with old and new cookies", |observation| {
        observation.served("nts_accepted_packets") >= enough
    });
    assert_eq!(after.served("nts_nak_packets"), 0);
    assert_eq!(asker.process.lines_with("exchanged keys with").len(), 1);
    assert_eq!(daemon.stop().code(), Some(0));

    // The new key has been stored.
    let mut daemon = start(&serving, &host);
    assert_eq!(given(&serving).cookie_key, Some(1));
    daemon.wait_until(LIMIT, "requests after a restart", |observation| {
        observation.served("nts_accepted_packets") >= 2
    });
}

fn another_cookie_key_is_refused_where_there_is_none_to_change() {
    let network = Network::new();
    let host = network.host();
    let bare = server();
    let _daemon = start(&bare, &host);
    let (code, said) = ntp_ctl(&bare, &["rekey"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no cookies here"), "{said}");

    let host = network.host();
    let fleet = server();
    let secret = fleet.file("secret", &"s".repeat(32));
    let fleet = fleet.with(&format!(
        "[keyset]\nshared-secret-path = \"{}\"",
        secret.display()
    ));
    let _daemon = start(&fleet, &host);
    let (code, said) = ntp_ctl(&fleet, &["rekey"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("another secret into the file of shared-secret-path"),
        "{said}"
    );
}

fn a_reload_follows_key_exchange_and_keyset() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let setup = server();
    // Beside the configuration: the sandbox leaves that directory readable.
    let own = |file: &str| {
        let issued = authority.issue(file, &names(&host));
        let copy = |path: &std::path::Path, name: String| {
            setup.file(&name, &std::fs::read_to_string(path).expect("a file"))
        };
        Certificate {
            chain: copy(&issued.chain, format!("{file}.crt")),
            key: copy(&issued.key, format!("{file}.key")),
        }
    };
    let (first, second) = (own("first"), own("second"));
    let _daemon = start(&setup, &host);
    assert_eq!(status(&setup).key_exchange, None);
    let works = |port| {
        let (code, said) = check(&client, host.v4(), port, &authority);
        assert_eq!(code, Some(0), "{said}");
        said
    };

    // It begins to give out keys.
    let one = key_exchange(4460, &first);
    setup.rewrite(|text| format!("{text}\n{one}"));
    let said = succeeds(&setup, &["reload"]);
    assert!(
        said.contains("Applied        : [[nts-ke-server]]"),
        "{said}"
    );
    assert!(works(4460).contains("CN=first"));

    // Another certificate, another address, another rotation.
    let two = format!(
        "{}{}[keyset]\nstale-key-count = 0\n",
        key_exchange(4460, &second),
        key_exchange(4461, &first)
    );
    setup.rewrite(|text| format!("{text}\n{two}"));
    let said = succeeds(&setup, &["reload"]);
    for applied in ["[[nts-ke-server]]", "[keyset]"] {
        assert!(
            said.contains(&format!("Applied        : {applied}")),
            "{said}"
        );
    }
    assert!(works(4461).contains("CN=first"));
    wait::until(LIMIT, "the other certificate", || {
        works(4460).contains("CN=second").then_some(())
    });
    let said = succeeds(&setup, &["rekey"]);
    assert!(said.contains("are worthless"), "{said}");

    // A certificate that the confined daemon cannot read: named, and the old one stays.
    let stranger = authority.issue("stranger", &names(&host));
    let three = key_exchange(4460, &stranger);
    setup.rewrite(|text| format!("{text}\n{three}[keyset]\nstale-key-count = 0\n"));
    let said = succeeds(&setup, &["reload"]);
    let key = "NOT applied    : certificate-chain-path in [[nts-ke-server]]: ";
    assert!(
        said.contains(key) && said.contains("out of the sandbox's reach"),
        "{said}"
    );
    assert!(works(4460).contains("CN=second"));

    // It gives out none any more.
    setup.rewrite(str::to_owned);
    succeeds(&setup, &["reload"]);
    wait::until(LIMIT, "nobody to give out keys", || {
        let (code, _) = check(&client, host.v4(), 4460, &authority);
        (code == Some(3)).then_some(())
    });
    assert_eq!(status(&setup).key_exchange, None);
}

fn an_authority_of_a_source_that_is_added_is_believed_or_refused() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("server", &names(&host));
    let _server = start(&server().with(&key_exchange(4460, &certificate)), &host);
    let setup = Setup::new(1);
    let near = std::fs::read_to_string(authority.path()).expect("the authority");
    let near = setup.file("ca.pem", &near);
    let mut daemon = setup.start(Some(&client));
    wait::until(LIMIT, "the control socket", || {
        Client::connect(&setup.control(), LIMIT).ok()
    });
    let address = SocketAddr::new(host.v4(), 4460).to_string();
    let add = |path: &std::path::Path| {
        let authority = format!("certificate-authority={}", path.display());
        ntp_ctl(&setup, &["source", "add", &address, "mode=nts", &authority])
    };
    let (code, said) = add(&authority.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("out of the sandbox's reach"), "{said}");
    let (code, said) = add(&near.with_file_name("missing.pem"));
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("cannot read") && said.contains("missing.pem"),
        "{said}"
    );
    let (code, said) = add(&near);
    assert_eq!(code, Some(0), "{said}");
    daemon.wait_synchronized(LIMIT);
}

fn a_certificate_that_does_not_stand_when_the_time_is_known_costs_the_keys() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    // It was good once, at a time that a clock which is fifteen years behind takes to be possible.
    let certificate = authority.issue_for_years("server", &names(&host), (2018, 2020));
    let _server = start(&server().with(&key_exchange(4460, &certificate)), &host);
    let late = Setup::new(1).replacing("virtual-offset = 0.25", "virtual-offset = -473040000.0");
    let setup = source(late, host.v4(), &authority);
    let mut daemon = setup.start(Some(&client));
    let wait = |needle| daemon.process.wait_for_line(LIMIT, needle);
    wait("believed until the time is known");
    let said = wait("loses its keys, which were accepted while our clock was wrong");
    assert!(
        said.contains("its certificate expired on 2020-01-01"),
        "{said}"
    );
    // Nobody is believed on credit any more, now that the clock has been set.
    let said = wait("no key exchange with");
    assert!(
        said.contains("its certificate expired on 2020-01-01"),
        "{said}"
    );
    daemon.wait_until(LIMIT, "no source left", |observation| {
        observation
            .sources()
            .iter()
            .all(|source| !source.is_measured() || source.state() != "selected")
    });
}
