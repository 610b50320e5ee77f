//! A blocking client: one connection, one call at a time.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::methods::{Error, INTERFACE, Method};
use super::wire::{Call, Inbox, LONGEST_REPLY, Reply, encode};

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    inbox: Inbox,
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum CallError {
    /// The connection failed.
    Io(io::Error),
    /// What came is not what this version of the interface says.
    Malformed(String),
    /// The daemon did nothing, and says why.
    Refused(Error),
    /// The daemon answered with an error that this version does not know, or one of Varlink's own.
    Other {
        /// Its full name.
        name: String,
        /// Its parameters.
        parameters: Value,
    },
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection to the daemon failed: {error}"),
            Self::Malformed(problem) => write!(f, "the daemon's answer makes no sense: {problem}"),
            Self::Refused(error) => write!(f, "{error}"),
            Self::Other { name, parameters } => {
                write!(f, "the daemon answered {name} {parameters}")
            }
        }
    }
}

impl std::error::Error for CallError {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PermissionDenied { caller, permitted } => {
                write!(f, "{caller} may not do this; {permitted} may")
            }
            Self::Refused { reason } | Self::Failed { reason } => f.write_str(reason),
            Self::StepTooLarge {
                correction,
                threshold,
                limit,
                ..
            } => write!(
                f,
                "a correction of {correction:+.6} s is more than {threshold} = {limit} s allows"
            ),
            Self::InvalidConfiguration { report } => f.write_str(report),
        }
    }
}

impl Client {
    /// Connects to the socket at `path`. Each part of an answer is waited for as long as `patience` (not zero).
    ///
    /// # Errors
    /// Nobody listens there, or the caller may not connect.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self {
            stream,
            inbox: Inbox::default(),
        })
    }

    /// Calls a method of the control interface.
    ///
    /// # Errors
    /// The connection failed or the daemon refused.
    pub fn call<M: Method>(&mut self, input: &M::Input) -> Result<M::Output, CallError> {
        self.send::<M>(input, false)?;
        self.answer::<M>()
    }

    /// Calls a method that replies again and again; [`answer`](Self::answer) then gives one reply after the other.
    ///
    /// # Errors
    /// The connection failed.
    pub fn subscribe<M: Method>(&mut self, input: &M::Input) -> Result<(), CallError> {
        self.send::<M>(input, true)
    }

    /// The next reply.
    ///
    /// # Errors
    /// The connection failed or the daemon refused.
    pub fn answer<M: Method>(&mut self) -> Result<M::Output, CallError> {
        let reply = self.receive()?;
        let Some(name) = reply.error else {
            return serde_json::from_str(reply.parameters.get())
                .map_err(|error| CallError::Malformed(error.to_string()));
        };
        let parameters: Value = serde_json::from_str(reply.parameters.get())
            .map_err(|error| CallError::Malformed(error.to_string()))?;
        let ours = name
            .strip_prefix(INTERFACE)
            .and_then(|name| name.strip_prefix('.'))
            .and_then(|name| Error::parse(name, &parameters));
        Err(match ours {
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
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.inbox.next(LONGEST_REPLY) {
                Ok(Some(message)) => {
                    return serde_json::from_slice(&message)
                        .map_err(|error| CallError::Malformed(error.to_string()));
                }
                Ok(None) => {}
                Err(_) => return Err(CallError::Malformed("it does not end".into())),
            }
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.inbox.extend(&buffer[..count]);
        }
    }
}
