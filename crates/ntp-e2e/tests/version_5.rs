//! NTPv5 between two daemons: configured, negotiated, and by NTS.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::{Authority, Certificate};
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::process::{self, Process};
use ntp_e2e::scenario;

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(version_5_is_used_if_configured_negotiated_or_chosen_by_the_key_exchange),
            scenario!(programs_show_version_5),
        ],
    )
}

/// A server of the machine's clock, unsteered, for NTPv4 and NTPv5, both with NTS.
fn server(certificate: &Certificate) -> Setup {
    let lines = "key-exchange-timeout-ms = 20000\naccept-ntp-versions = [4, 5]";
    Setup::new(1)
        .unsteered()
        .synchronization("local-stratum = 1")
        .with("[[server]]\nlisten = \"[::]:123\"\naccept-ntp-versions = [4, 5]")
        .with(&certificate.ke_server_section("[::]:4460", lines))
}

fn version_5_is_used_if_configured_negotiated_or_chosen_by_the_key_exchange() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let setup = server(&authority.issue("server", &host.names()));
    let mut server = setup.start(Some(&host));
    server
        .process
        .wait_for_event(LIMIT, "ke_server_started", &[]);
    let plain = SocketAddr::new(host.v4(), 123).to_string();
    let keys = SocketAddr::new(host.v6(), 4460);
    // All run at once: each takes some seconds.
    let clients = [
        ("5", false, "configured"),
        ("\"auto\"", false, "negotiated"),
        ("5", true, "key-exchange"),
        ("\"auto\"", true, "key-exchange"),
    ]
    .map(|(version, nts, origin)| {
        let setup = if nts {
            Setup::new(1).nts_source(keys, &authority)
        } else {
            Setup::new(1).server(&plain)
        };
        let setup = setup.with(&format!("ntp-version = {version}"));
        let name = if nts { keys.to_string() } else { plain.clone() };
        (setup.start(Some(&client)), setup, name, origin)
    });
    for (mut daemon, _setup, name, origin) in clients {
        daemon.wait_synchronized(LIMIT);
        let seen = daemon.wait_until(LIMIT, "a small error", |observation| {
            observation.true_offset().abs() < 0.01
        });
        let source = seen.source(&name).expect("configured");
        assert_eq!(source.protocol_version(), (5, origin), "{name}");
        assert_eq!(daemon.stop().code(), Some(0));
    }
    assert_eq!(server.stop().code(), Some(0));
}

fn ctl(client: &Host, arguments: &[&str]) -> String {
    let mut command = process::command(Some(client), Program::Ctl.path());
    command.args(arguments);
    let (code, output) = Process::spawn("ntp-ctl", command).outcome();
    assert_eq!(code, Some(0), "{output}");
    output
}

fn programs_show_version_5() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let setup = server(&authority.issue("server", &host.names()));
    let server = setup.start(Some(&host));
    server
        .process
        .wait_for_event(LIMIT, "ke_server_started", &[]);
    let (address, ca) = (host.v4().to_string(), authority.path());
    let ca = format!("--ca={}", ca.display());
    for (version, expected) in [("auto", "5 (draft-"), ("5", "5 (draft-"), ("4", "4")] {
        let version = format!("--version={version}");
        let arguments = ["nts", "check", &address, &ca, "--timeout=60s", &version];
        let output = ctl(&client, &arguments);
        let shown = output.lines().find_map(|line| {
            Some(
                line.strip_prefix("NTP version")?
                    .trim_start_matches([' ', ':']),
            )
        });
        assert!(
            shown.is_some_and(|shown| shown.starts_with(expected)),
            "{output}"
        );
    }
    let output = ctl(&client, &["query", &address, "--version=5", "-n1"]);
    let timescale = output.lines().find(|line| line.starts_with("Timescale"));
    assert!(
        timescale.is_some_and(|line| line.ends_with(" UTC")),
        "{output}"
    );
}
