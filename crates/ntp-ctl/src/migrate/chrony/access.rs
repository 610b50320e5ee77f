//! chronyd's `allow` and `deny`: the most specific network decides, and lines replace earlier ones.
//!
//! chronyd keeps its rules in tables of sixteen entries, one level for four bits of an address. A
//! prefix whose length is not a multiple of four is stored as several entries of the next level. Of
//! two such prefixes of one level, the later line holds where they overlap, even if it is the less
//! specific one. `all` also deletes the entries below.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ntp_config::{AccessDecision, Subnet};

use crate::migrate::access::Rules;

/// Rules of the lines so far; closed at first.
#[derive(Clone, Debug)]
pub(super) struct AllowDeny {
    /// As in the file.
    written: Rules,
    /// As chronyd stores them.
    stored: Rules,
}

impl Default for AllowDeny {
    fn default() -> Self {
        let closed = Rules::new(AccessDecision::Ignore);
        let (written, stored) = (closed.clone(), closed);
        Self { written, stored }
    }
}

impl AllowDeny {
    /// Adds `allow` or `deny`. Returns false if the words are no network.
    pub(super) fn add(&mut self, allowed: bool, words: &[&str]) -> bool {
        let (all, words) = match words {
            ["all", rest @ ..] => (true, rest),
            words => (false, words),
        };
        let decision = match allowed {
            true => AccessDecision::Allow,
            false => AccessDecision::Ignore,
        };
        let networks = match words {
            [] => Some(vec![Subnet::ALL_IPV4, Subnet::ALL_IPV6]),
            [word] => network(word).map(|network| vec![network]),
            _ => None,
        };
        let Some(networks) = networks else {
            return false;
        };
        for network in networks {
            for (rules, parts) in [
                (&mut self.written, vec![network]),
                (&mut self.stored, entries(network)),
            ] {
                for part in parts {
                    rules.set(part, decision);
                    if all {
                        rules.remove_parts(part);
                    }
                }
            }
        }
        true
    }

    /// The rules, and whether they differ from the written ones.
    pub(super) fn into_rules(self) -> (Rules, bool) {
        if self.written.access() == self.stored.access() {
            (self.written, false)
        } else {
            (self.stored, true)
        }
    }
}

/// The entries of chronyd's tables for a network.
fn entries(network: Subnet) -> Vec<Subnet> {
    const LEVEL: u8 = 4;
    let length = network.length().next_multiple_of(LEVEL);
    let count = 1u8 << (length - network.length());
    let entry = |index: u8| {
        let address = match network.address() {
            IpAddr::V4(address) => {
                let index = u32::from(index).checked_shl(u32::from(32 - length));
                Ipv4Addr::from_bits(address.to_bits() | index.unwrap_or(0)).into()
            }
            IpAddr::V6(address) => {
                let index = u128::from(index).checked_shl(u32::from(128 - length));
                Ipv6Addr::from_bits(address.to_bits() | index.unwrap_or(0)).into()
            }
        };
        Subnet::new(address, length).ok()
    };
    (0..count).filter_map(entry).collect()
}

/// Parses a network in chronyd's syntax, which allows to omit trailing octets of IPv4 addresses.
fn network(text: &str) -> Option<Subnet> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    if let Ok(address) = address.parse::<Ipv6Addr>() {
        return Subnet::new(address.into(), length.unwrap_or(128)).ok();
    }
    let octets: Result<Vec<u8>, _> = address.split('.').map(str::parse).collect();
    let octets = octets.ok()?;
    let mut full = [0; 4];
    full.get_mut(..octets.len())?.copy_from_slice(&octets);
    let given = u8::try_from(octets.len() * 8).ok()?;
    Subnet::new(IpAddr::from(full), length.unwrap_or(given)).ok()
}
