//! Restarts: the daemon is killed with SIGKILL at random times and must start again with its saved
//! state.
//!
//! Each **lane** is one daemon with its own directory, started repeatedly. It is client and server
//! with NTS, saves the clock's state, rotates the cookie key each second, writes a record
//! (`record-path`), and has a control and an observation socket, whose files a killed process
//! leaves behind. It is killed
//!
//! * during its first 300 ms,
//! * at any time once it is ready,
//! * while a file is being written, or
//! * during a clean shutdown (SIGTERM first).
//!
//! It must not exit by itself, must not log damage, and must leave the state that [`StateSnapshot`]
//! checks. Lanes mostly wait, so several run in parallel.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::AddAssign;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use rustix::process::Signal;

use super::state::{STALE_KEYS, StateSnapshot};
use crate::certificates::{Authority, Certificate};
use crate::daemon::{Daemon, Setup, files_in};
use crate::wait;

/// Time limit for each step; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Events that no log may contain: damage, and an address or a socket that is still in use.
const FORBIDDEN_EVENTS: [&str; 5] = [
    "state_damaged",
    "state_write_failed",
    "observation_socket_failed",
    "control_socket_failed",
    "record_failed",
];
/// Texts that no log may contain.
const FORBIDDEN_LOG_TEXTS: [&str; 2] = ["panicked", "ERROR"];

/// Result of a run, in numbers of daemon processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Started.
    pub starts: usize,
    /// Killed before they were ready.
    pub early: usize,
    /// Killed while a file was being written.
    pub writing: usize,
    /// Killed during a clean shutdown.
    pub during_shutdown: usize,
    /// Completed a clean shutdown before they could be killed.
    pub shut_down: usize,
    /// Started with a saved frequency.
    pub restored_frequency: usize,
    /// Started with a saved keyset.
    pub restored_keyset: usize,
    /// Resumed a saved NTS session.
    pub restored_session: usize,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.starts += other.starts;
        self.early += other.early;
        self.writing += other.writing;
        self.during_shutdown += other.during_shutdown;
        self.shut_down += other.shut_down;
        self.restored_frequency += other.restored_frequency;
        self.restored_keyset += other.restored_keyset;
        self.restored_session += other.restored_session;
    }
}

/// Starts and kills daemons `count` times, in `lanes` parallel lanes; `seed` determines the times.
/// Prints a line to standard error every hundred starts of a lane.
///
/// # Panics
/// If a start fails or saved state is lost; prints the log of that process.
pub fn torture(count: usize, lanes: usize, seed: u64) -> Summary {
    let authority = Authority::new();
    let certificate = authority.issue("torture", &["127.0.0.1".to_owned()]);
    let upstream = nts_server(&certificate);
    let mut server = upstream.setup.start(None);
    server
        .process
        .wait_for_event(LIMIT, "ke_server_started", &[]);
    let lanes = lanes.clamp(1, count.max(1));
    let mut summary = Summary::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..lanes)
            .map(|lane| {
                let (authority, certificate) = (&authority, &certificate);
                let runs = count / lanes + usize::from(lane < count % lanes);
                let seed = seed.wrapping_add(lane as u64);
                scope.spawn(move || {
                    Lane::new(upstream.keys, authority, certificate, seed).run(lane, runs)
                })
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(of_lane) => summary += of_lane,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    assert!(
        server.process.is_running(),
        "the server of all lanes exited"
    );
    summary
}

/// One daemon configuration, started repeatedly.
struct Lane {
    setup: Setup,
    rng: ChaCha8Rng,
    snapshot: StateSnapshot,
    summary: Summary,
}

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KillTime {
    Early,
    AnyTime,
    WhileWriting,
    DuringShutdown,
}

impl Lane {
    fn new(
        key_server: SocketAddr,
        authority: &Authority,
        certificate: &Certificate,
        seed: u64,
    ) -> Self {
        let server = with_nts_server(Setup::new(1), certificate);
        let record = server.setup.state().join("../record");
        let setup = server
            .setup
            .replacing(
                "[observability]\n",
                &format!("[observability]\nrecord-path = \"{}\"\n", record.display()),
            )
            .nts_source(key_server, authority)
            .with(&format!(
                "[keyset]\nkey-rotation-interval = 1\nstale-key-count = {STALE_KEYS}"
            ));
        Self {
            setup,
            rng: ChaCha8Rng::seed_from_u64(seed),
            snapshot: StateSnapshot::default(),
            summary: Summary::default(),
        }
    }

    fn run(mut self, lane: usize, runs: usize) -> Summary {
        for run in 0..runs {
            self.run_once();
            if (run + 1) % 100 == 0 {
                eprintln!("lane {lane}: {} starts", run + 1);
            }
        }
        // The last run ends with a clean shutdown.
        let mut daemon = self.setup.start(None);
        daemon.wait_synchronized(LIMIT);
        assert_eq!(daemon.stop().code(), Some(0));
        self.check(&daemon);
        self.summary
    }

    fn run_once(&mut self) {
        let kill_time = match self.rng.next_u32() % 4 {
            0 => KillTime::Early,
            1 => KillTime::AnyTime,
            2 => KillTime::WhileWriting,
            _ => KillTime::DuringShutdown,
        };
        let state = self.setup.state();
        // An incomplete session file does not count.
        let is_session = |name: &String| name.starts_with("nts-") && !name.ends_with(".new");
        let stored = files_in(&state).iter().any(is_session);
        let mut daemon = self.setup.start(None);
        self.summary.starts += 1;
        if kill_time == KillTime::Early {
            self.sleep_up_to(300);
            self.summary.early += 1;
        } else {
            daemon.wait_until(LIMIT, "the observation socket", |_| true);
            self.assert_state_restored(&daemon, stored);
            if kill_time == KillTime::DuringShutdown {
                self.sleep_up_to(4000);
            } else {
                self.sleep_up_to(2500);
            }
        }
        match kill_time {
            KillTime::WhileWriting => {
                if wait_for_write(&state) {
                    self.summary.writing += 1;
                }
            }
            KillTime::DuringShutdown => {
                daemon.process.signal(Signal::TERM);
                self.sleep_up_to(40);
                if daemon.process.is_running() {
                    self.summary.during_shutdown += 1;
                } else {
                    self.summary.shut_down += 1;
                    let status = daemon.process.wait_exit(LIMIT);
                    assert_eq!(status.code(), Some(0), "a clean shutdown");
                }
            }
            KillTime::Early | KillTime::AnyTime => {}
        }
        if kill_time != KillTime::DuringShutdown {
            assert!(daemon.process.is_running(), "it exited by itself");
        }
        daemon.process.signal(Signal::KILL);
        daemon.process.wait_exit(LIMIT);
        self.check(&daemon);
    }

    /// Sleeps for a random time of at most `milliseconds`.
    fn sleep_up_to(&mut self, milliseconds: u32) {
        let micros = u64::from(self.rng.next_u32() % (milliseconds * 1000));
        wait::sleep(Duration::from_micros(micros));
    }

    /// Asserts that the daemon uses the state that was there at its start.
    fn assert_state_restored(&mut self, daemon: &Daemon, stored: bool) {
        if self.snapshot.has_frequency() {
            daemon
                .process
                .wait_for_event(LIMIT, "frequency_restored", &[]);
            self.summary.restored_frequency += 1;
        }
        if stored {
            daemon
                .process
                .wait_for_event(LIMIT, "nts_session_restored", &[]);
            self.summary.restored_session += 1;
        }
        self.summary.restored_keyset += usize::from(self.snapshot.has_keyset());
    }

    /// Checks the log and the state directory of a process that has ended.
    fn check(&mut self, daemon: &Daemon) {
        for name in FORBIDDEN_EVENTS {
            let events = daemon.process.events(name);
            assert!(events.is_empty(), "{events:?}");
        }
        for text in FORBIDDEN_LOG_TEXTS {
            let lines = daemon.process.lines_with(text);
            assert!(lines.is_empty(), "{lines:?}");
        }
        match StateSnapshot::check(&self.setup.state(), &self.snapshot) {
            Ok(snapshot) => self.snapshot = snapshot,
            Err(problem) => panic!("{problem}"),
        }
    }
}

/// Waits until a file is being written. The keyset is written each second; returns `false` if no
/// write was seen.
fn wait_for_write(state: &Path) -> bool {
    for _ in 0..3000 {
        if files_in(state).iter().any(|name| name.ends_with(".new")) {
            return true;
        }
        wait::sleep(Duration::from_micros(500));
    }
    false
}

/// A server with NTS on its own ports.
#[derive(Debug)]
pub struct NtsServer {
    /// Configuration.
    pub setup: Setup,
    /// Address of key exchange.
    pub keys: SocketAddr,
    /// Address of NTP.
    pub time: SocketAddr,
}

/// A server that serves the machine's clock unsteered, with NTS and without.
///
/// # Panics
/// If there are no free ports.
pub fn nts_server(certificate: &Certificate) -> NtsServer {
    let plain = Setup::new(1)
        .unsteered()
        .synchronization("local-stratum = 1")
        .replacing("log-level = \"debug\"\n", "log-level = \"info\"\n");
    with_nts_server(plain, certificate)
}

/// Adds NTP and key-exchange servers to `setup`, on free ports of 127.0.0.1.
///
/// # Panics
/// If there are no free ports.
pub fn with_nts_server(setup: Setup, certificate: &Certificate) -> NtsServer {
    let (time, keys) = free_ports();
    let setup = setup
        .with(&format!("[[server]]\nlisten = \"{time}\"\nworkers = 1"))
        .with(
            &certificate
                .ke_server_section(&keys.to_string(), &format!("ntp-port = {}", time.port())),
        );
    NtsServer { setup, keys, time }
}

/// Two free ports. The kernel assigns ports in turn, so they are not reused soon.
fn free_ports() -> (SocketAddr, SocketAddr) {
    let find = || {
        let time = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let keys = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok::<_, std::io::Error>((time, keys))
    };
    match find() {
        Ok(ports) => ports,
        Err(error) => panic!("no free ports: {error}"),
    }
}
