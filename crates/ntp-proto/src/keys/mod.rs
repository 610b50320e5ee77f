//! Symmetric keys: packets that only someone with the same secret can have written
//! (RFC 5905 section 7.3 and appendix A, RFC 8573).
//!
//! # The authenticator
//! Both sides hold the same secret under the same number. The sender appends the number and a digest of header and extension
//! fields; the receiver calculates the digest again. Two constructions are in use:
//!
//! | type | digest | octets |
//! |---|---|---|
//! | `AES128`, `AES256` | AES-CMAC (RFC 4493, RFC 8573) | 16 |
//! | `SHA1`, `SHA256`, `SHA384`, `SHA512` | `H(secret followed by packet)` | 20, 32, 48, 64 |
//! | `MD5` | the same | 16 |
//!
//! The second row is what NTP has always done, and no HMAC. It is sound for these packets, whose end is known from their length,
//! but CMAC is the construction that RFC 8573 asks for, and faster where the processor knows AES. MD5 is there for
//! peers that know nothing else, and the [key file](KeyFile) warns of it.
//!
//! Version 4 leaves room for 20 octets of digest at most, or a MAC could be taken for an extension field (see
//! [`wire`](crate::wire)); longer digests are cut to 20, as chrony and ntpsec cut them. In version 3 chrony sends them whole and ntpsec cut.
//! [`Key::verify`] takes both lengths and no others: a shorter digest would be easier to guess. A server answers in the length in which
//! it was asked.
//!
//! # Secrets
//! A [`Key`] wipes its secret when it is dropped, compares digests in constant time, and prints its number and type only.

mod file;
pub mod fuzzing;
mod key;
mod ring;

pub use file::{Fault, KeyFile, Problem, Remark, Warning};
pub use key::{Algorithm, BadSecret, Key, KeyId, Tag};
pub use ring::{DuplicateKey, KeyRing};
