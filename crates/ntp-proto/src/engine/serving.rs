//! Header fields of the replies of our own server.
//!
//! While the clock is synchronised, a [`Claim`] holds the current root delay and a root dispersion
//! that grows with time, because the time of the next claim is not known. It contains the error
//! bound at which it expires.
//!
//! While a leap second is smeared, the server sends smeared time, as the operator configured: no
//! leap second is announced, the error estimates are relative to smeared time, and the reference ID
//! is 127.127.1.255.
//!
//! While no source is available, the local reference of `[local]` applies, if it is configured
//! (`local`). Otherwise, while the clock is not synchronised, `local-stratum` and `reference-id` apply, as in upstream:
//!
//! | `local-stratum` | leap | stratum | reference ID |
//! |---|---|---|---|
//! | 1 | none: clients may follow | 1 | the configured one |
//! | 2 to 15 | unsynchronised | as configured | `XNON` |
//! | 16 and above | unsynchronised | 16 | `XNON` |
//!
//! A server with local stratum 1 is a reference by configuration. It has nothing to compare itself
//! with, so no meaningful dispersion exists, and it sends zero.

use ntp_time::{
    LeapIndicator, NtpShort, NtpTimestamp, ReferenceId, Stratum, SystemTime, Timescale,
};

use std::net::IpAddr;
use std::sync::Arc;

use super::source::Source;
use super::steer::SYNCHRONIZED_BOUND;
use super::{Engine, Now, SourceId};
use crate::discipline::SourceState;
use crate::reference_ids::{BloomFilter, ServerId};
use crate::server::{Claim, LocalMode, RootDispersion};

impl Engine {
    /// Returns the reference IDs that the server sends. The pointer changes with the contents.
    pub fn reference_ids(&self) -> Option<Arc<BloomFilter>> {
        self.reference_ids.clone()
    }

    /// Our address in the exchanges with a source, as passed by [`Input::LocalAddress`].
    ///
    /// [`Input::LocalAddress`]: super::Input::LocalAddress
    pub fn local_address(&self, source: SourceId) -> Option<IpAddr> {
        self.sources.in_use[self.sources.position(source)?].local_address
    }

    pub(super) fn set_local_address(&mut self, source: SourceId, address: IpAddr) {
        if let Some(position) = self.sources.position(source) {
            self.sources.in_use[position].local_address = Some(address);
        }
    }

    pub(super) fn set_server_id(&mut self, id: Option<ServerId>) {
        self.server_id = id;
        for ntp in self.sources.in_use.iter_mut().filter_map(Source::ntp_mut) {
            ntp.association.set_server_id(id);
        }
    }

    /// Collects the reference IDs again: our own, and those behind the selected sources. A source
    /// without reference IDs has that of its address, or of its kind of clock.
    pub(super) fn refresh_reference_ids(&mut self, now: Now) {
        let Some(own) = self.server_id else {
            self.reference_ids = None;
            return;
        };
        let mut all = BloomFilter::EMPTY;
        all.insert(own);
        let free = self.ledger.free_time(now.system);
        for source in &self.sources.in_use {
            let status = self.discipline.status(source.key, free);
            if status.is_none_or(|status| status.state != SourceState::Selected) {
                continue;
            }
            let known = source.ntp().and_then(|ntp| ntp.association.reference_ids());
            match (known, source.remote()) {
                (Some(known), _) => all.union(known),
                (None, Some(remote)) => all.insert(ServerId::of_address(remote.ip())),
                (None, None) => all.insert(ServerId::of_reference_clock(source.reference_id())),
            }
        }
        if self.reference_ids.as_deref() != Some(&all) {
            self.reference_ids = Some(Arc::new(all));
        }
    }

    /// Stratum that is served while neither a source nor the local reference is followed. A clock
    /// that a panic threshold keeps wrong is no reference.
    pub(super) fn unsynchronized_stratum(&self) -> Stratum {
        if self.refusal.is_some() {
            return Stratum::UNSYNCHRONIZED;
        }
        self.config.local_stratum.min(Stratum::UNSYNCHRONIZED)
    }

    /// Returns the header fields that the server sends from `now` on.
    pub fn claim(&self, now: Now) -> Claim {
        let local = local(
            self.unsynchronized_stratum(),
            self.config.local_reference_id,
        );
        let precision = self.config.clock.precision;
        let epoch = self.clock_epoch;
        let timescale = self.served_timescale();
        let base = Claim {
            epoch,
            timescale,
            tai_offset: self.tai_offset(now).filter(|_| timescale == Timescale::Utc),
            leap_ahead: self.leap_within_a_fortnight(now.system),
            phase_free: self.phase_free(),
            ..Claim::local(local, precision)
        };
        if let Some(claim) = self.local_claim(now, base) {
            return claim;
        }
        let Some(figures) = self.served_figures(now).filter(|_| self.sync.synchronized) else {
            return base;
        };
        Claim {
            leap: self.sync.leap,
            stratum: self.sync.stratum,
            root_delay: figures.root_delay,
            root_dispersion: RootDispersion {
                value: figures.root_dispersion,
                at: now.system,
                growth: self.drift_allowance(now),
            },
            reference_id: if self.is_smearing(now.system) {
                ReferenceId::SMEARED
            } else {
                self.sync.reference_id
            },
            reference_timestamp: self
                .sync
                .reference_time
                .map_or(NtpTimestamp::ZERO, SystemTime::to_ntp),
            limit: SYNCHRONIZED_BOUND,
            ..base
        }
    }
}

fn local(stratum: Stratum, reference_id: ReferenceId) -> LocalMode {
    if stratum == Stratum::PRIMARY {
        return LocalMode {
            leap: LeapIndicator::None,
            stratum,
            reference_id,
            root_dispersion: NtpShort::ZERO,
        };
    }
    LocalMode {
        stratum: stratum.min(Stratum::UNSYNCHRONIZED),
        ..LocalMode::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_stratum_1_serves_time_without_sources() {
        let name = ReferenceId::new(*b"ATOM");
        let primary = local(Stratum::new(1), name);
        assert_eq!(
            (primary.leap, primary.stratum, primary.reference_id),
            (LeapIndicator::None, Stratum::new(1), name)
        );
        for (configured, sent) in [(2, 2), (15, 15), (16, 16), (200, 16)] {
            let other = local(Stratum::new(configured), name);
            assert_eq!(other.leap, LeapIndicator::Unsynchronized);
            assert_eq!(other.stratum, Stratum::new(sent));
            assert_eq!(other.reference_id, ReferenceId::XNON);
        }
    }
}
