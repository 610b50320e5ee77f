//! Leap seconds, as the discipline sees them: true time itself jumps.
//!
//! UTC repeats or skips a second, and every server with it. The oscillator is not affected, but its
//! phase (free-running minus true time) is different from then on. All remembered phases are
//! shifted by the same amount; frequency, biases, delays and weights stay.

use ntp_time::NtpDuration;

use super::Discipline;

impl Discipline {
    /// Accounts for a jump of UTC by `by`: -1 s for an inserted leap second, +1 s for a deleted
    /// one.
    pub fn apply_leap_second(&mut self, by: NtpDuration) {
        self.prediction.take();
        self.origin -= by;
        for source in &mut self.sources {
            if let Some(last) = &mut source.last {
                last.phase -= by;
            }
            source.flat.forget_neighbours();
        }
        if let Some(guarantee) = &mut self.guarantee {
            guarantee.interval.phase -= by;
        }
    }
}
