//! Effect of one sample on the joint state: it is used, dropped, or changes the model.
//!
//! `gate` has the rules; this module applies them. Each kind of error has its own remedy:
//!
//! * the path changed its length: its bias is *redrawn*, uncertain by what the change can hide;
//! * the second consecutive outlier: the phase of the clock, or the bias of the server, is *reset*
//!   and set from the sample. For the clock, the frequency also becomes uncertain by what would
//!   explain the deviation;
//! * a drift: the component that caused it becomes uncertain by what has built up, and the sample
//!   is used as usual.

use super::allowance::DriftRecord;
use super::bank::Innovation;
use super::confidence::OUTLIER;
use super::gate::{
    Drift, DriftTest, Evidence, MAX_FREQUENCY_JUMP, OUTLIERS_TO_ACT, Remedy, SAMPLES_BEFORE_GATE,
};
use super::hypothesis::{Hypothesis, ObservationIndex};
use super::noise::Noise;
use super::pairs::PRIOR_FLOOR;
use super::{Cause, Discipline, FrequencyPrior, Measurement, MeasurementOutcome, NoiseLaw};

/// A sample of a source in the joint state.
pub(super) struct Sample<'a> {
    /// Index of the source.
    pub(super) index: usize,
    pub(super) observation: ObservationIndex,
    pub(super) measurement: &'a Measurement,
    /// Its phase relative to the origin, seconds.
    pub(super) y: f64,
    pub(super) noise: &'a Noise,
}

impl Discipline {
    /// Makes the bias in `slot` uncertain if the path changed its length: its asymmetry may have
    /// changed with it.
    pub(super) fn apply_route_change(&mut self, index: usize, slot: usize, shift: Option<f64>) {
        let Some(shift) = shift else { return };
        let cap = self.sources[index].asymmetry_cap();
        let squared = self
            .bank
            .mix(|filter| filter.bias(slot).powi(2) + filter.bias_variance(slot));
        self.forget_distances(index);
        if squared > cap {
            // An asymmetry is half of the difference of the two directions, uniform within it.
            self.redraw(slot, shift * shift / 12.0, cap);
        }
    }

    /// Forgets how far the source at `index` is from the others.
    fn forget_distances(&mut self, index: usize) {
        let source = &self.sources[index];
        let prior = |key| match self.sources.iter().find(|other| other.key == key) {
            Some(other) => source.distance_prior(other),
            None => PRIOR_FLOOR,
        };
        self.pairs.forget_distances(source.key, prior);
    }

    fn redraw(&mut self, slot: usize, extra: f64, cap: f64) {
        self.bank
            .for_each(|filter| filter.redraw_bias(slot, extra, cap));
    }

    /// Applies the gate: uses the sample, drops it, or changes the model.
    pub(super) fn apply_gate(&mut self, sample: &Sample<'_>) -> MeasurementOutcome {
        let deviation = self.deviation(sample);
        let outlier = self.samples > SAMPLES_BEFORE_GATE && deviation.is_outlier();
        if !outlier && self.is_plausible(deviation.mean, sample.measurement) {
            return self.accept(sample, deviation);
        }
        self.consecutive_outliers = self.consecutive_outliers.saturating_add(1);
        let source = &mut self.sources[sample.index];
        source.consecutive_outliers = source.consecutive_outliers.saturating_add(1);
        source.samples_since_poll_change = 0;
        let consecutive = source.consecutive_outliers;
        // Outliers of several sources count together if most of all sources have one.
        let majority_outside = self.consecutive_outliers >= OUTLIERS_TO_ACT
            && 2 * self.outlier_sources() > self.slots_used;
        if consecutive < OUTLIERS_TO_ACT && !majority_outside {
            return MeasurementOutcome::Outlier { consecutive };
        }
        self.change_model(sample, deviation.mean)
    }

    /// Whether delays and oscillator can explain the deviation since the start: the first sample
    /// and this one are each wrong by at most half of their delay. Soon after the start a larger
    /// jump would be learnt as a frequency that no oscillator has, or as the noise of the few
    /// samples so far.
    fn is_plausible(&self, deviation: f64, measurement: &Measurement) -> bool {
        let Some(start) = self.start_interval else {
            return true;
        };
        let age = (measurement.at - start.at).as_seconds_f64().abs();
        let drift = OUTLIER * self.prior.uncertainty.as_ratio() * age;
        let half_width = measurement.half_width(self.config.ignore_server_dispersion);
        deviation.abs() <= half_width + start.half_width + drift
    }

    /// Uses a sample inside the gate.
    fn accept(&mut self, sample: &Sample<'_>, deviation: Innovation) -> MeasurementOutcome {
        self.consecutive_outliers = 0;
        let source = &mut self.sources[sample.index];
        source.consecutive_outliers = 0;
        source.samples_since_poll_change = source.samples_since_poll_change.saturating_add(1);
        source.drift_test.push(sample.measurement.at, deviation);
        let outcome = match source.drift_test.detect() {
            Some(drift) => MeasurementOutcome::DriftDetected(self.apply_drift(sample, drift)),
            None => {
                self.contradiction.record_good_sample(self.slots_used);
                self.confirm_frequency(sample.measurement.at);
                MeasurementOutcome::Used
            }
        };
        self.update(sample);
        outcome
    }

    /// Number of sources in the joint state whose last sample was an outlier.
    fn outlier_sources(&self) -> usize {
        let members = self.sources.iter().filter(|source| source.slot.is_some());
        members
            .filter(|source| source.consecutive_outliers > 0)
            .count()
    }

    /// Deviation of the sample from the prediction, with or without the belief about directions,
    /// whichever is smaller in standard deviations: a sample that fits either is not an outlier.
    fn deviation(&self, sample: &Sample<'_>) -> Innovation {
        let Sample {
            observation,
            y,
            noise,
            ..
        } = *sample;
        let (shift, variance) = self.sources[sample.index].belief.collapse(noise);
        let mut corrected = self.bank.innovation(observation, y, shift);
        corrected.variance += self.bank.noise_variance(variance, noise.flat);
        let mut plain = self.bank.innovation(observation, y, 0.0);
        plain.variance += noise.symmetric;
        if plain.is_smaller_than(&corrected) {
            plain
        } else {
            corrected
        }
    }

    /// Makes the cause of a drift uncertain. Each of the last samples was inside the gate, but
    /// together they deviate to one side.
    fn apply_drift(&mut self, sample: &Sample<'_>, drift: Drift) -> Cause {
        let members = self.sources.iter().filter(|source| source.slot.is_some());
        let drifting = members
            .filter(|source| source.drift_test.supports())
            .count();
        let source = &mut self.sources[sample.index];
        source.drift_test = DriftTest::default();
        source.samples_since_poll_change = 0;
        let evidence = self.evidence(sample.index, drift.deviation, drifting);
        let slot = sample.observation.slot;
        let variance = drift.deviation * drift.deviation;
        let cause = evidence.cause();
        match cause {
            Cause::Path => self.redraw(slot, variance, evidence.asymmetry_cap),
            Cause::Server => self
                .bank
                .for_each(|filter| filter.widen_bias(slot, variance)),
            Cause::Clock => {
                let jump = (drift.deviation / drift.over).abs().min(MAX_FREQUENCY_JUMP);
                self.bank
                    .for_each(|filter| filter.widen(variance, jump * jump));
            }
        }
        cause
    }

    fn evidence(&self, index: usize, deviation: f64, deviating_sources: usize) -> Evidence {
        let source = &self.sources[index];
        Evidence {
            deviation,
            route_changed: source.route_changed(),
            asymmetry_cap: source.asymmetry_cap(),
            sources: self.slots_used,
            deviating_sources,
        }
    }

    /// Changes the model after the second consecutive outlier, and after each further one.
    fn change_model(&mut self, sample: &Sample<'_>, deviation: f64) -> MeasurementOutcome {
        let evidence = self.evidence(sample.index, deviation, self.outlier_sources());
        let at = sample.measurement.at;
        let source = &mut self.sources[sample.index];
        source.drift_test = DriftTest::default();
        let since = source.last_used;
        let since = since.map_or(1.0, |used| (at - used).as_seconds_f64().max(1.0));
        // A reference clock has no path that changes. If it drifts, its pairs must show it.
        let jumped = source.law == NoiseLaw::Queue || deviation.abs() > MAX_FREQUENCY_JUMP * since;
        let cause = evidence.cause();
        match cause {
            Cause::Path => {
                let slot = sample.observation.slot;
                self.redraw(slot, deviation * deviation, evidence.asymmetry_cap);
                self.update(sample);
            }
            Cause::Server => {
                if jumped {
                    self.forget_distances(sample.index);
                }
                self.reset_component(
                    sample.observation,
                    sample.y,
                    sample.noise,
                    Hypothesis::reset_bias,
                );
            }
            Cause::Clock => {
                if let Some(remedy) = self.contradiction.record_clock_change(self.slots_used) {
                    self.apply_remedy(remedy);
                    return MeasurementOutcome::Restarted;
                }
                let jump = (deviation / since).abs().min(MAX_FREQUENCY_JUMP);
                self.bank.for_each(|filter| filter.widen(0.0, jump * jump));
                self.reset_component(
                    sample.observation,
                    sample.y,
                    sample.noise,
                    Hypothesis::reset_phase,
                );
            }
        }
        self.sources[sample.index].last_used = Some(at);
        MeasurementOutcome::StepDetected(cause)
    }

    fn apply_remedy(&mut self, remedy: Remedy) {
        if remedy == Remedy::ForgetAll {
            return self.stop_filters();
        }
        let frequency = FrequencyPrior::unknown(&self.config).uncertainty.as_ratio();
        self.phase_lost = true;
        self.guarantee = None;
        self.drift_record = DriftRecord::default();
        self.consecutive_outliers = 0;
        self.bank
            .for_each(|filter| filter.widen(0.0, frequency * frequency));
        for source in &mut self.sources {
            source.consecutive_outliers = 0;
            source.drift_test = DriftTest::default();
        }
    }

    fn update(&mut self, sample: &Sample<'_>) {
        let source = &mut self.sources[sample.index];
        let belief = &mut source.belief;
        self.bank
            .update(sample.observation, sample.y, sample.noise, belief);
        source.last_used = Some(sample.measurement.at);
    }

    /// Resets one component of every filter from a sample.
    pub(super) fn reset_component(
        &mut self,
        observation: ObservationIndex,
        y: f64,
        noise: &Noise,
        reset: impl Fn(&mut Hypothesis, ObservationIndex, f64, f64),
    ) {
        let queue = noise.symmetric;
        self.bank
            .for_each_with_noise(queue, noise.flat, |filter, variance| {
                reset(filter, observation, y, variance);
            });
    }
}
