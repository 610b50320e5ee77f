//! Clock discipline: estimates phase and frequency of the oscillator from measurements, and
//! decides how to correct the clock.
//!
//! # Problem
//! A crystal oscillator drifts, and the network through which we observe it delays packets at
//! random. From about one packet a minute we need the clock's phase and frequency, more accurately
//! than any single packet shows them, without knowing the quality of the oscillator or of the
//! network. Changes of either must be detected, servers that lie must be rejected, and the reported
//! error must be honest.
//!
//! # Ideas
//! 1. **Free-running time.** Estimation uses the clock that would exist without our corrections
//!    ([`ntp_time::Ledger`]), so steering does not disturb the estimate.
//! 2. **Delay shows the noise.** The offset error of a packet that is `x` late is at most `x/2`:
//!    `path`, `noise`.
//! 3. **One joint state** of phase, frequency and one bias per source: `hypothesis`.
//! 4. **Servers move.** How much is learnt from differences of pairs of sources, and the median of
//!    the biases is held at zero, so that neither wander nor a lying minority moves the phase:
//!    `pairs`, `centre`.
//!    A correction of a server's clock that the server itself reports (NTPv5) is no movement of
//!    ours: `server_correction`.
//! 5. **A bank of hypotheses** about oscillator and noise, weighted by Bayes' rule, instead of
//!    hand-tuned constants: `bank`.
//! 6. **Gate.** An outlier is dropped. The second consecutive outlier changes the model, but only
//!    the component that caused it: `gate`.
//! 7. **Majority.** Only sources whose correctness intervals overlap with a majority are used:
//!    `intersection`, `selection`.
//! 8. **Steering** runs the clock at minus the estimated frequency and slews the remaining phase,
//!    as slowly as the phase error allows: `steering`.
//!
//! # Processing of a measurement ([`Discipline::add_measurement`])
//! ```text
//! check -> predict all filters to its time, hold the centre -> update path and noise models
//!       -> selection -> slot in the joint state -> route changed? -> gate: use, drop, step or drift
//!       -> update filters and weights -> span of the bound -> pairs of servers
//! ```
//!
//! # Numbers
//! Free time and phases enter and leave in fixed point. Inside, a phase is an `f64` in seconds
//! relative to `origin`, which is rebased when the phase moves away from it, so an initial error of
//! half a century costs no nanosecond. Frequencies are in s/s, variances in s^2.
//!
//! # Memory and time
//! [`Discipline::new`] allocates all filters (110 KiB), each [`Discipline::add_source`] about 1
//! KiB; a measurement allocates nothing. With four sources a measurement costs a few thousand
//! multiplications. The moments of the mixture and the [`Prediction`] are computed once per change
//! of the state, on first use.
//!
//! Deterministic: no clock, no randomness, no I/O. Nothing here panics on any input.

mod allowance;
mod bank;
mod box_law;
mod centre;
mod confidence;
mod gate;
mod guarantee;
mod hypothesis;
mod initial_frequency;
mod intersection;
mod leap_second;
mod math;
mod measurement;
mod membership;
mod noise;
mod pairs;
mod path;
mod poll;
mod prediction;
mod report;
mod ring;
mod selection;
mod server_correction;
mod source;
mod steering;
mod stepout;
mod trend;
mod unsteady;
mod update;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod selection_options;
#[cfg(test)]
mod testworld;

use core::cell::OnceCell;

use ntp_time::{FreeTime, Frequency, NtpDuration, PollInterval, PollLimits};
use serde::{Deserialize, Serialize};

pub use allowance::DriftAllowance;
pub use intersection::Agreement;
pub use measurement::{Measurement, NoiseLaw};
pub use ntp_types::event::{Cause, InvalidMeasurement, MeasurementOutcome};
pub use ntp_types::source::{SelectionOptions, SourceState};
pub use prediction::Prediction;
pub use report::{ErrorFigures, Estimate};
pub use source::{SourceEstimate, SourceKey};
pub use steering::{Decision, Excess, Panic, PanicThreshold, Steering, SteeringConfig, Update};
pub use trend::Trend;

use allowance::DriftRecord;
use bank::Bank;
use gate::{Contradiction, DriftTest};
use guarantee::{Grounds, Guarantee};
use hypothesis::{Hypothesis, MAX_SLOTS, ObservationIndex};
use intersection::Edge;
use noise::Noise;
use pairs::Pairs;
use source::{DatedInterval, Source};
use update::Sample;

/// Configuration of estimation and selection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Number of sources that must agree before the clock is adjusted.
    pub minimum_agreeing_sources: usize,
    /// Sources whose correctness interval has a larger half-width are not candidates.
    #[serde(with = "ntp_time::exact")]
    pub maximum_source_uncertainty: NtpDuration,
    /// Error that the clock may have: poll intervals are as long as it permits. Unset, they are as
    /// long as accuracy permits, see `poll`.
    #[serde(with = "ntp_time::exact")]
    pub accuracy_target: Option<NtpDuration>,
    /// How fast the oscillator may leave the estimate between samples.
    pub drift_allowance: DriftAllowance,
    /// Whether to leave the servers' root dispersion out of their correctness intervals.
    pub ignore_server_dispersion: bool,
    /// Standard deviation of the frequency error of an unknown oscillator.
    #[serde(with = "ntp_time::exact")]
    pub initial_frequency_uncertainty: Frequency,
    /// Whether any configured source is required ([`SelectionOptions::require`]), even if it has
    /// never answered.
    pub some_required: bool,
}

impl Default for Config {
    /// Three sources, as upstream; a maximum distance of 1.5 s, as MAXDIST of RFC 5905 section
    /// 11.2, so that a satellite link qualifies; 100 ppm, which covers every crystal in a computer.
    fn default() -> Self {
        Self {
            minimum_agreeing_sources: 3,
            maximum_source_uncertainty: NtpDuration::from_millis(1500),
            accuracy_target: None,
            drift_allowance: DriftAllowance::Learnt,
            ignore_server_dispersion: false,
            initial_frequency_uncertainty: Frequency::from_ppm(100.0),
            some_required: false,
        }
    }
}

/// Prior of the oscillator's frequency: the estimate when the daemon last stopped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrequencyPrior {
    /// Frequency error; positive runs fast.
    #[serde(with = "ntp_time::exact")]
    pub frequency: Frequency,
    /// Standard deviation of the frequency error. At least 1 ppm is assumed: that costs nothing if
    /// the drift file is right, and reduces the damage if it is wrong.
    #[serde(with = "ntp_time::exact")]
    pub uncertainty: Frequency,
}

impl FrequencyPrior {
    fn unknown(config: &Config) -> Self {
        let uncertainty = config.initial_frequency_uncertainty;
        let usable = uncertainty.as_ratio().is_finite();
        Self {
            frequency: Frequency::ZERO,
            uncertainty: if usable {
                uncertainty
            } else {
                Config::default().initial_frequency_uncertainty
            },
        }
    }

    fn is_credible(&self) -> bool {
        self.frequency.as_ratio().abs() < MAX_CREDIBLE_FREQUENCY
            && self.uncertainty.as_ratio().is_finite()
    }
}

/// Largest age of a sample relative to the newest one, in seconds. Exchanges overlap, and none
/// lasts longer.
const MAX_LAG: f64 = 16.0;
/// Largest age of the sample that initialises the phase, in seconds. A source polled at the usual
/// minimum interval has answered within this time, and ignoring the oscillator's wander over it is
/// harmless.
const MAX_START_AGE: f64 = 64.0;
/// Longest time without a sample, in seconds. After a month of wander the next sample is better
/// than anything in the filters.
const MAX_GAP: f64 = 30.0 * 86_400.0;
/// Number of consecutive samples from before the newest one after which the newest one is taken to
/// be wrong, and the filters restart. A smaller number restarts on samples that are merely delayed,
/// a larger one ignores good sources for longer.
const MAX_OUT_OF_ORDER: u32 = 8;
/// Smallest assumed uncertainty of a drift file, see [`FrequencyPrior::uncertainty`].
const MIN_PRIOR_UNCERTAINTY: f64 = 1e-6;
/// A frequency above this is not kept over a restart: 10 %, the range in which Linux can correct
/// one.
const MAX_CREDIBLE_FREQUENCY: f64 = 0.1;
/// Standard deviation of the frequency change at a disturbance (suspend, migration), by temperature
/// or by a new host's crystal, s/s. A larger value forgets a good frequency, a smaller one follows
/// the new one more slowly.
const DISTURBED_FREQUENCY_SIGMA: f64 = 1e-6;
/// Phase uncertainty, in seconds, above which the phase is forgotten: the next sample is more
/// accurate than this.
const MAX_PHASE_SIGMA: f64 = 0.1;
/// Prediction variance given to the path model while there is no prediction; larger than any.
const UNKNOWN_VARIANCE: f64 = 1e9;
/// Distance of the phase from the origin, in seconds, at which the origin is rebased: below it an
/// `f64` resolves 1e-16 s.
const MAX_PHASE_FROM_ORIGIN: f64 = 1.0;

/// The clock algorithm, see the module. Memory is fixed except for one `Source` per source.
#[derive(Clone, Debug)]
pub struct Discipline {
    config: Config,
    prior: FrequencyPrior,
    bank: Bank,
    /// Correctness interval at the time when a majority started the filters.
    start_interval: Option<DatedInterval>,
    /// Time of the filters; `None` until a majority has started them.
    filter_time: Option<FreeTime>,
    /// The next selected sample initialises the phase again.
    phase_lost: bool,
    /// Origin of the phases inside the filters.
    origin: NtpDuration,
    /// Sorted by key.
    sources: Vec<Source>,
    next_key: u32,
    /// Relative movements of the sources in the joint state.
    pairs: Pairs,
    /// Number of sources in the joint state.
    slots_used: usize,
    /// Scratch space of the selection, two entries per source.
    edges: Vec<Edge>,
    agreement: Agreement,
    /// Whether the sources without `fallback` are a majority by themselves.
    regular_majority: bool,
    /// Correctness interval of the selection at the last sample used; kept in holdover, when its
    /// sources are gone.
    guarantee: Option<Guarantee>,
    grounds: Grounds,
    drift_record: DriftRecord,
    /// Since when another source has been clearly nearer than the reference.
    reference_beaten: Option<FreeTime>,
    contradiction: Contradiction,
    /// Whether the frequency was ever known well; see `initial_frequency`.
    frequency_confirmed: bool,
    /// Number of consecutive outliers of all sources together.
    consecutive_outliers: u32,
    /// Number of measurements processed.
    samples: u64,
    /// Number of consecutive measurements older than [`MAX_LAG`].
    out_of_order: u32,
    /// Cache of [`Self::prediction`]; cleared by every method that changes what it depends on.
    prediction: OnceCell<Option<Prediction>>,
}

impl Discipline {
    /// Creates a discipline without sources; `prior` is the content of the drift file.
    pub fn new(config: Config, prior: Option<FrequencyPrior>) -> Self {
        let prior = prior.filter(FrequencyPrior::is_credible);
        let prior = prior.unwrap_or_else(|| FrequencyPrior::unknown(&config));
        let mut bank = Bank::new();
        bank.for_each(|filter| filter.restart(prior.frequency.as_ratio(), 0.0));
        Self {
            config,
            prior,
            bank,
            start_interval: None,
            filter_time: None,
            phase_lost: false,
            origin: NtpDuration::ZERO,
            sources: Vec::new(),
            next_key: 0,
            pairs: Pairs::default(),
            slots_used: 0,
            edges: Vec::new(),
            agreement: Agreement::default(),
            regular_majority: false,
            guarantee: None,
            grounds: Grounds::default(),
            drift_record: DriftRecord::default(),
            reference_beaten: None,
            contradiction: Contradiction::default(),
            frequency_confirmed: false,
            consecutive_outliers: 0,
            samples: 0,
            out_of_order: 0,
            prediction: OnceCell::new(),
        }
    }

    /// Replaces the configuration; estimates are kept.
    pub fn reconfigure(&mut self, config: Config) {
        self.prediction.take();
        self.config = config;
    }

    /// Processes a measurement of source `key`.
    pub fn add_measurement(
        &mut self,
        key: SourceKey,
        measurement: &Measurement,
    ) -> MeasurementOutcome {
        self.prediction.take();
        let Some(index) = self.index(key) else {
            return MeasurementOutcome::Rejected(InvalidMeasurement::UnknownSource);
        };
        let law = self.sources[index].law;
        if let Err(rejection) = measurement.check(law) {
            return MeasurementOutcome::Rejected(rejection);
        }
        let measurement = &measurement.under(law);
        let Some(lag) = self.advance(measurement.at) else {
            return MeasurementOutcome::Rejected(InvalidMeasurement::OutOfOrder);
        };
        let outcome = self.process(index, measurement, lag);
        if self.bank.is_sound() {
            return outcome;
        }
        self.bank.forget_weights();
        self.stop_filters();
        MeasurementOutcome::Restarted
    }

    /// Accounts for a change of the clock by someone else, or a suspend, whose size the ledger
    /// knows to within a standard deviation of `phase_sigma` seconds. The frequency is kept, with a
    /// larger uncertainty.
    pub fn handle_disturbance(&mut self, at: FreeTime, phase_sigma: f64) {
        self.prediction.take();
        if !(0.0..MAX_PHASE_SIGMA).contains(&phase_sigma) {
            return self.forget_phase();
        }
        if self.advance(at).is_none() {
            return self.forget_phase();
        }
        self.drift_record = DriftRecord::default();
        let variance = phase_sigma * phase_sigma;
        self.bank
            .for_each(|filter| filter.widen(variance, DISTURBED_FREQUENCY_SIGMA.powi(2)));
        // Intervals are guarantees.
        let allowance = confidence::CLAIM * phase_sigma;
        for source in &mut self.sources {
            source.widen_interval(allowance);
        }
        if let Some(guarantee) = &mut self.guarantee {
            guarantee.interval.half_width += allowance;
        }
    }

    /// Forgets the phase, after the clock was moved by an unknown amount. The next selected sample
    /// initialises it again; frequency and biases are kept.
    pub fn forget_phase(&mut self) {
        self.prediction.take();
        self.phase_lost = self.filter_time.is_some();
        self.guarantee = None;
        self.drift_record = DriftRecord::default();
        self.bank
            .for_each(|filter| filter.widen(0.0, DISTURBED_FREQUENCY_SIGMA.powi(2)));
        for source in &mut self.sources {
            source.forget_measurements();
        }
    }

    /// Begins again with the newest samples of the sources in use, because those before served
    /// another time. The difference of the two would be learnt as bias and wander of the new ones.
    /// Only the frequency is kept.
    pub fn replace_sources(&mut self, at: FreeTime) {
        self.prediction.take();
        let frequency = self.frequency_prior();
        self.stop_filters();
        if let Some(known) = frequency {
            let variance = known.uncertainty.as_ratio().powi(2) + DISTURBED_FREQUENCY_SIGMA.powi(2);
            let uncertainty = variance.sqrt();
            self.prior.uncertainty = Frequency::from_ratio(uncertainty);
        }
        for source in &mut self.sources {
            source.wander = 0.0;
            self.pairs.remove(source.key);
        }
        let guarantee = self.select(at);
        self.start_interval = guarantee.map(|guarantee| guarantee.interval);
        if self.initialize_phase(at).is_some() {
            self.guarantee = guarantee;
        }
    }

    /// Chooses the poll interval of source `key`, given its current one. Call it once per sample:
    /// it lengthens the interval by at most one step in four samples.
    pub fn choose_poll(
        &mut self,
        key: SourceKey,
        limits: PollLimits,
        current: PollInterval,
    ) -> PollInterval {
        let current = limits.clamp(current);
        let Some(index) = self.index(key) else {
            return current;
        };
        if self.sources[index].slot.is_none() || self.phase_lost {
            // A source that is not selected or has no slot teaches nothing by faster polls; before
            // the start every source is needed.
            let interval = if self.estimate_exists() {
                current
            } else {
                limits.min
            };
            return limits.clamp(interval);
        }
        let members = || self.sources.iter().filter(|source| source.slot.is_some());
        let information: f64 = members().map(|source| source.information).sum();
        let mean_square = |interval| poll::mean_square(&self.bank, information, interval);
        let goal = match self.config.accuracy_target {
            Some(target) => poll::longest_within(limits, target.as_seconds_f64(), mean_square),
            None => poll::longest_worthwhile(limits, mean_square),
        };
        if members().any(|source| source.consecutive_outliers > 0) {
            return limits.clamp(limits.min);
        }
        let started = self.filter_time.zip(self.start_interval);
        let age = started.map_or(0.0, |(now, start)| (now - start.at).as_seconds_f64());
        let goal = self.affordable(limits, goal, poll::unsettled_ratio(age) * mean_square(goal));
        let source = &mut self.sources[index];
        if goal > current && source.samples_since_poll_change >= poll::SAMPLES_PER_STEP {
            source.samples_since_poll_change = 0;
            return limits.clamp(current.longer());
        }
        current.min(goal)
    }

    /// The longest interval up to `goal` after which the variance of the phase is at most `enough`:
    /// while the frequency is uncertain it grows fast. The clock is known as well as against its
    /// best source; a poor source beside it does not need faster polls.
    fn affordable(&self, limits: PollLimits, goal: PollInterval, enough: f64) -> PollInterval {
        let Some(best) = self.best_slot() else {
            return limits.min;
        };
        let link = self.bank.link(best);
        let mut interval = limits.clamp(limits.min);
        while interval < goal {
            let seconds = interval.longer().to_duration().as_seconds_f64();
            if link.after(self.bank.moments(), seconds).variance > enough {
                break;
            }
            interval = interval.longer();
        }
        interval
    }

    /// How fast the oscillator may leave the estimate at `now`: see `allowance`.
    pub fn drift_allowance(&self, now: FreeTime) -> Frequency {
        match self.config.drift_allowance {
            DriftAllowance::Learnt => Frequency::from_ratio(self.drift_record.allowance(now)),
            DriftAllowance::Fixed(frequency) => frequency,
        }
    }

    fn estimate_exists(&self) -> bool {
        self.filter_time.is_some() && !self.phase_lost
    }

    /// Predicts the filters to `at` and returns by how many seconds `at` is older than they are.
    /// Returns `None` if that is too much.
    fn advance(&mut self, at: FreeTime) -> Option<f64> {
        let Some(then) = self.filter_time else {
            return Some(0.0);
        };
        let dt = (at - then).as_seconds_f64();
        if dt > MAX_GAP {
            self.stop_filters();
            return Some(0.0);
        }
        if dt >= 0.0 {
            self.predict(dt, at);
            self.filter_time = Some(at);
            self.out_of_order = 0;
            return Some(0.0);
        }
        if -dt <= MAX_LAG {
            return Some(-dt);
        }
        self.out_of_order += 1;
        if self.out_of_order >= MAX_OUT_OF_ORDER {
            self.out_of_order = 0;
            self.stop_filters();
        }
        None
    }

    /// Processes a valid measurement: all of [`Self::add_measurement`] after the checks.
    fn process(&mut self, index: usize, measurement: &Measurement, lag: f64) -> MeasurementOutcome {
        let models = self.update_models(index, measurement, lag);
        if self.replace_wrong_prior(index) {
            // The filters start at this sample.
            self.estimate_from(index, measurement, 0.0, models);
            return MeasurementOutcome::FrequencyReplaced;
        }
        self.estimate_from(index, measurement, lag, models)
    }

    /// Selects sources and updates the filters; `models` is the result of [`Self::update_models`].
    fn estimate_from(
        &mut self,
        index: usize,
        measurement: &Measurement,
        lag: f64,
        (noise, shift): (Noise, Option<f64>),
    ) -> MeasurementOutcome {
        let guarantee = self.select(measurement.at);
        let source = &self.sources[index];
        if !(source.eligible && source.in_use) {
            self.learn_server_wander(index);
            return MeasurementOutcome::NotSelected;
        }
        self.apply_precedence();
        if !self.estimate_exists() {
            if self.filter_time.is_none() {
                self.start_interval = guarantee.map(|guarantee| guarantee.interval);
            }
            let Some(first) = self.initialize_phase(measurement.at) else {
                return MeasurementOutcome::NoSlot;
            };
            self.guarantee = guarantee;
            if first == index {
                return MeasurementOutcome::Used;
            }
        }
        let Some(slot) = self.assign_slot(index, measurement.at) else {
            return MeasurementOutcome::NoSlot;
        };
        self.apply_route_change(index, slot, shift);
        let outcome = self.apply_gate(&Sample {
            index,
            observation: ObservationIndex { slot, lag },
            measurement,
            y: self.relative(measurement.phase),
            noise: &noise,
        });
        if let MeasurementOutcome::Used
        | MeasurementOutcome::StepDetected(_)
        | MeasurementOutcome::DriftDetected(_) = outcome
        {
            self.rebase_origin();
            match guarantee {
                Some(new) if outcome == MeasurementOutcome::Used => {
                    self.store_guarantee(new, measurement);
                }
                _ => self.guarantee = guarantee.or(self.guarantee),
            }
            if self.frequency_confirmed {
                let frequency = self.bank.moments().frequency;
                self.drift_record.observe(measurement.at, frequency);
            }
        }
        self.learn_server_wander(index);
        outcome
    }

    /// Compares the newest sample of the source at `index` with those of the others, and updates
    /// the wander of all.
    fn learn_server_wander(&mut self, index: usize) {
        let Some(now) = self.filter_time.filter(|_| self.slots_used > 1) else {
            return;
        };
        let frequency = self.bank.moments().frequency;
        let source = &self.sources[index];
        let Some(own) = source
            .pair_sample(&self.bank)
            .filter(|_| source.is_compared(now))
        else {
            return;
        };
        let (key, law) = (source.key, source.law);
        for other in self.sources.iter().filter(|other| other.key != key) {
            if let Some(sample) = other
                .pair_sample(&self.bank)
                .filter(|_| other.is_compared(now))
            {
                let prior = source.distance_prior(other);
                let jumps = law != NoiseLaw::Queue || other.law != NoiseLaw::Queue;
                self.pairs
                    .observe((key, own), (other.key, sample), frequency, (prior, jumps));
            }
        }
        for index in 0..self.sources.len() {
            let source = &self.sources[index];
            if !source.takes_part(now) {
                continue;
            }
            let present = |key| self.source(key).is_some_and(|other| other.takes_part(now));
            if let Some(rate) = self.pairs.confirmed_rate(source.key, present) {
                let is_steady = source.law != NoiseLaw::Queue && !self.moves_most(source, now);
                self.sources[index].wander = if is_steady { 0.0 } else { rate };
            }
        }
        self.judge_steadiness(index, now);
    }

    /// Updates path and noise models, also with samples that are then not used. Returns the noise
    /// of the sample and the change of the route's length, if there is one.
    fn update_models(
        &mut self,
        index: usize,
        measurement: &Measurement,
        lag: f64,
    ) -> (Noise, Option<f64>) {
        let predicted = match self.sources[index].slot {
            Some(slot) if self.estimate_exists() => {
                let y = self.relative(measurement.phase);
                self.bank
                    .innovation(ObservationIndex { slot, lag }, y, 0.0)
                    .variance
            }
            _ => UNKNOWN_VARIANCE,
        };
        self.samples = self.samples.saturating_add(1);
        let source = &mut self.sources[index];
        source.samples = source.samples.saturating_add(1);
        let stamp_noise = measurement.noise();
        let reading = (source.law == NoiseLaw::Queue).then(|| {
            let delay = measurement.delay_seconds();
            source
                .path
                .observe(measurement.at, delay, stamp_noise, predicted)
        });
        let shift = reading.and_then(|reading| reading.shift);
        source.flat.observe(measurement.at, measurement.phase);
        source.record_route(shift.is_some());
        source.record_interval(measurement, self.config.ignore_server_dispersion);
        let noise = match &reading {
            Some(reading) => Noise::new(reading, &source.flat, stamp_noise),
            None => Noise::stated(stamp_noise, &source.flat),
        };
        source.noise = Some(noise);
        let queue = source.belief.collapse(&noise).1;
        source.record_information(self.bank.noise_variance(queue, noise.flat));
        (noise, shift)
    }

    /// Initialises the phase from one source, when a majority exists and the phase is unknown.
    /// Returns the index of that source. It need not be the source that completed the majority:
    /// that one answered last, so its packet was the slowest.
    fn initialize_phase(&mut self, now: FreeTime) -> Option<usize> {
        let (first, dated, noise) = self.starting_source(now)?;
        if self.filter_time.is_none() {
            self.start_filters(first, now, dated.phase);
        }
        let slot = self.assign_slot(first, now)?;
        let lag = (now - dated.at).as_seconds_f64();
        let y = self.relative(dated.phase);
        self.phase_lost = false;
        let observation = ObservationIndex { slot, lag };
        self.reset_component(observation, y, &noise, Hypothesis::reset_phase);
        self.sources[first].last_used = Some(dated.at);
        Some(first)
    }

    /// Returns the source from which the phase begins, among the sources in use that have or can get
    /// a slot: the one with the narrowest current interval at the start. If the biases of several
    /// are known, the middle one of the phases that they show, so that a minority cannot choose.
    fn starting_source(&self, now: FreeTime) -> Option<(usize, DatedInterval, Noise)> {
        let propagation = self.propagation(now, self.frequency_sigma());
        let full = self.slots_used >= MAX_SLOTS;
        let usable = self
            .sources
            .iter()
            .enumerate()
            .filter_map(|(index, source)| {
                let (dated, noise) = source.last.zip(source.noise)?;
                let fresh = (now - dated.at).as_seconds_f64().abs() <= MAX_START_AGE;
                let usable = source.in_use && fresh && (source.slot.is_some() || !full);
                usable.then_some((index, dated, noise))
            });
        let clock = |(index, dated): (usize, DatedInterval)| {
            let bias = self.sources[index]
                .slot
                .map_or(0.0, |slot| self.bank.mix(|filter| filter.bias(slot)));
            dated.propagate(&propagation).centre - bias
        };
        let known = usable
            .clone()
            .filter(|(index, ..)| self.sources[*index].slot.is_some());
        let count = known.clone().count();
        if self.slots_used > 1 && count > 1 {
            // The one with half of the others below it.
            return known.clone().min_by_key(|(index, dated, _)| {
                let own = clock((*index, *dated));
                let below = known
                    .clone()
                    .filter(|(index, dated, _)| clock((*index, *dated)) < own);
                (2 * below.count() + 1).abs_diff(count)
            });
        }
        usable.min_by(|(_, a, _), (_, b, _)| {
            let width = |dated: &DatedInterval| dated.propagate(&propagation).half_width;
            width(a).total_cmp(&width(b))
        })
    }

    /// Restarts the filters with the source at `index` in the first slot.
    fn start_filters(&mut self, index: usize, now: FreeTime, phase: NtpDuration) {
        self.origin = phase;
        self.filter_time = Some(now);
        let frequency = self.prior.frequency.as_ratio();
        let sigma = self.prior.uncertainty.as_ratio();
        let sigma = sigma.clamp(MIN_PRIOR_UNCERTAINTY, MAX_CREDIBLE_FREQUENCY);
        self.bank
            .for_each(|filter| filter.restart(frequency, sigma * sigma));
        // The only source so far: its path asymmetry is part of the phase until a second source
        // arrives.
        let source = &mut self.sources[index];
        source.slot = Some(0);
        source.asymmetric = false;
        self.slots_used = 1;
        self.bank.for_each(|filter| filter.add_source(0.0));
    }

    /// Stops estimation until the next majority. Weights are kept, and a credible frequency becomes
    /// the new prior.
    fn stop_filters(&mut self) {
        let frequency = self.bank.mix(Hypothesis::frequency);
        let known = self.prior.frequency;
        self.prior = FrequencyPrior::unknown(&self.config);
        self.prior.frequency =
            if self.filter_time.is_some() && frequency.abs() < MAX_CREDIBLE_FREQUENCY {
                Frequency::from_ratio(frequency)
            } else {
                known
            };
        self.filter_time = None;
        self.phase_lost = false;
        self.slots_used = 0;
        self.guarantee = None;
        self.drift_record = DriftRecord::default();
        self.contradiction = Contradiction::default();
        self.consecutive_outliers = 0;
        let frequency = self.prior.frequency.as_ratio();
        self.bank.for_each(|filter| filter.restart(frequency, 0.0));
        for source in &mut self.sources {
            source.slot = None;
            source.consecutive_outliers = 0;
            source.drift_test = DriftTest::default();
            source.last_used = None;
        }
    }

    /// Moves the origin to the phase if it is too far away.
    fn rebase_origin(&mut self) {
        let phase = self.bank.mix(Hypothesis::phase);
        if phase.abs() <= MAX_PHASE_FROM_ORIGIN || !phase.is_finite() {
            return;
        }
        let by = NtpDuration::from_seconds_f64(phase);
        self.origin += by;
        let by = by.as_seconds_f64();
        self.bank.for_each(|filter| filter.shift_origin(by));
    }

    fn relative(&self, phase: NtpDuration) -> f64 {
        (phase - self.origin).as_seconds_f64()
    }

    /// Variance of the phase as source `slot` shows it, its asymmetry excluded.
    fn link_variance(&self, slot: usize) -> f64 {
        self.bank
            .innovation(ObservationIndex { slot, lag: 0.0 }, 0.0, 0.0)
            .variance
    }
}
