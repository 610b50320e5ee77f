//! Tests that a reply must pass before it is used.
//!
//! The order is that of RFC 5905 sections 8 and 9: first whether the datagram is a reply to *our*
//! request at all (a failure changes nothing and does not count against the server, since anyone
//! can send datagrams), then whether the content of the reply makes the server usable. Freshness
//! follows from the origin timestamp alone: it is a 64-bit random number, new with every request
//! (data minimisation as in draft-ietf-ntp-data-minimization).

use std::net::IpAddr;

use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, ReferenceId, Stratum};

use ntp_types::event::Rejection;

use super::ReplyContent;
use crate::wire::Mode;

/// Root distance from which on a server is not usable: MAXDISP of RFC 5905 section 7.2.
const ROOT_DISTANCE_LIMIT: NtpDuration = NtpDuration::from_seconds(16);

/// Largest difference between a server's receive and transmit timestamps. Real servers need
/// microseconds, interleaved or heavily loaded ones milliseconds; chrony uses the same 4 s.
const PROCESSING_LIMIT: NtpDuration = NtpDuration::from_seconds(4);

/// Coarsest precision of a server still in use, as base-2 logarithm of seconds: the tick of old
/// personal computers.
const COARSEST_PRECISION: i8 = -6;

/// Number of own reference timestamps that are kept. A reply of our own server is at most a round
/// trip inside this machine old, and fewer sources reply in that time.
const REMEMBERED_TIMESTAMPS: usize = 8;

/// Identifies servers that are this daemon or are synchronised to this machine.
///
/// A server that is synchronised to us has an address of this machine as its reference ID. A server
/// that *is* this daemon, because the address of a source became ours or leads back to us, has the
/// reference ID of our own source, as an unrelated server may; but it sends the same reference
/// timestamp, all 64 bits of it, which is the reading of one clock at one moment.
#[derive(Clone, Debug, Default)]
pub struct LocalIdentity {
    /// Reference IDs of the addresses of this machine except loopback: other servers on the same
    /// machine are no loop.
    ids: Vec<ReferenceId>,
    /// Whether there is an address with more than link scope, for each family.
    v4: bool,
    v6: bool,
    /// The last reference timestamps of our server.
    reference_timestamps: [NtpTimestamp; REMEMBERED_TIMESTAMPS],
}

impl LocalIdentity {
    /// Sets the addresses of this machine.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) {
        self.ids = addresses
            .iter()
            .filter(|address| !address.is_loopback())
            .map(|address| reference_id_of(*address))
            .collect();
        self.ids.sort_unstable_by_key(|id| id.octets());
        self.ids.dedup();
        let mut global = addresses
            .iter()
            .filter(|address| !has_narrow_scope(**address));
        self.v4 = global.clone().any(IpAddr::is_ipv4);
        self.v6 = global.any(IpAddr::is_ipv6);
    }

    /// Records the reference timestamp that our server sends from now on.
    pub fn record_reference_timestamp(&mut self, reference_timestamp: NtpTimestamp) {
        self.reference_timestamps.rotate_right(1);
        self.reference_timestamps[0] = reference_timestamp;
    }

    /// Whether this machine has an address of a family and scope from which `remote` can be
    /// reached. Also true if there is no usable address of either family, since then nothing
    /// favours the other one.
    pub fn can_reach(&self, remote: IpAddr) -> bool {
        let (own, other) = if remote.is_ipv4() {
            (self.v4, self.v6)
        } else {
            (self.v6, self.v4)
        };
        has_narrow_scope(remote) || own || !other
    }

    fn is_own_id(&self, id: ReferenceId) -> bool {
        self.ids.contains(&id)
    }

    fn is_own_timestamp(&self, reference_timestamp: NtpTimestamp) -> bool {
        !reference_timestamp.is_zero() && self.reference_timestamps.contains(&reference_timestamp)
    }
}

/// Whether an address has host or link scope.
fn has_narrow_scope(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    }
}

/// Returns the reference ID of a client of `address`: the IPv4 address itself, or the first four
/// octets of the MD5 hash of the IPv6 address (RFC 5905 section 7.3).
pub fn reference_id_of(address: IpAddr) -> ReferenceId {
    use md5::{Digest, Md5};
    match address.to_canonical() {
        IpAddr::V4(address) => ReferenceId::new(address.octets()),
        IpAddr::V6(address) => {
            let hash: [u8; 16] = Md5::digest(address.octets()).into();
            ReferenceId::new([hash[0], hash[1], hash[2], hash[3]])
        }
    }
}

/// Checks the content of a reply to our request that is no kiss, except for its timestamps.
/// `stratum_limit` is our own `local-stratum`: only servers below it are usable.
pub fn check_server(
    content: &ReplyContent,
    local_identity: &LocalIdentity,
    stratum_limit: Stratum,
) -> Result<(), Rejection> {
    if content.leap == LeapIndicator::Unsynchronized || content.stratum == Stratum::UNSYNCHRONIZED {
        return Err(Rejection::Unsynchronized);
    }
    if !content.stratum.is_usable() || content.stratum >= stratum_limit {
        return Err(Rejection::Stratum);
    }
    let distance = content.root_delay.half() + content.root_dispersion;
    if distance >= ROOT_DISTANCE_LIMIT {
        return Err(Rejection::RootDistance);
    }
    // Above stratum 1 the reference ID names the source of the server (RFC 5905 section 9.2,
    // "fit").
    if content.stratum > Stratum::PRIMARY && local_identity.is_own_id(content.reference_id) {
        return Err(Rejection::Loop);
    }
    if local_identity.is_own_timestamp(content.reference_timestamp) {
        return Err(Rejection::Ourselves);
    }
    Ok(())
}

/// Checks the two timestamps of a server in one exchange, which arrive with two replies in
/// interleaved mode.
pub fn check_timestamps(content: &ReplyContent) -> Result<(), Rejection> {
    if content.receive_timestamp.is_zero() || content.transmit_timestamp.is_zero() {
        return Err(Rejection::Timestamps);
    }
    let processing = content.transmit_timestamp - content.receive_timestamp;
    if processing < -reading_error(content.precision) || processing > PROCESSING_LIMIT {
        return Err(Rejection::Timestamps);
    }
    Ok(())
}

/// Maximum difference of two timestamps of the same moment: one step of the server's clock. Servers
/// fill the bits below their precision with random ones (RFC 5905 section 6), so that the transmit
/// timestamp may precede the receive timestamp.
fn reading_error(precision: i8) -> NtpDuration {
    NtpDuration::from_seconds_f64(2f64.powi(precision.min(COARSEST_PRECISION).into()))
}

/// Checks that a packet is a reply to a client.
pub fn check_mode(mode: Mode) -> Result<(), Rejection> {
    if mode == Mode::Server {
        Ok(())
    } else {
        Err(Rejection::WrongMode)
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::{NtpShort, NtpTimestamp};

    use super::*;
    use crate::wire::{Header, Version};

    fn reply() -> Header {
        Header {
            leap: LeapIndicator::None,
            stratum: Stratum::new(2),
            precision: -20,
            root_delay: NtpShort::from_bits(0x100),
            reference_id: ReferenceId::new([192, 0, 2, 7]),
            receive_timestamp: NtpTimestamp::from_bits(0x1000_0000_0000_0000),
            transmit_timestamp: NtpTimestamp::from_bits(0x1000_0000_0001_0000),
            ..Header::blank(Version::V4, Mode::Server)
        }
    }

    fn verdict(header: &Header) -> Result<(), Rejection> {
        let content = ReplyContent::from(header);
        check_server(&content, &LocalIdentity::default(), Stratum::UNSYNCHRONIZED)
            .and_then(|()| check_timestamps(&content))
    }

    #[test]
    fn timestamps_may_be_reversed_by_one_step_of_the_server_clock() {
        let received = reply().receive_timestamp;
        let step = NtpDuration::from_seconds_f64(2f64.powi(-20));
        let sent = |transmit_timestamp| Header {
            transmit_timestamp,
            ..reply()
        };
        assert_eq!(
            verdict(&sent(received + -step.half())),
            Ok(()),
            "random bits below the precision"
        );
        assert_eq!(
            verdict(&sent(received + -step * 2)),
            Err(Rejection::Timestamps)
        );
        assert_eq!(
            verdict(&sent(received + NtpDuration::from_seconds(5))),
            Err(Rejection::Timestamps)
        );
        assert_eq!(
            verdict(&sent(NtpTimestamp::ZERO)),
            Err(Rejection::Timestamps)
        );
    }

    #[test]
    fn a_server_synchronised_to_this_machine_is_a_loop_unless_it_is_primary() {
        let mut local_identity = LocalIdentity::default();
        local_identity.set_addresses(&["192.0.2.7".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
        let check = |header: &Header| {
            let content = ReplyContent::from(header);
            check_server(&content, &local_identity, Stratum::UNSYNCHRONIZED)
        };
        assert_eq!(check(&reply()), Err(Rejection::Loop));
        assert_eq!(
            check(&Header {
                stratum: Stratum::PRIMARY,
                ..reply()
            }),
            Ok(())
        );
        let local = Header {
            reference_id: ReferenceId::new([127, 0, 0, 1]),
            ..reply()
        };
        assert_eq!(
            check(&local),
            Ok(()),
            "other servers on this machine are no loop"
        );
    }

    #[test]
    fn this_daemon_is_recognised_by_its_reference_timestamp() {
        let timestamp = |seconds: u64| NtpTimestamp::from_bits(seconds << 32 | 0x1234_5678);
        let mut local_identity = LocalIdentity::default();
        let check = |local_identity: &LocalIdentity, reference_timestamp| {
            let header = Header {
                reference_timestamp,
                ..reply()
            };
            check_server(&(&header).into(), local_identity, Stratum::UNSYNCHRONIZED)
        };
        // Before our first timestamp, a server with none is not taken for us.
        assert_eq!(check(&local_identity, NtpTimestamp::ZERO), Ok(()));
        for seconds in 1..=20 {
            local_identity.record_reference_timestamp(timestamp(seconds));
        }
        assert_eq!(
            check(&local_identity, timestamp(20)),
            Err(Rejection::Ourselves)
        );
        // Our server's reply may have been written before the last update.
        assert_eq!(
            check(&local_identity, timestamp(19)),
            Err(Rejection::Ourselves)
        );
        assert_eq!(check(&local_identity, timestamp(21)), Ok(()));
        assert_eq!(check(&local_identity, NtpTimestamp::ZERO), Ok(()));
    }

    #[test]
    fn a_link_local_address_cannot_reach_a_server_beyond_its_link() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut local_identity = LocalIdentity::default();
        let near = ["127.0.0.1", "::1", "169.254.3.4", "fe80::1"].map(address);
        let far = ["192.0.2.7", "2001:db8::7"].map(address);
        local_identity.set_addresses(&near);
        assert!(
            far.iter().all(|server| local_identity.can_reach(*server)),
            "there is no better family"
        );
        local_identity.set_addresses(&[address("169.254.3.4"), address("2001:db8::1")]);
        assert!(!local_identity.can_reach(far[0]) && local_identity.can_reach(far[1]));
        assert!(
            local_identity.can_reach(address("169.254.7.7"))
                && local_identity.can_reach(address("127.0.0.1"))
        );
    }

    #[test]
    fn replies_of_unusable_servers_are_rejected() {
        let cases = [
            (
                Header {
                    leap: LeapIndicator::Unsynchronized,
                    ..reply()
                },
                Rejection::Unsynchronized,
            ),
            (
                Header {
                    stratum: Stratum::UNSYNCHRONIZED,
                    ..reply()
                },
                Rejection::Unsynchronized,
            ),
            (
                Header {
                    stratum: Stratum::new(17),
                    ..reply()
                },
                Rejection::Stratum,
            ),
            (
                Header {
                    root_dispersion: NtpShort::from_bits(16 << 16),
                    ..reply()
                },
                Rejection::RootDistance,
            ),
            (
                Header {
                    root_delay: NtpShort::from_bits(32 << 16),
                    ..reply()
                },
                Rejection::RootDistance,
            ),
        ];
        for (header, rejection) in cases {
            assert_eq!(verdict(&header), Err(rejection));
        }
        let near = check_server(
            &(&reply()).into(),
            &LocalIdentity::default(),
            Stratum::new(2),
        );
        assert_eq!(
            near,
            Err(Rejection::Stratum),
            "not below our own local-stratum"
        );
    }
}
