//! Worlds with reference clocks: alone, beside servers, and clocks that jump.
//!
//! No other daemon was measured in them, because its drivers cannot be run in virtual time. The
//! table `refclocks` of `cargo xtask accuracy` sets their figures beside the error of the optimal
//! filter ([`ClockWorld::limit`]).
//!
//! A sample each second, ideal clock and timestamps, oscillator wander W. Servers are at 5 ms with
//! queues of 100 us.

use ntp_proto::engine::SourceKind;
use ntp_time::NtpDuration;

use crate::reference::world_with;
use crate::{Action, Link, RefClock, Scenario, Server};

/// A world with a reference clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockWorld {
    /// Numbered pulses with 1 us of jitter, W 1e-9, nothing else.
    Pulse,
    /// The same beside three servers.
    PulseBesideServers,
    /// A host's clock with 50 ns of jitter, W 1e-10.
    Host,
    /// A receiver beside two servers, which jumps by a second.
    SecondJump,
    /// A receiver beside two servers, which jumps by 1024 weeks.
    WeekJump,
}

/// Duration of a run and its excluded start, seconds.
const DURATION: f64 = 20_000.0;
const SETTLED: f64 = 4_000.0;

/// Time of a jump, after the excluded start, seconds.
const JUMP: f64 = 8_000.0;

/// Systematic error that the clocks state, seconds: the cable of a receiver, or a well-kept host.
pub const STATED_ERROR: f64 = 1e-5;

/// 1024 weeks, seconds.
const WEEKS: f64 = 619_315_200.0;

impl ClockWorld {
    /// All variants.
    pub const ALL: [Self; 5] = [
        Self::Pulse,
        Self::PulseBesideServers,
        Self::Host,
        Self::SecondJump,
        Self::WeekJump,
    ];

    /// Display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pulse => "PPS 1 us alone",
            Self::PulseBesideServers => "PPS 1 us, 3 servers",
            Self::Host => "PHC 50 ns",
            Self::SecondJump => "GPS jumps 1 s",
            Self::WeekJump => "GPS jumps 1024 weeks",
        }
    }

    /// Wander of the oscillator, s/s per root of a second.
    fn wander(self) -> f64 {
        match self {
            Self::Host => 1e-10,
            _ => 1e-9,
        }
    }

    fn clock(self) -> RefClock {
        match self {
            Self::Host => RefClock::host("/dev/clock0"),
            _ => RefClock::new("/dev/clock0"),
        }
    }

    fn servers(self) -> usize {
        match self {
            Self::Pulse | Self::Host => 0,
            Self::PulseBesideServers => 3,
            Self::SecondJump | Self::WeekJump => 2,
        }
    }

    /// Returns the scenario.
    pub fn scenario(self) -> Scenario {
        let servers = (0..self.servers()).map(|index| Server {
            link: Link::exponential(5e-3, 1e-4),
            ..Server::new(Scenario::address(index))
        });
        let scenario = world_with(servers, self.wander()).with_ref_clock(self.clock());
        let jump = match self {
            Self::SecondJump => Some(1.0),
            Self::WeekJump => Some(-WEEKS),
            _ => None,
        };
        let scenario = match jump {
            Some(jump) => scenario.at(JUMP, Action::ClockError(0, jump)),
            None => scenario,
        };
        scenario.modify(|world| {
            world.name = format!("clocks: {}", self.name());
            world.duration = DURATION;
            world.settled = SETTLED;
            world.engine.discipline.minimum_agreeing_sources =
                if self.servers() > 1 { 2 } else { 1 };
            let source = world.engine.sources.last_mut();
            if let Some(SourceKind::RefClock(clock)) = source.map(|source| &mut source.kind) {
                clock.accuracy = NtpDuration::from_seconds_f64(STATED_ERROR);
            }
        })
    }

    /// RMS error directly after a sample of the optimal filter of the clock alone, which is given its
    /// noise and the wander of the oscillator, in seconds. Steady state of a Kalman filter with the
    /// state phase and frequency.
    pub fn limit(self) -> f64 {
        let clock = self.clock();
        let (noise, wander, interval) = (
            clock.noise.powi(2),
            self.wander().powi(2) * clock.interval,
            clock.interval,
        );
        // Covariance: phase, both, frequency. It does not matter where it begins.
        let (mut phase, mut both, mut frequency) = (noise, 0.0, 1e-12);
        for _ in 0..100_000 {
            phase += interval * (2.0 * both + interval * frequency);
            both += interval * frequency;
            frequency += wander;
            let gain = 1.0 / (phase + noise);
            frequency -= both * both * gain;
            both -= phase * both * gain;
            phase -= phase * phase * gain;
        }
        phase.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For a slow oscillator the error of the filter is noise times the root of its gain, and the
    /// gain is the root of twice wander over noise.
    #[test]
    fn the_limit_is_that_of_the_tracking_index() {
        let limit = ClockWorld::Pulse.limit();
        let gain = (2.0_f64 * 1e-9 / 1e-6).sqrt();
        let expected = 1e-6 * gain.sqrt();
        assert!(
            (limit / expected - 1.0).abs() < 0.05,
            "{limit:e} {expected:e}"
        );
    }
}
