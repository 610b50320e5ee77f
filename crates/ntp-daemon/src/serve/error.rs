//! Errors of the serving threads.

use std::fmt;
use std::io;

use ntp_types::path::ListenAddress;

/// Error of the serving threads.
#[derive(Debug)]
pub enum ServeError {
    /// The address cannot be bound.
    Bind(ListenAddress, io::Error),
    /// Another system call failed.
    System(&'static str, io::Error),
    /// A worker failed.
    Worker(ListenAddress, io::Error),
    /// A worker panicked, which is a bug.
    Panic(ListenAddress),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => {
                write!(f, "cannot serve at {address}: {error}")?;
                match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        write!(f, " (is another time server running?)")
                    }
                    io::ErrorKind::PermissionDenied if address.device.is_some() => {
                        write!(f, " (`bind-device` needs Linux 5.7, or CAP_NET_RAW)")
                    }
                    io::ErrorKind::PermissionDenied => {
                        write!(f, " (ports below 1024 need CAP_NET_BIND_SERVICE)")
                    }
                    _ => Ok(()),
                }
            }
            Self::System(call, error) => write!(f, "cannot serve: {call} failed: {error}"),
            Self::Worker(address, error) => {
                write!(f, "a thread serving at {address} failed: {error}")
            }
            Self::Panic(address) => {
                write!(f, "a thread serving at {address} panicked, which is a bug")
            }
        }
    }
}

impl std::error::Error for ServeError {}
