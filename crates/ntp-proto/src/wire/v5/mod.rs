//! The packet of NTPv5 (draft-ietf-ntp-ntpv5).
//!
//! # Structure
//! A header of 48 octets and any number of extension fields; a MAC is a field like others. A field
//! has a type, a length and a body. The length includes itself and the type, but not the zeros that
//! align the next field to 4 octets, so any length from 4 is legal. The fields of version 4 for NTS
//! (RFC 8915 section 5) are used as they are.
//!
//! # Rules that [`Packet::parse`] checks
//! * The length of a packet is a multiple of 4, and its fields fill it exactly.
//! * Flags and timescale are known.
//! * After a MAC follows at most a correction field; after a correction field follows nothing. The
//!   MAC covers all before it, and routers on the path change what a correction field holds.
//!
//! What a field means is [`Field::parse`]'s matter. A field of an unknown type, or with a body that
//! its type does not permit, is [`Field::Other`] and to be ignored.
//!
//! # Invariants
//! As of [`wire`](super): parsing never panics or allocates, and emitting the parsed fields gives
//! the same octets, except for what aligns them, which is emitted as zeros.

mod correction;
pub mod draft;
mod field;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod header;
mod packet;

pub use correction::{Correction, CorrectionValue};
pub use field::{Field, SupportedVersions};
pub use header::{ClientCookie, Flags, Header, ServerCookie};
pub use packet::{Fields, Mac, Packet, emit_field};
