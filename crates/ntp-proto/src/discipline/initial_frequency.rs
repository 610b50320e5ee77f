//! Initial frequency: notices an oscillator that is worse than its prior allows.
//!
//! # Problem
//! The prior of an unknown oscillator is 100 ppm, as crystals are, and that of a frequency file 1
//! ppm. Emulated machines, wrong time-stamp counters and files of another machine are off by up to
//! 100 000 ppm. The filters do not get that far: the correctness intervals of sources that answer 50
//! ms after each other do not overlap any more, and what does is an outlier.
//!
//! # Idea
//! Two samples of one source show a *rate*, whatever its offset: the phase moves between them by
//! the frequency error, and by no more than both halves of the delays besides. The server's own
//! error is in both samples and cancels. A step of server or clock also looks like a rate, but only
//! across the step: so the samples since the start are divided in the middle, and a source
//! contradicts the prior only if both halves do. A majority of the sources decides about the rate,
//! as it does about the phase (`intersection`). It becomes the prior, and the filters start again
//! from it. Three samples 2 s apart on a path of 2 ms show 10 000 ppm to within a tenth; on a longer
//! path it takes longer. There the scatter of five to eight samples about a line shows the rate
//! sooner: its slope counts with Student's factor for 99.9 %.
//!
//! This happens until the frequency is *confirmed*. Later it would allow a majority of servers to
//! make the clock run at any speed, and no oscillator changes by that much.

use ntp_time::{FreeTime, Frequency, NtpDuration};

use super::confidence::{OUTLIER, student};
use super::intersection::{Interval, largest_overlap, majority_span};
use super::source::Source;
use super::{Discipline, FrequencyPrior};

/// Time after the start before which the frequency is not confirmed, seconds. After a minute the
/// rate of every usable source shows frequency errors of some 10 000 ppm; a longer time leaves more
/// time to servers that want to make the clock run wrong.
const MIN_CONFIRMATION: f64 = 64.0;
/// Shortest time between two samples that show a rate, seconds. A shorter one shows only rates that
/// no clock has.
const MIN_BASELINE: f64 = 1.0;
/// Number of samples that a source keeps for its rate. Three are the least that has a middle; when
/// all are in use, every second one is dropped, so that they always reach back to the start.
const KEPT_SAMPLES: usize = 8;

/// Standard deviations of the prior outside of which the slope of a line contradicts it. With five,
/// an oscillator that is off by 500 ppm took 48 s to be known, with three 10 s; crystals of computers
/// are inside.
const TREND_CONTRADICTION: f64 = 3.0;
/// Numbers of samples in a line whose slope counts. With fewer, Student's factor is so large that
/// they show nothing. With more, a jump in their middle looks like a slope: its own ratio of slope
/// to scatter is sqrt(3 (n - 2)).
const TREND_SAMPLES: core::ops::RangeInclusive<usize> = 5..=8;
/// The phase must move along a line by at least this many times the difference between the widest
/// and the narrowest correctness interval: a single late packet long after a burst has so much
/// leverage that no scatter shows.
const LATENESS: f64 = 4.0;

/// A sample that shows a rate together with another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateSample {
    pub(super) at: FreeTime,
    pub(super) phase: NtpDuration,
    /// Half-width of the correctness interval without the server's part, seconds.
    pub(super) half_width: f64,
}

impl RateSample {
    /// The rates that this sample and a later one permit, s/s.
    fn rate_until(&self, later: &Self) -> Option<Interval> {
        let seconds = (later.at - self.at).as_seconds_f64();
        let moved = (later.phase - self.phase).as_seconds_f64();
        (seconds >= MIN_BASELINE).then(|| Interval {
            centre: moved / seconds,
            half_width: (self.half_width + later.half_width) / seconds,
        })
    }
}

/// Samples of one source since the start, thinned out.
#[derive(Clone, Debug, Default)]
pub(super) struct RateWindow {
    samples: [Option<RateSample>; KEPT_SAMPLES],
    len: usize,
}

impl RateWindow {
    /// Appends a sample.
    pub(super) fn push(&mut self, sample: RateSample) {
        if self.len == KEPT_SAMPLES {
            for kept in 0..KEPT_SAMPLES / 2 {
                self.samples[kept] = self.samples[2 * kept];
            }
            self.len = KEPT_SAMPLES / 2;
        }
        self.samples[self.len] = Some(sample);
        self.len += 1;
    }

    /// Moves all phases by a known amount.
    pub(super) fn shift(&mut self, by: NtpDuration) {
        for sample in self.samples.iter_mut().flatten() {
            sample.phase += by;
        }
    }

    /// Forgets all samples but the last.
    fn restart(&mut self) {
        let last = self.len.checked_sub(1).and_then(|last| self.samples[last]);
        *self = Self::default();
        if let Some(last) = last {
            self.push(last);
        }
    }

    /// Difference between the widest and the narrowest correctness interval, seconds.
    fn spread_of_half_widths(&self) -> f64 {
        let widths = || {
            self.samples[..self.len]
                .iter()
                .flatten()
                .map(|it| it.half_width)
        };
        let widest = widths().fold(0.0, f64::max);
        widest - widths().fold(widest, f64::min)
    }

    /// The rates that all samples permit, if those of both halves lie outside of `prior`.
    fn rate_outside(&self, prior: Interval) -> Option<Interval> {
        let known = || self.samples[..self.len].iter().flatten();
        let (first, last) = known().next().zip(known().last())?;
        let middle = first.at + (last.at - first.at) / 2;
        let middle = known().min_by_key(|sample| (sample.at - middle).abs())?;
        let contradicts = |rate: Interval| {
            (rate.centre - prior.centre).abs() > prior.half_width + rate.half_width
        };
        let halves = [first.rate_until(middle)?, middle.rate_until(last)?];
        let whole = first.rate_until(last)?;
        halves.into_iter().all(contradicts).then_some(whole)
    }
}

impl Source {
    /// The rate that its samples show, if it lies outside of `prior`: by the correctness intervals
    /// of its samples, or by the line through them.
    fn rate_outside(&self, prior: Interval) -> Option<Interval> {
        self.rates.rate_outside(prior).or_else(|| {
            let trend = self.points.trend()?;
            if !TREND_SAMPLES.contains(&trend.samples) {
                return None;
            }
            let rate = Interval {
                centre: trend.frequency.as_ratio(),
                half_width: student(trend.samples - 2) * trend.frequency_sigma.as_ratio(),
            };
            let apart = (rate.centre - prior.centre).abs();
            let credible = TREND_CONTRADICTION / OUTLIER * prior.half_width;
            let moved = apart * trend.span.as_seconds_f64();
            let contradicts = apart > credible + rate.half_width
                && moved > LATENESS * self.rates.spread_of_half_widths();
            contradicts.then_some(rate)
        })
    }
}

impl Discipline {
    /// Replaces the prior of the frequency and stops the filters, if the samples of the source at
    /// `index` and of a majority show that it is wrong. Returns whether it did.
    pub(super) fn replace_wrong_prior(&mut self, index: usize) -> bool {
        if self.frequency_confirmed {
            return false;
        }
        let prior = Interval {
            centre: self.prior.frequency.as_ratio(),
            half_width: OUTLIER * self.prior.uncertainty.as_ratio(),
        };
        // Usually no source contradicts it, and no vote is necessary.
        if self.sources[index].rate_outside(prior).is_none() {
            return false;
        }
        let Some(rate) = self.majority_rate(prior) else {
            return false;
        };
        self.stop_filters();
        self.prior = FrequencyPrior {
            frequency: Frequency::from_ratio(rate.centre),
            uncertainty: Frequency::from_ratio(rate.half_width),
        };
        self.bank
            .for_each(|filter| filter.restart(rate.centre, 0.0));
        self.bank.forget_weights();
        for source in &mut self.sources {
            source.rates.restart();
        }
        true
    }

    /// The rates that a majority of the sources permits, all of which contradict `prior`.
    fn majority_rate(&mut self, prior: Interval) -> Option<Interval> {
        let trusted_only = (self.sources.iter()).any(|it| it.eligible && it.options.trust);
        let voters = self.sources.iter();
        let voters = voters.filter(|it| it.eligible && (!trusted_only || it.options.trust));
        let mut count = 0_usize;
        self.edges.clear();
        for source in voters {
            count += 1;
            let rate = source.rate_outside(prior);
            self.edges.extend(rate.iter().flat_map(Interval::edges));
        }
        let majority = count / 2 + 1;
        let overlap = largest_overlap(&mut self.edges, prior.centre)?;
        if overlap.agreeing < majority {
            return None;
        }
        majority_span(&self.edges, majority)
    }

    /// Records that the frequency is known, once good samples of a minute show it well enough to be
    /// saved.
    pub(super) fn confirm_frequency(&mut self, at: FreeTime) {
        let Some(start) = self.start_interval else {
            return;
        };
        self.frequency_confirmed |= self.contradiction.is_settled(self.slots_used)
            && (at - start.at).as_seconds_f64() > MIN_CONFIRMATION
            && self.frequency_prior().is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Measurement, MeasurementOutcome, NoiseLaw};
    use super::*;

    fn sample(seconds: f64, phase: f64) -> Measurement {
        Measurement {
            at: FreeTime::from_nanos((seconds * 1e9) as i64),
            phase: NtpDuration::from_seconds_f64(phase),
            delay: Some(NtpDuration::from_millis(2)),
            stamp_noise: 1e-6,
            root_delay: NtpDuration::ZERO,
            root_dispersion: NtpDuration::from_millis(100),
        }
    }

    /// A discipline with five samples of four sources, 2 s apart; `rates` in s/s.
    fn with_rates(rates: [f64; 4]) -> (Discipline, usize) {
        let mut discipline = Discipline::new(Config::default(), None);
        let keys = rates.map(|rate| (discipline.add_source(NoiseLaw::Queue), rate));
        let mut replaced = 0;
        for round in 0..5 {
            for (place, (key, rate)) in (0_u8..).zip(keys) {
                let at = 2.0 * f64::from(round) + 0.05 * f64::from(place);
                let outcome = discipline.add_measurement(key, &sample(at, rate * at));
                replaced += usize::from(outcome == MeasurementOutcome::FrequencyReplaced);
            }
        }
        (discipline, replaced)
    }

    #[test]
    fn a_majority_replaces_the_frequency_and_a_minority_does_not() {
        for rate in [1e-2, -5e-2, 0.1] {
            let (discipline, replaced) = with_rates([0.0, rate, rate, rate]);
            let frequency = discipline.bank.moments().frequency;
            assert_eq!(replaced, 1, "{rate}");
            assert!((frequency - rate).abs() < 1e-4, "{rate}: {frequency}");
            let (discipline, replaced) = with_rates([0.0, 0.0, rate, rate]);
            assert_eq!(replaced, 0, "{rate}: half is no majority");
            assert!(discipline.bank.moments().frequency.abs() < 1e-3);
        }
    }

    #[test]
    fn a_jump_of_the_clock_is_no_rate() {
        let mut discipline = Discipline::new(
            Config {
                minimum_agreeing_sources: 1,
                ..Config::default()
            },
            None,
        );
        let key = discipline.add_source(NoiseLaw::Queue);
        for round in 0..40 {
            let phase = if round < 5 { 0.0 } else { 1.0 };
            let outcome = discipline.add_measurement(key, &sample(2.0 * f64::from(round), phase));
            assert_ne!(outcome, MeasurementOutcome::FrequencyReplaced, "{round}");
        }
        let frequency = discipline.bank.moments().frequency;
        assert!(frequency.abs() < 1e-4, "{frequency}");
    }

    #[test]
    fn a_confirmed_frequency_is_not_replaced() {
        let mut discipline = Discipline::new(
            Config {
                minimum_agreeing_sources: 1,
                ..Config::default()
            },
            None,
        );
        let key = discipline.add_source(NoiseLaw::Queue);
        for round in 0..200 {
            let at = 2.0 * f64::from(round);
            discipline.add_measurement(key, &sample(at, 0.0));
        }
        assert!(discipline.frequency_confirmed);
        for round in 200..240 {
            let at = 2.0 * f64::from(round);
            let outcome = discipline.add_measurement(key, &sample(at, 0.05 * (at - 400.0)));
            assert_ne!(outcome, MeasurementOutcome::FrequencyReplaced);
        }
    }
}
