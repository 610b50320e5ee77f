//! Extension fields: type, length, body (RFC 5905 section 7.5 as updated by RFC 7822; types in RFC
//! 9748).
//!
//! ```text
//! | type: 16 bits | length: 16 bits, the whole field in octets | body, padded with zeros |
//! ```
//!
//! The length includes the padding, so a parsed body includes it; a field whose content has a
//! length of its own has it inside the body. Lengths are checked once, by
//! [`Packet::parse`](super::Packet::parse); iterating does not fail.

use super::{EmitError, Malformed, Reader, Writer};

/// One extension field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionField<'a> {
    /// Field type, from the registry of RFC 9748.
    pub field_type: u16,
    /// The content after the length; after parsing, including the padding.
    pub body: &'a [u8],
}

impl<'a> ExtensionField<'a> {
    /// Type of the unique identifier field, by which a client recognises its reply (RFC 8915
    /// section 5.3).
    pub const UNIQUE_IDENTIFIER: u16 = 0x0104;
    /// Type of the NTS cookie field (RFC 8915 section 5.4).
    pub const NTS_COOKIE: u16 = 0x0204;
    /// Type of the NTS cookie placeholder field, which reserves space for one more cookie in the
    /// reply (RFC 8915 section 5.5).
    pub const NTS_PLACEHOLDER: u16 = 0x0304;
    /// Type of the field that authenticates everything before it (RFC 8915 section 5.6); see
    /// [`NtsAuthenticator`](super::NtsAuthenticator).
    pub const NTS_AUTHENTICATOR: u16 = 0x0404;

    /// Length of type and length, in octets.
    pub const PREFIX: usize = 4;
    /// Length of the shortest field on the wire, in octets.
    pub(crate) const MIN_LENGTH: usize = 16;

    /// Parses a field from the front of `reader`.
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let at = reader.position();
        let malformed = |_| Malformed::FieldLength { at };
        let field_type = reader.u16().map_err(malformed)?;
        let length = usize::from(reader.u16().map_err(malformed)?);
        if length < Self::MIN_LENGTH || !length.is_multiple_of(4) {
            return Err(Malformed::FieldLength { at });
        }
        let body = reader.take(length - Self::PREFIX).map_err(malformed)?;
        Ok(Self { field_type, body })
    }

    /// Appends the field, padded with zeros to a multiple of 4 and to at least `minimum` octets,
    /// which must be a multiple of 4.
    pub(crate) fn emit(&self, minimum: usize, writer: &mut Writer<'_>) -> Result<(), EmitError> {
        let length = (self.body.len() + Self::PREFIX)
            .next_multiple_of(4)
            .max(minimum);
        let length_field = u16::try_from(length).map_err(|_| EmitError::FieldTooLong)?;
        writer.u16(self.field_type)?;
        writer.u16(length_field)?;
        writer.put(self.body)?;
        writer.zeros(length - Self::PREFIX - self.body.len())?;
        Ok(())
    }
}

/// The extension fields of a packet, in order.
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    /// After the header, over fields that were already parsed; ends with the last field.
    reader: Reader<'a>,
}

impl<'a> Extensions<'a> {
    /// Decrypted extension fields, which are not part of a packet. Iteration ends at the first
    /// malformed field.
    pub const fn from_decrypted(octets: &'a [u8]) -> Self {
        Self::new(Reader::new(octets))
    }

    pub(super) const fn new(reader: Reader<'a>) -> Self {
        Self { reader }
    }

    /// The packet's octets before the field that [`next`](Iterator::next) will return: those that
    /// an authenticating field covers (RFC 8915 section 5.6).
    pub const fn preceding(&self) -> &'a [u8] {
        self.reader.taken()
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = ExtensionField<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        ExtensionField::parse(&mut self.reader).ok()
    }
}
