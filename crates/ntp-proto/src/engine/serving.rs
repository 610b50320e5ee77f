//! What our own server may say about the time.
//!
//! While the clock follows its sources, a [`Claim`] is the error budget of the moment: root delay, and a root dispersion that
//! grows from now on, since nobody knows when the next claim will be made. It carries the limit at which it ends by itself.
//!
//! While a leap second is smeared, what is served is smeared time, by the operator's choice: no leap second is announced, the error
//! figures are those against smeared time, and the reference ID says 127.127.1.255.
//!
//! Without sources, or with none to agree with, `local-stratum` and `reference-id` decide, with upstream's meaning:
//!
//! | `local-stratum` | leap | stratum | reference ID |
//! |---|---|---|---|
//! | 1 | none: clients may follow | 1 | the configured one |
//! | 2 to 15 | unsynchronised | as configured | `XNON` |
//! | 16 and above | unsynchronised | 16 | `XNON` |
//!
//! A server of local stratum 1 is a reference by decree: it has nothing to compare itself with, so there is no dispersion that it could
//! truthfully name, and it names none.

use ntp_time::{LeapIndicator, NtpShort, NtpTimestamp, ReferenceId, Stratum, SystemTime};

use super::leap::SMEARED;
use super::steer::SYNCHRONIZED_BOUND;
use super::{Engine, Now};
use crate::server::{Claim, Local, RootDispersion};

impl Engine {
    /// What may be said about the time from now on.
    pub fn claim(&self, now: Now) -> Claim {
        let local = local(self.config.local_stratum, self.config.local_reference_id);
        let precision = self.config.clock.precision;
        let epoch = self.clock_epoch;
        let Some(figures) = self.served_figures(now).filter(|_| self.sync.synchronized) else {
            return Claim {
                epoch,
                ..Claim::local(local, precision)
            };
        };
        Claim {
            leap: self.sync.leap,
            stratum: self.sync.stratum,
            precision,
            root_delay: NtpShort::from_duration_ceil(figures.root_delay),
            root_dispersion: RootDispersion {
                value: figures.root_dispersion,
                at: now.system,
                growth: self.config.discipline.drift_allowance,
            },
            reference_id: if self.is_smearing(now.system) {
                SMEARED
            } else {
                self.sync.reference_id
            },
            reference_timestamp: self
                .sync
                .reference_time
                .map_or(NtpTimestamp::ZERO, SystemTime::to_ntp),
            limit: SYNCHRONIZED_BOUND,
            local,
            epoch,
        }
    }
}

fn local(stratum: Stratum, reference_id: ReferenceId) -> Local {
    if stratum == Stratum::PRIMARY {
        return Local {
            leap: LeapIndicator::None,
            stratum,
            reference_id,
            root_dispersion: NtpShort::ZERO,
        };
    }
    Local {
        stratum: stratum.min(Stratum::UNSYNCHRONIZED),
        ..Local::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reference_by_decree_offers_time_without_sources() {
        let name = ReferenceId::new(*b"ATOM");
        let primary = local(Stratum::new(1), name);
        assert_eq!(
            (primary.leap, primary.stratum, primary.reference_id),
            (LeapIndicator::None, Stratum::new(1), name)
        );
        for (configured, said) in [(2, 2), (15, 15), (16, 16), (200, 16)] {
            let other = local(Stratum::new(configured), name);
            assert_eq!(other.leap, LeapIndicator::Unsynchronized);
            assert_eq!(other.stratum, Stratum::new(said));
            assert_eq!(other.reference_id, ReferenceId::XNON);
        }
    }
}
