//! The tests that a reply must pass before anything is believed.
//!
//! They come in the order of RFC 5905 section 8 and 9: first whether the datagram is an answer to
//! *our* request at all (a failure changes nothing and is not even counted against the server:
//! anybody can send us datagrams), then whether what the server says about itself makes it usable.
//! Freshness is proved by the origin timestamp alone: it is a 64-bit random number, new with
//! every request (data minimisation as in draft-ietf-ntp-data-minimization).

use core::fmt;
use std::net::IpAddr;

use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, ReferenceId, Stratum};

use crate::wire::{Header, Mode};

/// Largest root distance of a usable server: MAXDISP of RFC 5905 section 7.2.
const ROOT_DISTANCE_LIMIT: NtpDuration = NtpDuration::from_seconds(16);

/// Longest time between a server's receive and transmit timestamps. Real servers need
/// microseconds, interleaved or heavily loaded ones milliseconds; chrony uses the same 4 s.
const PROCESSING_LIMIT: NtpDuration = NtpDuration::from_seconds(4);

/// Log2 seconds of the coarsest clock that a server still in use may have: the tick of old personal computers.
const COARSEST_READING: i8 = -6;

/// Why a datagram was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Not an NTP packet, or a damaged one.
    Malformed,
    /// The kernel had to cut it: longer than any reply to our request can be.
    Oversized,
    /// Not a server's reply (mode 4).
    WrongMode,
    /// Origin timestamp is not the one we sent: forged, replayed or very old.
    WrongOrigin,
    /// The request it answers has been answered already.
    Duplicate,
    /// Later than a reply may be.
    Late,
    /// It knows our nonce, but does not prove that it comes from a holder of the source's key.
    Unauthenticated,
    /// The server says that it could not verify our request; anybody on the path can say that.
    CryptoNak,
    /// The server says that it could not read our NTS cookie; anybody on the path can say that.
    NtsNak,
    /// The server says it is not synchronised (leap indicator 3 or stratum 16).
    Unsynchronized,
    /// Stratum above 16, or not below our own `local-stratum`.
    Stratum,
    /// A receive or transmit timestamp of zero, transmit before receive, or seconds apart.
    Timestamps,
    /// Half of root delay plus root dispersion is 16 s or more.
    RootDistance,
    /// The server takes its time from this very machine.
    Loop,
    /// The server is this very daemon.
    Ourselves,
}

impl Rejection {
    /// Whether whoever wrote it knew the nonce of the open exchange: the server, or somebody on the path to it.
    pub fn knows_nonce(self) -> bool {
        self.blames_server()
            || matches!(self, Self::Unauthenticated | Self::CryptoNak | Self::NtsNak)
    }

    /// Whether the datagram answered our request, so that the server, not a stranger, is to blame.
    pub fn blames_server(self) -> bool {
        matches!(
            self,
            Self::Unsynchronized
                | Self::Stratum
                | Self::Timestamps
                | Self::RootDistance
                | Self::Loop
                | Self::Ourselves
        )
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a well-formed NTP packet",
            Self::Oversized => "longer than a reply can be",
            Self::WrongMode => "not a server reply",
            Self::WrongOrigin => "does not answer our request (forged, replayed or stale)",
            Self::Duplicate => "the request was answered already",
            Self::Late => "too late",
            Self::Unauthenticated => "not authenticated with the source's key",
            Self::NtsNak => "the server says that it cannot read our NTS cookie",
            Self::CryptoNak => {
                "the server does not accept our key (compare number, type and secret on both sides)"
            }
            Self::Unsynchronized => "the server says it is not synchronised",
            Self::Stratum => "the server's stratum is too high",
            Self::Timestamps => "the server's timestamps are zero or contradict each other",
            Self::RootDistance => "the server is too far from its reference clock",
            Self::Loop => "the server takes its time from this machine",
            Self::Ourselves => "its address leads to this very daemon",
        })
    }
}

/// How many of our latest reference timestamps are remembered. A reply of our own server is as old as a round trip inside this
/// machine; so many sources do not answer meanwhile.
const SAID_LATELY: usize = 8;

/// What makes a server recognisable as ourselves, or as one that follows us.
///
/// One that follows us names an address of this machine as its reference. One that *is* us, because an address of a source has become
/// ours or leads back to us, names our own source, as an honest neighbour may; but it gives the reference timestamp that we give, all
/// 64 bits of it, and that is the reading of one clock at one moment.
#[derive(Clone, Debug, Default)]
pub struct LocalIdentity {
    /// Reference IDs of this machine's addresses, loopback left out: other
    /// time servers on the same machine are no loop.
    ids: Vec<ReferenceId>,
    /// Whether there is an address of the family that reaches further than one link.
    v4: bool,
    v6: bool,
    /// The reference timestamps that our server gave last.
    said: [NtpTimestamp; SAID_LATELY],
}

impl LocalIdentity {
    /// Takes the machine's addresses.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) {
        self.ids = addresses
            .iter()
            .filter(|address| !address.is_loopback())
            .map(|address| reference_id_of(*address))
            .collect();
        self.ids.sort_unstable_by_key(|id| id.octets());
        self.ids.dedup();
        let mut far = addresses.iter().filter(|address| !is_near(**address));
        self.v4 = far.clone().any(IpAddr::is_ipv4);
        self.v6 = far.any(IpAddr::is_ipv6);
    }

    /// This is the reference timestamp that our server gives from now on.
    pub fn says(&mut self, reference_timestamp: NtpTimestamp) {
        self.said.rotate_right(1);
        self.said[0] = reference_timestamp;
    }

    /// Whether this machine has an address from which `remote` could be asked. True also if it has none at all, or none is known: then nothing
    /// speaks for the other family.
    pub fn could_ask(&self, remote: IpAddr) -> bool {
        let (own, other) = if remote.is_ipv4() {
            (self.v4, self.v6)
        } else {
            (self.v6, self.v4)
        };
        is_near(remote) || own || !other
    }

    fn follows_us(&self, id: ReferenceId) -> bool {
        self.ids.contains(&id)
    }

    fn is_us(&self, reference_timestamp: NtpTimestamp) -> bool {
        !reference_timestamp.is_zero() && self.said.contains(&reference_timestamp)
    }
}

/// Whether an address means something on this machine or on one link only.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    }
}

/// The reference ID that a client of `address` announces: the IPv4 address itself, or the first
/// four octets of the MD5 hash of the IPv6 address (RFC 5905 section 7.3).
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

/// Judges what a server says about itself, its stamps left out, in a reply that does answer our request and is no kiss.
/// `stratum_limit` is our own `local-stratum`: only servers below it are usable.
pub fn check_server(
    header: &Header,
    us: &LocalIdentity,
    stratum_limit: Stratum,
) -> Result<(), Rejection> {
    if header.leap == LeapIndicator::Unsynchronized || header.stratum == Stratum::UNSYNCHRONIZED {
        return Err(Rejection::Unsynchronized);
    }
    if !header.stratum.is_usable() || header.stratum >= stratum_limit {
        return Err(Rejection::Stratum);
    }
    let distance = header.root_delay.to_duration().half() + header.root_dispersion.to_duration();
    if distance >= ROOT_DISTANCE_LIMIT {
        return Err(Rejection::RootDistance);
    }
    // Above stratum 1 the reference ID names the server's own source (RFC 5905 section 9.2, "fit").
    if header.stratum > Stratum::PRIMARY && us.follows_us(header.reference_id) {
        return Err(Rejection::Loop);
    }
    if us.is_us(header.reference_timestamp) {
        return Err(Rejection::Ourselves);
    }
    Ok(())
}

/// Judges a server's two stamps of one exchange: in interleaved mode they come with two replies.
pub fn check_timestamps(header: &Header) -> Result<(), Rejection> {
    if header.receive_timestamp.is_zero() || header.transmit_timestamp.is_zero() {
        return Err(Rejection::Timestamps);
    }
    let processing = header.transmit_timestamp - header.receive_timestamp;
    if processing < -reading_error(header.precision) || processing > PROCESSING_LIMIT {
        return Err(Rejection::Timestamps);
    }
    Ok(())
}

/// How far apart two stamps of the same moment may be: one step of the server's clock, because servers fill the bits below
/// their precision with random ones (RFC 5905 section 6), and then sent may seem to precede received.
fn reading_error(precision: i8) -> NtpDuration {
    NtpDuration::from_seconds_f64(2f64.powi(precision.min(COARSEST_READING).into()))
}

/// Whether a packet's mode is that of a reply to a client.
pub fn check_mode(header: &Header) -> Result<(), Rejection> {
    if header.mode == Mode::Server {
        Ok(())
    } else {
        Err(Rejection::WrongMode)
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::{NtpShort, NtpTimestamp};

    use super::*;
    use crate::wire::Version;

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
        check_server(header, &LocalIdentity::default(), Stratum::UNSYNCHRONIZED)
            .and_then(|()| check_timestamps(header))
    }

    #[test]
    fn stamps_may_contradict_each_other_by_one_step_of_the_server_s_clock() {
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
    fn a_server_that_follows_us_is_a_loop_and_a_primary_server_never_is() {
        let mut us = LocalIdentity::default();
        us.set_addresses(&["192.0.2.7".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
        let check = |header: &Header| check_server(header, &us, Stratum::UNSYNCHRONIZED);
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
    fn a_server_that_is_ourselves_is_known_by_its_reference_timestamp_and_a_neighbour_is_not() {
        let said = |seconds: u64| NtpTimestamp::from_bits(seconds << 32 | 0x1234_5678);
        let mut us = LocalIdentity::default();
        let check = |us: &LocalIdentity, reference_timestamp| {
            let header = Header {
                reference_timestamp,
                ..reply()
            };
            check_server(&header, us, Stratum::UNSYNCHRONIZED)
        };
        // Before we said anything, those who say nothing are not us.
        assert_eq!(check(&us, NtpTimestamp::ZERO), Ok(()));
        for seconds in 1..=20 {
            us.says(said(seconds));
        }
        assert_eq!(check(&us, said(20)), Err(Rejection::Ourselves));
        // Our server's reply may have been written before the latest update.
        assert_eq!(check(&us, said(19)), Err(Rejection::Ourselves));
        assert_eq!(check(&us, said(21)), Ok(()));
        assert_eq!(check(&us, NtpTimestamp::ZERO), Ok(()));
    }

    #[test]
    fn only_an_address_that_reaches_further_than_one_link_could_ask_a_server_beyond_it() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut us = LocalIdentity::default();
        let near = ["127.0.0.1", "::1", "169.254.3.4", "fe80::1"].map(address);
        let far = ["192.0.2.7", "2001:db8::7"].map(address);
        us.set_addresses(&near);
        assert!(
            far.iter().all(|server| us.could_ask(*server)),
            "there is no better family"
        );
        us.set_addresses(&[address("169.254.3.4"), address("2001:db8::1")]);
        assert!(!us.could_ask(far[0]) && us.could_ask(far[1]));
        assert!(us.could_ask(address("169.254.7.7")) && us.could_ask(address("127.0.0.1")));
    }

    #[test]
    fn what_a_server_says_of_itself_must_make_it_usable() {
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
        let near = check_server(&reply(), &LocalIdentity::default(), Stratum::new(2));
        assert_eq!(
            near,
            Err(Rejection::Stratum),
            "not below our own local-stratum"
        );
    }
}
