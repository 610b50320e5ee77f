//! The NTP packet as it stands in a UDP datagram: octets to meaning and back
//! (RFC 5905 sections 7.3 and 7.5, RFC 7822, RFC 9748).
//!
//! # The problem
//! A packet is a 48-octet header, any number of extension fields, and perhaps a message
//! authentication code (MAC). Nothing in the header says which of the last two are there: a MAC begins with a
//! key identifier, an extension field with a type and a length, and both are just 32 bits. A parser that
//! guesses by plausibility can be led to see a field where the sender wrote a MAC, or the other way round.
//!
//! # The rule
//! We decide by the number of octets `R` that remain, and by nothing else, so that what a packet means
//! never depends on its contents. In version 4, after the header and again after each field:
//!
//! | `R` | what follows |
//! |---|---|
//! | 0 | the end |
//! | 4 | a crypto-NAK: key identifier 0 and no digest (RFC 5905 section 9.2); another key identifier is malformed |
//! | 20, 24 | a MAC with a digest of 16 or 20 octets |
//! | 28 or more | an extension field: length at least 16, a multiple of 4, at most `R` |
//! | else | malformed |
//!
//! RFC 7822's minimum lengths are what makes this complete: 16 octets for a field, 28 for the last one when
//! no MAC follows. The second is the case `R >= 28` itself, so a parser that follows the table has no
//! extra check to forget. A digest longer than 20 octets (SHA-256 and up) has to be truncated to 20 in version 4,
//! as chrony and ntpsec do; a longer one would be indistinguishable from a field and is refused.
//! The one gap in the RFC is a last field of 16 or 20 octets with a crypto-NAK behind it, which adds up to a MAC:
//! [`emit`] pads such a field to 24.
//!
//! Version 3 has no extension fields: everything behind the header is a MAC, 4 octets of zero (crypto-NAK) or
//! 4 + 16 to 4 + 68 octets in steps of 4. That covers untruncated SHA-512 digests and the 72-octet
//! authenticator with which Windows domain members ask their controllers.
//!
//! Other versions are refused as [`Malformed::Version`], which names the number, so that a caller can tell
//! a newer peer from garbage. Versions 1 and 2 are extinct, and are refused like version 5 until it is written.
//!
//! # What holds
//! * [`Packet::parse`] never panics, never allocates, and borrows everything from the datagram.
//! * Emitting a parsed packet gives the same octets. Parsing an emitted packet gives the same
//!   packet, but for the zeros that pad a field's body. [`emit`] refuses whatever `parse` would refuse.
//! * No other file of this crate calculates with offsets into a packet; [`Reader`] and [`Writer`] do it here.
//!
//! [`fuzzing`] states these as properties; the fuzz target, the corpus replay and the property
//! tests all drive the same functions.

mod authenticator;
mod codec;
mod extension;
pub mod fuzzing;
mod header;
mod packet;

pub use authenticator::NtsAuthenticator;
pub use codec::{NoRoom, Reader, Truncated, Writer};
pub use extension::{ExtensionField, Extensions};
pub use header::{Header, Mode, Version};
pub use packet::{Mac, Malformed, Packet, Unemittable, emit};
