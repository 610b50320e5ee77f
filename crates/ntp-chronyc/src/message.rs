//! Headers of requests and replies.
//!
//! | octet | request | reply |
//! |---|---|---|
//! | 0 | version | version |
//! | 1 | type: 1 | type: 2 |
//! | 2 | reserved, zero | reserved, zero |
//! | 4 | command | command |
//! | 6 | attempt | reply code |
//! | 8 | sequence number | status |
//! | 12 | padding up to 20 | padding |
//! | 16 | | sequence number of the request |
//! | 20 | arguments | padding up to 28, then the body |

use crate::field::{Fields, Writer};

/// Version of the protocol.
const VERSION: u8 = 6;
/// The oldest version whose programs understand the status that names our version.
const OLDEST_VERSION: u8 = 5;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// Length of the header of a reply, and so the shortest request that may get one.
pub(crate) const REPLY_HEADER: usize = 28;
/// Length of the longest request that chronyd accepts: that of the command that adds a source.
pub const MAX_REQUEST: usize = 860;
/// Code of a reply without a body.
pub(crate) const NULL: u16 = 1;

/// Why there is no report; the status field of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Refusal {
    Failed = 1,
    Unauthorised = 2,
    Invalid = 3,
    NoSuchSource = 4,
    NotEnabled = 6,
    NoRealTimeClock = 13,
    Inactive = 15,
    Version = 18,
    Length = 19,
}

/// A report: the code of the reply, its length with the header, and its body.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) code: u16,
    pub(crate) length: usize,
    pub(crate) body: Writer,
}

/// A request whose header is valid.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) version_matches: bool,
    pub(crate) command: u16,
    pub(crate) length: usize,
    pub(crate) arguments: Fields<'a>,
    sequence: u32,
}

impl<'a> Request<'a> {
    /// Parses a datagram. Returns `None` if it must not be answered.
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        if !(REPLY_HEADER..=MAX_REQUEST).contains(&datagram.len()) {
            return None;
        }
        let mut fields = Fields::new(datagram);
        let [version, REQUEST, 0, 0] = fields.array()? else {
            return None;
        };
        if version < OLDEST_VERSION {
            return None;
        }
        let (command, _attempt) = (fields.u16()?, fields.u16()?);
        let sequence = fields.u32()?;
        let _padding = fields.array::<8>()?;
        Some(Self {
            version_matches: version == VERSION,
            command,
            length: datagram.len(),
            arguments: fields,
            sequence,
        })
    }

    /// Returns the reply.
    pub(crate) fn reply(&self, result: Result<Report, Refusal>) -> Vec<u8> {
        let (code, status, length, body) = match result {
            Ok(report) => (report.code, 0, report.length, report.body.into_octets()),
            Err(refusal) => (NULL, refusal as u16, REPLY_HEADER, Vec::new()),
        };
        let mut reply = Writer::default();
        reply.u8(VERSION).u8(REPLY).u16(0);
        reply.u16(self.command).u16(code).u16(status);
        reply.zeros(6).u32(self.sequence).zeros(8);
        let mut octets = reply.into_octets();
        octets.extend(body);
        debug_assert!(octets.len() <= length, "{code}: {}", octets.len());
        // Fields at the end that are reserved or absent are zero.
        octets.resize(length, 0);
        octets
    }
}
