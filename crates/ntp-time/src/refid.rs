//! Reference identifier: the source of a server's time (RFC 5905 section 7.3, figure 12).

use core::fmt;

/// Four octets: a kiss code at stratum 0, the name of a reference clock at stratum 1, the
/// upstream server's IPv4 address or a hash of its IPv6 address above.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ReferenceId([u8; 4]);

impl ReferenceId {
    /// Reference ID of a server without a source in upstream ntpd-rs ("external NONe").
    pub const XNON: Self = Self(*b"XNON");

    /// Reference ID of a server that smears leap seconds. The address belongs to no host; smearing
    /// chronyd servers send the same.
    pub const SMEARED: Self = Self([127, 127, 1, 255]);

    /// Reference ID of a local reference, as of chronyd: an address that belongs to no host.
    pub const LOCAL: Self = Self([127, 127, 1, 1]);

    /// From the packet's octets.
    pub const fn new(octets: [u8; 4]) -> Self {
        Self(octets)
    }

    /// The packet's octets.
    pub const fn octets(self) -> [u8; 4] {
        self.0
    }
}

/// The code if it is printable (`GPS`), else as an address (`192.0.2.1`).
impl fmt::Display for ReferenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0;
        let text: &[u8] = match code.iter().position(|octet| *octet == 0) {
            Some(end) if code[end..].iter().all(|octet| *octet == 0) => &code[..end],
            Some(_) => &[],
            None => &code,
        };
        match core::str::from_utf8(text) {
            Ok(text)
                if !text.is_empty()
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() || byte == b' ') =>
            {
                f.write_str(text)
            }
            _ => write!(f, "{}.{}.{}.{}", code[0], code[1], code[2], code[3]),
        }
    }
}

impl fmt::Debug for ReferenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
