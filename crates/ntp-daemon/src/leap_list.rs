//! The leap second list: read at the start, and again when the file has changed.
//!
//! The file comes with the operating system and changes twice a year, without a notification. Its
//! modification time is checked once an hour, by a short-lived thread, as all files are read off
//! the main thread. The result is collected at one of the next wake-ups.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::SystemTime;

use ntp_os_clock::monotonic;
use ntp_proto::engine::Input;
use ntp_proto::leap::LeapTable;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::event::Event;

use crate::log;
use crate::runtime::failure::Failure;
use crate::runtime::pollable::{Context, Pollable};
use crate::sandbox::{self, Profile};

/// Interval between two checks of the file.
const INTERVAL: NtpDuration = NtpDuration::from_seconds(3600);

/// Size limit in bytes; the list has some kilobytes.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Result of a check.
#[derive(Clone, Debug, PartialEq)]
enum Found {
    /// The file is unchanged.
    Unchanged,
    /// There is no file.
    Missing,
    /// A list, and its modification time.
    List(LeapTable, Option<SystemTime>),
    /// The file cannot be used: the reason, and its modification time.
    Invalid(String, Option<SystemTime>),
}

/// A change that the engine must learn.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    /// A new list.
    List(LeapTable),
    /// The list is gone or has become unusable; with a reason if it is worth a message.
    Removed(Option<String>),
}

/// The leap second list file.
#[derive(Debug, Default)]
pub struct LeapList {
    path: Option<PathBuf>,
    /// Whether a missing file is worth a message.
    expected: bool,
    mtime: Option<SystemTime>,
    /// Whether the engine has a list.
    has_list: bool,
    check_thread: Option<JoinHandle<Found>>,
    next: Option<Monotonic>,
}

impl LeapList {
    /// Watches the list at `path`, if any. If the file is `expected`, its absence is reported.
    pub fn new(path: Option<PathBuf>, expected: bool) -> Self {
        Self {
            path,
            expected,
            ..Self::default()
        }
    }

    /// Checks the file if that is due. Call it at every wake-up. Returns a change, if any.
    fn check(&mut self, now: Monotonic) -> Option<Change> {
        let path = self.path.as_ref()?;
        if let Some(check_thread) = self
            .check_thread
            .take_if(|check_thread| check_thread.is_finished())
        {
            let found = check_thread
                .join()
                .unwrap_or_else(|_| Found::Invalid("the thread that read it failed".into(), None));
            return self.apply(found);
        }
        if self.check_thread.is_none() && self.next.is_none_or(|next| next <= now) {
            self.next = Some(now + INTERVAL);
            let (path, known_mtime) = (path.clone(), self.mtime);
            let check_thread = move || read_if_changed(&path, known_mtime);
            // If no thread can be started, the next attempt is in an hour.
            self.check_thread = sandbox::spawn("leap list", Profile::Files, check_thread).ok();
        }
        None
    }

    fn apply(&mut self, found: Found) -> Option<Change> {
        let path = self.path.clone().unwrap_or_default();
        let had_list = core::mem::take(&mut self.has_list);
        match found {
            Found::Unchanged => {
                self.has_list = had_list;
                None
            }
            Found::Missing => {
                self.mtime = None;
                let report = self.expected || had_list;
                self.expected = false;
                report.then(|| Change::Removed(Some(format!("{} is not there", path.display()))))
            }
            Found::List(table, mtime) => {
                (self.mtime, self.has_list) = (mtime, true);
                Some(Change::List(table))
            }
            Found::Invalid(why, mtime) => {
                self.mtime = mtime;
                Some(Change::Removed(Some(format!("{}: {why}", path.display()))))
            }
        }
    }
}

impl Pollable for LeapList {
    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        match self.check(monotonic()) {
            Some(Change::List(table)) => context.driver.handle(Input::LeapList(Some(&table))),
            Some(Change::Removed(why)) => {
                if let Some(error) = why {
                    log::emit(&Event::LeapListMissing { error });
                }
                context.driver.handle(Input::LeapList(None))
            }
            None => Ok(()),
        }
    }
}

fn read_if_changed(path: &Path, known_mtime: Option<SystemTime>) -> Found {
    let mtime = match fs::metadata(path) {
        Ok(facts) => facts.modified().ok(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::Missing,
        Err(error) => return Found::Invalid(error.to_string(), None),
    };
    if mtime.is_some() && mtime == known_mtime {
        return Found::Unchanged;
    }
    match ntp_files::read_text(path, MAX_FILE_SIZE) {
        Err(error) => Found::Invalid(error.to_string(), mtime),
        Ok(text) => match LeapTable::parse(&text) {
            Ok(table) => Found::List(table, mtime),
            Err(error) => Found::Invalid(error.to_string(), mtime),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    const LIST: &str = "#@ 3928521600\n3644697600 36\n3692217600 37\n";

    /// Checks the file until there is a result.
    fn next_change(list: &mut LeapList) -> Option<Change> {
        list.next = None;
        assert_eq!(list.check(Monotonic::default()), None);
        while list
            .check_thread
            .as_ref()
            .is_some_and(|check_thread| !check_thread.is_finished())
        {
            #[expect(clippy::disallowed_methods, reason = "waiting for a thread")]
            std::thread::sleep(Duration::from_millis(1));
        }
        list.check(Monotonic::default())
    }

    #[test]
    fn a_list_is_read_once_and_again_when_it_changed() {
        let path = std::env::temp_dir().join(format!("ntpd-rs-leap-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let mut list = LeapList::new(Some(path.clone()), false);
        assert_eq!(
            next_change(&mut list),
            None,
            "its absence is not worth a message"
        );
        fs::write(&path, LIST).unwrap();
        let table = LeapTable::parse(LIST).unwrap();
        assert_eq!(next_change(&mut list), Some(Change::List(table)));
        assert_eq!(next_change(&mut list), None);
        fs::write(&path, "nonsense").unwrap();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(later))
            .unwrap();
        let Some(Change::Removed(Some(why))) = next_change(&mut list) else {
            panic!("an invalid list is reported");
        };
        assert!(why.contains("line 1"), "{why}");
        fs::remove_file(&path).unwrap();
        let mut named = LeapList::new(Some(path), true);
        assert!(matches!(
            next_change(&mut named),
            Some(Change::Removed(Some(_)))
        ));
        assert_eq!(next_change(&mut named), None, "reported once");
    }
}
