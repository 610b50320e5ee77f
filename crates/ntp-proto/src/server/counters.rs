//! Counts of datagrams by outcome.

use super::{Kind, Reason, Verdict};

/// Counts of datagrams by outcome. Each datagram is in one of the first five:
///
/// ```text
/// received = accepted + denied + ignored + rate_limited + nts_nak
/// ```
///
/// These five have the meaning of upstream's observation socket. The others are subsets of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answered with the time.
    pub accepted: u64,
    /// Refused with a DENY kiss or, if authentication failed, a crypto-NAK.
    pub denied: u64,
    /// Dropped without a reply, for any reason but the rate limit.
    pub ignored: u64,
    /// Over the rate limit, with or without a RATE kiss.
    pub rate_limited: u64,
    /// Refused with an NTSN kiss.
    pub nts_nak: u64,

    /// Of those ignored: not an NTP packet, or of an unsupported version.
    pub malformed: u64,
    /// Of those ignored: packets that are not requests.
    pub not_a_request: u64,
    /// Of those accepted: with a symmetric key.
    pub authenticated: u64,
    /// Of those denied: with an unknown key, or a wrong digest.
    pub bad_authentication: u64,
    /// Of those accepted: in interleaved mode.
    pub interleaved: u64,
    /// Of those rate limited: with a RATE kiss.
    pub rate_kisses: u64,

    /// Of all: with NTS.
    pub nts_received: u64,
    /// Of those accepted: with NTS.
    pub nts_accepted: u64,
    /// Of those denied: with NTS.
    pub nts_denied: u64,
    /// Of those rate limited: with NTS.
    pub nts_rate_limited: u64,
}

impl Counters {
    /// Number of all datagrams.
    pub const fn received(&self) -> u64 {
        self.accepted
            .wrapping_add(self.denied)
            .wrapping_add(self.ignored)
            .wrapping_add(self.rate_limited)
            .wrapping_add(self.nts_nak)
    }

    /// Counts one datagram. `nts` is whether the request has NTS.
    #[inline]
    pub(super) fn count(&mut self, verdict: Verdict, nts: bool) {
        let one = |counter: &mut u64, condition: bool| {
            *counter = counter.wrapping_add(u64::from(condition));
        };
        match verdict {
            Verdict::Answer {
                kind: Kind::Time,
                interleaved,
                authenticated,
            } => {
                one(&mut self.accepted, true);
                one(&mut self.interleaved, interleaved);
                one(&mut self.authenticated, authenticated && !nts);
            }
            Verdict::Answer { kind, .. } => match kind {
                Kind::Time | Kind::Deny => one(&mut self.denied, true),
                Kind::CryptoNak => {
                    one(&mut self.denied, true);
                    one(&mut self.bad_authentication, true);
                }
                Kind::Rate => {
                    one(&mut self.rate_limited, true);
                    one(&mut self.rate_kisses, true);
                }
                Kind::NtsNak => one(&mut self.nts_nak, true),
            },
            Verdict::Ignore(Reason::RateLimited) => one(&mut self.rate_limited, true),
            Verdict::Ignore(reason) => {
                one(&mut self.ignored, true);
                one(&mut self.malformed, matches!(reason, Reason::Malformed(_)));
                one(
                    &mut self.not_a_request,
                    matches!(reason, Reason::NotARequest(_)),
                );
            }
        }
        if nts {
            self.count_nts(verdict);
        }
    }

    fn count_nts(&mut self, verdict: Verdict) {
        self.nts_received = self.nts_received.wrapping_add(1);
        let share = match verdict {
            Verdict::Answer {
                kind: Kind::Time, ..
            } => &mut self.nts_accepted,
            Verdict::Answer {
                kind: Kind::Deny, ..
            } => &mut self.nts_denied,
            Verdict::Answer {
                kind: Kind::Rate, ..
            }
            | Verdict::Ignore(Reason::RateLimited) => &mut self.nts_rate_limited,
            _ => return,
        };
        *share = share.wrapping_add(1);
    }
}
