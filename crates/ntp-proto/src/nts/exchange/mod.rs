//! The negotiation of a key exchange (RFC 8915 section 4), without TLS and sockets.
//!
//! One request, one response, inside TLS 1.3:
//!
//! ```text
//! client                                             server
//!   Next Protocol: NTPv4                               Next Protocol: NTPv4
//!   AEAD Algorithm: those it knows, best first    ->   AEAD Algorithm: one of them
//!   (record 1024)                                 <-   (record 1024)
//!   End of Message                                     New Cookie, eight times
//!                                                      NTPv4 Server, NTPv4 Port, if they differ from the usual
//!                                                      End of Message
//! ```
//!
//! The keys themselves are not sent: both sides export them from the TLS session after negotiating
//! the algorithm (section 5.1), so the server side has two steps. [`ServerExchange::receive`]
//! returns the result of the negotiation; the caller exports the keys and seals them into cookies;
//! [`Grant::response`] creates the response.
//!
//! # Pools
//! The key-exchange server of a pool passes the keys of its clients on to the servers of the pool.
//! To those it is a client with a token, whose requests have records of their own ([`Capabilities`],
//! fixed keys). A client of a pool names the servers that it has already in NTP Server Deny records.
//!
//! # AES-128-GCM-SIV and chrony
//! chrony 4.4 to 4.6.0 exported different keys for this algorithm than RFC 8915 prescribes. Since
//! 4.6.1 an empty, non-critical record of type 1024 in request and response confirms that both
//! sides follow the RFC; without it they use the old derivation. Our client sends the record, and
//! if it is missing in the response, the keys may be either ([`Agreement::export`]). Our server
//! returns it; a client that offers the algorithm without the record gets another algorithm if it
//! offers one.

mod client;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod pool;
mod server;

use core::fmt;

use super::record::RecordKind;
use super::{AeadAlgorithm, Cookie};

pub use client::{ClientExchange, Granted, ResponseError, is_ntp_port};
pub use pool::{Capabilities, PoolToken};
pub use server::{Decision, Grant, Refusal, RefusalReason, ServerExchange, ServerPolicy};

/// NTPv4 in the registry of next protocols (RFC 8915 section 7.7).
pub const NTPV4: u16 = 0;

/// ALPN protocol name of the key exchange (RFC 8915 section 4).
pub const ALPN: &[u8] = b"ntske/1";

/// Number of cookies in a response (RFC 8915 section 4.1.6).
pub const COOKIES_PER_RESPONSE: usize = Cookie::MAX_STORED;

/// Result of the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Algorithm that authenticates NTP packets.
    pub algorithm: AeadAlgorithm,
    /// How the keys are exported.
    pub export: Export,
}

/// How keys are exported from the TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// As in RFC 8915 section 5.1.
    Standard,
    /// As in the RFC or as in chrony 4.4: the server chose AES-128-GCM-SIV and did not confirm its
    /// derivation.
    Ambiguous,
}

/// Code of an Error record (RFC 8915 section 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// Unrecognised critical record.
    pub const UNRECOGNISED_CRITICAL: Self = Self(0);
    /// Bad request.
    pub const BAD_REQUEST: Self = Self(1);
    /// Internal server error.
    pub const INTERNAL: Self = Self(2);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNRECOGNISED_CRITICAL => f.write_str("unrecognised critical record"),
            Self::BAD_REQUEST => f.write_str("bad request"),
            Self::INTERNAL => f.write_str("internal server error"),
            Self(number) => write!(f, "error {number}"),
        }
    }
}

/// A record that may occur once.
struct UniqueRecord<T> {
    kind: RecordKind,
    value: Option<T>,
}

impl<T> UniqueRecord<T> {
    const fn new(kind: RecordKind) -> Self {
        Self { kind, value: None }
    }

    /// Sets the value. Returns the record's kind as the error if it was already set.
    fn set(&mut self, value: T) -> Result<(), RecordKind> {
        match self.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.kind),
        }
    }
}
