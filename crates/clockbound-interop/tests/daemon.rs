//! ClockBound's clients beside a daemon whose clock steps, slews, loses its sources, restarts and
//! migrates: true time is inside of every window, whatever its status.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use clockbound_interop::{Daemon, Readers, Start, Status, Window, server, virtual_clock, window_3};
use ntp_os_clock::counter::Counter;
use ntp_os_clock::{monotonic, realtime};
use ntp_time::{Frequency, NtpDuration};

/// Generous, for a loaded machine.
const LIMIT: NtpDuration = NtpDuration::from_seconds(60);

/// Runs the daemon and reads both segments until both satisfy a condition.
fn read_until(daemon: &mut Daemon, readers: &mut Readers, wanted: impl Fn(&Window) -> bool) {
    let limit = monotonic() + LIMIT;
    loop {
        daemon.run();
        let windows = readers.check();
        if windows.iter().all(&wanted) {
            return;
        }
        assert!(monotonic() < limit, "{windows:?}");
    }
}

fn is(status: Status) -> impl Fn(&Window) -> bool {
    move |window| window.status == status
}

/// Reads without a daemon.
fn read_for(readers: &mut Readers, time: NtpDuration) {
    let end = monotonic() + time;
    while monotonic() < end {
        readers.check();
        std::thread::yield_now();
    }
}

fn has_counter() -> bool {
    let found = Counter::open();
    if let Err(error) = &found {
        eprintln!("skipped: {error}");
    }
    found.is_ok()
}

#[test]
fn truth_is_inside_through_a_step_a_loss_of_sources_and_a_restart() {
    if !has_counter() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let clock = virtual_clock(NtpDuration::from_millis(300), Frequency::from_ppm(60.0));
    let first = server(0);
    let address = first.address();
    let start = || {
        let mut daemon = Daemon::start(Start {
            directory: directory.path(),
            clock: &clock,
            server: address,
            step_threshold: 0.05,
            page: None,
        });
        daemon.run();
        daemon
    };
    let mut daemon = start();
    let mut readers = Readers::open(directory.path(), &clock);
    assert!(readers.check().iter().all(is(Status::Unknown)));
    read_until(&mut daemon, &mut readers, is(Status::Synchronized));
    let small = NtpDuration::from_millis(5);
    read_until(&mut daemon, &mut readers, |window| window.bound() < small);

    drop(first);
    read_until(&mut daemon, &mut readers, is(Status::FreeRunning));
    let second = server(address.port());
    read_until(&mut daemon, &mut readers, is(Status::Synchronized));

    daemon.stop();
    assert!(readers.check().iter().all(is(Status::Unknown)));
    read_for(&mut readers, NtpDuration::from_millis(100));
    // The clients keep their mapping of the file.
    let mut daemon = start();
    assert!(readers.check().iter().all(is(Status::Unknown)));
    read_until(&mut daemon, &mut readers, is(Status::Synchronized));
    // Without the end in order, as if it was killed.
    drop(daemon);
    read_for(&mut readers, NtpDuration::from_seconds(1));
    assert!(readers.check().iter().all(is(Status::Synchronized)));
    let mut daemon = start();
    read_until(&mut daemon, &mut readers, is(Status::Synchronized));
    daemon.stop();
    drop(second);
    assert!(readers.reads > 1000, "{}", readers.reads);
}

/// The kernel would go on with the slew, past the correct time.
#[test]
fn truth_is_inside_while_the_clock_slews_and_the_daemon_dies_during_it() {
    if !has_counter() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let offset = NtpDuration::from_millis(3);
    let clock = virtual_clock(offset, Frequency::from_ppm(-30.0));
    let server = server(0);
    let mut daemon = Daemon::start(Start {
        directory: directory.path(),
        clock: &clock,
        server: server.address(),
        step_threshold: 10.0,
        page: None,
    });
    daemon.run();
    let mut readers = Readers::open(directory.path(), &clock);
    read_until(&mut daemon, &mut readers, is(Status::Synchronized));
    let error = || {
        let clock = clock.read().unwrap();
        clock.true_offset(realtime())
    };
    let limit = monotonic() + LIMIT;
    while error().abs() > offset.half() {
        daemon.run();
        let [window, counted] = readers.check();
        assert_eq!(window.status, Status::Synchronized);
        // What is left to be slewed is part of the one and not of the other.
        assert!(counted.status != Status::Synchronized || counted.bound() < window.bound());
        assert!(monotonic() < limit);
    }
    drop(daemon);
    let limit = monotonic() + LIMIT;
    while error().abs() < offset {
        read_for(&mut readers, NtpDuration::from_millis(10));
        assert!(monotonic() < limit, "the slew goes on");
    }
    assert!(readers.reads > 1000, "{}", readers.reads);
}

/// A page of version 1 with a marker and nothing else. Readers notice a change by the sequence.
fn write_page(page: &File, sequence: u32, marker: u64) {
    let mut octets = [0; 112];
    octets[..4].copy_from_slice(&0x4B4C_4356u32.to_le_bytes());
    octets[4..8].copy_from_slice(&104u32.to_le_bytes());
    octets[8] = 1;
    octets[10] = 0xff;
    octets[12..16].copy_from_slice(&sequence.to_le_bytes());
    octets[16..24].copy_from_slice(&marker.to_le_bytes());
    page.write_all_at(&octets, 0).unwrap();
}

#[test]
fn a_migration_is_a_disruption_until_the_clock_is_measured_again() {
    if !has_counter() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page");
    let page = File::create(&path).unwrap();
    write_page(&page, 2, 7);
    let clock = virtual_clock(NtpDuration::from_millis(3), Frequency::ZERO);
    let server = server(0);
    let mut daemon = Daemon::start(Start {
        directory: directory.path(),
        clock: &clock,
        server: server.address(),
        step_threshold: 10.0,
        page: Some((path.clone(), 7)),
    });
    daemon.run();
    let segment = directory.path().join("shm1");
    let mut client =
        clock_bound::Client::new_with_paths(segment.to_str().unwrap(), path.to_str().unwrap())
            .unwrap();
    let mut read_until = |daemon: &mut Daemon, wanted: Status| {
        let limit = monotonic() + LIMIT;
        while window_3(&mut client).status != wanted {
            daemon.run();
            assert!(monotonic() < limit, "{:?}", window_3(&mut client));
        }
    };
    read_until(&mut daemon, Status::Synchronized);
    write_page(&page, 4, 8);
    // The client compares the page itself, before the daemon runs.
    read_until(&mut daemon, Status::Disrupted);
    daemon.run();
    // The daemon has seen the page, too: what it states now is its own status.
    read_until(&mut daemon, Status::Disrupted);
    read_until(&mut daemon, Status::Synchronized);
    daemon.stop();
}
