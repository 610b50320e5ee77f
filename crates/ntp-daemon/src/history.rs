//! The history of the clock's accuracy, for `ntp-ctl report`.
//!
//! It observes the engine before and after each round of the event loop
//! ([`ntp_history::recorder`]) and has no wake-ups of its own: an entry is finished by the first
//! round after a quarter of an hour. Entries are written by short-lived threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use ntp_config::Config;
use ntp_history::report::date;
use ntp_history::{Entry, Recorder};
use ntp_os_clock::realtime;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::event::{Event, Prose};
use ntp_types::source::SourceState;

use crate::persist::{HistoryFiles, WaitingEntries};
use crate::runtime::driver::Driver;
use crate::runtime::failure::Failure;
use crate::runtime::pollable::{Context, Pollable};
use crate::sandbox::{self, Profile};
use crate::{join, log};

/// Interval at which the selected sources are recorded. A source that was selected for less may be
/// missing.
const SOURCES_INTERVAL: NtpDuration = NtpDuration::from_seconds(60);

/// The history of the clock's accuracy.
#[derive(Debug)]
pub struct History {
    recorder: Recorder,
    files: Arc<Mutex<Files>>,
    writer: Option<JoinHandle<()>>,
    waiting: WaitingEntries,
    sources_recorded: Option<Monotonic>,
}

/// The files, and what was logged about them.
#[derive(Debug)]
struct Files {
    files: HistoryFiles,
    /// Whether the last write failed and was reported.
    failing: bool,
    /// Day on which the newest line was logged.
    logged: Option<String>,
}

impl History {
    /// Returns the history, unless it is switched off. Nothing is read or written yet.
    pub(crate) fn open(config: &Config) -> Option<Self> {
        let directory = config.state.directory.as_ref()?;
        let days = config.state.history_days;
        (days > 0).then(|| Self {
            recorder: Recorder::new(env!("CARGO_PKG_VERSION")),
            files: Arc::new(Mutex::new(Files {
                files: HistoryFiles::new(directory, days),
                failing: false,
                logged: None,
            })),
            writer: None,
            waiting: WaitingEntries::default(),
            sources_recorded: None,
        })
    }

    fn observe_before(&mut self, driver: &Driver) {
        let (now, figures) = driver.accuracy();
        let finished = self.recorder.before_round(now, figures.map(Into::into));
        if !finished.is_empty() {
            self.write(finished);
        }
    }

    fn observe_after(&mut self, driver: &Driver) {
        let (now, figures) = driver.accuracy();
        for event in log::take_recorded() {
            self.recorder.record_event(now, &event);
        }
        self.recorder.after_round(figures.map(Into::into));
        let due = (self.sources_recorded).is_none_or(|at| now.monotonic - at >= SOURCES_INTERVAL);
        if due && figures.is_some() {
            self.sources_recorded = Some(now.monotonic);
            let (_, status) = driver.status();
            let selected = |state| state == SourceState::Selected;
            for source in status.sources.iter().filter(|it| selected(it.state)) {
                self.recorder.record_source(&source.name);
            }
        }
    }

    /// Writes entries on another thread. They wait for the next time if the last write has not ended,
    /// or there is no thread.
    fn write(&mut self, entries: Vec<Entry>) {
        entries.into_iter().for_each(|it| self.waiting.push(it));
        let busy = |writer: &JoinHandle<()>| !writer.is_finished();
        if self.writer.as_ref().is_some_and(busy) {
            return;
        }
        let (files, waiting) = (Arc::clone(&self.files), self.waiting.clone());
        let write = move || {
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            files.write(&waiting);
        };
        self.writer = sandbox::spawn("history writer", Profile::Files, write).ok();
    }
}

/// The first device of the event loop: it observes the engine before the others feed inputs.
impl Pollable for History {
    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        self.observe_before(context.driver);
        Ok(())
    }

    fn after_round(&mut self, context: &mut Context<'_>) {
        self.observe_after(context.driver);
    }

    /// Writes the entry that has not ended.
    fn stop(&mut self, driver: &mut Driver) {
        self.observe_before(driver);
        self.observe_after(driver);
        join::join_last(self.writer.take());
        let last = self.recorder.finish();
        self.write(last.into_iter().collect());
        join::join_last(self.writer.take());
    }
}

impl Files {
    fn write(&mut self, waiting: &WaitingEntries) {
        let path = self.files.directory().display().to_string();
        match self.files.write(waiting) {
            Err(error) => {
                if !core::mem::replace(&mut self.failing, true) {
                    log::emit(&Event::StateWriteFailed {
                        path,
                        error: error.to_string(),
                        consequence: Prose(
                            "the history of the clock has a gap (see [state] history-days)".into(),
                        ),
                    });
                }
            }
            Ok(()) => {
                if core::mem::replace(&mut self.failing, false) {
                    log::emit(&Event::StateWriteRecovered { path });
                }
                let today = Some(date(realtime()));
                if let Some((number, hash)) = self.files.last().filter(|_| self.logged != today) {
                    self.logged = today;
                    log::emit(&Event::HistoryRecorded { number, hash });
                }
            }
        }
    }
}
