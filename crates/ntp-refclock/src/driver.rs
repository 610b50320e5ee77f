//! The contract between a driver and the event loop.

use core::fmt::Debug;
use std::os::fd::BorrowedFd;

use ntp_time::{Monotonic, SystemTime};
use ntp_types::refclock::{ClockSample, SampleRefusal};
use ntp_udp::wait::Interest;

use crate::DeviceError;

/// Readings of both clocks, taken together.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic clock, for timers.
    pub monotonic: Monotonic,
    /// The kernel's clock (`CLOCK_REALTIME`), by which samples are dated.
    pub kernel: SystemTime,
}

/// A sample, or why a reading gave none.
pub type Reading = Result<ClockSample, SampleRefusal>;

/// An open device. It is opened on one thread, read on another, and dropped on a third: opening and
/// closing may block.
pub trait Driver: Debug + Send {
    /// Completes the opening with what needs the capability to set the clock, which only the thread
    /// that reads the device has. Does not block.
    ///
    /// # Errors
    /// If the device cannot be used.
    fn start(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Returns the descriptor to wait for, and for what. `None` if the driver is read at times.
    fn descriptor(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        None
    }

    /// Returns when to call [`read`](Self::read) even if the descriptor is not ready.
    fn next_read(&self) -> Option<Monotonic> {
        None
    }

    /// Reads what is there without blocking, and appends the readings. Called when the descriptor
    /// is ready, or the time of [`next_read`](Self::next_read) has come.
    ///
    /// # Errors
    /// If the device failed. It is closed then, and opened again later.
    fn read(&mut self, now: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError>;

    /// Returns what was opened, for the log.
    fn description(&self) -> String;

    /// Takes a remark for the operator: something that is unusual, and what to do.
    fn take_warning(&mut self) -> Option<String> {
        None
    }
}
