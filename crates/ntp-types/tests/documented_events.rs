//! The guide lists every event as it is declared, and the daemon logs nothing but events.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use ntp_types::event::{Declaration, Event, KeyExchangeFailure};

/// A row of the table in `docs/monitoring.md`.
fn row(event: &Declaration) -> String {
    let severities: Vec<_> = event
        .severities()
        .map(|it| format!("{it:?}").to_lowercase())
        .collect();
    let fields: Vec<_> = event.fields().map(|name| format!("`{name}`")).collect();
    let description = event.description.trim().trim_end_matches('.');
    format!(
        "| `{}` | {} | {} | {description} |",
        event.name,
        severities.join(", "),
        fields.join(", ")
    )
}

#[test]
fn the_guide_lists_every_event_with_severity_and_fields() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring.md");
    let guide = fs::read_to_string(path).expect("the guide");
    let written: BTreeSet<_> = guide.lines().map(str::to_owned).collect();
    let expected: BTreeSet<_> = Event::DECLARED.iter().map(row).collect();
    let declared = Event::DECLARED.iter().map(row);
    let missing: Vec<_> = declared.filter(|row| !written.contains(row)).collect();
    assert!(
        missing.is_empty(),
        "not in the guide:\n{}",
        missing.join("\n")
    );
    let is_row = |line: &&String| line.starts_with("| `") && line.matches('|').count() == 5;
    let unknown = |line: &&String| {
        let first = line.split('`').nth(1).unwrap_or_default();
        first.contains('_') && !expected.contains(*line)
    };
    let stale: Vec<_> = written.iter().filter(is_row).filter(unknown).collect();
    assert!(stale.is_empty(), "no such event: {stale:#?}");
}

#[test]
fn the_daemon_logs_nothing_but_events() {
    let daemon = concat!(env!("CARGO_MANIFEST_DIR"), "/../ntp-daemon/src");
    let mut directories = vec![PathBuf::from(daemon)];
    let mut files = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source file");
            // The log is standard output, unless it is a file of `log.rs`; `cli.rs` prints help.
            let writes = text.contains("io::stdout()");
            let may_write = path.ends_with("src/log.rs") || path.ends_with("src/cli.rs");
            assert_eq!(writes, may_write, "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 20, "{files} files");
}

#[test]
fn every_event_has_a_severity() {
    for event in Event::DECLARED {
        assert!(event.severities().count() > 0, "{}", event.name);
    }
}

#[test]
fn the_guide_lists_every_reason_of_a_failed_key_exchange() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/nts.md");
    let guide = fs::read_to_string(path).expect("the guide");
    for name in KeyExchangeFailure::NAMES {
        assert!(guide.contains(&format!("\n| `{name}` |")), "{name}");
    }
}
