//! The straight line through the newest measurements of one source: its own view of the frequency.
//!
//! It is for readers, as `chronyc sourcestats` is. At the start, a majority of lines may also show
//! that the prior of the frequency is wrong (`initial_frequency`).
//!
//! # Weights
//! A round trip that is longer than the shortest one by `e` has an error of up to `e / 2`, so the
//! measurement has the weight `1 / (1 + (e / m)^2)`, where `m` is the median of `e`: 1 at the shortest
//! round trip, 1/2 at the median. Measurements of a reference clock have equal weights.
//!
//! # Old measurements
//! A line describes the source only as long as its residuals have random signs. After the start they
//! have not: the measurements of the first burst are close together, share their errors, and see an
//! oscillator that has not warmed up. While the residuals have fewer runs of equal signs than all but
//! [`RUNS_SIGMAS`] standard deviations of random ones (Wald and Wolfowitz, 1940), the oldest
//! measurement is dropped.

use ntp_time::{FreeTime, Frequency, NtpDuration};

use super::ring::median;

/// Number of measurements: as many as the path model keeps, nine hours at the longest usual poll
/// interval. More would show the wander of the oscillator instead of the source.
const POINTS: usize = 32;

/// Number of measurements below which none is dropped: fewer signs prove nothing.
const FEWEST_TESTED: usize = 8;

/// Standard deviations below the expected number of runs: random signs are that unlikely in one case
/// of a hundred. With less, good measurements would be dropped; with more, a curve would stay.
const RUNS_SIGMAS: f64 = 2.33;

/// The newest measurements of a source, the oldest first.
#[derive(Clone, Debug)]
pub(super) struct Points {
    points: [(FreeTime, NtpDuration); POINTS],
    /// Round trip of each in seconds; 0 for a reference clock. Single precision saves memory.
    delays: [f32; POINTS],
    len: usize,
}

/// The line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Number of measurements, at least three.
    pub samples: usize,
    /// Time between the oldest and the newest one.
    pub span: NtpDuration,
    /// Its slope: how fast the phase grows.
    pub frequency: Frequency,
    /// Standard deviation of the slope.
    pub frequency_sigma: Frequency,
    /// Standard deviation from the line of a measurement with the shortest round trip.
    pub deviation: NtpDuration,
}

/// A least-squares line relative to the newest measurement, in seconds.
#[derive(Clone, Copy, Debug)]
struct Line {
    mean: (f64, f64),
    slope: f64,
    /// Weighted sum of the squares of the times.
    square_x: f64,
}

/// Time and phase of a measurement relative to the newest one, in seconds, and its weight.
type Relative = ((f64, f64), f64);

impl Line {
    /// `None` if no measurements are apart in time.
    fn through(points: &[Relative]) -> Option<Self> {
        let sum = |of: &dyn Fn((f64, f64)) -> f64| -> f64 {
            let terms = points.iter().map(|(value, weight)| weight * of(*value));
            terms.sum()
        };
        let total = sum(&|_| 1.0);
        let mean = (sum(&|(x, _)| x) / total, sum(&|(_, y)| y) / total);
        let square_x = sum(&|(x, _)| (x - mean.0).powi(2));
        let product = sum(&|(x, y)| (x - mean.0) * (y - mean.1));
        (square_x > 0.0).then(|| Self {
            mean,
            slope: product / square_x,
            square_x,
        })
    }

    fn residual(self, (x, y): (f64, f64)) -> f64 {
        y - self.mean.1 - self.slope * (x - self.mean.0)
    }
}

impl Points {
    pub(super) const fn new() -> Self {
        Self {
            points: [(FreeTime::from_nanos(0), NtpDuration::ZERO); POINTS],
            delays: [0.0; POINTS],
            len: 0,
        }
    }

    /// Adds a measurement, and drops the oldest ones if they lie on no line with it.
    pub(super) fn push(&mut self, at: FreeTime, phase: NtpDuration, delay: Option<NtpDuration>) {
        if self.len == POINTS {
            self.drop_oldest();
        }
        self.points[self.len] = (at, phase);
        self.delays[self.len] = delay.map_or(0.0, NtpDuration::as_seconds_f64) as f32;
        self.len += 1;
        while self.len >= FEWEST_TESTED && self.is_curved() {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        self.points.copy_within(1..self.len, 0);
        self.delays.copy_within(1..self.len, 0);
        self.len -= 1;
    }

    /// Moves all phases by a known amount.
    pub(super) fn shift(&mut self, by: NtpDuration) {
        for (_, phase) in self.points.iter_mut().take(self.len) {
            *phase += by;
        }
    }

    /// Forgets the measurements, after the clock moved by an amount that is not exactly known.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// The least-squares line. `None` with fewer than three measurements, or none apart in time.
    pub(super) fn trend(&self) -> Option<Trend> {
        let points = &self.points[..self.len];
        let span = points.last()?.0 - points.first()?.0;
        let freedom = self.len.checked_sub(2).filter(|freedom| *freedom > 0)? as f64;
        let relative = self.relative();
        let relative = &relative[..self.len];
        let line = Line::through(relative)?;
        let square: f64 = (relative.iter())
            .map(|(value, weight)| weight * line.residual(*value).powi(2))
            .sum();
        let deviation = (square / freedom).sqrt();
        Some(Trend {
            samples: self.len,
            span,
            frequency: Frequency::from_ratio(line.slope),
            frequency_sigma: Frequency::from_ratio(deviation / line.square_x.sqrt()),
            deviation: NtpDuration::from_seconds_f64(deviation),
        })
    }

    /// The measurements relative to the newest one; entries beyond their number are zero. They are
    /// computed once for all sums over them: the conversion is most of the cost.
    fn relative(&self) -> [Relative; POINTS] {
        let newest = self.points[self.len.saturating_sub(1)];
        let mut relative = [((0.0, 0.0), 0.0); POINTS];
        let points = self.points[..self.len].iter().zip(self.weights());
        for (entry, ((at, phase), weight)) in relative.iter_mut().zip(points) {
            let x = (*at - newest.0).as_seconds_f64();
            *entry = ((x, (*phase - newest.1).as_seconds_f64()), weight);
        }
        relative
    }

    fn weights(&self) -> [f64; POINTS] {
        let delays = || {
            self.delays[..self.len]
                .iter()
                .map(|delay| f64::from(*delay))
        };
        let least = delays().fold(f64::INFINITY, f64::min);
        let mut excess = [0.0; POINTS];
        for (excess, delay) in excess.iter_mut().zip(delays()) {
            *excess = delay - least;
        }
        let typical = median::<POINTS>(&excess[..self.len]).filter(|typical| *typical > 0.0);
        let weight = |excess: f64| typical.map_or(1.0, |it| 1.0 / (1.0 + (excess / it).powi(2)));
        excess.map(weight)
    }

    /// Whether the residuals of the line have too few runs of equal signs for random ones.
    fn is_curved(&self) -> bool {
        let relative = self.relative();
        let relative = &relative[..self.len];
        let Some(line) = Line::through(relative) else {
            return false;
        };
        let (mut above, mut runs, mut last) = (0.0, 0.0, None);
        for (value, _) in relative {
            let is_above = line.residual(*value) > 0.0;
            above += f64::from(u8::from(is_above));
            runs += f64::from(u8::from(last != Some(is_above)));
            last = Some(is_above);
        }
        let count = self.len as f64;
        let pairs = 2.0 * above * (count - above);
        let expected = 1.0 + pairs / count;
        let variance = pairs * (pairs - count) / (count * count * (count - 1.0));
        runs < expected - RUNS_SIGMAS * variance.max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::super::math::exp;
    use super::super::testworld::Rng;
    use super::*;

    #[test]
    fn the_slope_of_noisy_measurements_is_within_its_uncertainty() {
        let mut rng = Rng::new(3);
        let mut points = Points::new();
        for number in 0..100 {
            let at = FreeTime::from_nanos(number * 64_000_000_000);
            let noise = 1e-5 * (rng.exponential() - rng.exponential());
            let phase = 2e-5 * 64.0 * number as f64 + noise;
            points.push(at, NtpDuration::from_seconds_f64(phase), None);
            assert_eq!(points.trend().is_some(), number >= 2);
        }
        let trend = points.trend().unwrap();
        assert_eq!(
            (trend.samples, trend.span.as_seconds_f64()),
            (32, 31.0 * 64.0)
        );
        let error = trend.frequency.as_ppm() - 20.0;
        assert!(
            error.abs() < 3.0 * trend.frequency_sigma.as_ppm(),
            "{error}"
        );
        // The standard deviation of the noise is sqrt(2) times 10 us.
        let deviation = trend.deviation.as_seconds_f64();
        assert!((8e-6..24e-6).contains(&deviation), "{deviation}");
        points.clear();
        assert_eq!(points.trend(), None);
    }

    #[test]
    fn measurements_at_the_same_time_have_no_trend() {
        let mut points = Points::new();
        for _ in 0..5 {
            points.push(FreeTime::from_nanos(7), NtpDuration::ZERO, None);
        }
        assert_eq!(points.trend(), None);
    }

    /// A source with 20 ppm, white noise of 10 us, and the poll intervals of a start.
    fn start(disturb: impl Fn(usize, f64) -> (f64, f64)) -> Trend {
        let mut rng = Rng::new(5);
        let mut points = Points::new();
        let mut time = 0.0;
        for number in 0..24 {
            let (error, delay) = disturb(number, time);
            let phase = 2e-5 * time + 1e-5 * rng.normal() + error;
            points.push(
                FreeTime::from_nanos((time * 1e9) as i64),
                NtpDuration::from_seconds_f64(phase),
                Some(NtpDuration::from_seconds_f64(delay)),
            );
            time += if number < 8 { 2.0 } else { 64.0 };
        }
        points.trend().unwrap()
    }

    #[test]
    fn measurements_of_the_start_are_dropped_if_the_later_ones_contradict_them() {
        let calm = start(|_, _| (0.0, 1e-3));
        assert_eq!(calm.samples, 24);
        // The oscillator warms up, and the burst shares an error.
        let warm = start(|number, time| {
            let shared = if number < 8 { 3e-4 } else { 0.0 };
            (shared - 1e-3 * exp(-time / 100.0), 1e-3)
        });
        assert!(warm.samples < 17, "{warm:?}");
        assert!((warm.frequency.as_ppm() - 20.0).abs() < 0.5, "{warm:?}");
        assert!(warm.deviation.as_seconds_f64() < 2e-5, "{warm:?}");
    }

    #[test]
    fn measurements_with_long_round_trips_weigh_less() {
        // Every fourth reply waits for 4 ms: half of that is the error.
        let congested = start(|number, _| match number % 4 {
            3 => (2e-3, 5e-3),
            rest => (0.0, 1e-3 + 1e-5 * rest as f64),
        });
        assert!(
            (congested.frequency.as_ppm() - 20.0).abs() < 0.1,
            "{congested:?}"
        );
        assert!(congested.deviation.as_seconds_f64() < 4e-5, "{congested:?}");
    }
}
