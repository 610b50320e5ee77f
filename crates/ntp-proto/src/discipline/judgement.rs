//! What one sample does to the joint state: it is used, dropped, or changes the model.
//!
//! The rules stand in `gate`; here they are carried out. Three ways of being wrong have three
//! remedies:
//!
//! * a path changed its length: its bias is *redrawn*, uncertain by what the change can hide;
//! * a third strike: the phase of the clock, or the bias of the server, is *refixed*: forgotten,
//!   and told anew by the sample. For the clock the frequency gets room for what would explain the
//!   surprise;
//! * a trend: whatever is to blame gets room for what has built up, and the sample is used as
//!   always.

use ntp_time::FreeTime;

use super::bank::Innovation;
use super::gate::{Evidence, Lean, SAMPLES_BEFORE_JUDGING, STRIKES, Trend};
use super::hypothesis::{Hypothesis, Sight};
use super::noise::Noise;
use super::{Blame, Discipline, Measurement, Outcome};

/// What an oscillator of which nothing is known may differ from what was assumed, in standard deviations.
const EARLY_SIGMAS: f64 = 5.0;
/// A jump of the oscillator is at most as large as its whole error may be: 100 ppm.
const LARGEST_FREQUENCY_JUMP: f64 = 1e-4;

impl Discipline {
    /// A path that changed its length may have changed its asymmetry.
    pub(super) fn follow_route(&mut self, index: usize, slot: usize, shift: Option<f64>) {
        let Some(shift) = shift else { return };
        let cap = self.sources[index].asymmetry_cap();
        let squared = self
            .bank
            .mix(|filter| filter.bias(slot).powi(2) + filter.bias_variance(slot));
        if squared > cap {
            // An asymmetry is half of the difference of two directions, uniform within what they share.
            self.redraw(slot, shift * shift / 12.0, cap);
        }
    }

    fn redraw(&mut self, slot: usize, room: f64, cap: f64) {
        self.bank
            .for_each(|filter| filter.redraw_bias(slot, room, cap));
    }

    /// The gate: use the sample, drop it, or change the model.
    pub(super) fn judge(
        &mut self,
        index: usize,
        sight: Sight,
        measurement: &Measurement,
        noise: &Noise,
    ) -> Outcome {
        let y = self.relative(measurement.phase);
        let deviation = self.deviation(index, sight, y, noise);
        let judged = self.samples > SAMPLES_BEFORE_JUDGING && deviation.is_surprise();
        if !judged && self.can_be(deviation.mean, measurement) {
            return self.accept(index, sight, measurement, noise, deviation);
        }
        self.row = self.row.saturating_add(1);
        let source = &mut self.sources[index];
        source.strikes = source.strikes.saturating_add(1);
        source.calm = 0;
        let strikes = source.strikes;
        // Three witnesses are as good as one that says it three times, if they are most of all.
        let outcry = self.row >= STRIKES && 2 * self.striking() > self.seated;
        if strikes < STRIKES && !outcry {
            return Outcome::Struck { strikes };
        }
        self.blame(index, sight, y, deviation.mean, measurement, noise)
    }

    /// Whether delays and an oscillator can do this since the start: the sample that began and this one are each wrong by
    /// half of their way at most. Soon after the start a larger jump would be learnt as a frequency that no oscillator has,
    /// or as the noise of the few samples that there are.
    fn can_be(&self, deviation: f64, measurement: &Measurement) -> bool {
        let Some(began) = self.began else {
            return true;
        };
        let age = (measurement.at - began.at).as_seconds_f64().abs();
        let drift = EARLY_SIGMAS * self.prior.uncertainty.as_ratio() * age;
        let half_width = measurement.half_width(self.config.ignore_server_dispersion);
        deviation.abs() <= half_width + began.half_width + drift
    }

    /// Uses a sample that lay within the gate.
    fn accept(
        &mut self,
        index: usize,
        sight: Sight,
        measurement: &Measurement,
        noise: &Noise,
        deviation: Innovation,
    ) -> Outcome {
        self.row = 0;
        let source = &mut self.sources[index];
        source.strikes = 0;
        source.calm = source.calm.saturating_add(1);
        source.trend.push(measurement.at, deviation);
        let outcome = match self.sources[index].trend.lean() {
            Some(lean) => Outcome::Leaned(self.follow_trend(index, sight.slot, lean)),
            None => {
                self.contradiction.calm(self.seated);
                Outcome::Used
            }
        };
        let y = self.relative(measurement.phase);
        self.update(index, sight, y, noise, measurement.at);
        outcome
    }

    /// Sources in the joint state with a strike open.
    fn striking(&self) -> usize {
        let seated = self.sources.iter().filter(|source| source.slot.is_some());
        seated.filter(|source| source.strikes > 0).count()
    }

    /// How far the sample is from what was expected. What fits without any belief about directions
    /// is no surprise, whatever is believed, and the other way round: the milder of the two counts.
    fn deviation(&self, index: usize, sight: Sight, y: f64, noise: &Noise) -> Innovation {
        let queue = self.sources[index].belief.collapse(noise);
        let mut believed = self.bank.innovation(sight, y, queue.shift);
        believed.variance += self.bank.noise_variance(queue.variance, noise.flat);
        let mut plain = self.bank.innovation(sight, y, 0.0);
        plain.variance += noise.symmetric().variance;
        if plain.is_milder_than(&believed) {
            plain
        } else {
            believed
        }
    }

    /// Each of the last samples was fit to use, but together they lean to one side.
    fn follow_trend(&mut self, index: usize, slot: usize, lean: Lean) -> Blame {
        let seated = self.sources.iter().filter(|source| source.slot.is_some());
        let leaning = seated.filter(|source| source.trend.agrees()).count();
        let source = &mut self.sources[index];
        source.trend = Trend::default();
        source.calm = 0;
        let evidence = self.evidence(index, lean.deviation, leaning);
        let room = lean.deviation * lean.deviation;
        let blame = evidence.blame();
        match blame {
            Blame::Path => self.redraw(slot, room, evidence.asymmetry_cap),
            Blame::Server => self.bank.for_each(|filter| filter.widen_bias(slot, room)),
            Blame::Clock => {
                let jump = (lean.deviation / lean.over)
                    .abs()
                    .min(LARGEST_FREQUENCY_JUMP);
                self.bank.for_each(|filter| filter.widen(room, jump * jump));
            }
        }
        blame
    }

    fn evidence(&self, index: usize, surprise: f64, striking: usize) -> Evidence {
        let source = &self.sources[index];
        Evidence {
            surprise,
            rerouted: source.rerouted(),
            asymmetry_cap: source.asymmetry_cap(),
            sources: self.seated,
            striking,
        }
    }

    /// The third surprise in a row, or a further one: something changed.
    fn blame(
        &mut self,
        index: usize,
        sight: Sight,
        y: f64,
        surprise: f64,
        measurement: &Measurement,
        noise: &Noise,
    ) -> Outcome {
        let evidence = self.evidence(index, surprise, self.striking());
        self.sources[index].trend = Trend::default();
        let blame = evidence.blame();
        match blame {
            Blame::Path => {
                self.redraw(sight.slot, surprise * surprise, evidence.asymmetry_cap);
                self.update(index, sight, y, noise, measurement.at);
            }
            Blame::Server => self.refix(sight, y, noise, Hypothesis::refix_bias),
            Blame::Clock => {
                if self.contradiction.blamed(self.seated) {
                    self.stop();
                    return Outcome::Restarted;
                }
                let since = self.sources[index].last_used.map_or(1.0, |used| {
                    (measurement.at - used).as_seconds_f64().max(1.0)
                });
                let jump = (surprise / since).abs().min(LARGEST_FREQUENCY_JUMP);
                self.bank.for_each(|filter| filter.widen(0.0, jump * jump));
                self.refix(sight, y, noise, Hypothesis::refix_phase);
            }
        }
        self.sources[index].last_used = Some(measurement.at);
        Outcome::Blamed(blame)
    }

    fn update(&mut self, index: usize, sight: Sight, y: f64, noise: &Noise, at: FreeTime) {
        let source = &mut self.sources[index];
        self.bank.update(sight, y, noise, &mut source.belief);
        source.last_used = Some(at);
    }

    /// Lets one component of every filter be told by the sample.
    pub(super) fn refix(
        &mut self,
        sight: Sight,
        y: f64,
        noise: &Noise,
        how: impl Fn(&mut Hypothesis, Sight, f64, f64),
    ) {
        let queue = noise.symmetric().variance;
        self.bank
            .for_each_with_noise(queue, noise.flat, |filter, variance| {
                how(filter, sight, y, variance);
            });
    }
}
