//! Reference clocks: fake producers in front of the real daemon.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::Setup;
use ntp_e2e::gpsd::{self, Gpsd};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::peers;
use ntp_e2e::process::{self, Process};
use ntp_e2e::producer::{Producer, Receiver, now};
use ntp_e2e::{scenario, wait};
use ntp_os_clock::shared_memory::SharedMemory;
use test_binaries::Behaviour;

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Time between two samples.
const PAUSE: Duration = Duration::from_millis(250);

/// Largest error of the clock in seconds while gpsd dates pulses: it waits for the edge as other
/// programs do, on a machine that other tests load. Sentences are late by five times as much.
const PULSE_ERROR: f64 = 0.02;

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(a_program_that_sends_samples_to_a_socket_disciplines_the_clock),
            scenario!(a_program_that_writes_to_shared_memory_disciplines_the_clock),
            scenario!(reports_of_gpsd_discipline_the_clock_and_it_may_come_back),
            scenario!(a_receiver_at_a_serial_port_disciplines_the_clock),
            scenario!(a_real_gpsd_that_sends_pulses_to_a_socket_disciplines_the_clock),
            scenario!(reports_of_a_real_gpsd_discipline_the_clock_once_it_is_there),
            scenario!(a_reference_clock_is_added_and_removed_at_run_time),
            scenario!(a_lock_is_found_by_a_short_name_and_refused_without_a_source),
        ],
    )
}

/// Sends samples to a socket; every fourth is followed by one with a wrong mark.
fn send_samples(path: &Path) -> Producer {
    let (socket, path) = (UnixDatagram::unbound().expect("a socket"), path.to_owned());
    Producer::start(PAUSE, move |count| {
        // The daemon may not be there yet, or any more.
        let _ = socket.send_to(&datagram(MAGIC, 0), &path);
        if count.is_multiple_of(4) {
            let _ = socket.send_to(&datagram(1, 0), &path);
        }
    })
}

/// Sends pulses to a socket: samples that do not say to which second they belong.
fn send_pulses(path: &Path) -> Producer {
    let (socket, path) = (UnixDatagram::unbound().expect("a socket"), path.to_owned());
    Producer::start(PAUSE, move |_| {
        let _ = socket.send_to(&datagram(MAGIC, 1), &path);
    })
}

/// The mark of a sample: "SOCK".
const MAGIC: i32 = 0x534F_434B;

/// A sample of a clock that agrees with the kernel's, or a pulse of it.
fn datagram(magic: i32, pulse: i32) -> Vec<u8> {
    let now = now();
    let mut octets = Vec::new();
    octets.extend(now.as_secs().to_ne_bytes());
    octets.extend(u64::from(now.subsec_micros()).to_ne_bytes());
    octets.extend(0f64.to_ne_bytes());
    for field in [pulse, 0, 0, magic] {
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
    let producer = send_samples(&socket);
    let mut daemon = setup.start(None);
    let observation = daemon.wait_until(LIMIT, "a synchronised clock", |observation| {
        observation.is_synchronized() && observation.true_offset().abs() < 1e-3
    });
    assert_eq!(observation.stratum(), 1);
    assert!(observation.true_offset().abs() <= observation.error_bound());
    daemon.process.wait_for_event(LIMIT, "refclock_opened", &[]);
    let opened = daemon.process.events("refclock_opened");
    assert_eq!(opened.len(), 1, "{opened:?}");
    // One in four samples is followed by one with a wrong mark; that is reported once.
    wait::until(LIMIT, "two refused readings", || {
        let (_, details) = setup.ntp_ctl(&["source", &path.to_string()]);
        details.contains("2: it is not well-formed").then_some(())
    });
    daemon.process.wait_for_event(LIMIT, "sample_refused", &[]);
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
    let producer = send_samples(&socket);
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
    // A thread opens it.
    wait::until(LIMIT, "the socket", || socket.exists().then_some(()));
    let _producer = send_samples(&socket);
    daemon.wait_synchronized(LIMIT);
    let (code, text) = setup.ntp_ctl(&["source", "remove", &path]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!socket.exists());
    assert_eq!(daemon.stop().code(), Some(0));
}

fn a_lock_is_found_by_a_short_name_and_refused_without_a_source() {
    let server = peers::reference_server(Behaviour::default());
    let setup = Setup::new(1).server(&server.address().to_string());
    let socket = socket_in(&setup);
    let path = socket.display().to_string();
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let add = |lock: &str| {
        let lock = format!("lock={lock}");
        setup.ntp_ctl(&[
            "source",
            "add",
            &path,
            "mode=sock",
            "precision=1e-5",
            "accuracy=1e-4",
            &lock,
        ])
    };
    let (code, text) = add("192.0.2.1");
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("names no source"), "{text}");
    assert!(text.contains(&server.address().to_string()), "{text}");
    // The configured name has the port.
    let (code, text) = add("127.0.0.1");
    assert_eq!(code, Some(0), "{text}");
    let _producer = send_pulses(&socket);
    wait::until(LIMIT, "numbered pulses", || {
        let (_, details) = setup.ntp_ctl(&["source", &path]);
        let samples = details.lines().find(|line| line.starts_with("Samples"))?;
        (!samples.contains(" 0 accepted")).then_some(())
    });
    assert_eq!(daemon.stop().code(), Some(0));

    let setup = setup.with(
        "[[source]]\nmode = \"pps\"\npath = \"/dev/pps0\"\nprecision = 1e-6\nlock = \"192.0.2.1\"",
    );
    let start = Process::spawn("ntp-daemon", setup.command(None, Program::Daemon));
    let (code, text) = start.outcome();
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("names no source"), "{text}");
}

fn a_program_that_writes_to_shared_memory_disciplines_the_clock() {
    // A unit that no other program of this machine uses.
    let unit = 150 + std::process::id() % 50;
    let key = 0x4E54_5030 + i32::try_from(unit).expect("a small number");
    let memory = SharedMemory::open(key, 96).expect("a segment");
    let setup = Setup::new(1).with(&format!(
        "[[source]]\nmode = \"shm\"\nunit = {unit}\nprecision = 1e-4\naccuracy = 1e-3"
    ));
    let mut daemon = setup.start(None);
    let producer = Producer::start(PAUSE, move |count| {
        memory.set_word(0, 1);
        memory.set_word(4, 2 * count + 1);
        memory.set_word(48, 0);
        let now = now();
        for (seconds, micros, nanos) in [(8, 16, 52), (24, 32, 56)] {
            let whole = now.as_secs().to_ne_bytes();
            let [a, b, c, d, e, f, g, h] = whole;
            memory.set_word(seconds, u32::from_ne_bytes([a, b, c, d]));
            memory.set_word(seconds + 4, u32::from_ne_bytes([e, f, g, h]));
            memory.set_word(micros, now.subsec_micros());
            memory.set_word(nanos, now.subsec_nanos());
        }
        memory.set_word(4, 2 * count + 2);
        memory.set_word(48, 1);
    });
    let observation = daemon.wait_until(LIMIT, "a synchronised clock", |observation| {
        observation.is_synchronized() && observation.true_offset().abs() < 1e-3
    });
    assert_eq!(observation.stratum(), 1);
    assert_eq!(daemon.stop().code(), Some(0));
    drop(producer);
    let memory = SharedMemory::open(key, 96).expect("a segment");
    memory.remove().expect("removed");
}

fn reports_of_gpsd_discipline_the_clock_and_it_may_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("non-blocking");
    let setup = Setup::new(1).with(&format!(
        "[[source]]\nmode = \"gpsd\"\naddress = \"{address}\"\nsignal = \"serial\"\n\
         precision = 1e-4\naccuracy = 1e-3\npoll-interval = 0"
    ));
    let mut daemon = setup.start(None);
    let mut watcher: Option<TcpStream> = None;
    let _producer = Producer::start(PAUSE, move |count| {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = writeln!(stream, "{{\"class\":\"VERSION\",\"release\":\"3.22\"}}");
            let _ = writeln!(stream, "{{\"class\":\"TPV\",\"mode\":3}}");
            watcher = Some(stream);
        }
        let (seconds, nanos) = (now().as_secs(), now().subsec_nanos());
        if let Some(stream) = &mut watcher {
            let _ = writeln!(
                stream,
                "{{\"class\":\"TOFF\",\"device\":\"/dev/pts/1\",\"real_sec\":{seconds},\
                 \"real_nsec\":{nanos},\"clock_sec\":{seconds},\"clock_nsec\":{nanos}}}"
            );
        }
        // gpsd is started again.
        if count % 40 == 39 {
            watcher = None;
        }
    });
    let observation = daemon.wait_until(LIMIT, "a synchronised clock", |observation| {
        observation.is_synchronized() && observation.true_offset().abs() < 1e-3
    });
    assert_eq!(observation.stratum(), 1);
    daemon.process.wait_for_event(LIMIT, "refclock_failed", &[]);
    wait::until(LIMIT, "another connection", || {
        let opened = daemon.process.events("refclock_opened");
        (opened.len() >= 2).then_some(())
    });
    assert_eq!(daemon.stop().code(), Some(0));
}

fn a_receiver_at_a_serial_port_disciplines_the_clock() {
    let receiver = Receiver::plug_in();
    let port = receiver.port();
    let setup = Setup::new(1).with(&format!(
        "[[source]]\nmode = \"nmea\"\npath = \"{port}\"\nprecision = 0.01\naccuracy = 0.02\n\
         offset = 0.1"
    ));
    let mut daemon = setup.start(None);
    let observation = daemon.wait_until(LIMIT, "a synchronised clock", |observation| {
        observation.is_synchronized() && observation.true_offset().abs() < 0.05
    });
    assert_eq!(observation.stratum(), 1);
    drop(receiver);
    // The receiver was pulled out.
    daemon.process.wait_for_event(LIMIT, "refclock_failed", &[]);
    assert_eq!(daemon.stop().code(), Some(0));
}

fn a_real_gpsd_that_sends_pulses_to_a_socket_disciplines_the_clock() {
    if let Some(lacking) = gpsd::missing() {
        return harness::skip(lacking);
    }
    let gpsd = Gpsd::new();
    let socket = gpsd.socket();
    let setup = Setup::new(1).with(&format!(
        "[[source]]\nmode = \"sock\"\npath = \"{}\"\nprecision = 0.01\naccuracy = 0.01\n\
         poll-interval = 0",
        socket.display()
    ));
    let mut daemon = setup.start(None);
    daemon.process.wait_for_event(LIMIT, "refclock_opened", &[]);
    let process = gpsd.start();
    let observation = daemon.wait_until(LIMIT, "a synchronised clock", |observation| {
        observation.is_synchronized() && observation.true_offset().abs() < PULSE_ERROR
    });
    assert_eq!(observation.stratum(), 1);
    assert!(observation.true_offset().abs() <= observation.error_bound());
    // It was gpsd, and it sends nothing that is refused.
    process.wait_for_line(LIMIT, "accepted chrony sock");
    let refused = daemon.process.events("sample_refused");
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!socket.exists(), "the socket is removed");
}

fn reports_of_a_real_gpsd_discipline_the_clock_once_it_is_there() {
    if let Some(lacking) = gpsd::missing() {
        return harness::skip(lacking);
    }
    let gpsd = Gpsd::new();
    let setup = Setup::new(1).with(&format!(
        "[[source]]\nmode = \"gpsd\"\naddress = \"{}\"\nprecision = 0.01\naccuracy = 0.01\n\
         poll-interval = 0",
        gpsd.address()
    ));
    let mut daemon = setup.start(None);
    daemon.process.wait_for_event(LIMIT, "refclock_failed", &[]);
    let process = gpsd.start();
    let observation = daemon.wait_until(LIMIT, "a synchronised clock", |observation| {
        // The sentences, which come before the first pulse, are late by much more than is stated.
        let error = observation.true_offset().abs();
        assert!(error <= observation.error_bound(), "{observation:?}");
        observation.is_synchronized() && error < PULSE_ERROR
    });
    assert_eq!(observation.stratum(), 1);
    drop(process);
    let measured = daemon.process.events("measured").len();
    let _process = gpsd.start();
    wait::until(LIMIT, "the clock is back", || {
        (daemon.process.events("measured").len() > measured).then_some(())
    });
    assert_eq!(daemon.stop().code(), Some(0));
}
