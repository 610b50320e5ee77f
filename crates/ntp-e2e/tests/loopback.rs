//! The daemon and `ntp-ctl` with servers on the same machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::{
    Setup, VIRTUAL_FREQUENCY_PPM, VIRTUAL_OFFSET, assert_error_within, files_in,
};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::log_event::LogEvent;
use ntp_e2e::observation::{Observation, Source};
use ntp_e2e::peers::reference_server;
use ntp_e2e::process::{self, Process};
use ntp_e2e::{scenario, wait};
use test_binaries::{Behaviour, Misbehaviour};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Error of a virtual clock synchronised over loopback, in seconds, even on a busy machine.
const CLOSE: f64 = 0.010;

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(a_wrong_clock_is_corrected_over_ipv4_and_ipv6),
            scenario!(status_prints_upstreams_layout),
            scenario!(the_frequency_is_restored_after_a_restart),
            scenario!(a_damaged_state_file_is_set_aside),
            scenario!(a_server_that_sends_deny_is_removed),
            scenario!(a_rate_kiss_increases_the_poll_interval),
            scenario!(a_rate_limiting_server_answers_again_at_the_longer_interval).slow(),
            scenario!(misbehaving_servers_neither_move_the_clock_nor_flood_the_log),
            scenario!(without_a_majority_the_clock_is_not_steered),
            scenario!(all_configuration_errors_are_reported_at_once),
            scenario!(an_unsupported_setting_is_refused_by_name),
            scenario!(an_unknown_option_is_named_in_the_error),
            scenario!(a_missing_socket_directory_is_only_a_warning),
            scenario!(a_client_with_literal_addresses_and_no_state_runs_one_thread),
            scenario!(status_without_a_daemon_fails_with_the_socket_path),
        ],
    )
}

/// A server program as a separate process.
struct TestServer {
    address: SocketAddr,
    _process: Process,
}

impl TestServer {
    fn start(program: Program, listen: &str, arguments: &[&str]) -> Self {
        let mut command = process::command(None, program.path());
        command.args(["--listen", listen]).args(arguments);
        let process = Process::spawn(program.name(), command);
        let line = process.wait_for_line(LIMIT, "listening on ");
        let address = line
            .rsplit(' ')
            .next()
            .and_then(|address| address.parse().ok());
        Self {
            address: address.expect("an address"),
            _process: process,
        }
    }

    /// A server with a perfect clock.
    fn correct(listen: &str) -> Self {
        Self::start(Program::TestServer, listen, &[])
    }

    fn name(&self) -> String {
        self.address.to_string()
    }
}

fn a_wrong_clock_is_corrected_over_ipv4_and_ipv6() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let server = TestServer::correct(listen);
        let setup = Setup::new(1).server(&server.name());
        let mut daemon = setup.start(None);
        daemon.process.wait_for_event(LIMIT, "clock_stepped", &[]);
        let synchronized = daemon.wait_synchronized(LIMIT);
        assert_eq!(synchronized.stratum(), 2);
        let source = synchronized.source(&server.name()).expect("the source");
        assert_eq!(source.address(), server.name());
        let close = daemon.wait_until(LIMIT, "a small error", |observation| {
            observation.true_offset().abs() < CLOSE && observation.error_bound() < VIRTUAL_OFFSET
        });
        assert_error_within(&close, CLOSE);
        assert_eq!(daemon.stop().code(), Some(0));
        assert!(
            !setup.socket().exists(),
            "the observation socket is left behind"
        );
    }
}

fn status_prints_upstreams_layout() {
    let server = TestServer::correct("127.0.0.1:0");
    let setup = Setup::new(1).server(&server.name());
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let mut status = setup.status();
    assert_eq!(status.wait_exit(LIMIT).code(), Some(0));
    let lines = status.lines();
    // Upstream's layout, which scripts parse.
    assert_eq!(lines[0], "Synchronization status:");
    assert_eq!(lines[3], "\tStratum:\t2");
    assert!(lines.iter().any(|line| line == "Sources:"), "{lines:#?}");
    let header = format!("{0} {0} (", server.name());
    assert!(
        lines.iter().any(|line| line.starts_with(&header)),
        "{lines:#?}"
    );
}

fn the_frequency_is_restored_after_a_restart() {
    let server = TestServer::correct("127.0.0.1:0");
    let setup = Setup::new(1).server(&server.name());
    let mut first = setup.start(None);
    let learned = first.wait_until(LIMIT, "a known frequency", |observation| {
        let known = observation.frequency_uncertainty_ppm() < 3.0;
        observation.is_synchronized() && known
    });
    let error = learned.frequency_ppm() - VIRTUAL_FREQUENCY_PPM;
    assert!(error.abs() < 15.0, "{} ppm", learned.frequency_ppm());
    assert_eq!(first.stop().code(), Some(0));
    let mut files = files_in(&setup.state());
    files.sort();
    assert_eq!(files, ["clock.toml", "history"]);

    let mut second = setup.start(None);
    second
        .process
        .wait_for_event(LIMIT, "frequency_restored", &[]);
    let known = second.wait_until(LIMIT, "the socket", |_| true);
    let change = known.frequency_ppm() - learned.frequency_ppm();
    assert!(
        change.abs() < 10.0,
        "{} ppm, before {}",
        known.frequency_ppm(),
        learned.frequency_ppm()
    );
    assert_error_within(&second.wait_synchronized(LIMIT), VIRTUAL_OFFSET);
}

fn a_damaged_state_file_is_set_aside() {
    let server = TestServer::correct("127.0.0.1:0");
    let setup = Setup::new(1).server(&server.name());
    std::fs::write(setup.state().join("clock.toml"), b"\0\xff garbage").expect("written");
    let mut daemon = setup.start(None);
    let damaged = daemon.process.wait_for_event(LIMIT, "state_damaged", &[]);
    assert!(
        damaged.field("path").ends_with("/clock.toml"),
        "{damaged:?}"
    );
    daemon.wait_synchronized(LIMIT);
    assert!(files_in(&setup.state()).contains(&"clock.toml.damaged".to_owned()));
}

fn a_server_that_sends_deny_is_removed() {
    let correct = TestServer::correct("127.0.0.1:0");
    let denying = TestServer::start(Program::DemobilizeServer, "127.0.0.1:0", &[]);
    let setup = Setup::new(1)
        .server(&correct.name())
        .server(&denying.name());
    let mut daemon = setup.start(None);
    daemon
        .process
        .wait_for_event(LIMIT, "source_removed", &[("reason", "denied")]);
    let without = daemon.wait_until(LIMIT, "only the correct source", |observation| {
        observation.is_synchronized() && observation.sources().len() == 1
    });
    assert!(without.source(&correct.name()).is_some());
    assert_eq!(daemon.process.events("source_removed").len(), 1);
    let added = daemon.process.events("source_added");
    let denying = denying.name();
    let of_denying = |event: &&LogEvent| event.field("source") == denying;
    assert_eq!(added.iter().filter(of_denying).count(), 1, "{added:?}");
}

fn a_rate_kiss_increases_the_poll_interval() {
    let server = TestServer::start(Program::RateLimitServer, "127.0.0.1:0", &[]);
    let setup = Setup::new(1).server_with_default_polls(&server.name());
    let mut daemon = setup.start(None);
    daemon.wait_until(LIMIT, "a poll interval of 32 s", |observation| {
        observation
            .source(&server.name())
            .is_some_and(|source| source.poll_interval() == 5)
    });
    // Two kisses, one in the burst, which ended it, and one after 16 s: one line per new interval.
    let kisses = daemon.process.events("kiss_received");
    let slower = kisses.iter().filter(|kiss| kiss.field("poll") == "16");
    assert_eq!(slower.count(), 1, "{kisses:?}");
    daemon
        .process
        .wait_for_event(LIMIT, "kiss_received", &[("code", "RATE"), ("poll", "32")]);
    assert!(daemon.process.is_running());
}

fn a_rate_limiting_server_answers_again_at_the_longer_interval() {
    let server = TestServer::start(Program::RateLimitServer, "127.0.0.1:0", &[]);
    let setup = Setup::new(1).server_with_default_polls(&server.name());
    let mut daemon = setup.start(None);
    daemon.wait_until(LIMIT, "replies at the longer interval", |observation| {
        let obeyed = |source: Source<'_>| {
            source.poll_interval() == 5
                && source.packets_sent() >= 4
                && source.unanswered_polls() == 0
        };
        observation.source(&server.name()).is_some_and(obeyed)
    });
    let polls = |observation: &Observation| {
        observation
            .source(&server.name())
            .map_or(0, Source::packets_sent)
    };
    let later = daemon.wait_until(2 * LIMIT, "two more polls", |observation| {
        polls(observation) >= 6
    });
    // Another kiss would have increased it to 64 s.
    assert_eq!(
        later.source(&server.name()).map(Source::poll_interval),
        Some(5)
    );
}

fn misbehaving_servers_neither_move_the_clock_nor_flood_the_log() {
    let correct: Vec<_> = (0..3)
        .map(|_| reference_server(Behaviour::default()))
        .collect();
    let bad: Vec<_> = Misbehaviour::SAMPLES
        .iter()
        .map(|sample| (*sample, reference_server(Behaviour::with(*sample))))
        .collect();
    let mut setup = Setup::new(3);
    for server in correct.iter().chain(bad.iter().map(|(_, server)| server)) {
        setup = setup.server(&server.address().to_string());
    }
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let after = daemon.wait_until(LIMIT, "ten polls of each source", |observation| {
        observation
            .sources()
            .iter()
            .all(|source| source.packets_sent() >= 10)
    });
    assert!(after.is_synchronized());
    assert_error_within(&after, CLOSE);
    for (misbehaviour, server) in &bad {
        let name = server.address().to_string();
        if prevents_measurement(misbehaviour) {
            let measured = after.source(&name).is_some_and(Source::is_measured);
            assert!(!measured, "{misbehaviour} was accepted");
        }
    }
    let mut counts = BTreeMap::<String, u32>::new();
    for event in daemon.process.events("reply_rejected") {
        let problem = format!("{} {}", event.field("source"), event.field("reason"));
        *counts.entry(problem).or_default() += 1;
    }
    assert!(
        counts.values().all(|count| *count == 1),
        "logged more than once: {counts:#?}"
    );
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Whether replies with this misbehaviour cannot be used as measurements.
fn prevents_measurement(misbehaviour: &Misbehaviour) -> bool {
    match misbehaviour {
        Misbehaviour::Drop(_)
        | Misbehaviour::Kiss(_)
        | Misbehaviour::WrongOrigin
        | Misbehaviour::WrongMode(_)
        | Misbehaviour::Stratum(_)
        | Misbehaviour::Unsynchronized
        | Misbehaviour::ZeroTimestamps
        | Misbehaviour::Short(_)
        | Misbehaviour::OtherPort => true,
        Misbehaviour::Delay(_)
        | Misbehaviour::TrailingGarbage(_)
        | Misbehaviour::HugeField(_)
        | Misbehaviour::Duplicate
        | Misbehaviour::Replay => false,
    }
}

fn without_a_majority_the_clock_is_not_steered() {
    let servers = ["0", "0.5", "-0.5"]
        .map(|offset| TestServer::start(Program::TestServer, "127.0.0.1:0", &["--offset", offset]));
    let setup = servers
        .iter()
        .fold(Setup::new(2), |setup, server| setup.server(&server.name()));
    let mut daemon = setup.start(None);
    daemon.process.wait_for_event(LIMIT, "no_majority", &[]);
    let after = daemon.wait_until(LIMIT, "ten polls of each source", |observation| {
        observation
            .sources()
            .iter()
            .all(|source| source.packets_sent() >= 10)
    });
    assert!(!after.is_synchronized());
    assert!(
        (after.true_offset() - VIRTUAL_OFFSET).abs() < CLOSE,
        "{} s",
        after.true_offset()
    );
    assert_eq!(daemon.process.events("clock_stepped"), []);
}

/// Runs the daemon, which must exit with `code`. Returns its output.
fn run_refused(setup: &Setup, arguments: &[&str], code: i32) -> String {
    let mut command = setup.command(None, Program::Daemon);
    command.args(arguments);
    let mut daemon = Process::spawn("ntp-daemon", command);
    let status = daemon.wait_exit(LIMIT);
    assert_eq!(status.code(), Some(code), "{:#?}", daemon.lines());
    daemon.lines().join("\n")
}

fn all_configuration_errors_are_reported_at_once() {
    let setup = Setup::new(1)
        .server("127.0.0.1:4567")
        .with("[[source]]\nmode = \"server\"\nadress = \"127.0.0.1\"")
        .with("[source-defaults]\ninitial-poll-interval = \"soon\"");
    let output = run_refused(&setup, &[], 78);
    for part in [
        "ntp.toml",
        "adress = \"127.0.0.1\"",
        "unknown field",
        "initial-poll-interval = \"soon\"",
    ] {
        assert!(output.contains(part), "no '{part}' in\n{output}");
    }
}

fn an_unsupported_setting_is_refused_by_name() {
    let setup = Setup::new(1).replacing("[clock]", "[clock]\ntimestamp-mode = \"hardware\"");
    let output = run_refused(&setup, &[], 78);
    assert!(output.contains("hardware"), "{output}");
}

fn an_unknown_option_is_named_in_the_error() {
    let output = run_refused(&Setup::new(1), &["--bogus"], 1);
    assert!(output.contains("--bogus"), "{output}");
}

fn a_missing_socket_directory_is_only_a_warning() {
    let server = TestServer::correct("127.0.0.1:0");
    let setup = Setup::new(1)
        .server(&server.name())
        .replacing("/observe\"", "/missing/observe\"");
    let mut daemon = setup.start(None);
    let warning = (daemon.process).wait_for_event(LIMIT, "observation_socket_failed", &[]);
    assert_eq!(warning.level(), "WARN");
    assert!(
        warning.field("path").ends_with("/missing/observe"),
        "{warning:?}"
    );
    daemon
        .process
        .wait_for_event(LIMIT, "synchronized", &[("stratum", "2")]);
    assert_eq!(daemon.stop().code(), Some(0));
}

fn a_client_with_literal_addresses_and_no_state_runs_one_thread() {
    let server = TestServer::correct("127.0.0.1:0");
    let setup = Setup::new(1)
        .server(&server.name())
        .replacing("[state]\n", "[state]\nenabled = false\n");
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    // The thread that reads the leap-second list may still run.
    wait::until(LIMIT, "a single thread", || {
        (daemon.process.threads() == 1).then_some(())
    });
    assert_eq!(daemon.stop().code(), Some(0));
}

fn status_without_a_daemon_fails_with_the_socket_path() {
    let setup = Setup::new(1);
    let mut status = setup.status();
    assert_eq!(status.wait_exit(LIMIT).code(), Some(1));
    let output = status.lines().join("\n");
    let socket = setup.socket();
    assert!(output.contains("Could not open socket at"), "{output}");
    assert!(
        output.contains(socket.to_str().expect("a name")),
        "{output}"
    );
}
