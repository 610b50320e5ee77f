//! What the discipline claims: the estimate, its two errors, and how each source stands.
//!
//! # Two errors
//! * The **bound** is a guarantee as long as most sources are right. The correctness interval of each
//!   that is right contains the truth, so the truth is where more than half of all intervals overlap
//!   (`selection`), and the estimate is at most its distance to the far end of that stretch wrong:
//!
//!   ```text
//!   interval = sample +- ( (delay + root delay)/2 + root dispersion + 3 stamp noise )
//!   bound    = max |estimate - stretch| + drift rate * age + residual
//!   ```
//!
//!   One source that lies within the others' intervals, however precise it claims to be, cannot
//!   shrink the stretch below what a majority without it covers. The drift rate is the configured
//!   allowance plus four sigmas of the frequency, since at the start nothing guarantees 15 ppm.
//!
//!   To our own clients we serve the same guarantee: root delay is the round trip to the reference
//!   through the nearest source, and root dispersion what the bound has beyond half of that, but
//!   never less than the estimated error (several sources may guarantee more than the nearest alone
//!   does). Half the root delay plus the root dispersion is never below the bound (RFC 5905 section 11.3).
//! * The **estimated error** is small and statistical: four sigmas of the mixture, carried to the
//!   moment of the question. The truth is inside 99.9 % of the time. What no measurement can show,
//!   the asymmetry of a lone source's path or one that all paths share, is in the bound only. With
//!   several sources the scatter of their biases shows how asymmetric paths are here. A bias b was given the prior variance h^2, as
//!   large as half of the way can be; the prior is too wide by
//!
//!   ```text
//!   s^2 = sum b^2/h^2 / (n - 1)        so what the biases do to the phase is  t s sigma  instead of  4 sigma
//!   ```
//!
//!   with Student's factor t for n - 1 degrees of freedom (the variance of unit weight of a least-squares adjustment). So a short path
//!   is known to be good because longer ones turned out to be not as bad as they might.
//!
//! Both grow between samples and both include the residual, the part of the last correction that is
//! still to be slewed.

use ntp_time::{FreeTime, Frequency, NtpDuration};

use super::bank::Link;
use super::outlook::Outlook;
use super::selection::Agreement;
use super::source::{Carriage, Source, SourceKey, SourceState, SourceStatus, drift_rate};
use super::{Discipline, FrequencyPrior};

/// Sigmas of the estimated error. Three and a third would do for a Gaussian; wander that has just
/// risen needs more.
pub(super) const ERROR_SIGMAS: f64 = 4.0;

/// Student's t for two-sided 99.9 % and 1, 2, 3 ... degrees of freedom.
const STUDENT: [f64; 15] = [
    636.6, 31.60, 12.92, 8.61, 6.87, 5.96, 5.41, 5.04, 4.78, 4.59, 4.44, 4.32, 4.22, 4.14, 4.07,
];

/// The oscillator's frequency is not further off than this many sigmas of what was known of it beforehand.
const YOUTH_SIGMAS: f64 = 4.0;

/// A frequency known worse than this is not worth keeping for the next start.
const PRIOR_WORTH_KEEPING: f64 = 10e-6;

/// The combined estimate at some moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Free-running clock minus true time.
    pub phase: NtpDuration,
    /// The bare oscillator's frequency error: how fast the phase grows.
    pub frequency: Frequency,
    /// Standard deviation of the phase in seconds, asymmetry of paths included as far as it is not
    /// a lone source's.
    pub phase_sigma: f64,
    /// Standard deviation of the phase against the best source, asymmetry excluded: what its next
    /// perfect sample may correct.
    pub link_sigma: f64,
    /// Standard deviation of the frequency, s/s.
    pub frequency_sigma: f64,
    /// Covariance of phase (against the best source) and frequency, seconds.
    pub covariance: f64,
    /// The oscillator's wander, s/s per sqrt(s): root mean square over the hypotheses.
    pub wander: f64,
}

impl Estimate {
    /// By how much the variance of the phase will have grown after `seconds` without a sample.
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

/// What we tell others about our error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Round trip to the reference clock through the best source.
    pub root_delay: NtpDuration,
    /// What the bound has beyond half of that, at least the estimated error.
    pub root_dispersion: NtpDuration,
    /// Guaranteed error of the system clock, as long as most sources are right.
    pub bound: NtpDuration,
    /// Error of the system clock that is exceeded once in a thousand cases.
    pub estimated_error: NtpDuration,
    /// The source nearest to its reference clock.
    pub best: SourceKey,
}

impl Discipline {
    /// What is known from the last sample on; None until a majority has started the clock, or after
    /// the phase was lost.
    pub fn outlook(&self) -> Option<Outlook> {
        if self.phase_lost {
            return None;
        }
        let since = self.running?;
        let moments = self.bank.moments();
        let own = Link {
            variance: moments.phase_variance,
            covariance: moments.covariance,
        };
        Some(Outlook {
            since,
            origin: self.origin,
            moments,
            link: self.best_seat().map_or(own, |slot| self.bank.link(slot)),
            asymmetry_sigmas_squared: self.asymmetry_sigmas_squared(),
            guarantee: self.guarantee,
            drift_allowance: self.config.drift_allowance,
            youth: self.youth(since),
        })
    }

    /// The estimate at `at`; None as for [`Self::outlook`].
    pub fn estimate(&self, at: FreeTime) -> Option<Estimate> {
        Some(self.outlook()?.estimate(at))
    }

    /// The error figures at `at`, see [`Outlook::figures`].
    pub fn report(&self, at: FreeTime, residual: NtpDuration) -> Option<Figures> {
        self.outlook()?.figures(at, residual)
    }

    /// How many sigmas of the biases' prior the estimated error takes, squared: what their scatter shows, at most the usual.
    fn asymmetry_sigmas_squared(&self) -> f64 {
        let usual = ERROR_SIGMAS * ERROR_SIGMAS;
        let seats = self.sources.iter().filter(|source| source.selected);
        let shares = seats.filter_map(|source| {
            let slot = source.slot?;
            let bias = self.bank.mix(|filter| filter.bias(slot));
            Some(bias * bias / source.asymmetry_prior())
        });
        let (count, sum) = shares.fold((0, 0.0), |(count, sum), share| (count + 1, sum + share));
        let Some(freedom) = usize::checked_sub(count, 1).filter(|freedom| *freedom > 0) else {
            return usual;
        };
        let student = STUDENT[freedom.min(STUDENT.len()) - 1];
        (student * student * sum / freedom as f64).min(usual)
    }

    /// Whether a source is part of the majority: for those who need not know more than that, and of many sources.
    pub fn is_selected(&self, key: SourceKey, at: FreeTime) -> bool {
        self.source(key).is_some_and(|source| {
            source.eligible && source.selected && !source.is_stale(at) && self.agreement.majority
        })
    }

    /// How a source stands; None if there is no such source.
    pub fn status(&self, key: SourceKey, at: FreeTime) -> Option<SourceStatus> {
        let source = self.source(key)?;
        let moments = self.bank.moments();
        let carriage = self.carriage(at, moments.frequency_variance.max(0.0).sqrt());
        let interval = source.last.map(|last| last.interval(&carriage));
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
        Some(SourceStatus {
            state: self.state(source, at, interval.map(|interval| interval.half_width)),
            seated: source.slot.is_some(),
            last: source.last.map(|last| last.at),
            offset: offset.unwrap_or(NtpDuration::ZERO),
            uncertainty: interval.map_or(NtpDuration::MAX, |interval| seconds(interval.half_width)),
            base_delay: seconds(source.path.baseline()),
            typical_excess: seconds(source.path.typical()),
            jitter: seconds(jitter),
            bias: seconds(bias.0),
            bias_sigma: seconds(bias.1),
            strikes: source.strikes,
        })
    }

    fn state(&self, source: &Source, at: FreeTime, half_width: Option<f64>) -> SourceState {
        let widest = self.config.maximum_source_uncertainty.as_seconds_f64();
        match half_width {
            _ if !source.eligible => SourceState::Ineligible,
            None => SourceState::NoSamples,
            Some(_) if source.is_stale(at) => SourceState::Stale,
            Some(half_width) if half_width > widest => SourceState::TooUncertain,
            Some(_) if !self.agreement.majority => SourceState::NoMajority,
            Some(_) if source.in_use => SourceState::Selected,
            Some(_) if source.selected => SourceState::Outranked,
            Some(_) => SourceState::Falseticker,
        }
    }

    /// How far the sources agreed at the last sample, less those that have gone stale or were ruled
    /// out since.
    pub fn agreement(&self, at: FreeTime) -> Agreement {
        let present = |source: &&Source| source.eligible && !source.is_stale(at);
        let selected = self.sources.iter().filter(present);
        let selected = selected.filter(|source| source.selected).count();
        let majority = self.agreement.majority && selected >= self.config.minimum_agreeing_sources;
        Agreement {
            // Without a majority nobody is selected, but how near they came is worth telling.
            agreeing: if self.agreement.majority {
                selected
            } else {
                self.agreement.agreeing
            },
            candidates: self
                .agreement
                .candidates
                .min(self.sources.iter().filter(present).count()),
            majority,
        }
    }

    /// Sources that were part of the majority at the last sample.
    pub fn selected_count(&self) -> usize {
        self.sources.iter().filter(|source| source.selected).count()
    }

    /// What is worth knowing at the next start; None while the frequency is hardly known.
    pub fn frequency_prior(&self) -> Option<FrequencyPrior> {
        self.running?;
        let moments = self.bank.moments();
        let uncertainty = moments.frequency_variance.max(0.0).sqrt();
        (uncertainty < PRIOR_WORTH_KEEPING).then_some(FrequencyPrior {
            frequency: Frequency::from_ratio(moments.frequency),
            uncertainty: Frequency::from_ratio(uncertainty),
        })
    }

    /// What the frequency may be wrong by whatever the filters believe. A majority says only that truth is inside a stretch of
    /// some half width; a line through the first stretch and the present one may be wrong by the sum of their half widths over the
    /// time between, and within the first minute subtle liars do make it so. Later this is nothing: 3 ppm after an hour for
    /// 5 ms each.
    fn youth(&self, now: FreeTime) -> f64 {
        let Some((guarantee, began)) = self.guarantee.zip(self.began) else {
            return 0.0;
        };
        let age = (now - began.at).as_seconds_f64().max(1.0);
        let most = YOUTH_SIGMAS * self.prior.uncertainty.as_ratio();
        ((began.half_width + guarantee.sighting.half_width) / age).min(most)
    }

    pub(super) fn carriage(&self, now: FreeTime, frequency_sigma: f64) -> Carriage {
        Carriage {
            now,
            origin: self.origin,
            frequency: self.bank.mix(super::hypothesis::Hypothesis::frequency),
            drift: drift_rate(
                self.config.drift_allowance,
                frequency_sigma,
                self.youth(now),
            ),
        }
    }

    /// The seat whose source the phase is best known against.
    pub(super) fn best_seat(&self) -> Option<usize> {
        self.sources
            .iter()
            .filter_map(|source| source.slot)
            .map(|slot| (slot, self.link_variance(slot)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(slot, _)| slot)
    }
}
