//! Meaning of the extension fields.
//!
//! | field | length | request | response |
//! |---|---|---|---|
//! | draft | 4 + n | name of a draft | the same |
//! | padding | any | zeros | zeros |
//! | MAC | 8 + m | key ID and digest | the same key |
//! | reference IDs request | 4 + k | offset in the filter | |
//! | reference IDs response | 4 + k | | k octets of the filter from there |
//! | server information | 8 | zeros | versions of the protocol |
//! | correction | 28 | zeros | see [`Correction`] |
//! | reference timestamp | 12 | zeros | when the clock was corrected last |
//! | monotonic receive | 16 | zeros | arrival on a clock without phase corrections |
//! | secondary receive | 16 | scale | arrival in another timescale |
//!
//! A response is exactly as long as its request; so a field of a request has the length of the
//! answer that it asks for.

use ntp_time::{Era, NtpTimestamp, Timescale};

use super::super::{EmitError, ExtensionField, Reader, Version, Writer};
use super::draft::field_type;
use super::packet::{align, emit_prefix};
use super::{Correction, Mac, emit_field};

/// One extension field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// Name of the draft that the sender speaks, in ASCII.
    Draft(&'a [u8]),
    /// This many octets without meaning, beside type and length.
    Padding(usize),
    /// Message authentication code; see [`Packet::mac`](super::Packet::mac) for what it covers.
    Mac(Mac<'a>),
    /// Asks for a part of the filter of reference IDs.
    ReferenceIdsRequest {
        /// First octet of the filter.
        offset: u16,
        /// Number of octets; at least 2.
        length: usize,
    },
    /// Part of the filter of reference IDs.
    ReferenceIdsResponse(&'a [u8]),
    /// Versions of the protocol that the server speaks; none in a request.
    ServerInformation(SupportedVersions),
    /// Delays on the path.
    Correction(Correction),
    /// When the server's clock was set or corrected last.
    ReferenceTimestamp(NtpTimestamp),
    /// Arrival of the request on a clock that no phase correction moves, for measurements of
    /// frequency.
    MonotonicReceive {
        /// Another number if the clock has lost its continuity.
        epoch: u32,
        /// Arrival; its origin is arbitrary.
        timestamp: NtpTimestamp,
    },
    /// Arrival of the request in another timescale than that of the header.
    SecondaryReceive {
        /// Scale of the timestamp.
        timescale: Timescale,
        /// Era of the timestamp.
        era: Era,
        /// Arrival; zero in a request, and if the server does not know this scale.
        timestamp: NtpTimestamp,
    },
    /// A field of another type, such as those of NTS, or with a body that its type does not permit.
    Other(ExtensionField<'a>),
}

impl<'a> Field<'a> {
    /// Interprets a field.
    pub fn parse(field: ExtensionField<'a>) -> Self {
        Self::parse_known(field).unwrap_or(Self::Other(field))
    }

    fn parse_known(field: ExtensionField<'a>) -> Option<Self> {
        let body = field.body;
        let mut reader = Reader::new(body);
        let parsed = match field.field_type {
            field_type::DRAFT => return Some(Self::Draft(body)),
            field_type::PADDING => return Some(Self::Padding(body.len())),
            field_type::MAC => return Mac::parse(body).map(Self::Mac),
            field_type::REFERENCE_IDS_REQUEST => {
                return Some(Self::ReferenceIdsRequest {
                    offset: reader.u16().ok()?,
                    length: body.len(),
                });
            }
            field_type::REFERENCE_IDS_RESPONSE => return Some(Self::ReferenceIdsResponse(body)),
            field_type::SERVER_INFORMATION => {
                let versions = SupportedVersions(reader.u16().ok()?);
                let _reserved = reader.u16().ok()?;
                Self::ServerInformation(versions)
            }
            field_type::CORRECTION => Self::Correction(Correction::parse(&mut reader).ok()?),
            field_type::REFERENCE_TIMESTAMP => {
                Self::ReferenceTimestamp(NtpTimestamp::from_bits(reader.u64().ok()?))
            }
            field_type::MONOTONIC_RECEIVE => Self::MonotonicReceive {
                epoch: reader.u32().ok()?,
                timestamp: NtpTimestamp::from_bits(reader.u64().ok()?),
            },
            field_type::SECONDARY_RECEIVE => {
                let timescale = Timescale::from_number(reader.u8().ok()?)?;
                let era = Era::new(reader.u8().ok()?);
                let _reserved = reader.u16().ok()?;
                Self::SecondaryReceive {
                    timescale,
                    era,
                    timestamp: NtpTimestamp::from_bits(reader.u64().ok()?),
                }
            }
            _ => return None,
        };
        (reader.remaining() == 0).then_some(parsed)
    }

    /// Appends the field and the zeros that align the next one.
    ///
    /// # Errors
    /// [`EmitError::BufferTooSmall`], and [`EmitError::FieldTooLong`] above 65532 octets.
    pub fn emit(&self, writer: &mut Writer<'_>) -> Result<(), EmitError> {
        match *self {
            Self::Draft(body) => emit_field(field_type::DRAFT, body, writer)?,
            Self::Padding(length) => {
                emit_prefix(field_type::PADDING, length, writer)?;
                writer.zeros(length)?;
                align(length, writer)?;
            }
            Self::Mac(mac) => mac.emit(writer)?,
            Self::ReferenceIdsRequest { offset, length } => {
                let length = length.max(size_of::<u16>());
                emit_prefix(field_type::REFERENCE_IDS_REQUEST, length, writer)?;
                writer.u16(offset)?;
                writer.zeros(length - size_of::<u16>())?;
                align(length, writer)?;
            }
            Self::ReferenceIdsResponse(body) => {
                emit_field(field_type::REFERENCE_IDS_RESPONSE, body, writer)?;
            }
            Self::ServerInformation(versions) => {
                emit_prefix(field_type::SERVER_INFORMATION, 4, writer)?;
                writer.u16(versions.0)?;
                writer.u16(0)?;
            }
            Self::Correction(correction) => {
                emit_prefix(field_type::CORRECTION, Correction::LEN, writer)?;
                correction.emit(writer)?;
            }
            Self::ReferenceTimestamp(timestamp) => {
                emit_prefix(field_type::REFERENCE_TIMESTAMP, 8, writer)?;
                writer.u64(timestamp.to_bits())?;
            }
            Self::MonotonicReceive { epoch, timestamp } => {
                emit_prefix(field_type::MONOTONIC_RECEIVE, 12, writer)?;
                writer.u32(epoch)?;
                writer.u64(timestamp.to_bits())?;
            }
            Self::SecondaryReceive {
                timescale,
                era,
                timestamp,
            } => {
                emit_prefix(field_type::SECONDARY_RECEIVE, 12, writer)?;
                writer.u8(timescale.number())?;
                writer.u8(era.number())?;
                writer.u16(0)?;
                writer.u64(timestamp.to_bits())?;
            }
            Self::Other(field) => emit_field(field.field_type, field.body, writer)?,
        }
        Ok(())
    }
}

/// Set of protocol versions in a server information field: bit v - 1 stands for version v.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SupportedVersions(u16);

impl SupportedVersions {
    /// No version, as in a request.
    pub const NONE: Self = Self(0);

    /// The set with these bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// The set with `version` added.
    #[must_use]
    pub const fn with(self, version: Version) -> Self {
        Self(self.0 | 1 << (version.number() - 1))
    }

    /// The numbers of the versions, ascending: from 1 to 16.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (1..=16).filter(move |number| self.0 >> (number - 1) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::CorrectionValue;
    use super::*;

    /// The octets that `field` is emitted as; checks that they parse to it again.
    fn octets(field: Field<'_>) -> Vec<u8> {
        let mut buffer = [0xff; 64];
        let mut writer = Writer::new(&mut buffer);
        field.emit(&mut writer).unwrap();
        let octets = writer.finish().to_vec();
        let mut reader = Reader::new(&octets);
        let raw = super::super::packet::parse_field(&mut reader).unwrap();
        assert_eq!(Field::parse(raw), field);
        assert_eq!(reader.remaining(), 0);
        octets
    }

    #[test]
    fn fields_have_the_layout_of_the_draft() {
        assert_eq!(octets(Field::Draft(b"abc")), b"\xf5\xff\x00\x07abc\x00");
        assert_eq!(octets(Field::Padding(0)), b"\xf5\x01\x00\x04");
        assert_eq!(
            octets(Field::Padding(5)),
            b"\xf5\x01\x00\x09\0\0\0\0\0\0\0\0"
        );
        let mac = Mac {
            key_id: 0x0102_0304,
            digest: &[9; 16],
        };
        let expected = [&b"\xf5\x02\x00\x18\x01\x02\x03\x04"[..], &[9; 16]].concat();
        assert_eq!(octets(Field::Mac(mac)), expected);
        let request = Field::ReferenceIdsRequest {
            offset: 0x01f0,
            length: 6,
        };
        assert_eq!(octets(request), b"\xf5\x03\x00\x0a\x01\xf0\0\0\0\0\0\0");
        for length in 1..=4 {
            let body = &[1, 2, 3, 4][..length];
            let mut expected = [0xf5, 4, 0, 4 + length as u8, 0, 0, 0, 0];
            expected[4..4 + length].copy_from_slice(body);
            assert_eq!(octets(Field::ReferenceIdsResponse(body)), expected);
        }
        let versions = SupportedVersions::NONE
            .with(Version::V3)
            .with(Version::V4)
            .with(Version::V5);
        let information = octets(Field::ServerInformation(versions));
        assert_eq!(information, b"\xf5\x05\x00\x08\x00\x1c\x00\x00");
        assert!(versions.numbers().eq([3, 4, 5]));
        let timestamp = NtpTimestamp::from_bits(0x0102_0304_0506_0708);
        assert_eq!(
            octets(Field::ReferenceTimestamp(timestamp)),
            b"\xf5\x07\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08"
        );
        let monotonic = Field::MonotonicReceive {
            epoch: 0xa1a2_a3a4,
            timestamp,
        };
        assert_eq!(
            octets(monotonic),
            b"\xf5\x08\x00\x10\xa1\xa2\xa3\xa4\x01\x02\x03\x04\x05\x06\x07\x08"
        );
        let secondary = Field::SecondaryReceive {
            timescale: Timescale::Tai,
            era: Era::new(2),
            timestamp,
        };
        assert_eq!(
            octets(secondary),
            b"\xf5\x09\x00\x10\x01\x02\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08"
        );
    }

    #[test]
    fn a_correction_has_the_layout_of_the_draft_and_is_echoed_as_origin() {
        let request = Correction {
            delay: CorrectionValue::from_bits(0x1112_1314_1516_1718),
            path: 0x2122,
            checksum_complement: 0x3132,
            ..Correction::default()
        };
        assert_eq!(
            octets(Field::Correction(request)),
            b"\xf5\x06\x00\x1c\0\0\0\0\0\0\0\0\0\0\0\0\
              \x11\x12\x13\x14\x15\x16\x17\x18\x21\x22\x31\x32"
        );
        assert_eq!(
            octets(Field::Correction(request.response())),
            b"\xf5\x06\x00\x1c\x11\x12\x13\x14\x15\x16\x17\x18\x21\x22\0\0\
              \0\0\0\0\0\0\0\0\0\0\0\0"
        );
    }

    #[test]
    fn fields_of_another_length_or_scale_are_not_interpreted() {
        let fixed = [
            (field_type::SERVER_INFORMATION, 4),
            (field_type::CORRECTION, 24),
            (field_type::REFERENCE_TIMESTAMP, 8),
            (field_type::MONOTONIC_RECEIVE, 12),
            (field_type::SECONDARY_RECEIVE, 12),
        ];
        for (field_type, right) in fixed {
            for length in 0..40 {
                let body = vec![0; length];
                let field = ExtensionField {
                    field_type,
                    body: &body,
                };
                let other = Field::parse(field) == Field::Other(field);
                assert_eq!(other, length != right, "{field_type:#x}, {length} octets");
            }
        }
        let unassigned = ExtensionField {
            field_type: field_type::SECONDARY_RECEIVE,
            body: &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        assert_eq!(Field::parse(unassigned), Field::Other(unassigned));
        for (field_type, body) in [
            (field_type::REFERENCE_IDS_REQUEST, &[1][..]),
            (field_type::MAC, &[0, 0, 1]),
            (0xf50a, &[0; 8]),
        ] {
            let field = ExtensionField { field_type, body };
            assert_eq!(Field::parse(field), Field::Other(field));
        }
    }
}
