//! Why a device cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the device of a reference clock cannot be opened or read.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The operating system refuses an operation.
    #[error("{operation}: {error}")]
    System {
        /// What was tried, with the name of the device if that adds something.
        operation: String,
        /// The error.
        error: io::Error,
    },
    /// The place of a socket is taken by something else.
    #[error("{} exists and is not a socket: remove it, or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// Another program receives from the socket.
    #[error("another program has {} open: stop it, or choose another path", .0.display())]
    InUse(PathBuf),
    /// A call to the device fails.
    #[error(transparent)]
    Device(#[from] ntp_os_clock::device::DeviceError),
    /// No user or group has this name.
    #[error("there is no {kind} {name:?}")]
    UnknownAccount {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The device ended: it was removed, or the program at the other end stopped.
    #[error("the device is gone")]
    Gone,
    /// The device is not what the configuration names.
    #[error("{0}")]
    Unsuitable(String),
}

impl DeviceError {
    /// Returns a function that makes an error of the operating system one of an operation.
    pub fn during(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.into();
        move |error| Self::System { operation, error }
    }
}
