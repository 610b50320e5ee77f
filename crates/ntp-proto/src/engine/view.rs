//! Status of the engine for readers.

use ntp_time::{Frequency, NtpDuration};
use ntp_types::status::{EngineStatus, SourceStatus, SystemStatus};

use super::source::Source;
use super::{Engine, Now};
use crate::discipline::ErrorFigures;

impl Engine {
    /// Returns everything that readers may show, at `now`.
    pub fn status(&self, now: Now) -> EngineStatus {
        EngineStatus {
            system: self.system_status(now),
            sources: (self.sources.in_use.iter())
                .map(|source| self.source_status(now, source))
                .collect(),
            configured: self.sources.status(now.monotonic),
        }
    }

    /// Returns the error figures of the clock, while it is synchronised.
    pub fn accuracy(&self, now: Now) -> Option<ErrorFigures> {
        self.error_figures(now).filter(|_| self.sync.synchronized)
    }

    fn system_status(&self, now: Now) -> SystemStatus {
        let free = self.ledger.free_time(now.system);
        let prediction = self.prediction();
        let prediction = prediction.as_ref();
        let estimate = prediction.map(|prediction| prediction.estimate(now.system));
        let figures = prediction.and_then(|prediction| prediction.error_figures(now.system));
        let offset = prediction.map(|prediction| -prediction.offset(now.system));
        let agreement = self.discipline.agreement(free);
        let local = self.local_reference();
        let synchronized = self.sync.synchronized && local.is_none();
        let (local_stratum, local_id) = local.map_or(
            (
                self.unsynchronized_stratum(),
                self.config.local_reference_id,
            ),
            |(local, _)| (local.stratum, local.reference_id),
        );
        let prior = self.config.frequency_prior;
        SystemStatus {
            synchronized,
            leap: self.leap(),
            stratum: if synchronized {
                self.sync.stratum
            } else {
                local_stratum
            },
            reference_id: if synchronized {
                self.sync.reference_id
            } else {
                local_id
            },
            reference: self.sync.reference.filter(|_| synchronized),
            reference_time: self.sync.reference_time,
            precision: self.config.clock.precision,
            offset: offset.filter(|_| figures.is_some()),
            last_offset: self.updates.last_offset(),
            rms_offset: self.updates.rms_offset(),
            update_interval: self.updates.interval(),
            frequency: estimate.map_or(-self.ledger.frequency(), |estimate| estimate.frequency),
            frequency_uncertainty: estimate.map_or(
                prior.map_or(Frequency::ZERO, |prior| prior.uncertainty),
                |estimate| Frequency::from_ratio(estimate.frequency_sigma),
            ),
            estimated_error: figures.map(|figures| figures.estimated_error),
            error_bound: figures.map(|figures| figures.bound),
            root_delay: figures.map_or(NtpDuration::ZERO, |figures| figures.root_delay),
            root_dispersion: figures.map(|figures| figures.root_dispersion),
            accuracy_target: self.config.discipline.accuracy_target,
            dispersion_rate: self.drift_allowance(now),
            accumulated_steps: self.steering.accumulated(),
            accumulated_steps_limit: self.config.steering.accumulated_panic,
            refused_step: self.refused_step(),
            step_wait: self.steering.step_wait(now.monotonic),
            contradicted_time: self.contradicted_floor(now),
            agreeing: agreement.agreeing as u64,
            candidates: agreement.candidates as u64,
            required: agreement.required as u64,
            majority: agreement.majority,
            smear: self.smear_target(now.system).0,
            tai_offset: self.tai_offset(now),
            leap_list_expires: self.leap_list_expires(),
            local_since: local.map(|(_, since)| since),
            fallback_since: self.fallback.since(),
            manual: self.manual_entries(now),
        }
    }

    fn source_status(&self, now: Now, source: &Source) -> SourceStatus {
        let free = self.ledger.free_time(now.system);
        let estimate = self.discipline.status(source.key, free);
        source.status(now.monotonic, self.sources.config(source), estimate)
    }
}
