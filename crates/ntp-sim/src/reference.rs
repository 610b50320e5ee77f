//! Worlds in which chrony 4.8 and ntpd-rs 1.9 were measured, for comparison.
//!
//! Unless stated otherwise: one client, one perfect server. The client's frequency error walks by
//! `wander` x N(0,1) each second, from zero; each packet takes `length + queue` x Exp(1) seconds in
//! each direction, independently. The clock applies every frequency exactly and timestamps are
//! exact, so that only oscillator and network are measured. A bound that turns out to be wrong does
//! not end such a run; it appears in the report's coverage.

use ntp_proto::discipline::FrequencyPrior;
use ntp_time::Frequency;

use crate::{Action, ClockLimits, Link, Oscillator, Queue, Scenario, Server, Sine};

/// Mean queues of the grid's rows, seconds.
pub const QUEUES: [f64; 5] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2];
/// Wander of the grid's columns, s/s per sqrt(s).
pub const WANDERS: [f64; 4] = [1e-10, 1e-9, 1e-8, 1e-7];

/// Default path length, seconds.
const USUAL_LENGTH: f64 = 1e-3;
/// Default poll exponent.
const USUAL_POLL: i8 = 6;

/// Worlds outside the grid, in the order of the reference table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceWorld {
    /// A queue in the inbound direction only.
    OneWay,
    /// 30 % packet loss.
    Loss,
    /// A daily frequency cycle.
    DailySine,
    /// The frequency flips by 1 ppm every 20 000 s.
    Flips,
    /// By 2 ppm every 20 000 s.
    LargerFlips,
    /// By 10 ppm every 10 800 s.
    LargestFlips,
    /// 5 % of the packets are late.
    Late,
    /// Queues that are the product of three exponentials.
    HeavyTail,
    /// The route becomes longer by 5 ms in both directions.
    LongerRoute,
    /// The route becomes shorter by 5 ms in both directions.
    ShorterRoute,
    /// A local network, a poll each second, queues of 1 us.
    QuietLan,
    /// The same with queues of 10 us.
    Lan,
    /// A poll each 1024 s.
    Sparse,
    /// Four servers 10 ms away.
    FourServers,
    /// The same with asymmetric paths.
    FourBiased,
}

impl ReferenceWorld {
    /// All variants.
    pub const ALL: [Self; 15] = [
        Self::OneWay,
        Self::Loss,
        Self::DailySine,
        Self::Flips,
        Self::LargerFlips,
        Self::LargestFlips,
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

    /// Display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneWay => "queue one way",
            Self::Loss => "30 % lost",
            Self::DailySine => "daily sine 1e-7",
            Self::Flips => "1 ppm flips",
            Self::LargerFlips => "2 ppm flips",
            Self::LargestFlips => "10 ppm flips",
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

    /// Returns the scenario.
    pub fn scenario(self) -> Scenario {
        let usual = |queue| Link::exponential(USUAL_LENGTH, queue);
        let scenario = match self {
            Self::OneWay => {
                let mut link = usual(1e-5);
                link.inbound.queue = Queue::Exponential(1e-3);
                world(link, 1e-9)
            }
            Self::Loss => world(usual(1e-4).with(|direction| direction.loss = 0.3), 1e-9),
            Self::DailySine => world(usual(1e-4), 1e-10).modify(|world| {
                world.node.oscillator.sine = Some(Sine {
                    amplitude: 1e-7,
                    period: 86_400.0,
                });
                world.duration = 300_000.0;
            }),
            Self::Flips => flips(1e-6, 20_000.0),
            Self::LargerFlips => flips(2e-6, 20_000.0),
            Self::LargestFlips => flips(10e-6, 10_800.0),
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
                .with_poll_limits(10, 10)
                .modify(|world| world.duration = 800_000.0),
            Self::FourServers => four_servers([0.0; 4]),
            Self::FourBiased => four_servers([200e-6, -200e-6, 100e-6, -100e-6]),
        };
        scenario.modify(|world| world.name = format!("reference: {}", self.name()))
    }
}

impl Scenario {
    /// A cell of the grid: one perfect server at `max(queue, 100 us)`, queues of mean `queue`
    /// seconds, a wander of `wander`, a poll interval fixed at 64 s; 50 000 s, the first 10 000
    /// excluded from the figures.
    pub fn reference(queue: f64, wander: f64) -> Self {
        world(Link::exponential(queue.max(1e-4), queue), wander).modify(|world| {
            world.name = format!("reference J={queue:e} W={wander:e}");
            world.duration = 50_000.0;
            world.settled = 10_000.0;
        })
    }

    /// A cold start with a server 10 ms away: the clock begins `offset` seconds ahead, the
    /// oscillator runs `frequency` s/s fast, and `known` is the frequency that an earlier run
    /// saved. The figures begin at 2000 s.
    pub fn cold_start(queue: f64, offset: f64, frequency: f64, known: Option<f64>) -> Self {
        world(Link::exponential(1e-2, queue), 1e-9)
            .with_poll_limits(4, 10)
            .with_clock_offset(offset)
            .modify(|world| {
                world.name = format!("cold start J={queue:e} {offset} s {frequency:e}");
                world.node.oscillator.offset = frequency;
                // A wrong prior is replaced, and the phase begins again.
                world.rules.no_steps = false;
                world.engine.frequency_prior = known.map(|known| FrequencyPrior {
                    frequency: Frequency::from_ratio(known),
                    uncertainty: Frequency::from_ppm(0.1),
                });
                world.duration = 4000.0;
                world.settled = 2000.0;
            })
    }
}

/// One server, 100 000 s, the first 20 000 excluded from the figures.
fn world(link: Link, wander: f64) -> Scenario {
    world_with([server(0, link)], wander).with_minimum_agreeing(1)
}

/// The same with these servers, of which three must agree.
pub(crate) fn world_with(servers: impl IntoIterator<Item = Server>, wander: f64) -> Scenario {
    servers
        .into_iter()
        .fold(Scenario::new("reference"), Scenario::with_server)
        .with_poll_limits(USUAL_POLL, USUAL_POLL)
        .with_minimum_agreeing(3)
        .modify(|world| {
            world.node.oscillator = Oscillator {
                wander,
                ..Oscillator::default()
            };
            world.node.clock = ClockLimits::Ideal;
            world.duration = 100_000.0;
            world.settled = 20_000.0;
            world.rules.check_interval = 0.0;
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

/// The frequency changes by `size` s/s every `every` seconds, up and down.
fn flips(size: f64, every: f64) -> Scenario {
    world(Link::exponential(USUAL_LENGTH, 1e-4), 1e-10).modify(|world| {
        world.duration = 300_000.0;
        for turn in 1..(world.duration / every) as u32 {
            let by = if turn % 2 == 1 { size } else { -size };
            let jump = Action::FrequencyJump(by);
            world.script.push((every * f64::from(turn), jump));
        }
    })
}

fn route_change(before: f64, after: f64) -> Scenario {
    world(Link::exponential(before, 1e-4), 1e-9)
        .at(30_000.0, Action::Route(0, Link::exponential(after, 1e-4)))
        .modify(|world| world.duration = 60_000.0)
}

/// As elsewhere, the first fifth of the time is excluded from the figures.
fn local_network(queue: f64) -> Scenario {
    world(Link::exponential(5e-5, queue), 1e-9)
        .with_poll_limits(0, 0)
        .modify(|world| {
            world.duration = 20_000.0;
            world.settled = 4000.0;
            // The interval is a second by the client's clock.
            world.rules.spacing = false;
        })
}

fn four_servers(asymmetries: [f64; 4]) -> Scenario {
    let servers = asymmetries
        .into_iter()
        .enumerate()
        .map(|(index, asymmetry)| {
            server(index, Link::exponential(1e-2, 1e-3).asymmetric(asymmetry))
        });
    world_with(servers, 1e-9)
}
