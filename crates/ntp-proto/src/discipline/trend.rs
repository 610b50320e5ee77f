//! The straight line through the newest measurements of one source: its own view of the frequency.
//!
//! It is for readers only, as `chronyc sourcestats` is; nothing decides by it. All measurements have
//! the same weight, so congestion on the path shows in the deviation and in the uncertainty.

use ntp_time::{FreeTime, Frequency, NtpDuration};

/// Number of measurements: as many as the path model keeps, nine hours at the longest usual poll
/// interval. More would show the wander of the oscillator instead of the source.
const POINTS: usize = 32;

/// The newest measurements of a source, the oldest first.
#[derive(Clone, Debug)]
pub(super) struct Points {
    points: [(FreeTime, NtpDuration); POINTS],
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
    /// Standard deviation of the measurements from the line.
    pub deviation: NtpDuration,
}

impl Points {
    pub(super) const fn new() -> Self {
        Self {
            points: [(FreeTime::from_nanos(0), NtpDuration::ZERO); POINTS],
            len: 0,
        }
    }

    pub(super) fn push(&mut self, at: FreeTime, phase: NtpDuration) {
        if self.len == POINTS {
            self.points.rotate_left(1);
            self.len -= 1;
        }
        self.points[self.len] = (at, phase);
        self.len += 1;
    }

    /// Forgets the measurements, after the clock moved by an amount that is not exactly known.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// The least-squares line. `None` with fewer than three measurements, or none apart in time.
    pub(super) fn trend(&self) -> Option<Trend> {
        let points = &self.points[..self.len];
        let ((first, _), (last, origin)) = (*points.first()?, *points.last()?);
        let freedom = self.len.checked_sub(2).filter(|freedom| *freedom > 0)? as f64;
        let count = self.len as f64;
        let values = || {
            points.iter().map(|(at, phase)| {
                let x = (*at - last).as_seconds_f64();
                (x, (*phase - origin).as_seconds_f64())
            })
        };
        let mean_x = values().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = values().map(|(_, y)| y).sum::<f64>() / count;
        let square_x: f64 = values().map(|(x, _)| (x - mean_x).powi(2)).sum();
        if square_x <= 0.0 {
            return None;
        }
        let product: f64 = values().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let slope = product / square_x;
        let residual = |(x, y): (f64, f64)| y - mean_y - slope * (x - mean_x);
        let square: f64 = values().map(|point| residual(point).powi(2)).sum();
        let deviation = (square / freedom).sqrt();
        Some(Trend {
            samples: self.len,
            span: last - first,
            frequency: Frequency::from_ratio(slope),
            frequency_sigma: Frequency::from_ratio(deviation / square_x.sqrt()),
            deviation: NtpDuration::from_seconds_f64(deviation),
        })
    }
}

#[cfg(test)]
mod tests {
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
            points.push(at, NtpDuration::from_seconds_f64(phase));
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
            points.push(FreeTime::from_nanos(7), NtpDuration::ZERO);
        }
        assert_eq!(points.trend(), None);
    }
}
