//! The worlds in which chrony 4.8 and ntpd-rs 1.9 were measured, so that figures compare.
//!
//! Unless said otherwise: one client, one perfect server. The client's frequency error walks by `wander` x N(0,1) each second, from zero; each
//! packet takes `length + queue` x Exp(1) seconds in each direction, independently. The clock takes every frequency exactly and
//! stamps are exact, so that nothing but oscillator and network is measured. A claim that turns out to be wrong does not end
//! such a run, it shows in the report's coverage.

use ntp_proto::discipline::FrequencyPrior;
use ntp_time::Frequency;

use crate::{Action, ClockLimits, Link, Oscillator, Queue, Scenario, Server, Sine};

/// Mean queues of the grid's rows, seconds.
pub const QUEUES: [f64; 5] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2];
/// Wander of the grid's columns, s/s per sqrt(s).
pub const WANDERS: [f64; 4] = [1e-10, 1e-9, 1e-8, 1e-7];

/// How far away a server is if nothing else is said, seconds.
const USUAL_LENGTH: f64 = 1e-3;
/// Poll exponent if nothing else is said.
const USUAL_POLL: i8 = 6;

/// The other worlds, in the order of the anchors' table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// A queue towards the client only.
    OneWay,
    /// Three packets in ten are lost.
    Loss,
    /// Day and night.
    DailySine,
    /// The frequency flips by 1 ppm every 20 000 s.
    Flips,
    /// One packet in twenty is late.
    Late,
    /// The product of three exponentials.
    HeavyTail,
    /// The route becomes longer by 5 ms in both directions.
    LongerRoute,
    /// The route becomes shorter by 5 ms in both directions.
    ShorterRoute,
    /// A local network, a packet each second, queues of 1 us.
    QuietLan,
    /// The same with queues of 10 us.
    Lan,
    /// A packet each 1024 s.
    Sparse,
    /// Four servers 10 ms away.
    FourServers,
    /// The same with asymmetric paths.
    FourBiased,
}

impl Other {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::OneWay,
        Self::Loss,
        Self::DailySine,
        Self::Flips,
        Self::Late,
        Self::HeavyTail,
        Self::LongerRoute,
        Self::ShorterRoute,
        Self::QuietLan,
        Self::Lan,
        Self::Sparse,
        Self::FourServers,
        Self::FourBiased,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneWay => "queue one way",
            Self::Loss => "30 % lost",
            Self::DailySine => "daily sine 1e-7",
            Self::Flips => "1 ppm flips",
            Self::Late => "5 % late by 10 ms",
            Self::HeavyTail => "heavy tail",
            Self::LongerRoute => "route +5 ms",
            Self::ShorterRoute => "route -5 ms",
            Self::QuietLan => "LAN, J 1e-6",
            Self::Lan => "LAN, J 1e-5",
            Self::Sparse => "poll 2^10",
            Self::FourServers => "4 servers",
            Self::FourBiased => "4 biased servers",
        }
    }

    /// The world.
    pub fn scenario(self) -> Scenario {
        let usual = |queue| Link::exponential(USUAL_LENGTH, queue);
        let scenario = match self {
            Self::OneWay => {
                let mut link = usual(1e-5);
                link.back.queue = Queue::Exponential(1e-3);
                world(link, 1e-9)
            }
            Self::Loss => world(usual(1e-4).with(|direction| direction.loss = 0.3), 1e-9),
            Self::DailySine => world(usual(1e-4), 1e-10).but(|world| {
                world.node.oscillator.sine = Some(Sine {
                    amplitude: 1e-7,
                    period: 86_400.0,
                });
                world.duration = 300_000.0;
            }),
            Self::Flips => world(usual(1e-4), 1e-10).but(flip),
            Self::Late => {
                let link = usual(1e-4).with(|direction| direction.late = (0.05, 1e-2));
                world(link, 1e-9)
            }
            Self::HeavyTail => {
                let link = usual(0.0).with(|direction| direction.queue = Queue::HeavyTail(1e-4));
                world(link, 1e-9)
            }
            Self::LongerRoute => route_change(USUAL_LENGTH, USUAL_LENGTH + 5e-3),
            Self::ShorterRoute => route_change(USUAL_LENGTH + 5e-3, USUAL_LENGTH),
            Self::QuietLan => local_network(1e-6),
            Self::Lan => local_network(1e-5),
            Self::Sparse => world(Link::exponential(1e-2, 1e-3), 1e-9)
                .polling(10, 10)
                .but(|world| world.duration = 800_000.0),
            Self::FourServers => four_servers([0.0; 4]),
            Self::FourBiased => four_servers([200e-6, -200e-6, 100e-6, -100e-6]),
        };
        scenario.but(|world| world.name = format!("anchor: {}", self.name()))
    }
}

impl Scenario {
    /// A cell of the grid: one perfect server at `max(queue, 100 us)`, queues of mean `queue` seconds, a wander of
    /// `wander`, a poll interval fixed at 64 s; 50 000 s, of which the first 10 000 do not count.
    pub fn anchor(queue: f64, wander: f64) -> Self {
        world(Link::exponential(queue.max(1e-4), queue), wander).but(|world| {
            world.name = format!("anchor J={queue:e} W={wander:e}");
            world.duration = 50_000.0;
            world.settled = 10_000.0;
        })
    }

    /// A cold start, a server 10 ms away: the clock begins `offset` seconds ahead, the oscillator runs `frequency` s/s fast;
    /// of the latter an earlier run may know this much.
    pub fn cold_start(queue: f64, offset: f64, frequency: f64, known: Option<f64>) -> Self {
        world(Link::exponential(1e-2, queue), 1e-9)
            .polling(6, 10)
            .clock_off_by(offset)
            .but(|world| {
                world.name = format!("cold start J={queue:e} {offset} s {frequency:e}");
                world.node.oscillator.offset = frequency;
                world.engine.frequency_prior = known.map(|known| FrequencyPrior {
                    frequency: Frequency::from_ratio(known),
                    uncertainty: Frequency::from_ppm(0.1),
                });
                world.duration = 1200.0;
                world.settled = 0.0;
            })
    }
}

/// One server, 100 000 s, of which the first 20 000 do not count.
fn world(link: Link, wander: f64) -> Scenario {
    Scenario::new("anchor")
        .with_server(server(0, link))
        .polling(USUAL_POLL, USUAL_POLL)
        .agreeing(1)
        .but(|world| {
            world.node.oscillator = Oscillator {
                wander,
                ..Oscillator::default()
            };
            world.node.clock = ClockLimits::Ideal;
            world.duration = 100_000.0;
            world.settled = 20_000.0;
            world.rules.look_every = 0.0;
            world.rules.bound = false;
        })
}

fn server(index: usize, link: Link) -> Server {
    Server {
        link,
        processing: 0.0,
        ..Server::new(Scenario::address(index))
    }
}

fn flip(world: &mut Scenario) {
    world.duration = 300_000.0;
    for turn in 1..15 {
        let by = if turn % 2 == 1 { 1e-6 } else { -1e-6 };
        let jump = Action::FrequencyJump(by);
        world.script.push((20_000.0 * f64::from(turn), jump));
    }
}

fn route_change(before: f64, after: f64) -> Scenario {
    world(Link::exponential(before, 1e-4), 1e-9)
        .at(30_000.0, Action::Route(0, Link::exponential(after, 1e-4)))
        .but(|world| world.duration = 60_000.0)
}

/// A fifth of the time does not count, as elsewhere.
fn local_network(queue: f64) -> Scenario {
    world(Link::exponential(5e-5, queue), 1e-9)
        .polling(0, 0)
        .but(|world| {
            world.duration = 20_000.0;
            world.settled = 4000.0;
            // The interval is a second by our clock.
            world.rules.spacing = false;
        })
}

fn four_servers(asymmetries: [f64; 4]) -> Scenario {
    let mut scenario = world(Link::exponential(1e-2, 1e-3), 1e-9);
    scenario.servers.clear();
    scenario.engine.sources.clear();
    for (index, asymmetry) in asymmetries.into_iter().enumerate() {
        let link = Link::exponential(1e-2, 1e-3).asymmetric(asymmetry);
        scenario = scenario.with_server(server(index, link));
    }
    scenario.polling(USUAL_POLL, USUAL_POLL).agreeing(3)
}
