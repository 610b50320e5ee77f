//! A Prometheus server with the exporter, and the shipped alert rules.

use std::process::{Command, ExitCode};
use std::time::Duration;

use ntp_control_api::metrics::{Kind, UPSTREAM};
use ntp_e2e::binaries::workspace_root;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::peers;
use ntp_e2e::prometheus::{Prometheus, program};
use ntp_e2e::{scenario, wait};
use test_binaries::{Behaviour, ReferenceServer};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Monitoring,
        &[
            scenario!(promtool_accepts_the_rules_and_their_tests),
            scenario!(promtool_accepts_the_metrics),
            scenario!(prometheus_keeps_scraping_across_a_daemon_restart),
        ],
    )
}

fn promtool_accepts_the_rules_and_their_tests() {
    for arguments in [
        ["check", "rules", "--lint-fatal", "ntpd-rs.rules.yml"].as_slice(),
        &["test", "rules", "ntpd-rs.rules.test.yml"],
    ] {
        let output = Command::new(program("promtool"))
            .args(arguments)
            .current_dir(workspace_root().join("pkg/prometheus"))
            .output()
            .expect("promtool runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

fn server() -> ReferenceServer {
    peers::reference_server(Behaviour::default())
}

fn setup(server: &ReferenceServer) -> Setup {
    Setup::new(1)
        .server(&server.address().to_string())
        .with("[[server]]\nlisten = \"127.0.0.1:0\"")
        .with_exporter_at("127.0.0.1:0")
}

fn promtool_accepts_the_metrics() {
    let server = server();
    let setup = setup(&server);
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let exporter = setup.start_exporter(&[]);
    let text = exporter.get("/metrics", &[]).expect("a reply").body;
    let file = setup.state().join("metrics");
    std::fs::write(&file, text).expect("a file");
    let output = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file).expect("the file"))
        .output()
        .expect("promtool runs");
    // It warns about base units that it does not know, but must not report format errors.
    let problems = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!problems.contains("error while linting"), "{problems}");
    assert_ne!(output.status.code(), Some(1), "{problems}");
}

fn prometheus_keeps_scraping_across_a_daemon_restart() {
    let server = server();
    let setup = setup(&server);
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let exporter = setup.start_exporter(&[]);
    let rules = workspace_root().join("pkg/prometheus/ntpd-rs.rules.yml");
    let prometheus = Prometheus::start(exporter.address, &rules);

    prometheus.wait_for_value("ntp_up", 1.0);
    prometheus.wait_for_value("ntp_system_synchronized", 1.0);
    // It requests OpenMetrics, and must still know every family of upstream by name and type.
    let known = prometheus.get("/api/v1/targets/metadata");
    for family in UPSTREAM {
        let name = match family.kind {
            Kind::Counter => family.name.trim_end_matches("_total"),
            Kind::Gauge | Kind::Histogram => family.name,
        };
        let entries = known.as_array().expect("a list");
        let entry = entries.iter().find(|entry| entry["metric"] == name);
        let entry = entry.unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(entry["type"], family.kind.name(), "{name}");
    }

    daemon.stop();
    prometheus.wait_for_value("ntp_up", 0.0);
    assert_eq!(prometheus.value("up"), Some(1.0));
    wait::until(LIMIT, "the end of the series without a daemon", || {
        prometheus
            .value("ntp_system_synchronized")
            .is_none()
            .then_some(())
    });
    let _again = setup.start(None);
    prometheus.wait_for_value("ntp_up", 1.0);
    prometheus.wait_for_value("ntp_system_synchronized", 1.0);

    let rules = prometheus.get("/api/v1/rules");
    let rules = rules["groups"][0]["rules"]
        .as_array()
        .expect("a list")
        .clone();
    assert!(rules.len() >= 10);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
