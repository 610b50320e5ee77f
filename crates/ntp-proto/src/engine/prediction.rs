//! Extrapolates the clock error until the next input.
//!
//! Between inputs the estimate is a straight line, and the error estimates grow by known laws. An
//! [`Prediction`] holds what is needed to evaluate them for any later reading of the clock. A shell
//! that queries them often between inputs (the simulator does so each second) takes one after each
//! input instead of querying the engine.

use ntp_time::{FreeTime, Ledger, NtpDuration, SystemTime, UtcEstimate};

use super::{Engine, Now};
use crate::discipline::{self, ErrorFigures, Estimate};

/// Error estimates of the clock as a function of time. Invalid after the next input.
#[derive(Clone, Debug)]
pub struct Prediction {
    ledger: Ledger,
    discipline: discipline::Prediction,
}

impl Engine {
    /// Returns the extrapolation that is valid until the next input. `None` before a majority of
    /// sources was measured.
    pub fn prediction(&self) -> Option<Prediction> {
        Some(Prediction {
            ledger: self.ledger.clone(),
            discipline: self.discipline.prediction()?,
        })
    }

    /// Whether the clock follows its sources and the error bound is below the limit.
    pub fn is_synchronized(&self) -> bool {
        self.sync.synchronized
    }

    /// Whether a majority of sources that are still measured agrees. Without one, a synchronised
    /// clock is in holdover.
    pub fn has_majority(&self, now: Now) -> bool {
        let free = self.ledger.free_time(now.system);
        self.discipline.agreement(free).majority
    }
}

impl Prediction {
    /// Estimated offset of the system clock from true time when it reads `system`; positive if
    /// ahead.
    pub fn offset(&self, system: SystemTime) -> NtpDuration {
        self.estimate(system).phase + self.ledger.correction(system)
    }

    /// Estimate of the free-running oscillator when the system clock reads `system`.
    pub fn estimate(&self, system: SystemTime) -> Estimate {
        self.discipline.estimate(self.ledger.free_time(system))
    }

    /// Error estimates of the system clock when it reads `system`. `None` while there is no error
    /// bound.
    pub fn error_figures(&self, system: SystemTime) -> Option<ErrorFigures> {
        let residual = self.offset(system);
        self.discipline
            .error_figures(self.ledger.free_time(system), residual)
    }

    /// Reading of the free-running oscillator when the system clock reads `system`.
    pub fn free_time(&self, system: SystemTime) -> FreeTime {
        self.ledger.free_time(system)
    }

    /// UTC when the system clock reads `system`. `None` while there is no error bound.
    pub fn utc(&self, system: SystemTime) -> Option<UtcEstimate> {
        let free = self.ledger.free_time(system);
        let figures = self.discipline.error_figures(free, NtpDuration::ZERO)?;
        Some(UtcEstimate {
            time: system - self.offset(system),
            bound: figures.bound,
        })
    }
}
