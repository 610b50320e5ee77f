//! The clock discipline: from measurements to an estimate of the oscillator, and from that to what
//! the clock should do.
//!
//! # The problem
//! A crystal that drifts by itself is watched through a network that delays packets at random. From
//! a packet a minute we want the clock's error and frequency, better than any single packet tells
//! them, without being told how good the crystal or the network is; we must notice when either
//! changes, survive servers that lie, and say truthfully how wrong we may be.
//!
//! # The ideas
//! 1. **Free-running time.** All estimation happens on the clock that would exist without our
//!    corrections ([`ntp_time::Ledger`]), so steering never disturbs what is known.
//! 2. **Delay tells the noise.** A packet that was `x` late is wrong by at most `x/2`: `path`,
//!    `noise`.
//! 3. **One joint state** of phase, frequency and one bias per source: `hypothesis`.
//! 4. **A bank of hypotheses** about oscillator and noise, weighed by Bayes; nothing is tuned by
//!    hand: `bank`.
//! 5. **Three strikes**: a sample that nobody expected is dropped, the third in a row changes the
//!    model, but only the part that is to blame: `gate`.
//! 6. **Majority**: only sources whose correctness intervals overlap with most others have a say:
//!    `selection`.
//! 7. **Steering** runs the clock at minus the estimated frequency and slews the rest away, as
//!    slowly as the phase can afford: `steering`.
//!
//! # The life of a measurement ([`Discipline::measure`])
//! ```text
//! check -> predict all filters to its time -> path and noise models learn -> vote
//!       -> seat in the joint state -> route changed? -> gate: use, strike, blame or lean
//!       -> update filters and weights -> stretch of the bound
//! ```
//!
//! # Numbers
//! Free time and phases come and go in fixed point. Inside, a phase is an `f64` in seconds relative
//! to `origin`, which follows the phase in whole doubles, so that half a century of initial error
//! costs no nanosecond. Frequencies are s/s, variances s^2.
//!
//! # Memory and time
//! All filters are allocated by [`Discipline::new`] (110 KiB), one more kilobyte by each
//! [`Discipline::join`]; a measurement allocates nothing. With four sources it costs a few thousand
//! multiplications.
//!
//! Deterministic: no clock, no randomness, no I/O. Nothing here panics on any input.

mod bank;
mod figures;
mod gate;
mod hypothesis;
mod judgement;
mod math;
mod measurement;
mod membership;
mod noise;
mod outlook;
mod path;
mod poll;
mod ring;
mod selection;
mod source;
mod steering;
mod utc_jump;
mod vote;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod opinions;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod testworld;

use ntp_time::{FreeTime, Frequency, NtpDuration, PollInterval, PollLimits};

pub use figures::{Estimate, Figures};
pub use gate::Blame;
pub use measurement::{Measurement, Rejection};
pub use outlook::Outlook;
pub use selection::Agreement;
pub use source::{Opinion, SourceKey, SourceState, SourceStatus};
pub use steering::{Decision, Panic, PanicThreshold, Steering, SteeringConfig};

use bank::Bank;
use gate::{Contradiction, Trend};
use hypothesis::{Hypothesis, MAX_SLOTS, Sight};
use noise::Noise;
use outlook::Guarantee;
use selection::Edge;
use source::{Sighting, Source};

/// The operator's wishes about estimation and selection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Sources that must agree before the clock is touched.
    pub minimum_agreeing_sources: usize,
    /// Sources whose correctness interval is wider than this on each side have no say.
    pub maximum_source_uncertainty: NtpDuration,
    /// How fast any clock may drift: PHI of RFC 5905 section 4.
    pub drift_allowance: Frequency,
    /// Leave the servers' root dispersion out of their intervals.
    pub ignore_server_dispersion: bool,
    /// Standard deviation of an unknown oscillator's frequency error.
    pub initial_frequency_uncertainty: Frequency,
    /// Some source is marked as required ([`Opinion::require`]), whether or not it has ever answered.
    pub some_required: bool,
}

impl Default for Config {
    /// Three sources as upstream; a distance of 1.5 s like MAXDIST of RFC 5905 section 11.2, so that a satellite link
    /// is a source too; 100 ppm covers every crystal that is soldered into a computer.
    fn default() -> Self {
        Self {
            minimum_agreeing_sources: 3,
            maximum_source_uncertainty: NtpDuration::from_millis(1500),
            drift_allowance: Frequency::from_ppm(15.0),
            ignore_server_dispersion: false,
            initial_frequency_uncertainty: Frequency::from_ppm(100.0),
            some_required: false,
        }
    }
}

/// What was known about the bare oscillator when the daemon last stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrequencyPrior {
    /// Its frequency error; positive runs fast.
    pub frequency: Frequency,
    /// Standard deviation of that. At least 1 ppm is assumed: a right file costs nothing by it, and
    /// a wrong one hurts less.
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
        self.frequency.as_ratio().abs() < CREDIBLE_FREQUENCY
            && self.uncertainty.as_ratio().is_finite()
    }
}

/// What became of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It moved the estimate.
    Used,
    /// Its source is ruled out, outvoted, or there is no majority. Path and interval were learnt.
    NotSelected,
    /// Sixteen better sources fill the joint state. Path and interval were learnt.
    Spare,
    /// A surprise, dropped: the how manieth in a row.
    Struck {
        /// Surprises in a row.
        strikes: u32,
    },
    /// A surprise once too often; what is to blame was made uncertain, and the measurement used.
    Blamed(Blame),
    /// No surprise, but the last of a trend to one side: what is to blame got room for what has
    /// built up, and the measurement was used.
    Leaned(Blame),
    /// The sources contradict the model, or arithmetic failed; the next majority starts afresh.
    Restarted,
    /// It could not be a measurement.
    Rejected(Rejection),
}

/// How much older than the newest sample another may be, in seconds: exchanges overlap, and none
/// lasts longer.
const LONGEST_LAG: f64 = 16.0;
/// How old the sample may be that tells the phase at the start, in seconds: a source that is asked at the usual
/// shortest interval was heard within this, and the filters ignore the oscillator's wander over it.
const OLDEST_BEGINNING: f64 = 64.0;
/// After a month without a sample the filters know nothing worth keeping.
const LONGEST_GAP: f64 = 30.0 * 86_400.0;
/// So many samples in a row from before the newest: then it is the newest that was wrong.
const DISORDER: u32 = 8;
/// Trust in a frequency file, see [`FrequencyPrior::uncertainty`].
const LEAST_PRIOR_UNCERTAINTY: f64 = 1e-6;
/// A frequency of more than this is not carried over a restart: it is not a crystal's.
const CREDIBLE_FREQUENCY: f64 = 1e-3;
/// A disturbance (suspend, migration) may change the frequency by temperature or a new host's
/// crystal.
const DISTURBED_FREQUENCY: f64 = 1e-6;
/// Beyond this uncertainty, in seconds, a phase is not worth keeping: the next sample tells it
/// better.
const HOPELESS_PHASE: f64 = 0.1;
/// Variance that stands for "unknown" in the path model's question how well the phase was
/// predicted.
const UNKNOWN: f64 = 1e9;
/// The origin follows when the phase is this many seconds away: doubles then resolve 1e-16 s.
const ORIGIN_REACH: f64 = 1.0;

/// The clock algorithm: see the module. Memory is fixed but for one `Source` per member.
#[derive(Clone, Debug)]
pub struct Discipline {
    config: Config,
    prior: FrequencyPrior,
    bank: Bank,
    /// Where truth was when a majority started the filters.
    began: Option<Sighting>,
    /// Time of the filters; None before a majority has started them.
    running: Option<FreeTime>,
    /// The phase must be told anew by the next selected sample.
    phase_lost: bool,
    /// Phases inside the filters are relative to this.
    origin: NtpDuration,
    /// In order of their keys.
    sources: Vec<Source>,
    next_key: u32,
    /// Sources in the joint state.
    seated: usize,
    /// Room for the vote, two per source.
    edges: Vec<Edge>,
    agreement: Agreement,
    /// Where the truth must be, by the vote at the last sample used: it outlives its sources in
    /// holdover.
    guarantee: Option<Guarantee>,
    contradiction: Contradiction,
    /// Surprises in a row, whatever their source.
    row: u32,
    samples: u64,
    disorder: u32,
}

impl Discipline {
    /// Without sources; `prior` is what the drift file says.
    pub fn new(config: Config, prior: Option<FrequencyPrior>) -> Self {
        let prior = prior.filter(FrequencyPrior::is_credible);
        let prior = prior.unwrap_or_else(|| FrequencyPrior::unknown(&config));
        let mut bank = Bank::new();
        bank.for_each(|filter| filter.restart(prior.frequency.as_ratio(), 0.0));
        Self {
            config,
            prior,
            bank,
            began: None,
            running: None,
            phase_lost: false,
            origin: NtpDuration::ZERO,
            sources: Vec::new(),
            next_key: 0,
            seated: 0,
            edges: Vec::new(),
            agreement: Agreement::default(),
            guarantee: None,
            contradiction: Contradiction::default(),
            row: 0,
            samples: 0,
            disorder: 0,
        }
    }

    /// The operator changed the configuration; estimates stay.
    pub fn reconfigure(&mut self, config: Config) {
        self.config = config;
    }

    /// Takes in a measurement of source `key`.
    pub fn measure(&mut self, key: SourceKey, measurement: &Measurement) -> Outcome {
        if let Err(rejection) = measurement.check() {
            return Outcome::Rejected(rejection);
        }
        let Some(index) = self.index(key) else {
            return Outcome::Rejected(Rejection::UnknownSource);
        };
        let Some(lag) = self.advance(measurement.at) else {
            return Outcome::Rejected(Rejection::OutOfOrder);
        };
        let outcome = self.take_in(index, measurement, lag);
        if self.bank.is_sound() {
            return outcome;
        }
        self.bank.forget_weights();
        self.stop();
        Outcome::Restarted
    }

    /// Someone else moved the clock, or the machine slept: the ledger knows by how much, give or
    /// take `phase_sigma` seconds. The frequency stays, a little less certain.
    pub fn clock_disturbed(&mut self, at: FreeTime, phase_sigma: f64) {
        if !(0.0..HOPELESS_PHASE).contains(&phase_sigma) {
            return self.forget_phase();
        }
        if self.advance(at).is_none() {
            return self.forget_phase();
        }
        let variance = phase_sigma * phase_sigma;
        self.bank
            .for_each(|filter| filter.widen(variance, DISTURBED_FREQUENCY.powi(2)));
        // Intervals are guarantees: four sigmas.
        let allowance = 4.0 * phase_sigma;
        for source in &mut self.sources {
            source.widen_sighting(allowance);
        }
        if let Some(guarantee) = &mut self.guarantee {
            guarantee.sighting.half_width += allowance;
        }
    }

    /// The clock was moved by an unknown amount. The next majority's sample tells the phase;
    /// frequency and biases stay.
    pub fn forget_phase(&mut self) {
        self.phase_lost = self.running.is_some();
        self.guarantee = None;
        self.bank
            .for_each(|filter| filter.widen(0.0, DISTURBED_FREQUENCY.powi(2)));
        for source in &mut self.sources {
            source.forget_sighting();
        }
    }

    /// The poll interval that source `key` should have, given the one it has. To be asked once per
    /// sample: it lengthens by at most one step in four samples.
    pub fn poll_wish(
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
            // Nothing to learn fast from an outvoted or spare source; but before the start everyone
            // is needed.
            let wish = if self.estimate_exists() {
                current
            } else {
                limits.min
            };
            return limits.clamp(wish);
        }
        let members = || self.sources.iter().filter(|source| source.slot.is_some());
        let information: f64 = members().map(|source| source.information).sum();
        let mean_square = |interval| poll::mean_square(&self.bank, information, interval);
        let goal = poll::worthwhile(limits, mean_square);
        // The clock is known as well as against its best source; a poor one beside it need not be asked more often for being poor.
        let enough = poll::UNSETTLED * mean_square(goal);
        let mut slots = members().filter_map(|source| source.slot);
        let settled = slots.any(|slot| self.link_variance(slot) <= enough);
        if !settled || members().any(|source| source.strikes > 0) {
            return limits.clamp(limits.min);
        }
        let source = &mut self.sources[index];
        if goal > current && source.calm >= poll::SAMPLES_PER_STEP {
            source.calm = 0;
            return limits.clamp(current.longer());
        }
        current.min(goal)
    }

    fn estimate_exists(&self) -> bool {
        self.running.is_some() && !self.phase_lost
    }

    /// Brings the filters to `at` and returns by how much `at` is older than they are; None if that
    /// is too much.
    fn advance(&mut self, at: FreeTime) -> Option<f64> {
        let Some(then) = self.running else {
            return Some(0.0);
        };
        let dt = (at - then).as_seconds_f64();
        if dt > LONGEST_GAP {
            self.stop();
            return Some(0.0);
        }
        if dt >= 0.0 {
            self.bank.predict(dt);
            self.running = Some(at);
            self.disorder = 0;
            return Some(0.0);
        }
        if -dt <= LONGEST_LAG {
            return Some(-dt);
        }
        self.disorder += 1;
        if self.disorder >= DISORDER {
            self.disorder = 0;
            self.stop();
        }
        None
    }

    /// All of [`Self::measure`] after the door.
    fn take_in(&mut self, index: usize, measurement: &Measurement, lag: f64) -> Outcome {
        let (noise, shift) = self.learn(index, measurement, lag);
        let vote = self.vote(measurement.at);
        let source = &self.sources[index];
        if !(source.eligible && source.in_use) {
            return Outcome::NotSelected;
        }
        if !self.estimate_exists() {
            if self.running.is_none() {
                self.began = vote.map(|guarantee| guarantee.sighting);
            }
            let Some(first) = self.begin(measurement.at) else {
                return Outcome::Spare;
            };
            self.guarantee = vote;
            if first == index {
                return Outcome::Used;
            }
        }
        let Some(slot) = self.seat(index, measurement.at) else {
            return Outcome::Spare;
        };
        let sight = Sight { slot, lag };
        self.follow_route(index, slot, shift);
        let outcome = self.judge(index, sight, measurement, &noise);
        if let Outcome::Used | Outcome::Blamed(_) | Outcome::Leaned(_) = outcome {
            self.follow_phase();
            self.guarantee = vote.or(self.guarantee);
        }
        outcome
    }

    /// Path and noise models learn from every sample, also from those that are then not used.
    fn learn(&mut self, index: usize, measurement: &Measurement, lag: f64) -> (Noise, Option<f64>) {
        let predicted = match self.sources[index].slot {
            Some(slot) if self.estimate_exists() => {
                let y = self.relative(measurement.phase);
                self.bank.innovation(Sight { slot, lag }, y, 0.0).variance
            }
            _ => UNKNOWN,
        };
        self.samples = self.samples.saturating_add(1);
        let source = &mut self.sources[index];
        let stamp_noise = measurement.noise();
        let reading = source.path.observe(
            measurement.at,
            measurement.delay_seconds(),
            stamp_noise,
            predicted,
        );
        source.flat.observe(measurement.at, measurement.phase);
        source.note_route(reading.shift.is_some());
        source.sight(measurement, self.config.ignore_server_dispersion);
        let noise = Noise::of(&reading, &source.flat, stamp_noise);
        source.noise = Some(noise);
        let queue = source.belief.collapse(&noise).variance;
        source.inform(self.bank.noise_variance(queue, noise.flat));
        (noise, reading.shift)
    }

    /// A majority stands and the phase is not known: one source tells it. Not the one that completed the majority: it
    /// answered last, so its packet was the slowest. Returns which, as an index.
    fn begin(&mut self, now: FreeTime) -> Option<usize> {
        let (first, sighting, noise) = self.clearest(now)?;
        if self.running.is_none() {
            self.start(first, now, sighting.phase);
        }
        let slot = self.seat(first, now)?;
        let lag = (now - sighting.at).as_seconds_f64();
        let y = self.relative(sighting.phase);
        self.phase_lost = false;
        self.refix(Sight { slot, lag }, y, &noise, Hypothesis::refix_phase);
        self.sources[first].last_used = Some(sighting.at);
        Some(first)
    }

    /// Of the sources in use that may have a seat, the one whose last sample says most narrowly where the truth is now.
    fn clearest(&self, now: FreeTime) -> Option<(usize, Sighting, Noise)> {
        let carriage = self.carriage(now, self.frequency_doubt());
        let full = self.seated >= MAX_SLOTS;
        let heard = self
            .sources
            .iter()
            .enumerate()
            .filter_map(|(index, source)| {
                let (sighting, noise) = source.last.zip(source.noise)?;
                let fresh = (now - sighting.at).as_seconds_f64().abs() <= OLDEST_BEGINNING;
                let usable = source.in_use && fresh && (source.slot.is_some() || !full);
                usable.then_some((index, sighting, noise))
            });
        heard.min_by(|(_, a, _), (_, b, _)| {
            let width = |sighting: &Sighting| sighting.interval(&carriage).half_width;
            width(a).total_cmp(&width(b))
        })
    }

    /// Makes the filters new, with the source at `index` in the first seat.
    fn start(&mut self, index: usize, now: FreeTime, phase: NtpDuration) {
        self.origin = phase;
        self.running = Some(now);
        let frequency = self.prior.frequency.as_ratio();
        let sigma = self.prior.uncertainty.as_ratio();
        let sigma = sigma.clamp(LEAST_PRIOR_UNCERTAINTY, CREDIBLE_FREQUENCY);
        self.bank
            .for_each(|filter| filter.restart(frequency, sigma * sigma));
        // Alone so far: the path's asymmetry is taken into the phase, until another source gives a
        // second opinion.
        let source = &mut self.sources[index];
        source.slot = Some(0);
        source.asymmetric = false;
        self.seated = 1;
        self.bank.for_each(|filter| filter.enter(0.0));
    }

    /// Ends estimation; the next majority starts it again. Weights stay, and so does a credible
    /// frequency as the new guess.
    fn stop(&mut self) {
        let frequency = self.bank.mix(Hypothesis::frequency);
        let known = self.prior.frequency;
        self.prior = FrequencyPrior::unknown(&self.config);
        self.prior.frequency = if self.running.is_some() && frequency.abs() < CREDIBLE_FREQUENCY {
            Frequency::from_ratio(frequency)
        } else {
            known
        };
        self.running = None;
        self.phase_lost = false;
        self.seated = 0;
        self.guarantee = None;
        self.contradiction = Contradiction::default();
        self.row = 0;
        let frequency = self.prior.frequency.as_ratio();
        self.bank.for_each(|filter| filter.restart(frequency, 0.0));
        for source in &mut self.sources {
            source.slot = None;
            source.strikes = 0;
            source.trend = Trend::default();
            source.last_used = None;
        }
    }

    /// Keeps the origin near the phase.
    fn follow_phase(&mut self) {
        let phase = self.bank.mix(Hypothesis::phase);
        if phase.abs() <= ORIGIN_REACH || !phase.is_finite() {
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

    /// Variance of what the source in `slot` shows: the error against that source, its asymmetry
    /// excluded.
    fn link_variance(&self, slot: usize) -> f64 {
        self.bank
            .innovation(Sight { slot, lag: 0.0 }, 0.0, 0.0)
            .variance
    }
}
