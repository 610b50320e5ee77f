//! Symmetric key authentication (RFC 5905 section 7.3 and appendix A, RFC 8573).
//!
//! # The authenticator
//! Both sides hold the same secret under the same number. The sender appends the number and a
//! digest of header and extension fields; the receiver calculates the digest again and compares.
//! Two constructions are in use:
//!
//! | type | digest | octets |
//! |---|---|---|
//! | `AES128`, `AES256` | AES-CMAC (RFC 4493, RFC 8573) | 16 |
//! | `SHA1`, `SHA256`, `SHA384`, `SHA512` | `H(secret followed by packet)` | 20, 32, 48, 64 |
//! | `MD5` | the same | 16 |
//!
//! The second row is NTP's traditional construction, which is not an HMAC. It is sound for these
//! packets, whose end is known from their length, but RFC 8573 requires CMAC, which is also faster
//! where the processor supports AES. MD5 is supported for peers that have nothing else, and the
//! [key file](KeyFile) reports a warning for it.
//!
//! Version 4 has space for a digest of at most 20 octets, because a longer MAC could be taken for
//! an extension field (see [`wire`](crate::wire)); longer digests are truncated to 20, as in chrony
//! and ntpsec. In version 3 chrony sends them complete and ntpsec truncated. [`Key::verify`]
//! accepts these two lengths and no others: a shorter digest would be easier to guess. A server
//! replies with a digest of the length of the request's.
//!
//! # Secrets
//! A [`Key`] wipes its secret on drop, compares digests in constant time, and shows only number and
//! type.

mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod key;
mod ring;

pub use file::{KeyFile, KeyFileError, KeyFileWarning, LineError, WarningKind};
pub use key::{Algorithm, InvalidSecret, Key, KeyId, Tag};
pub use ring::{DuplicateKey, KeyRing};
