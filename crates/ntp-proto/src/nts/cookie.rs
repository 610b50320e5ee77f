//! A cookie as stored by its client: opaque octets.

use core::fmt;

/// A cookie (RFC 8915 section 6). An observer can recognise it, so it is used once; otherwise it is
/// not secret, but it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(Box<[u8]>);

impl Cookie {
    /// Number of cookies that a client stores (RFC 8915 section 5.7).
    pub const MAX_STORED: usize = 8;
    /// Length of the longest accepted cookie in octets: a request must fit a datagram. Ours have up
    /// to 168 octets.
    pub const MAX_LENGTH: usize = 640;

    /// Creates a cookie from its octets. `None` if there are none, or more than
    /// [`Cookie::MAX_LENGTH`].
    pub fn new(octets: &[u8]) -> Option<Self> {
        (1..=Self::MAX_LENGTH)
            .contains(&octets.len())
            .then(|| Self(octets.into()))
    }

    /// The octets from the server.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// Shows the length only.
impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie({} octets)", self.0.len())
    }
}
