//! The tests that a reply must pass before anything is believed.
//!
//! They come in the order of RFC 5905 section 8 and 9: first whether the datagram is an answer to
//! *our* request at all (a failure changes nothing and is not even counted against the server:
//! anybody can send us datagrams), then whether what the server says about itself makes it usable.
//! Freshness is proved by the origin timestamp alone: it is a 64-bit random number, new with
//! every request (data minimisation as in draft-ietf-ntp-data-minimization).

use core::fmt;
use std::net::IpAddr;

use ntp_time::{LeapIndicator, NtpDuration, ReferenceId, Stratum};

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
        })
    }
}

/// What makes a server's reference recognisable as ourselves.
#[derive(Clone, Debug, Default)]
pub struct LocalIdentity {
    /// Reference IDs of this machine's addresses, loopback left out: other
    /// time servers on the same machine are no loop.
    ids: Vec<ReferenceId>,
}

impl LocalIdentity {
    /// Takes the machine's addresses.
    pub fn new(addresses: &[IpAddr]) -> Self {
        let mut ids: Vec<_> = addresses
            .iter()
            .filter(|address| !address.is_loopback())
            .map(|address| reference_id_of(*address))
            .collect();
        ids.sort_unstable_by_key(|id| id.octets());
        ids.dedup();
        Self { ids }
    }

    fn is_us(&self, id: ReferenceId) -> bool {
        self.ids.contains(&id)
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
    if header.stratum > Stratum::PRIMARY && us.is_us(header.reference_id) {
        return Err(Rejection::Loop);
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
        let us = LocalIdentity::new(&["192.0.2.7".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
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
