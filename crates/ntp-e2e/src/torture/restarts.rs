//! A thousand restarts: the real daemon, killed with SIGKILL at moments of chance, must come up again each time and find what it was promised.
//!
//! Each **lane** is one daemon with a directory of its own, started over and over. It is client and server with NTS, saves the clock's state, replaces
//! the keys of cookies each second, records what it is told, and has a control and an observation socket, whose files a killed process leaves behind. A life ends
//!
//! * within its first instants,
//! * at any moment once it is ready,
//! * when a file is just being written, or
//! * in the middle of an orderly end (SIGTERM first).
//!
//! It must not end by itself, must say nothing of damage, and leave what [`Remains`] asks for. Lanes mostly wait, so several run at once.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::AddAssign;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use rustix::process::Signal;

use super::state::{Remains, STALE};
use crate::certificates::{Authority, Certificate};
use crate::daemon::{Daemon, Setup, files_in};
use crate::wait;

/// For whatever takes moments.
const LIMIT: Duration = Duration::from_secs(120);

/// What no log may contain.
const COMPLAINTS: [&str; 5] = [
    "panicked",
    "cannot be used",
    "cannot write",
    "ERROR",
    "in use",
];

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Starts.
    pub starts: usize,
    /// Killed before they were ready.
    pub early: usize,
    /// Killed while a file was being written.
    pub writing: usize,
    /// Killed in the middle of an orderly end.
    pub ending: usize,
    /// Ended in order before they could be killed.
    pub ended: usize,
    /// Began with a frequency of an earlier life.
    pub knew_frequency: usize,
    /// Began with keys for cookies of an earlier life.
    pub knew_keys: usize,
    /// Went on with the NTS session of an earlier life.
    pub knew_session: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.starts += other.starts;
        self.early += other.early;
        self.writing += other.writing;
        self.ending += other.ending;
        self.ended += other.ended;
        self.knew_frequency += other.knew_frequency;
        self.knew_keys += other.knew_keys;
        self.knew_session += other.knew_session;
    }
}

/// Starts and kills daemons `count` times, on so many `lanes` at a time; `seed` decides when. A line for each hundred goes to standard error.
///
/// # Panics
/// If a start fails or a promise is broken, with the log of that life.
pub fn torture(count: usize, lanes: usize, seed: u64) -> Tally {
    let authority = Authority::new();
    let certificate = authority.issue("torture", &["127.0.0.1".to_owned()]);
    let giver = giver(&certificate);
    let mut server = giver.setup.start(None);
    server
        .process
        .wait_for_line(LIMIT, "giving out NTS keys at");
    let lanes = lanes.clamp(1, count.max(1));
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..lanes)
            .map(|lane| {
                let (authority, certificate) = (&authority, &certificate);
                let lives = count / lanes + usize::from(lane < count % lanes);
                let seed = seed.wrapping_add(lane as u64);
                scope.spawn(move || {
                    Lane::new(giver.keys, authority, certificate, seed).live(lane, lives)
                })
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(of_lane) => tally += of_lane,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    assert!(server.process.is_running(), "the server of all lanes ended");
    tally
}

/// One daemon and its many lives.
struct Lane {
    setup: Setup,
    chance: ChaCha8Rng,
    remains: Remains,
    tally: Tally,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Early,
    AnyTime,
    Writing,
    Ending,
}

impl Lane {
    fn new(giver: SocketAddr, authority: &Authority, certificate: &Certificate, seed: u64) -> Self {
        let served = served(Setup::new(1), certificate);
        let record = served.setup.state().join("../record");
        let setup = served
            .setup
            .replacing(
                "[observability]\n",
                &format!("[observability]\nrecord-path = \"{}\"\n", record.display()),
            )
            .with(&format!(
                "[[source]]\nmode = \"nts\"\naddress = \"{giver}\"\ncertificate-authority = \"{}\"\n\
                 poll-interval-limits = {{ min = 1, max = 1 }}\ninitial-poll-interval = 1\n\
                 [keyset]\nkey-rotation-interval = 1\nstale-key-count = {STALE}",
                authority.path().display()
            ));
        Self {
            setup,
            chance: ChaCha8Rng::seed_from_u64(seed),
            remains: Remains::default(),
            tally: Tally::default(),
        }
    }

    fn live(mut self, lane: usize, lives: usize) -> Tally {
        for life in 0..lives {
            self.one_life();
            if (life + 1) % 100 == 0 {
                eprintln!("lane {lane}: {} lives", life + 1);
            }
        }
        // The last word is an orderly life.
        let mut daemon = self.setup.start(None);
        daemon.wait_synchronized(LIMIT);
        assert_eq!(daemon.stop().code(), Some(0));
        self.judge(&daemon);
        self.tally
    }

    fn one_life(&mut self) {
        let end = match self.chance.next_u32() % 4 {
            0 => End::Early,
            1 => End::AnyTime,
            2 => End::Writing,
            _ => End::Ending,
        };
        let state = self.setup.state();
        // A session that was about to be written is none.
        let is_session = |name: &String| name.starts_with("nts-") && !name.ends_with(".new");
        let stored = files_in(&state).iter().any(is_session);
        let mut daemon = self.setup.start(None);
        self.tally.starts += 1;
        if end == End::Early {
            self.moment(300);
            self.tally.early += 1;
        } else {
            daemon.wait_until(LIMIT, "a sign of life", |_| true);
            self.assert_memory(&daemon, stored);
            if end == End::Ending {
                self.moment(4000);
            } else {
                self.moment(2500);
            }
        }
        match end {
            End::Writing => {
                if is_writing(&state) {
                    self.tally.writing += 1;
                }
            }
            End::Ending => {
                daemon.process.signal(Signal::TERM);
                self.moment(40);
                if daemon.process.is_running() {
                    self.tally.ending += 1;
                } else {
                    self.tally.ended += 1;
                    let status = daemon.process.wait_exit(LIMIT);
                    assert_eq!(status.code(), Some(0), "an orderly end");
                }
            }
            End::Early | End::AnyTime => {}
        }
        if end != End::Ending {
            assert!(daemon.process.is_running(), "it ended by itself");
        }
        daemon.process.signal(Signal::KILL);
        daemon.process.wait_exit(LIMIT);
        self.judge(&daemon);
    }

    /// Up to so many milliseconds.
    fn moment(&mut self, milliseconds: u32) {
        let micros = u64::from(self.chance.next_u32() % (milliseconds * 1000));
        wait::moment(Duration::from_micros(micros));
    }

    /// Asserts that what was there when it began is in use.
    fn assert_memory(&mut self, daemon: &Daemon, stored: bool) {
        if self.remains.knows_frequency() {
            daemon
                .process
                .wait_for_line(LIMIT, "known from an earlier run");
            self.tally.knew_frequency += 1;
        }
        if stored {
            daemon
                .process
                .wait_for_line(LIMIT, "going on with NTS keys of an earlier run");
            self.tally.knew_session += 1;
        }
        self.tally.knew_keys += usize::from(self.remains.has_keys());
    }

    /// After a life: what it said, and what it left.
    fn judge(&mut self, daemon: &Daemon) {
        for complaint in COMPLAINTS {
            let lines = daemon.process.lines_with(complaint);
            assert!(lines.is_empty(), "{lines:?}");
        }
        match Remains::look(&self.setup.state(), &self.remains) {
            Ok(remains) => self.remains = remains,
            Err(problem) => panic!("{problem}"),
        }
    }
}

/// Waits for a file in the making, and returns whether there was one: keys are replaced each second.
fn is_writing(state: &Path) -> bool {
    for _ in 0..3000 {
        if files_in(state).iter().any(|name| name.ends_with(".new")) {
            return true;
        }
        wait::moment(Duration::from_micros(500));
    }
    false
}

/// A configuration that serves with NTS on ports of its own.
#[derive(Debug)]
pub struct Served {
    /// The configuration.
    pub setup: Setup,
    /// Where keys are given out.
    pub keys: SocketAddr,
    /// Where time is.
    pub time: SocketAddr,
}

/// Offers the machine's clock as it is, with NTS and without.
///
/// # Panics
/// If there are no free ports.
pub fn giver(certificate: &Certificate) -> Served {
    let plain = Setup::new(1)
        .replacing("kind = \"virtual\"\n", "kind = \"none\"\n")
        .replacing("virtual-offset = 0.25\n", "")
        .replacing("virtual-frequency = 40.0\n", "")
        .replacing("log-level = \"debug\"\n", "log-level = \"info\"\n")
        .replacing(
            "[synchronization]\n",
            "[synchronization]\nlocal-stratum = 1\n",
        );
    served(plain, certificate)
}

/// Adds servers for time and keys to `setup`, on free ports of 127.0.0.1.
///
/// # Panics
/// If there are none.
pub fn served(setup: Setup, certificate: &Certificate) -> Served {
    let (time, keys) = free_ports();
    let setup = setup.with(&format!(
        "[[server]]\nlisten = \"{time}\"\nworkers = 1\n\
         [[nts-ke-server]]\nlisten = \"{keys}\"\nntp-port = {}\n\
         certificate-chain-path = \"{}\"\nprivate-key-path = \"{}\"",
        time.port(),
        certificate.chain.display(),
        certificate.key.display(),
    ));
    Served { setup, keys, time }
}

/// Ports that are free now; nobody else is given them soon, as the kernel goes round.
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
