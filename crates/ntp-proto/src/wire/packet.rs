//! The whole packet: header, extension fields, MAC. The [module documentation](super) has the rule
//! that distinguishes the last two.

use super::{BufferTooSmall, ExtensionField, Extensions, Header, Reader, Version, Writer};

/// A parsed packet, borrowing from its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header,
    /// The MAC, if there is one. It has not been verified.
    pub mac: Option<Mac<'a>>,
    /// Header and extension fields.
    authenticated: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses a datagram.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the datagram is not a valid packet.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(octets);
        let header = Header::parse(&mut reader)?;
        if header.version == Version::V4 {
            while reader.remaining() >= Mac::MIN_LAST_FIELD {
                ExtensionField::parse(&mut reader)?;
            }
        }
        Ok(Self {
            header,
            authenticated: reader.taken(),
            mac: Mac::parse(header.version, reader)?,
        })
    }

    /// The extension fields in order; none before version 4.
    pub fn extensions(&self) -> Extensions<'a> {
        let mut reader = Reader::new(self.authenticated);
        // Cannot fail: a header was parsed from these octets.
        let _header = reader.take(Header::LEN);
        Extensions::new(reader)
    }

    /// Octets covered by a MAC: header and extension fields.
    pub const fn authenticated(&self) -> &'a [u8] {
        self.authenticated
    }

    /// Appends the packet. Emits the octets from which it was parsed, unless a public field was
    /// changed since.
    ///
    /// # Errors
    ///
    /// As [`emit`].
    pub fn emit(&self, writer: &mut Writer<'_>) -> Result<(), EmitError> {
        emit(&self.header, self.extensions(), self.mac, writer)
    }
}

/// Appends a packet, with every field padded as its position requires.
///
/// The padding of the last field depends on whether a MAC follows, so a digest cannot be calculated
/// over the result of emitting with `mac: None`: emit a zero digest of the right length and
/// overwrite it.
///
/// # Errors
///
/// [`EmitError`] if [`Packet::parse`] would refuse the packet, or the buffer is too small. The
/// writer may then hold the beginning of a packet.
pub fn emit<'a>(
    header: &Header,
    fields: impl IntoIterator<Item = ExtensionField<'a>>,
    mac: Option<Mac<'_>>,
    writer: &mut Writer<'_>,
) -> Result<(), EmitError> {
    header.emit(writer)?;
    let trailer = mac.map_or(0, |mac| mac.length());
    // The last field and the MAC together must be too long for a MAC alone.
    let last_minimum = ExtensionField::MIN_LENGTH.max(Mac::MIN_LAST_FIELD.saturating_sub(trailer));
    let mut fields = fields.into_iter().peekable();
    while let Some(field) = fields.next() {
        if header.version != Version::V4 {
            return Err(EmitError::FieldBeforeVersion4);
        }
        let minimum = match fields.peek() {
            Some(_) => ExtensionField::MIN_LENGTH,
            None => last_minimum,
        };
        field.emit(minimum, writer)?;
    }
    if let Some(mac) = mac {
        mac.emit(header.version, writer)?;
    }
    Ok(())
}

/// Message authentication code at the end of a packet: key ID and digest (RFC 5905 section 7.3, RFC
/// 8573).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac<'a> {
    /// Number of the symmetric key that both sides hold.
    pub key_id: u32,
    /// Digest over [`Packet::authenticated`]; empty in a crypto-NAK.
    pub digest: &'a [u8],
}

impl<'a> Mac<'a> {
    /// Crypto-NAK: a server's reply to a request that it could not authenticate (RFC 5905 section
    /// 9.2).
    pub const CRYPTO_NAK: Self = Self {
        key_id: 0,
        digest: &[],
    };

    /// In version 4, if this many octets or more remain, an extension field follows.
    const MIN_LAST_FIELD: usize = 28;
    const KEY_ID: usize = 4;

    /// Returns `true` for [`Mac::CRYPTO_NAK`].
    pub const fn is_crypto_nak(&self) -> bool {
        self.key_id == 0 && self.digest.is_empty()
    }

    /// Length on the wire in octets.
    pub const fn length(&self) -> usize {
        Self::KEY_ID + self.digest.len()
    }

    /// Splits an emitted packet into the octets that its MAC covers and the MAC's digest of
    /// `digest` octets, so that the digest can be calculated over the former. `None` if the packet
    /// is shorter than such a MAC.
    pub fn split_packet(packet: &mut [u8], digest: usize) -> Option<(&[u8], &mut [u8])> {
        let at = packet.len().checked_sub(digest)?;
        let (front, digest) = packet.split_at_mut_checked(at)?;
        let covered = front.len().checked_sub(Self::KEY_ID)?;
        Some((front.get(..covered)?, digest))
    }

    /// Parses all remaining octets as a MAC.
    fn parse(version: Version, mut reader: Reader<'a>) -> Result<Option<Self>, Malformed> {
        if reader.remaining() == 0 {
            return Ok(None);
        }
        let at = reader.position();
        let key_id = reader.u32().map_err(|_| Malformed::Trailer { at })?;
        let mac = Self {
            key_id,
            digest: reader.rest(),
        };
        if mac.is_valid(version) {
            Ok(Some(mac))
        } else {
            Err(Malformed::Trailer { at })
        }
    }

    fn emit(&self, version: Version, writer: &mut Writer<'_>) -> Result<(), EmitError> {
        if !self.is_valid(version) {
            return Err(EmitError::Digest);
        }
        writer.u32(self.key_id)?;
        writer.put(self.digest)?;
        Ok(())
    }

    fn is_valid(&self, version: Version) -> bool {
        match (version, self.digest.len()) {
            (_, 0) => self.key_id == 0,
            // It is an extension field there.
            (Version::V5, _) => false,
            (Version::V4, length) => matches!(length, 16 | 20),
            (Version::V1 | Version::V2 | Version::V3, length) => {
                (16..=68).contains(&length) && length.is_multiple_of(4)
            }
        }
    }
}

/// Why a datagram is not a valid packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// It ends inside the header.
    #[error("packet shorter than an NTP header")]
    TooShort,
    /// Its protocol version, given here, is not supported.
    #[error("NTP version {0} is not supported")]
    Version(u8),
    /// In version 5, its length, given here in octets, is not a multiple of 4.
    #[error("length of {0} octets is not a multiple of 4")]
    Length(usize),
    /// In version 5, its timescale is unknown.
    #[error("unknown timescale {0}")]
    Timescale(u8),
    /// In version 5, one of its flags is unknown.
    #[error("unknown flags in {0:#06x}")]
    Flags(u16),
    /// In version 5, the extension field at this octet follows a MAC or a correction that must be
    /// the last.
    #[error("extension field at octet {at} follows the last one")]
    FieldOrder {
        /// Octets from the start of the packet.
        at: usize,
    },
    /// The extension field that begins at this octet has a length beyond the end, or in version 4
    /// below 16 or not a multiple of 4, or in version 5 below 4.
    #[error("extension field at octet {at} has an invalid length")]
    FieldLength {
        /// Octets from the start of the packet.
        at: usize,
    },
    /// The octets from here to the end are too few for an extension field and do not have the
    /// length of a MAC.
    #[error("octets from {at} on are neither an extension field nor a MAC")]
    Trailer {
        /// Octets from the start of the packet.
        at: usize,
    },
}

/// Why a packet cannot be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// The buffer is too small.
    #[error("the output buffer is too small")]
    BufferTooSmall,
    /// A field is longer than its 16-bit length can express.
    #[error("extension field longer than 65532 octets")]
    FieldTooLong,
    /// The packet is of a version before 4, which has no extension fields.
    #[error("NTP versions before 4 have no extension fields")]
    FieldBeforeVersion4,
    /// The digest has a length that this version does not allow, or is empty with a key ID other
    /// than 0.
    #[error("digest length not allowed in this NTP version")]
    Digest,
}

impl From<BufferTooSmall> for EmitError {
    fn from(_: BufferTooSmall) -> Self {
        Self::BufferTooSmall
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::{Mode, fuzzing};
    use super::*;

    fn datagram(version: Version, trailer: &[u8]) -> Vec<u8> {
        let mut buffer = [0; Header::LEN];
        Header::blank(version, Mode::Client)
            .emit(&mut Writer::new(&mut buffer))
            .unwrap();
        [&buffer, trailer].concat()
    }

    fn field(length: usize, declared: u16) -> Vec<u8> {
        let mut octets = vec![0; length];
        octets[..2].copy_from_slice(&0x0104u16.to_be_bytes());
        octets[2..4].copy_from_slice(&declared.to_be_bytes());
        octets
    }

    /// Number of extension fields and length of the MAC of a version 4 packet.
    fn shape(trailer: &[u8]) -> Result<(usize, Option<usize>), Malformed> {
        let datagram = datagram(Version::V4, trailer);
        let packet = Packet::parse(&datagram)?;
        Ok((
            packet.extensions().count(),
            packet.mac.map(|mac| mac.length()),
        ))
    }

    #[test]
    fn without_extension_fields_a_mac_is_recognised_by_its_length() {
        for length in 0..28 {
            let expected = match length {
                0 => Ok((0, None)),
                4 | 20 | 24 => Ok((0, Some(length))),
                _ => Err(Malformed::Trailer { at: 48 }),
            };
            // As similar to an extension field as possible.
            let mut trailer = field(28, length as u16);
            trailer.truncate(length);
            if length == 4 {
                trailer.fill(0);
            }
            assert_eq!(shape(&trailer), expected, "{length} octets");
        }
    }

    #[test]
    fn fields_and_macs_combine_as_in_rfc_7822() {
        let sixteen = field(16, 16);
        let last = field(28, 28);
        let mac = [7; 20];
        assert_eq!(shape(&last), Ok((1, None)));
        assert_eq!(shape(&[&sixteen[..], &last].concat()), Ok((2, None)));
        assert_eq!(shape(&[&sixteen[..], &mac].concat()), Ok((1, Some(20))));
        assert_eq!(
            shape(&[&sixteen[..], &sixteen, &[7; 24]].concat()),
            Ok((2, Some(24)))
        );
        assert_eq!(shape(&[&last[..], &[0; 4]].concat()), Ok((1, Some(4))));
        // A last field below 28 octets without a MAC.
        assert_eq!(
            shape(&[&last[..], &sixteen].concat()),
            Err(Malformed::Trailer { at: 76 })
        );
        // A digest that must be truncated in version 4.
        assert_eq!(
            shape(&[&1u32.to_be_bytes()[..], &[0xff; 32]].concat()),
            Err(Malformed::FieldLength { at: 48 })
        );
    }

    #[test]
    fn invalid_field_lengths_are_reported_with_their_position() {
        for declared in [0, 4, 12, 15, 17, 30, 36, 0xfffc, 0xffff] {
            let trailer = [field(16, 16), field(32, declared)].concat();
            assert_eq!(
                shape(&trailer),
                Err(Malformed::FieldLength { at: 64 }),
                "{declared}"
            );
        }
    }

    #[test]
    fn a_nonzero_key_id_without_digest_is_not_a_crypto_nak() {
        assert_eq!(shape(&[0, 0, 0, 1]), Err(Malformed::Trailer { at: 48 }));
        let nak = datagram(Version::V4, &[0; 4]);
        assert!(Packet::parse(&nak).unwrap().mac.unwrap().is_crypto_nak());
    }

    #[test]
    fn packets_before_version_4_have_no_extension_fields() {
        let versions = [Version::V1, Version::V2, Version::V3];
        for (version, length) in versions
            .iter()
            .flat_map(|it| (0..100).map(move |at| (*it, at)))
        {
            let datagram = datagram(version, &vec![0; length]);
            let valid =
                length == 0 || length == 4 || (20..=72).contains(&length) && length % 4 == 0;
            let parsed = Packet::parse(&datagram);
            assert_eq!(parsed.is_ok(), valid, "{length} octets");
            if let Ok(packet) = parsed {
                assert_eq!(packet.extensions().count(), 0);
                assert_eq!(packet.mac.map_or(0, |mac| mac.length()), length);
            }
        }
    }

    #[test]
    fn preceding_octets_of_a_field_and_covered_octets_of_a_mac() {
        let datagram = datagram(
            Version::V4,
            &[field(16, 16), field(20, 20), vec![9; 20]].concat(),
        );
        let packet = Packet::parse(&datagram).unwrap();
        let mut extensions = packet.extensions();
        assert_eq!(extensions.preceding(), &datagram[..48]);
        extensions.next().unwrap();
        assert_eq!(extensions.preceding(), &datagram[..64]);
        extensions.next().unwrap();
        assert_eq!(extensions.preceding(), &datagram[..84]);
        assert_eq!(packet.authenticated(), &datagram[..84]);
        assert_eq!(extensions.next(), None);
    }

    #[test]
    fn split_packet_divides_at_the_digest() {
        let mut octets = datagram(Version::V4, &[field(16, 16), vec![9; 20]].concat());
        let (covered, digest) = Mac::split_packet(&mut octets, 16).unwrap();
        assert_eq!((covered.len(), digest.len()), (64, 16));
        assert_eq!(Mac::split_packet(&mut [0; 19], 16), None);
        assert_eq!(Mac::split_packet(&mut [0; 15], 16), None);
    }

    #[test]
    fn a_short_last_field_is_padded_to_the_minimum_for_its_position() {
        let body = [1, 2, 3, 4, 5];
        let cases: [(Option<Mac<'_>>, usize); 3] = [
            (None, 28),
            (Some(Mac::CRYPTO_NAK), 24),
            (
                Some(Mac {
                    key_id: 5,
                    digest: &[1; 16],
                }),
                16,
            ),
        ];
        for (mac, expected) in cases {
            let mut buffer = [0xff; 128];
            let mut writer = Writer::new(&mut buffer);
            let field = ExtensionField {
                field_type: 2,
                body: &body,
            };
            let header = Header::blank(Version::V4, Mode::Client);
            emit(&header, [field], mac, &mut writer).unwrap();
            let packet = Packet::parse(writer.finish()).unwrap();
            let parsed = packet.extensions().next().unwrap();
            assert_eq!(parsed.body.len() + 4, expected);
            assert_eq!(
                parsed.body.split_at(5),
                (&body[..], &vec![0; expected - 9][..])
            );
            assert_eq!(packet.mac, mac);
        }
    }

    #[test]
    fn packets_that_do_not_parse_are_not_emitted() {
        let v4 = Header::blank(Version::V4, Mode::Client);
        let v3 = Header::blank(Version::V3, Mode::Client);
        let long = vec![0; 70_000];
        let try_emit = |header: &Header, body: Option<&[u8]>, mac: Option<Mac<'_>>, room: usize| {
            let mut buffer = vec![0; room];
            let field = body.map(|body| ExtensionField {
                field_type: 1,
                body,
            });
            emit(header, field, mac, &mut Writer::new(&mut buffer))
        };
        let digest = |length| {
            Some(Mac {
                key_id: 1,
                digest: &long[..length],
            })
        };
        assert_eq!(
            try_emit(&v4, None, None, 47),
            Err(EmitError::BufferTooSmall)
        );
        assert_eq!(
            try_emit(&v4, Some(&[]), None, 75),
            Err(EmitError::BufferTooSmall)
        );
        assert_eq!(
            try_emit(&v4, Some(&long), None, 80_000),
            Err(EmitError::FieldTooLong)
        );
        assert_eq!(
            try_emit(&v3, Some(&[]), None, 100),
            Err(EmitError::FieldBeforeVersion4)
        );
        assert_eq!(try_emit(&v4, None, digest(32), 100), Err(EmitError::Digest));
        assert_eq!(try_emit(&v4, None, digest(0), 100), Err(EmitError::Digest));
        assert_eq!(try_emit(&v3, None, digest(32), 100), Ok(()));
    }

    proptest! {
        #[test]
        fn invariants_hold_for_any_octets(octets in vec(any::<u8>(), 0..300)) {
            fuzzing::check(&octets);
        }

        /// Random octets seldom have a plausible version and field lengths; these always do.
        #[test]
        fn invariants_hold_for_plausible_octets(
            first in prop_oneof![Just(0x23u8), Just(0x1b), Just(0x13), Just(0x0b), Just(0x08), Just(0xe4), Just(0x19)],
            header in vec(any::<u8>(), 47),
            fields in vec((any::<u16>(), 3u16..12, -1i8..2), 0..4),
            trailer in 0usize..32,
        ) {
            let mut octets = vec![first];
            octets.extend(header);
            for (field_type, words, wrong) in fields {
                octets.extend(field_type.to_be_bytes());
                // Mostly correct, sometimes off by one.
                let declared = (words * 4).saturating_add_signed(i16::from(wrong / 2));
                octets.extend(declared.to_be_bytes());
                octets.resize(octets.len() + usize::from(words) * 4 - 4, 0xa5);
            }
            octets.resize(octets.len() + trailer, 0);
            fuzzing::check(&octets);
        }
    }
}
