//! Reference clocks: fake producers in front of the real daemon.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::process::{self, Process};
use ntp_e2e::{scenario, wait};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(a_program_that_sends_samples_to_a_socket_disciplines_the_clock),
            scenario!(a_reference_clock_is_added_and_removed_at_run_time),
        ],
    )
}

/// A program that sends samples to a socket: the kernel's clock is true time here, and the virtual
/// clock of the daemon is wrong.
struct SockProducer {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SockProducer {
    fn start(path: &Path) -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (stop, path) = (Arc::clone(&is_stopped), path.to_owned());
        let thread = thread::spawn(move || {
            let socket = UnixDatagram::unbound().expect("a socket");
            let mut count = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                // The daemon may not be there yet, or any more.
                let _ = socket.send_to(&datagram(0x534F_434B), &path);
                if count.is_multiple_of(4) {
                    let _ = socket.send_to(&datagram(1), &path);
                }
                count += 1;
                thread::sleep(Duration::from_millis(250));
            }
        });
        Self {
            is_stopped,
            thread: Some(thread),
        }
    }
}

impl Drop for SockProducer {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A sample of a clock that agrees with the kernel's.
fn datagram(magic: i32) -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let mut octets = Vec::new();
    octets.extend(now.as_secs().to_ne_bytes());
    octets.extend(u64::from(now.subsec_micros()).to_ne_bytes());
    octets.extend(0f64.to_ne_bytes());
    for field in [0, 0, 0, magic] {
        octets.extend(field.to_ne_bytes());
    }
    octets
}

fn socket_in(setup: &Setup) -> PathBuf {
    setup.state().with_file_name("gps.sock")
}

fn a_program_that_sends_samples_to_a_socket_disciplines_the_clock() {
    let setup = Setup::new(1);
    let (socket, record) = (socket_in(&setup), setup.state().join("record"));
    let path = socket.display();
    let setup = setup
        .with(&format!(
            "[[source]]\nmode = \"sock\"\npath = \"{path}\"\nprecision = 1e-5\naccuracy = 1e-4\n\
             reference-id = \"GPS\"\npoll-interval = 0"
        ))
        .replacing(
            "[observability]",
            &format!("[observability]\nrecord-path = \"{}\"", record.display()),
        );
    let producer = SockProducer::start(&socket);
    let mut daemon = setup.start(None);
    let observation = daemon.wait_until(LIMIT, "a synchronised clock", |observation| {
        observation.is_synchronized() && observation.true_offset().abs() < 1e-3
    });
    assert_eq!(observation.stratum(), 1);
    assert!(observation.true_offset().abs() <= observation.error_bound());
    let opened = daemon.process.events("refclock_opened");
    assert_eq!(opened.len(), 1, "{opened:?}");
    // One in four samples is followed by one with a wrong mark; that is reported once.
    wait::until(LIMIT, "two refused readings", || {
        let (_, details) = setup.ntp_ctl(&["source", &path.to_string()]);
        details.contains("2: it is not well-formed").then_some(())
    });
    let refused = daemon.process.events("sample_refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    let (code, details) = setup.ntp_ctl(&["source", &path.to_string()]);
    assert_eq!(code, Some(0), "{details}");
    for part in ["Driver", "sock", "accepted", "it is not well-formed"] {
        assert!(details.contains(part), "no {part:?} in\n{details}");
    }
    let (_, explained) = setup.ntp_ctl(&["explain"]);
    assert!(
        explained.contains("used: agrees with the majority"),
        "{explained}"
    );

    drop(producer);
    daemon
        .process
        .wait_for_event(LIMIT, "source_unreachable", &[]);
    let producer = SockProducer::start(&socket);
    wait::until(LIMIT, "the clock is back", || {
        let events = daemon.process.events("source_reachable");
        (events.len() >= 2).then_some(())
    });
    assert_eq!(daemon.stop().code(), Some(0));
    drop(producer);
    assert!(!socket.exists(), "the socket is removed");

    let mut replay = process::command(None, Program::Ctl.path());
    replay.arg("replay").arg(&record);
    let (code, text) = Process::spawn("ntp-ctl", replay).outcome();
    assert_eq!(code, Some(0), "{text}");
}

fn a_reference_clock_is_added_and_removed_at_run_time() {
    let setup = Setup::new(1);
    let socket = socket_in(&setup);
    let path = socket.display().to_string();
    let mut daemon = setup.start(None);
    daemon.wait_until(LIMIT, "a daemon that answers", |_| true);
    let (code, text) = setup.ntp_ctl(&[
        "source",
        "add",
        &path,
        "mode=sock",
        "precision=1e-5",
        "poll-interval=0",
    ]);
    assert_eq!(code, Some(0), "{text}");
    assert!(socket.exists());
    let _producer = SockProducer::start(&socket);
    daemon.wait_synchronized(LIMIT);
    let (code, text) = setup.ntp_ctl(&["source", "remove", &path]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!socket.exists());
    assert_eq!(daemon.stop().code(), Some(0));
}
