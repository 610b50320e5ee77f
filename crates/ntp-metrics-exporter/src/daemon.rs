//! Asking the daemon for its state.
//!
//! Whoever asks us makes us ask the daemon, but not more often than four times a second, and only once at a time: those who ask
//! meanwhile share the answer. An answer that fails is shared in the same way.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ntp_control_api::observation::{MAX_FRAME, ReadError, State, read_frame};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::process::{self, Process};

/// For how long an answer is fresh.
const FRESH: Duration = Duration::from_millis(250);
/// How long the daemon may take for its answer. It answers within a millisecond; a Prometheus server waits ten seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The daemon behind an observation socket.
#[derive(Debug)]
pub(crate) struct Daemon {
    path: PathBuf,
    last: Mutex<Option<(Instant, Rc<Reading>)>>,
}

/// One answer, or none.
#[derive(Debug)]
pub(crate) struct Reading {
    /// What it said.
    pub(crate) state: Result<State, Problem>,
    /// What the kernel says of its process.
    pub(crate) process: Option<Process>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Why there is no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    /// For people: what is wrong and what to do about it.
    pub(crate) text: String,
}

/// The same in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// There is no socket.
    NoSocket,
    /// There is one, and nobody listens.
    NobodyListens,
    /// We may not use it.
    Forbidden,
    /// No answer in time.
    TimedOut,
    /// The answer is not the state of a daemon.
    Unreadable,
}

impl ProblemKind {
    pub(crate) const ALL: [Self; 5] = [
        Self::NoSocket,
        Self::NobodyListens,
        Self::Forbidden,
        Self::TimedOut,
        Self::Unreadable,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NoSocket => "no-socket",
            Self::NobodyListens => "nobody-listens",
            Self::Forbidden => "forbidden",
            Self::TimedOut => "timed-out",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Daemon {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self {
            path,
            last: Mutex::new(None),
        }
    }

    /// What it says now, or said a moment ago.
    pub(crate) async fn read(&self) -> Rc<Reading> {
        let mut last = self.last.lock().await;
        if let Some((at, reading)) = &*last
            && at.elapsed() < FRESH
        {
            return Rc::clone(reading);
        }
        let begin = Instant::now();
        let (state, process) = match timeout(PATIENCE, ask(&self.path)).await {
            Ok(Ok((state, process))) => (Ok(state), process),
            Ok(Err(failure)) => (Err(Problem::of(&failure, &self.path)), None),
            Err(_) => {
                let failure = Failure::Io(ErrorKind::TimedOut.into());
                (Err(Problem::of(&failure, &self.path)), None)
            }
        };
        let reading = Rc::new(Reading {
            state,
            process,
            took: begin.elapsed(),
        });
        *last = Some((Instant::now(), Rc::clone(&reading)));
        reading
    }
}

/// Where it went wrong.
enum Failure {
    Io(io::Error),
    Frame(ReadError),
}

async fn ask(path: &Path) -> Result<(State, Option<Process>), Failure> {
    let stream = UnixStream::connect(path).await.map_err(Failure::Io)?;
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let mut frame = Vec::new();
    // One octet more than the longest frame shows that there is one.
    let longest = 8 + MAX_FRAME + 1;
    stream
        .take(longest)
        .read_to_end(&mut frame)
        .await
        .map_err(Failure::Io)?;
    let state = read_frame(frame.as_slice()).map_err(Failure::Frame)?;
    Ok((state, pid.and_then(process::look_at)))
}

impl Problem {
    fn of(failure: &Failure, path: &Path) -> Self {
        let at = path.display();
        let (kind, text) = match failure {
            Failure::Frame(error) => (
                ProblemKind::Unreadable,
                format!(
                    "What comes out of {at} is not the state of an NTP daemon: {error}. Is it the `observation-path` of the daemon's configuration?"
                ),
            ),
            Failure::Io(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => (
                    ProblemKind::NoSocket,
                    format!(
                        "There is no socket at {at}. Is ntp-daemon running, with this `observation-path`?"
                    ),
                ),
                ErrorKind::ConnectionRefused => (
                    ProblemKind::NobodyListens,
                    format!(
                        "The socket {at} was left behind by a daemon that is no longer running."
                    ),
                ),
                ErrorKind::PermissionDenied => (
                    ProblemKind::Forbidden,
                    format!(
                        "The exporter's user may not use {at}: see `observation-permissions` in [observability], and the permissions of its directory."
                    ),
                ),
                ErrorKind::TimedOut => (
                    ProblemKind::TimedOut,
                    format!(
                        "The daemon did not answer at {at} within {} s.",
                        PATIENCE.as_secs()
                    ),
                ),
                _ => (
                    ProblemKind::Unreadable,
                    format!("Reading {at} failed: {error}."),
                ),
            },
        };
        Self { kind, text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
