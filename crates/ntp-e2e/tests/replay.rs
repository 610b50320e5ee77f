//! Recording (`record-path`) and `ntp-ctl replay`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::peers::reference_server;
use ntp_e2e::process::Process;
use ntp_e2e::scenario;
use ntp_time::NtpDuration;
use test_binaries::{Behaviour, Misbehaviour, ReferenceServer};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(replay_with_the_same_version_is_exact),
            scenario!(operator_commands_are_replayed),
            scenario!(a_damaged_record_is_replayed_as_far_as_it_goes),
            scenario!(a_file_that_is_not_a_record_is_refused_with_the_line_number),
        ],
    )
}

fn replay_with_the_same_version_is_exact() {
    let wrong = Behaviour {
        offset: NtpDuration::from_millis(400),
        ..Behaviour::default()
    };
    let servers = [
        reference_server(Behaviour::default()),
        reference_server(Behaviour::default()),
        reference_server(wrong),
        reference_server(Behaviour::with(Misbehaviour::WrongOrigin)),
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
    let lines = replay();
    let last = lines.last().expect("an output");
    assert!(
        last.starts_with("All ") && last.ends_with(" decisions are identical."),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("clock stepped by")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("run at ")),
        "{lines:#?}"
    );
    assert_eq!(replay(), lines);
    let picture = fs::read_to_string(&picture).expect("a picture");
    assert!(picture.contains("<polyline") && picture.matches("<circle").count() > 20);

    // With more agreeing sources required than there are, the clock is not stepped.
    let other = text.replacen(
        "\"minimum_agreeing_sources\":2",
        "\"minimum_agreeing_sources\":5",
        1,
    );
    fs::write(&record, other).expect("a record");
    let lines = replay();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("- ") && line.contains("clock stepped by")),
        "{lines:#?}"
    );
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("+ ") && line.contains("clock stepped by")),
        "{lines:#?}"
    );
}

/// Runs `ntp-ctl`. Returns its exit code and the lines of its output.
fn ntp_ctl(setup: &Setup, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut command = setup.command(None, Program::Ctl);
    command.args(arguments);
    let mut process = Process::spawn("ntp-ctl", command);
    let code = process.wait_exit(LIMIT).code();
    (code, process.lines())
}

/// A setup with recording, and the path of the record.
fn recording(servers: &[ReferenceServer]) -> (Setup, String) {
    let setup = servers.iter().fold(Setup::new(2), |setup, server| {
        setup.server(&server.address().to_string())
    });
    let record = setup.state().join("record").display().to_string();
    let key = format!("[observability]\nrecord-path = \"{record}\"");
    (setup.replacing("[observability]", &key), record)
}

fn operator_commands_are_replayed() {
    let servers = [(); 3].map(|()| reference_server(Behaviour::default()));
    let another = reference_server(Behaviour::default()).address().to_string();
    let one = servers[0].address().to_string();
    let (setup, record) = recording(&servers);
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let commands: [&[&str]; 9] = [
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
    for (index, command) in commands.iter().enumerate() {
        let (code, output) = ntp_ctl(&setup, command);
        // The second removal is refused, which is also replayed.
        assert_eq!(code == Some(0), index != 7, "{command:?}: {output:#?}");
    }
    let before = daemon.observe().expect("an observation").sources()[0].packets_sent();
    daemon.wait_until(LIMIT, "more exchanges", |observation| {
        let sources = observation.sources();
        observation.is_synchronized()
            && sources
                .iter()
                .all(|source| source.packets_sent() >= before + 4)
    });
    assert_eq!(daemon.stop().code(), Some(0));

    let picture = setup.state().join("picture.svg");
    let (code, lines) = ntp_ctl(
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
    let last = lines.last().expect("an output");
    assert!(
        last.starts_with("All ") && last.ends_with(" decisions are identical."),
        "{lines:#?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("Not exact")),
        "{lines:#?}"
    );
    for action in [
        "add ",
        "set ",
        "offline ",
        "burst ",
        "online ",
        "step: from",
        "reload: ",
    ] {
        let replayed = lines
            .iter()
            .filter(|line| line.contains(&format!("  {action}")));
        assert_eq!(replayed.count(), 1, "{action}: {lines:#?}");
    }
    let picture = fs::read_to_string(&picture).expect("a picture");
    // The removal of an unknown source is refused before it reaches the engine.
    assert!(picture.matches("class=\"mark\"").count() >= commands.len() - 1);
}

fn a_damaged_record_is_replayed_as_far_as_it_goes() {
    let servers = [(); 2].map(|()| reference_server(Behaviour::default()));
    let (setup, record) = recording(&servers);
    let mut daemon = setup.start(None);
    daemon.wait_until(LIMIT, "some exchanges", |observation| {
        let mut sources = observation.sources().into_iter();
        sources.all(|source| source.packets_sent() >= 8)
    });
    assert_eq!(daemon.stop().code(), Some(0));
    let text = fs::read(&record).expect("a record");
    let records: Vec<&[u8]> = text.split_inclusive(|octet| *octet == b'\n').collect();
    assert!(records.len() > 60, "{}", records.len());
    // A block of zeros, as after a power loss, and a truncated last line.
    let zeros = [0u8; 4096];
    let end = records.concat().len() - 5;
    let damaged = [
        &records[..40].concat(),
        &zeros[..],
        b"\n",
        &records[45..].concat(),
    ]
    .concat();
    fs::write(&record, damaged).expect("a record");
    let (code, lines) = ntp_ctl(&setup, &["replay", &record]);
    assert_eq!(code, Some(0), "{lines:#?}");
    let gap = format!("Inexact replay: line 41 of {record} is damaged.");
    assert!(lines.contains(&gap), "{lines:#?}");
    fs::write(&record, &text[..end]).expect("a record");
    let (code, lines) = ntp_ctl(&setup, &["replay", &record]);
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(lines[0].starts_with("Record of ntp-daemon"), "{lines:#?}");
    // If only the rotated file exists, the error names it.
    fs::rename(&record, format!("{record}.1")).expect("a renamed record");
    let (code, lines) = ntp_ctl(&setup, &["replay", &record]);
    assert_eq!(code, Some(1));
    assert!(
        lines.iter().any(|line| line.contains("record.1")),
        "{lines:#?}"
    );
}

fn a_file_that_is_not_a_record_is_refused_with_the_line_number() {
    let setup = Setup::new(1);
    let file = setup.state().join("record");
    for (text, error) in [
        ("", "no start of a record"),
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
        assert!(!process.lines_with(error).is_empty(), "{error}");
    }
}
