//! The service manager's watchdog (sd_notify(3)): a sign of life from the timekeeping loop.
//!
//! A manager that asks for signs of life ends and restarts a service that gives none. They come from the loop that keeps time and from nowhere
//! else: a daemon whose loop hangs is to be noticed, however busy its other threads are.

use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration};
use tracing::warn;

/// Signs in the time after which the manager takes the service for dead: one may be late and one lost.
const SIGNS: i64 = 3;

/// When the next sign of life is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watchdog {
    every: NtpDuration,
    due: Monotonic,
    failed: bool,
}

impl Watchdog {
    /// What the manager asks for in this process's environment, if it does.
    pub(crate) fn from_environment() -> Option<Self> {
        let limit = sd_notify::watchdog_enabled()?;
        let every = NtpDuration::from_bits(NtpDuration::from(limit).to_bits() / SIGNS);
        (every > NtpDuration::ZERO).then(|| Self {
            every,
            due: monotonic(),
            failed: false,
        })
    }

    /// When [`attend`](Self::attend) is to be called at the latest.
    pub(crate) fn due(&self) -> Monotonic {
        self.due
    }

    /// Gives a sign of life if one is due.
    pub(crate) fn attend(&mut self) {
        let now = monotonic();
        if now < self.due {
            return;
        }
        self.due = now + self.every;
        if let Err(problem) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog])
            && !self.failed
        {
            self.failed = true;
            warn!("cannot notify the service manager: {problem}");
        }
    }
}
