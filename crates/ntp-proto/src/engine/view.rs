//! Builds snapshots of the engine's state.

use ntp_time::{Frequency, NtpDuration, Stratum};

use crate::discipline::SourceState;

use super::{Engine, Now, Snapshot, SourceSnapshot, SystemSnapshot};

/// Error reported while nothing is known: MAXDISP of RFC 5905 section 7.2.
const UNKNOWN_ERROR: NtpDuration = NtpDuration::from_seconds(16);

impl Engine {
    /// Returns the state of the engine at `now`.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        Snapshot {
            now,
            system: self.system_snapshot(now),
            sources: self.source_snapshots(now),
            configured: self.sources.snapshots(now.monotonic),
        }
    }

    fn system_snapshot(&self, now: Now) -> SystemSnapshot {
        let free = self.ledger.free(now.system);
        let prediction = self.prediction();
        let prediction = prediction.as_ref();
        let estimate = prediction.map(|prediction| prediction.estimate(now.system));
        let figures = prediction.and_then(|prediction| prediction.error_figures(now.system));
        let agreement = self.discipline.agreement(free);
        let synchronized = self.sync.synchronized;
        SystemSnapshot {
            synchronized,
            leap: self.leap(),
            smear: self.smear_target(now.system).0,
            tai_offset: self.tai_offset(now),
            leap_list_expires: self.leap_list_expires(),
            stratum: if synchronized {
                self.sync.stratum
            } else {
                self.config.local_stratum.min(Stratum::UNSYNCHRONIZED)
            },
            reference_id: if synchronized {
                self.sync.reference_id
            } else {
                self.config.local_reference_id
            },
            reference_time: self.sync.reference_time,
            precision: self.config.clock.precision,
            offset: prediction.map_or(NtpDuration::ZERO, |prediction| {
                prediction.offset(now.system)
            }),
            frequency: estimate.map_or(-self.ledger.frequency(), |estimate| estimate.frequency),
            frequency_uncertainty: estimate.map_or(
                self.config
                    .frequency_prior
                    .map_or(Frequency::ZERO, |prior| prior.uncertainty),
                |estimate| Frequency::from_ratio(estimate.frequency_sigma),
            ),
            estimated_error: figures.map_or(UNKNOWN_ERROR, |figures| figures.estimated_error),
            bound: figures.map_or(UNKNOWN_ERROR, |figures| figures.bound),
            root_delay: figures.map_or(NtpDuration::ZERO, |figures| figures.root_delay),
            root_dispersion: figures.map_or(UNKNOWN_ERROR, |figures| figures.root_dispersion),
            dispersion_rate: self.config.discipline.drift_allowance,
            accumulated_steps: self.steering.accumulated(),
            accumulated_steps_threshold: self.config.steering.accumulated_panic,
            agreeing: agreement.agreeing,
            candidates: agreement.candidates,
            majority: agreement.majority,
        }
    }

    fn source_snapshots(&self, now: Now) -> Vec<SourceSnapshot> {
        let free = self.ledger.free(now.system);
        self.sources
            .members
            .iter()
            .map(|member| {
                let status = self.discipline.status(member.key, free);
                SourceSnapshot {
                    id: member.id,
                    name: self.sources.config(member).name.clone(),
                    address: member.association.remote(),
                    authentication: member.association.protection().authentication(),
                    interleaved: member.association.is_interleaved(),
                    state: status.map_or(SourceState::NoSamples, |status| status.state),
                    measured: member.measured,
                    poll: member.association.schedule().poll(),
                    limits: member.association.schedule().limits(),
                    online: self.sources.is_online(member.configured),
                    next_poll: self.next_poll(member),
                    selection: self.sources.config(member).selection,
                    status,
                    last_error: member.last_error,
                    reach: member.association.reach(),
                    counters: member.association.counters(),
                }
            })
            .collect()
    }
}
