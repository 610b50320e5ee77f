//! Errors that end the daemon.

use std::io;

use ntp_os_clock::ClockError;

use crate::exit;
use crate::nts::StartError;
use crate::serve::error::ServeError;

/// An error that ends the daemon.
#[derive(Debug)]
pub enum Failure {
    /// The clock cannot be read or controlled.
    Clock(ClockError),
    /// A necessary system call failed.
    System(&'static str, io::Error),
    /// The privileges cannot be dropped.
    Sandbox(io::Error),
    /// Time cannot be served any more.
    Serve(ServeError),
    /// The key-exchange server cannot be started.
    GiveKeys(StartError),
    /// The key-exchange thread has ended.
    KeyExchange(io::Error),
    /// The cookie keys cannot be loaded; the complete message.
    CookieKeys(String),
}

impl Failure {
    /// Returns the exit code of a daemon that this error ends while it runs.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Clock(_) | Self::Sandbox(_) | Self::GiveKeys(_) | Self::CookieKeys(_) => {
                exit::SOFTWARE
            }
            // Like a crash, but noticed.
            Self::System(..) | Self::Serve(_) | Self::KeyExchange(_) => exit::FAILED,
        }
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Clock(error) => write!(f, "{error}"),
            Self::System(call, error) => write!(f, "{call} failed: {error}"),
            Self::Sandbox(error) => write!(
                f,
                "privileges cannot be dropped: {error} (see [sandbox]; with `mode = \"warn\"` or `--sandbox warn` that is only a warning)"
            ),
            Self::Serve(error) => write!(f, "{error}"),
            Self::GiveKeys(error) => write!(f, "{error}"),
            Self::KeyExchange(error) => write!(f, "key exchange has stopped: {error}"),
            Self::CookieKeys(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for Failure {}
