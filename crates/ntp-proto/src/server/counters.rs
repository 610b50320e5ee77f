//! Counts datagrams by outcome in [`ServerStatistics`] and [`ServerDetails`].

use ntp_types::statistics::{ServerDetails, ServerStatistics};

use super::{Kind, Reason, Verdict};

/// Counters of a worker. `received`, `send_errors` and `latency` are not counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams by outcome. Their number is [`ServerStatistics::total`].
    pub statistics: ServerStatistics,
    /// Subsets of these.
    pub details: ServerDetails,
}

/// Counts one datagram. `nts` is whether the request has NTS.
#[inline]
pub(super) fn count(counters: &mut Counters, verdict: Verdict, nts: bool) {
    let Counters {
        statistics,
        details,
    } = counters;
    let one = |counter: &mut u64, condition: bool| {
        *counter = counter.wrapping_add(u64::from(condition));
    };
    match verdict {
        Verdict::Answer {
            kind: Kind::Time,
            interleaved,
            authenticated,
        } => {
            one(&mut statistics.accepted, true);
            one(&mut details.interleaved, interleaved);
            one(&mut details.authenticated, authenticated && !nts);
        }
        Verdict::Answer { kind, .. } => match kind {
            Kind::Time | Kind::Deny => one(&mut statistics.denied, true),
            Kind::CryptoNak => {
                one(&mut statistics.denied, true);
                one(&mut details.bad_authentication, true);
            }
            Kind::Rate => {
                one(&mut statistics.rate_limited, true);
                one(&mut details.rate_kisses, true);
            }
            Kind::NtsNak => one(&mut statistics.nts_nak, true),
        },
        Verdict::Ignore(Reason::RateLimited) => one(&mut statistics.rate_limited, true),
        Verdict::Ignore(reason) => {
            one(&mut statistics.ignored, true);
            one(
                &mut details.malformed,
                matches!(reason, Reason::Malformed(_)),
            );
        }
    }
    if nts {
        count_nts(statistics, verdict);
    }
}

fn count_nts(statistics: &mut ServerStatistics, verdict: Verdict) {
    statistics.nts_received = statistics.nts_received.wrapping_add(1);
    let share = match verdict {
        Verdict::Answer {
            kind: Kind::Time, ..
        } => &mut statistics.nts_accepted,
        Verdict::Answer {
            kind: Kind::Deny, ..
        } => &mut statistics.nts_denied,
        Verdict::Answer {
            kind: Kind::Rate, ..
        }
        | Verdict::Ignore(Reason::RateLimited) => &mut statistics.nts_rate_limited,
        _ => return,
    };
    *share = share.wrapping_add(1);
}
