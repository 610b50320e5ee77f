//! Path model of one server: the delay of the idle path, and the excess delay of each packet.
//!
//! # Problem
//! A reply shows its round trip exactly, and its error only through it. If a packet waited in a
//! queue for `x` seconds on top of the idle path, its phase is wrong by up to `x/2`; if it did not
//! wait, its phase is nearly perfect. So the excess delay `x` says more than any statistic of the
//! phases, provided that the idle delay is known. It is not: it must be estimated from the smallest
//! delays, and it changes with the route.
//!
//! # Baseline
//! The minimum over two buckets. A bucket closes after 512 samples *and* 8192 s and then becomes
//! the older one, so a minimum is forgotten after at most two buckets. If the smallest delay is
//! further below the second smallest than that is below the median, it is a timestamp error and not
//! a path, and the second smallest is used. The observed minimum of `n` samples is above the true
//! one; by how much follows from the height of the queues, estimated by `typical` (median excess of
//! the last 32):
//!
//! ```text
//! excess = delay - baseline + (typical + first/samples) / sqrt(n)
//! ```
//!
//! For exponential queues of mean J in both directions typical = 1.7 J and the minimum of n is 1.25
//! J/sqrt(n) too high, so the factor 1 overestimates the excess (0.5 and 2 were both worse by 2 to
//! 3 %). `first/samples` is the prior that the first packet may have been late by its whole delay,
//! with the weight of one sample.
//!
//! # Route changes
//! A *shorter* route is detected at the second sample: two delays below the baseline by more than
//! `typical` cannot be queues. A *longer* route looks like congestion for a while. It is accepted
//! when the smallest of the newest 8 delays is three typical excesses above the baseline, *and*
//! waiting would cost more than trusting the new path: when the prediction has become less certain
//! than a sample of the new path (its scatter is about spread/sqrt(12); we accept at half of that).
//! Exponential queues raise a false alarm once in 0.04^-8 samples.
//!
//! All delays in seconds. Reading: D. Mills, "Computer Network Time Synchronization", chapter 3
//! (the wedge of offset against delay).

use ntp_time::FreeTime;

use super::confidence::OUTLIER;
use super::ring::{Ring, median};

/// Number of recent delays from which the typical excess is estimated. With 16 the longer-route
/// test had 0.3 false alarms in 110 000 s.
const RECENT: usize = 32;
/// Number of the newest delays that must all show a longer route. Fewer raise false alarms in
/// congestion; more delay the detection.
const NEWEST: usize = 8;
/// A bucket of minima closes after this many samples: then the minimum is known to a twentieth of
/// the mean queue. Where wander is small a filter remembers several hundred samples, and the error
/// of the minimum limits it: with 128 the error was 1.3 times as large at queues of 1 ms and a
/// wander of 1e-10, with 4096 it was the same. A longer route is detected much earlier ...
const BUCKET_SAMPLES: u32 = 512;
/// ... and not before this many seconds: otherwise, at short poll intervals, the bucket would be
/// shorter than the filter's memory (1.65 times the achievable error at 1 s).
const BUCKET_SECONDS: f64 = 8192.0;
/// Number of samples after which the baseline is known well enough to detect a shorter route: its
/// excess over the true minimum is then below a third of the mean queue.
const SAMPLES_TO_KNOW: u32 = 16;
/// Height above the baseline, in typical excesses, from which the newest delays are a longer route.
/// An exponential queue exceeds it with probability 0.04, so eight in a row practically never.
const LONGER_FACTOR: f64 = 3.0;
/// Accept the new route when the prediction variance exceeds spread^2 divided by this:
/// (spread/sqrt(12)/2)^2.
const ACCEPT_DIVISOR: f64 = 48.0;

/// The two smallest delays of a series, the smallest first.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    lows: [f64; 2],
    samples: u32,
}

impl Bucket {
    const EMPTY: Self = Self {
        lows: [f64::INFINITY; 2],
        samples: 0,
    };

    fn insert(&mut self, delay: f64) {
        let [first, second] = self.lows;
        self.lows = [first.min(delay), second.min(delay.max(first))];
        self.samples += 1;
    }

    fn from_delays(delays: impl IntoIterator<Item = f64>) -> Self {
        let mut bucket = Self::EMPTY;
        delays.into_iter().for_each(|delay| bucket.insert(delay));
        bucket
    }
}

/// Path model of one server.
#[derive(Clone, Debug)]
pub(super) struct PathModel {
    recent: Ring<RECENT>,
    /// Round trip of the first sample.
    first: f64,
    samples: u32,
    current: Bucket,
    current_opened: FreeTime,
    previous: Bucket,
    /// Current delay of the idle path; infinite before the first sample.
    baseline: f64,
    /// Lowest baseline ever: the best route that is known to exist.
    lowest_baseline: f64,
}

/// One delay relative to the path model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PathReading {
    /// Delay above the baseline; zero below it.
    pub(super) above_baseline: f64,
    /// Median of the recent excesses over the baseline.
    pub(super) typical: f64,
    /// Possible error of the baseline because few samples were ever seen.
    pub(super) baseline_uncertainty: f64,
    /// Number of samples in the baseline.
    pub(super) baseline_samples: f64,
    /// Change of the route's length with this sample, if there is one.
    pub(super) shift: Option<f64>,
}

impl PathReading {
    /// Estimated delay above the true idle path: the measure of a sample's quality.
    pub(super) fn excess(&self) -> f64 {
        self.above_baseline
            + (self.typical + self.baseline_uncertainty) / self.baseline_samples.sqrt()
    }
}

impl PathModel {
    pub(super) const fn new() -> Self {
        Self {
            recent: Ring::new(),
            first: 0.0,
            samples: 0,
            current: Bucket::EMPTY,
            current_opened: FreeTime::from_nanos(0),
            previous: Bucket::EMPTY,
            baseline: f64::INFINITY,
            lowest_baseline: f64::INFINITY,
        }
    }

    /// Current delay of the idle path; zero before the first sample.
    pub(super) fn baseline(&self) -> f64 {
        if self.baseline.is_finite() {
            self.baseline
        } else {
            0.0
        }
    }

    /// Lowest baseline ever; zero before the first sample.
    pub(super) fn lowest_baseline(&self) -> f64 {
        self.lowest_baseline.min(self.baseline())
    }

    /// Median excess of the recent samples over the baseline.
    pub(super) fn typical(&self) -> f64 {
        self.recent
            .median()
            .map_or(0.0, |median| (median - self.baseline()).max(0.0))
    }

    /// Adds the delay of a sample. `noise` is its stamp noise, `prediction_variance` the variance
    /// with which the filters predict the phase of this source.
    pub(super) fn observe(
        &mut self,
        at: FreeTime,
        delay: f64,
        noise: f64,
        prediction_variance: f64,
    ) -> PathReading {
        // In units of the phase noise; a delay has twice that.
        let slack = OUTLIER * noise;
        let known = self.samples >= SAMPLES_TO_KNOW;
        if self.samples == 0 {
            self.first = delay;
            self.current_opened = at;
        }
        let (before, typical) = (self.baseline(), self.typical());
        self.current.insert(delay);
        self.recent.push(delay);
        self.samples = self.samples.saturating_add(1);
        self.close_bucket(at);
        self.baseline = self.lowest(known, slack);

        let lift = self.baseline - before;
        let shift = if known && -lift > typical + slack {
            self.restart(at, Bucket::from_delays(self.lows()));
            let past = self.recent.as_mut_slice().iter_mut();
            past.filter(|old| **old >= before)
                .for_each(|old| *old += lift);
            Some(-lift)
        } else if known && lift > LONGER_FACTOR * typical {
            // An old minimum was forgotten with its bucket: the route had become longer before.
            Some(lift)
        } else {
            self.accept_longer(at, slack, prediction_variance)
        };
        if known {
            self.lowest_baseline = self.lowest_baseline();
        }

        PathReading {
            above_baseline: (delay - self.baseline).max(0.0),
            typical: self.typical(),
            baseline_uncertainty: self.first / f64::from(self.samples),
            // A delay below the baseline that no other confirms is a baseline of one sample.
            baseline_samples: if delay < self.baseline {
                1.0
            } else {
                f64::from(self.current.samples + self.previous.samples)
            },
            shift,
        }
    }

    /// Closes the current bucket when it is full; the older one is forgotten.
    fn close_bucket(&mut self, at: FreeTime) {
        // If time went back, the bucket counts from now.
        self.current_opened = self.current_opened.min(at);
        let open_for = (at - self.current_opened).as_seconds_f64();
        if self.current.samples >= BUCKET_SAMPLES && open_for >= BUCKET_SECONDS {
            self.previous = core::mem::replace(&mut self.current, Bucket::EMPTY);
            self.current_opened = at;
        }
    }

    /// Accepts a longer route if the newest delays show one; returns the change of the length.
    fn accept_longer(&mut self, at: FreeTime, slack: f64, prediction_variance: f64) -> Option<f64> {
        if !self.recent.is_full() {
            return None;
        }
        let (older, newest) = self.recent.split(NEWEST);
        let recently = Bucket::from_delays(newest.iter().copied());
        let [lowest, _] = recently.lows;
        let usual = (median::<RECENT>(older)? - self.baseline).max(0.0);
        let lift = lowest - self.baseline;
        let spread = median::<NEWEST>(newest)? - lowest;
        if lift <= LONGER_FACTOR * usual + slack
            || prediction_variance <= spread * spread / ACCEPT_DIVISOR
        {
            return None;
        }
        self.restart(at, recently);
        self.baseline = lowest;
        let older = RECENT - NEWEST;
        self.recent.as_mut_slice()[..older]
            .iter_mut()
            .for_each(|old| *old += lift);
        Some(lift)
    }

    /// The two smallest delays of both buckets.
    fn lows(&self) -> [f64; 2] {
        let Bucket { lows, .. } = Bucket::from_delays(
            [self.current.lows, self.previous.lows]
                .into_iter()
                .flatten(),
        );
        lows
    }

    /// The smallest delay, or the second if the smallest is further below it than it is below the
    /// median: then the smallest is a timestamp error.
    fn lowest(&self, known: bool, slack: f64) -> f64 {
        let [first, second] = self.lows();
        let usual = self.recent.median().map_or(0.0, |median| median - second);
        if known && second - first > usual + slack {
            second
        } else {
            first
        }
    }

    /// Starts the buckets again from `bucket`.
    fn restart(&mut self, at: FreeTime, bucket: Bucket) {
        self.previous = Bucket::EMPTY;
        self.current = bucket;
        self.current_opened = at;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testworld::Rng;
    use super::*;

    const NOISE: f64 = 1e-9;

    struct TestPath {
        path: PathModel,
        rng: Rng,
        seconds: i64,
    }

    impl TestPath {
        fn new() -> Self {
            Self {
                path: PathModel::new(),
                rng: Rng::new(7),
                seconds: 0,
            }
        }

        /// Adds `count` samples over a path of the given length with exponential queues. Returns
        /// index and size of the route changes that were reported.
        fn run(
            &mut self,
            count: usize,
            length: f64,
            queue: f64,
            prediction_sigma: f64,
        ) -> Vec<(usize, f64)> {
            let mut shifts = Vec::new();
            for index in 0..count {
                self.seconds += 64;
                let delay = length + queue * (self.rng.exponential() + self.rng.exponential());
                let at = FreeTime::from_nanos(self.seconds * 1_000_000_000);
                let reading = self
                    .path
                    .observe(at, delay, NOISE, prediction_sigma.powi(2));
                shifts.extend(reading.shift.map(|shift| (index, shift)));
            }
            shifts
        }
    }

    #[test]
    fn the_idle_delay_is_found_without_false_alarms() {
        let mut test = TestPath::new();
        assert_eq!(test.run(5000, 0.020, 1e-4, 1.0), []);
        assert!((test.path.baseline() - 0.020).abs() < 3e-5);
        assert!((test.path.typical() - 1.7e-4).abs() < 1e-4);
    }

    #[test]
    fn a_longer_route_is_accepted_once_eight_samples_agree() {
        let mut test = TestPath::new();
        test.run(100, 0.020, 1e-4, 1e-3);
        let shifts = test.run(20, 0.025, 1e-4, 1e-3);
        assert_eq!(shifts.len(), 1);
        assert_eq!(shifts[0].0, 7);
        assert!((shifts[0].1 - 0.005).abs() < 1e-4);
        assert!((test.path.lowest_baseline() - 0.020).abs() < 1e-4);
    }

    #[test]
    fn congestion_is_not_a_longer_route_while_the_prediction_is_better() {
        let mut test = TestPath::new();
        test.run(100, 0.020, 1e-4, 1e-6);
        assert_eq!(test.run(20, 0.025, 3e-3, 1e-6), []);
    }

    #[test]
    fn a_shorter_route_is_accepted_at_its_second_sample() {
        let mut test = TestPath::new();
        test.run(100, 0.020, 1e-4, 1e-6);
        let shifts = test.run(2, 0.015, 1e-4, 1e-6);
        assert_eq!(shifts.len(), 1);
        assert_eq!(shifts[0].0, 1);
        assert!((shifts[0].1 - 0.005).abs() < 1e-3);
        assert!(test.path.lowest_baseline() < 0.016);
    }

    #[test]
    fn a_single_delay_that_is_too_short_is_not_a_path() {
        for before in [0, 100] {
            let mut test = TestPath::new();
            test.run(before, 0.020, 1e-4, 1e-6);
            test.run(1, 0.010, 1e-4, 1e-6);
            assert_eq!(test.run(100, 0.020, 1e-4, 1e-6), []);
            assert!((test.path.baseline() - 0.020).abs() < 1e-4);
            assert!((test.path.lowest_baseline() - 0.020).abs() < 1e-4);
        }
    }
}
