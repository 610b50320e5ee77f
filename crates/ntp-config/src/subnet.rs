//! Networks: an IP address and a prefix length.
//!
//! A client that reaches a dual-stack socket over IPv4 has an address `::ffff:a.b.c.d` (RFC 4291
//! section 2.5.5.2). That is the same client as `a.b.c.d`, so both networks and addresses are
//! converted to IPv4 first: otherwise the IPv4 entries of a list would not apply to clients of
//! a dual-stack socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::diagnostic::quote;
use crate::reader::{Context, Value};
use crate::value;

/// A network: host bits are zero and the length fits the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subnet {
    address: IpAddr,
    length: u8,
}

impl Subnet {
    /// All of IPv4.
    pub const ALL_IPV4: Self = Self {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        length: 0,
    };

    /// All of IPv6.
    pub const ALL_IPV6: Self = Self {
        address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        length: 0,
    };

    /// Creates the network of `address` with a prefix of `length` bits. Host bits are cleared; an
    /// IPv4-mapped network becomes the IPv4 network.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, SubnetError> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if length > bits {
            return Err(SubnetError::Mask);
        }
        let (address, length) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), canonical @ IpAddr::V4(_)) => {
                let length = length.checked_sub(96).ok_or(SubnetError::Overflow)?;
                (canonical, length)
            }
            (address, _) => (address, length),
        };
        let address = masked(address, length);
        Ok(Self { address, length })
    }

    /// The network's first address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The prefix length: up to 32 or 128, by the address family.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether `client` belongs to the network.
    pub fn contains(self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        client.is_ipv4() == self.address.is_ipv4() && masked(client, self.length) == self.address
    }
}

impl std::str::FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (address, length) = text.split_once('/').ok_or(SubnetError::Syntax)?;
        let address = address.parse().map_err(|_| SubnetError::Address)?;
        let length = length.parse().map_err(|_| SubnetError::Mask)?;
        Self::new(address, length)
    }
}

/// For example `192.0.2.0/24`.
impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Reason why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// There is no slash.
    #[error("Invalid subnet syntax")]
    Syntax,
    /// The text before the slash is not an IP address.
    #[error("invalid IP address syntax")]
    Address,
    /// The length is not a number or exceeds the address.
    #[error("Invalid subnet mask")]
    Mask,
    /// An IPv4-mapped IPv6 network reaches beyond IPv4.
    #[error("Subnet mask overflows the IPv4 range of an IPv4-mapped IPv6 address")]
    Overflow,
}

/// Reads an element of a filter.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<Subnet> {
    let text = value::text(cx, value)?;
    parse(cx, value, text)
}

/// Parses `text`, which is part of `value`.
pub(crate) fn parse(cx: &mut Context, value: &Value<'_>, text: &str) -> Option<Subnet> {
    let error = match text.parse::<Subnet>() {
        Ok(subnet) => return Some(subnet),
        Err(error) => error,
    };
    let message = format!("{error}: {}", quote(text, '"'));
    let help = match (error, text.parse::<IpAddr>()) {
        (_, Ok(IpAddr::V4(address))) => format!("for this one address write `\"{address}/32\"`"),
        (_, Ok(IpAddr::V6(address))) => format!("for this one address write `\"{address}/128\"`"),
        (SubnetError::Mask, _) => {
            "the prefix length after the slash is 0 to 32 for IPv4, 0 to 128 for IPv6".into()
        }
        (SubnetError::Overflow, _) => {
            "the prefix length of `::ffff:0.0.0.0` is at least 96; better write the network in IPv4"
                .into()
        }
        (SubnetError::Syntax | SubnetError::Address, _) => {
            "a network is an IP address and a prefix length: `\"192.0.2.0/24\"`".into()
        }
    };
    value.reject_with(cx, message, help)
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_and_mapped_networks_become_ipv4() {
        for (text, shown) in [
            ("192.0.2.77/24", Ok("192.0.2.0/24")),
            ("192.0.2.77/32", Ok("192.0.2.77/32")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("::/0", Ok("::/0")),
            ("2001:db8::1/32", Ok("2001:db8::/32")),
            ("::ffff:192.168.0.0/104", Ok("192.0.0.0/8")),
            ("::ffff:192.168.0.0/95", Err(SubnetError::Overflow)),
            ("192.0.2.0", Err(SubnetError::Syntax)),
            ("192.0.2.0/33", Err(SubnetError::Mask)),
            ("192.0.2.0/", Err(SubnetError::Mask)),
            ("192.0.2.0/-1", Err(SubnetError::Mask)),
            ("::/129", Err(SubnetError::Mask)),
            ("example.org/8", Err(SubnetError::Address)),
            ("192.0.2.0/8/8", Err(SubnetError::Mask)),
        ] {
            let parsed = text.parse::<Subnet>().map(|subnet| subnet.to_string());
            assert_eq!(parsed, shown.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn an_ipv4_network_contains_the_clients_of_a_dual_stack_socket() {
        let network: Subnet = "192.0.2.0/24".parse().unwrap();
        assert!(network.contains("::ffff:192.0.2.9".parse().unwrap()));
        assert!(network.contains("192.0.2.9".parse().unwrap()));
        assert!(!network.contains("192.0.3.9".parse().unwrap()));
        assert!(!Subnet::ALL_IPV6.contains("192.0.2.9".parse().unwrap()));
        assert!(Subnet::ALL_IPV4.contains("::ffff:192.0.2.9".parse().unwrap()));
    }
}
