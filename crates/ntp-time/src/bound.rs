//! True time with an error bound.

use crate::{NtpDuration, SystemTime};

/// Estimate of UTC: true time lies within `time` +- `bound`.
///
/// All statements of the daemon about true time have this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcEstimate {
    /// The best estimate.
    pub time: SystemTime,
    /// Guaranteed bound of its error.
    pub bound: NtpDuration,
}

impl UtcEstimate {
    /// Whether `true_time` is within the bound.
    pub fn contains(&self, true_time: SystemTime) -> bool {
        (self.time - true_time).abs() <= self.bound
    }
}
