//! ClockBound's clients beside a writer that writes as fast as it can, and one that is killed.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use clock_bound_client::ClockBoundClient;
use clockbound_interop::{Status, Window, window_2};
use ntp_os_clock::segment::Segment;
use ntp_os_clock::{monotonic, monotonic_coarse};
use ntp_time::NtpDuration;

/// Generous, for a loaded machine.
const LIMIT: NtpDuration = NtpDuration::from_seconds(60);

/// Set for the process that writes until it is killed.
const WRITER: &str = "CLOCKBOUND_WRITER";

/// Half lengths of the windows, in nanoseconds. All octets differ, so that a mixture is neither.
const BOUNDS: [(i64, i32); 2] = [(0x0101_0101, 1), (0x0202_0202, 2)];

/// Body of `shm0` without drift, written down independently of the daemon's code.
fn body(bound: i64, status: i32) -> Vec<u8> {
    let second = monotonic_coarse().as_nanos() / 1_000_000_000;
    let mut body = Vec::new();
    for word in [second, 0, second + 1000, 0, bound, 0] {
        body.extend(word.to_ne_bytes());
    }
    body.extend(0u32.to_ne_bytes());
    body.extend(status.to_ne_bytes());
    body.extend([0; 8]);
    body
}

fn open(path: &Path) -> Segment {
    let file = File::options();
    let file = file
        .clone()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    Segment::open(&file.unwrap(), [0x414D_5A4E, 0x4342_0200, 80], 2).unwrap()
}

fn write_both(segment: &mut Segment) {
    for (bound, status) in BOUNDS {
        segment.write(&body(bound, status));
    }
}

/// Checks that a window is one of those that were written. Returns which.
fn check(window: &Window) -> usize {
    let found = BOUNDS.iter().position(|(bound, status)| {
        let status = [Status::Synchronized, Status::FreeRunning][*status as usize - 1];
        window.latest - window.earliest == 2 * bound && window.status == status
    });
    found.unwrap_or_else(|| panic!("torn: {window:?}"))
}

#[test]
fn no_reading_beside_a_fast_writer_is_torn() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shm0");
    let mut segment = open(&path);
    write_both(&mut segment);
    let mut client = ClockBoundClient::new_with_path(path.to_str().unwrap()).unwrap();
    check(&window_2(&mut client));
    let stop = AtomicBool::new(false);
    let (mut seen, mut changes) = ([0; 2], 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                write_both(&mut segment);
            }
        });
        let limit = monotonic() + LIMIT;
        let mut last = 2;
        let mut reads = 0u64;
        while (reads < 1_000_000 || changes < 100) && monotonic() < limit {
            let which = check(&window_2(&mut client));
            changes += u64::from(which != last);
            (last, reads) = (which, reads + 1);
            seen[which] += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(changes >= 100, "{seen:?}");
}

/// Not a test: the process that the test below kills.
#[test]
fn writer_process() {
    let Some(path) = std::env::var_os(WRITER) else {
        return;
    };
    let mut segment = open(path.as_ref());
    loop {
        write_both(&mut segment);
    }
}

#[test]
fn a_writer_that_is_killed_leaves_a_segment_that_the_next_one_continues() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shm0");
    write_both(&mut open(&path));
    let mut client = ClockBoundClient::new_with_path(path.to_str().unwrap()).unwrap();
    let mut interrupted = 0;
    for round in 0..40 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_process"])
            .env(WRITER, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let limit = monotonic() + LIMIT;
        let mut changes = 0;
        let mut last = check(&window_2(&mut client));
        // The writer runs once the windows change, and is killed at a time that differs.
        while changes < 3 + round {
            let which = check(&window_2(&mut client));
            changes += u32::from(which != last);
            last = which;
            assert!(monotonic() < limit, "no writer");
        }
        // SIGKILL.
        writer.kill().unwrap();
        writer.wait().unwrap();
        check(&window_2(&mut client));
        let mut next = open(&path);
        interrupted += u32::from(!next.generation().is_multiple_of(2));
        next.write(&body(BOUNDS[0].0, BOUNDS[0].1));
        assert!(next.generation().is_multiple_of(2));
        assert_eq!(check(&window_2(&mut client)), 0);
        next.write(&body(BOUNDS[1].0, BOUNDS[1].1));
        assert_eq!(check(&window_2(&mut client)), 1);
    }
    eprintln!("killed within a write: {interrupted} of 40");
}
