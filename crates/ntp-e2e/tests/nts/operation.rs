//! NTS operation: rekeying, reloads, certificate authorities, and certificates accepted by
//! leniency.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use ntp_control_api::control::client::Client;
use ntp_control_api::control::methods::{GetStatus, NoInput};
use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::{Authority, Certificate};
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::Scenario;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::process::{self, Process};
use ntp_e2e::{scenario, wait};
use ntp_time::{NtpDuration, SystemTime};
use ntp_types::status::{KeServerStatus, Status};

use super::{LIMIT, start, time_server};

/// Expiry of the tests' certificates: 2100-01-01.
const EXPIRY: SystemTime = SystemTime::from_nanos(4_102_444_800_000_000_000);

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario!(rekey_keeps_old_cookies_valid),
    scenario!(rekey_is_refused_without_a_local_keyset),
    scenario!(a_reload_applies_key_exchange_and_keyset_changes),
    scenario!(an_address_beside_a_wildcard_is_added_after_a_change_of_user),
    scenario!(the_certificate_authority_of_an_added_source_is_loaded_or_refused),
    scenario!(keys_are_dropped_if_the_certificate_fails_re_verification),
];

fn key_exchange(port: u16, certificate: &Certificate) -> String {
    certificate.ke_server_section(&format!("[::]:{port}"), "key-exchange-timeout-ms = 60000")
}

/// Runs `ntp-ctl` without rewriting the configuration. Returns its exit code and output.
fn ntp_ctl(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = process::command(None, Program::Ctl.path());
    command
        .arg("-c")
        .arg(setup.control().with_file_name("ntp.toml"));
    command.args(arguments);
    Process::spawn("ntp-ctl", command).outcome()
}

/// The same, for a command that must succeed. Returns its output.
#[track_caller]
fn ntp_ctl_ok(setup: &Setup, arguments: &[&str]) -> String {
    let (code, output) = ntp_ctl(setup, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {output}");
    output
}

fn status(setup: &Setup) -> Status {
    let mut client = Client::connect(&setup.control(), LIMIT).expect("the control socket");
    client
        .call::<GetStatus>(&NoInput {})
        .expect("the state")
        .status
}

/// Statistics of the key-exchange server.
fn ke_statistics(setup: &Setup) -> KeServerStatus {
    status(setup).key_exchange.expect("a key-exchange server")
}

/// Asserts that the certificate's expiry is shown; as JSON it is a floating-point number.
#[track_caller]
fn assert_expiry(shown: Option<SystemTime>) {
    let difference = shown.expect("an expiry") - EXPIRY;
    assert!(difference.abs() < NtpDuration::from_millis(1), "{shown:?}");
}

/// Runs `ntp-ctl nts check` on `client`. Returns its exit code and output.
fn check(client: &Host, of: IpAddr, port: u16, authority: &Authority) -> (Option<i32>, String) {
    let mut command = process::command(Some(client), Program::Ctl.path());
    command.args(["nts", "check", &SocketAddr::new(of, port).to_string()]);
    command
        .arg("--timeout=60s")
        .arg("--ca")
        .arg(authority.path());
    Process::spawn("ntp-ctl nts check", command).outcome()
}

fn rekey_keeps_old_cookies_valid() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("server", &host.names());
    let server_setup = time_server().with(&key_exchange(4460, &certificate));
    let keyset = server_setup.state().join("keyset");
    let server_setup = server_setup.with(&format!(
        "[keyset]\nkey-storage-path = \"{}\"",
        keyset.display()
    ));
    let mut daemon = start(&server_setup, &host);
    let client_setup = Setup::new(1).nts_source((host.v4(), 4460).into(), &authority);
    let mut client_daemon = client_setup.start(Some(&client));
    client_daemon.wait_synchronized(LIMIT);
    assert_eq!(ke_statistics(&server_setup).cookie_key, Some(0));

    // Statistics of server and client.
    let shown = ke_statistics(&server_setup);
    let connections = &shown.connections;
    assert!(
        connections.granted >= 1 && connections.connections >= 1,
        "{shown:?}"
    );
    assert_expiry(shown.certificates[0].expires);
    let output = ntp_ctl_ok(&server_setup, &["servers"]);
    assert!(output.contains("valid until 2100-01-01"), "{output}");
    let output = ntp_ctl_ok(&server_setup, &["status", "-f", "prometheus"]);
    for metric in [
        "ntp_system_nts_certificate_expiry_seconds 4102444800\n",
        "ntp_system_nts_ke_granted_total 1\n",
        "ntp_system_nts_ke_failed_total 0\n",
    ] {
        assert!(
            output.contains(metric.trim_end()),
            "{metric} is not in {output}"
        );
    }
    let source = status(&client_setup).sources.pop().expect("a source");
    assert!(source.nts_cookies.is_some());
    assert_expiry(source.certificate_expires);
    assert!(source.key_exchange_group.is_some());
    let output = ntp_ctl_ok(&client_setup, &["source", &source.name]);
    assert!(
        output.contains("valid until 2100-01-01") && output.contains("of 8"),
        "{output}"
    );
    let output = ntp_ctl_ok(&client_setup, &["status", "-f", "prometheus"]);
    assert!(
        output.contains("ntp_source_nts_group{") && output.contains("ntp_nts_provider_fips{"),
        "{output}"
    );
    assert!(
        output.contains("ntp_source_nts_certificate_expiry_seconds{"),
        "{output}"
    );

    let output = ntp_ctl_ok(&server_setup, &["rekey"]);
    assert!(
        output.contains("number 1") && output.contains("remain valid for 7d"),
        "{output}"
    );
    assert!(output.contains("Written: "), "{output}");
    daemon.process.wait_for_event(
        LIMIT,
        "control_call",
        &[("method", "Rekey"), ("parameters", "{}")],
    );
    assert_eq!(ke_statistics(&server_setup).cookie_key, Some(1));
    let now = daemon.observe().expect("its state");
    let enough = now.server_counter("nts_accepted_packets") + 12;
    // More than the client has cookies, so that all old ones and some new ones are used.
    let after = daemon.wait_until(LIMIT, "requests with old and new cookies", |observation| {
        observation.server_counter("nts_accepted_packets") >= enough
    });
    assert_eq!(after.server_counter("nts_nak_packets"), 0);
    assert_eq!(client_daemon.process.events("keys_exchanged").len(), 1);
    assert_eq!(daemon.stop().code(), Some(0));

    // The new key was stored.
    let mut daemon = start(&server_setup, &host);
    assert_eq!(ke_statistics(&server_setup).cookie_key, Some(1));
    daemon.wait_until(LIMIT, "requests after a restart", |observation| {
        observation.server_counter("nts_accepted_packets") >= 2
    });
}

fn rekey_is_refused_without_a_local_keyset() {
    let network = Network::new();
    let host = network.host();
    let bare = time_server();
    let _daemon = start(&bare, &host);
    let (code, output) = ntp_ctl(&bare, &["rekey"]);
    assert_eq!(code, Some(1));
    assert!(output.contains("no cookie keys are in use"), "{output}");

    let host = network.host();
    let fleet = time_server();
    let secret = fleet.file("secret", &"s".repeat(32));
    let fleet = fleet.with(&format!(
        "[keyset]\nshared-secret-path = \"{}\"",
        secret.display()
    ));
    let _daemon = start(&fleet, &host);
    let (code, output) = ntp_ctl(&fleet, &["rekey"]);
    assert_eq!(code, Some(1));
    assert!(
        output.contains("replace the secret in the file of shared-secret-path"),
        "{output}"
    );
}

fn a_reload_applies_key_exchange_and_keyset_changes() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let setup = time_server();
    // Beside the configuration, in a directory that the sandbox can read.
    let own = |file: &str| {
        let issued = authority.issue(file, &host.names());
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
        let (code, output) = check(&client, host.v4(), port, &authority);
        assert_eq!(code, Some(0), "{output}");
        output
    };

    // Key exchange is enabled.
    let one = key_exchange(4460, &first);
    setup.rewrite(|text| format!("{text}\n{one}"));
    let output = ntp_ctl_ok(&setup, &["reload"]);
    assert!(
        output.contains("Applied        : [[nts-ke-server]]"),
        "{output}"
    );
    assert!(works(4460).contains("CN=first"));

    // Another certificate, address and rotation.
    let two = format!(
        "{}{}[keyset]\nstale-key-count = 0\n",
        key_exchange(4460, &second),
        key_exchange(4461, &first)
    );
    setup.rewrite(|text| format!("{text}\n{two}"));
    let output = ntp_ctl_ok(&setup, &["reload"]);
    for applied in ["[[nts-ke-server]]", "[keyset]"] {
        assert!(
            output.contains(&format!("Applied        : {applied}")),
            "{output}"
        );
    }
    assert!(works(4461).contains("CN=first"));
    wait::until(LIMIT, "the other certificate", || {
        works(4460).contains("CN=second").then_some(())
    });
    let output = ntp_ctl_ok(&setup, &["rekey"]);
    assert!(output.contains("are invalid"), "{output}");

    // A certificate that the sandboxed daemon cannot read is reported, and the old one stays.
    let unreadable = authority.issue("unreadable", &host.names());
    let three = key_exchange(4460, &unreadable);
    setup.rewrite(|text| format!("{text}\n{three}[keyset]\nstale-key-count = 0\n"));
    let output = ntp_ctl_ok(&setup, &["reload"]);
    let key = "NOT applied    : certificate-chain-path in [[nts-ke-server]]: ";
    assert!(
        output.contains(key) && output.contains("not accessible inside the sandbox"),
        "{output}"
    );
    assert!(works(4460).contains("CN=second"));

    // Key exchange is disabled.
    setup.rewrite(str::to_owned);
    ntp_ctl_ok(&setup, &["reload"]);
    wait::until(LIMIT, "the end of key exchange", || {
        let (code, _) = check(&client, host.v4(), 4460, &authority);
        (code == Some(3)).then_some(())
    });
    assert_eq!(status(&setup).key_exchange, None);
}

fn an_address_beside_a_wildcard_is_added_after_a_change_of_user() {
    const NOBODY: u32 = 65_534;
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let issued = authority.issue("server", &host.names());
    let setup = time_server().replacing("user = \"root\"", "user = \"nobody\"");
    // The user reads these in the reload.
    let copy = |path: &Path, name: &str| {
        let path = setup.file(name, &fs::read_to_string(path).expect("a file"));
        chown(&path, Some(NOBODY), None).expect("root changes owners");
        path
    };
    let certificate = Certificate {
        chain: copy(&issued.chain, "server.crt"),
        key: copy(&issued.key, "server.key"),
    };
    let everybody = |path: &Path, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(path, mode).expect("own files");
    };
    let configuration = setup.control().with_file_name("ntp.toml");
    everybody(configuration.parent().expect("a directory"), 0o755);
    let wildcard = key_exchange(4460, &certificate);
    let setup = setup.with(&wildcard);
    let daemon = start(&setup, &host);
    daemon.process.wait_for_event(LIMIT, "user_changed", &[]);
    let single = SocketAddr::new(host.v4(), 4460).to_string();
    let single = certificate.ke_server_section(&single, "key-exchange-timeout-ms = 60000");
    setup.rewrite(|text| format!("{text}\n{single}"));
    everybody(&configuration, 0o644);
    let output = ntp_ctl_ok(&setup, &["reload"]);
    assert!(
        output.contains("Applied        : [[nts-ke-server]]") && !output.contains("NOT applied"),
        "{output}"
    );
    for address in [host.v4(), host.v6()] {
        let (code, output) = check(&client, address, 4460, &authority);
        assert_eq!(code, Some(0), "{output}");
    }
}

fn the_certificate_authority_of_an_added_source_is_loaded_or_refused() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("server", &host.names());
    let _server = start(
        &time_server().with(&key_exchange(4460, &certificate)),
        &host,
    );
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
    let (code, output) = add(&authority.path());
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("not accessible inside the sandbox"),
        "{output}"
    );
    let (code, output) = add(&near.with_file_name("missing.pem"));
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("cannot read") && output.contains("missing.pem"),
        "{output}"
    );
    let (code, output) = add(&near);
    assert_eq!(code, Some(0), "{output}");
    daemon.wait_synchronized(LIMIT);
}

fn keys_are_dropped_if_the_certificate_fails_re_verification() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    // Expired, but valid at a time that a clock fifteen years behind accepts.
    let certificate = authority.issue_for_years("server", &host.names(), (2018, 2020));
    let _server = start(
        &time_server().with(&key_exchange(4460, &certificate)),
        &host,
    );
    let late = Setup::new(1).replacing("virtual-offset = 0.25", "virtual-offset = -473040000.0");
    let setup = late.nts_source((host.v4(), 4460).into(), &authority);
    let mut daemon = setup.start(Some(&client));
    let wait = |event| daemon.process.wait_for_event(LIMIT, event, &[]);
    wait("certificate_accepted");
    // Once the clock is set there is no leniency.
    for event in [wait("keys_revoked"), wait("key_exchange_failed")] {
        assert_eq!(event.field("reason"), "certificate-expired", "{event:?}");
    }
    daemon.wait_until(LIMIT, "no source left", |observation| {
        observation
            .sources()
            .iter()
            .all(|source| !source.is_measured() || source.state() != "selected")
    });
}
