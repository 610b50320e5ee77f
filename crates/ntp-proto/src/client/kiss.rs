//! Kiss-o'-death codes in replies with stratum 0 (RFC 5905 section 7.4, RFC 9748).
//!
//! A kiss is accepted only with the nonce of our own request: otherwise anyone could forge one and
//! stop a client.

use core::fmt;

use ntp_time::ReferenceId;

/// A kiss-o'-death code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kiss {
    /// Access denied: the client must stop polling.
    Deny,
    /// Access denied by local policy: the client must stop polling.
    Restrict,
    /// Rate exceeded: the client must poll less often.
    Rate,
    /// The cookie or authenticator of an NTS request could not be decrypted (RFC 8915 section 5.7).
    NtsNak,
    /// Another code, which requires no action.
    Other(ReferenceId),
}

impl Kiss {
    /// Returns the kiss code in the reference ID of a reply with stratum 0.
    pub fn from_reference_id(id: ReferenceId) -> Self {
        match &id.octets() {
            b"DENY" => Self::Deny,
            b"RSTR" => Self::Restrict,
            b"RATE" => Self::Rate,
            b"NTSN" => Self::NtsNak,
            _ => Self::Other(id),
        }
    }
}

impl fmt::Display for Kiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny => f.write_str("kiss code DENY"),
            Self::Restrict => f.write_str("kiss code RSTR"),
            Self::Rate => f.write_str("kiss code RATE"),
            Self::NtsNak => f.write_str("kiss code NTSN"),
            Self::Other(id) if id.octets() == [0; 4] => {
                f.write_str("server is not synchronised (stratum 0 without a kiss code)")
            }
            Self::Other(id) => match core::str::from_utf8(&id.octets()) {
                Ok(code) if code.bytes().all(|octet| octet.is_ascii_graphic()) => {
                    write!(f, "kiss code {code}")
                }
                _ => write!(f, "kiss code {id}"),
            },
        }
    }
}
