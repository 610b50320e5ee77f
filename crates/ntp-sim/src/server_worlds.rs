//! Worlds whose servers are not constant: they wander, drift, or lie within the intervals of the
//! honest ones.
//!
//! chrony was measured in some of them (see `xtask`'s `peers`). As in [`crate::reference`]: one
//! client with an ideal clock and exact timestamps, poll interval 64 s. Liars begin at 20 000 s,
//! which is also where the figures begin, except for sawtooths, which begin at once.

use crate::reference::world_with;
use crate::{Course, Follower, Link, Scenario, Server};

/// A world with several servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerWorld {
    /// Three servers of stratum 2 that wander.
    Wandering,
    /// Two servers, 1 ms ahead and 1 ms behind.
    TwoApart,
    /// One of four drifts away by 1 ppm.
    DriftOneOfFour,
    /// One of three drifts away by 0.1 ppm.
    DriftOneOfThree,
    /// Two of five follow a sawtooth of 4 ms in 1000 s.
    SawtoothTwoOfFive,
    /// The same, each with a phase of its own.
    SawtoothTwoOfFiveApart,
    /// Two of five, 4 ms in 4000 s.
    SlowSawtooth,
    /// Two of five, 4 ms in 250 s.
    FastSawtooth,
    /// One of four, 4 ms in 1000 s.
    SawtoothOneOfFour,
    /// One of three, 4 ms in 1000 s.
    SawtoothOneOfThree,
    /// Two of five step by 3 ms.
    StepTwoOfFive,
    /// One of three steps by 3 ms, beside two servers of stratum 2.
    StepBesideWandering,
    /// Four servers, of which one has an asymmetry of 1 ms that changes sign twice a day.
    DiurnalAsymmetry,
    /// One perfect server, two of stratum 2.
    OnePerfect,
}

/// Begin of lies, and of the figures, seconds.
const BEGIN: f64 = 20_000.0;

impl ServerWorld {
    /// All variants.
    pub const ALL: [Self; 14] = [
        Self::Wandering,
        Self::TwoApart,
        Self::DriftOneOfFour,
        Self::DriftOneOfThree,
        Self::SawtoothTwoOfFive,
        Self::SawtoothTwoOfFiveApart,
        Self::SlowSawtooth,
        Self::FastSawtooth,
        Self::SawtoothOneOfFour,
        Self::SawtoothOneOfThree,
        Self::StepTwoOfFive,
        Self::StepBesideWandering,
        Self::DiurnalAsymmetry,
        Self::OnePerfect,
    ];

    /// Display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wandering => "3 of stratum 2",
            Self::TwoApart => "2, 2 ms apart",
            Self::DriftOneOfFour => "1 of 4 drifts",
            Self::DriftOneOfThree => "1 of 3 drifts",
            Self::SawtoothTwoOfFive => "sawtooth 2 of 5",
            Self::SawtoothTwoOfFiveApart => "its phases apart",
            Self::SlowSawtooth => "slow sawtooth",
            Self::FastSawtooth => "fast sawtooth",
            Self::SawtoothOneOfFour => "sawtooth 1 of 4",
            Self::SawtoothOneOfThree => "sawtooth 1 of 3",
            Self::StepTwoOfFive => "step 2 of 5",
            Self::StepBesideWandering => "step, 2 wander",
            Self::DiurnalAsymmetry => "day and night",
            Self::OnePerfect => "1 perfect of 3",
        }
    }

    /// Returns the scenario.
    pub fn scenario(self) -> Scenario {
        const NEAR: f64 = 1e-3;
        const FAR: f64 = 5e-3;
        let sawtooth = |period, phase| Course::Sawtooth {
            height: 4e-3,
            period,
            phase,
        };
        let still = Course::Steady;
        let drift = |rate| Course::Drift { from: BEGIN, rate };
        let step = Course::Step {
            from: BEGIN,
            by: 3e-3,
        };
        let scenario = match self {
            Self::Wandering => servers(NEAR, &[follower(); 3]),
            Self::TwoApart => servers(NEAR, &[still; 2]).modify(|world| {
                world.servers[0].error = 1e-3;
                world.servers[1].error = -1e-3;
            }),
            Self::DriftOneOfFour => servers(NEAR, &[still, still, still, drift(1e-6)]),
            Self::DriftOneOfThree => servers(NEAR, &[still, still, drift(1e-7)]),
            Self::SawtoothTwoOfFive => two_of_five(sawtooth(1e3, 0.0), sawtooth(1e3, 0.0)),
            Self::SawtoothTwoOfFiveApart => two_of_five(sawtooth(1e3, 0.1), sawtooth(1e3, 0.45)),
            Self::SlowSawtooth => two_of_five(sawtooth(4e3, 0.0), sawtooth(4e3, 0.0)),
            Self::FastSawtooth => two_of_five(sawtooth(250.0, 0.0), sawtooth(250.0, 0.0)),
            Self::SawtoothOneOfFour => servers(FAR, &[still, still, still, sawtooth(1e3, 0.0)]),
            Self::SawtoothOneOfThree => servers(FAR, &[still, still, sawtooth(1e3, 0.0)]),
            Self::StepTwoOfFive => two_of_five(step, step),
            Self::StepBesideWandering => servers(FAR, &[follower(), follower(), step]),
            Self::DiurnalAsymmetry => {
                let night = Course::Sine {
                    amplitude: 1e-3,
                    period: 86_400.0,
                };
                servers(FAR, &[still, still, still, night])
            }
            Self::OnePerfect => servers(NEAR, &[still, follower(), follower()]),
        };
        scenario.modify(|world| world.name = format!("servers: {}", self.name()))
    }
}

/// A server of stratum 2 that measures a perfect one over 2 ms with queues of 200 us: its error is
/// 40 us RMS.
fn follower() -> Course {
    Course::Disciplined(Follower {
        wander: 1e-9,
        queue: 2e-4,
    })
}

fn two_of_five(first: Course, second: Course) -> Scenario {
    let still = Course::Steady;
    servers(5e-3, &[still, still, still, first, second])
}

/// Servers with these courses, at `length` seconds in each direction with queues of 100 us; the
/// client's wander is 1e-9. A simple majority suffices.
fn servers(length: f64, courses: &[Course]) -> Scenario {
    let link = Link::exponential(length, 1e-4);
    let servers = courses.iter().enumerate().map(|(index, course)| {
        let second = matches!(course, Course::Disciplined(_));
        Server {
            link,
            processing: 0.0,
            course: *course,
            stratum: if second { 2 } else { 1 },
            root_delay: if second { 4e-3 } else { 0.0 },
            root_dispersion: if second { 1e-3 } else { 0.0 },
            ..Server::new(Scenario::address(index))
        }
    });
    world_with(servers, 1e-9).with_minimum_agreeing(courses.len() / 2 + 1)
}
