//! What a service manager hears from the daemon (sd_notify(3)); the test is the manager.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::process::Process;
use ntp_e2e::scenario;
use rustix::process::Signal;
use test_binaries::{Behaviour, ReferenceServer};

/// Only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(a_started_daemon_is_ready_tells_how_the_clock_stands_and_shows_signs_of_life),
            scenario!(a_daemon_that_is_ready_when_the_clock_is_right_asks_for_time_until_then),
            scenario!(without_a_source_nobody_waits_for_the_clock),
        ],
    )
}

/// The manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn open(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket can be bound");
        socket
            .set_read_timeout(Some(LIMIT))
            .expect("a limit can be set");
        Self {
            socket,
            heard: Vec::new(),
        }
    }

    /// Waits for a line that begins so, and returns it. What was heard before it is remembered.
    #[track_caller]
    fn hear(&mut self, beginning: &str) -> String {
        let mut message = [0; 4096];
        loop {
            let Ok(length) = self.socket.recv(&mut message) else {
                panic!("waited in vain for {beginning}; heard {:#?}", self.heard);
            };
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            let line = text.lines().find(|line| line.starts_with(beginning));
            let line = line.map(ToOwned::to_owned);
            self.heard.push(text);
            if let Some(line) = line {
                return line;
            }
        }
    }

    fn has_heard(&self, line: &str) -> bool {
        self.heard
            .iter()
            .any(|text| text.lines().any(|it| it == line))
    }
}

/// Starts the daemon as a service of `Manager`, with this limit between two signs of life.
fn start(setup: &Setup, watchdog: Duration) -> (Manager, Process) {
    let path = setup.socket().with_file_name("notify");
    let manager = Manager::open(&path);
    let mut command = setup.command(None, Program::Daemon);
    command.env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    (manager, Process::spawn("ntp-daemon", command))
}

fn server() -> ReferenceServer {
    let address = "127.0.0.1:0".parse().expect("an address");
    ReferenceServer::bind(address, Behaviour::default()).expect("loopback")
}

fn a_started_daemon_is_ready_tells_how_the_clock_stands_and_shows_signs_of_life() {
    let server = server();
    let address = server.address();
    let setup = Setup::new(1).server(&address.to_string());
    let (mut manager, mut daemon) = start(&setup, Duration::from_secs(3));
    manager.hear("READY=1");
    assert!(
        manager.has_heard("STATUS=Clock not synchronised; `ntp-ctl explain` says why"),
        "{:?}",
        manager.heard
    );
    let status = manager.hear("STATUS=Clock synchronised");
    assert_eq!(
        status,
        format!("STATUS=Clock synchronised to {address} (127.0.0.1), stratum 2")
    );
    manager.hear("WATCHDOG=1");
    manager.hear("WATCHDOG=1");

    daemon.signal(Signal::HUP);
    manager.hear("RELOADING=1");
    assert!(
        manager
            .heard
            .last()
            .is_some_and(|it| it.contains("MONOTONIC_USEC="))
    );
    manager.hear("READY=1");
    // The end of a reload that failed is an end, too.
    setup.rewrite(|text| format!("{text}\nnonsense"));
    daemon.signal(Signal::HUP);
    manager.hear("RELOADING=1");
    manager.hear("READY=1");

    daemon.signal(Signal::TERM);
    manager.hear("STOPPING=1");
    assert!(daemon.wait_exit(LIMIT).success());
}

fn a_daemon_that_is_ready_when_the_clock_is_right_asks_for_time_until_then() {
    let server = server();
    // One source is too few, and a second one comes later.
    let setup = Setup::new(2)
        .with("[service]\nready = \"synchronized\"")
        .server(&server.address().to_string());
    let (mut manager, mut daemon) = start(&setup, Duration::ZERO);
    assert_eq!(
        manager.hear("EXTEND_TIMEOUT_USEC="),
        "EXTEND_TIMEOUT_USEC=60000000"
    );
    // Its end would be taken for readiness.
    daemon.signal(Signal::HUP);
    daemon.wait_for_line(LIMIT, "configuration read again");
    let second = self::server();
    let address = second.address().to_string();
    let mut command = setup.command(None, Program::Ctl);
    command.args(["source", "add", &address, "poll-interval-limits.min=1"]);
    let added = command.output().expect("ntp-ctl runs");
    assert!(added.status.success(), "{added:?}");
    manager.hear("READY=1");
    assert!(
        !manager.has_heard("RELOADING=1") && !manager.has_heard("WATCHDOG=1"),
        "{:?}",
        manager.heard
    );
    let ready = manager.heard.iter().filter(|it| it.contains("READY=1"));
    assert_eq!(ready.count(), 1);
    let mut heard = manager.heard.iter();
    assert!(
        heard.any(|text| text.starts_with("STATUS=Clock synchronised to ")),
        "{:?}",
        manager.heard
    );
}

fn without_a_source_nobody_waits_for_the_clock() {
    let setup = Setup::new(1).with("[service]\nready = \"synchronized\"");
    let (mut manager, _daemon) = start(&setup, Duration::ZERO);
    manager.hear("READY=1");
}
