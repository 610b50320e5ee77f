//! The whole packet of version 5: header and extension fields.

use super::super::{EmitError, ExtensionField, Malformed, Reader, Writer};
use super::draft::{DraftField, field_type};
use super::{Correction, Field, Header};

/// A parsed packet, borrowing from its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header,
    /// Body of the first draft field.
    pub draft: Option<&'a [u8]>,
    /// The MAC, if there is one. It has not been verified.
    pub mac: Option<Mac<'a>>,
    /// The correction field, if there is one. Nothing authenticates it.
    pub correction: Option<Correction>,
    /// Whether it has an authenticator of NTS.
    pub has_nts: bool,
    octets: &'a [u8],
    /// Length of what a MAC covers.
    covered: usize,
}

impl<'a> Packet<'a> {
    /// Parses a datagram.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the datagram is not a valid packet of version 5.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(octets);
        let header = Header::parse(&mut reader)?;
        if !octets.len().is_multiple_of(4) {
            return Err(Malformed::Length(octets.len()));
        }
        let mut packet = Self {
            header,
            draft: None,
            mac: None,
            correction: None,
            has_nts: false,
            octets,
            covered: octets.len(),
        };
        let mut last = Order::Any;
        while reader.remaining() > 0 {
            let at = reader.position();
            let field = parse_field(&mut reader)?;
            let order = match field.field_type {
                field_type::MAC => Order::Mac,
                field_type::CORRECTION => Order::Correction,
                _ => Order::Any,
            };
            if last != Order::Any && order <= last {
                return Err(Malformed::FieldOrder { at });
            }
            last = order;
            match field.field_type {
                field_type::DRAFT => packet.draft = packet.draft.or(Some(field.body)),
                field_type::MAC | field_type::CORRECTION => packet.keep(Field::parse(field), at),
                ExtensionField::NTS_AUTHENTICATOR => packet.has_nts = true,
                _ => {}
            }
        }
        Ok(packet)
    }

    /// Keeps a field that begins at octet `at`.
    fn keep(&mut self, field: Field<'a>, at: usize) {
        match field {
            Field::Mac(mac) => {
                self.mac = Some(mac);
                self.covered = at;
            }
            Field::Correction(correction) => self.correction = Some(correction),
            _ => {}
        }
    }

    /// Parses a datagram that has a draft field of a known name and no other; `None` for all other
    /// datagrams. Costs a fifth of [`parse`](Self::parse), for a server's most frequent requests.
    #[inline(always)]
    pub fn parse_plain(octets: &'a [u8]) -> Option<Result<(Self, &'static DraftField), Malformed>> {
        let (_, field) = octets.split_first_chunk::<{ Header::LEN }>()?;
        let field = DraftField::find(field)?;
        let header = Header::parse(&mut Reader::new(octets));
        Some(header.map(|header| {
            let packet = Self {
                header,
                draft: Some(field.name().as_bytes()),
                mac: None,
                correction: None,
                has_nts: false,
                octets,
                covered: octets.len(),
            };
            (packet, field)
        }))
    }

    /// The fields in order, among them MAC and correction.
    pub fn fields(&self) -> Fields<'a> {
        let mut reader = Reader::new(self.octets);
        // Cannot fail: a header was parsed from these octets.
        let _header = reader.take(Header::LEN);
        Fields { reader }
    }

    /// Length of the packet in octets.
    pub const fn length(&self) -> usize {
        self.octets.len()
    }

    /// Octets that the MAC covers: header and fields before it. The whole packet if there is none.
    pub fn authenticated(&self) -> &'a [u8] {
        self.octets.get(..self.covered).unwrap_or_default()
    }
}

/// Where a field may stand: after a MAC only a correction, after a correction nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Any,
    Mac,
    Correction,
}

/// The extension fields of a packet, in order.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// After the header, over fields that were already parsed.
    reader: Reader<'a>,
}

impl<'a> Fields<'a> {
    /// Decrypted extension fields of NTS, which are not part of a packet. Iteration ends at the
    /// first malformed field.
    pub const fn from_decrypted(octets: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(octets),
        }
    }

    /// The packet's octets before the field that [`next`](Iterator::next) will return: those that
    /// an authenticating field covers (RFC 8915 section 5.6).
    pub const fn preceding(&self) -> &'a [u8] {
        self.reader.taken()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = ExtensionField<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        parse_field(&mut self.reader).ok()
    }
}

/// Parses a field and skips what aligns the next one.
#[inline]
pub(super) fn parse_field<'a>(reader: &mut Reader<'a>) -> Result<ExtensionField<'a>, Malformed> {
    let at = reader.position();
    let malformed = |_| Malformed::FieldLength { at };
    let field_type = reader.u16().map_err(malformed)?;
    let length = usize::from(reader.u16().map_err(malformed)?);
    let length = length
        .checked_sub(ExtensionField::PREFIX)
        .ok_or(Malformed::FieldLength { at })?;
    let body = reader.take(length).map_err(malformed)?;
    let _alignment = reader.take(alignment(length)).map_err(malformed)?;
    Ok(ExtensionField { field_type, body })
}

/// Appends a field and the zeros that align the next one.
///
/// # Errors
/// [`EmitError::BufferTooSmall`], and [`EmitError::FieldTooLong`] above 65535 octets.
pub fn emit_field(field_type: u16, body: &[u8], writer: &mut Writer<'_>) -> Result<(), EmitError> {
    emit_prefix(field_type, body.len(), writer)?;
    writer.put(body)?;
    align(body.len(), writer)
}

/// Appends type and length of a field with a body of `body` octets.
#[inline]
pub(super) fn emit_prefix(
    field_type: u16,
    body: usize,
    writer: &mut Writer<'_>,
) -> Result<(), EmitError> {
    let length = u16::try_from(ExtensionField::PREFIX + body);
    writer.u16(field_type)?;
    writer.u16(length.map_err(|_| EmitError::FieldTooLong)?)?;
    Ok(())
}

/// Appends the zeros after a body of `body` octets.
#[inline]
pub(super) fn align(body: usize, writer: &mut Writer<'_>) -> Result<(), EmitError> {
    Ok(writer.zeros(alignment(body))?)
}

/// Number of octets after a body of `body` octets that align the next field to 4.
#[inline]
const fn alignment(body: usize) -> usize {
    body.wrapping_neg() & 3
}

/// Message authentication code: key ID and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac<'a> {
    /// Number of the symmetric key that both sides hold.
    pub key_id: u32,
    /// Digest over [`Packet::authenticated`].
    pub digest: &'a [u8],
}

impl<'a> Mac<'a> {
    /// Length of a field without its digest, in octets: type, length and key ID.
    pub const PREFIX: usize = ExtensionField::PREFIX + size_of::<u32>();

    /// Splits the octets of a packet that end with a MAC into those that it covers and its digest
    /// of `digest` octets, a multiple of 4. `None` if they are shorter than such a field.
    pub fn split_packet(packet: &mut [u8], digest: usize) -> Option<(&[u8], &mut [u8])> {
        let at = packet.len().checked_sub(digest)?;
        let (front, digest) = packet.split_at_mut_checked(at)?;
        let covered = front.len().checked_sub(Self::PREFIX)?;
        Some((front.get(..covered)?, digest))
    }

    /// Length of the field in octets, aligned.
    pub const fn length(&self) -> usize {
        (Self::PREFIX + self.digest.len()).next_multiple_of(4)
    }

    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        Some(Self {
            key_id: reader.u32().ok()?,
            digest: reader.rest(),
        })
    }

    pub(super) fn emit(self, writer: &mut Writer<'_>) -> Result<(), EmitError> {
        let body = size_of::<u32>() + self.digest.len();
        emit_prefix(field_type::MAC, body, writer)?;
        writer.u32(self.key_id)?;
        writer.put(self.digest)?;
        align(body, writer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::super::Mode;
    use super::super::fuzzing;
    use super::*;

    fn datagram(fields: &[&[u8]]) -> Vec<u8> {
        let mut buffer = [0; Header::LEN];
        let header = Header::blank(Mode::Client);
        header.emit(&mut Writer::new(&mut buffer)).unwrap();
        [&buffer[..], &fields.concat()].concat()
    }

    const MAC: &[u8] = b"\xf5\x02\x00\x0c\x00\x00\x00\x07dige";
    const CORRECTION: &[u8] = b"\xf5\x06\x00\x1c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    const PADDING: &[u8] = b"\xf5\x01\x00\x05\0\0\0\0";

    #[test]
    fn odd_lengths_are_aligned_and_all_lengths_from_4_are_legal() {
        for declared in 0..=12u8 {
            let field = [&[0x12, 0x34, 0, declared][..], &[7; 8]].concat();
            let octets = datagram(&[&field]);
            let first = Packet::parse(&octets).map(|packet| packet.fields().next());
            // Shorter ones leave octets that are no field.
            let expected = match declared {
                0..4 => Err(Malformed::FieldLength { at: 48 }),
                4 => Err(Malformed::FieldLength { at: 52 }),
                5..=8 => Err(Malformed::FieldLength { at: 56 }),
                _ => Ok(Some(ExtensionField {
                    field_type: 0x1234,
                    body: &[7; 8][..usize::from(declared) - 4],
                })),
            };
            assert_eq!(first, expected, "{declared}");
        }
    }

    #[test]
    fn lengths_beyond_the_end_and_packets_that_are_no_multiple_of_4_are_malformed() {
        for declared in [9u16, 12, 0x8000, 0xffff] {
            let [high, low] = declared.to_be_bytes();
            let octets = datagram(&[&[0, 1, high, low, 0, 0, 0, 0]]);
            let malformed = Malformed::FieldLength { at: 48 };
            assert_eq!(Packet::parse(&octets), Err(malformed), "{declared}");
        }
        let octets = datagram(&[PADDING]);
        for length in 49..56 {
            let parsed = Packet::parse(&octets[..length]);
            let expected = match length {
                52 => Malformed::FieldLength { at: 48 },
                _ => Malformed::Length(length),
            };
            assert_eq!(parsed, Err(expected));
        }
    }

    #[test]
    fn after_a_mac_follows_a_correction_and_after_that_nothing() {
        let order = |fields: &[&[u8]]| {
            let octets = datagram(fields);
            Packet::parse(&octets).map(|packet| {
                let covered = packet.authenticated().len();
                (packet.mac.is_some(), packet.correction.is_some(), covered)
            })
        };
        assert_eq!(order(&[PADDING, MAC, CORRECTION]), Ok((true, true, 56)));
        assert_eq!(order(&[PADDING, MAC]), Ok((true, false, 56)));
        assert_eq!(order(&[PADDING, CORRECTION]), Ok((false, true, 84)));
        let at = |at| Err(Malformed::FieldOrder { at });
        assert_eq!(order(&[MAC, PADDING]), at(60));
        assert_eq!(order(&[MAC, MAC]), at(60));
        assert_eq!(order(&[CORRECTION, MAC]), at(76));
        assert_eq!(order(&[CORRECTION, CORRECTION]), at(76));
        assert_eq!(order(&[CORRECTION, PADDING]), at(76));
        assert_eq!(order(&[MAC, CORRECTION, PADDING]), at(88));
    }

    #[test]
    fn the_first_draft_counts() {
        let octets = datagram(&[b"\xf5\xff\x00\x05a\0\0\0", b"\xf5\xff\x00\x05b\0\0\0"]);
        assert_eq!(Packet::parse(&octets).unwrap().draft, Some(&b"a"[..]));
    }

    #[test]
    fn split_packet_divides_at_the_digest() {
        let mut octets = datagram(&[PADDING, MAC]);
        let (covered, digest) = Mac::split_packet(&mut octets, 4).unwrap();
        assert_eq!((covered.len(), &*digest), (56, &b"dige"[..]));
        assert_eq!(Mac::split_packet(&mut [0; 11], 4), None);
    }

    proptest! {
        #[test]
        fn invariants_hold_for_any_octets(octets in vec(any::<u8>(), 0..300)) {
            fuzzing::check(&octets);
        }

        /// Random octets seldom have the version and field lengths; these always do.
        #[test]
        fn invariants_hold_for_plausible_octets(
            mode in 0u8..8,
            scale in 0u8..5,
            flags in 0u8..9,
            cookies in vec(any::<u8>(), 32),
            fields in vec((prop_oneof![0xf501u16..0xf50b, Just(0xf5ff), any::<u16>()], vec(any::<u8>(), 0..30)), 0..5),
        ) {
            let mut octets = vec![0; 16];
            octets[0] = 5 << 3 | mode;
            octets[12] = scale;
            octets[15] = flags;
            octets.extend(cookies);
            for (field_type, body) in fields {
                octets.extend(field_type.to_be_bytes());
                octets.extend((body.len() as u16 + 4).to_be_bytes());
                octets.extend(&body);
                octets.resize(octets.len().next_multiple_of(4), 0);
            }
            fuzzing::check(&octets);
        }
    }
}
