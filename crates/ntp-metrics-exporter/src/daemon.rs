//! Reads the state of the daemon.
//!
//! The state is read on request, but at most four times a second and once at a time: concurrent
//! requests share the result, also a failed one.

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

/// Time for which a result is reused.
const MAX_AGE: Duration = Duration::from_millis(250);
/// Timeout of reading. The daemon replies within a millisecond; the default timeout of a scrape is
/// ten seconds.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Interval of attempts to connect while the queue of the socket is full; the kernel does not
/// announce a free place.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A daemon with an observation socket.
#[derive(Debug)]
pub(crate) struct Daemon {
    path: PathBuf,
    last: Mutex<Option<(Instant, Rc<Reading>)>>,
}

/// Result of one attempt to read the state.
#[derive(Debug)]
pub(crate) struct Reading {
    /// State, or the error.
    pub(crate) state: Result<State, Problem>,
    /// Resources of the process.
    pub(crate) process: Option<Process>,
    /// Duration of the attempt.
    pub(crate) duration: Duration,
}

/// Why the state could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    /// Message with cause and remedy.
    pub(crate) text: String,
}

/// Kind of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// The socket does not exist.
    NoSocket,
    /// The socket exists, but no process listens on it.
    ConnectionRefused,
    /// No permission to connect.
    Forbidden,
    /// No reply in time.
    TimedOut,
    /// The reply is not the state of a daemon.
    Unreadable,
}

impl ProblemKind {
    pub(crate) const ALL: [Self; 5] = [
        Self::NoSocket,
        Self::ConnectionRefused,
        Self::Forbidden,
        Self::TimedOut,
        Self::Unreadable,
    ];

    /// Returns the value of the label `outcome`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoSocket => "no-socket",
            Self::ConnectionRefused => "nobody-listens",
            Self::Forbidden => "forbidden",
            Self::TimedOut => "timed-out",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Daemon {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            last: Mutex::new(None),
        }
    }

    /// Reads the state, or returns the result of at most [`MAX_AGE`] ago.
    pub(crate) async fn read(&self) -> Rc<Reading> {
        let mut last = self.last.lock().await;
        if let Some((at, reading)) = &*last
            && at.elapsed() < MAX_AGE
        {
            return Rc::clone(reading);
        }
        let begin = Instant::now();
        let read = timeout(TIMEOUT, fetch(&self.path)).await;
        let read = read.unwrap_or_else(|_| Err(ReadError::Io(ErrorKind::TimedOut.into())));
        let (state, process) = match read {
            Ok((state, process)) => (Ok(state), process),
            Err(error) => (Err(Problem::new(&error, &self.path)), None),
        };
        let reading = Rc::new(Reading {
            state,
            process,
            duration: begin.elapsed(),
        });
        *last = Some((Instant::now(), Rc::clone(&reading)));
        reading
    }
}

async fn fetch(path: &Path) -> Result<(State, Option<Process>), ReadError> {
    let stream = connect(path).await.map_err(ReadError::Io)?;
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let mut frame = Vec::new();
    // One octet over the limit, so that longer frames are detected.
    let mut stream = stream.take(8 + MAX_FRAME + 1);
    stream
        .read_to_end(&mut frame)
        .await
        .map_err(ReadError::Io)?;
    Ok((read_frame(frame.as_slice())?, pid.and_then(process::read)))
}

/// Connects; waits as long as the daemon accepts no connection and its queue is full.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            connected => return connected,
        }
    }
}

impl Problem {
    fn new(error: &ReadError, path: &Path) -> Self {
        let at = path.display();
        let kind = match error {
            ReadError::Io(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => ProblemKind::NoSocket,
                ErrorKind::ConnectionRefused => ProblemKind::ConnectionRefused,
                ErrorKind::PermissionDenied => ProblemKind::Forbidden,
                ErrorKind::TimedOut => ProblemKind::TimedOut,
                _ => ProblemKind::Unreadable,
            },
            _ => ProblemKind::Unreadable,
        };
        let text = match kind {
            ProblemKind::NoSocket => format!(
                "No socket at {at}. Check that ntp-daemon is running with this `observation-path`."
            ),
            ProblemKind::ConnectionRefused => {
                format!("Stale socket {at}: the daemon that created it is no longer running.")
            }
            ProblemKind::Forbidden => format!(
                "Permission denied for {at}: see `observation-permissions` in [observability], and the permissions of its directory."
            ),
            ProblemKind::TimedOut => {
                let timeout = TIMEOUT.as_secs();
                format!("No reply from the daemon at {at} within {timeout} s.")
            }
            ProblemKind::Unreadable => format!(
                "Cannot read the state from {at}: {error}. Check that it is the `observation-path` of the daemon's configuration."
            ),
        };
        Self { kind, text }
    }
}
