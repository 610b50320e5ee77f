//! Log output: events, to standard output or to a file that is reopened on SIGHUP.
//!
//! Every line is an [`Event`]: `emit` is the only place that writes one.
//!
//! All lines have one form and one origin, so a library for logging would add code only. The time
//! comes from our own clock functions, because std's may panic on the values of a clock simulator. A
//! log file is appended to and never truncated: what happened before a restart is what one looks for
//! after it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ntp_config::{Loaded, LogLevel, ObservabilityConfig};
use ntp_history::recorder::is_recorded;
use ntp_types::escape::Escaped;
use ntp_types::event::{Event, LineStart, Logfmt, Prose};
use ntp_types::status::EventCount;

/// A log file that can be reopened under the same name.
#[derive(Clone, Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
    /// Number of requests to reopen it since the present thread for that was started.
    requests: Arc<AtomicUsize>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(Mutex::new(ntp_files::append(path)?)),
            requests: Arc::default(),
        })
    }

    /// Returns what reopens the file after log rotation has moved it. It belongs on another thread
    /// than that of timekeeping, because the file system may not answer. Messages go to the old file
    /// until then. Returns `None` if such a thread is running: it begins again.
    #[must_use]
    pub fn reopen(&self) -> Option<impl FnOnce() + Send + use<>> {
        self.reopen_with(ntp_files::append)
    }

    fn reopen_with(
        &self,
        open: fn(&Path) -> io::Result<File>,
    ) -> Option<impl FnOnce() + Send + use<>> {
        if self.requests.fetch_add(1, Ordering::SeqCst) > 0 {
            return None;
        }
        let this = self.clone();
        Some(move || {
            loop {
                let seen = this.requests.load(Ordering::SeqCst);
                this.replace(open(&this.path));
                // A later request needs another round: the file may have been moved in between.
                let ended =
                    (this.requests).compare_exchange(seen, 0, Ordering::SeqCst, Ordering::SeqCst);
                if ended.is_ok() {
                    break;
                }
            }
        })
    }

    /// Logs that the thread for [`reopen`](Self::reopen) cannot be started.
    pub fn reopen_failed(&self, error: io::Error) {
        self.requests.store(0, Ordering::SeqCst);
        self.replace(Err(error));
    }

    fn replace(&self, file: io::Result<File>) {
        match file {
            Ok(mut file) => {
                let mut current = self.file.lock().unwrap_or_else(PoisonError::into_inner);
                core::mem::swap(&mut *current, &mut file);
                // Closing the old file may block, too: not under the lock.
                drop(current);
            }
            Err(error) => emit(&Event::LogReopenFailed {
                error: error.to_string(),
            }),
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush()
    }
}

/// Where the log goes, and which events. One for the process, because all threads emit events; there
/// is none in programs that embed the daemon.
static OUTPUT: OnceLock<Output> = OnceLock::new();

#[derive(Debug)]
struct Output {
    /// The least severe level that is logged, as in [`LogLevel`].
    level: AtomicU8,
    start: LineStart,
    /// Standard output without one.
    file: Option<LogFile>,
}

/// Sets the least severe level that is logged.
pub(crate) fn set_level(level: LogLevel) {
    if let Some(output) = OUTPUT.get() {
        output.level.store(level as u8, Ordering::Relaxed);
    }
}

impl Output {
    fn write(&self, event: &Event) {
        let severity = event.severity();
        if LogLevel::from(severity) as u8 > self.level.load(Ordering::Relaxed) {
            return;
        }
        let mut line = self.start.line(severity, ntp_os_clock::realtime());
        // Writing to a string cannot fail.
        let _ = write!(Escaped::line(&mut line), "{event} {}", Logfmt(event));
        line.push('\n');
        // There is no place to report that the log cannot be written.
        let _ = match &self.file {
            Some(file) => file.clone().write_all(line.as_bytes()),
            None => io::stdout().write_all(line.as_bytes()),
        };
    }
}

/// Number of occurrences of each event in this process, in the order of [`Event::NAMES`]. Like the
/// log it is one for the process, because all threads emit events.
static COUNTS: [AtomicU64; Event::NAMES.len()] = [const { AtomicU64::new(0) }; Event::NAMES.len()];

/// Returns how often each event was emitted; without those that were not.
pub(crate) fn event_counts() -> Vec<EventCount> {
    let counts = Event::NAMES.iter().zip(&COUNTS);
    let counts = counts.map(|(name, count)| EventCount {
        name: (*name).to_owned(),
        count: count.load(Ordering::Relaxed),
    });
    counts.filter(|it| it.count > 0).collect()
}

/// Events for the history that it has not taken yet.
static HISTORY: Mutex<VecDeque<Event>> = Mutex::new(VecDeque::new());
/// More than happen in a round of the event loop, which takes them; without a history they stay.
const MAX_QUEUED: usize = 64;

/// Takes the events for the history.
pub(crate) fn take_recorded() -> VecDeque<Event> {
    core::mem::take(&mut HISTORY.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Logs and counts an event: its message, its name and its fields, on one line.
pub(crate) fn emit(event: &Event) {
    let mut counts = Event::NAMES.iter().zip(&COUNTS);
    if let Some((_, count)) = counts.find(|(name, _)| **name == event.name()) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    if is_recorded(event) {
        let mut queue = HISTORY.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() < MAX_QUEUED {
            queue.push_back(event.clone());
        }
    }
    if let Some(output) = OUTPUT.get() {
        output.write(event);
    }
}

/// Logs what the platform of this machine offers, if the configuration asks for it, and what is
/// probably not intended in the configuration.
pub(crate) fn emit_warnings(loaded: &Loaded) {
    if let Some(choice) = &loaded.config.platform {
        emit(&Event::PlatformDetected {
            platform: choice.platform.to_string(),
            sources: choice.source_names(),
            reason: choice.explanation(),
        });
    }
    let findings = loaded.config.check();
    let findings = findings.iter().map(|finding| &finding.diagnostic);
    for warning in loaded.warnings.iter().chain(findings) {
        let help: String = warning
            .help
            .iter()
            .map(|line| format!("; {line}"))
            .collect();
        emit(&Event::ConfigurationWarning {
            file: warning.place.file().map(ToOwned::to_owned),
            line: warning.place.line(),
            problem: warning.message.clone(),
            help: Prose(help),
        });
    }
}

/// Logs that sockets lack an optional facility.
pub(crate) fn emit_missing_facility(shortcoming: &ntp_udp::Shortcoming) {
    emit(&Event::FacilityMissing {
        facility: shortcoming.facility.name().to_owned(),
        text: Prose(shortcoming.to_string()),
    });
}

/// Logs that the clock lacks an optional facility.
pub(crate) fn emit_clock_shortcoming(shortcoming: ntp_os_clock::Shortcoming) {
    emit(&Event::FacilityMissing {
        facility: shortcoming.facility().to_owned(),
        text: Prose(shortcoming.to_string()),
    });
}

/// Starts logging. Returns the log file if there is one.
///
/// # Errors
/// If the log file can't be opened.
pub fn start(level: LogLevel, config: &ObservabilityConfig) -> io::Result<Option<LogFile>> {
    let file = config.log_path.as_deref().map(LogFile::open).transpose()?;
    // A second call in the same process changes nothing.
    let _ = OUTPUT.set(Output {
        level: AtomicU8::new(level as u8),
        start: config.line_start(file.is_some()),
        file: file.clone(),
    });
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;

    #[test]
    fn a_log_file_that_cannot_be_reopened_stays_in_use() {
        fn hanging(_: &Path) -> io::Result<File> {
            loop {
                thread::park();
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path).unwrap();
        thread::spawn(log.reopen_with(hanging).unwrap());
        // No second thread for the same file system.
        assert!(log.reopen_with(hanging).is_none());
        log.write_all(b"goes on\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "goes on\n");
    }

    #[test]
    fn a_rotated_log_file_is_reopened_under_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path).unwrap();
        for _ in 0..3 {
            fs::rename(&path, directory.path().join("log.1")).unwrap();
            let reopen = log.reopen().unwrap();
            log.write_all(b"late\n").unwrap();
            reopen();
            log.write_all(b"new\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        }
    }
}
