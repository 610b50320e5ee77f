//! The one clock that a daemon holds: the kernel's, a software one, or none.
//!
//! Kernel packet stamps are always readings of `CLOCK_REALTIME`. Whoever compares them with the disciplined
//! clock passes them through [`Clock::translate`], or, on another thread, through a [`Translator`]; for every clock but the virtual
//! one that is the identity and costs nothing.

use core::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use ntp_time::{Adjustment, Applied, Frequency, NtpDuration, SystemTime};

use crate::{ClockError, KernelStatus, Shortcoming, SystemClock, VirtualClock, readings};

/// Which clock is disciplined, in the words of the configuration (`[clock] kind`).
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
    /// The kernel's clock, which others steer.
    None(UnsteeredClock),
}

impl Clock {
    /// A software clock over `CLOCK_REALTIME`, ahead of it by `initial_offset` and fast by
    /// `frequency_error`, with the kernel's rounding and limits.
    pub fn new_virtual(initial_offset: NtpDuration, frequency_error: Frequency) -> Self {
        let clock = VirtualClock::new(readings::realtime(), initial_offset, frequency_error);
        Self::Virtual(Arc::new(RwLock::new(clock.with_kernel_limits())))
    }

    /// Which one this is.
    pub fn kind(&self) -> ClockKind {
        match self {
            Self::System(_) => ClockKind::System,
            Self::Virtual(_) => ClockKind::Virtual,
            Self::None(_) => ClockKind::None,
        }
    }

    /// The clock's reading.
    pub fn now(&self) -> SystemTime {
        self.translate(readings::realtime())
    }

    /// The reading of this clock at the moment of a kernel stamp.
    pub fn translate(&self, stamp: SystemTime) -> SystemTime {
        match self {
            Self::Virtual(clock) => translate(clock, stamp),
            Self::System(_) | Self::None(_) => stamp,
        }
    }

    /// The same conversion for use on another thread; follows later changes.
    pub fn translator(&self) -> Translator {
        Translator(match self {
            Self::Virtual(clock) => Some(Arc::clone(clock)),
            Self::System(_) | Self::None(_) => None,
        })
    }

    /// The frequency correction in force.
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

    /// Carries out a change and answers what was done. Without a clock to steer that is nothing, and the
    /// answer carries the kernel's frequency, which others may have changed.
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

    /// What has been found missing since the last call; nothing is named twice.
    pub fn new_shortcomings(&mut self) -> &[Shortcoming] {
        match self {
            Self::System(clock) => clock.new_shortcomings(),
            Self::Virtual(_) | Self::None(_) => &[],
        }
    }
}

/// Converts kernel stamps to readings of the disciplined clock, on any thread.
#[derive(Clone, Debug, Default)]
pub struct Translator(Option<Arc<RwLock<VirtualClock>>>);

impl Translator {
    /// The reading of the disciplined clock at the moment of a kernel stamp.
    pub fn translate(&self, stamp: SystemTime) -> SystemTime {
        match &self.0 {
            Some(clock) => translate(clock, stamp),
            None => stamp,
        }
    }

    /// The disciplined clock's reading.
    pub fn now(&self) -> SystemTime {
        self.translate(readings::realtime())
    }
}

/// A poisoned lock is no obstacle: a clock is changed by one push at the end, so it is never half changed.
fn translate(clock: &RwLock<VirtualClock>, stamp: SystemTime) -> SystemTime {
    clock
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .translate(stamp)
}

/// The kernel's clock as an onlooker sees it.
#[derive(Clone, Copy, Debug)]
pub struct UnsteeredClock {
    /// Whether the kernel lets us see its frequency.
    readable: bool,
}

impl UnsteeredClock {
    /// An onlooker, and what it cannot see.
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
        // The old stamp keeps its reading; a new one sees the step.
        assert_eq!(translator.translate(stamp), stamp + offset);
        let later = readings::realtime();
        assert_eq!(translator.translate(later), later);
        assert_eq!(clock.translate(later), later);
    }

    #[test]
    fn kinds_are_named_as_in_the_configuration() {
        let names =
            [ClockKind::System, ClockKind::Virtual, ClockKind::None].map(|kind| kind.to_string());
        assert_eq!(names, ["system", "virtual", "none"]);
    }
}
