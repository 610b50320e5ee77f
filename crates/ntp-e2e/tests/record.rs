//! What a daemon recorded, replayed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::process::Process;
use ntp_e2e::scenario;
use ntp_time::NtpDuration;
use test_binaries::{Behaviour, Misbehaviour, ReferenceServer};

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(the_same_program_decides_the_same_again),
            scenario!(what_an_operator_did_is_done_again),
            scenario!(a_damaged_record_is_replayed_as_far_as_it_goes),
            scenario!(a_record_of_something_else_is_refused_with_its_line),
        ],
    )
}

fn server(behaviour: Behaviour) -> ReferenceServer {
    let address = "127.0.0.1:0".parse().expect("an address");
    ReferenceServer::bind(address, behaviour).expect("loopback")
}

fn the_same_program_decides_the_same_again() {
    let wrong = Behaviour {
        offset: NtpDuration::from_millis(400),
        ..Behaviour::default()
    };
    let servers = [
        server(Behaviour::default()),
        server(Behaviour::default()),
        server(wrong),
        server(Behaviour::with(Misbehaviour::WrongOrigin)),
    ];
    let setup = servers.iter().fold(Setup::new(2), |setup, server| {
        setup.server(&server.address().to_string())
    });
    let record = setup.state().join("record");
    let key = format!("[observability]\nrecord-path = \"{}\"", record.display());
    let setup = setup.replacing("[observability]", &key);
    let mut daemon = setup.start(None);
    daemon.wait_until(LIMIT, "a settled clock", |observation| {
        let settled = observation
            .sources()
            .iter()
            .all(|source| source.packets_sent() >= 8);
        observation.is_synchronized() && settled
    });
    assert_eq!(daemon.stop().code(), Some(0));

    let text = fs::read_to_string(&record).expect("a record");
    let mode = fs::metadata(&record)
        .expect("a record")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(text.contains("\"in\":\"applied\"") && text.contains("\"in\":\"reply\""));
    let picture = setup.state().join("picture.svg");
    let replay = || {
        let mut command = setup.command(None, Program::Ctl);
        command.arg("replay").arg(&record).arg("--all");
        command.arg("--svg").arg(&picture);
        let mut process = Process::spawn("ntp-ctl replay", command);
        assert_eq!(process.wait_exit(LIMIT).code(), Some(0));
        process.lines()
    };
    let told = replay();
    let last = told.last().expect("an answer");
    assert!(
        last.starts_with("All ") && last.ends_with(" decisions are the same."),
        "{told:#?}"
    );
    assert!(
        told.iter().any(|line| line.contains("clock stepped by")),
        "{told:#?}"
    );
    assert!(
        told.iter().any(|line| line.contains("run at ")),
        "{told:#?}"
    );
    assert_eq!(replay(), told);
    let picture = fs::read_to_string(&picture).expect("a picture");
    assert!(picture.contains("<polyline") && picture.matches("<circle").count() > 20);

    // An engine that wants more sources to agree than there are would not have touched the clock.
    let other = text.replacen(
        "\"minimum-agreeing-sources\":2",
        "\"minimum-agreeing-sources\":5",
        1,
    );
    fs::write(&record, other).expect("a record");
    let told = replay();
    assert!(
        told.iter()
            .any(|line| line.starts_with("- ") && line.contains("clock stepped by")),
        "{told:#?}"
    );
    assert!(
        !told
            .iter()
            .any(|line| line.starts_with("+ ") && line.contains("clock stepped by")),
        "{told:#?}"
    );
}

/// `ntp-ctl` with these arguments: its exit code and what it said.
fn ntp_ctl(setup: &Setup, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut command = setup.command(None, Program::Ctl);
    command.args(arguments);
    let mut process = Process::spawn("ntp-ctl", command);
    let code = process.wait_exit(LIMIT).code();
    (code, process.lines())
}

/// A setup that records, and its record's path.
fn recording(servers: &[ReferenceServer]) -> (Setup, String) {
    let setup = servers.iter().fold(Setup::new(2), |setup, server| {
        setup.server(&server.address().to_string())
    });
    let record = setup.state().join("record").display().to_string();
    let key = format!("[observability]\nrecord-path = \"{record}\"");
    (setup.replacing("[observability]", &key), record)
}

fn what_an_operator_did_is_done_again() {
    let servers = [(); 3].map(|()| server(Behaviour::default()));
    let another = server(Behaviour::default()).address().to_string();
    let one = servers[0].address().to_string();
    let (setup, record) = recording(&servers);
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let wishes: [&[&str]; 9] = [
        &["source", "add", &another],
        &["source", "set", &one, "prefer=true"],
        &["source", "offline", &one],
        &["source", "burst"],
        &["source", "online"],
        &["step"],
        &["source", "remove", &another],
        &["source", "remove", &another],
        &["reload"],
    ];
    for (index, wish) in wishes.iter().enumerate() {
        let (code, said) = ntp_ctl(&setup, wish);
        // The second removal is refused, and that is replayed, too.
        assert_eq!(code == Some(0), index != 7, "{wish:?}: {said:#?}");
    }
    let before = daemon.observe().expect("an observation").sources()[0].packets_sent();
    daemon.wait_until(LIMIT, "some more exchanges", |observation| {
        let sources = observation.sources();
        observation.is_synchronized()
            && sources
                .iter()
                .all(|source| source.packets_sent() >= before + 4)
    });
    assert_eq!(daemon.stop().code(), Some(0));

    let picture = setup.state().join("picture.svg");
    let (code, told) = ntp_ctl(
        &setup,
        &[
            "replay",
            &record,
            "--all",
            "--svg",
            &picture.display().to_string(),
        ],
    );
    assert_eq!(code, Some(0));
    let last = told.last().expect("an answer");
    assert!(
        last.starts_with("All ") && last.ends_with(" decisions are the same."),
        "{told:#?}"
    );
    assert!(
        !told.iter().any(|line| line.contains("Not exact")),
        "{told:#?}"
    );
    for wish in [
        "add ",
        "set ",
        "offline ",
        "burst ",
        "online ",
        "step: from",
        "reload: ",
    ] {
        let done = told
            .iter()
            .filter(|line| line.contains(&format!("  {wish}")));
        assert_eq!(done.count(), 1, "{wish}: {told:#?}");
    }
    let picture = fs::read_to_string(&picture).expect("a picture");
    // A source that is not there is refused before the engine is asked.
    assert!(picture.matches("class=\"mark\"").count() >= wishes.len() - 1);
}

fn a_damaged_record_is_replayed_as_far_as_it_goes() {
    let servers = [(); 2].map(|()| server(Behaviour::default()));
    let (setup, record) = recording(&servers);
    let mut daemon = setup.start(None);
    daemon.wait_until(LIMIT, "some exchanges", |observation| {
        let mut sources = observation.sources().into_iter();
        sources.all(|source| source.packets_sent() >= 8)
    });
    assert_eq!(daemon.stop().code(), Some(0));
    let text = fs::read(&record).expect("a record");
    let lines: Vec<&[u8]> = text.split_inclusive(|octet| *octet == b'\n').collect();
    assert!(lines.len() > 60, "{}", lines.len());
    // A block of zeros, as a disk leaves it after a power cut, and the last line cut off.
    let zeros = [0u8; 4096];
    let end = lines.concat().len() - 5;
    let damaged = [
        &lines[..40].concat(),
        &zeros[..],
        b"\n",
        &lines[45..].concat(),
    ]
    .concat();
    fs::write(&record, damaged).expect("a record");
    let (code, told) = ntp_ctl(&setup, &["replay", &record]);
    assert_eq!(code, Some(0), "{told:#?}");
    let gap = format!("Not exact: line 41 of {record} is damaged.");
    assert!(told.contains(&gap), "{told:#?}");
    fs::write(&record, &text[..end]).expect("a record");
    let (code, told) = ntp_ctl(&setup, &["replay", &record]);
    assert_eq!(code, Some(0), "{told:#?}");
    assert!(told[0].starts_with("A record of ntp-daemon"), "{told:#?}");
    // The file before it is named if that is all there is.
    fs::rename(&record, format!("{record}.1")).expect("another name");
    let (code, told) = ntp_ctl(&setup, &["replay", &record]);
    assert_eq!(code, Some(1));
    assert!(
        told.iter().any(|line| line.contains("record.1")),
        "{told:#?}"
    );
}

fn a_record_of_something_else_is_refused_with_its_line() {
    let setup = Setup::new(1);
    let file = setup.state().join("record");
    for (text, complaint) in [
        ("", "holds no start"),
        (
            "{\"event\":\"x\"}\nnonsense\n{\"event\":\"y\"}\n",
            "line 2 is not a line",
        ),
        ("{\"start\":99}\n{}\n", "line 1"),
    ] {
        fs::write(&file, text).expect("a file");
        let mut command = setup.command(None, Program::Ctl);
        command.arg("replay").arg(&file);
        let mut process = Process::spawn("ntp-ctl replay", command);
        assert_eq!(process.wait_exit(LIMIT).code(), Some(1));
        assert!(!process.lines_with(complaint).is_empty(), "{complaint}");
    }
}
