//! True time itself jumps: a leap second.
//!
//! UTC repeats or leaves out a second, and every server with it. To the oscillator nothing
//! happened, but its phase (free-running minus true time) is another one from this moment on.
//! Everything that is remembered as a phase is shifted by the same amount; frequency, biases,
//! delays and weights do not notice.

use ntp_time::NtpDuration;

use super::Discipline;

impl Discipline {
    /// UTC was set by `by`: -1 s for an inserted leap second, +1 s for a deleted one.
    pub fn true_time_jumped(&mut self, by: NtpDuration) {
        self.origin -= by;
        for source in &mut self.sources {
            if let Some(sighting) = &mut source.last {
                sighting.phase -= by;
            }
            source.flat.forget_neighbours();
        }
        if let Some(guarantee) = &mut self.guarantee {
            guarantee.sighting.phase -= by;
        }
    }
}
