//! The 48-octet header of version 5.
//!
//! ```text
//!  octet 0          1          2          3
//!        LI VN Mode | stratum  | poll     | precision      2 + 3 + 3, 8, 8, 8 bits
//!      4 root delay                                        4.28 s, unsigned
//!      8 root dispersion                                   4.28 s, unsigned
//!     12 timescale  | era      | flags                     8, 8, 16 bits
//!     16 server cookie                                     names a response of the server
//!     24 client cookie                                     names the request
//!     32 receive timestamp                                 T2, 32.32 s
//!     40 transmit timestamp                                T3, 32.32 s
//! ```
//!
//! Parsing and emitting are exact inverses: unknown timescales and flags are refused, because a
//! response in an unknown scale, or with an unknown condition, is no time.

use ntp_time::{Era, LeapIndicator, NtpTimestamp, PollInterval, Stratum, Time32, Timescale};

use super::super::{BufferTooSmall, Malformed, Mode, Reader, Writer};

/// Header of a packet of version 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Announced leap second; [`LeapIndicator::Unsynchronized`] means in version 5 that the server
    /// has no information about leap seconds. 0 in a request.
    pub leap: LeapIndicator,
    /// [`Mode::Client`] in a request, [`Mode::Server`] in a response; others have no meaning.
    pub mode: Mode,
    /// The server's distance from a reference clock; 0 if it is unknown or there is no valid time.
    pub stratum: Stratum,
    /// In a response, the shortest interval between requests that the server permits.
    pub poll: PollInterval,
    /// Precision of the timestamps, in log2 seconds.
    pub precision: i8,
    /// Round-trip delay to the reference clock.
    pub root_delay: Time32,
    /// Dispersion to the reference clock.
    pub root_dispersion: Time32,
    /// In a request, the scale that is asked for; in a response, that of the timestamps.
    pub timescale: Timescale,
    /// Era of the receive timestamp.
    pub era: Era,
    /// State of the server, or wish of the client.
    pub flags: Flags,
    /// Names the response to which an interleaved request refers.
    pub server_cookie: ServerCookie,
    /// Number by which the client recognises its response.
    pub client_cookie: ClientCookie,
    /// When the request arrived (T2). 0 in a request.
    pub receive_timestamp: NtpTimestamp,
    /// When the response left (T3), or in interleaved mode the one before it. 0 in a request.
    pub transmit_timestamp: NtpTimestamp,
}

impl Header {
    /// Length of a header on the wire, in octets.
    pub const LEN: usize = 48;
    /// Poll of a response to a client that is not to come back.
    pub const NEVER: PollInterval = PollInterval::from_log2(127);
    const VERSION: u8 = 5;

    /// A header in which every field but the mode is zero. A request needs no more than this and a
    /// client cookie.
    pub const fn blank(mode: Mode) -> Self {
        Self {
            leap: LeapIndicator::None,
            mode,
            stratum: Stratum::new(0),
            poll: PollInterval::from_log2(0),
            precision: 0,
            root_delay: Time32::ZERO,
            root_dispersion: Time32::ZERO,
            timescale: Timescale::Utc,
            era: Era::new(0),
            flags: Flags::NONE,
            server_cookie: ServerCookie::NONE,
            client_cookie: ClientCookie::from_bits(0),
            receive_timestamp: NtpTimestamp::ZERO,
            transmit_timestamp: NtpTimestamp::ZERO,
        }
    }

    /// Whether the packet that begins with this octet is of version 5.
    #[inline]
    pub const fn is_version_5(first: u8) -> bool {
        (first >> 3) & 7 == Self::VERSION
    }

    /// Parses a header from the front of `reader`.
    ///
    /// # Errors
    /// [`Malformed::TooShort`], [`Malformed::Version`], [`Malformed::Timescale`] and
    /// [`Malformed::Flags`].
    #[inline(always)]
    pub fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let octets = reader.array::<{ Self::LEN }>()?;
        let mut reader = Reader::new(&octets);
        let first = reader.u8()?;
        if !Self::is_version_5(first) {
            return Err(Malformed::Version((first >> 3) & 7));
        }
        Ok(Self {
            leap: LeapIndicator::from_bits(first >> 6),
            mode: Mode::from_bits(first),
            stratum: Stratum::new(reader.u8()?),
            poll: PollInterval::from_log2(reader.i8()?),
            precision: reader.i8()?,
            root_delay: Time32::from_bits(reader.u32()?),
            root_dispersion: Time32::from_bits(reader.u32()?),
            timescale: parse_timescale(&mut reader)?,
            era: Era::new(reader.u8()?),
            flags: Flags::from_bits(reader.u16()?)?,
            server_cookie: ServerCookie::from_bits(reader.u64()?),
            client_cookie: ClientCookie::from_bits(reader.u64()?),
            receive_timestamp: NtpTimestamp::from_bits(reader.u64()?),
            transmit_timestamp: NtpTimestamp::from_bits(reader.u64()?),
        })
    }

    /// Appends the header.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if fewer than [`Header::LEN`] octets are free.
    #[inline(always)]
    pub fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        // One check of the remaining space instead of thirteen.
        let mut writer = Writer::new(writer.array::<{ Self::LEN }>()?);
        writer.u8(self.leap.to_bits() << 6 | Self::VERSION << 3 | self.mode.to_bits())?;
        writer.u8(self.stratum.get())?;
        writer.i8(self.poll.as_log2())?;
        writer.i8(self.precision)?;
        writer.u32(self.root_delay.to_bits())?;
        writer.u32(self.root_dispersion.to_bits())?;
        writer.u8(self.timescale.number())?;
        writer.u8(self.era.number())?;
        writer.u16(self.flags.to_bits())?;
        writer.u64(self.server_cookie.to_bits())?;
        writer.u64(self.client_cookie.to_bits())?;
        writer.u64(self.receive_timestamp.to_bits())?;
        writer.u64(self.transmit_timestamp.to_bits())
    }
}

#[inline]
fn parse_timescale(reader: &mut Reader<'_>) -> Result<Timescale, Malformed> {
    let number = reader.u8()?;
    Timescale::from_number(number).ok_or(Malformed::Timescale(number))
}

/// Flags of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// 0x1, in a response: the server is synchronised to a reference clock.
    pub synchronized: bool,
    /// 0x2, in a request: interleaved mode is wanted; in a response: the transmit timestamp is that
    /// of the response that the request's server cookie names.
    pub interleaved: bool,
    /// 0x4, in a response: the request could not be authenticated (NAK).
    pub authentication_nak: bool,
}

impl Flags {
    /// No flag is set.
    pub const NONE: Self = Self {
        synchronized: false,
        interleaved: false,
        authentication_nak: false,
    };

    const SYNCHRONIZED: u16 = 0x1;
    const INTERLEAVED: u16 = 0x2;
    const AUTHENTICATION_NAK: u16 = 0x4;
    const KNOWN: u16 = Self::SYNCHRONIZED | Self::INTERLEAVED | Self::AUTHENTICATION_NAK;

    /// From the field of the header.
    ///
    /// # Errors
    /// [`Malformed::Flags`] if an unknown flag is set.
    #[inline]
    pub const fn from_bits(bits: u16) -> Result<Self, Malformed> {
        if bits & !Self::KNOWN != 0 {
            return Err(Malformed::Flags(bits));
        }
        Ok(Self {
            synchronized: bits & Self::SYNCHRONIZED != 0,
            interleaved: bits & Self::INTERLEAVED != 0,
            authentication_nak: bits & Self::AUTHENTICATION_NAK != 0,
        })
    }

    /// The field of the header.
    #[inline]
    pub const fn to_bits(self) -> u16 {
        let synchronized = self.synchronized as u16 * Self::SYNCHRONIZED;
        let interleaved = self.interleaved as u16 * Self::INTERLEAVED;
        let authentication_nak = self.authentication_nak as u16 * Self::AUTHENTICATION_NAK;
        synchronized | interleaved | authentication_nak
    }
}

/// Number of a request, chosen at random by the client and repeated in the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientCookie(u64);

/// Number by which a server finds the transmit time of an earlier response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerCookie(u64);

impl ClientCookie {
    /// The cookie with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl ServerCookie {
    /// No cookie: in a request, there is no earlier response; in a response, interleaved mode is
    /// not offered.
    pub const NONE: Self = Self(0);

    /// The cookie with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each octet differs, so that swapped fields are detected.
    const OCTETS: [u8; Header::LEN] = [
        0b01_101_100,
        0x41,
        0x42,
        0x43,
        0x44,
        0x45,
        0x46,
        0x47,
        0x48,
        0x49,
        0x4a,
        0x4b,
        1,
        7,
        0,
        5,
        0x50,
        0x51,
        0x52,
        0x53,
        0x54,
        0x55,
        0x56,
        0x57,
        0x58,
        0x59,
        0x5a,
        0x5b,
        0x5c,
        0x5d,
        0x5e,
        0x5f,
        0x60,
        0x61,
        0x62,
        0x63,
        0x64,
        0x65,
        0x66,
        0x67,
        0x68,
        0x69,
        0x6a,
        0x6b,
        0x6c,
        0x6d,
        0x6e,
        0x6f,
    ];

    fn parse(octets: &[u8]) -> Result<Header, Malformed> {
        Header::parse(&mut Reader::new(octets))
    }

    #[test]
    fn header_layout_is_that_of_the_draft() {
        let expected = Header {
            leap: LeapIndicator::Insert,
            mode: Mode::Server,
            stratum: Stratum::new(0x41),
            poll: PollInterval::from_log2(0x42),
            precision: 0x43,
            root_delay: Time32::from_bits(0x4445_4647),
            root_dispersion: Time32::from_bits(0x4849_4a4b),
            timescale: Timescale::Tai,
            era: Era::new(7),
            flags: Flags {
                synchronized: true,
                interleaved: false,
                authentication_nak: true,
            },
            server_cookie: ServerCookie::from_bits(0x5051_5253_5455_5657),
            client_cookie: ClientCookie::from_bits(0x5859_5a5b_5c5d_5e5f),
            receive_timestamp: NtpTimestamp::from_bits(0x6061_6263_6465_6667),
            transmit_timestamp: NtpTimestamp::from_bits(0x6869_6a6b_6c6d_6e6f),
        };
        assert_eq!(parse(&OCTETS), Ok(expected));
        let mut buffer = [0; Header::LEN];
        expected.emit(&mut Writer::new(&mut buffer)).unwrap();
        assert_eq!(buffer, OCTETS);
    }

    #[test]
    fn other_versions_timescales_and_flags_are_refused() {
        let with = |index: usize, value: u8| {
            let mut octets = OCTETS;
            octets[index] = value;
            parse(&octets).err()
        };
        for version in (0..8).filter(|version| *version != 5) {
            let refused = Some(Malformed::Version(version));
            assert_eq!(with(0, version << 3 | 4), refused);
        }
        for mode in 0..8 {
            assert_eq!(with(0, 5 << 3 | mode), None);
        }
        assert_eq!(with(12, 3), None);
        assert_eq!(with(12, 4), Some(Malformed::Timescale(4)));
        assert_eq!(with(15, 7), None);
        assert_eq!(with(15, 8), Some(Malformed::Flags(8)));
        assert_eq!(with(14, 0x80), Some(Malformed::Flags(0x8005)));
        assert_eq!(parse(&OCTETS[..47]), Err(Malformed::TooShort));
    }
}
