//! Records: what the two sides of a key exchange send each other inside TLS (RFC 8915 section 4).
//!
//! ```text
//!  0                   1                   2                   3
//! |C|        record type        |          body length          | body ...
//! ```
//!
//! A message is a row of records that ends with End of Message. `C` is the critical bit: who does not know a record that carries
//! it must refuse the message; who does not know one without it must act as if it were not there (section 4.1).
//!
//! TLS is a stream, so a message arrives in any number of pieces. An [`Inbox`] collects them, never more than its limit, and
//! says when the end is there. Octets behind the end are dropped: each side sends one message only.

use core::fmt;

use crate::wire::{Reader, Truncated};

/// A server must take requests of this length (RFC 8915 section 4); ours takes a little more, because records that it does not
/// know may be long.
pub const REQUEST_LIMIT: usize = 4096;

/// Longest response that a client takes: what RFC 8915 section 4 asks for.
pub const RESPONSE_LIMIT: usize = 65_536;

/// Type and length.
const PREFIX: usize = 4;

/// The bit of the type field that marks a record as critical.
const CRITICAL: u16 = 0x8000;

/// What a record is about: its type without the critical bit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKind(pub u16);

impl RecordKind {
    /// The last record of a message (section 4.1.1).
    pub const END: Self = Self(0);
    /// Protocols that keys are wanted for, or are given for (section 4.1.2).
    pub const NEXT_PROTOCOL: Self = Self(1);
    /// The server could not do it (section 4.1.3).
    pub const ERROR: Self = Self(2);
    /// The server did it, but (section 4.1.4).
    pub const WARNING: Self = Self(3);
    /// AEAD algorithms that are offered, or the one that is chosen (section 4.1.5).
    pub const AEAD: Self = Self(4);
    /// A cookie for NTPv4 (section 4.1.6).
    pub const COOKIE: Self = Self(5);
    /// The NTP server to ask (section 4.1.7).
    pub const SERVER: Self = Self(6);
    /// Its UDP port (section 4.1.8).
    pub const PORT: Self = Self(7);
    /// Keys for AES-128-GCM-SIV are exported as RFC 8915 says. chrony 4.4 to 4.6.0 put another algorithm's number into the
    /// exporter's context; since 4.6.1 its two sides agree on the right one by this empty record.
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
    /// Whether a reader that does not know it must refuse the message.
    pub critical: bool,
    /// What it is about.
    pub kind: RecordKind,
    /// Its contents, at most 65 535 octets.
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the front of `reader`.
    ///
    /// # Errors
    /// If the end of the octets comes first; then nothing is taken.
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

    /// The body as a list of 16-bit numbers; nothing if it is none.
    pub fn numbers(&self) -> Option<impl Iterator<Item = u16> + use<'a>> {
        let (pairs, rest) = self.body.as_chunks();
        rest.is_empty()
            .then(|| pairs.iter().copied().map(u16::from_be_bytes))
    }

    /// The body as one 16-bit number; nothing if it is none.
    pub fn number(&self) -> Option<u16> {
        self.body.try_into().ok().map(u16::from_be_bytes)
    }
}

/// A message being written.
#[derive(Clone, Debug, Default)]
pub struct MessageWriter {
    octets: Vec<u8>,
}

impl MessageWriter {
    /// Appends a record that the reader must understand. A body is cut at 65 535 octets, which nothing of ours reaches.
    pub fn critical(&mut self, kind: RecordKind, body: &[u8]) {
        self.put(kind.0 | CRITICAL, body);
    }

    /// Appends a record that a reader may skip.
    pub fn optional(&mut self, kind: RecordKind, body: &[u8]) {
        self.put(kind.0 & !CRITICAL, body);
    }

    /// The message with its end.
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

/// The peer's message goes on beyond what is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Collects a message out of the pieces in which it arrives.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// Whole records, and at the end perhaps the beginning of one; never more than `limit` octets.
    octets: Vec<u8>,
    /// Where the first record begins that is not yet there as a whole.
    whole: usize,
    limit: usize,
    ended: bool,
}

impl Inbox {
    /// Takes messages of at most `limit` octets.
    pub const fn new(limit: usize) -> Self {
        Self {
            octets: Vec::new(),
            whole: 0,
            limit,
            ended: false,
        }
    }

    /// Takes the next piece and says whether the message is complete now.
    ///
    /// # Errors
    /// If the message does not end within the limit.
    pub fn push(&mut self, piece: &[u8]) -> Result<bool, TooLong> {
        if self.ended {
            return Ok(true);
        }
        let room = self.limit.saturating_sub(self.octets.len());
        let taken = piece.get(..piece.len().min(room)).unwrap_or_default();
        self.octets.extend_from_slice(taken);
        self.look_for_the_end();
        if self.ended {
            return Ok(true);
        }
        if taken.len() < piece.len() || self.cannot_end() {
            return Err(TooLong);
        }
        Ok(false)
    }

    /// The records so far, in their order, without the end.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut reader = Reader::new(self.octets.get(..self.whole).unwrap_or_default());
        core::iter::from_fn(move || Record::read(&mut reader).ok())
            .filter(|record| record.kind != RecordKind::END)
    }

    /// How many octets are kept.
    pub fn length(&self) -> usize {
        self.octets.len()
    }

    fn look_for_the_end(&mut self) {
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

    /// Whether the record that is arriving leaves no room for an end behind it.
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
        writer.optional(RecordKind(4711), b"what nobody knows");
        writer.finish()
    }

    #[test]
    fn records_stand_on_the_wire_as_the_rfc_draws_them() {
        assert_eq!(message().get(..6), Some([0x80, 1, 0, 2, 0, 0].as_slice()));
        assert_eq!(message().last_chunk(), Some(&[0x80, 0, 0, 0]));
    }

    #[test]
    fn a_message_that_cannot_end_within_the_limit_is_refused_when_that_shows() {
        let announces_too_much = [0x00, 9, 0xff, 0xff];
        assert_eq!(Inbox::new(1024).push(&announces_too_much), Err(TooLong));
        let mut endless = Inbox::new(1024);
        let pushed: Vec<_> = (0..300).map(|_| endless.push(&[0, 9, 0, 0])).collect();
        assert_eq!(pushed[254], Ok(false));
        assert_eq!(pushed[255], Err(TooLong));
        assert!(endless.length() <= 1024);
    }

    #[test]
    fn a_message_of_exactly_the_limit_is_taken() {
        let message = message();
        assert_eq!(Inbox::new(message.len()).push(&message), Ok(true));
        assert_eq!(Inbox::new(message.len() - 1).push(&message), Err(TooLong));
    }

    #[test]
    fn a_body_is_a_list_of_numbers_only_if_it_divides_into_them() {
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
        fn how_a_message_is_cut_makes_no_difference(
            cuts in prop::collection::vec(1_usize..7, 0..64),
            behind in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut octets = message();
            octets.extend_from_slice(&behind);
            let mut whole = Inbox::new(REQUEST_LIMIT);
            prop_assert_eq!(whole.push(&octets), Ok(true));

            let mut cut = Inbox::new(REQUEST_LIMIT);
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
