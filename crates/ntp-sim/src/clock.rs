//! Simulated kernel clock.
//!
//! # Model
//! The system clock advances by `(1 + y)(1 + a)` for each true second: `y` is the oscillator's
//! error, `a` the requested correction. The monotonic clock runs at the same rate and is never
//! stepped. Readings are whole nanoseconds; the fractions are accumulated, so that nothing is lost
//! in years of simulated time.
//!
//! # Kernel behaviour
//! A real kernel stores frequencies as multiples of 2^-16 ppm within limits. It carries out an
//! armed leap second by itself: at midnight by its own reading the clock goes back by a second
//! (`adjtimex(2)`), once, until the flag has been cleared.
//!
//! Between two changes of its rate the clock is a straight line from the latest change, and every
//! reading is computed from there. Readings therefore do not depend on how often the clock is read,
//! and runs that differ only in what does not affect the clock agree to the bit. Time must advance
//! monotonically; the oscillator is updated once for each second.

use ntp_time::{
    Adjustment, Applied, ClockStatus, Frequency, LeapIndicator, Monotonic, NtpDuration, SystemTime,
};

use crate::TrueTime;
use crate::oscillator::Crystal;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// How the clock quantises and limits a frequency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClockLimits {
    /// Applies every frequency exactly.
    Ideal,
    /// Multiples of 2^-16 ppm, up to 10 % in each direction by means of the tick.
    Kernel,
    /// Multiples of 2^-16 ppm up to 500 ppm: a kernel whose tick cannot be changed.
    KernelWithoutTick,
}

impl ClockLimits {
    fn quantize(self, requested: Frequency) -> Frequency {
        let limit = match self {
            Self::Ideal => return requested,
            Self::Kernel => 100_500.0,
            Self::KernelWithoutTick => 500.0,
        };
        let ppm = requested.as_ppm().clamp(-limit, limit);
        Frequency::from_ppm((ppm * 65_536.0).round() / 65_536.0)
    }
}

/// A segment of constant rate of both clocks.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: TrueTime,
    /// Readings at the start, rounded down.
    system: i64,
    monotonic: i64,
    /// Fraction of a nanosecond that both have gained beyond that.
    fraction: f64,
}

impl Segment {
    /// Returns the nanoseconds that both clocks have advanced by until `now`: whole ones and the
    /// fraction.
    fn advanced(&self, now: TrueTime, rate_error: f64) -> (i64, f64) {
        let elapsed = now.as_nanos() - self.start.as_nanos();
        let gained = elapsed as f64 * rate_error + self.fraction;
        let whole = gained.floor();
        (elapsed + whole as i64, gained - whole)
    }
}

/// State of the kernel's leap second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leap {
    None,
    /// The reading at which a second is inserted.
    Armed(i64),
    /// Inserted; the flag must be cleared before another one can be armed.
    Done,
}

/// The simulated clock.
#[derive(Clone, Debug)]
pub struct SimClock {
    crystal: Crystal,
    limits: ClockLimits,
    now: TrueTime,
    next_tick: TrueTime,
    segment: Segment,
    correction: Frequency,
    leap: Leap,
    status: Option<ClockStatus>,
}

impl SimClock {
    pub(crate) fn new(
        crystal: Crystal,
        limits: ClockLimits,
        system: SystemTime,
        correction: Frequency,
    ) -> Self {
        Self {
            crystal,
            limits,
            now: TrueTime::ZERO,
            next_tick: TrueTime::from_nanos(SECOND),
            segment: Segment {
                start: TrueTime::ZERO,
                system: system.as_nanos(),
                // The machine has been up for a while.
                monotonic: 1000 * SECOND,
                fraction: 0.0,
            },
            correction: limits.quantize(correction),
            leap: Leap::None,
            status: None,
        }
    }

    /// Advances true time to `now`.
    pub(crate) fn advance(&mut self, now: TrueTime) {
        while self.next_tick <= now {
            self.now = self.next_tick;
            self.start_segment();
            self.crystal.tick(self.now);
            self.next_tick = TrueTime::from_nanos(self.now.as_nanos() + SECOND);
            self.apply_leap();
        }
        self.now = self.now.max(now);
        self.apply_leap();
    }

    /// Starts a new segment, because the rate is about to change.
    fn start_segment(&mut self) {
        let (advanced, fraction) = self.segment.advanced(self.now, self.rate_error());
        self.segment = Segment {
            start: self.now,
            system: self.segment.system + advanced,
            monotonic: self.segment.monotonic + advanced,
            fraction,
        };
    }

    /// Returns the reading of the system clock.
    pub fn system(&self) -> SystemTime {
        SystemTime::from_nanos(
            self.segment.system + self.segment.advanced(self.now, self.rate_error()).0,
        )
    }

    /// Returns the reading of the monotonic clock.
    pub fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(
            self.segment.monotonic + self.segment.advanced(self.now, self.rate_error()).0,
        )
    }

    /// Rate of the system clock relative to true time, s/s: oscillator and correction.
    pub fn rate_error(&self) -> f64 {
        let (oscillator, correction) = (self.crystal.error(), self.correction.as_ratio());
        oscillator + correction + oscillator * correction
    }

    /// Frequency error of the oscillator alone, s/s.
    pub fn oscillator_error(&self) -> f64 {
        self.crystal.error()
    }

    /// The correction in force.
    pub fn correction(&self) -> Frequency {
        self.correction
    }

    /// Status that was last set for other programs to read.
    pub fn status(&self) -> Option<ClockStatus> {
        self.status
    }

    /// Difference between the reading and `utc`, in seconds, fractions of a nanosecond included.
    pub(crate) fn error(&self, utc: SystemTime) -> f64 {
        let (advanced, fraction) = self.segment.advanced(self.now, self.rate_error());
        ((self.segment.system + advanced - utc.as_nanos()) as f64 + fraction) * 1e-9
    }

    /// Returns the true time at which the monotonic clock will read `target` at its present rate;
    /// never before now.
    pub(crate) fn time_of_reading(&self, target: Monotonic) -> TrueTime {
        let requested = target.as_nanos().saturating_sub(self.segment.monotonic);
        let gain = requested as f64 - self.segment.fraction;
        let elapsed = (gain / (1.0 + self.rate_error())).ceil() as i64;
        let then = TrueTime::from_nanos(self.segment.start.as_nanos().saturating_add(elapsed));
        // Rounding may leave the reading a nanosecond short, and a wake-up that is too early is
        // repeated endlessly.
        let short = self.segment.advanced(then, self.rate_error()).0 < requested;
        TrueTime::from_nanos(then.as_nanos() + i64::from(short)).max(self.now)
    }

    /// Applies an adjustment.
    pub(crate) fn apply(&mut self, adjustment: &Adjustment) -> Applied {
        let at = self.system();
        let step = adjustment.step.unwrap_or(NtpDuration::ZERO);
        self.step(step);
        if let Some(frequency) = adjustment.frequency {
            self.start_segment();
            self.correction = self.limits.quantize(frequency);
        }
        if let Some(status) = adjustment.status {
            self.set_status(status);
        }
        Applied {
            at,
            step,
            frequency: self.correction,
        }
    }

    /// Steps the clock, on behalf of the engine or of another program.
    pub(crate) fn step(&mut self, by: NtpDuration) {
        self.segment.system = self.segment.system.saturating_add(by.as_nanos());
        if let Leap::Armed(_) = self.leap {
            self.leap = Leap::Armed(self.next_midnight());
        }
    }

    /// Stops both clocks for this many seconds: a virtual machine was paused.
    pub(crate) fn pause(&mut self, seconds: f64) {
        let lost = (seconds * 1e9) as i64;
        self.segment.system -= lost;
        self.segment.monotonic -= lost;
    }

    /// Changes the oscillator's frequency at once.
    pub(crate) fn jump_frequency(&mut self, by: f64) {
        self.start_segment();
        self.crystal.jump(by);
    }

    fn set_status(&mut self, status: ClockStatus) {
        self.status = Some(status);
        self.leap = match (status.leap, self.leap) {
            (LeapIndicator::Insert, Leap::None) => Leap::Armed(self.next_midnight()),
            (LeapIndicator::Insert, same) => same,
            _ => Leap::None,
        };
    }

    fn next_midnight(&self) -> i64 {
        (self.system().as_nanos().div_euclid(DAY) + 1) * DAY
    }

    fn apply_leap(&mut self) {
        if let Leap::Armed(midnight) = self.leap
            && self.system().as_nanos() >= midnight
        {
            self.segment.system -= SECOND;
            self.leap = Leap::Done;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Oscillator, Rng};

    fn clock(offset: f64, limits: ClockLimits) -> SimClock {
        let model = Oscillator {
            offset,
            ..Oscillator::default()
        };
        SimClock::new(
            Crystal::new(model, Rng::new(0, 0)),
            limits,
            SystemTime::from_nanos(0),
            Frequency::ZERO,
        )
    }

    #[test]
    fn runs_by_oscillator_and_correction_without_losing_fractions() {
        let mut clock = clock(1e-6, ClockLimits::Ideal);
        for step in 1..=1_000_000 {
            clock.advance(TrueTime::from_nanos(step * 700_000));
        }
        assert!((clock.system().as_nanos() - 700_000_700_000).abs() <= 1);
        clock.apply(&Adjustment {
            frequency: Some(Frequency::from_ppm(-1.0)),
            ..Adjustment::default()
        });
        assert!(clock.rate_error().abs() < 2e-12);
    }

    #[test]
    fn the_kernel_rounds_and_limits_frequencies_and_says_so() {
        let apply = |limits, ppm| {
            let adjustment = Adjustment {
                frequency: Some(Frequency::from_ppm(ppm)),
                ..Adjustment::default()
            };
            clock(0.0, limits).apply(&adjustment).frequency.as_ppm()
        };
        assert!((apply(ClockLimits::Kernel, 1.000_003) - 1.0).abs() < 1e-9);
        assert!((apply(ClockLimits::Kernel, -700.0) + 700.0).abs() < 1e-9);
        assert!((apply(ClockLimits::KernelWithoutTick, -700.0) + 500.0).abs() < 1e-9);
    }

    #[test]
    fn wakes_when_the_monotonic_clock_says_so() {
        let mut clock = clock(100e-6, ClockLimits::Ideal);
        let target = clock.monotonic() + NtpDuration::from_seconds(10);
        clock.advance(clock.time_of_reading(target));
        assert!((0..=1).contains(&(clock.monotonic().as_nanos() - target.as_nanos())));
    }

    #[test]
    fn a_leap_second_is_carried_out_once() {
        let mut clock = clock(0.0, ClockLimits::Ideal);
        let status = ClockStatus {
            leap: LeapIndicator::Insert,
            estimated_error: NtpDuration::ZERO,
            bound: NtpDuration::ZERO,
            tai_offset: None,
        };
        clock.apply(&Adjustment {
            status: Some(status),
            ..Adjustment::default()
        });
        for second in (0..3).map(|day| f64::from(day) * 86_400.0 + 86_399.5) {
            clock.advance(TrueTime::from_seconds(second));
            clock.apply(&Adjustment {
                status: Some(status),
                ..Adjustment::default()
            });
        }
        assert_eq!(clock.system().as_nanos(), 3 * DAY - SECOND / 2 - SECOND);
        assert_eq!(
            clock.monotonic().as_nanos(),
            3 * DAY - SECOND / 2 + 1000 * SECOND
        );
    }
}
