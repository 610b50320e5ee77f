//! Hosts: one grammar for the configuration, the control interface, commands and key exchange.
//!
//! A host is a name or an address that a server can have. Everything else is refused where it is
//! read, so no later part meets an empty name, a control character or a multicast address.
//!
//! * **Names** are those of RFC 1123 section 2.1: labels of 1 to 63 letters, digits and hyphens, at
//!   most 253 characters. Underscores are accepted, because names in local networks have them. The
//!   last label is not a number, which keeps `192.0.2.300` from being looked up as a name.
//! * **Addresses** are unicast: not unspecified, multicast or broadcast. The subnet broadcast
//!   address depends on the network; the kernel refuses it.
//! * **Link-local IPv6 addresses** need the interface (RFC 4007 section 11), by name or by number:
//!   `fe80::1%eth0`. The operating system knows the number of an interface, which may appear
//!   later, so such an address is resolved like a name.

use core::fmt;
use core::str::FromStr;
use std::net::{AddrParseError, IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest name, in characters (RFC 1035 section 2.3.4, without the length octets).
const MAX_NAME: usize = 253;
/// Longest label of a name (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;
/// Longest name of a network interface on Linux.
const MAX_INTERFACE: usize = 15;

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Host {
    /// A literal address, never resolved.
    Address(IpAddr),
    /// A name to resolve, or a link-local address with its interface.
    Name(String),
}

impl Host {
    /// Parses a host without a port. An IPv6 address has no brackets.
    ///
    /// # Errors
    /// If `text` is neither a name nor an address that a server can have.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.contains(':') {
            return parse_ipv6(text);
        }
        if ends_in_number(text) {
            let ip = text.parse().map_err(|_| HostError::Ipv4)?;
            let address = ScopedIp::from(IpAddr::V4(ip));
            return address.check_server().map(|()| Self::Address(address.ip));
        }
        check_name(text).map(|()| Self::Name(text.to_owned()))
    }

    /// Whether it is an address with an interface, whose number may change.
    pub fn has_interface(&self) -> bool {
        matches!(self, Self::Name(name) if name.contains('%'))
    }
}

/// The name or the address, an IPv6 address without brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn parse_ipv6(text: &str) -> Result<Host, HostError> {
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (text, None),
    };
    let ip: Ipv6Addr = address.parse().map_err(|_| HostError::Ipv6)?;
    let Some(scope) = scope else {
        let address = ScopedIp::from(IpAddr::V6(ip));
        return address.check_server().map(|()| Host::Address(address.ip));
    };
    if !ip.is_unicast_link_local() {
        return Err(HostError::UnexpectedInterface);
    }
    let is_valid = |octet: u8| octet.is_ascii_graphic() && !b"/:%[]\"\\".contains(&octet);
    if scope.is_empty() || scope.len() > MAX_INTERFACE || !scope.bytes().all(is_valid) {
        return Err(HostError::Interface);
    }
    Ok(Host::Name(format!("{ip}%{scope}")))
}

/// Whether the last label is a number, as in all forms of IPv4 addresses that resolvers accept:
/// `127.1`, `0x7f000001`.
fn ends_in_number(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or(text);
    let is_hexadecimal = |digits: &str| digits.bytes().all(|octet| octet.is_ascii_hexdigit());
    (!last.is_empty() && last.bytes().all(|octet| octet.is_ascii_digit()))
        || last.strip_prefix("0x").is_some_and(is_hexadecimal)
        || last.strip_prefix("0X").is_some_and(is_hexadecimal)
}

fn check_name(text: &str) -> Result<(), HostError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    let is_permitted = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if let Some(other) = name.chars().find(|c| !is_permitted(*c)) {
        return Err(HostError::Character(other));
    }
    if name.len() > MAX_NAME {
        return Err(HostError::NameLength);
    }
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    match name.split('.').all(is_label) {
        true => Ok(()),
        false => Err(HostError::Label),
    }
}

/// Why a text is not a host, or an address not that of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// There is no text.
    Empty,
    /// A name has this character.
    Character(char),
    /// A name is too long.
    NameLength,
    /// A label of a name is empty, too long, or begins or ends with a hyphen.
    Label,
    /// It ends in a number and is not an IPv4 address.
    Ipv4,
    /// It has a colon and is not an IPv6 address.
    Ipv6,
    /// What follows `%` is not the name or number of an interface.
    Interface,
    /// A link-local address has no interface.
    MissingInterface,
    /// An address that is not link-local has an interface.
    UnexpectedInterface,
    /// `::`, `0.0.0.0` or another address of `0.0.0.0/8` (RFC 1122 section 3.2.1.3).
    Unspecified,
    /// A multicast address.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
}

impl HostError {
    /// Returns the correct syntax, or what to use instead.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Empty => "write the name or the IP address of the server",
            Self::Character(c) if !c.is_ascii() && c.is_alphanumeric() => {
                "write the ASCII form of an internationalised name, which begins with `xn--`"
            }
            Self::Character(_) => {
                "a name consists of letters, digits, hyphens, underscores and dots"
            }
            Self::NameLength => "a name has at most 253 characters",
            Self::Label => {
                "the parts between dots have 1 to 63 characters and no hyphen at either end"
            }
            Self::Ipv4 => "an IPv4 address is four numbers from 0 to 255: `192.0.2.1`",
            Self::Ipv6 => {
                "an IPv6 address is written `2001:db8::1`, or `[2001:db8::1]:123` with a port"
            }
            Self::Interface | Self::MissingInterface => {
                "add the name or number of the interface: `fe80::1%eth0`, or `[fe80::1%eth0]:123` with a port"
            }
            Self::UnexpectedInterface => "omit `%` and what follows",
            Self::Unspecified | Self::Multicast | Self::Broadcast => {
                "use the address of one server"
            }
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty host",
            Self::Character(c) => return write!(f, "invalid character {c:?} in a host name"),
            Self::NameLength => "host name too long",
            Self::Label => "invalid host name",
            Self::Ipv4 => "invalid IPv4 address syntax",
            Self::Ipv6 => "invalid IPv6 address syntax",
            Self::Interface => "invalid interface of a link-local address",
            Self::MissingInterface => "link-local address without an interface",
            Self::UnexpectedInterface => "interface with an address that is not link-local",
            Self::Unspecified => "unspecified address, which no server has",
            Self::Multicast => "multicast address, which no server has",
            Self::Broadcast => "broadcast address, which no server has",
        })
    }
}

impl core::error::Error for HostError {}

/// An IP address, with the interface of a link-local IPv6 address.
///
/// An IPv4-mapped IPv6 address is IPv4, and an address that is not link-local has no interface, so
/// that equal addresses compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopedIp {
    /// The address.
    pub ip: IpAddr,
    /// Number of the interface (zone index, RFC 4007 section 6); 0 without one.
    pub scope_id: u32,
}

impl ScopedIp {
    fn new(ip: IpAddr, scope_id: u32) -> Self {
        let ip = ip.to_canonical();
        let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let scope_id = if is_link_local { scope_id } else { 0 };
        Self { ip, scope_id }
    }

    /// Returns the address with a port.
    pub fn with_port(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => (ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope_id).into(),
        }
    }

    /// Checks that requests can be sent to the address.
    ///
    /// # Errors
    /// If it is unspecified, multicast, broadcast, or link-local without an interface.
    pub fn check_server(self) -> Result<(), HostError> {
        let is_unspecified = match self.ip {
            IpAddr::V4(ip) => ip.octets()[0] == 0,
            IpAddr::V6(ip) => ip.is_unspecified(),
        };
        match self.ip {
            _ if is_unspecified => Err(HostError::Unspecified),
            ip if ip.is_multicast() => Err(HostError::Multicast),
            IpAddr::V4(ip) if ip.is_broadcast() => Err(HostError::Broadcast),
            IpAddr::V6(ip) if ip.is_unicast_link_local() && self.scope_id == 0 => {
                Err(HostError::MissingInterface)
            }
            _ => Ok(()),
        }
    }
}

impl From<IpAddr> for ScopedIp {
    fn from(ip: IpAddr) -> Self {
        Self::new(ip, 0)
    }
}

impl From<SocketAddr> for ScopedIp {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => IpAddr::V4(*address.ip()).into(),
            SocketAddr::V6(address) => Self::new(IpAddr::V6(*address.ip()), address.scope_id()),
        }
    }
}

/// An address with an interface becomes a name.
impl From<ScopedIp> for Host {
    fn from(address: ScopedIp) -> Self {
        match address.scope_id {
            0 => Self::Address(address.ip),
            _ => Self::Name(address.to_string()),
        }
    }
}

/// `192.0.2.1`, `2001:db8::1` or `fe80::1%3`.
impl fmt::Display for ScopedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope_id {
            0 => write!(f, "{}", self.ip),
            scope => write!(f, "{}%{scope}", self.ip),
        }
    }
}

impl FromStr for ScopedIp {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('%') {
            None => text.parse::<IpAddr>().map(Self::from),
            // std parses a scope in brackets only.
            Some(_) => format!("[{text}]:0")
                .parse::<SocketAddrV6>()
                .map(|address| SocketAddr::V6(address).into()),
        }
    }
}

impl Serialize for ScopedIp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopedIp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_servers_are_hosts() {
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for (text, shown) in [
            ("ntp.example.org", "ntp.example.org"),
            ("ntp.example.org.", "ntp.example.org."),
            ("localhost", "localhost"),
            ("my_host-1", "my_host-1"),
            ("1.pool.example", "1.pool.example"),
            ("a.0xyz", "a.0xyz"),
            (long.as_str(), long.as_str()),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("FE80::1%eth0", "fe80::1%eth0"),
            ("fe80::1%eth0.100", "fe80::1%eth0.100"),
            ("fe80::1%3", "fe80::1%3"),
        ] {
            let host = Host::parse(text).map(|host| host.to_string());
            assert_eq!(host.as_deref(), Ok(shown), "{text}");
        }
        let is_literal = |text| matches!(Host::parse(text), Ok(Host::Address(_)));
        assert!(is_literal("192.0.2.1") && is_literal("2001:db8::1"));
        assert!(!is_literal("fe80::1%3"));
        let has_interface = |text| Host::parse(text).unwrap().has_interface();
        assert!(has_interface("fe80::1%3") && !has_interface("2001:db8::1"));
    }

    #[test]
    fn what_no_server_is_called_is_refused() {
        let label = "a".repeat(64);
        let name = ["abc"; 75].join(".");
        for (text, why) in [
            ("", HostError::Empty),
            (".", HostError::Empty),
            ("a\nb", HostError::Character('\n')),
            ("a\u{1b}[2Jb", HostError::Character('\u{1b}')),
            ("a\0b", HostError::Character('\0')),
            ("two words", HostError::Character(' ')),
            ("host!", HostError::Character('!')),
            ("zeit.prüfung", HostError::Character('ü')),
            ("fe80.1%eth0", HostError::Character('%')),
            (label.as_str(), HostError::Label),
            (name.as_str(), HostError::NameLength),
            ("a..b", HostError::Label),
            ("-a.b", HostError::Label),
            ("a-.b", HostError::Label),
            ("192.0.2.300", HostError::Ipv4),
            ("192.0.2.1.", HostError::Ipv4),
            ("127.1", HostError::Ipv4),
            ("0x7f000001", HostError::Ipv4),
            ("a.0x", HostError::Ipv4),
            ("12345", HostError::Ipv4),
            ("a:b:c", HostError::Ipv6),
            ("[::1]", HostError::Ipv6),
            ("fe80::1", HostError::MissingInterface),
            ("fe80::1%", HostError::Interface),
            ("fe80::1%a/b", HostError::Interface),
            ("fe80::1%a b", HostError::Interface),
            ("fe80::1%abcdefghijklmnop", HostError::Interface),
            ("2001:db8::1%eth0", HostError::UnexpectedInterface),
            ("0.0.0.0", HostError::Unspecified),
            ("0.1.2.3", HostError::Unspecified),
            ("::", HostError::Unspecified),
            ("::ffff:0.0.0.0", HostError::Unspecified),
            ("224.0.1.1", HostError::Multicast),
            ("ff02::101", HostError::Multicast),
            ("ff02::101%eth0", HostError::UnexpectedInterface),
            ("255.255.255.255", HostError::Broadcast),
        ] {
            assert_eq!(Host::parse(text), Err(why), "{text}");
            let message = why.to_string();
            assert!(!message.chars().any(char::is_control), "{message}");
        }
    }

    #[test]
    fn a_scoped_address_keeps_its_interface_in_text_and_with_a_port() {
        let address: ScopedIp = "fe80::1%3".parse().unwrap();
        assert_eq!(address.scope_id, 3);
        assert_eq!(address.to_string(), "fe80::1%3");
        let socket = address.with_port(123);
        assert_eq!(socket.to_string(), "[fe80::1%3]:123");
        assert_eq!(ScopedIp::from(socket), address);
        let json = serde_json::to_string(&address).unwrap();
        assert_eq!(serde_json::from_str::<ScopedIp>(&json).unwrap(), address);
        // Only a link-local address has one.
        let global: ScopedIp = "2001:db8::1%3".parse().unwrap();
        assert_eq!(global.to_string(), "2001:db8::1");
        assert!("eth0%3".parse::<ScopedIp>().is_err());
    }
}
