//! The file that keeps the history across restarts of the exporter.
//!
//! One line of JSON for each part of the history, between a first line with the format and a last one
//! with the number of parts, so that a truncated file is noticed. A file that is not as expected is
//! set aside as `NAME.damaged`, reported, and the history starts empty. The file is replaced as a
//! whole every [`SAVE_INTERVAL`] and at the end of the exporter: a crash loses at most the points
//! since then, and a flash memory sees a few megabytes an hour.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::history::History;
use crate::log;

/// Interval of writing the file.
pub(crate) const SAVE_INTERVAL: Duration = Duration::from_secs(600);
/// Maximum size of the file in octets: three times that of the largest history.
const MAX_SIZE: u64 = 4 << 20;
/// First line of the file.
const FORMAT: &str = "[\"ntp-metrics-exporter history\",1]";

/// The file, or none.
#[derive(Debug)]
pub(crate) struct Store {
    path: Option<PathBuf>,
    /// Whether the last attempt to write failed, which is logged once.
    failed: bool,
}

impl Store {
    /// Keeps the history in `path`, if there is one.
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            failed: false,
        }
    }

    /// Whether there is a file.
    pub(crate) fn is_present(&self) -> bool {
        self.path.is_some()
    }

    /// Returns the saved history, or an empty one, at the time `now` in milliseconds since 1970.
    pub(crate) fn load(&self, now: i64) -> History {
        let empty = || History::new(now);
        let Some(path) = &self.path else {
            return empty();
        };
        let problem = match read(path) {
            Ok(text) => match parse(&text, now) {
                Ok(history) => return history,
                Err(line) => format!("line {line} is damaged"),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => return empty(),
            Err(error) => error.to_string(),
        };
        let aside = sibling(path, ".damaged");
        let outcome = match fs::rename(path, &aside) {
            Ok(()) => format!("kept as {}", aside.display()),
            Err(error) => format!("not set aside: {error}"),
        };
        let path = path.display();
        log::warn(format_args!(
            "history of the status page not restored from {path}: {problem}; {outcome}"
        ));
        empty()
    }

    /// Writes the history.
    pub(crate) fn save(&mut self, history: &History) {
        let Some(path) = &self.path else {
            return;
        };
        let failed = match write(path, history) {
            Ok(()) => {
                if self.failed {
                    log::info(format_args!(
                        "history of the status page saved to {} again",
                        path.display()
                    ));
                }
                false
            }
            Err(error) => {
                if !self.failed {
                    let path = path.display();
                    log::warn(format_args!(
                        "history of the status page not saved to {path}: {error} (see [observability] metrics-exporter-history-path)"
                    ));
                }
                true
            }
        };
        self.failed = failed;
    }
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read(path: &Path) -> io::Result<String> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > MAX_SIZE {
        let message = format!("not a regular file of at most {MAX_SIZE} octets");
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    ntp_files::read_text(path, MAX_SIZE)
}

/// Returns the history, or the number of the first damaged line.
fn parse(text: &str, now: i64) -> Result<History, usize> {
    let mut history = History::new(now);
    let mut lines = text.lines().zip(1..);
    if lines.next().is_none_or(|(first, _)| first != FORMAT) {
        return Err(1);
    }
    let mut count = 0;
    while let Some((line, number)) = lines.next() {
        if line == last_line(count) {
            return lines.next().map_or(Ok(history), |(_, number)| Err(number));
        }
        history.restore(line, now).ok_or(number)?;
        count += 1;
    }
    // The end is missing.
    Err(count + 2)
}

fn last_line(count: usize) -> String {
    format!("[\"end\",{count}]")
}

/// Replaces the file. It is not flushed to the disk: a lost history is no damage.
fn write(path: &Path, history: &History) -> io::Result<()> {
    let new = sibling(path, ".new");
    // Removed first, so that neither a link nor a pipe of that name is opened.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let mut file = BufWriter::new(file);
    let (mut count, mut outcome) = (0, writeln!(file, "{FORMAT}"));
    history.save(&mut |part| {
        if outcome.is_ok() {
            outcome = writeln!(file, "{part}");
        }
        count += 1;
    });
    outcome?;
    writeln!(file, "{}", last_line(count))?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use ntp_control_api::observation::State;

    use super::*;

    fn history() -> History {
        let json = include_str!("../../ntp-control-api/tests/data/ours.json");
        let state: State = serde_json::from_str(json).unwrap();
        let mut history = History::new(0);
        for second in 0..10 {
            history.record(second * 1000, Ok(&state));
        }
        history.record(10_000, Err("gone"));
        history
    }

    fn saved(history: &History) -> Vec<String> {
        let mut parts = Vec::new();
        history.save(&mut |part| parts.push(part));
        parts
    }

    #[test]
    fn the_history_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let mut store = Store::new(Some(path.clone()));
        assert!(saved(&store.load(10_000)).is_empty());
        store.save(&history());
        assert_eq!(saved(&store.load(10_000)), saved(&history()));
        // A day later only the list of changes is left.
        assert_eq!(saved(&store.load(1 << 40)).len(), 2);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_the_history_starts_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let aside = directory.path().join("history.damaged");
        let mut store = Store::new(Some(path.clone()));
        store.save(&history());
        let whole = fs::read_to_string(&path).unwrap();
        let lines = whole.lines().count();
        let mut damaged: Vec<String> = (0..lines)
            .map(|end| {
                whole
                    .lines()
                    .take(end)
                    .map(|it| format!("{it}\n"))
                    .collect()
            })
            .collect();
        damaged.push(whole.replace("\"fine\"", "\"fime\""));
        damaged.push(whole.replace('[', "{"));
        damaged.push(format!("{whole}x\n"));
        damaged.push("\0".repeat(100));
        for text in damaged {
            fs::write(&path, &text).unwrap();
            assert!(saved(&store.load(10_000)).is_empty(), "{text}");
            assert!(!path.exists());
            assert_eq!(fs::read_to_string(&aside).unwrap(), text);
        }
        // What is no file is not read.
        fs::create_dir(&path).unwrap();
        fs::remove_file(&aside).unwrap();
        assert!(saved(&store.load(10_000)).is_empty());
        assert!(aside.is_dir());
        fs::write(&path, vec![b' '; MAX_SIZE as usize + 1]).unwrap();
        fs::remove_dir(&aside).unwrap();
        assert!(saved(&store.load(10_000)).is_empty());
        assert!(aside.is_file());
    }
}
