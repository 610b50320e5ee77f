//! A client's address as an integer, which access lists, rate limit and stores compare and hash.

use std::net::IpAddr;

/// An address in canonical form. IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), the form in which a
/// dual-stack socket reports IPv4 clients, is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    V4(u32),
    V6(u128),
}

impl From<IpAddr> for Client {
    #[inline]
    fn from(address: IpAddr) -> Self {
        const MAPPED: u128 = 0xffff;
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                if bits >> 32 == MAPPED {
                    Self::V4(bits as u32)
                } else {
                    Self::V6(bits)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn canonical_form_equals_that_of_the_standard_library(high in prop_oneof![Just(0xffff), any::<u128>()], low: u32) {
            let address = Ipv6Addr::from_bits(high << 32 | u128::from(low));
            prop_assert_eq!(Client::from(IpAddr::V6(address)), Client::from(address.to_canonical()));
        }
    }
}
