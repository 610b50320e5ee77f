//! Gate: decides what an outlier means.
//!
//! A single outlier shows nothing. Two in a row, of one source or of most of several, show that
//! something changed. What changed follows from how the samples deviate:
//!
//! * the delay of this path changed recently, and the deviation is no larger than what the new path
//!   can hide: the **path** has a new asymmetry. It may exceed the change of the delay: a path that
//!   becomes 4 ms shorter there and 2 ms longer back changes by 2 ms and hides 3 ms;
//! * there are several sources and most of them fit: this **server** (or its path) moved;
//! * otherwise our own **clock** was stepped, or its frequency jumped.
//!
//! Only the cause becomes uncertain. The weights of the hypotheses are kept, because a jump is not
//! wander (resetting them was worse).
//!
//! # Drift test
//! A slow change stays inside the gate: an oscillator that jumps by 1 ppm is 64 us off at the next
//! poll, and the gate may be 300 us wide. So four consecutive samples are also tested together. If
//! their weighted mean cannot be chance, the cause is looked for in the same way: path, server or
//! clock. No sample is dropped; the cause becomes uncertain by what has built up.
//!
//! # Contradiction
//! If several sources repeatedly point to the clock without good samples between, they contradict
//! the model. Phase and frequency are then forgotten and begin again with the middle source; if
//! that does not help, everything is.

use ntp_time::FreeTime;

use super::Cause;
use super::bank::Innovation;
use super::confidence::{DRIFT, DRIFT_SUPPORT, OUTLIER};

/// Number of consecutive outliers that change the model. With three, an oscillator that jumps by 10
/// ppm is followed one poll later (1.7 times the error). A pair of late packets is no step: a queue
/// explains half of its delay, which is inside the gate.
pub(super) const OUTLIERS_TO_ACT: u32 = 2;
/// Number of samples at the start that the gate does not test, because the filters know too little
/// to predict them; `is_plausible` limits them. A smaller number rejects good samples, a larger one
/// learns early outliers. Validated by simulation only.
pub(super) const SAMPLES_BEFORE_GATE: u64 = 4;
/// Number of samples for which a route change explains outliers. A larger number attributes steps
/// of the clock to old route changes; a smaller one attributes the asymmetry of a new route to
/// server or clock. Validated by simulation only.
pub(super) const ROUTE_MEMORY: u32 = 16;
/// Largest frequency change attributed to one event, s/s: a jump of the oscillator is at most as
/// large as its whole error may be, 100 ppm.
pub(super) const MAX_FREQUENCY_JUMP: f64 = 1e-4;
/// Number of samples in a drift test. With six, half of the gain is lost (see
/// [`confidence::DRIFT`](super::confidence::DRIFT)), because the change is noticed later.
const DRIFT_SAMPLES: usize = 4;
/// Number of clock changes without good samples between after which several sources contradict the
/// model. A single change may be attributed wrongly, and so may its correction; a third shows that
/// the filters do not converge. A smaller number restarts more often, and each restart loses the
/// biases; a larger one follows disagreeing sources for longer.
const MAX_CLOCK_CHANGES: u32 = 3;
/// Number of good samples per source that clear the count of clock changes: on average every source
/// was then used over a full drift test ([`DRIFT_SAMPLES`]), so a change that remains would have
/// been detected.
const GOOD_SAMPLES_PER_SOURCE: u32 = DRIFT_SAMPLES as u32;

impl Innovation {
    /// Its size in standard deviations, squared.
    fn sigmas_squared(&self) -> f64 {
        self.mean * self.mean / self.variance
    }

    /// Whether this is the smaller deviation of the two, in standard deviations.
    pub(super) fn is_smaller_than(&self, other: &Self) -> bool {
        self.sigmas_squared() < other.sigmas_squared()
    }

    /// Whether it lies outside the gate.
    pub(super) fn is_outlier(&self) -> bool {
        self.sigmas_squared() > OUTLIER * OUTLIER
    }
}

/// Drift test: the last deviations of one source, all of them inside the gate.
#[derive(Clone, Debug, Default)]
pub(super) struct DriftTest {
    deviations: [(FreeTime, Innovation); DRIFT_SAMPLES],
    len: usize,
}

/// Result of a positive drift test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drift {
    /// Newest deviation, seconds: the size of what has built up.
    pub(super) deviation: f64,
    /// Duration over which it has built up, seconds; at least 1.
    pub(super) over: f64,
}

impl DriftTest {
    /// Appends a deviation.
    pub(super) fn push(&mut self, at: FreeTime, deviation: Innovation) {
        self.deviations.rotate_left(1);
        self.deviations[DRIFT_SAMPLES - 1] = (at, deviation);
        self.len = (self.len + 1).min(DRIFT_SAMPLES);
    }

    /// Whether the mean of all deviations, weighted by their variances, is beyond `sigmas` of its
    /// own standard deviation: a score test.
    fn exceeds(&self, sigmas: f64) -> bool {
        let known = &self.deviations[DRIFT_SAMPLES - self.len..];
        let score: f64 = known.iter().map(|(_, d)| d.mean / d.variance).sum();
        let information: f64 = known.iter().map(|(_, d)| d.variance.recip()).sum();
        self.len == DRIFT_SAMPLES && score * score > sigmas * sigmas * information
    }

    /// Returns the drift if the deviations together cannot be chance.
    pub(super) fn detect(&self) -> Option<Drift> {
        let ((begun, _), (now, newest)) = (self.deviations[0], self.deviations[DRIFT_SAMPLES - 1]);
        // It began one sample before the first that shows it.
        let steps = DRIFT_SAMPLES as f64;
        let over = (now - begun).as_seconds_f64() * steps / (steps - 1.0);
        self.exceeds(DRIFT).then_some(Drift {
            deviation: newest.mean,
            over: over.max(1.0),
        })
    }

    /// Whether the deviations support the drift of another source.
    pub(super) fn supports(&self) -> bool {
        self.exceeds(DRIFT_SUPPORT)
    }
}

/// Facts from which the cause of a deviation follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// Mean innovation, seconds.
    pub(super) deviation: f64,
    /// Whether the path changed its length within the last [`ROUTE_MEMORY`] samples.
    pub(super) route_changed: bool,
    /// Largest credible variance of the path's asymmetry.
    pub(super) asymmetry_cap: f64,
    /// Number of sources in the joint state.
    pub(super) sources: usize,
    /// Number of those that deviate too, this one included.
    pub(super) deviating_sources: usize,
}

impl Evidence {
    /// The most likely cause.
    pub(super) fn cause(&self) -> Cause {
        let squared = self.deviation * self.deviation;
        if self.route_changed && squared <= OUTLIER * OUTLIER * self.asymmetry_cap {
            Cause::Path
        } else if self.sources > 1 && 2 * self.deviating_sources <= self.sources {
            Cause::Server
        } else {
            Cause::Clock
        }
    }
}

/// Counts clock changes without enough good samples between.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contradiction {
    clock_changes: u32,
    good_samples: u32,
    /// The last remedy did not help yet.
    repeated: bool,
}

/// Remedy of a contradiction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Forget phase and frequency. The biases are kept, so the phase begins again where the middle
    /// source and what is known of it place it, not where a liar has moved it.
    ForgetClock,
    /// Forget everything.
    ForgetAll,
}

impl Contradiction {
    /// Counts a clock change; returns the remedy if the sources contradict the model.
    pub(super) fn record_clock_change(&mut self, sources: usize) -> Option<Remedy> {
        self.clock_changes += 1;
        self.good_samples = 0;
        if sources < 2 || self.clock_changes < MAX_CLOCK_CHANGES {
            return None;
        }
        self.clock_changes = 0;
        if core::mem::replace(&mut self.repeated, true) {
            return Some(Remedy::ForgetAll);
        }
        Some(Remedy::ForgetClock)
    }

    /// Counts a good sample; enough of them clear the clock changes.
    pub(super) fn record_good_sample(&mut self, sources: usize) {
        self.good_samples = self.good_samples.saturating_add(1);
        if self.is_settled(sources) {
            self.clock_changes = 0;
            self.repeated = false;
        }
    }

    /// Whether enough good samples followed the last clock change, or the start.
    pub(super) fn is_settled(&self, sources: usize) -> bool {
        u64::from(self.good_samples) >= u64::from(GOOD_SAMPLES_PER_SOURCE) * sources as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Evidence = Evidence {
        deviation: 2e-3,
        route_changed: false,
        asymmetry_cap: 0.0,
        sources: 1,
        deviating_sources: 1,
    };

    #[test]
    fn outliers_of_a_single_source_are_attributed_to_the_clock() {
        assert_eq!(ALONE.cause(), Cause::Clock);
    }

    #[test]
    fn a_route_change_explains_deviations_up_to_its_cap() {
        let cap = 5e-3 * 5e-3 / 12.0;
        let route_changed = Evidence {
            route_changed: true,
            asymmetry_cap: cap,
            ..ALONE
        };
        assert_eq!(route_changed.cause(), Cause::Path);
        let too_large = Evidence {
            deviation: 8e-3,
            ..route_changed
        };
        assert_eq!(too_large.cause(), Cause::Clock);
    }

    #[test]
    fn outliers_of_a_minority_are_attributed_to_the_server() {
        let one_of_four = Evidence {
            sources: 4,
            ..ALONE
        };
        assert_eq!(one_of_four.cause(), Cause::Server);
        let three_of_four = Evidence {
            deviating_sources: 3,
            ..one_of_four
        };
        assert_eq!(three_of_four.cause(), Cause::Clock);
    }

    fn drift_test(means: [f64; 5]) -> DriftTest {
        let mut drift_test = DriftTest::default();
        for (index, mean) in (0i64..).zip(means) {
            let at = FreeTime::from_nanos(64_000_000_000 * index);
            let variance = 1.0;
            drift_test.push(at, Innovation { mean, variance });
        }
        drift_test
    }

    #[test]
    fn small_deviations_to_one_side_are_a_drift() {
        let drift = drift_test([0.0, 1.0, 2.0, 3.0, 4.0]).detect().unwrap();
        assert_eq!((drift.deviation, drift.over), (4.0, 256.0));
        assert!(drift_test([0.0, 1.0, -2.0, 3.0, 4.0]).detect().is_none());
        assert!(drift_test([9.0, 1.0, 2.0, 2.0, 2.0]).supports());
    }

    #[test]
    fn three_samples_are_not_enough_for_a_drift() {
        let mut short = DriftTest::default();
        for index in 0..3 {
            let deviation = Innovation {
                mean: 4.9,
                variance: 1.0,
            };
            short.push(FreeTime::from_nanos(index), deviation);
            assert!(short.detect().is_none());
        }
    }

    #[test]
    fn good_samples_clear_clock_changes() {
        let mut contradiction = Contradiction::default();
        assert_eq!(contradiction.record_clock_change(2), None);
        assert_eq!(contradiction.record_clock_change(2), None);
        for _ in 0..8 {
            contradiction.record_good_sample(2);
        }
        assert_eq!(contradiction.record_clock_change(2), None);
        assert_eq!(contradiction.record_clock_change(2), None);
        assert_eq!(
            contradiction.record_clock_change(2),
            Some(Remedy::ForgetClock)
        );
        for _ in 1..MAX_CLOCK_CHANGES {
            assert_eq!(contradiction.record_clock_change(2), None);
        }
        assert_eq!(
            contradiction.record_clock_change(2),
            Some(Remedy::ForgetAll)
        );
    }
}
