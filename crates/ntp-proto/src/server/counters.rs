//! Counts datagrams by outcome in [`ServerStatistics`] and [`ServerDetails`].

use ntp_types::statistics::{ServerDetails, ServerStatistics};

use super::{Kind, Reason, Verdict};

/// Counters of a worker. `received`, `send_errors`, `dropped_by_kernel` and `latency` are not counted
/// here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams by outcome. Their number is [`ServerStatistics::total`].
    pub statistics: ServerStatistics,
    /// Subsets of these.
    pub details: ServerDetails,
}

/// Counts one datagram that begins with `first`. `nts` is whether the request has NTS.
#[inline]
pub(super) fn count(counters: &mut Counters, verdict: Verdict, first: u8, nts: bool) {
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
            count_version(&mut details.accepted_by_version, first);
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
                matches!(reason, Reason::Malformed(_) | Reason::Version(_)),
            );
            one(&mut details.unknown_drafts, reason == Reason::UnknownDraft);
        }
    }
    if nts {
        count_nts(statistics, verdict);
    }
}

/// Counts an answered request by the version in its first octet.
#[inline]
fn count_version(accepted: &mut [u64; ServerDetails::VERSIONS], first: u8) {
    // Version 0 is never answered; it would be the last of all numbers.
    let index = usize::from((first >> 3) & 7).wrapping_sub(1);
    if let Some(count) = accepted.get_mut(index) {
        *count = count.wrapping_add(1);
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
