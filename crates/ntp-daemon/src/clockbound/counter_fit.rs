//! Rate of the processor's counter relative to the free-running oscillator, from pairs of readings.
//!
//! The kernel derives its clock from the counter by a constant factor, so both ends of a long line
//! give the rate: the error is that of two readings divided by the length of the line. The line is
//! 500 to 1000 s long once there are as many pairs. If two lines contradict each other, the counter
//! and the clock have lost their relation (another clock source, a suspend, a migration, another
//! program that steers the clock), and a new line begins.

use ntp_time::FreeTime;

use super::layout::Period;

/// Time after which the line begins at a later pair, seconds. Two readings that are uncertain by
/// 50 ns give the rate within 0.2 ppb then, less than the rounding of the clock.
const RENEWAL: f64 = 500.0;

/// Relative error of the free-running oscillator's own readings: each change of the clock is rounded
/// to a nanosecond on either side, and there is one a second at most.
const ROUNDING: f64 = 2e-9;

/// Largest relative error of a usable rate. It is reached a fraction of a second after the beginning.
const LARGEST_ERROR: f64 = 1e-6;

/// A reading of both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// The counter.
    pub(super) count: u64,
    /// Largest error of `count`.
    pub(super) uncertainty: u64,
    /// The free-running oscillator.
    pub(super) free: FreeTime,
}

/// The line through the pairs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CounterFit {
    /// The beginning of the line, and that of the next one.
    begin: Option<(Pair, Pair)>,
    last: Option<Period>,
}

impl CounterFit {
    /// Adds a pair. Returns the rate of the counter, or `None` if it is not known well enough.
    pub(super) fn add(&mut self, pair: Pair) -> Option<Period> {
        let (begin, next) = *self.begin.get_or_insert((pair, pair));
        let counts = pair.count.saturating_sub(begin.count) as f64;
        let seconds = nanos(begin, pair) * 1e-9;
        if counts <= 0.0 || seconds <= 0.0 {
            return self.restart(pair);
        }
        let period = Period {
            seconds: seconds / counts,
            error: (begin.uncertainty + pair.uncertainty + 1) as f64 / counts + ROUNDING,
        };
        let contradicts =
            |last: Period| (period.seconds / last.seconds - 1.0).abs() > last.error + period.error;
        if period.error > LARGEST_ERROR {
            return None;
        }
        if self.last.is_some_and(contradicts) {
            return self.restart(pair);
        }
        self.last = Some(period);
        if nanos(next, pair) * 1e-9 > RENEWAL {
            self.begin = Some((next, pair));
        }
        Some(period)
    }

    fn restart(&mut self, pair: Pair) -> Option<Period> {
        *self = Self {
            begin: Some((pair, pair)),
            last: None,
        };
        None
    }
}

fn nanos(from: Pair, to: Pair) -> f64 {
    (to.free - from.free).as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter of 2.5 GHz that is read within 100 counts.
    fn pair(seconds: f64) -> Pair {
        Pair {
            count: 1_000_000 + (seconds * 2.5e9) as u64,
            uncertainty: 100,
            free: FreeTime::from_nanos((seconds * 1e9) as i64),
        }
    }

    #[test]
    fn the_rate_gets_better_with_the_length_of_the_line() {
        let mut fit = CounterFit::default();
        assert_eq!(fit.add(pair(0.0)), None);
        assert_eq!(fit.add(pair(0.01)), None, "too short");
        let mut error = LARGEST_ERROR;
        for second in 1..=5000 {
            let period = fit.add(pair(f64::from(second))).unwrap();
            assert!((period.seconds / 0.4e-9 - 1.0).abs() < period.error);
            // A new line begins now and then, with half of the length.
            assert!(period.error < 2.0 * error);
            error = period.error;
        }
        assert!(error < 1.1 * ROUNDING);
    }

    #[test]
    fn a_counter_that_leaves_the_clock_begins_anew() {
        let mut fit = CounterFit::default();
        for second in 0..100 {
            fit.add(pair(f64::from(second)));
        }
        // The clock was suspended for a second, and the counter was not.
        let after = |second: f64| Pair {
            free: FreeTime::from_nanos(((second - 1.0) * 1e9) as i64),
            ..pair(second)
        };
        assert_eq!(fit.add(after(101.0)), None);
        let period = fit.add(after(102.0)).unwrap();
        assert!((period.seconds / 0.4e-9 - 1.0).abs() < period.error);
        // A counter that began again.
        assert_eq!(fit.add(pair(1.0)), None);
    }
}
