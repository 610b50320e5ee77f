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

fn a_record_of_something_else_is_refused_with_its_line() {
    let setup = Setup::new(1);
    let file = setup.state().join("record");
    for (text, complaint) in [
        ("", "holds no start"),
        ("{\"event\":\"x\"}\nnonsense\n{\"event\":\"y\"}\n", "line 2"),
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
