//! Last errors of sources, as shown to operators.

use core::fmt;

use ntp_types::refclock::SampleRefusal;

use super::{KeyExchangeError, SendError};
use crate::client::{KissCode, Rejection};

/// Error of the last request, reply or sample of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastError {
    /// The request could not be sent, or caused an ICMP error.
    Send(SendError),
    /// The reply was rejected.
    Reply(Rejection),
    /// The server replied with a kiss code.
    Kiss(KissCode),
    /// A reading of a reference clock gave no usable sample.
    Sample(SampleRefusal),
    /// The clock is so far from the server's time that its era is ambiguous (RFC 5905 section 6).
    ClockOutOfRange,
}

impl fmt::Display for LastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error) => write!(f, "{error}"),
            Self::Reply(rejection) => write!(f, "reply ignored: {rejection}"),
            Self::Kiss(kiss) => write!(f, "{kiss}"),
            Self::Sample(error) => write!(f, "reading refused: {error}"),
            Self::ClockOutOfRange => f.write_str(
                "reply ignored: the clock of this machine is more than 68 years off; set its date by hand first",
            ),
        }
    }
}

/// Reason why a configured source has no usable address or no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// The server denied access by this kiss code.
    Denied(KissCode),
    /// The last key exchange failed.
    KeyExchange(KeyExchangeError),
    /// The last name lookup failed.
    Resolve(ResolveError),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(code) => write!(f, "{code}"),
            Self::KeyExchange(error) => write!(f, "key exchange failed: {error}"),
            Self::Resolve(error) => write!(f, "name resolution failed: {error}"),
        }
    }
}

/// Error of a name lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// The resolver returned an empty list.
    NoAddress,
    /// Error text of the resolver.
    Resolver(String),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAddress => "the name has no address",
            Self::Resolver(text) => text,
        })
    }
}
