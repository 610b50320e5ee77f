//! NTS pools and SRV records with real daemons: members, their replacement, and what the tools show.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::faulty_ke_server::{FaultyKeServer, KeBehaviour};
use ntp_e2e::harness::Scenario;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::observation::Observation;
use ntp_e2e::scenario;

use super::{LIMIT, nts_server, start, start_accepting_foreign_cookies};

const FAST_POLLS: &str = "poll-interval-limits = { min = 1, max = 1 }\ninitial-poll-interval = 1";

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario!(a_pool_names_its_members_and_replaces_one_that_is_silent),
    scenario!(srv_records_lead_to_the_members_if_they_are_validated),
    scenario!(a_pool_added_at_run_time_is_used_in_version_5_and_replayed),
];

fn pool_source(address: &str, count: usize, authority: &Authority, more: &str) -> Setup {
    Setup::new(2).with(&format!(
        "[[source]]\nmode = \"nts-pool\"\naddress = \"{address}\"\ncount = {count}\n\
         certificate-authority = \"{}\"\n{FAST_POLLS}\n{more}",
        authority.path().display()
    ))
}

/// Addresses of the reachable sources, in order.
fn reachable(observation: &Observation) -> Vec<IpAddr> {
    let sources = observation.sources();
    let answering = (sources.iter()).filter(|it| it.is_measured() && it.unanswered_polls() < 8);
    let address = |text: &str| text.parse::<SocketAddr>().ok().map(|it| it.ip());
    let mut found: Vec<_> = answering.filter_map(|it| address(it.address())).collect();
    found.sort_unstable();
    found
}

fn a_pool_names_its_members_and_replaces_one_that_is_silent() {
    let network = Network::new();
    let (client, broker) = (network.host(), network.host());
    let hosts: Vec<Host> = (0..4).map(|_| network.host()).collect();
    let mut members: Vec<_> = hosts.iter().map(start_accepting_foreign_cookies).collect();
    let authority = Authority::new();
    let certificate = authority.issue("pool", &broker.names());
    let names: Vec<_> = hosts.iter().map(|host| host.v4().to_string()).collect();
    let address = SocketAddr::new(broker.v4(), 4460);
    let pool = broker
        .inside(|| {
            FaultyKeServer::start(
                address,
                &certificate,
                KeBehaviour::Pool(names.clone()),
                None,
            )
        })
        .expect("a socket");
    let setup = pool_source(&address.to_string(), 3, &authority, "");
    let mut daemon = setup.start(Some(&client));
    daemon.wait_synchronized(LIMIT);
    let expect = |daemon: &mut Daemon, wanted: [usize; 3]| {
        let mut wanted = wanted.map(|index| hosts[index].v4());
        wanted.sort_unstable();
        daemon.wait_until(LIMIT, "the members are in use", |it| {
            reachable(it) == wanted
        });
    };
    expect(&mut daemon, [0, 1, 2]);
    assert_eq!(pool.connections_from(client.v4()).len(), 3);
    let (code, text) = setup.ntp_ctl(&["source", &names[1]]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(&format!("Pool member       : {}", names[1])),
        "{text}"
    );

    // The tool tests the members by itself.
    let check = |count: &str| {
        let mut command = setup.command(Some(&client), ntp_e2e::binaries::Program::Ctl);
        command.args([
            "nts",
            "check",
            &address.to_string(),
            count,
            "--timeout=60s",
            "--ca",
        ]);
        command.arg(authority.path());
        ntp_e2e::process::Process::spawn("ntp-ctl nts check", command).outcome()
    };
    let (code, text) = check("--pool=4");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("4 of 4 members"), "{text}");
    assert_eq!(text.matches("NTS works").count(), 4, "{text}");
    let (code, text) = check("--pool=9");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("it has no further members"), "{text}");

    members[1].0.stop();
    expect(&mut daemon, [0, 2, 3]);
    daemon
        .process
        .wait_for_event(LIMIT, "source_removed", &[("reason", "replaced")]);

    // Sessions of all members survive a restart.
    let before = pool.connections_from(client.v4()).len();
    assert_eq!(daemon.stop().code(), Some(0));
    let mut daemon = setup.start(Some(&client));
    expect(&mut daemon, [0, 2, 3]);
    assert_eq!(pool.connections_from(client.v4()).len(), before);
}

/// Answers all queries with these SRV records, in the order of their priority.
fn name_server(host: &Host, records: &'static [(&str, u16)], validated: &Arc<AtomicBool>) {
    let socket = host
        .inside(|| UdpSocket::bind("127.0.0.1:53"))
        .expect("the port of DNS");
    let validated = Arc::clone(validated);
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let mut answer = query[..length].to_vec();
            answer[2] = 0x81;
            answer[3] = if validated.load(Ordering::Relaxed) {
                0xa0
            } else {
                0x80
            };
            answer[7] = u8::try_from(records.len()).expect("few records");
            for (priority, (target, port)) in records.iter().enumerate() {
                let mut data = vec![0, u8::try_from(priority).expect("few records"), 0, 0];
                data.extend_from_slice(&port.to_be_bytes());
                for label in target.split('.') {
                    data.push(u8::try_from(label.len()).expect("a short label"));
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                answer.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0]);
                answer.push(u8::try_from(data.len()).expect("a short record"));
                answer.extend_from_slice(&data);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}

fn srv_records_lead_to_the_members_if_they_are_validated() {
    let network = Network::new();
    let client = network.host();
    let hosts = [network.host(), network.host()];
    let authority = Authority::new();
    let ports = [4461, 4460];
    let _members: Vec<_> = hosts
        .iter()
        .zip(ports)
        .map(|(host, port)| {
            let name = format!("ke{port}.test");
            let certificate = authority.issue(&name, std::slice::from_ref(&name));
            let section = certificate
                .ke_server_section(&format!("[::]:{port}"), "key-exchange-timeout-ms = 60000");
            let setup = nts_server().with(&section);
            (start(&setup, host), setup)
        })
        .collect();
    client.set_names(&[
        ("ke4461.test", &[hosts[0].v4()]),
        ("ke4460.test", &[hosts[1].v4()]),
    ]);
    let validated = Arc::new(AtomicBool::new(false));
    name_server(
        &client,
        &[("ke4461.test", 4461), ("ke4460.test", 4460)],
        &validated,
    );
    let setup = pool_source("pool.test", 2, &authority, "enable-srv-resolution = true");
    let mut daemon = setup.start(Some(&client));
    // Records that are not validated are not used, and the name itself has no address.
    daemon.process.wait_for_event(
        LIMIT,
        "key_exchange_failed",
        &[("reason", "name-resolution")],
    );
    assert!(daemon.observe().is_ok_and(|it| reachable(&it).is_empty()));
    validated.store(true, Ordering::Relaxed);
    let mut wanted = [hosts[0].v4(), hosts[1].v4()];
    wanted.sort_unstable();
    daemon.wait_until(LIMIT, "both members are in use", |it| {
        reachable(it) == wanted
    });
    daemon.wait_synchronized(LIMIT);
}

fn a_pool_added_at_run_time_is_used_in_version_5_and_replayed() {
    let network = Network::new();
    let (client, host) = (network.host(), network.host());
    let authority = Authority::new();
    let lines = "key-exchange-timeout-ms = 60000\naccept-ntp-versions = [4, 5]";
    let section = authority
        .issue("pool", &host.names())
        .ke_server_section("[::]:4460", lines);
    let accepts = "require-nts = \"deny\"\naccept-ntp-versions = [5]";
    let member = nts_server()
        .replacing("require-nts = \"deny\"", accepts)
        .with(&section);
    let _member = start(&member, &host);

    let setup = Setup::new(1);
    let record = setup.state().join("record").display().to_string();
    let key = format!("[observability]\nrecord-path = \"{record}\"");
    // Files that no configuration named at the start can only be read outside of the sandbox.
    let setup = setup
        .replacing("[observability]", &key)
        .replacing("[sandbox]", "[sandbox]\nmode = \"off\"");
    let mut daemon = setup.start(Some(&client));
    daemon.wait_until(LIMIT, "the sockets", |_| true);
    let address = SocketAddr::new(host.v4(), 4460).to_string();
    let authority = format!("certificate-authority={}", authority.path().display());
    let settings = ["mode=nts-pool", "count=1", "ntp-version=5", &authority];
    let add = [&["source", "add", &address][..], &settings].concat();
    let (code, text) = setup.ntp_ctl(&add);
    assert_eq!(code, Some(0), "{text}");
    let seen = daemon.wait_synchronized(LIMIT);
    let source = seen.source(&address).expect("it was added");
    assert_eq!(source.protocol_version(), (5, "key-exchange"));
    assert_eq!(daemon.stop().code(), Some(0));

    let (code, text) = setup.ntp_ctl(&["replay", &record, "--all"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.trim_end().ends_with(" decisions are identical."),
        "{text}"
    );
    assert!(text.contains("  add "), "{text}");
}
