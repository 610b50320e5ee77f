//! A cookie, as its client sees it: octets without meaning.

use core::fmt;

/// A cookie (RFC 8915 section 6). Whoever reads it on the wire can recognise it, so it is used once; it is not secret otherwise, but not printed either.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(Box<[u8]>);

impl Cookie {
    /// How many a client keeps (RFC 8915 section 5.7).
    pub const IN_STOCK: usize = 8;
    /// The longest that is taken: a request must fit a datagram. Ours have up to 168 octets.
    pub const LONGEST: usize = 640;

    /// Takes a cookie's octets. `None` if there are none, or more than [`Cookie::LONGEST`].
    pub fn new(octets: &[u8]) -> Option<Self> {
        (1..=Self::LONGEST)
            .contains(&octets.len())
            .then(|| Self(octets.into()))
    }

    /// What the server gave.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// Tells the length only.
impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie({} octets)", self.0.len())
    }
}
