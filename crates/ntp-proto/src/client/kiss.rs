//! Kiss codes: what a server says with a stratum 0 reply (RFC 5905 section 7.4, RFC 9748).
//!
//! A kiss is only listened to when it carries the nonce of our own request: anyone
//! on the internet can forge one otherwise and silence a client.

use ntp_time::ReferenceId;

/// A kiss-o'-death code that asks the client to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kiss {
    /// Access denied: stop asking.
    Deny,
    /// Access denied by local policy: stop asking.
    Restrict,
    /// Asking too often: ask less often.
    Rate,
    /// The cookie or authenticator of an NTS request could not be used (RFC 8915 section 5.7).
    NtsNak,
    /// Something else, without an action.
    Other(ReferenceId),
}

impl Kiss {
    /// Reads the reference ID of a stratum 0 reply.
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
