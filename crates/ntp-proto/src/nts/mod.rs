//! Network Time Security (RFC 8915): authenticated packets without state per client on the server.
//!
//! # Overview
//! Client and server agree on two keys over TLS, once: the *key exchange*. The server does not
//! store them; it gives the client *cookies*, each of which contains the keys, encrypted with a
//! master key that only the server has. A request carries one cookie and is authenticated with the
//! first key (`c2s`); the server opens the cookie, verifies the request, and authenticates its
//! reply with the second key (`s2c`). The reply carries a new cookie, so that each cookie is used
//! once and an observer cannot link two requests of a client.
//!
//! | file | contents |
//! |---|---|
//! | `session_keys` | both keys, and the parameters to export them from TLS |
//! | `cookie` | a cookie, as the client stores it |
//! | [`record`] | the messages of a key exchange |
//! | [`exchange`] | the negotiation in a key exchange |
//! | `session` | the result of a key exchange |
//! | `packet` | a client's request, and verification of its reply; the server side is in [`server`](crate::server) |
//! | `keyset` | the server's master keys: sealing and opening cookies, rotation |
//! | `keyset_file` | file format of the master keys, upstream's |
//! | `fleet` | master keys that several servers derive from one secret and the time |
//! | `aead` | sealing and opening with a session's keys |
//! | `stored` | file format of a client's session, to survive a restart |
//! | `siv` | AES-SIV |
//!
//! TLS and file access are elsewhere.

mod aead;
mod cookie;
pub mod exchange;
mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod keyset;
mod keyset_file;
mod packet;
pub mod record;
mod session;
mod session_keys;
mod siv;
mod stored;

pub use cookie::Cookie;
pub use fleet::{Fleet, FleetError};
pub use keyset::{Keyset, MasterSecret};
pub use keyset_file::{KeysetFileError, StoredKeyset};
pub use packet::{CoveredFields, NtsRequest, Proof, UniqueIdentifier, verify_fields, verify_reply};
pub use session::{KeyExchangeResult, KeyExchanged, NextProtocol};
pub use session_keys::{Direction, EXPORTER_LABEL, SessionKeys, exporter_context};
pub use siv::TagMismatch;
pub use stored::{StoredSession, StoredSessionError};

/// An AEAD algorithm that client and server can negotiate (RFC 5116, IANA's AEAD registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AeadAlgorithm {
    /// Mandatory to implement (RFC 8915 section 5.1).
    AesSivCmac256 = 15,
    /// The same with longer keys.
    AesSivCmac512 = 17,
    /// Shorter keys and cookies, and less work (RFC 8452).
    Aes128GcmSiv = 30,
}

impl AeadAlgorithm {
    /// All supported algorithms.
    pub const ALL: [Self; 3] = [Self::AesSivCmac256, Self::AesSivCmac512, Self::Aes128GcmSiv];

    /// Number in IANA's registry.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The algorithm with this number in IANA's registry.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.id() == id)
    }

    /// Name in IANA's registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesSivCmac256 => "AES-SIV-CMAC-256",
            Self::AesSivCmac512 => "AES-SIV-CMAC-512",
            Self::Aes128GcmSiv => "AES-128-GCM-SIV",
        }
    }

    /// Length of a key in octets.
    pub const fn key_length(self) -> usize {
        match self {
            Self::AesSivCmac256 => 32,
            Self::AesSivCmac512 => 64,
            Self::Aes128GcmSiv => 16,
        }
    }

    /// Length of the nonces that we send, in octets: for AES-SIV as recommended by RFC 8915 section
    /// 5.6, for AES-GCM-SIV as prescribed by RFC 8452.
    pub const fn nonce_length(self) -> usize {
        match self {
            Self::AesSivCmac256 | Self::AesSivCmac512 => 16,
            Self::Aes128GcmSiv => 12,
        }
    }
}

impl core::fmt::Display for AeadAlgorithm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
