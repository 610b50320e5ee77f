//! Reads the configuration again, off the timekeeping thread: the files, and the files that they
//! name.
//!
//! A file system may not answer. Whoever asked is told so after [`READ_LIMIT`], and what the thread
//! reads after that is not applied. Until it has ended, further requests are refused: each would
//! only wait in the same place.
//!
//! A request that arrives while a thread reads begins another round after it, because the thread may
//! have read the files before they were changed. Rounds of different scope follow each other, so that
//! an older list of files never replaces a newer one.

use std::io;
use std::path::{Path, PathBuf};

use ntp_config::{DhcpFiles, Loaded, Style};
use ntp_control_api::control::methods::Error;
use ntp_time::{Monotonic, NtpDuration};
use ntp_udp::wait::PollSet;

use super::handler::Outcome;
use super::listener::PendingCall;
use crate::nts::NtsFiles;
use crate::runtime::background::Background;
use crate::sandbox::Profile;

/// Time limit for reading. `ntp-ctl` waits for a reply for ten seconds.
const READ_LIMIT: NtpDuration = NtpDuration::from_seconds(8);

/// Who asked for a reload.
#[derive(Debug)]
pub(super) enum Origin {
    /// The daemon, after its start.
    Start,
    /// SIGHUP.
    Hangup,
    /// A call, which waits for the reply.
    Call(Box<PendingCall>),
}

/// What a round reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The configuration, which the command line may name.
    Configuration(Option<PathBuf>),
    /// The time servers that DHCP names, in this directory.
    Dhcp(PathBuf),
}

/// What was read.
#[derive(Debug)]
pub(super) enum Content {
    Configuration(Box<NewConfiguration>),
    Dhcp(DhcpFiles),
}

/// A valid configuration and the files that it names.
#[derive(Debug)]
pub(super) struct NewConfiguration {
    pub(super) loaded: Loaded,
    pub(super) warnings: Vec<String>,
    pub(super) nts: NtsFiles,
}

/// What was read, or why it cannot be used, and who asked for it.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) origins: Vec<Origin>,
    pub(super) result: Outcome<Content>,
}

/// Reads the configuration on a thread when it is requested.
#[derive(Debug, Default)]
pub(super) struct ConfigurationReader {
    running: Option<Running>,
    /// Who asked for a further round, and for what.
    next: Vec<(Scope, Origin)>,
    /// Requests that could not be started.
    failed: Option<Reading>,
}

#[derive(Debug)]
struct Running {
    thread: Background<Outcome<Content>>,
    deadline: Monotonic,
    /// Empty once they have been told that the files cannot be read in time.
    origins: Vec<Origin>,
}

impl ConfigurationReader {
    /// Begins to read, now or after the present round.
    pub(super) fn request(&mut self, scope: Scope, origin: Origin, now: Monotonic) {
        self.next.push((scope, origin));
        match &self.running {
            None => self.start(now),
            Some(running) if running.origins.is_empty() => self.fail(Vec::new(), not_in_time()),
            Some(_) => {}
        }
    }

    /// Starts a round of the first scope that is requested, for all who asked for it.
    fn start(&mut self, now: Monotonic) {
        let Some((scope, _)) = self.next.first() else {
            return;
        };
        let (first, work) = (scope.clone(), scope.clone());
        match Background::start("reload", Profile::Files, move || read(work)) {
            Ok(thread) => {
                let of_round = self.next.extract_if(.., |(scope, _)| *scope == first);
                self.running = Some(Running {
                    thread,
                    deadline: now + READ_LIMIT,
                    origins: of_round.map(|(_, origin)| origin).collect(),
                });
            }
            Err(error) => self.fail(Vec::new(), not_started(&error)),
        }
    }

    /// Refuses `waiting` and all requests of further rounds.
    fn fail(&mut self, waiting: Vec<Origin>, error: Error) {
        let before = self.failed.take().map(|reading| reading.origins);
        let mut origins = before.unwrap_or_default();
        origins.extend(waiting);
        origins.extend(self.next.drain(..).map(|(_, origin)| origin));
        let result = Err(error);
        self.failed = Some(Reading { origins, result });
    }

    /// Adds the running thread to a poll set.
    pub(super) fn register(&mut self, set: &mut PollSet) {
        if let Some(running) = &mut self.running {
            running.thread.register(set);
        }
    }

    /// Time at which [`take`](Self::take) has something to return, without any descriptor.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        if self.failed.is_some() {
            return Some(Monotonic::default());
        }
        let running = self.running.as_ref()?;
        (!running.origins.is_empty()).then_some(running.deadline)
    }

    /// Returns what was read, or the failure to do so, and starts the next round.
    pub(super) fn take(&mut self, set: &PollSet, now: Monotonic) -> Option<Reading> {
        if let Some(running) = self.running.take_if(|it| it.thread.has_ended(set)) {
            self.start(now);
            let result = running.thread.finish().unwrap_or_else(|_| {
                Err(Error::Failed {
                    reason: "the thread that reads the configuration failed".into(),
                })
            });
            let origins = running.origins;
            return (!origins.is_empty()).then_some(Reading { origins, result });
        }
        if let Some(running) = &mut self.running
            && running.deadline <= now
            && !running.origins.is_empty()
        {
            let waiting = core::mem::take(&mut running.origins);
            self.fail(waiting, not_in_time());
        }
        self.failed.take()
    }
}

fn not_in_time() -> Error {
    Error::Failed {
        reason: "the configuration, or a file that it names, cannot be read: a file system does not answer. Nothing has changed".into(),
    }
}

fn not_started(error: &io::Error) -> Error {
    Error::Failed {
        reason: format!("no thread to read the configuration: {error}. Nothing has changed"),
    }
}

fn read(scope: Scope) -> Outcome<Content> {
    match scope {
        Scope::Configuration(explicit) => {
            read_configuration(explicit.as_deref()).map(|new| Content::Configuration(Box::new(new)))
        }
        Scope::Dhcp(directory) => Ok(Content::Dhcp(DhcpFiles::read(&directory))),
    }
}

/// Loads the configuration and checks it.
fn read_configuration(explicit: Option<&Path>) -> Outcome<NewConfiguration> {
    let unacceptable = |report: String| Error::InvalidConfiguration { report };
    let loaded =
        ntp_config::load(explicit).map_err(|problem| unacceptable(problem.render(Style::Plain)))?;
    let lacking = loaded.config.unsupported();
    if !lacking.is_empty() {
        let reports: Vec<_> = lacking.iter().map(|it| it.render(Style::Plain)).collect();
        return Err(unacceptable(reports.join("\n\n")));
    }
    let findings = loaded.config.check();
    let findings = findings.iter().map(|finding| &finding.diagnostic);
    let warnings = loaded.warnings.iter().chain(findings);
    let warnings = warnings.map(|it| it.render(Style::Plain)).collect();
    let nts = NtsFiles::read(&loaded.config);
    Ok(NewConfiguration {
        loaded,
        warnings,
        nts,
    })
}
