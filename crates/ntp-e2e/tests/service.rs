//! Notifications to the service manager (sd_notify(3)); the test acts as the manager.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::peers;
use ntp_e2e::process::Process;
use ntp_e2e::scenario;
use rustix::process::Signal;
use test_binaries::{Behaviour, ReferenceServer};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(the_daemon_notifies_readiness_status_watchdog_and_reload),
            scenario!(ready_synchronized_extends_the_start_timeout),
            scenario!(ready_synchronized_without_sources_is_ready_at_once),
            scenario!(a_refused_step_leaves_the_service_running_until_it_is_forced),
            scenario!(with_on_panic_exit_a_refused_step_ends_the_service),
        ],
    )
}

/// Service manager: receives notifications.
struct Manager {
    socket: UnixDatagram,
    received: Vec<String>,
}

impl Manager {
    fn open(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        Self {
            socket,
            received: Vec::new(),
        }
    }

    /// Waits for a line with this prefix, and returns it. Earlier messages stay in `received`.
    #[track_caller]
    fn wait_for(&mut self, prefix: &str) -> String {
        let mut message = [0; 4096];
        loop {
            let Ok(length) = self.socket.recv(&mut message) else {
                panic!(
                    "timeout waiting for {prefix}; received {:#?}",
                    self.received
                );
            };
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            let line = text.lines().find(|line| line.starts_with(prefix));
            let line = line.map(ToOwned::to_owned);
            self.received.push(text);
            if let Some(line) = line {
                return line;
            }
        }
    }

    fn has_received(&self, line: &str) -> bool {
        self.received
            .iter()
            .any(|text| text.lines().any(|it| it == line))
    }
}

/// Starts the daemon as a service of a [`Manager`], with this watchdog interval (zero: none).
fn start(setup: &Setup, watchdog: Duration) -> (Manager, Process) {
    let path = setup.socket().with_file_name("notify");
    let manager = Manager::open(&path);
    let mut command = setup.command(None, Program::Daemon);
    command.env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    (manager, Process::spawn("ntp-daemon", command))
}

fn server() -> ReferenceServer {
    peers::reference_server(Behaviour::default())
}

fn the_daemon_notifies_readiness_status_watchdog_and_reload() {
    let server = server();
    let address = server.address();
    let setup = Setup::new(1).server(&address.to_string());
    let (mut manager, mut daemon) = start(&setup, Duration::from_secs(3));
    manager.wait_for("READY=1");
    assert!(
        manager.has_received("STATUS=Clock not synchronised; `ntp-ctl explain` says why"),
        "{:?}",
        manager.received
    );
    let status = manager.wait_for("STATUS=Clock synchronised");
    assert_eq!(
        status,
        format!("STATUS=Clock synchronised to {address} (127.0.0.1), stratum 2")
    );
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");

    daemon.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    assert!(
        manager
            .received
            .last()
            .is_some_and(|it| it.contains("MONOTONIC_USEC="))
    );
    manager.wait_for("READY=1");
    // A failed reload also ends with READY=1.
    setup.rewrite(|text| format!("{text}\nnonsense"));
    daemon.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");

    daemon.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert!(daemon.wait_exit(LIMIT).success());
}

fn ready_synchronized_extends_the_start_timeout() {
    let server = server();
    // One source is too few; a second one is added later.
    let setup = Setup::new(2)
        .with("[service]\nready = \"synchronized\"")
        .server(&server.address().to_string());
    let (mut manager, mut daemon) = start(&setup, Duration::ZERO);
    assert_eq!(
        manager.wait_for("EXTEND_TIMEOUT_USEC="),
        "EXTEND_TIMEOUT_USEC=60000000"
    );
    // Before readiness a reload must not be announced, since its READY=1 would be premature.
    daemon.signal(Signal::HUP);
    daemon.wait_for_event(LIMIT, "configuration_reloaded", &[]);
    let second = self::server();
    let address = second.address().to_string();
    let mut command = setup.command(None, Program::Ctl);
    command.args(["source", "add", &address, "poll-interval-limits.min=1"]);
    let added = command.output().expect("ntp-ctl runs");
    assert!(added.status.success(), "{added:?}");
    manager.wait_for("READY=1");
    assert!(
        !manager.has_received("RELOADING=1") && !manager.has_received("WATCHDOG=1"),
        "{:?}",
        manager.received
    );
    let ready = manager.received.iter().filter(|it| it.contains("READY=1"));
    assert_eq!(ready.count(), 1);
    let mut received = manager.received.iter();
    assert!(
        received.any(|text| text.starts_with("STATUS=Clock synchronised to ")),
        "{:?}",
        manager.received
    );
}

fn ready_synchronized_without_sources_is_ready_at_once() {
    let setup = Setup::new(1).with("[service]\nready = \"synchronized\"");
    let (mut manager, _daemon) = start(&setup, Duration::ZERO);
    manager.wait_for("READY=1");
}

/// A clock two days ahead, which `startup-step-panic-threshold` does not permit to set back.
fn far(server: &ReferenceServer) -> Setup {
    Setup::new(1)
        .replacing("virtual-offset = 0.25", "virtual-offset = 172800.0")
        .server(&server.address().to_string())
}

fn a_refused_step_leaves_the_service_running_until_it_is_forced() {
    let server = server();
    let setup = far(&server);
    let (mut manager, daemon) = start(&setup, Duration::ZERO);
    let refused = manager.wait_for("STATUS=Clock not steered");
    assert!(
        refused.contains("startup-step-panic-threshold"),
        "{refused}"
    );
    daemon.wait_for_event(LIMIT, "step_refused", &[("exits", "false")]);
    let (code, text) = setup.ntp_ctl(&["explain"]);
    assert!(
        code == Some(0) && text.contains("`ntp-ctl step --force`"),
        "{text}"
    );
    let (_, text) = setup.ntp_ctl(&["status", "--format", "prometheus"]);
    assert!(text.contains("\nntp_system_step_refused 1\n"), "{text}");
    assert!(text.contains("\nntp_system_synchronized 0\n"), "{text}");
    let (code, text) = setup.ntp_ctl(&["step"]);
    assert!(code == Some(1) && text.contains("--force"), "{text}");

    let (code, text) = setup.ntp_ctl(&["step", "--force"]);
    assert!(
        code == Some(0) && text.contains("Clock stepped by -1728"),
        "{text}"
    );
    manager.wait_for("STATUS=Clock synchronised");
    daemon.wait_for_event(LIMIT, "steering_resumed", &[]);
    let (_, text) = setup.ntp_ctl(&["status", "--format", "prometheus"]);
    assert!(text.contains("\nntp_system_step_refused 0\n"), "{text}");
}

fn with_on_panic_exit_a_refused_step_ends_the_service() {
    let server = server();
    let setup = far(&server).synchronization("on-panic = \"exit\"");
    let (_manager, mut daemon) = start(&setup, Duration::ZERO);
    daemon.wait_for_event(LIMIT, "step_refused", &[("exits", "true")]);
    assert_eq!(daemon.wait_exit(LIMIT).code(), Some(70));
}
