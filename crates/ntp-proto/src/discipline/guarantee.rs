//! The guarantee: an interval in which the truth lies as long as most sources are right.
//!
//! # Problem
//! The correctness interval of a sample is half of its delay wide, queues included. One late packet
//! would make the bound as wide as its delay until the next one.
//!
//! # Idea
//! What held before still holds: the truth lay in the interval of the sample before, which since
//! then has widened by no more than the drift of the oscillator. It therefore lies in the
//! intersection of both. Request and reply need not be quick in the same exchange: one sample with a
//! quick request bounds the phase on one side, another one with a quick reply on the other.
//!
//! The old interval is dropped where it would be a risk: if the two do not overlap, if the oscillator
//! has moved, if the last sample was taken for a step, if fewer sources agree than before (the lost
//! ones may have been wrong all along), and beside reference clocks, whose intervals are made of
//! noise and not of delay: the intersection of many would be too narrow.

use ntp_time::NtpDuration;

use super::measurement::Measurement;
use super::source::{DatedInterval, Propagation, SourceKey};
use super::{Discipline, NoiseLaw, confidence};

/// Rise of the drift allowance at which the oscillator is taken to have moved. Smaller rises are the
/// uncertainty of the frequency in the record.
const MOVED: f64 = 1.5;

/// Interval in which the truth lies if most sources are right, see `intersection`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guarantee {
    /// The span of phases, at the time of the selection.
    pub(super) interval: DatedInterval,
    /// The nearest source.
    pub(super) best: SourceKey,
}

/// What a stored guarantee rests on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grounds {
    /// Drift allowance, s/s.
    allowance: f64,
    /// Number of sources that agree.
    agreeing: usize,
}

impl Grounds {
    /// Whether what held on these grounds holds on `new` ones.
    fn last(&self, new: &Self) -> bool {
        new.allowance <= MOVED * self.allowance && new.agreeing >= self.agreeing
    }
}

impl Discipline {
    /// Stores the guarantee that follows from a used sample and from those before it.
    pub(super) fn store_guarantee(&mut self, new: Guarantee, measurement: &Measurement) {
        let grounds = Grounds {
            allowance: self.drift_allowance(measurement.at).as_ratio(),
            agreeing: self.agreement.agreeing,
        };
        let before = core::mem::replace(&mut self.grounds, grounds);
        let narrowed = self
            .guarantee
            .filter(|_| before.last(&grounds) && self.only_paths_in_use())
            .and_then(|before| {
                let propagation = self.propagation(measurement.at, self.frequency_sigma());
                // The stamp noise in the intervals is exceeded by some of many.
                let noise = confidence::STAMP * measurement.noise();
                narrowed(&new, &before, &propagation, noise)
            });
        self.guarantee = Some(narrowed.unwrap_or(new));
    }

    /// Whether all sources in use are measured over a path with a delay.
    fn only_paths_in_use(&self) -> bool {
        let mut used = self.sources.iter().filter(|source| source.in_use);
        used.all(|source| source.law == NoiseLaw::Queue)
    }
}

/// The intersection of `new` with what `before` still guarantees, widened by `noise`; `None` if they
/// do not overlap.
fn narrowed(
    new: &Guarantee,
    before: &Guarantee,
    propagation: &Propagation,
    noise: f64,
) -> Option<Guarantee> {
    let mut old = before.interval.propagate(propagation);
    old.half_width += noise;
    let common = new.interval.propagate(propagation).intersection(old)?;
    let phase = NtpDuration::from_seconds_f64(common.centre);
    Some(Guarantee {
        interval: DatedInterval {
            at: propagation.now,
            phase: propagation.origin + phase,
            half_width: common.half_width,
            root_delay: new.interval.root_delay,
        },
        best: new.best,
    })
}

#[cfg(test)]
mod tests {
    use ntp_time::{FreeTime, Frequency};

    use super::super::{Config, DriftAllowance};
    use super::*;

    /// A discipline with one source, which is measured every 64 s.
    struct Run {
        discipline: Discipline,
        key: SourceKey,
        at: FreeTime,
    }

    impl Run {
        fn new(law: NoiseLaw) -> Self {
            let mut discipline = Discipline::new(config(DriftAllowance::Learnt), None);
            let key = discipline.add_source(law);
            let at = FreeTime::from_nanos(0);
            Self {
                discipline,
                key,
                at,
            }
        }

        /// Adds a sample with these delays of request and reply, in microseconds.
        fn measure(&mut self, (request, reply): (i64, i64), root_dispersion: NtpDuration) {
            self.at = self.at + NtpDuration::from_seconds(64);
            let sample = Measurement {
                at: self.at,
                phase: NtpDuration::from_micros(request - reply).half(),
                delay: Some(NtpDuration::from_micros(request + reply)),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion,
            };
            self.discipline.add_measurement(self.key, &sample);
        }

        /// Microseconds.
        fn bound(&self) -> f64 {
            let figures = self.discipline.error_figures(self.at, NtpDuration::ZERO);
            1e6 * figures.unwrap().bound.as_seconds_f64()
        }
    }

    fn config(drift_allowance: DriftAllowance) -> Config {
        Config {
            minimum_agreeing_sources: 1,
            drift_allowance,
            ..Config::default()
        }
    }

    fn bound(delays: &[(i64, i64)]) -> f64 {
        let mut run = Run::new(NoiseLaw::Queue);
        for delays in delays {
            run.measure(*delays, NtpDuration::ZERO);
        }
        run.bound()
    }

    /// Bounds before and after a sample whose server states an error of 10 ms, in microseconds, with
    /// `change` between them.
    fn around_a_poor_sample(law: NoiseLaw, change: impl Fn(&mut Run)) -> [f64; 2] {
        let mut run = Run::new(law);
        for _ in 0..12 {
            run.measure((1_000, 1_000), NtpDuration::ZERO);
        }
        let before = run.bound();
        change(&mut run);
        run.measure((1_000, 1_000), NtpDuration::from_millis(10));
        [before, run.bound()]
    }

    #[test]
    fn a_poor_sample_does_not_widen_what_was_known() {
        let [before, after] = around_a_poor_sample(NoiseLaw::Queue, |_| {});
        assert!(after < before + 2_000.0, "{before} {after}");
    }

    #[test]
    fn what_was_known_is_dropped_if_the_oscillator_has_moved() {
        // The learnt allowance rises so if the frequency changes; a configured one rises at once.
        let allow = |run: &mut Run, ppm| {
            let allowance = DriftAllowance::Fixed(Frequency::from_ppm(ppm));
            run.discipline.reconfigure(config(allowance));
        };
        let [_, kept] = around_a_poor_sample(NoiseLaw::Queue, |run| allow(run, 16.0));
        assert!(kept < 5_000.0, "{kept}");
        let [_, dropped] = around_a_poor_sample(NoiseLaw::Queue, |run| allow(run, 50.0));
        assert!(dropped > 10_000.0, "{dropped}");
    }

    #[test]
    fn each_sample_of_a_reference_clock_counts_by_itself() {
        let sigma = NtpDuration::from_micros(1);
        let law = NoiseLaw::Gaussian { sigma };
        let [before, after] = around_a_poor_sample(law, |_| {});
        assert!(before < 5_000.0 && after > 10_000.0, "{before} {after}");
    }

    #[test]
    fn a_late_packet_does_not_widen_what_was_known() {
        let quick = [(1_000, 1_000); 12];
        let late: Vec<_> = quick.into_iter().chain([(1_000, 21_000)]).collect();
        let (before, after) = (bound(&quick), bound(&late));
        // Alone, half of the delay: 11 ms.
        assert!(after < before + 2_000.0, "{before} {after}");
    }

    #[test]
    fn a_quick_request_and_a_quick_reply_bound_both_sides() {
        let lucky = [(1_000, 9_000), (9_000, 1_000)].repeat(8);
        let unlucky = [(9_000, 9_000)].repeat(16);
        let (lucky, unlucky) = (bound(&lucky), bound(&unlucky));
        assert!(lucky < 0.6 * unlucky, "{lucky} {unlucky}");
    }
}
