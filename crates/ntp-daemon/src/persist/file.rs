//! A state file: written atomically, read with distrust.
//!
//! # Writing
//! To a temporary name, synced, renamed, and the directory synced: whenever the machine stops,
//! either the old or the new file is complete. A disk that is full or cannot be written is reported
//! once, and once more when writing works again; timekeeping goes on.
//!
//! # Reading
//! The path may be anything: a directory, a pipe without a writer, gigabytes, keys of another user.
//! Whatever is not a regular file of a sensible size with the right owner is reported, **set
//! aside** under another name, and replaced; so is what cannot be read or parsed. None of this
//! stops the daemon. At most [`MAX_SET_ASIDE`] files are kept of each: the first ones, which show
//! how the problem began, and the last.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ntp_files::RegularFile;
use ntp_types::event::{Event, Prose};
use zeroize::Zeroizing;

use crate::log;

/// Maximum number of files set aside for each state file.
const MAX_SET_ASIDE: usize = 3;

/// A state file.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// Permissions, before the umask of the process.
    mode: u32,
    /// Size limit in bytes; a larger file is not ours.
    largest: u64,
    /// Consequence of a failed write, for the operator.
    loss: &'static str,
    /// Whether the last write failed and was reported.
    failing: AtomicBool,
}

impl StateFile {
    /// Neither reads nor writes.
    pub(crate) const fn new(path: PathBuf, mode: u32, largest: u64, loss: &'static str) -> Self {
        Self {
            path,
            mode,
            largest,
            loss,
            failing: AtomicBool::new(false),
        }
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the content, if there is a file. Sets an unusable file aside.
    pub(crate) fn read(&self) -> Option<Zeroizing<Vec<u8>>> {
        match read(&self.path, self.largest) {
            Ok(octets) => octets,
            Err(problem) => {
                self.set_aside(&problem);
                None
            }
        }
    }

    /// Replaces the content. Returns whether that succeeded; a failure is logged.
    pub(crate) fn write(&self, octets: &[u8]) -> bool {
        match replace(&self.path, octets, self.mode) {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    log::emit(&Event::StateWriteRecovered {
                        path: self.path.display().to_string(),
                    });
                }
                true
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    log::emit(&Event::StateWriteFailed {
                        path: self.path.display().to_string(),
                        error: error.to_string(),
                        consequence: Prose(self.loss.to_owned()),
                    });
                }
                false
            }
        }
    }

    /// Removes the file durably: not even a loss of power brings it back.
    ///
    /// # Errors
    /// If the file still exists, or may exist.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        sync_directory(&self.path)
    }

    /// Sets the file aside because of `problem`, and logs it.
    pub(crate) fn set_aside(&self, problem: &str) {
        let (set_aside, error) = match set_aside(&self.path) {
            Ok(aside) => (Some(aside.display().to_string()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        log::emit(&Event::StateDamaged {
            path: self.path.display().to_string(),
            problem: problem.to_owned(),
            set_aside,
            error,
        });
    }
}

fn read(path: &Path, largest: u64) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let unreadable = |error: io::Error| format!("it cannot be read ({error})");
    let file = match RegularFile::open(path) {
        Ok(file) => file,
        // A dangling link exists, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(path) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error)),
    };
    owner(path, file.metadata())?;
    let octets = file.read(largest).map_err(unreadable)?;
    Ok(Some(Zeroizing::new(octets)))
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|facts| facts.is_symlink())
}

/// Accepts a file that belongs to the owner of its directory, to us, or to root: before privileges
/// are dropped we may be root, and the directory may belong to the later user.
fn owner(path: &Path, facts: &Metadata) -> Result<(), String> {
    let of_directory = fs::metadata(directory_of(path)).map(|facts| facts.uid());
    let own = rustix::process::geteuid().as_raw();
    let uid = facts.uid();
    if uid == 0 || uid == own || of_directory.is_ok_and(|of_directory| of_directory == uid) {
        Ok(())
    } else {
        Err(format!("it belongs to user {uid}"))
    }
}

fn replace(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    let temporary = with_suffix(path, "new");
    // A file that a crash left may have other permissions.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => set_aside(&temporary).map(drop)?,
        _ => {}
    }
    let written = create(&temporary, octets, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It would only fill the disk further; the cause of the failure is known already.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    // The rename itself is stored in the directory.
    sync_directory(path)
}

fn create(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    ntp_files::sync_directory(directory_of(path))
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// Renames a file and returns its new name.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut names = (0..MAX_SET_ASIDE).map(|number| match number {
        0 => with_suffix(path, "damaged"),
        _ => with_suffix(path, &format!("damaged.{number}")),
    });
    let last = with_suffix(path, &format!("damaged.{}", MAX_SET_ASIDE - 1));
    let aside = names
        .find(|name| fs::symlink_metadata(name).is_err())
        .unwrap_or(last);
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Appends another extension to `path`.
fn with_suffix(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    /// Puts something at the path of a state file.
    type Prepare = fn(&Path);

    fn file_in(directory: &Path) -> StateFile {
        StateFile::new(directory.join("state"), 0o600, 100, "nothing is kept")
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_unusable_file_is_set_aside_and_replaced() {
        let cases: [(&str, Prepare); 7] = [
            ("a directory", |path| {
                fs::create_dir_all(path.join("full")).unwrap();
            }),
            ("a pipe", |path| {
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            }),
            ("a socket", |path| {
                std::os::unix::net::UnixListener::bind(path).unwrap();
            }),
            ("a large file", |path| fs::write(path, [b'x'; 101]).unwrap()),
            ("a huge file", |path| {
                File::create(path).unwrap().set_len(1 << 40).unwrap();
            }),
            ("a link to nowhere", |path| {
                symlink("/nowhere/at/all", path).unwrap();
            }),
            ("a device", |path| symlink("/dev/zero", path).unwrap()),
        ];
        for (what, prepare) in cases {
            let directory = tempfile::tempdir().unwrap();
            let file = file_in(directory.path());
            prepare(file.path());
            assert_eq!(file.read(), None, "{what}");
            assert_eq!(names(directory.path()), ["state.damaged"], "{what}");
            assert!(file.write(b"new"), "{what}");
            assert_eq!(file.read().unwrap().as_slice(), b"new", "{what}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_set_aside() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = file_in(directory.path());
        fs::write(file.path(), "planted").unwrap();
        std::os::unix::fs::chown(file.path(), Some(12_345), None).unwrap();
        assert_eq!(file.read(), None);
        assert_eq!(names(directory.path()), ["state.damaged"]);
        // As if the owner of the directory had been given the rest of the state.
        fs::write(file.path(), "handed over").unwrap();
        std::os::unix::fs::chown(file.path(), Some(12_345), None).unwrap();
        std::os::unix::fs::chown(directory.path(), Some(12_345), None).unwrap();
        assert!(file.read().is_some());
    }

    #[test]
    fn the_files_set_aside_are_bounded_and_include_the_first_and_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let file = file_in(directory.path());
        for number in 0..10 {
            fs::write(file.path(), format!("{number}")).unwrap();
            file.set_aside("it is only a test");
        }
        let kept = names(directory.path());
        assert_eq!(
            kept,
            ["state.damaged", "state.damaged.1", "state.damaged.2"]
        );
        let contents = kept
            .iter()
            .map(|name| fs::read_to_string(directory.path().join(name)).unwrap());
        assert_eq!(contents.collect::<String>(), "019");
    }

    #[test]
    fn leftovers_of_a_crash_do_not_prevent_a_write() {
        let directory = tempfile::tempdir().unwrap();
        let file = file_in(directory.path());
        let temporary = directory.path().join("state.new");
        fs::write(&temporary, "half of a fi").unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(file.write(b"one"));
        fs::create_dir(&temporary).unwrap();
        assert!(file.write(b"two"));
        assert_eq!(file.read().unwrap().as_slice(), b"two");
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["state", "state.new.damaged"]);
    }

    #[test]
    fn a_missing_directory_makes_the_write_fail() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path().join("a/b"), 0o600, 100, "nothing is kept");
        assert!(!file.write(b"x") && !file.write(b"x"));
        assert_eq!(file.read(), None);
        fs::create_dir(directory.path().join("a")).unwrap();
        assert!(file.write(b"x"));
    }
}
