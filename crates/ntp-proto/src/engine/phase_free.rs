//! The clock without phase corrections, for clients of version 5.
//!
//! A client measures the frequency of a server by its timestamps. While the server steps or slews
//! its clock, they run at another rate than the oscillator that the server has estimated, and the
//! client would follow an error that is being corrected. NTPv5 therefore has a second receive
//! timestamp, from a clock to which only the frequency corrections are applied.
//!
//! The engine knows the size of each of its steps and the rate of each slew, so this clock goes on
//! through them. It loses its continuity only when the clock changes by an unknown amount: another
//! program sets it, or the machine is suspended or moved. Then its epoch changes.

use ntp_time::{Applied, Frequency, NtpDuration, SystemTime};
use siphasher::sip::SipHasher13;

use super::Engine;
use crate::server::PhaseFreeClock;

impl Engine {
    /// The clock without phase corrections. `None` if others may steer the clock.
    pub(super) fn phase_free(&self) -> Option<PhaseFreeClock> {
        self.config.clock.steerable.then_some(self.phase_free)
    }

    /// Undoes the phase correction in a change that the clock made. To be called for every change
    /// of its phase or frequency.
    pub(super) fn follow_phase_free(&mut self, applied: &Applied) {
        let base = self.slew.map_or(applied.frequency, |slew| slew.base);
        // The clock advances by 1 + applied for each second of the oscillator, this one by 1 + base.
        let rate = 1.0 + applied.frequency.as_ratio();
        let slew = (applied.frequency.as_ratio() - base.as_ratio()) / rate;
        self.phase_free.follow(applied, Frequency::from_ratio(slew));
    }
}

impl PhaseFreeClock {
    /// A clock that reads `now`. Its first epoch follows from `seed`, so that it is another one
    /// after a restart.
    pub(super) fn new(now: SystemTime, seed: [u8; 32]) -> Self {
        let [key @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = seed;
        let epoch = SipHasher13::new_with_key(&key).hash(b"phase-free epoch");
        Self {
            // Its upper half is as random.
            epoch: epoch as u32,
            at: now,
            ahead: NtpDuration::ZERO,
            slew: Frequency::ZERO,
        }
    }

    /// Begins another epoch.
    pub(super) fn restart(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    fn follow(&mut self, applied: &Applied, slew: Frequency) {
        let reading = self.read(applied.at);
        *self = Self {
            epoch: self.epoch,
            at: applied.at + applied.step,
            ahead: (reading - applied.at) - applied.step,
            slew,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> SystemTime {
        SystemTime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn steps_and_slews_are_undone_and_frequency_corrections_are_not() {
        let mut clock = PhaseFreeClock::new(at(0), [1; 32]);
        let epoch = clock.epoch;
        let applied = |seconds, step| Applied {
            at: at(seconds),
            step: NtpDuration::from_seconds(step),
            frequency: Frequency::ZERO,
        };
        // A slew of 100 ppm for 1000 s, then a step forward.
        clock.follow(&applied(1000, 0), Frequency::from_ppm(100.0));
        let slewed = NtpDuration::from_millis(100);
        assert_eq!(clock.read(at(2000)), at(2000) - slewed);
        clock.follow(&applied(2000, 10), Frequency::ZERO);
        assert_eq!(clock.read(at(2010)), at(2000) - slewed);
        assert_eq!(clock.read(at(3010)), at(3000) - slewed);
        assert_eq!(clock.epoch, epoch);
        clock.restart();
        assert_ne!(clock.epoch, epoch);
        assert_ne!(PhaseFreeClock::new(at(0), [2; 32]).epoch, epoch);
    }
}
