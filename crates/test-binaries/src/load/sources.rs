//! Source addresses of requests.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ntp_config::Subnet;

/// Maximum number of addresses: enough to fill any table of clients.
const MAX_ADDRESSES: u32 = 1 << 24;

/// All addresses of a network. They must be local to the machine: those of 127.0.0.0/8, or by a
/// route such as `ip route add local 10.1.0.0/16 dev lo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    network: Subnet,
    count: u32,
}

impl Sources {
    /// Number of addresses.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Address number `number` modulo the count, in a pseudorandom order.
    pub fn address(&self, number: u64) -> IpAddr {
        // An odd factor permutes the numbers below a power of two.
        let index = (number as u32).wrapping_mul(0x9e37_79b1) % self.count;
        match self.network.address() {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() | index).into(),
            // Each in its own /64 if the network is that large, since servers treat a /64 as one
            // client.
            IpAddr::V6(first) => {
                let host = if self.network.length() < 64 {
                    u128::from(index) << 64 | 1
                } else {
                    u128::from(index)
                };
                Ipv6Addr::from_bits(first.to_bits() | host).into()
            }
        }
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network: Subnet = text
            .parse()
            .map_err(|error: ntp_config::SubnetError| error.to_string())?;
        let bits = match network.address() {
            IpAddr::V4(_) => 32 - network.length(),
            IpAddr::V6(_) if network.length() < 64 => 64 - network.length(),
            IpAddr::V6(_) => 128 - network.length(),
        };
        let count = 1u32
            .checked_shl(bits.into())
            .unwrap_or(MAX_ADDRESSES)
            .min(MAX_ADDRESSES);
        Ok(Self { network, count })
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_address_occurs_once_per_round() {
        for (text, count) in [
            ("127.1.0.0/20", 4096),
            ("127.0.0.1/32", 1),
            ("fd00:1::/52", 4096),
            ("fd00:1::/120", 256),
        ] {
            let sources: Sources = text.parse().unwrap();
            assert_eq!(sources.count(), count, "{text}");
            let network: Subnet = text.parse().unwrap();
            let round: BTreeSet<IpAddr> = (0..count.into())
                .map(|number| sources.address(number))
                .collect();
            assert!(round.iter().all(|address| network.contains(*address)));
            assert_eq!(round.len(), count as usize, "{text}");
        }
    }
}
