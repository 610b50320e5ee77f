//! The address of a time source: a host and an optional port.
//!
//! The number of colons determines the syntax: two or more make an IPv6 address, bare or as
//! `[address]:port`; one separates host and port; none is a host name or an IPv4 address, and
//! the default port of the source's mode is added. [`ntp_types::host`] has the grammar of hosts.

use std::fmt;

use ntp_types::host::{Host, HostError};

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
    /// A name or an IP address.
    pub host: Host,
    /// The UDP or TCP port, not 0.
    pub port: u16,
}

impl Address {
    /// Parses `text`; without a port, `default_port` is used.
    ///
    /// # Errors
    /// If the host is not that of a server, or the port is not a number from 1 to 65535.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let (host, port) = match text.bytes().filter(|byte| *byte == b':').count() {
            0 => (text, None),
            1 => text
                .split_once(':')
                .map_or((text, None), |(host, port)| (host, Some(port))),
            _ => split_brackets(text).unwrap_or((text, None)),
        };
        let host = Host::parse(host).map_err(AddressError::Host)?;
        let port = match port {
            None => default_port,
            Some(port) => parse_port(port).ok_or(AddressError::Port)?,
        };
        Ok(Self { host, port })
    }

    /// Whether `text` is this address; the port may be omitted if it is `default_port`.
    pub(crate) fn matches(&self, text: &str, default_port: u16) -> bool {
        Self::parse(text, default_port).is_ok_and(|parsed| parsed == *self)
    }
}

/// Splits `[address]` and `[address]:port`.
fn split_brackets(text: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = text.strip_prefix('[')?.split_once(']')?;
    match rest {
        "" => Some((host, None)),
        rest => Some((host, Some(rest.strip_prefix(':')?))),
    }
}

/// Parses a port: digits only, not 0.
fn parse_port(text: &str) -> Option<u16> {
    let is_digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|port| is_digits && *port != 0)
}

/// `host:port`, with brackets around an IPv6 address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.to_string();
        if host.contains(':') {
            write!(f, "[{host}]:{}", self.port)
        } else {
            write!(f, "{host}:{}", self.port)
        }
    }
}

/// Reason why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// What is before the port is not the host of a server.
    #[error("{0}")]
    Host(HostError),
    /// The text after the colon is not a port number.
    #[error("invalid port number")]
    Port,
}

impl AddressError {
    /// Returns the correct syntax.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Host(error) => error.advice(),
            Self::Port => {
                "a port from 1 to 65535 follows the colon; omit both for the default port"
            }
        }
    }
}

/// Reads an address of the configuration file.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>, default_port: u16) -> Option<Address> {
    let text = value::text(cx, value)?;
    match Address::parse(text, default_port) {
        Ok(address) => Some(address),
        Err(error) => {
            let message = format!("{error}: {}", quote(text, '"'));
            value.reject_with(cx, message, error.advice())
        }
    }
}

/// Reads a host without a port.
pub(crate) fn read_host(cx: &mut Context, value: &Value<'_>) -> Option<Host> {
    let text = value::text(cx, value)?;
    match Host::parse(text) {
        Ok(host) => Some(host),
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
            ("[::1]", "[::1]:123"),
            ("[fe80::1%3]:123", "[fe80::1%3]:123"),
            ("fe80::1%eth0", "[fe80::1%eth0]:123"),
            ("[fe80::1%eth0]:9", "[fe80::1%eth0]:9"),
            ("[::ffff:192.0.2.1]:9", "192.0.2.1:9"),
        ] {
            let address = Address::parse(text, NTP_PORT).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn invalid_addresses_have_a_reason() {
        let host = AddressError::Host;
        for (text, why) in [
            ("host:", AddressError::Port),
            ("host:0", AddressError::Port),
            ("host:65536", AddressError::Port),
            ("host:ntp", AddressError::Port),
            ("host:+5", AddressError::Port),
            ("host:12\n", AddressError::Port),
            ("[::1]:x", AddressError::Port),
            ("[::1]:0", AddressError::Port),
            ("", host(HostError::Empty)),
            (":9", host(HostError::Empty)),
            ("a:b:c", host(HostError::Ipv6)),
            ("[::1", host(HostError::Ipv6)),
            ("[::1]x:5", host(HostError::Ipv6)),
            ("[ntp.example:1]:5", host(HostError::Ipv6)),
            ("192.0.2.1:1:2", host(HostError::Ipv6)),
            ("192.0.2.300:123", host(HostError::Ipv4)),
            ("[ff02::101]:123", host(HostError::Multicast)),
            ("[fe80::1]:123", host(HostError::MissingInterface)),
            ("weird host!", host(HostError::Character(' '))),
        ] {
            assert_eq!(Address::parse(text, NTP_PORT), Err(why), "{text}");
        }
    }
}
