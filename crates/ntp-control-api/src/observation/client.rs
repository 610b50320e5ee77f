//! Fetches the state from a running daemon.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{ReadError, State, read_frame};
use crate::connect_within;

/// Connects to the socket at `path` and reads the state. Blocks; connecting and each read
/// are limited to `timeout`, which must not be zero.
///
/// # Errors
/// The connection is refused, the caller has no permission to connect, or the reply is not a state.
pub fn fetch(path: &Path, timeout: Duration) -> Result<State, FetchError> {
    let stream = connect_within(path, timeout).map_err(FetchError::Connect)?;
    stream
        .set_read_timeout(Some(timeout))
        .map_err(FetchError::Connect)?;
    read_frame(stream).map_err(FetchError::Read)
}

/// Why the state could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The socket could not be opened.
    #[error("{0}")]
    Connect(io::Error),
    /// The reply could not be read.
    #[error("{0}")]
    Read(ReadError),
}
