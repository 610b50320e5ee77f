//! What readers see: the engine's state at one moment, as plain data.

use ntp_time::{Frequency, NtpDuration, Stratum};

use crate::discipline::SourceState;

use super::{Engine, Now, Snapshot, SourceSnapshot, SystemSnapshot};

/// What is said of an error that nothing is known about: the largest that NTP can express (RFC 5905, MAXDISP).
const UNKNOWN: NtpDuration = NtpDuration::from_seconds(16);

impl Engine {
    /// Everything that any reader may show, as of `now`.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        Snapshot {
            now,
            system: self.system_snapshot(now),
            sources: self.source_snapshots(now),
            configured: self.sources.overview(now.monotonic),
        }
    }

    fn system_snapshot(&self, now: Now) -> SystemSnapshot {
        let free = self.ledger.free(now.system);
        let outlook = self.outlook();
        let outlook = outlook.as_ref();
        let estimate = outlook.map(|outlook| outlook.estimate(now.system));
        let figures = outlook.and_then(|outlook| outlook.figures(now.system));
        let agreement = self.discipline.agreement(free);
        let synchronized = self.sync.synchronized;
        SystemSnapshot {
            synchronized,
            leap: self.leap(),
            smear: self.aim(now.system).0,
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
            offset: outlook.map_or(NtpDuration::ZERO, |outlook| outlook.gap(now.system)),
            frequency: estimate.map_or(-self.ledger.frequency(), |estimate| estimate.frequency),
            frequency_uncertainty: estimate.map_or(
                self.config
                    .frequency_prior
                    .map_or(Frequency::ZERO, |prior| prior.uncertainty),
                |estimate| Frequency::from_ratio(estimate.frequency_sigma),
            ),
            estimated_error: figures.map_or(UNKNOWN, |figures| figures.estimated_error),
            bound: figures.map_or(UNKNOWN, |figures| figures.bound),
            root_delay: figures.map_or(NtpDuration::ZERO, |figures| figures.root_delay),
            root_dispersion: figures.map_or(UNKNOWN, |figures| figures.root_dispersion),
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
                    next_poll: self.sources.next_poll(member),
                    opinion: self.sources.config(member).opinion,
                    learnt: status,
                    trouble: member.trouble,
                    reach: member.association.reach(),
                    counters: member.association.counters(),
                }
            })
            .collect()
    }
}
