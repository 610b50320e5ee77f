//! The path to one server: how long it is when idle, and by how much a packet was late.
//!
//! # Problem
//! A reply tells its round trip exactly and its error only through it. A packet that waited in a
//! queue for `x` seconds on top of the idle path brings a phase that is wrong by up to `x/2`; one
//! that did not wait is nearly perfect. So the excess delay `x` is worth more than any statistic of
//! the phases, provided that the idle delay is known. It is not: it must be guessed from the
//! smallest delays seen, and it changes when the route does.
//!
//! # Baseline
//! The minimum over two buckets. A bucket closes after 128 samples *and* 8192 s and then becomes
//! the older one, so that a minimum is forgotten after at most two buckets. A single delay that is further below the second
//! smallest than that is below the median is no path (an error of somebody's stamps), and the second smallest counts instead. The observed minimum of
//! `n` samples stands above the true one; by how much follows from the height of the queues, known
//! as `typical` (median excess of the last 32):
//!
//! ```text
//! excess = delay - baseline + (typical + first/samples) / sqrt(n)
//! ```
//!
//! For exponential queues of mean J in both directions typical = 1.7 J and the minimum of n is 1.25
//! J/sqrt(n) too high, so the factor 1 errs on the modest side (0.5 and 2 were both worse by 2 to 3
//! %). `first/samples` is the prior belief that the first packet may have been late by its whole
//! delay, worth one sample.
//!
//! # Route changes
//! *Shorter* is seen at the second sample: two delays below the baseline by more than `typical` cannot be queues.
//! *Longer* looks like congestion for a while. It is accepted when the smallest of the newest 8
//! delays is three typical excesses above the baseline, *and* waiting would cost more than trusting
//! the new path: when our own prediction has become less certain than a sample of the new path (its
//! scatter is about spread/sqrt(12); we accept at half of that). Exponential queues raise a false
//! alarm once in 0.04^-8 samples.
//!
//! All delays in seconds. Reading: D. Mills, "Computer Network Time Synchronization", chapter 3
//! (the wedge of offset against delay).

use ntp_time::FreeTime;

use super::ring::{Ring, median};

/// Delays remembered to tell the typical excess. With 16 the longer-route test fired falsely 0.3
/// times in 110 000 s.
const RECENT: usize = 32;
/// The newest of them, which must all agree that the route became longer.
const NEWEST: usize = 8;
/// A bucket of minima closes after this many samples: then the minimum is known to a tenth of the
/// mean queue ...
const BUCKET_SAMPLES: u32 = 128;
/// ... and not before this many seconds, lest at short polls the bucket be shorter than the
/// filter's memory.
const BUCKET_SECONDS: f64 = 8192.0;
/// A delay below the baseline says "shorter route" only once this many samples have found the
/// baseline.
const SAMPLES_TO_KNOW: u32 = 16;
/// How many typical excesses the newest delays must stand above the baseline to be a longer route.
const LONGER_FACTOR: f64 = 3.0;
/// Delays differ by twice the noise of a phase; five standard deviations of phase noise are 2.5 of
/// those.
const SLACK_SIGMAS: f64 = 5.0;
/// Accept the new route when our variance exceeds spread^2 divided by this: (spread/sqrt(12)/2)^2.
const ACCEPT_DIVISOR: f64 = 48.0;

/// The two smallest delays of a stretch of samples, the smallest first.
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

    fn take(&mut self, delay: f64) {
        let [first, second] = self.lows;
        self.lows = [first.min(delay), second.min(delay.max(first))];
        self.samples += 1;
    }

    fn of(delays: impl IntoIterator<Item = f64>) -> Self {
        let mut bucket = Self::EMPTY;
        delays.into_iter().for_each(|delay| bucket.take(delay));
        bucket
    }
}

/// What is known about the path to one server.
#[derive(Clone, Debug)]
pub(super) struct PathModel {
    recent: Ring<RECENT>,
    /// Round trip of the very first sample.
    first: f64,
    samples: u32,
    current: Bucket,
    current_opened: FreeTime,
    previous: Bucket,
    /// Delay of the idle path as it is now; infinite before the first sample.
    baseline: f64,
    /// The lowest baseline ever.
    home: f64,
}

/// One delay, seen against the path model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// Delay above the baseline; zero below it.
    pub(super) rise: f64,
    /// Median of that over the last samples.
    pub(super) typical: f64,
    /// How far the baseline might be wrong because few samples were ever seen.
    pub(super) doubt: f64,
    /// Samples that the baseline rests on.
    pub(super) support: f64,
    /// By how much the route changed its length just now, if it did.
    pub(super) shift: Option<f64>,
}

impl Reading {
    /// Estimated delay above the true idle path: the measure of how good a sample is.
    pub(super) fn excess(&self) -> f64 {
        self.rise + (self.typical + self.doubt) / self.support.sqrt()
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
            home: f64::INFINITY,
        }
    }

    /// Samples ever seen.
    pub(super) const fn samples(&self) -> u32 {
        self.samples
    }

    /// Delay of the idle path as it is now; zero before the first sample.
    pub(super) fn baseline(&self) -> f64 {
        if self.baseline.is_finite() {
            self.baseline
        } else {
            0.0
        }
    }

    /// The lowest baseline ever: the best route that is known to exist; zero before the first
    /// sample.
    pub(super) fn home(&self) -> f64 {
        self.home.min(self.baseline())
    }

    /// Median excess over the baseline of the recent samples.
    pub(super) fn typical(&self) -> f64 {
        self.recent
            .median()
            .map_or(0.0, |median| (median - self.baseline()).max(0.0))
    }

    /// Takes in the delay of a sample. `noise` is its stamp noise, `prediction_variance` how
    /// uncertain the filter was about the phase that this source would show.
    pub(super) fn observe(
        &mut self,
        at: FreeTime,
        delay: f64,
        noise: f64,
        prediction_variance: f64,
    ) -> Reading {
        let slack = SLACK_SIGMAS * noise;
        let known = self.samples >= SAMPLES_TO_KNOW;
        if self.samples == 0 {
            self.first = delay;
            self.current_opened = at;
        }
        let (before, typical) = (self.baseline(), self.typical());
        self.current.take(delay);
        self.recent.push(delay);
        self.samples = self.samples.saturating_add(1);
        self.close_bucket(at);
        self.baseline = self.lowest(known, slack);

        let lift = self.baseline - before;
        let shift = if known && -lift > typical + slack {
            self.restart(at, Bucket::of(self.lows()));
            let past = self.recent.as_mut_slice().iter_mut();
            past.filter(|old| **old >= before)
                .for_each(|old| *old += lift);
            Some(-lift)
        } else if known && lift > LONGER_FACTOR * typical {
            // With a bucket an old minimum was forgotten: the route had become longer unnoticed.
            Some(lift)
        } else {
            self.accept_longer(at, slack, prediction_variance)
        };
        if known {
            self.home = self.home();
        }

        Reading {
            rise: (delay - self.baseline).max(0.0),
            typical: self.typical(),
            doubt: self.first / f64::from(self.samples),
            // A delay below the baseline, that nothing confirms yet, stands for itself.
            support: if delay < self.baseline {
                1.0
            } else {
                f64::from(self.current.samples + self.previous.samples)
            },
            shift,
        }
    }

    /// Lets the older minima be forgotten.
    fn close_bucket(&mut self, at: FreeTime) {
        // Should time ever have gone back, the bucket counts from now.
        self.current_opened = self.current_opened.min(at);
        let open_for = (at - self.current_opened).as_seconds_f64();
        if self.current.samples >= BUCKET_SAMPLES && open_for >= BUCKET_SECONDS {
            self.previous = core::mem::replace(&mut self.current, Bucket::EMPTY);
            self.current_opened = at;
        }
    }

    fn accept_longer(&mut self, at: FreeTime, slack: f64, prediction_variance: f64) -> Option<f64> {
        if !self.recent.is_full() {
            return None;
        }
        let (older, newest) = self.recent.split(NEWEST);
        let recently = Bucket::of(newest.iter().copied());
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
        let Bucket { lows, .. } = Bucket::of(
            [self.current.lows, self.previous.lows]
                .into_iter()
                .flatten(),
        );
        lows
    }

    /// The smallest delay; the second, if the smallest is further from it than it is from the median: alone so far out it
    /// is no path, but an error of somebody's stamps.
    fn lowest(&self, known: bool, slack: f64) -> f64 {
        let [first, second] = self.lows();
        let usual = self.recent.median().map_or(0.0, |median| median - second);
        if known && second - first > usual + slack {
            second
        } else {
            first
        }
    }

    fn restart(&mut self, at: FreeTime, bucket: Bucket) {
        self.previous = Bucket::EMPTY;
        self.current = bucket;
        self.current_opened = at;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testworld::Chance;
    use super::*;

    const NOISE: f64 = 1e-9;

    struct Walk {
        path: PathModel,
        chance: Chance,
        seconds: i64,
    }

    impl Walk {
        fn new() -> Self {
            Self {
                path: PathModel::new(),
                chance: Chance::new(7),
                seconds: 0,
            }
        }

        /// `count` samples over a path of the given length with exponential queues; the shifts that
        /// were reported.
        fn go(
            &mut self,
            count: usize,
            length: f64,
            queue: f64,
            prediction_sigma: f64,
        ) -> Vec<(usize, f64)> {
            let mut shifts = Vec::new();
            for index in 0..count {
                self.seconds += 64;
                let delay =
                    length + queue * (self.chance.exponential() + self.chance.exponential());
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
    fn finds_the_idle_delay_and_raises_no_false_alarm() {
        let mut walk = Walk::new();
        assert_eq!(walk.go(5000, 0.020, 1e-4, 1.0), []);
        assert!((walk.path.baseline() - 0.020).abs() < 3e-5);
        assert!((walk.path.typical() - 1.7e-4).abs() < 1e-4);
    }

    #[test]
    fn a_longer_route_is_accepted_once_eight_samples_agree() {
        let mut walk = Walk::new();
        walk.go(100, 0.020, 1e-4, 1e-3);
        let shifts = walk.go(20, 0.025, 1e-4, 1e-3);
        assert_eq!(shifts.len(), 1);
        assert_eq!(shifts[0].0, 7);
        assert!((shifts[0].1 - 0.005).abs() < 1e-4);
        assert!((walk.path.home() - 0.020).abs() < 1e-4);
    }

    #[test]
    fn congestion_is_no_route_while_coasting_is_better() {
        let mut walk = Walk::new();
        walk.go(100, 0.020, 1e-4, 1e-6);
        assert_eq!(walk.go(20, 0.025, 3e-3, 1e-6), []);
    }

    #[test]
    fn a_shorter_route_is_believed_by_its_second_sample() {
        let mut walk = Walk::new();
        walk.go(100, 0.020, 1e-4, 1e-6);
        let shifts = walk.go(2, 0.015, 1e-4, 1e-6);
        assert_eq!(shifts.len(), 1);
        assert_eq!(shifts[0].0, 1);
        assert!((shifts[0].1 - 0.005).abs() < 1e-3);
        assert!(walk.path.home() < 0.016);
    }

    #[test]
    fn one_delay_that_is_too_short_is_no_path() {
        for before in [0, 100] {
            let mut walk = Walk::new();
            walk.go(before, 0.020, 1e-4, 1e-6);
            walk.go(1, 0.010, 1e-4, 1e-6);
            assert_eq!(walk.go(100, 0.020, 1e-4, 1e-6), []);
            assert!((walk.path.baseline() - 0.020).abs() < 1e-4);
            assert!((walk.path.home() - 0.020).abs() < 1e-4);
        }
    }
}
