//! NTS (RFC 8915) between us and chronyd or ntpsec's ntpd, in both directions.

use std::net::IpAddr;

use ntp_e2e::certificates::{Authority, Certificate};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::Scenario;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::peers::{self, Peer};
use ntp_e2e::scenario;

use super::{LIMIT, nts_server, start_with_key_exchange};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario!(chronyd_uses_our_nts_server_over_ipv4_and_ipv6),
    scenario!(chronyd_rejects_our_certificate_for_another_name),
    scenario!(ntpsec_uses_our_nts_server_over_ipv4_and_ipv6),
    scenario!(we_use_nts_with_chronyd_over_ipv4_and_ipv6),
    scenario!(we_use_nts_with_ntpsec_over_ipv4_and_ipv6),
    scenario!(nts_sessions_survive_a_restart_of_both_sides),
    scenario!(a_clock_in_the_past_accepts_a_certificate_by_leniency),
];

/// An NTS-only server of the machine's clock, unsteered.
fn server(certificate: &Certificate) -> Setup {
    nts_server()
        .with(&certificate.ke_server_section("[::]:4460", "key-exchange-timeout-ms = 20000"))
}

fn with_chronyd(client: &Host, server: IpAddr, authority: &Authority) -> Result<f64, String> {
    let lines = format!(
        "server {server} iburst nts\nnosystemcert\nntstrustedcerts {}",
        authority.path().display()
    );
    peers::try_measure_with_chronyd(client, &lines)
}

fn chronyd_uses_our_nts_server_over_ipv4_and_ipv6() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let setup = server(&authority.issue("server", &host.names()));
    let mut daemon = start_with_key_exchange(&setup, &host);
    for address in [host.v4(), host.v6()] {
        let offset = with_chronyd(&client, address, &authority).unwrap();
        assert!(
            offset.abs() < 0.05,
            "chronyd measures {offset} s over {address}"
        );
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

fn chronyd_rejects_our_certificate_for_another_name() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let setup = server(&authority.issue("server", &["ntp.example".to_owned()]));
    let _daemon = start_with_key_exchange(&setup, &host);
    let output = with_chronyd(&client, host.v4(), &authority).unwrap_err();
    assert!(output.contains("certificate"), "{output}");
}

fn ntpsec_uses_our_nts_server_over_ipv4_and_ipv6() {
    let network = Network::new();
    let host = network.host();
    let authority = Authority::new();
    let setup = server(&authority.issue("server", &["keys.test".to_owned()]));
    let mut daemon = start_with_key_exchange(&setup, &host);
    let accepted = |daemon: &mut Daemon, least: u64| {
        daemon.wait_until(LIMIT, "requests with NTS", |observation| {
            observation.server_counter("nts_accepted_packets") >= least
        });
    };
    let mut least = 0;
    for address in [host.v4(), host.v6()] {
        let client = network.host();
        // Debian's version cannot use a literal IPv6 address for key exchange.
        client.set_names(&[("keys.test", &[address])]);
        let _ntpd = peers::ntpsec_nts_client(&client, "keys.test", &authority.path());
        // Several, to be sure that it uses replies and their cookies.
        least += 3;
        accepted(&mut daemon, least);
    }
}

fn assert_nts_works_with(start: impl Fn(&Host, &Certificate) -> Peer) {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let _peer = start(&host, &authority.issue("server", &host.names()));
    for address in [host.v4(), host.v6()] {
        let setup = Setup::new(1).nts_source((address, 4460).into(), &authority);
        let mut daemon = setup.start(Some(&client));
        daemon.process.wait_for_event(LIMIT, "keys_exchanged", &[]);
        daemon.wait_synchronized(LIMIT);
        daemon.wait_until(LIMIT, "a small error", |observation| {
            observation.true_offset().abs() < 0.01
        });
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

fn we_use_nts_with_chronyd_over_ipv4_and_ipv6() {
    assert_nts_works_with(|host, certificate| peers::chronyd_nts_server(host, 1, certificate));
}

fn we_use_nts_with_ntpsec_over_ipv4_and_ipv6() {
    assert_nts_works_with(|host, certificate| peers::ntpsec_nts_server(host, 2, certificate));
}

fn nts_sessions_survive_a_restart_of_both_sides() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("server", &host.names());
    let keyset = authority.directory().join("keyset");
    let server_setup = server(&certificate).with(&format!(
        "[keyset]\nkey-storage-path = \"{}\"",
        keyset.display()
    ));
    let client_setup = Setup::new(1).nts_source((host.v4(), 4460).into(), &authority);
    let mut first = (
        start_with_key_exchange(&server_setup, &host),
        client_setup.start(Some(&client)),
    );
    first.1.wait_synchronized(LIMIT);
    assert_eq!(first.1.stop().code(), Some(0));
    assert_eq!(first.0.stop().code(), Some(0));

    let second = (
        start_with_key_exchange(&server_setup, &host),
        client_setup.start(Some(&client)),
    );
    let (_server, mut daemon) = second;
    daemon.wait_synchronized(LIMIT);
    daemon
        .process
        .wait_for_event(LIMIT, "nts_session_restored", &[]);
}

fn a_clock_in_the_past_accepts_a_certificate_by_leniency() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let certificate = authority.issue("server", &host.names());
    let _server = start_with_key_exchange(&server(&certificate), &host);
    // Fifteen years behind, before the certificate's validity.
    let late = Setup::new(1).replacing("virtual-offset = 0.25", "virtual-offset = -473040000.0");
    let strict = late
        .nts_source((host.v4(), 4460).into(), &authority)
        .synchronization("certificate-time-leniency = 0");
    let daemon = strict.start(Some(&client));
    let reason = [("reason", "certificate-not-yet-valid")];
    daemon
        .process
        .wait_for_event(LIMIT, "key_exchange_failed", &reason);
    drop(daemon);
    let lenient = strict.replacing("certificate-time-leniency = 0\n", "");
    let mut daemon = lenient.start(Some(&client));
    daemon
        .process
        .wait_for_event(LIMIT, "certificate_accepted", &[]);
    daemon.wait_synchronized(LIMIT);
    daemon
        .process
        .wait_for_event(LIMIT, "certificate_verified", &[]);
}
