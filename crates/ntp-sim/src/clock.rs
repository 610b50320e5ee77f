//! A computer's clock, as its kernel keeps it.
//!
//! # What it does
//! The system clock advances by `(1 + y)(1 + a)` for each true second: `y` is the oscillator's error, `a` the
//! correction that was asked for. The monotonic clock runs at the same rate and is never stepped. Readings count
//! whole nanoseconds; the fractions are carried along, so that years of advancing lose nothing.
//!
//! # What a kernel makes of it
//! A real kernel keeps frequencies as multiples of 2^-16 ppm and within limits, and carries out a leap second by itself
//! when told: at midnight by its own reading the clock goes back by a second (`adjtimex(2)`), once, until the order has been withdrawn.
//!
//! Between two changes of its rate the clock is a straight line from the latest change, computed from there every time. So its readings do not
//! depend on how often it is read, and runs that differ only in what does not concern the clock agree to the bit.
//! Time must be asked for in order; seconds of the oscillator are gone through one after the other.

use ntp_time::{
    Adjustment, Applied, ClockStatus, Frequency, LeapIndicator, Monotonic, NtpDuration, SystemTime,
};

use crate::TrueTime;
use crate::oscillator::Crystal;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// What the clock makes of a frequency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClockLimits {
    /// Takes every frequency exactly.
    Ideal,
    /// Multiples of 2^-16 ppm, with the tick's help up to 10 % each way.
    Kernel,
    /// Multiples of 2^-16 ppm up to 500 ppm: a kernel whose tick may not be touched.
    KernelWithoutTick,
}

impl ClockLimits {
    fn keep(self, wanted: Frequency) -> Frequency {
        let limit = match self {
            Self::Ideal => return wanted,
            Self::Kernel => 100_500.0,
            Self::KernelWithoutTick => 500.0,
        };
        let ppm = wanted.as_ppm().clamp(-limit, limit);
        Frequency::from_ppm((ppm * 65_536.0).round() / 65_536.0)
    }
}

/// A straight piece of both clocks' courses.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: TrueTime,
    /// Readings at the start, rounded down.
    system: i64,
    monotonic: i64,
    /// What both have gained beyond that, below 1 ns.
    rest: f64,
}

impl Line {
    /// Nanoseconds that both clocks have advanced by until `now`: whole ones, and the rest.
    fn advanced(&self, now: TrueTime, rate_error: f64) -> (i64, f64) {
        let elapsed = now.as_nanos() - self.start.as_nanos();
        let gained = elapsed as f64 * rate_error + self.rest;
        let whole = gained.floor();
        (elapsed + whole as i64, gained - whole)
    }
}

/// Where the kernel stands with a leap second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leap {
    None,
    /// The reading at which a second is to be inserted.
    Armed(i64),
    /// Done; the order must be withdrawn before another is taken.
    Done,
}

/// The clock.
#[derive(Clone, Debug)]
pub struct SimClock {
    crystal: Crystal,
    limits: ClockLimits,
    now: TrueTime,
    next_tick: TrueTime,
    line: Line,
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
            line: Line {
                start: TrueTime::ZERO,
                system: system.as_nanos(),
                // The machine has been up for a while.
                monotonic: 1000 * SECOND,
                rest: 0.0,
            },
            correction: limits.keep(correction),
            leap: Leap::None,
            status: None,
        }
    }

    /// Lets time pass until `now`.
    pub(crate) fn advance(&mut self, now: TrueTime) {
        while self.next_tick <= now {
            self.now = self.next_tick;
            self.begin_line();
            self.crystal.tick(self.now);
            self.next_tick = TrueTime::from_nanos(self.now.as_nanos() + SECOND);
            self.carry_out_leap();
        }
        self.now = self.now.max(now);
        self.carry_out_leap();
    }

    /// The rate is about to change.
    fn begin_line(&mut self) {
        let (advanced, rest) = self.line.advanced(self.now, self.rate_error());
        self.line = Line {
            start: self.now,
            system: self.line.system + advanced,
            monotonic: self.line.monotonic + advanced,
            rest,
        };
    }

    /// The system clock.
    pub fn system(&self) -> SystemTime {
        SystemTime::from_nanos(self.line.system + self.line.advanced(self.now, self.rate_error()).0)
    }

    /// The monotonic clock.
    pub fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(
            self.line.monotonic + self.line.advanced(self.now, self.rate_error()).0,
        )
    }

    /// How much faster than true time the system clock runs, s/s: oscillator and correction.
    pub fn rate_error(&self) -> f64 {
        let (oscillator, correction) = (self.crystal.error(), self.correction.as_ratio());
        oscillator + correction + oscillator * correction
    }

    /// The bare oscillator's frequency error, s/s.
    pub fn oscillator_error(&self) -> f64 {
        self.crystal.error()
    }

    /// The correction in force.
    pub fn correction(&self) -> Frequency {
        self.correction
    }

    /// What was last told to the kernel for others to read.
    pub fn status(&self) -> Option<ClockStatus> {
        self.status
    }

    /// How far the reading is ahead of `utc`, in seconds, fractions of a nanosecond included.
    pub(crate) fn error(&self, utc: SystemTime) -> f64 {
        let (advanced, rest) = self.line.advanced(self.now, self.rate_error());
        ((self.line.system + advanced - utc.as_nanos()) as f64 + rest) * 1e-9
    }

    /// When the monotonic clock will read `target`, at the rate of the moment; never before now.
    pub(crate) fn when(&self, target: Monotonic) -> TrueTime {
        let wanted = target.as_nanos().saturating_sub(self.line.monotonic);
        let gain = wanted as f64 - self.line.rest;
        let elapsed = (gain / (1.0 + self.rate_error())).ceil() as i64;
        let then = TrueTime::from_nanos(self.line.start.as_nanos().saturating_add(elapsed));
        // Rounding may leave the reading a nanosecond short, and who is woken too early is woken again and again.
        let short = self.line.advanced(then, self.rate_error()).0 < wanted;
        TrueTime::from_nanos(then.as_nanos() + i64::from(short)).max(self.now)
    }

    /// Carries an adjustment out.
    pub(crate) fn apply(&mut self, adjustment: &Adjustment) -> Applied {
        let at = self.system();
        let step = adjustment.step.unwrap_or(NtpDuration::ZERO);
        self.step(step);
        if let Some(frequency) = adjustment.frequency {
            self.begin_line();
            self.correction = self.limits.keep(frequency);
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

    /// Sets the clock, by whomever.
    pub(crate) fn step(&mut self, by: NtpDuration) {
        self.line.system = self.line.system.saturating_add(by.as_nanos());
        if let Leap::Armed(_) = self.leap {
            self.leap = Leap::Armed(self.next_midnight());
        }
    }

    /// Both clocks stood still for this many seconds: a virtual machine was paused.
    pub(crate) fn lose(&mut self, seconds: f64) {
        let lost = (seconds * 1e9) as i64;
        self.line.system -= lost;
        self.line.monotonic -= lost;
    }

    /// The oscillator's frequency jumps.
    pub(crate) fn jump_frequency(&mut self, by: f64) {
        self.begin_line();
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

    fn carry_out_leap(&mut self) {
        if let Leap::Armed(midnight) = self.leap
            && self.system().as_nanos() >= midnight
        {
            self.line.system -= SECOND;
            self.leap = Leap::Done;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chance, Oscillator};

    fn clock(offset: f64, limits: ClockLimits) -> SimClock {
        let laws = Oscillator {
            offset,
            ..Oscillator::default()
        };
        SimClock::new(
            Crystal::new(laws, Chance::new(0, 0)),
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
        let ask = |limits, ppm| {
            let adjustment = Adjustment {
                frequency: Some(Frequency::from_ppm(ppm)),
                ..Adjustment::default()
            };
            clock(0.0, limits).apply(&adjustment).frequency.as_ppm()
        };
        assert!((ask(ClockLimits::Kernel, 1.000_003) - 1.0).abs() < 1e-9);
        assert!((ask(ClockLimits::Kernel, -700.0) + 700.0).abs() < 1e-9);
        assert!((ask(ClockLimits::KernelWithoutTick, -700.0) + 500.0).abs() < 1e-9);
    }

    #[test]
    fn wakes_when_the_monotonic_clock_says_so() {
        let mut clock = clock(100e-6, ClockLimits::Ideal);
        let target = clock.monotonic() + NtpDuration::from_seconds(10);
        clock.advance(clock.when(target));
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
