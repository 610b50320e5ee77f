//! What `force-sync` needs of the daemon's code.

use std::error::Error;

use ntp_config::Loaded;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::status::{OneShotReading, Status};

/// Measures the configured sources once and sets the clock once, by the engine of the daemon.
///
/// The entry point of the program passes the implementation, so that this crate does not contain
/// the daemon.
pub trait OneShot {
    /// Measures until a majority of the sources agrees, or returns `None` if `deadline` passes or a
    /// signal arrives before.
    ///
    /// # Errors
    /// If the operating system refuses a necessary operation.
    fn measure(&mut self, deadline: Monotonic) -> Result<Option<OneShotReading>, Box<dyn Error>>;

    /// Steps the clock. The last call.
    ///
    /// # Errors
    /// If the clock cannot be set; it is unchanged then.
    fn step(&mut self, by: NtpDuration) -> Result<(), Box<dyn Error>>;

    /// Removes the time that an earlier run saved as past. Returns whether that succeeded; if not,
    /// the reason was reported.
    fn forget_saved_time(&mut self) -> bool;

    /// Returns the status, to explain why sources do not agree.
    fn status(&self) -> Status;
}

/// Opens the clock and the sources of a configuration, and drops all privileges but that to set
/// the clock. Fails if the clock may not be set.
pub type OpenOneShot<'a> = &'a dyn Fn(&Loaded) -> Result<Box<dyn OneShot>, Box<dyn Error>>;
