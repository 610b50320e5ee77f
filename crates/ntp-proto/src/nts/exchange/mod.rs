//! What the two sides of a key exchange agree on (RFC 8915 section 4), without TLS and without sockets.
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
//! The keys themselves are not sent: both sides export them from the TLS session once they have agreed on the algorithm
//! (section 5.1), which is why the server's side here stops in the middle. [`ServerExchange::receive`] says what is agreed; the
//! driver exports the keys and seals them into cookies; [`Grant::response`] writes the response.
//!
//! # AES-128-GCM-SIV and chrony
//! chrony 4.4 to 4.6.0 exported other keys for this algorithm than RFC 8915 says. Since 4.6.1 an empty, non-critical record of type
//! 1024 in the request and in the response says that both sides do as the RFC says; without it they go on as before. Our client sends the record, and
//! knows from its absence in the response that the keys may be either ([`Agreement::export`]). Our server returns it; a client that
//! offers the algorithm without the record gets another one if it offers another one.

mod client;
pub mod fuzzing;
mod server;

use core::fmt;

use super::record::RecordKind;
use super::{AeadAlgorithm, Cookie};

pub use client::{ClientExchange, Fault, Granted};
pub use server::{Decision, Grant, Refusal, ServerExchange, ServerPolicy, WhyRefused};

/// NTPv4 in the registry of next protocols (RFC 8915 section 7.7).
pub const NTPV4: u16 = 0;

/// The name by which TLS peers agree to speak this protocol (ALPN, RFC 8915 section 4).
pub const ALPN: &[u8] = b"ntske/1";

/// How many cookies a response carries (RFC 8915 section 4.1.6).
pub const COOKIES: usize = Cookie::IN_STOCK;

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// How NTP packets are authenticated.
    pub algorithm: AeadAlgorithm,
    /// How the keys are exported.
    pub export: Export,
}

/// How keys are exported from the TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// As RFC 8915 section 5.1 says.
    Standard,
    /// The peer may do as the RFC says or as chrony 4.4 did: its number for AES-128-GCM-SIV came from a server that did not say
    /// which.
    Unsure,
}

/// What an Error record says (RFC 8915 section 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// A critical record was not understood.
    pub const UNRECOGNISED_CRITICAL: Self = Self(0);
    /// The request is malformed.
    pub const BAD_REQUEST: Self = Self(1);
    /// The server is in trouble.
    pub const INTERNAL: Self = Self(2);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNRECOGNISED_CRITICAL => f.write_str("it did not understand a critical record"),
            Self::BAD_REQUEST => f.write_str("it calls the request malformed"),
            Self::INTERNAL => f.write_str("it has an internal error"),
            Self(number) => write!(f, "error {number}"),
        }
    }
}

/// Takes the only record of its kind.
struct Single<T> {
    kind: RecordKind,
    value: Option<T>,
}

impl<T> Single<T> {
    const fn new(kind: RecordKind) -> Self {
        Self { kind, value: None }
    }

    /// Remembers `value`; gives the kind back if there was one before.
    fn set(&mut self, value: T) -> Result<(), RecordKind> {
        match self.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.kind),
        }
    }
}
