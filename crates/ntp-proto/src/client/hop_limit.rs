//! The distance from which replies come, by their hop limit (the TTL of IPv4).
//!
//! Each router lowers the hop limit by one, so hosts at different distances usually differ in it. A
//! reply without proof that comes from another distance than the proven ones was sent by another host,
//! or by a device on the path.
//!
//! It is evidence for people and decides nothing: the same value proves nothing, because the sender
//! chooses it, and the value of proven replies changes with the route.

use ntp_types::hop_limit::HopLimitDifference;

/// Hop limits of the replies of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HopLimits {
    /// Of the last reply that passed authentication.
    accepted: Option<u8>,
    /// Of the last rejected datagram, unless the route has changed since.
    rejected: Option<u8>,
}

impl HopLimits {
    pub(super) fn accepted(&self) -> Option<u8> {
        self.accepted
    }

    pub(super) fn rejected(&self) -> Option<u8> {
        self.rejected
    }

    /// Both, if they differ.
    pub(super) fn difference(&self) -> Option<HopLimitDifference> {
        let (rejected, authentic) = self.rejected.zip(self.accepted)?;
        (rejected != authentic).then_some(HopLimitDifference {
            rejected,
            authentic,
        })
    }

    /// Records that of a reply that passed authentication. After a change of the route, earlier
    /// datagrams cannot be compared any more.
    pub(super) fn record_accepted(&mut self, hop_limit: Option<u8>) {
        if self.accepted.is_some() && self.accepted != hop_limit {
            self.rejected = None;
        }
        self.accepted = hop_limit;
    }

    /// Records that of a datagram without proof.
    pub(super) fn record_rejected(&mut self, hop_limit: Option<u8>) {
        self.rejected = hop_limit;
    }
}
