//! Network Time Security (RFC 8915): packets that only the right server can have answered, without that server remembering
//! its clients.
//!
//! # The idea
//! A client and a server agree on two keys over TLS, once: the *key exchange*. The server forgets them; it gives the client
//! *cookies*, each of which holds the keys, encrypted with a master key that only the server has. A request carries one cookie and is
//! authenticated with the first key (`c2s`); the server opens the cookie, checks the request, and authenticates its reply with the
//! second (`s2c`). The reply brings a new cookie, so that each is used once and nobody on the way can tell by them
//! that two requests come from one client.
//!
//! | file | what it knows |
//! |---|---|
//! | `session_keys` | both keys, and what TLS must be asked to export for them |
//! | `cookie` | a cookie, as the client keeps it |
//! | [`record`] | what both sides of a key exchange send each other |
//! | [`exchange`] | what they agree on |
//! | `session` | what a key exchange yields |
//! | `packet` | a client's request, and what its reply proves; the server's side is in [`server`](crate::server) |
//! | `keyset` | the server's master keys: sealing and opening cookies, rotation |
//! | `keyset_file` | the master keys as octets, in upstream's format |
//! | `fleet` | master keys that several servers derive from one secret and the time |
//! | `aead` | sealing and opening with a session's keys |
//! | `stored` | a client's session as octets, to outlive a restart |
//! | `siv` | AES-SIV |
//!
//! TLS itself is not here, and neither are files.

mod aead;
mod cookie;
pub mod exchange;
mod fleet;
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
pub use fleet::{BadFleet, Fleet};
pub use keyset::{Keyset, MasterSecret};
pub use keyset_file::{BadKeysetFile, StoredKeyset};
pub use packet::{NtsRequest, Proof, UniqueIdentifier, prove};
pub use session::{KeyExchangeResult, KeyExchanged};
pub use session_keys::{Direction, EXPORTER_LABEL, SessionKeys, exporter_context};
pub use siv::Forged;
pub use stored::{BadStoredSession, StoredSession};

/// An authenticated cipher that client and server can agree on (RFC 5116, IANA's AEAD registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AeadAlgorithm {
    /// The one that everybody must have (RFC 8915 section 5.1).
    AesSivCmac256 = 15,
    /// The same with longer keys.
    AesSivCmac512 = 17,
    /// Half as long keys and cookies, and less work (RFC 8452).
    Aes128GcmSiv = 30,
}

impl AeadAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AesSivCmac256, Self::AesSivCmac512, Self::Aes128GcmSiv];

    /// Its number in IANA's registry.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The one with this number.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.id() == id)
    }

    /// Its name in that registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesSivCmac256 => "AES-SIV-CMAC-256",
            Self::AesSivCmac512 => "AES-SIV-CMAC-512",
            Self::Aes128GcmSiv => "AES-128-GCM-SIV",
        }
    }

    /// Octets of a key.
    pub const fn key_length(self) -> usize {
        match self {
            Self::AesSivCmac256 => 32,
            Self::AesSivCmac512 => 64,
            Self::Aes128GcmSiv => 16,
        }
    }

    /// Octets of a nonce, as we send it: for AES-SIV what RFC 8915 section 5.6 recommends, for AES-GCM-SIV what RFC 8452 prescribes.
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
