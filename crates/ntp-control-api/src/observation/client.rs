//! Fetching the state from a running daemon.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{ReadError, State, read_frame};

/// Connects to the socket at `path` and reads the state, waiting for `patience` (not zero) at
/// most for each part of the answer. Blocks meanwhile.
///
/// # Errors
/// Nobody listens there, the caller may not connect, or the answer is not a state.
pub fn fetch(path: &Path, patience: Duration) -> Result<State, FetchError> {
    let stream = UnixStream::connect(path).map_err(FetchError::Connect)?;
    stream
        .set_read_timeout(Some(patience))
        .map_err(FetchError::Connect)?;
    read_frame(stream).map_err(FetchError::Read)
}

/// Why there is no state.
#[derive(Debug)]
pub enum FetchError {
    /// The socket could not be opened.
    Connect(io::Error),
    /// It was opened, and what came out of it is of no use.
    Read(ReadError),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "{error}"),
            Self::Read(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FetchError {}
