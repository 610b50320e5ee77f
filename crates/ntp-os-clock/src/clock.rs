//! The clock that a daemon disciplines: the kernel's, a software one, or none.
//!
//! Kernel packet timestamps are always readings of `CLOCK_REALTIME`. [`Clock::translate`] or, on
//! another thread, a [`Translator`] converts them to readings of the disciplined clock. For every
//! clock except the virtual one this is the identity and costs nothing.

use core::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use ntp_time::{Adjustment, Applied, Frequency, NtpDuration, SystemTime};

use crate::{ClockError, KernelStatus, Shortcoming, SystemClock, VirtualClock, readings};

/// Kind of the disciplined clock, as in the configuration (`[clock] kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockKind {
    /// The kernel's.
    System,
    /// A software clock in this process.
    Virtual,
    /// None: measure and serve only.
    None,
}

impl fmt::Display for ClockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::Virtual => "virtual",
            Self::None => "none",
        })
    }
}

/// The clock that the daemon disciplines.
#[derive(Debug)]
pub enum Clock {
    /// The kernel's clock.
    System(SystemClock),
    /// A software clock, shared with the translators of other threads.
    Virtual(Arc<RwLock<VirtualClock>>),
    /// The kernel's clock, which other programs steer.
    None(UnsteeredClock),
}

impl Clock {
    /// Creates a software clock over `CLOCK_REALTIME`, ahead of it by `initial_offset` and fast by
    /// `frequency_error`, with the kernel's rounding and limits.
    pub fn new_virtual(initial_offset: NtpDuration, frequency_error: Frequency) -> Self {
        let clock = VirtualClock::new(readings::realtime(), initial_offset, frequency_error);
        Self::Virtual(Arc::new(RwLock::new(clock.with_kernel_limits())))
    }

    /// Kind of this clock.
    pub fn kind(&self) -> ClockKind {
        match self {
            Self::System(_) => ClockKind::System,
            Self::Virtual(_) => ClockKind::Virtual,
            Self::None(_) => ClockKind::None,
        }
    }

    /// Reads the clock.
    pub fn now(&self) -> SystemTime {
        self.translate(readings::realtime())
    }

    /// Converts a kernel timestamp to the reading of this clock at the same moment.
    pub fn translate(&self, stamp: SystemTime) -> SystemTime {
        match self {
            Self::Virtual(clock) => translate(clock, stamp),
            Self::System(_) | Self::None(_) => stamp,
        }
    }

    /// Returns the same conversion for use on another thread. It follows later changes.
    pub fn translator(&self) -> Translator {
        Translator(match self {
            Self::Virtual(clock) => Some(Arc::clone(clock)),
            Self::System(_) | Self::None(_) => None,
        })
    }

    /// Returns the frequency correction in force.
    ///
    /// # Errors
    /// As [`SystemClock::frequency`]; the others never fail.
    pub fn frequency(&self) -> Result<Frequency, ClockError> {
        match self {
            Self::System(clock) => clock.frequency(),
            Self::Virtual(clock) => Ok(clock
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .frequency()),
            Self::None(clock) => Ok(clock.frequency()),
        }
    }

    /// Returns the largest difference between the rates of this clock and the monotonic one: zero
    /// for the kernel's, which has the same rate, our corrections included.
    pub fn rate_difference(&self) -> Frequency {
        match self {
            Self::System(_) | Self::None(_) => Frequency::ZERO,
            Self::Virtual(clock) => clock
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .rate_difference(),
        }
    }

    /// Applies an adjustment and returns what was changed. Without a clock to steer nothing is
    /// changed, and the result contains the kernel's frequency, which other programs may have
    /// changed.
    ///
    /// # Errors
    /// As [`SystemClock::apply`]; the others never fail.
    pub fn apply(&mut self, adjustment: &Adjustment) -> Result<Applied, ClockError> {
        match self {
            Self::System(clock) => clock.apply(adjustment),
            Self::Virtual(clock) => {
                let mut clock = clock.write().unwrap_or_else(PoisonError::into_inner);
                Ok(clock.apply(readings::realtime(), adjustment))
            }
            Self::None(clock) => Ok(clock.unchanged()),
        }
    }

    /// Returns the shortcomings found since the last call; each is returned once.
    pub fn new_shortcomings(&mut self) -> &[Shortcoming] {
        match self {
            Self::System(clock) => clock.new_shortcomings(),
            Self::Virtual(_) | Self::None(_) => &[],
        }
    }
}

/// Converts kernel timestamps to readings of the disciplined clock, on any thread.
#[derive(Clone, Debug, Default)]
pub struct Translator(Option<Arc<RwLock<VirtualClock>>>);

impl Translator {
    /// Converts a kernel timestamp to the reading of the disciplined clock at the same moment.
    pub fn translate(&self, stamp: SystemTime) -> SystemTime {
        match &self.0 {
            Some(clock) => translate(clock, stamp),
            None => stamp,
        }
    }

    /// Reads the disciplined clock.
    pub fn now(&self) -> SystemTime {
        self.translate(readings::realtime())
    }
}

/// A poisoned lock is ignored: a change of the clock ends with a single push, so the clock is never
/// left half changed.
fn translate(clock: &RwLock<VirtualClock>, stamp: SystemTime) -> SystemTime {
    clock
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .translate(stamp)
}

/// The kernel's clock, read but not steered.
#[derive(Clone, Copy, Debug)]
pub struct UnsteeredClock {
    /// Whether the kernel permits reading its frequency.
    readable: bool,
}

impl UnsteeredClock {
    /// Opens the clock and returns what it lacks.
    pub fn open() -> (Self, Option<Shortcoming>) {
        let readable = KernelStatus::read().is_ok();
        (
            Self { readable },
            (!readable).then_some(Shortcoming::NoFrequency),
        )
    }

    fn frequency(self) -> Frequency {
        if !self.readable {
            return Frequency::ZERO;
        }
        KernelStatus::read().map_or(Frequency::ZERO, |status| status.frequency)
    }

    fn unchanged(self) -> Applied {
        Applied {
            at: readings::realtime(),
            step: NtpDuration::ZERO,
            frequency: self.frequency(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_clock_nothing_is_changed() {
        let (clock, _) = UnsteeredClock::open();
        let mut clock = Clock::None(clock);
        let frequency = clock.frequency();
        let applied = clock.apply(&Adjustment {
            step: Some(NtpDuration::from_seconds(1000)),
            frequency: Some(Frequency::from_ppm(400.0)),
            status: None,
        });
        assert_eq!(
            applied.map(|applied| (applied.step, applied.frequency)),
            Ok((NtpDuration::ZERO, clock.frequency().unwrap_or_default()))
        );
        assert_eq!(clock.frequency(), frequency);
        let stamp = SystemTime::from_nanos(42);
        assert_eq!(clock.translate(stamp), stamp);
    }

    #[test]
    fn a_translator_follows_the_virtual_clock() {
        let offset = NtpDuration::from_seconds(-5);
        let mut clock = Clock::new_virtual(offset, Frequency::ZERO);
        let translator = clock.translator();
        let stamp = readings::realtime();
        assert_eq!(translator.translate(stamp), stamp + offset);
        let step = Adjustment {
            step: Some(-offset),
            ..Adjustment::default()
        };
        assert_eq!(clock.apply(&step).map(|applied| applied.step), Ok(-offset));
        // The old timestamp keeps its reading; a new one includes the step.
        assert_eq!(translator.translate(stamp), stamp + offset);
        let later = readings::realtime();
        assert_eq!(translator.translate(later), later);
        assert_eq!(clock.translate(later), later);
    }

    #[test]
    fn kinds_display_as_in_the_configuration() {
        let names =
            [ClockKind::System, ClockKind::Virtual, ClockKind::None].map(|kind| kind.to_string());
        assert_eq!(names, ["system", "virtual", "none"]);
    }
}
