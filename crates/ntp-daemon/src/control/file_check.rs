//! Checks, off the timekeeping thread, that files that a call names can be read.
//!
//! The file system may not answer. The caller gets an error after [`CHECK_LIMIT`], and the thread
//! stays until its system call returns. At most [`MAX_THREADS`] of them exist; what would need a
//! further one is refused at once.

use std::fs;
use std::path::{Path, PathBuf};

use ntp_control_api::control::methods::Error;
use ntp_files::RegularFile;
use ntp_time::{Monotonic, NtpDuration};
use ntp_udp::wait::PollSet;

use super::handler::Outcome;
use crate::runtime::background::Background;
use crate::sandbox::{self, Profile};

/// Time limit of a check. `ntp-ctl` waits for a reply for ten seconds.
const CHECK_LIMIT: NtpDuration = NtpDuration::from_seconds(8);

/// Maximum number of threads: several operators may add sources at a time, and threads that wait
/// for a file system that does not answer must not accumulate.
const MAX_THREADS: usize = 4;

/// Calls of type `C` that wait for the check of a file.
#[derive(Debug)]
pub(super) struct FileChecks<C> {
    check: fn(&[PathBuf]) -> Outcome<()>,
    running: Vec<Running<C>>,
    /// Calls whose check could not be started.
    refused: Vec<(C, Outcome<()>)>,
}

#[derive(Debug)]
struct Running<C> {
    thread: Background<Outcome<()>>,
    deadline: Monotonic,
    /// `None` after the time limit.
    call: Option<C>,
}

impl<C> FileChecks<C> {
    /// Checks files with `check`, on threads.
    pub(super) fn new(check: fn(&[PathBuf]) -> Outcome<()>) -> Self {
        Self {
            check,
            running: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Begins to check the files at `paths`, on which `call` depends.
    pub(super) fn start(&mut self, paths: Vec<PathBuf>, call: C, now: Monotonic) {
        if self.running.len() >= MAX_THREADS {
            self.refused.push((call, Err(not_in_time())));
            return;
        }
        let check = self.check;
        match Background::start("file check", Profile::Files, move || check(&paths)) {
            Ok(thread) => self.running.push(Running {
                thread,
                deadline: now + CHECK_LIMIT,
                call: Some(call),
            }),
            Err(error) => {
                let reason = format!("no thread to check the file: {error}");
                self.refused.push((call, Err(Error::Failed { reason })));
            }
        }
    }

    /// Adds the running threads to a poll set.
    pub(super) fn register(&mut self, set: &mut PollSet) {
        for running in &mut self.running {
            running.thread.register(set);
        }
    }

    /// Time at which [`take`](Self::take) has something to return, without any descriptor.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        if !self.refused.is_empty() {
            return Some(Monotonic::default());
        }
        let awaited = self.running.iter().filter(|it| it.call.is_some());
        awaited.map(|it| it.deadline).min()
    }

    /// Returns the calls whose check has ended, or has taken too long, with its result.
    pub(super) fn take(&mut self, set: &PollSet, now: Monotonic) -> Vec<(C, Outcome<()>)> {
        let mut ended = core::mem::take(&mut self.refused);
        for mut running in core::mem::take(&mut self.running) {
            if running.thread.has_ended(set) {
                let panicked = |_| {
                    Err(Error::Failed {
                        reason: "the thread that checks the file failed".into(),
                    })
                };
                let result = running.thread.finish().unwrap_or_else(panicked);
                ended.extend(running.call.map(|call| (call, result)));
                continue;
            }
            if running.deadline <= now {
                let call = running.call.take();
                ended.extend(call.map(|call| (call, Err(not_in_time()))));
            }
            self.running.push(running);
        }
        ended
    }
}

/// Checks that files and directories of certificate authorities can be read inside the sandbox.
pub(super) fn check_authorities(paths: &[PathBuf]) -> Outcome<()> {
    paths.iter().try_for_each(|path| check_authority(path))
}

fn check_authority(path: &Path) -> Outcome<()> {
    let open = |path: &Path| match path.is_dir() {
        true => fs::read_dir(path).map(drop),
        false => RegularFile::open(path).map(drop),
    };
    let file = path.display();
    let reason = if !sandbox::can_read(path) {
        format!(
            "certificate-authority: {file} is not accessible inside the sandbox: put it below /etc, or into the configuration file and restart the daemon"
        )
    } else if let Err(error) = open(path) {
        format!("certificate-authority: the daemon cannot read {file}: {error}")
    } else {
        return Ok(());
    };
    Err(Error::Refused { reason })
}

fn not_in_time() -> Error {
    Error::Failed {
        reason: "the file that certificate-authority names cannot be read: a file system does not answer. Nothing has changed".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A file system that never answers.
    fn hanging(_: &[PathBuf]) -> Outcome<()> {
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_file_system_that_does_not_answer_delays_only_the_caller() {
        let mut checks = FileChecks::new(hanging);
        let start = Monotonic::default();
        let mut set = PollSet::new();
        for call in 0..=MAX_THREADS {
            checks.start(vec!["/mnt/ca.pem".into()], call, start);
        }
        checks.register(&mut set);
        // The last one would need a further thread.
        assert_eq!(checks.deadline(), Some(Monotonic::default()));
        let [(refused, Err(Error::Failed { .. }))] = &checks.take(&set, start)[..] else {
            panic!("one call is refused");
        };
        assert_eq!(*refused, MAX_THREADS);
        assert_eq!(checks.deadline(), Some(start + CHECK_LIMIT));
        let late = checks.take(&set, start + CHECK_LIMIT);
        let calls: Vec<_> = late.iter().map(|(call, _)| *call).collect();
        assert_eq!(calls, (0..MAX_THREADS).collect::<Vec<_>>());
        assert!(late.iter().all(|(_, result)| result.is_err()));
        // No call waits any more, and the threads still count.
        assert_eq!(checks.deadline(), None);
        checks.start(vec!["/mnt/ca.pem".into()], 9, start + CHECK_LIMIT);
        assert_eq!(checks.take(&set, start + CHECK_LIMIT).len(), 1);
    }
}
