//! Status of the engine for readers.

use ntp_time::{Frequency, NtpDuration, Stratum};
use ntp_types::status::{EngineStatus, PathStatus, SourceStatus, SystemStatus};

use super::source_set::Member;
use super::{Engine, Now};
use crate::client::Authentication;
use crate::discipline::{self, SourceState};

impl Engine {
    /// Returns everything that readers may show, at `now`.
    pub fn status(&self, now: Now) -> EngineStatus {
        EngineStatus {
            system: self.system_status(now),
            sources: (self.sources.members.iter())
                .map(|member| self.source_status(now, member))
                .collect(),
            configured: self.sources.status(now.monotonic),
        }
    }

    fn system_status(&self, now: Now) -> SystemStatus {
        let free = self.ledger.free_time(now.system);
        let prediction = self.prediction();
        let prediction = prediction.as_ref();
        let estimate = prediction.map(|prediction| prediction.estimate(now.system));
        let figures = prediction.and_then(|prediction| prediction.error_figures(now.system));
        let offset = prediction.map(|prediction| -prediction.offset(now.system));
        let agreement = self.discipline.agreement(free);
        let synchronized = self.sync.synchronized;
        let (local_stratum, local_id) = (
            self.config.local_stratum.min(Stratum::UNSYNCHRONIZED),
            self.config.local_reference_id,
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
            frequency: estimate.map_or(-self.ledger.frequency(), |estimate| estimate.frequency),
            frequency_uncertainty: estimate.map_or(
                prior.map_or(Frequency::ZERO, |prior| prior.uncertainty),
                |estimate| Frequency::from_ratio(estimate.frequency_sigma),
            ),
            estimated_error: figures.map(|figures| figures.estimated_error),
            error_bound: figures.map(|figures| figures.bound),
            root_delay: figures.map_or(NtpDuration::ZERO, |figures| figures.root_delay),
            root_dispersion: figures.map(|figures| figures.root_dispersion),
            dispersion_rate: self.config.discipline.drift_allowance,
            accumulated_steps: self.steering.accumulated(),
            accumulated_steps_limit: self.config.steering.accumulated_panic,
            agreeing: agreement.agreeing as u64,
            candidates: agreement.candidates as u64,
            required: self.config.discipline.minimum_agreeing_sources as u64,
            majority: agreement.majority,
            smear: self.smear_target(now.system).0,
            tai_offset: self.tai_offset(now),
            leap_list_expires: self.leap_list_expires(),
        }
    }

    fn source_status(&self, now: Now, member: &Member) -> SourceStatus {
        let association = &member.association;
        let config = self.sources.config(member);
        let estimate = self
            .discipline
            .status(member.key, self.ledger.free_time(now.system));
        let state = estimate.map_or(SourceState::NoSamples, |estimate| estimate.state);
        let reach = association.reach();
        let limits = association.schedule().limits();
        let authentication = association.protection().authentication();
        SourceStatus {
            id: member.id,
            name: config.name.clone(),
            address: association.remote().into(),
            state: if reach.is_dead() {
                SourceState::Unreachable
            } else {
                state
            },
            online: self.sources.is_online(member.configured),
            authentication: authentication.to_string(),
            interleaved: association.is_interleaved(),
            options: config.selection,
            poll: association.schedule().poll(),
            poll_min: limits.min,
            poll_max: limits.max,
            next_poll: self.next_poll(member).map(|at| at - now.monotonic),
            reach: reach.bits(),
            unanswered: reach.unanswered(),
            last_error: member.last_error.map(|error| error.to_string()),
            measurement: member.measured,
            path: estimate
                .filter(|estimate| estimate.last.is_some() && member.measured.is_some())
                .map(path_status),
            packets: association.counters(),
            nts_cookies: match authentication {
                Authentication::Nts { cookies, .. } => Some(cookies as u64),
                Authentication::None | Authentication::Symmetric { .. } => None,
            },
            certificate_expires: None,
        }
    }
}

fn path_status(estimate: discipline::SourceEstimate) -> PathStatus {
    PathStatus {
        base_delay: estimate.base_delay,
        typical_excess: estimate.typical_excess,
        jitter: estimate.jitter,
        bias: estimate.bias,
        bias_uncertainty: estimate.bias_sigma,
        residual: estimate.offset,
        combined: estimate.in_joint_estimate,
        consecutive_outliers: estimate.consecutive_outliers,
    }
}
