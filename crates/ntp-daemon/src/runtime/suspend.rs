//! Notices that the machine was suspended.

use ntp_os_clock::{monotonic, monotonic_unsuspended};
use ntp_proto::engine::Input;
use ntp_time::NtpDuration;

use super::failure::Failure;
use super::pollable::{Context, Pollable};

/// Smallest difference between the clocks that run and stop in suspend that is not a reading's
/// spread.
const LEAST: NtpDuration = NtpDuration::from_millis(100);

/// Compares a clock that runs in suspend with one that does not.
#[derive(Debug)]
pub(super) struct SuspendMonitor {
    /// Time in suspend since boot, when it was checked last.
    suspended: NtpDuration,
}

impl SuspendMonitor {
    pub(super) fn new() -> Self {
        Self {
            suspended: suspended(),
        }
    }
}

impl Pollable for SuspendMonitor {
    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        let before = core::mem::replace(&mut self.suspended, suspended());
        let by = self.suspended - before;
        if by > LEAST {
            context.driver.handle(Input::Suspended(by))?;
        }
        Ok(())
    }
}

fn suspended() -> NtpDuration {
    monotonic() - monotonic_unsuspended()
}
