//! The 48-octet header (RFC 5905 section 7.3, figure 8).
//!
//! ```text
//!  octet 0          1          2          3
//!        LI VN Mode | stratum  | poll     | precision      2 + 3 + 3, 8, 8, 8 bits
//!      4 root delay                                        16.16 s, unsigned
//!      8 root dispersion                                   16.16 s, unsigned
//!     12 reference ID
//!     16 reference timestamp                               32.32 s, like the next three
//!     24 origin timestamp                                  T1, as the client sent it
//!     32 receive timestamp                                 T2
//!     40 transmit timestamp                                T3, or T1 in a request
//! ```
//!
//! Every bit has a meaning, so parsing and emitting are exact inverses, and only the headers of
//! other protocol versions do not parse. The values are validated by the readers: the client's
//! sanity tests and the server's checks.
//!
//! Packets of mode 6 and 7 (the control and private protocols of ntpd) share only the first octet
//! with this format. Check [`Header::mode`] before using the other fields.

use ntp_time::{LeapIndicator, NtpShort, NtpTimestamp, PollInterval, ReferenceId, Stratum};

use serde::{Deserialize, Serialize};

use super::{BufferTooSmall, Malformed, Reader, Truncated, Writer};

/// Header of a packet of versions 1 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Announced leap second, or that the sender is not synchronised.
    pub leap: LeapIndicator,
    /// Protocol version; never [`Version::V5`].
    pub version: Version,
    /// Association mode.
    pub mode: Mode,
    /// The sender's distance from a reference clock; 0 marks a kiss-o'-death.
    pub stratum: Stratum,
    /// The client's poll interval; servers echo it.
    pub poll: PollInterval,
    /// Precision of the sender's clock, in log2 seconds.
    pub precision: i8,
    /// Round-trip delay to the reference clock.
    pub root_delay: NtpShort,
    /// Dispersion to the reference clock.
    pub root_dispersion: NtpShort,
    /// Source of the sender's time; the kiss code at stratum 0.
    pub reference_id: ReferenceId,
    /// When the sender's clock was last set or corrected.
    pub reference_timestamp: NtpTimestamp,
    /// In a reply, the transmit timestamp of its request (T1).
    pub origin_timestamp: NtpTimestamp,
    /// In a reply, when its request arrived (T2).
    pub receive_timestamp: NtpTimestamp,
    /// When this packet left (T3 in a reply, T1 in a request).
    pub transmit_timestamp: NtpTimestamp,
}

impl Header {
    /// Length of a header on the wire, in octets.
    pub const LEN: usize = 48;

    /// A header in which every field but version and mode is zero. A request needs no more than
    /// this and a transmit timestamp.
    pub const fn blank(version: Version, mode: Mode) -> Self {
        Self {
            leap: LeapIndicator::None,
            version,
            mode,
            stratum: Stratum::KISS,
            poll: PollInterval::from_log2(0),
            precision: 0,
            root_delay: NtpShort::ZERO,
            root_dispersion: NtpShort::ZERO,
            reference_id: ReferenceId::new([0; 4]),
            reference_timestamp: NtpTimestamp::ZERO,
            origin_timestamp: NtpTimestamp::ZERO,
            receive_timestamp: NtpTimestamp::ZERO,
            transmit_timestamp: NtpTimestamp::ZERO,
        }
    }

    /// Parses a header from the front of `reader`.
    ///
    /// # Errors
    /// [`Malformed::TooShort`] and [`Malformed::Version`].
    #[inline]
    pub fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let octets = reader.array::<{ Self::LEN }>()?;
        let mut reader = Reader::new(&octets);
        let first = reader.u8()?;
        let number = (first >> 3) & 7;
        let Some(version @ (Version::V1 | Version::V2 | Version::V3 | Version::V4)) =
            Version::from_number(number)
        else {
            return Err(Malformed::Version(number));
        };
        Ok(Self {
            leap: LeapIndicator::from_bits(first >> 6),
            version,
            mode: Mode::from_bits(first),
            stratum: Stratum::new(reader.u8()?),
            poll: PollInterval::from_log2(reader.i8()?),
            precision: reader.i8()?,
            root_delay: NtpShort::from_bits(reader.u32()?),
            root_dispersion: NtpShort::from_bits(reader.u32()?),
            reference_id: ReferenceId::new(reader.array()?),
            reference_timestamp: NtpTimestamp::from_bits(reader.u64()?),
            origin_timestamp: NtpTimestamp::from_bits(reader.u64()?),
            receive_timestamp: NtpTimestamp::from_bits(reader.u64()?),
            transmit_timestamp: NtpTimestamp::from_bits(reader.u64()?),
        })
    }

    /// Appends the header.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if fewer than [`Header::LEN`] octets are free.
    #[inline]
    pub fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        // One check of the remaining space instead of eleven.
        let mut writer = Writer::new(writer.array::<{ Self::LEN }>()?);
        let first = self.leap.to_bits() << 6 | self.version.number() << 3 | self.mode.to_bits();
        writer.u8(first)?;
        writer.u8(self.stratum.get())?;
        writer.i8(self.poll.as_log2())?;
        writer.i8(self.precision)?;
        writer.u32(self.root_delay.to_bits())?;
        writer.u32(self.root_dispersion.to_bits())?;
        writer.put(&self.reference_id.octets())?;
        writer.u64(self.reference_timestamp.to_bits())?;
        writer.u64(self.origin_timestamp.to_bits())?;
        writer.u64(self.receive_timestamp.to_bits())?;
        writer.u64(self.transmit_timestamp.to_bits())
    }

    /// Overwrites the transmit timestamp of an emitted header, so that it can be taken as late as
    /// possible.
    #[inline]
    pub fn set_transmit_timestamp(octets: &mut [u8; Self::LEN], transmit: NtpTimestamp) {
        if let Some(last) = octets.last_chunk_mut() {
            *last = transmit.to_bits().to_be_bytes();
        }
    }
}

/// Supported protocol versions. Those up to 4 have the same header; version 5 has
/// [one of its own](super::v5::Header).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Version {
    /// RFC 1059: requests may have mode 0.
    V1 = 1,
    /// RFC 1119.
    V2 = 2,
    /// RFC 1305.
    V3 = 3,
    /// RFC 5905: the first with extension fields.
    #[default]
    V4 = 4,
    /// draft-ietf-ntp-ntpv5.
    V5 = 5,
}

impl Version {
    /// Version from its number in the header; `None` if it is not supported.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            5 => Some(Self::V5),
            _ => None,
        }
    }

    /// Number of the version in the header.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// Association mode (RFC 5905 section 7.3, figure 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 0.
    Reserved,
    /// 1: request of a peer.
    SymmetricActive,
    /// 2: reply to a peer.
    SymmetricPassive,
    /// 3: request of a client.
    Client,
    /// 4: reply to a client.
    Server,
    /// 5: broadcast, without a request.
    Broadcast,
    /// 6: ntpd's monitoring protocol.
    Control,
    /// 7: private use, historically ntpd's configuration protocol.
    Private,
}

impl Mode {
    /// All modes, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Reserved,
        Self::SymmetricActive,
        Self::SymmetricPassive,
        Self::Client,
        Self::Server,
        Self::Broadcast,
        Self::Control,
        Self::Private,
    ];

    /// Mode from the lowest three bits of `bits`.
    pub const fn from_bits(bits: u8) -> Self {
        Self::ALL[(bits & 7) as usize]
    }

    /// The three bits of the header.
    pub const fn to_bits(self) -> u8 {
        self as u8
    }
}

/// The header comes first, so a datagram that ends inside it is too short to be a packet.
impl From<Truncated> for Malformed {
    fn from(_: Truncated) -> Self {
        Self::TooShort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each octet differs, so that swapped fields are detected.
    const OCTETS: [u8; Header::LEN] = {
        let mut octets = [0; Header::LEN];
        let mut index = 0;
        while index < octets.len() {
            octets[index] = 0x40 + index as u8;
            index += 1;
        }
        octets[0] = 0b01_100_011;
        octets
    };

    #[test]
    fn header_layout_is_that_of_rfc_5905_figure_8() {
        let expected = Header {
            leap: LeapIndicator::Insert,
            version: Version::V4,
            mode: Mode::Client,
            stratum: Stratum::new(0x41),
            poll: PollInterval::from_log2(0x42),
            precision: 0x43,
            root_delay: NtpShort::from_bits(0x4445_4647),
            root_dispersion: NtpShort::from_bits(0x4849_4a4b),
            reference_id: ReferenceId::new(*b"LMNO"),
            reference_timestamp: NtpTimestamp::from_bits(0x5051_5253_5455_5657),
            origin_timestamp: NtpTimestamp::from_bits(0x5859_5a5b_5c5d_5e5f),
            receive_timestamp: NtpTimestamp::from_bits(0x6061_6263_6465_6667),
            transmit_timestamp: NtpTimestamp::from_bits(0x6869_6a6b_6c6d_6e6f),
        };
        assert_eq!(Header::parse(&mut Reader::new(&OCTETS)), Ok(expected));
        let mut buffer = [0; Header::LEN];
        expected.emit(&mut Writer::new(&mut buffer)).unwrap();
        assert_eq!(buffer, OCTETS);
    }

    #[test]
    fn every_first_octet_is_parsed_or_reported_by_version() {
        for first in 0..=u8::MAX {
            let mut octets = OCTETS;
            octets[0] = first;
            let version = (first >> 3) & 7;
            match Header::parse(&mut Reader::new(&octets)) {
                Ok(header) => {
                    assert!((1..=4).contains(&version));
                    let mut buffer = [0; Header::LEN];
                    header.emit(&mut Writer::new(&mut buffer)).unwrap();
                    assert_eq!(buffer, octets);
                }
                Err(error) => assert_eq!(error, Malformed::Version(version)),
            }
        }
    }

    #[test]
    fn set_transmit_timestamp_changes_no_other_field() {
        let mut octets = OCTETS;
        let stamp = NtpTimestamp::from_bits(0x0123_4567_89ab_cdef);
        Header::set_transmit_timestamp(&mut octets, stamp);
        let mut expected = Header::parse(&mut Reader::new(&OCTETS)).unwrap();
        expected.transmit_timestamp = stamp;
        assert_eq!(Header::parse(&mut Reader::new(&octets)), Ok(expected));
    }

    #[test]
    fn forty_seven_octets_are_too_short() {
        let (short, _) = OCTETS.split_at(Header::LEN - 1);
        assert_eq!(
            Header::parse(&mut Reader::new(short)),
            Err(Malformed::TooShort)
        );
    }
}
