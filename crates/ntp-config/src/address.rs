//! The address of a time source: a host and an optional port.
//!
//! The number of colons determines the syntax: two or more make an IPv6 address, bare or as
//! `[address]:port`; one separates host and port; none is a host name or an IPv4 address, and
//! the default port of the source's mode is added. The host is not checked further; the
//! resolver does that.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddrV6};

use crate::diagnostic::quote;
use crate::reader::{Context, Value};
use crate::value;

/// Port of the Network Time Protocol (RFC 5905 section 7.2).
pub const NTP_PORT: u16 = 123;
/// Port of NTS key exchange (RFC 8915 section 6).
pub const NTS_KE_PORT: u16 = 4460;

/// A host (name or IP address) and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an IP address; an IPv6 address without brackets.
    pub host: String,
    /// The UDP or TCP port.
    pub port: u16,
}

impl Address {
    /// Parses `text`; without a port, `default_port` is used.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let with = |host: &str, port| Self {
            host: host.to_owned(),
            port,
        };
        match text.bytes().filter(|byte| *byte == b':').count() {
            0 => Ok(with(text, default_port)),
            1 => {
                let (host, port) = text.split_once(':').unwrap_or((text, ""));
                match port.parse() {
                    Ok(port) => Ok(with(host, port)),
                    Err(_) => Err(AddressError::Port),
                }
            }
            _ => {
                if let Ok(address) = text.parse::<SocketAddrV6>() {
                    // `ip()` has no scope, which a link-local address needs.
                    let scope = match address.scope_id() {
                        0 => String::new(),
                        scope => format!("%{scope}"),
                    };
                    return Ok(with(&format!("{}{scope}", address.ip()), address.port()));
                }
                match text.parse::<Ipv6Addr>() {
                    Ok(address) => Ok(with(&address.to_string(), default_port)),
                    Err(_) => Err(AddressError::Ipv6),
                }
            }
        }
    }

    /// Whether `text` is this address; the port may be omitted if it is `default_port`.
    pub(crate) fn matches(&self, text: &str, default_port: u16) -> bool {
        Self::parse(text, default_port).is_ok_and(|parsed| parsed == *self)
    }
}

/// `host:port`, with brackets around an IPv6 address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reason why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text after the colon is not a port number.
    #[error("invalid port number")]
    Port,
    /// It has several colons but is not an IPv6 address.
    #[error("invalid IPv6 address syntax")]
    Ipv6,
}

impl AddressError {
    /// The correct syntax.
    const fn advice(self) -> &'static str {
        match self {
            Self::Port => {
                "a port from 0 to 65535 follows the colon; omit both for the default port"
            }
            Self::Ipv6 => {
                "an IPv6 address is written `2001:db8::1`, or `[2001:db8::1]:123` with a port"
            }
        }
    }
}

/// Reads an address of the configuration file.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>, default_port: u16) -> Option<Address> {
    let text = value::text(cx, value)?;
    match Address::parse(text, default_port) {
        Ok(address) => {
            if address.host.is_empty() {
                value.warn(cx, "the address has no host", "it resolves to no server");
            }
            Some(address)
        }
        Err(error) => {
            let message = format!("{error}: {}", quote(text, '"'));
            value.reject_with(cx, message, error.advice())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_colons_determines_the_syntax() {
        for (text, shown) in [
            ("ntp.example.org", "ntp.example.org:123"),
            ("ntp.example.org:4123", "ntp.example.org:4123"),
            ("192.0.2.1", "192.0.2.1:123"),
            ("192.0.2.1:65535", "192.0.2.1:65535"),
            ("2001:DB8:0::1", "[2001:db8::1]:123"),
            ("[2001:db8::1]:5", "[2001:db8::1]:5"),
            ("::1", "[::1]:123"),
            ("[fe80::1%3]:123", "[fe80::1%3]:123"),
            ("", ":123"),
            (":9", ":9"),
            ("weird host!", "weird host!:123"),
        ] {
            let address = Address::parse(text, NTP_PORT).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn invalid_addresses_have_a_reason() {
        for (text, why) in [
            ("host:", AddressError::Port),
            ("host:65536", AddressError::Port),
            ("host:ntp", AddressError::Port),
            ("[::1]", AddressError::Ipv6),
            ("[::1]:x", AddressError::Ipv6),
            ("a:b:c", AddressError::Ipv6),
            ("192.0.2.1:1:2", AddressError::Ipv6),
        ] {
            assert_eq!(Address::parse(text, NTP_PORT), Err(why), "{text}");
        }
    }
}
