//! A blocking client with one connection and one call at a time.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::methods::{Error, INTERFACE, Method};
use super::wire::{Call, MAX_REPLY, MessageBuffer, Reply, encode};
use crate::connect_within;

/// A connection to the control socket of the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    buffer: MessageBuffer,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection failed.
    #[error("connection to the daemon failed: {0}")]
    Io(io::Error),
    /// The reply does not conform to this version of the interface.
    #[error("invalid reply from the daemon: {0}")]
    Malformed(String),
    /// The daemon refused the call with an error of the interface.
    #[error("{0}")]
    Refused(Error),
    /// The daemon replied with an unknown error or one of Varlink's own.
    #[error("unexpected error from the daemon: {name} {parameters}")]
    Other {
        /// Full name of the error.
        name: String,
        /// Parameters of the error.
        parameters: Value,
    },
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PermissionDenied { caller, permitted } => {
                write!(f, "permission denied for {caller}; permitted: {permitted}")
            }
            Self::Refused { reason } | Self::Failed { reason } => f.write_str(reason),
            Self::StepTooLarge {
                correction,
                threshold,
                limit,
                ..
            } => write!(
                f,
                "correction of {correction:+.6} s exceeds {threshold} = {limit} s"
            ),
            Self::InvalidConfiguration { report } => f.write_str(report),
        }
    }
}

impl Client {
    /// Connects to the socket at `path`. Connecting, each read and each write are limited to
    /// `timeout`, which must not be zero.
    ///
    /// # Errors
    /// The connection is refused, or the caller has no permission to connect.
    pub fn connect(path: &Path, timeout: Duration) -> io::Result<Self> {
        let stream = connect_within(path, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self {
            stream,
            buffer: MessageBuffer::default(),
        })
    }

    /// Calls a method and waits for its reply.
    ///
    /// # Errors
    /// The connection failed or the daemon refused the call.
    pub fn call<M: Method>(&mut self, input: &M::Input) -> Result<M::Output, CallError> {
        self.send::<M>(input, false)?;
        self.next_reply::<M>()
    }

    /// Calls a method with several replies; read them with [`next_reply`](Self::next_reply).
    ///
    /// # Errors
    /// The connection failed.
    pub fn subscribe<M: Method>(&mut self, input: &M::Input) -> Result<(), CallError> {
        self.send::<M>(input, true)
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// The connection failed or the daemon refused the call.
    pub fn next_reply<M: Method>(&mut self) -> Result<M::Output, CallError> {
        let reply = self.receive()?;
        let Some(name) = reply.error else {
            return serde_json::from_str(reply.parameters.get())
                .map_err(|error| CallError::Malformed(error.to_string()));
        };
        let parameters: Value = serde_json::from_str(reply.parameters.get())
            .map_err(|error| CallError::Malformed(error.to_string()))?;
        let known = name
            .strip_prefix(INTERFACE)
            .and_then(|name| name.strip_prefix('.'))
            .and_then(|name| Error::parse(name, &parameters));
        Err(match known {
            Some(error) => CallError::Refused(error),
            None => CallError::Other { name, parameters },
        })
    }

    fn send<M: Method>(&mut self, input: &M::Input, more: bool) -> Result<(), CallError> {
        let parameters =
            serde_json::to_value(input).map_err(|error| CallError::Malformed(error.to_string()))?;
        let call = Call {
            method: format!("{INTERFACE}.{}", M::NAME),
            parameters,
            more,
            ..Call::default()
        };
        Ok(self.stream.write_all(&encode(&call))?)
    }

    fn receive(&mut self) -> Result<Reply<Box<RawValue>>, CallError> {
        let mut chunk = vec![0; 64 << 10];
        loop {
            match self.buffer.next(MAX_REPLY) {
                Ok(Some(message)) => {
                    return serde_json::from_slice(&message)
                        .map_err(|error| CallError::Malformed(error.to_string()));
                }
                Ok(None) => {}
                Err(_) => return Err(CallError::Malformed("too long".into())),
            }
            let count = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.buffer.extend(&chunk[..count]);
        }
    }
}
