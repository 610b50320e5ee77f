//! Records, of which the messages of a key exchange consist (RFC 8915 section 4).
//!
//! ```text
//!  0                   1                   2                   3
//! |C|        record type        |          body length          | body ...
//! ```
//!
//! A message is a sequence of records that ends with End of Message. `C` is the critical bit: a
//! receiver that does not know a record with this bit must refuse the message; it must ignore an
//! unknown record without it (section 4.1).
//!
//! TLS is a byte stream, so a message arrives in any number of pieces. A [`MessageBuffer`] collects
//! them up to its limit and detects the end. Octets after the end are not part of the message:
//! except for pools, each side sends one message only.

use core::fmt;

use crate::wire::v5::draft;
use crate::wire::{Reader, Truncated};

/// Length of the longest accepted request in octets. RFC 8915 section 4 requires a server to accept
/// 1024; ours accepts more, because unknown records may be long.
pub const REQUEST_LIMIT: usize = 4096;

/// Length of the longest accepted response in octets: that required by RFC 8915 section 4.
pub const RESPONSE_LIMIT: usize = 65_536;

/// Length of type and length, in octets.
pub(super) const PREFIX: usize = 4;

/// The bit of the type field that marks a record as critical.
const CRITICAL: u16 = 0x8000;

/// Type of a record, without the critical bit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKind(pub u16);

impl RecordKind {
    /// End of Message: the last record (section 4.1.1).
    pub const END: Self = Self(0);
    /// Next Protocol Negotiation: protocols that keys are requested for, or exported for (section
    /// 4.1.2).
    pub const NEXT_PROTOCOL: Self = Self(1);
    /// Error: the server refuses the request (section 4.1.3).
    pub const ERROR: Self = Self(2);
    /// Warning (section 4.1.4).
    pub const WARNING: Self = Self(3);
    /// AEAD Algorithm Negotiation: algorithms offered, or the one chosen (section 4.1.5).
    pub const AEAD: Self = Self(4);
    /// A cookie for NTPv4 (section 4.1.6).
    pub const COOKIE: Self = Self(5);
    /// NTPv4 Server Negotiation: the NTP server to use (section 4.1.7).
    pub const SERVER: Self = Self(6);
    /// NTPv4 Port Negotiation: its UDP port (section 4.1.8).
    pub const PORT: Self = Self(7);
    /// Name of the draft of NTPv5 that the keys are for; never critical. An old draft of NTS pools has a
    /// critical record of this number, which is not known here.
    pub const NTPV5_DRAFT: Self = Self(draft::NTS_DRAFT_RECORD);
    /// Keep Alive: the connection of a pool serves further requests. This and the following numbers
    /// are those of the NTS pool draft (draft-ietf-ntp-nts-keyexchange-pool) as ntpd-rs 1.9 and the
    /// pool service use them; earlier versions had others.
    pub const KEEP_ALIVE: Self = Self(8);
    /// Supported Next Protocol List: empty in a pool's request, protocols in the response.
    pub const SUPPORTED_PROTOCOLS: Self = Self(9);
    /// Supported Algorithm List: empty in a pool's request; in the response, pairs of an algorithm
    /// and the length of its keys in octets.
    pub const SUPPORTED_ALGORITHMS: Self = Self(10);
    /// Fixed Key Request: the keys of a pool's client, first `c2s`, then `s2c`.
    pub const FIXED_KEY: Self = Self(12);
    /// NTP Server Deny: a server that a client does not want from a pool.
    pub const SERVER_DENY: Self = Self(13);
    /// Authentication: the token of a pool.
    pub const AUTHENTICATION: Self = Self(14);
    /// Compliant AES-128-GCM-SIV exporter context. chrony 4.4 to 4.6.0 used another algorithm's
    /// number in the exporter context; since 4.6.1 its client and server agree on the correct one
    /// by this empty record.
    pub const COMPLIANT_GCM_SIV_EXPORT: Self = Self(1024);
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::END => "End of Message",
            Self::NEXT_PROTOCOL => "Next Protocol",
            Self::ERROR => "Error",
            Self::WARNING => "Warning",
            Self::AEAD => "AEAD Algorithm",
            Self::COOKIE => "New Cookie",
            Self::SERVER => "NTPv4 Server",
            Self::PORT => "NTPv4 Port",
            Self::KEEP_ALIVE => "Keep Alive",
            Self::SUPPORTED_PROTOCOLS => "Supported Next Protocol List",
            Self::SUPPORTED_ALGORITHMS => "Supported Algorithm List",
            Self::FIXED_KEY => "Fixed Key Request",
            Self::SERVER_DENY => "NTP Server Deny",
            Self::AUTHENTICATION => "Authentication",
            Self(number) => return write!(f, "record type {number}"),
        };
        write!(f, "{name} record")
    }
}

impl fmt::Debug for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKind({})", self.0)
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Whether a receiver that does not know the record must refuse the message.
    pub critical: bool,
    /// Type of the record.
    pub kind: RecordKind,
    /// Contents, at most 65 535 octets.
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// Parses the record at the front of `reader`.
    ///
    /// # Errors
    ///
    /// If the record is incomplete; then the reader does not advance.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Truncated> {
        let mut ahead = reader.clone();
        let kind = ahead.u16()?;
        let length = ahead.u16()?;
        let body = ahead.take(usize::from(length))?;
        *reader = ahead;
        Ok(Self {
            critical: kind & CRITICAL != 0,
            kind: RecordKind(kind & !CRITICAL),
            body,
        })
    }

    /// The body as a list of 16-bit numbers; `None` if its length is odd.
    pub fn numbers(&self) -> Option<impl Iterator<Item = u16> + use<'a>> {
        let (pairs, rest) = self.body.as_chunks();
        rest.is_empty()
            .then(|| pairs.iter().copied().map(u16::from_be_bytes))
    }

    /// The body as one 16-bit number; `None` if it has another length.
    pub fn number(&self) -> Option<u16> {
        self.body.try_into().ok().map(u16::from_be_bytes)
    }
}

/// Writes a message.
#[derive(Clone, Debug, Default)]
pub struct MessageWriter {
    octets: Vec<u8>,
}

impl MessageWriter {
    /// Appends a record with the critical bit. A body is cut at 65 535 octets, which ours never
    /// reach.
    pub fn critical(&mut self, kind: RecordKind, body: &[u8]) {
        self.put(kind.0 | CRITICAL, body);
    }

    /// Appends a record without the critical bit.
    pub fn optional(&mut self, kind: RecordKind, body: &[u8]) {
        self.put(kind.0 & !CRITICAL, body);
    }

    /// Length of the records so far, in octets.
    pub const fn length(&self) -> usize {
        self.octets.len()
    }

    /// Appends End of Message and returns the message.
    pub fn finish(mut self) -> Vec<u8> {
        self.critical(RecordKind::END, &[]);
        self.octets
    }

    fn put(&mut self, kind: u16, body: &[u8]) {
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        let body = body.get(..usize::from(length)).unwrap_or_default();
        self.octets.extend_from_slice(&kind.to_be_bytes());
        self.octets.extend_from_slice(&length.to_be_bytes());
        self.octets.extend_from_slice(body);
    }
}

/// The message exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Collects a message from the pieces in which it arrives.
#[derive(Clone, Debug)]
pub struct MessageBuffer {
    /// Complete records and possibly the beginning of another; at most `limit` octets.
    octets: Vec<u8>,
    /// Where the first incomplete record begins.
    whole: usize,
    limit: usize,
    ended: bool,
    /// Number of octets of the last piece that follow the message.
    rest: usize,
}

impl MessageBuffer {
    /// A buffer for a message of at most `limit` octets.
    pub const fn new(limit: usize) -> Self {
        Self {
            octets: Vec::new(),
            whole: 0,
            limit,
            ended: false,
            rest: 0,
        }
    }

    /// Appends the next piece. Returns `true` if the message is complete.
    ///
    /// # Errors
    ///
    /// If the message does not end within the limit.
    pub fn push(&mut self, piece: &[u8]) -> Result<bool, TooLong> {
        if self.ended {
            return Ok(true);
        }
        let room = self.limit.saturating_sub(self.octets.len());
        let taken = piece.get(..piece.len().min(room)).unwrap_or_default();
        self.octets.extend_from_slice(taken);
        let before = self.octets.len();
        self.find_end();
        if self.ended {
            self.rest = piece.len() - taken.len() + (before - self.octets.len());
            return Ok(true);
        }
        if taken.len() < piece.len() || self.cannot_end() {
            return Err(TooLong);
        }
        Ok(false)
    }

    /// The complete records in order, without End of Message.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut reader = Reader::new(self.octets.get(..self.whole).unwrap_or_default());
        core::iter::from_fn(move || Record::read(&mut reader).ok())
            .filter(|record| record.kind != RecordKind::END)
    }

    /// Number of octets at the end of the piece that completed the message that are not part of it.
    pub const fn rest(&self) -> usize {
        self.rest
    }

    /// Number of octets in the buffer.
    pub fn length(&self) -> usize {
        self.octets.len()
    }

    fn find_end(&mut self) {
        let mut reader = Reader::new(self.octets.get(self.whole..).unwrap_or_default());
        while !self.ended
            && let Ok(record) = Record::read(&mut reader)
        {
            self.ended = record.kind == RecordKind::END;
        }
        self.whole += reader.position();
        if self.ended {
            self.octets.truncate(self.whole);
        }
    }

    /// Whether the record that is arriving leaves no space for an end after it.
    fn cannot_end(&self) -> bool {
        let mut arriving = Reader::new(self.octets.get(self.whole..).unwrap_or_default());
        let announced = match (arriving.u16(), arriving.u16()) {
            (Ok(kind), Ok(length)) => {
                let end = if kind & !CRITICAL == RecordKind::END.0 {
                    0
                } else {
                    PREFIX
                };
                PREFIX + usize::from(length) + end
            }
            _ => PREFIX,
        };
        self.whole + announced > self.limit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> Vec<u8> {
        let mut writer = MessageWriter::default();
        writer.critical(RecordKind::NEXT_PROTOCOL, &[0, 0]);
        writer.optional(RecordKind(4711), b"an unknown record");
        writer.finish()
    }

    #[test]
    fn record_layout_is_that_of_rfc_8915_section_4() {
        assert_eq!(message().get(..6), Some([0x80, 1, 0, 2, 0, 0].as_slice()));
        assert_eq!(message().last_chunk(), Some(&[0x80, 0, 0, 0]));
    }

    #[test]
    fn a_message_that_must_exceed_the_limit_is_refused_early() {
        let announces_too_much = [0x00, 9, 0xff, 0xff];
        assert_eq!(
            MessageBuffer::new(1024).push(&announces_too_much),
            Err(TooLong)
        );
        let mut endless = MessageBuffer::new(1024);
        let pushed: Vec<_> = (0..300).map(|_| endless.push(&[0, 9, 0, 0])).collect();
        assert_eq!(pushed[254], Ok(false));
        assert_eq!(pushed[255], Err(TooLong));
        assert!(endless.length() <= 1024);
    }

    #[test]
    fn a_message_of_exactly_the_limit_is_accepted() {
        let message = message();
        assert_eq!(MessageBuffer::new(message.len()).push(&message), Ok(true));
        assert_eq!(
            MessageBuffer::new(message.len() - 1).push(&message),
            Err(TooLong)
        );
    }

    #[test]
    fn a_body_of_odd_length_is_not_a_list_of_numbers() {
        let record = |body| Record {
            critical: false,
            kind: RecordKind::AEAD,
            body,
        };
        assert_eq!(
            record(&[0, 15, 0, 30])
                .numbers()
                .unwrap()
                .collect::<Vec<_>>(),
            [15, 30]
        );
        assert!(record(&[0, 15, 0]).numbers().is_none());
        assert_eq!(record(&[0, 15]).number(), Some(15));
        assert_eq!(record(&[0, 15, 0, 30]).number(), None);
    }

    proptest! {
        #[test]
        fn segmentation_of_a_message_does_not_matter(
            cuts in prop::collection::vec(1_usize..7, 0..64),
            behind in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut octets = message();
            octets.extend_from_slice(&behind);
            let mut whole = MessageBuffer::new(REQUEST_LIMIT);
            prop_assert_eq!(whole.push(&octets), Ok(true));
            prop_assert_eq!(whole.rest(), behind.len());

            let mut cut = MessageBuffer::new(REQUEST_LIMIT);
            let mut rest = octets.as_slice();
            let mut sizes = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let size = sizes.next().unwrap_or(1).min(rest.len());
                let (piece, remaining) = rest.split_at(size);
                cut.push(piece).unwrap();
                rest = remaining;
            }
            prop_assert!(cut.ended);
            prop_assert!(whole.records().eq(cut.records()));
            prop_assert_eq!(cut.records().count(), 2);
        }
    }
}
