//! How wrong the clock is, asked often and cheaply.
//!
//! Until the next input nothing is learnt: the estimate runs straight on and the error figures grow by known laws. An [`Outlook`] holds
//! what is needed to answer for any later reading of the clock. Whoever asks between inputs (the simulator each second, for one)
//! takes one after each input and asks it instead of the engine.

use ntp_time::{Ledger, NtpDuration, SystemTime};

use super::Engine;
use crate::discipline::{self, Estimate, Figures};

/// The engine's claims about the clock from its last input on. Void after the next input.
#[derive(Clone, Debug)]
pub struct Outlook {
    ledger: Ledger,
    discipline: discipline::Outlook,
}

impl Engine {
    /// What is known about the clock until the next input; None before a majority of sources has spoken.
    pub fn outlook(&self) -> Option<Outlook> {
        Some(Outlook {
            ledger: self.ledger.clone(),
            discipline: self.discipline.outlook()?,
        })
    }
}

impl Outlook {
    /// How far the system clock is ahead of true time by the best estimate, when it reads `system`.
    pub fn gap(&self, system: SystemTime) -> NtpDuration {
        self.estimate(system).phase + self.ledger.correction(system)
    }

    /// The estimate of the bare oscillator at that moment.
    pub fn estimate(&self, system: SystemTime) -> Estimate {
        self.discipline.estimate(self.ledger.free(system))
    }

    /// The error figures of the system clock at that moment; None while nothing is guaranteed.
    pub fn figures(&self, system: SystemTime) -> Option<Figures> {
        let residual = self.gap(system);
        self.discipline.figures(self.ledger.free(system), residual)
    }
}
