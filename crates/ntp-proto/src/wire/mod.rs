//! The NTP packet in a UDP datagram: parsing and emitting (RFC 5905 sections 7.3 and 7.5, RFC 7822,
//! RFC 9748).
//!
//! # The problem
//! A packet is a 48-octet header, any number of extension fields, and an optional message
//! authentication code (MAC). Nothing in the header shows which of the last two are present: a MAC
//! begins with a key ID, an extension field with a type and a length, and both are just 32 bits. A
//! parser that guesses by plausibility can be made to see a field where the sender wrote a MAC, or
//! the reverse.
//!
//! # The rule
//! The parser decides only by the number of octets `R` that remain, so the structure of a packet
//! never depends on its contents. In version 4, after the header and again after each field:
//!
//! | `R` | what follows |
//! |---|---|
//! | 0 | the end |
//! | 4 | a crypto-NAK: key ID 0 and no digest (RFC 5905 section 9.2); another key ID is malformed |
//! | 20, 24 | a MAC with a digest of 16 or 20 octets |
//! | 28 or more | an extension field: length at least 16, a multiple of 4, at most `R` |
//! | else | malformed |
//!
//! RFC 7822's minimum lengths make this complete: 16 octets for a field, 28 for the last one if no
//! MAC follows. The second is the case `R >= 28` itself, so a parser that follows the table needs
//! no extra check. A digest longer than 20 octets (SHA-256 and longer) must be truncated to 20 in
//! version 4, as chrony and ntpsec do; a longer one would be indistinguishable from a field and is
//! refused. The RFC leaves one gap: a last field of 16 or 20 octets followed by a crypto-NAK, which
//! together have the length of a MAC. [`emit`] pads such a field to 24.
//!
//! Versions 1 to 3 have no extension fields: everything after the header is a MAC, 4 octets of zero
//! (crypto-NAK) or 4 + 16 to 4 + 68 octets in steps of 4. That includes untruncated SHA-512 digests
//! and the 72-octet authenticator of Windows domain members.
//!
//! Other versions are refused as [`Malformed::Version`] with the number, so that a caller can
//! distinguish a newer peer from garbage. Version 5 has another header and other rules: [`v5`].
//!
//! # Invariants
//! * [`Packet::parse`] never panics, never allocates, and borrows everything from the datagram.
//! * Emitting a parsed packet gives the same octets. Parsing an emitted packet gives the same
//!   packet, except for the zeros that pad the body of a field. [`emit`] refuses whatever `parse`
//!   would refuse.
//! * Only [`Reader`] and [`Writer`] calculate offsets into a packet.
//!
//! `fuzzing` checks these properties; the fuzz target, the corpus replay and the property tests
//! call the same functions.

mod authenticator;
mod codec;
mod extension;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod header;
mod packet;
pub mod v5;

pub use authenticator::NtsAuthenticator;
pub use codec::{BufferTooSmall, Reader, Truncated, Writer};
pub use extension::{ExtensionField, Extensions};
pub use header::{Header, Mode, Version};
pub use packet::{EmitError, Mac, Malformed, Packet, emit};
