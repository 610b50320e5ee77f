//! NTS beside a server without it, on networks whose operator interferes: who gets the clock, and what
//! is reported.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::{Daemon, Setup, assert_error_within};
use ntp_e2e::harness::Scenario;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::{scenario, wait};

use super::{LIMIT, time_server};

/// Ten years in seconds.
const TEN_YEARS: &str = "-315576000.0";

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario!(beside_working_nts_a_plain_server_stands_by),
    scenario!(blocked_key_exchange_leads_to_the_plain_server_with_an_alarm_and_back),
    scenario!(with_the_policy_only_a_blocked_key_exchange_leaves_the_clock_alone),
    scenario!(a_plain_server_that_answers_in_place_of_the_nts_server_is_named),
    scenario!(a_reply_from_another_distance_than_authenticated_ones_is_named),
    scenario!(a_clock_ten_years_off_is_set_by_a_bootstrap_server_with_its_own_authority),
];

/// A network with an NTS server, a plain server, and a client.
struct Arrangement {
    nts: Host,
    plain: Host,
    client: Host,
    authority: Authority,
    _servers: [(Daemon, Setup); 2],
}

impl Arrangement {
    /// `named` is the NTP server that the key exchange names, if that is another one.
    fn new(network: &Network, named: Option<IpAddr>) -> Self {
        let (nts, plain, client) = (network.host(), network.host(), network.host());
        let authority = Authority::new();
        let certificate = authority.issue_for_years("server", &nts.names(), (2026, 2100));
        let named = named.map(|host| format!("ntp-server = \"{host}\""));
        let more = format!(
            "key-exchange-timeout-ms = 20000\n{}",
            named.unwrap_or_default()
        );
        let server = time_server().with(&certificate.ke_server_section("[::]:4460", &more));
        let plain_server = time_server();
        let servers = [
            (server.start(Some(&nts)), server),
            (plain_server.start(Some(&plain)), plain_server),
        ];
        let (ke_server, _) = &servers[0];
        ke_server
            .process
            .wait_for_event(LIMIT, "ke_server_started", &[]);
        Self {
            nts,
            plain,
            client,
            authority,
            _servers: servers,
        }
    }

    /// A client of both servers with this policy.
    fn client(&self, policy: &str) -> Setup {
        Setup::new(1)
            .nts_source(SocketAddr::new(self.nts.v4(), 4460), &self.authority)
            .server(&plain_name(self.plain.v4()))
            .synchronization("fallback-after = 10")
            .with(&format!("[nts]\npolicy = \"{policy}\""))
    }

    /// Blocks or permits what the key exchange server sends: a firewall that drops TCP port 4460.
    fn block(&self, blocked: bool) {
        let action = if blocked { "add" } else { "del" };
        self.nts
            .ip(&format!("rule {action} ipproto tcp sport 4460 blackhole"));
    }
}

fn plain_name(address: IpAddr) -> String {
    SocketAddr::new(address, 123).to_string()
}

/// The reply without extension fields to a request. Of real servers without NTS, chronyd drops requests
/// with it, and ours rejects the cookie.
fn plain_reply(request: &[u8]) -> [u8; 48] {
    let mut reply = [0; 48];
    reply[..4].copy_from_slice(&[request[0] & 0x38 | 4, 1, 0, 0xec]);
    reply[24..32].copy_from_slice(&request[40..48]);
    reply[32..40].copy_from_slice(&[0xee; 8]);
    reply[40..48].copy_from_slice(&[0xee; 8]);
    reply
}

/// Answers every request on port 123 of `host` plainly, until the test ends.
fn answer_plainly(host: &Host) {
    let socket = host.udp(host.v4(), 123);
    thread::spawn(move || {
        let mut request = [0; 2048];
        while let Ok((_, client)) = socket.recv_from(&mut request) {
            let _ = socket.send_to(&plain_reply(&request), client);
        }
    });
}

/// Hop limits of the device's own replies, and of those that it relays.
const DEVICE_HOPS: u32 = 57;
const SERVER_HOPS: u32 = 63;

/// A device on the path to the NTP server: port 123 of `host`, which relays requests and replies. While
/// the result is true, it answers every request plainly, too, before the server.
fn relay(host: &Host, server: SocketAddr) -> Arc<AtomicBool> {
    let answers = Arc::new(AtomicBool::new(false));
    let also = Arc::clone(&answers);
    let (port, onward) = (host.udp(host.v4(), 123), host.udp(host.v4(), 0));
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = port.recv_from(&mut buffer) {
            if also.load(Ordering::Relaxed) {
                port.set_ttl(DEVICE_HOPS).unwrap();
                let _ = port.send_to(&plain_reply(&buffer), client);
            }
            onward.send_to(&buffer[..length], server).unwrap();
            let Ok((length, _)) = onward.recv_from(&mut buffer) else {
                return;
            };
            port.set_ttl(SERVER_HOPS).unwrap();
            let _ = port.send_to(&buffer[..length], client);
        }
    });
    answers
}

fn explained(setup: &Setup) -> String {
    let (code, text) = setup.ntp_ctl(&["explain"]);
    assert_eq!(code, Some(0), "{text}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until `ntp-ctl explain` states `text`.
fn wait_for_finding(setup: &Setup, text: &str) {
    wait::until_slowly(LIMIT, text, || {
        explained(setup).contains(text).then_some(())
    });
}

fn beside_working_nts_a_plain_server_stands_by() {
    let network = Network::new();
    let arranged = Arrangement::new(&network, None);
    let setup = arranged.client("prefer");
    let mut daemon = setup.start(Some(&arranged.client));
    assert_error_within(&daemon.wait_synchronized(LIMIT), 0.01);
    wait_for_finding(
        &setup,
        "or `policy = \"prefer\"` in [nts]; enough other sources are usable",
    );
    assert!(daemon.process.events("fallback_started").is_empty());
}

fn blocked_key_exchange_leads_to_the_plain_server_with_an_alarm_and_back() {
    let network = Network::new();
    let arranged = Arrangement::new(&network, None);
    arranged.block(true);
    let setup = arranged.client("prefer");
    let mut daemon = setup.start(Some(&arranged.client));
    let reason = [("reason", "connection-timeout")];
    daemon
        .process
        .wait_for_event(LIMIT, "key_exchange_failed", &reason);
    daemon
        .process
        .wait_for_event(LIMIT, "fallback_started", &[]);
    assert_error_within(&daemon.wait_synchronized(LIMIT), 0.01);
    wait_for_finding(&setup, "the time is not authenticated");
    let findings = explained(&setup);
    assert!(findings.contains("firewall"), "{findings}");
    arranged.block(false);
    daemon
        .process
        .wait_for_event(2 * LIMIT, "fallback_ended", &[]);
    assert_error_within(&daemon.wait_synchronized(LIMIT), 0.01);
    assert!(!explained(&setup).contains("the time is not authenticated"));
}

fn with_the_policy_only_a_blocked_key_exchange_leaves_the_clock_alone() {
    let network = Network::new();
    let arranged = Arrangement::new(&network, None);
    arranged.block(true);
    let setup = arranged.client("only");
    let mut daemon = setup.start(Some(&arranged.client));
    let reason = [("reason", "connection-timeout")];
    daemon
        .process
        .wait_for_event(LIMIT, "key_exchange_failed", &reason);
    wait_for_finding(&setup, "or `policy = \"only\"` in [nts]; only measured");
    wait::throughout(Duration::from_secs(15), || {
        assert!(daemon.process.events("synchronized").is_empty());
    });
    arranged.block(false);
    assert_error_within(&daemon.wait_synchronized(LIMIT), 0.01);
}

fn a_plain_server_that_answers_in_place_of_the_nts_server_is_named() {
    let network = Network::new();
    // For the client, this is the same as a redirection of its port 123.
    let host = network.host();
    answer_plainly(&host);
    let arranged = Arrangement::new(&network, Some(host.v4()));
    let setup = arranged.client("only");
    let daemon = setup.start(Some(&arranged.client));
    let reason = [("reason", "plain-reply")];
    daemon
        .process
        .wait_for_event(LIMIT, "reply_rejected", &reason);
    wait_for_finding(
        &setup,
        "answered without NTS: another server answers in its place",
    );
    assert!(daemon.process.events("synchronized").is_empty());
    let (code, text) = checked(&setup, &arranged);
    assert!(
        code == Some(14)
            && text.contains("without NTS")
            && text.contains("hop limit (TTL) 64 in the rejected reply"),
        "{code:?} {text}"
    );
}

/// Runs `ntp-ctl nts check` on the client. Returns its exit code and text, on one line.
fn checked(setup: &Setup, arranged: &Arrangement) -> (Option<i32>, String) {
    let (server, ca) = (arranged.nts.v4().to_string(), arranged.authority.path());
    let mut check = setup.command(Some(&arranged.client), ntp_e2e::binaries::Program::Ctl);
    check
        .args(["nts", "check", &server, "--no-system-authorities", "--ca"])
        .arg(ca);
    let (code, text) = ntp_e2e::process::Process::spawn("ntp-ctl nts check", check).outcome();
    let words: Vec<_> = text.split_whitespace().collect();
    (code, words.join(" "))
}

fn a_reply_from_another_distance_than_authenticated_ones_is_named() {
    let network = Network::new();
    let host = network.host();
    let arranged = Arrangement::new(&network, Some(host.v4()));
    let server = SocketAddr::new(arranged.nts.v4(), 123);
    let answers = relay(&host, server);
    let setup = arranged.client("only");
    let mut daemon = setup.start(Some(&arranged.client));
    assert_error_within(&daemon.wait_synchronized(LIMIT), 0.01);
    assert!(!explained(&setup).contains("hop limit"));

    answers.store(true, Ordering::Relaxed);
    let fields = [
        ("reason", "plain-reply"),
        ("hop_limit", "57"),
        ("authentic_hop_limit", "63"),
    ];
    (daemon.process).wait_for_event(LIMIT, "reply_rejected", &fields);
    let found = "hop limit (TTL) 57, but 63 in authenticated replies";
    wait_for_finding(&setup, &format!("last rejected reply: {found}"));
    let (code, text) = checked(&setup, &arranged);
    assert!(code == Some(0) && text.contains(found), "{code:?} {text}");
}

fn a_clock_ten_years_off_is_set_by_a_bootstrap_server_with_its_own_authority() {
    let network = Network::new();
    let arranged = Arrangement::new(&network, None);
    let authority = arranged.authority.path();
    let named = format!("certificate-authority = \"{}\"", authority.display());
    let setup = arranged
        .client("only")
        .replacing(&named, &format!("{named}\nsystem-authorities = false"))
        .replacing(
            "virtual-offset = 0.25",
            &format!("virtual-offset = {TEN_YEARS}"),
        );
    let mut daemon = setup.start(Some(&arranged.client));
    daemon
        .process
        .wait_for_event(LIMIT, "certificate_accepted", &[]);
    assert_error_within(&daemon.wait_synchronized(LIMIT), 0.01);
    daemon
        .process
        .wait_for_event(LIMIT, "certificate_verified", &[]);
}
