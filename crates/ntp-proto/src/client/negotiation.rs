//! The protocol version of a source: configured, negotiated, or from the key exchange.
//!
//! # Negotiation (NTPv5 draft, "Version Negotiation"; `ntp-version = "auto"`)
//! A request of version 4 carries a marker in its reference timestamp, which servers of version 4
//! ignore. A server that supports version 5 returns it, and the next request is of version 5:
//!
//! ```text
//! offering --marker returned--> accepted --2 polls without a reply--> declined
//!    ^  '---8 replies without the marker---------------------------------^  |
//!    '------------------------256 polls-------------------------------------'
//! ```
//!
//! # What an attacker can do
//! Who can change packets on the path can hold a source at version 4 by removing the marker, and can
//! cause two lost polls in 256 by inserting it. Neither changes what is accepted: the authentication
//! of a source does not depend on its version. With NTS nothing is negotiated here, because the
//! version follows from the key exchange.

use ntp_types::source::VersionOrigin;
use serde::{Deserialize, Serialize};

use crate::wire::Version;

/// Number of replies without the marker after which it is no longer sent. Several, because a name
/// may stand for servers of both kinds behind one address.
const MAX_REFUSALS: u8 = 8;
/// Number of consecutive unanswered polls of version 5 after which version 4 is used: a device on
/// the path may drop what it does not know. One lost packet must not suffice.
const MAX_MISSED: u8 = 2;
/// Number of polls until a server that declined is offered version 5 again: at 64 s, 4.5 hours. A
/// larger number notices an upgraded server later, a smaller one loses more polls where version 5 is
/// dropped on the path.
const RETRY_AFTER: u16 = 256;

/// Protocol version that a source is configured to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionChoice {
    /// Version 4, and version 5 if the server supports it.
    Auto,
    /// This one.
    #[serde(untagged)]
    Fixed(Version),
}

/// Version 4.
impl Default for VersionChoice {
    fn default() -> Self {
        Self::Fixed(Version::V4)
    }
}

/// State of the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is configured.
    Fixed(Version),
    /// It is that of the NTS session.
    KeyExchange(Version),
    /// Version 4 with the marker.
    Offering { refusals: u8 },
    /// The server returned the marker: version 5.
    Accepted { missed: u8 },
    /// Version 4 without the marker, for this number of polls.
    Declined { polls_left: u16 },
}

/// The protocol version of an association.
#[derive(Clone, Debug)]
pub struct Negotiation {
    phase: Phase,
    /// Number of times that version 5 was given up.
    fallbacks: u32,
}

impl Negotiation {
    pub(super) fn new(choice: VersionChoice) -> Self {
        let phase = match choice {
            VersionChoice::Fixed(version) => Phase::Fixed(version),
            VersionChoice::Auto => Phase::Offering { refusals: 0 },
        };
        Self {
            phase,
            fallbacks: 0,
        }
    }

    /// Takes over the version of a new NTS session.
    pub(super) fn set_by_key_exchange(&mut self, version: Version) {
        self.phase = Phase::KeyExchange(version);
    }

    /// Version of the next request.
    pub fn version(&self) -> Version {
        match self.phase {
            Phase::Fixed(version) | Phase::KeyExchange(version) => version,
            Phase::Accepted { .. } => Version::V5,
            Phase::Offering { .. } | Phase::Declined { .. } => Version::V4,
        }
    }

    /// Whether the next request carries the marker.
    pub(super) fn offers(&self) -> bool {
        matches!(self.phase, Phase::Offering { .. })
    }

    /// How the version is known.
    pub fn origin(&self) -> VersionOrigin {
        match self.phase {
            Phase::Fixed(_) => VersionOrigin::Configured,
            Phase::KeyExchange(_) => VersionOrigin::KeyExchange,
            Phase::Offering { .. } | Phase::Accepted { .. } | Phase::Declined { .. } => {
                VersionOrigin::Negotiated
            }
        }
    }

    /// Number of times that version 5 was given up.
    pub fn fallbacks(&self) -> u32 {
        self.fallbacks
    }

    /// Begins a poll: gives up version 5 if too many polls were unanswered, or offers it again.
    pub(super) fn begin_poll(&mut self) {
        self.phase = match self.phase {
            Phase::Accepted { missed } if missed >= MAX_MISSED => {
                self.fallbacks = self.fallbacks.saturating_add(1);
                Phase::Declined {
                    polls_left: RETRY_AFTER,
                }
            }
            Phase::Accepted { missed } => Phase::Accepted { missed: missed + 1 },
            Phase::Declined { polls_left: 0 } => Phase::Offering { refusals: 0 },
            Phase::Declined { polls_left } => Phase::Declined {
                polls_left: polls_left - 1,
            },
            phase => phase,
        };
    }

    /// Processes an authentic reply to a request that carried the marker; `returned` is whether the
    /// reply has it too.
    pub(super) fn record_offer(&mut self, returned: bool) {
        self.phase = match self.phase {
            Phase::Offering { .. } if returned => Phase::Accepted { missed: 0 },
            Phase::Offering { refusals } if refusals + 1 >= MAX_REFUSALS => Phase::Declined {
                polls_left: RETRY_AFTER,
            },
            Phase::Offering { refusals } => Phase::Offering {
                refusals: refusals + 1,
            },
            phase => phase,
        };
    }

    /// Processes an authentic reply of version 5.
    pub(super) fn record_version_5(&mut self) {
        if let Phase::Accepted { missed } = &mut self.phase {
            *missed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls, each answered as `answer` returns: by `None`, or with the marker returned or not. Returns
    /// the versions of the requests.
    fn versions(
        negotiation: &mut Negotiation,
        polls: usize,
        answer: impl Fn(Version) -> Option<bool>,
    ) -> Vec<u8> {
        (0..polls)
            .map(|_| {
                negotiation.begin_poll();
                let version = negotiation.version();
                match answer(version) {
                    Some(returned) if negotiation.offers() => negotiation.record_offer(returned),
                    Some(_) if version == Version::V5 => negotiation.record_version_5(),
                    _ => {}
                }
                version.number()
            })
            .collect()
    }

    #[test]
    fn a_server_that_returns_the_marker_is_polled_in_version_5() {
        let mut negotiation = Negotiation::new(VersionChoice::Auto);
        let used = versions(&mut negotiation, 300, |_| Some(true));
        assert_eq!(used[0], 4);
        assert!(used[1..].iter().all(|version| *version == 5));
        assert_eq!(negotiation.fallbacks(), 0);
    }

    #[test]
    fn the_marker_is_sent_until_eight_replies_lack_it_and_again_after_256_polls() {
        let mut negotiation = Negotiation::new(VersionChoice::Auto);
        assert_eq!(versions(&mut negotiation, 20, |_| None), [4; 20]);
        assert!(negotiation.offers(), "lost replies decide nothing");
        versions(&mut negotiation, 7, |_| Some(false));
        assert!(negotiation.offers());
        versions(&mut negotiation, 1, |_| Some(false));
        assert!(!negotiation.offers());
        versions(&mut negotiation, 256, |_| Some(false));
        assert!(!negotiation.offers());
        // The server was upgraded meanwhile.
        assert_eq!(versions(&mut negotiation, 2, |_| Some(true)), [4, 5]);
    }

    #[test]
    fn two_unanswered_polls_of_version_5_lead_back_to_version_4() {
        let mut negotiation = Negotiation::new(VersionChoice::Auto);
        let dropped = |version| (version == Version::V4).then_some(true);
        let used = versions(&mut negotiation, 6, dropped);
        assert_eq!(used, [4, 5, 5, 4, 4, 4]);
        assert!(!negotiation.offers());
        let later = versions(&mut negotiation, 2 * 260, dropped);
        let lost = later.iter().filter(|version| **version == 5).count();
        assert_eq!(lost, 4, "two polls in 256");
        assert_eq!(negotiation.fallbacks(), 3);
    }

    #[test]
    fn one_lost_reply_is_no_reason_to_fall_back() {
        let mut negotiation = Negotiation::new(VersionChoice::Auto);
        versions(&mut negotiation, 2, |_| Some(true));
        for _ in 0..100 {
            versions(&mut negotiation, 1, |_| None);
            assert_eq!(versions(&mut negotiation, 1, |_| Some(true)), [5]);
        }
    }

    #[test]
    fn a_configured_version_is_never_changed() {
        for version in [Version::V4, Version::V5] {
            let mut negotiation = Negotiation::new(VersionChoice::Fixed(version));
            let used = versions(&mut negotiation, 600, |_| None);
            assert!(used.iter().all(|used| *used == version.number()));
            negotiation.record_offer(true);
            assert!(!negotiation.offers());
            assert_eq!(negotiation.version(), version);
        }
    }
}
