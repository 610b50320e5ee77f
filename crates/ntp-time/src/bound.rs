//! A claim about true time.

use crate::{NtpDuration, SystemTime};

/// UTC as far as we can claim it: true time lies within `time` +- `bound`.
///
/// This is the only form in which the daemon speaks about true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcEstimate {
    /// The best estimate.
    pub time: SystemTime,
    /// Its guaranteed error.
    pub bound: NtpDuration,
}

impl UtcEstimate {
    /// Whether `true_time` is inside the claim.
    pub fn contains(&self, true_time: SystemTime) -> bool {
        (self.time - true_time).abs() <= self.bound
    }
}
