//! The whole packet: header, extension fields, MAC. The rule that tells the last two apart stands in
//! the [module's essay](super).

use core::fmt;

use super::{ExtensionField, Extensions, Header, NoRoom, Reader, Version, Writer};

/// A parsed packet, borrowing from its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed part.
    pub header: Header,
    /// The authenticator, if any. It has not been verified.
    pub mac: Option<Mac<'a>>,
    /// Header and well-formed extension fields.
    authenticated: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses a datagram.
    ///
    /// # Errors
    /// The sender's octets are at fault, in the way that [`Malformed`] names.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(octets);
        let header = Header::parse(&mut reader)?;
        if header.version == Version::V4 {
            while reader.remaining() >= Mac::BELOW_ANY_FIELD {
                ExtensionField::parse(&mut reader)?;
            }
        }
        Ok(Self {
            header,
            authenticated: reader.taken(),
            mac: Mac::parse(header.version, reader)?,
        })
    }

    /// The extension fields in order; none in version 3.
    pub fn extensions(&self) -> Extensions<'a> {
        let mut reader = Reader::new(self.authenticated);
        // Cannot fail: a header was parsed from there.
        let _header = reader.take(Header::LEN);
        Extensions::new(reader)
    }

    /// What a MAC covers: header and extension fields.
    pub const fn authenticated(&self) -> &'a [u8] {
        self.authenticated
    }

    /// Appends the packet, giving the octets from which it was parsed unless a public field was changed since.
    ///
    /// # Errors
    /// As [`emit`].
    pub fn emit(&self, writer: &mut Writer<'_>) -> Result<(), Unemittable> {
        emit(&self.header, self.extensions(), self.mac, writer)
    }
}

/// Appends a packet, with every field padded as its place demands.
///
/// The last field's padding depends on whether a MAC follows, so a digest cannot be calculated over what was emitted with
/// `mac: None`: emit one of zeros, of the right length, and overwrite it.
///
/// # Errors
/// What [`Packet::parse`] would refuse is refused here, as is a full buffer. The writer may then
/// hold the beginning of a packet.
pub fn emit<'a>(
    header: &Header,
    fields: impl IntoIterator<Item = ExtensionField<'a>>,
    mac: Option<Mac<'_>>,
    writer: &mut Writer<'_>,
) -> Result<(), Unemittable> {
    header.emit(writer)?;
    let trailer = mac.map_or(0, |mac| mac.length());
    // The last field and the MAC together must be too long for a MAC alone.
    let last_minimum = ExtensionField::MINIMUM.max(Mac::BELOW_ANY_FIELD.saturating_sub(trailer));
    let mut fields = fields.into_iter().peekable();
    while let Some(field) = fields.next() {
        if header.version == Version::V3 {
            return Err(Unemittable::FieldInVersion3);
        }
        let minimum = match fields.peek() {
            Some(_) => ExtensionField::MINIMUM,
            None => last_minimum,
        };
        field.emit(minimum, writer)?;
    }
    if let Some(mac) = mac {
        mac.emit(header.version, writer)?;
    }
    Ok(())
}

/// The trailing authenticator: a key identifier and a digest (RFC 5905 section 7.3, RFC 8573).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac<'a> {
    /// Which of the keys that both sides hold.
    pub key_id: u32,
    /// Digest over [`Packet::authenticated`]; empty in a crypto-NAK.
    pub digest: &'a [u8],
}

impl<'a> Mac<'a> {
    /// A server's answer to a request that it could not authenticate (RFC 5905 section 9.2).
    pub const CRYPTO_NAK: Self = Self {
        key_id: 0,
        digest: &[],
    };

    /// In version 4, this many octets or more begin with an extension field.
    const BELOW_ANY_FIELD: usize = 28;
    const KEY_ID: usize = 4;

    /// Whether this is [`Mac::CRYPTO_NAK`].
    pub const fn is_crypto_nak(&self) -> bool {
        self.key_id == 0 && self.digest.is_empty()
    }

    /// Octets on the wire.
    pub const fn length(&self) -> usize {
        Self::KEY_ID + self.digest.len()
    }

    /// Divides an emitted packet into what its MAC covers and that MAC's digest of `digest` octets, so that one can be
    /// calculated over the other. `None` if the packet is shorter than such a MAC.
    pub fn divide(packet: &mut [u8], digest: usize) -> Option<(&[u8], &mut [u8])> {
        let at = packet.len().checked_sub(digest)?;
        let (front, digest) = packet.split_at_mut_checked(at)?;
        let covered = front.len().checked_sub(Self::KEY_ID)?;
        Some((front.get(..covered)?, digest))
    }

    /// Takes all that is left.
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

    fn emit(&self, version: Version, writer: &mut Writer<'_>) -> Result<(), Unemittable> {
        if !self.is_valid(version) {
            return Err(Unemittable::Digest);
        }
        writer.u32(self.key_id)?;
        writer.put(self.digest)?;
        Ok(())
    }

    fn is_valid(&self, version: Version) -> bool {
        match (version, self.digest.len()) {
            (_, 0) => self.key_id == 0,
            (Version::V4, length) => matches!(length, 16 | 20),
            (Version::V3, length) => (16..=68).contains(&length) && length.is_multiple_of(4),
        }
    }
}

/// Why a datagram is not a packet. The sender, or something on the way, is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// It ends inside the header.
    TooShort,
    /// It is of this version of the protocol, which is not spoken here.
    Version(u8),
    /// The extension field that begins at this octet has a length that is below 16, not a multiple of 4, or
    /// beyond the end.
    FieldLength {
        /// Octets from the start of the packet.
        at: usize,
    },
    /// The octets from here to the end are too few for an extension field and not as long as a MAC.
    Trailer {
        /// Octets from the start of the packet.
        at: usize,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("packet shorter than an NTP header"),
            Self::Version(number) => write!(f, "NTP version {number} is not supported"),
            Self::FieldLength { at } => {
                write!(f, "extension field at octet {at} has an impossible length")
            }
            Self::Trailer { at } => {
                write!(f, "octets from {at} on are neither extension field nor MAC")
            }
        }
    }
}

impl core::error::Error for Malformed {}

/// Why a packet cannot be written. The caller is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unemittable {
    /// The buffer is too small.
    NoRoom,
    /// A field is longer than its 16-bit length can say.
    FieldTooLong,
    /// Version 3 has no extension fields.
    FieldInVersion3,
    /// The MAC's digest has a length that this version does not allow, or is empty under a key
    /// identifier other than 0.
    Digest,
}

impl From<NoRoom> for Unemittable {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

impl fmt::Display for Unemittable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "the output buffer is too small",
            Self::FieldTooLong => "extension field longer than 65532 octets",
            Self::FieldInVersion3 => "NTP version 3 has no extension fields",
            Self::Digest => "digest length not allowed in this NTP version",
        })
    }
}

impl core::error::Error for Unemittable {}

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

    /// Number of fields and the length of the MAC in a version 4 packet.
    fn shape(trailer: &[u8]) -> Result<(usize, Option<usize>), Malformed> {
        let datagram = datagram(Version::V4, trailer);
        let packet = Packet::parse(&datagram)?;
        Ok((
            packet.extensions().count(),
            packet.mac.map(|mac| mac.length()),
        ))
    }

    #[test]
    fn without_fields_the_length_alone_tells_a_mac() {
        for length in 0..28 {
            let expected = match length {
                0 => Ok((0, None)),
                4 | 20 | 24 => Ok((0, Some(length))),
                _ => Err(Malformed::Trailer { at: 48 }),
            };
            // Looks as much like an extension field as it can.
            let mut trailer = field(28, length as u16);
            trailer.truncate(length);
            if length == 4 {
                trailer.fill(0);
            }
            assert_eq!(shape(&trailer), expected, "{length} octets");
        }
    }

    #[test]
    fn fields_and_macs_combine_as_rfc_7822_says() {
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
        // A digest that version 4 would have had to truncate.
        assert_eq!(
            shape(&[&1u32.to_be_bytes()[..], &[0xff; 32]].concat()),
            Err(Malformed::FieldLength { at: 48 })
        );
    }

    #[test]
    fn impossible_field_lengths_are_refused_where_they_stand() {
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
    fn a_key_without_digest_is_no_crypto_nak() {
        assert_eq!(shape(&[0, 0, 0, 1]), Err(Malformed::Trailer { at: 48 }));
        let nak = datagram(Version::V4, &[0; 4]);
        assert!(Packet::parse(&nak).unwrap().mac.unwrap().is_crypto_nak());
    }

    #[test]
    fn version_3_has_a_mac_only() {
        for length in 0..100 {
            let datagram = datagram(Version::V3, &vec![0; length]);
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
    fn a_field_knows_what_precedes_it_and_a_mac_what_it_covers() {
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
    fn an_emitted_packet_is_divided_where_its_mac_begins() {
        let mut octets = datagram(Version::V4, &[field(16, 16), vec![9; 20]].concat());
        let (covered, digest) = Mac::divide(&mut octets, 16).unwrap();
        assert_eq!((covered.len(), digest.len()), (64, 16));
        assert_eq!(Mac::divide(&mut [0; 19], 16), None);
        assert_eq!(Mac::divide(&mut [0; 15], 16), None);
    }

    #[test]
    fn a_short_last_field_is_padded_for_its_place() {
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
    fn what_cannot_be_parsed_cannot_be_emitted() {
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
        assert_eq!(try_emit(&v4, None, None, 47), Err(Unemittable::NoRoom));
        assert_eq!(try_emit(&v4, Some(&[]), None, 75), Err(Unemittable::NoRoom));
        assert_eq!(
            try_emit(&v4, Some(&long), None, 80_000),
            Err(Unemittable::FieldTooLong)
        );
        assert_eq!(
            try_emit(&v3, Some(&[]), None, 100),
            Err(Unemittable::FieldInVersion3)
        );
        assert_eq!(
            try_emit(&v4, None, digest(32), 100),
            Err(Unemittable::Digest)
        );
        assert_eq!(
            try_emit(&v4, None, digest(0), 100),
            Err(Unemittable::Digest)
        );
        assert_eq!(try_emit(&v3, None, digest(32), 100), Ok(()));
    }

    proptest! {
        #[test]
        fn any_octets_keep_the_promises(octets in vec(any::<u8>(), 0..300)) {
            fuzzing::check(&octets);
        }

        /// Random octets seldom have a plausible version and field lengths; these always do.
        #[test]
        fn plausible_octets_keep_the_promises(
            first in prop_oneof![Just(0x23u8), Just(0x1b), Just(0xe4), Just(0x19)],
            header in vec(any::<u8>(), 47),
            fields in vec((any::<u16>(), 3u16..12, -1i8..2), 0..4),
            trailer in 0usize..32,
        ) {
            let mut octets = vec![first];
            octets.extend(header);
            for (field_type, words, wrong) in fields {
                octets.extend(field_type.to_be_bytes());
                // Mostly right, sometimes off by one.
                let declared = (words * 4).saturating_add_signed(i16::from(wrong / 2));
                octets.extend(declared.to_be_bytes());
                octets.resize(octets.len() + usize::from(words) * 4 - 4, 0xa5);
            }
            octets.resize(octets.len() + trailer, 0);
            fuzzing::check(&octets);
        }
    }
}
