//! Reports: the estimate, its two errors, and the status of each source.
//!
//! # Two errors
//! * The **bound** is a guarantee as long as most sources are right. The correctness interval of
//!   each source that is right contains the truth, so the truth lies where more than half of all
//!   intervals overlap (`intersection`), and the error of the estimate is at most its distance to
//!   the far end of that span:
//!
//!   ```text
//!   interval = sample +- ( (delay + root delay)/2 + root dispersion + 3 stamp noise )
//!   bound    = max |estimate - span| + drift rate * age + residual
//!   ```
//!
//!   One source that lies within the others' intervals, however precise it claims to be, cannot
//!   shrink the span below what a majority without it covers. What earlier samples guaranteed still
//!   holds and narrows the span (`guarantee`). The drift rate is the
//!   allowance (`allowance`) plus four standard deviations of the frequency.
//!
//!   Our own clients are served the same guarantee: root delay is the round trip to the reference
//!   clock through the nearest source, and root dispersion is the bound minus half of it, but at
//!   least the estimated error (several sources may guarantee more than the nearest alone does).
//!   Half the root delay plus the root dispersion is never below the bound (RFC 5905 section 11.3).
//! * The **estimated error** is small and statistical: four standard deviations of the mixture,
//!   predicted to the time of the report. The truth is inside 99.9 % of the time. It excludes what
//!   no measurement can show, the asymmetry of a single source's path or one that all paths share;
//!   the bound includes that. With several sources the scatter of their biases shows how asymmetric
//!   the paths are. The prior variance of a bias b is h^2, as large as half of the delay allows; it
//!   is too wide by
//!
//!   ```text
//!   s^2 = sum b^2/h^2 / (n - 1)        so the biases contribute  t s sigma  instead of  4 sigma
//!   ```
//!
//!   with Student's factor t for n - 1 degrees of freedom (the variance of unit weight of a
//!   least-squares adjustment). So a short path is known to be good because longer ones turned out
//!   to be better than their prior.
//!
//! Both grow between samples, and both include the residual: the part of the last correction that
//! is still to be slewed.

use ntp_time::{FreeTime, Frequency, NtpDuration};

use super::SourceState;
use super::bank::Link;
use super::confidence::{CLAIM, student};
use super::intersection::Agreement;
use super::prediction::Prediction;
use super::source::{Propagation, Source, SourceEstimate, SourceKey, drift_rate};
use super::{Discipline, FrequencyPrior};

/// Largest frequency uncertainty that is saved for the next start: 10 ppm. A frequency that is
/// known worse is hardly better than the prior of an unknown oscillator.
const MAX_PRIOR_UNCERTAINTY: f64 = 10e-6;

/// Combined estimate at some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Free-running clock minus true time.
    pub phase: NtpDuration,
    /// Frequency error of the bare oscillator: how fast the phase grows.
    pub frequency: Frequency,
    /// Standard deviation of the phase in seconds. It includes path asymmetry, except that of a
    /// single source.
    pub phase_sigma: f64,
    /// Standard deviation of the phase relative to the best source in seconds, asymmetry excluded:
    /// what its next perfect sample may correct.
    pub link_sigma: f64,
    /// Standard deviation of the frequency, s/s.
    pub frequency_sigma: f64,
    /// Covariance of phase (against the best source) and frequency, seconds.
    pub covariance: f64,
    /// Wander of the oscillator, s/s per sqrt(s): geometric mean over the hypotheses.
    pub wander: f64,
}

impl Estimate {
    /// Growth of the phase's variance over the next `seconds` without a sample.
    pub fn growth(&self, seconds: f64) -> f64 {
        let frequency = self.frequency_sigma * self.frequency_sigma;
        let wander = self.wander * self.wander;
        (2.0 * self.covariance + (frequency + wander * seconds / 3.0) * seconds) * seconds
    }

    /// Mean variance of the phase over the next `seconds` without a sample.
    pub fn mean_variance(&self, seconds: f64) -> f64 {
        let frequency = self.frequency_sigma * self.frequency_sigma;
        let wander = self.wander * self.wander;
        self.link_sigma * self.link_sigma
            + (self.covariance + (frequency / 3.0 + wander * seconds / 12.0) * seconds) * seconds
    }
}

/// Error figures that are reported to others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorFigures {
    /// Round trip to the reference clock through the best source.
    pub root_delay: NtpDuration,
    /// The bound minus half of the root delay, at least the estimated error.
    pub root_dispersion: NtpDuration,
    /// Guaranteed error of the system clock, as long as most sources are right.
    pub bound: NtpDuration,
    /// Error of the system clock that is exceeded in one of a thousand cases.
    pub estimated_error: NtpDuration,
    /// The source nearest to its reference clock.
    pub best: SourceKey,
}

/// Time after the start for which the estimated frequency is compared with what the majority
/// permits, seconds. Later the mean since the start is no measure of the present frequency.
const STARTUP: f64 = 600.0;

impl Discipline {
    /// Prediction from the last sample on. Returns `None` until a majority has started the filters,
    /// and after the phase was forgotten. It is computed once after each change.
    pub fn prediction(&self) -> Option<Prediction> {
        *self.prediction.get_or_init(|| self.compute_prediction())
    }

    fn compute_prediction(&self) -> Option<Prediction> {
        if self.phase_lost {
            return None;
        }
        let since = self.filter_time?;
        let moments = *self.bank.moments();
        let allowance = self.drift_allowance(since);
        let own = Link {
            variance: moments.phase_variance,
            covariance: moments.covariance,
        };
        Some(Prediction {
            since,
            origin: self.origin,
            moments,
            link: self.best_slot().map_or(own, |slot| self.bank.link(slot)),
            asymmetry_squared: self.asymmetry_sigmas_squared() * self.centre_variance(since),
            guarantee: self.guarantee,
            drift_allowance: allowance,
            slack: self.config.drift_allowance.slack(allowance.as_ratio()),
            startup_drift: self.startup_drift(since),
        })
    }

    /// Estimate at `at`. Returns `None` as [`Self::prediction`] does.
    pub fn estimate(&self, at: FreeTime) -> Option<Estimate> {
        Some(self.prediction()?.estimate(at))
    }

    /// Error figures at `at`, see [`Prediction::error_figures`].
    pub fn error_figures(&self, at: FreeTime, residual: NtpDuration) -> Option<ErrorFigures> {
        self.prediction()?.error_figures(at, residual)
    }

    /// Square of the number of standard deviations of the biases' prior in the estimated error:
    /// what the scatter of the biases shows, at most [`CLAIM`].
    fn asymmetry_sigmas_squared(&self) -> f64 {
        let usual = CLAIM * CLAIM;
        let selected = self.sources.iter().filter(|source| source.selected);
        let shares = selected.filter_map(|source| {
            let slot = source.slot?;
            let bias = self.bank.mix(|filter| filter.bias(slot));
            Some(bias * bias / source.asymmetry_prior())
        });
        let (count, sum) = shares.fold((0, 0.0), |(count, sum), share| (count + 1, sum + share));
        let Some(freedom) = usize::checked_sub(count, 1).filter(|freedom| *freedom > 0) else {
            return usual;
        };
        let student = student(freedom);
        (student * student * sum / freedom as f64).min(usual)
    }

    /// Whether a source is part of the majority at `at`. Cheaper than [`Self::status`].
    pub fn is_selected(&self, key: SourceKey, at: FreeTime) -> bool {
        self.source(key).is_some_and(|source| {
            source.eligible && source.selected && !source.is_stale(at) && self.agreement.majority
        })
    }

    /// Status of a source at `at`. Returns `None` if there is no such source.
    pub fn status(&self, key: SourceKey, at: FreeTime) -> Option<SourceEstimate> {
        let source = self.source(key)?;
        let moments = self.bank.moments();
        let propagation = self.propagation(at, moments.frequency_variance.max(0.0).sqrt());
        let interval = source.last.map(|last| last.propagate(&propagation));
        let offset = self.estimate(at).zip(interval).map(|(estimate, interval)| {
            estimate.phase - self.origin - NtpDuration::from_seconds_f64(interval.centre)
        });
        let bias = source.slot.map_or((0.0, 0.0), |slot| {
            let mean = self.bank.mix(|filter| filter.bias(slot));
            let variance = self
                .bank
                .mix(|filter| filter.bias_variance(slot) + (filter.bias(slot) - mean).powi(2));
            (mean, variance.max(0.0).sqrt())
        });
        let jitter = if source.information > 0.0 {
            source.information.recip().sqrt()
        } else {
            0.0
        };
        let seconds = NtpDuration::from_seconds_f64;
        Some(SourceEstimate {
            state: self.state(source, at, interval.map(|interval| interval.half_width)),
            in_joint_estimate: source.slot.is_some(),
            last: source.last.map(|last| last.at),
            offset: offset.unwrap_or(NtpDuration::ZERO),
            uncertainty: interval.map_or(NtpDuration::MAX, |interval| seconds(interval.half_width)),
            base_delay: seconds(source.path.baseline()),
            typical_excess: seconds(source.path.typical()),
            jitter: seconds(jitter),
            bias: seconds(bias.0),
            bias_sigma: seconds(bias.1),
            consecutive_outliers: source.consecutive_outliers,
            weight: self.weight(source),
            trend: source.points.trend(),
        })
    }

    /// Share of a source in the information of the joint estimate.
    fn weight(&self, source: &Source) -> f64 {
        let members = self.sources.iter().filter(|source| source.slot.is_some());
        let total: f64 = members.map(|source| source.information).sum();
        if source.slot.is_none() || total <= 0.0 {
            return 0.0;
        }
        source.information / total
    }

    fn state(&self, source: &Source, at: FreeTime, half_width: Option<f64>) -> SourceState {
        let widest = self.config.maximum_source_uncertainty.as_seconds_f64();
        match half_width {
            _ if !source.eligible => SourceState::Unusable,
            None => SourceState::NoSamples,
            Some(_) if source.is_stale(at) => SourceState::Stale,
            Some(half_width) if half_width > widest => SourceState::TooUncertain,
            Some(_) if !self.agreement.majority => SourceState::NoMajority,
            Some(_) if source.in_use => SourceState::Selected,
            Some(_) if source.selected => SourceState::Outranked,
            Some(_) => SourceState::Falseticker,
        }
    }

    /// Agreement of the sources at the last sample, without those that are stale or no longer
    /// eligible at `at`.
    pub fn agreement(&self, at: FreeTime) -> Agreement {
        let present = |source: &&Source| source.eligible && !source.is_stale(at);
        let selected = self.sources.iter().filter(present);
        let selected = selected.filter(|source| source.selected).count();
        let minimum = self.minimum_agreeing(false);
        let majority = self.agreement.majority && selected >= minimum;
        Agreement {
            // Without a majority no source is selected; report how many agreed.
            agreeing: if self.agreement.majority {
                selected
            } else {
                self.agreement.agreeing
            },
            candidates: self
                .agreement
                .candidates
                .min(self.sources.iter().filter(present).count()),
            required: self.agreement.required.max(minimum),
            majority,
        }
    }

    /// Number of sources that were part of the majority at the last sample.
    pub fn selected_count(&self) -> usize {
        self.sources.iter().filter(|source| source.selected).count()
    }

    /// Prior for the next start. Returns `None` while the frequency is too uncertain.
    pub fn frequency_prior(&self) -> Option<FrequencyPrior> {
        self.filter_time?;
        let moments = self.bank.moments();
        let uncertainty = moments.frequency_variance.max(0.0).sqrt();
        (uncertainty < MAX_PRIOR_UNCERTAINTY).then_some(FrequencyPrior {
            frequency: Frequency::from_ratio(moments.frequency),
            uncertainty: Frequency::from_ratio(uncertainty),
        })
    }

    /// Frequency error that is possible whatever the filters believe, s/s. A majority shows only
    /// that the truth is inside a span of some half-width; a line through the first span and the
    /// present one may be wrong by the sum of their half-widths over the time between, and within
    /// the first minute subtle liars can cause that. Later it is negligible: 3 ppm after an hour
    /// for 5 ms each. A precise source that drifts takes the estimate to a frequency which no such
    /// line has: the widening then reaches from the estimate to the farthest line.
    fn startup_drift(&self, now: FreeTime) -> f64 {
        let Some((guarantee, start)) = self.guarantee.zip(self.start_interval) else {
            return 0.0;
        };
        let age = (now - start.at).as_seconds_f64().max(1.0);
        // The oscillator's frequency is not further off than its prior allows.
        let most = CLAIM * self.prior.uncertainty.as_ratio();
        let permitted = (start.half_width + guarantee.interval.half_width) / age;
        let moved = (guarantee.interval.phase - start.phase).as_seconds_f64();
        let apart = (self.bank.moments().frequency - moved / age).abs();
        let is_outside = age < STARTUP && apart > permitted;
        (permitted + if is_outside { apart } else { 0.0 }).min(most)
    }

    /// How to propagate correctness intervals to `now`.
    pub(super) fn propagation(&self, now: FreeTime, frequency_sigma: f64) -> Propagation {
        let allowance = self.drift_allowance(now);
        Propagation {
            now,
            origin: self.origin,
            frequency: self.bank.moments().frequency,
            drift: drift_rate(allowance, frequency_sigma, self.startup_drift(now)),
            slack: self.config.drift_allowance.slack(allowance.as_ratio()),
        }
    }

    /// Slot of the source relative to which the phase is known best.
    pub(super) fn best_slot(&self) -> Option<usize> {
        self.sources
            .iter()
            .filter_map(|source| source.slot)
            .map(|slot| (slot, self.link_variance(slot)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(slot, _)| slot)
    }
}
