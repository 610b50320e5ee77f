//! The metrics exporter with a running daemon, without one, and with misbehaving clients.

use std::io::Write;
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use ntp_control_api::metrics::UPSTREAM;
use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::Setup;
use ntp_e2e::exporter::samples;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::peers;
use ntp_e2e::process::Process;
use ntp_e2e::scenario;
use test_binaries::{Behaviour, ReferenceServer};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Number of idle clients: more than the exporter accepts.
const IDLE_CLIENTS: usize = 200;
/// Upper limit of the exporter's resident memory, in octets.
const MAX_MEMORY: u64 = 10 << 20;

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(the_accept_header_selects_the_format_and_all_families_are_present),
            scenario!(ntp_up_is_zero_while_the_daemon_is_down),
            scenario!(a_page_of_a_stranger_cannot_read_the_state),
            scenario!(idle_connections_do_not_block_a_scrape),
            scenario!(an_exporter_without_observation_path_names_the_missing_key),
        ],
    )
}

fn server() -> ReferenceServer {
    peers::reference_server(Behaviour::default())
}

fn the_accept_header_selects_the_format_and_all_families_are_present() {
    let server = server();
    let setup = Setup::new(1)
        .server(&server.address().to_string())
        .with("[[server]]\nlisten = \"127.0.0.1:0\"")
        .with_exporter_at("127.0.0.1:0");
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let exporter = setup.start_exporter(&["--chrony-names"]);

    let classic = exporter.get("/metrics", &[]).expect("a reply");
    assert_eq!(
        classic.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for family in UPSTREAM {
        let line = format!("# TYPE {} {}\n", family.name, family.kind.name());
        assert!(classic.body.contains(&line), "{line}");
    }
    let classic = samples(&classic.body);
    assert_eq!(classic["ntp_up"], 1.0);
    assert_eq!(classic["ntp_system_stratum"], 2.0);
    assert_eq!(classic["chrony_tracking_stratum"], 2.0);
    assert!(classic["ntp_system_error_bound_seconds"] > 0.0);
    assert!(classic["ntp_process_resident_memory_bytes"] > 1e6);
    let labels = format!("name=\"{0}\",address=\"{0}\",id=\"0\"", server.address());
    let of = |name: &str, more: &str| classic[&format!("ntp_source_{name}{{{labels}{more}}}")];
    assert_eq!(of("state", ",state=\"selected\""), 1.0);
    assert_eq!(of("state", ",state=\"falseticker\""), 0.0);
    assert_eq!(of("authentication", ",method=\"none\""), 1.0);
    assert!(of("jitter_seconds", "") > 0.0);

    // The header of Prometheus 2.42. Upstream serves metrics at every path.
    let accept = "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for path in ["/metrics", "/", "/anything"] {
        let open = exporter.get(path, &[accept]).expect("a reply");
        assert_eq!(
            open.header("content-type"),
            Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        assert!(open.body.ends_with("# EOF\n"));
        assert!(
            open.body
                .contains("# TYPE ntp_server_received_packets counter\n")
        );
        assert_eq!(samples(&open.body)["ntp_up"], 1.0);
    }
    assert_eq!(exporter.get("/nothing", &[]).expect("a reply").status, 404);
    let posted = ntp_e2e::http::request(exporter.address, "POST", "/metrics", &[], "x", LIMIT);
    assert_eq!(posted.expect("a reply").status, 405);
    let memory = exporter.process.resident_bytes();
    assert!(memory > 0 && memory < MAX_MEMORY, "{memory} octets");
}

fn ntp_up_is_zero_while_the_daemon_is_down() {
    let server = server();
    let setup = Setup::new(1)
        .server(&server.address().to_string())
        .with_exporter_at("127.0.0.1:0");
    let exporter = setup.start_exporter(&[]);
    assert_eq!(exporter.samples()["ntp_up"], 0.0);
    assert_eq!(
        exporter.samples()["ntp_exporter_observation{outcome=\"no-socket\"}"],
        1.0
    );
    let state = exporter.get("/api/state", &[]).expect("a reply");
    let state = state.json().expect("JSON");
    assert_eq!(state["up"], false);
    assert!(
        state["text"]
            .as_str()
            .is_some_and(|text| text.contains("observation-path"))
    );

    let mut daemon = setup.start(None);
    exporter.wait_for_sample("ntp_up", 1.0);
    // The socket file remains.
    daemon.process.signal(rustix::process::Signal::KILL);
    exporter.wait_for_sample("ntp_exporter_observation{outcome=\"nobody-listens\"}", 1.0);
    assert_eq!(exporter.samples()["ntp_up"], 0.0);
    let _again = setup.start(None);
    exporter.wait_for_sample("ntp_up", 1.0);
}

/// DNS rebinding: the name of a stranger resolves to the address of the exporter.
fn a_page_of_a_stranger_cannot_read_the_state() {
    let setup = Setup::new(1).with_exporter_at("127.0.0.1:0").replacing(
        "[observability]",
        "[observability]\nmetrics-exporter-hosts = [\"ntp.example\"]",
    );
    let exporter = setup.start_exporter(&[]);
    let metrics = "Accept: application/openmetrics-text";
    for path in ["/", "/metrics", "/api/state", "/api/history", "/none"] {
        for accept in [metrics, "Accept: */*"] {
            let reply = exporter.get(path, &["Host: attacker.example:9975", accept]);
            let reply = reply.expect("a reply");
            assert_eq!(reply.status, 421, "{path}");
            assert!(reply.body.contains("metrics-exporter-hosts"), "{path}");
        }
    }
    exporter.process.wait_for_line(LIMIT, "attacker.example");
    let refusals = exporter.process.lines_with("attacker.example");
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    for host in ["Host: ntp.example", "Host: localhost:9975"] {
        let reply = exporter.get("/metrics", &[host]).expect("a reply");
        assert_eq!(reply.status, 200, "{host}");
    }
}

fn idle_connections_do_not_block_a_scrape() {
    let setup = Setup::new(1).with_exporter_at("127.0.0.1:0");
    let exporter = setup.start_exporter(&[]);
    let idle: Vec<TcpStream> = (0..IDLE_CLIENTS)
        .map(|number| {
            let mut stream = TcpStream::connect(exporter.address).expect("a connection");
            if number % 2 == 0 {
                // Half of them start a request and never finish it; fails if already disconnected.
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ");
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(exporter.samples()["ntp_up"], 0.0);
    }
    let memory = exporter.process.resident_bytes();
    assert!(
        memory < MAX_MEMORY,
        "{memory} octets with {} idle clients",
        idle.len()
    );
}

fn an_exporter_without_observation_path_names_the_missing_key() {
    let setup = Setup::new(1).with_exporter_at("127.0.0.1:0");
    let path = format!("observation-path = \"{}\"", setup.socket().display());
    let setup = setup.replacing(&path, "");
    let mut exporter = Process::spawn(
        "ntp-metrics-exporter",
        setup.command(None, Program::Exporter),
    );
    assert_eq!(exporter.wait_exit(LIMIT).code(), Some(1));
    assert!(!exporter.lines_with("observation-path").is_empty());
}
