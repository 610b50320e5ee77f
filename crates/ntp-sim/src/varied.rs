//! Worlds in which only this engine was measured: other delay distributions, changing conditions,
//! sources of unequal quality.
//!
//! The algorithm was not tuned to them. They show whether an idea that is good for exponential
//! queues and a steady random walk is good in general: the table `further` of `cargo xtask
//! accuracy` prints the figures, and how honest the error estimates are.
//!
//! 100 000 s, the first 10 000 excluded from the figures, poll interval between 16 and 1024 s,
//! ideal clock and timestamps.

use crate::{Action, Congestion, Direction, Link, Queue, Scenario, Server, Sine};

/// A world without figures of other daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariedWorld {
    /// Log-normal queues.
    LogNormal,
    /// Queues of infinite variance.
    Pareto,
    /// Normally distributed jitter, which the delay does not reveal.
    Normal,
    /// A server with noisy timestamps.
    NoisyServer,
    /// Queues that grow from 100 us to 3 ms towards the evening, more in one direction.
    Diurnal,
    /// Bursts of 20 ms inbound and 5 ms outbound, and lost packets.
    WiFi,
    /// 20 ms of log-normal queues, and 10 % packet loss.
    Mobile,
    /// An air conditioner: a sine of 0.3 ppm every hour.
    HourlySine,
    /// A machine that warms up: 2 ppm within 40 minutes, and back.
    WarmUp,
    /// A laptop that is suspended and resumes with a wrong clock.
    Sleep,
    /// Routes that change in both directions, by opposite amounts too.
    Routes,
    /// A near server, and three far ones with asymmetric paths.
    OneGood,
    /// The same near server goes silent twice, and comes back.
    Vanishing,
    /// Five servers with asymmetric paths, of which two or three are silent at any time.
    ComeAndGo,
}

impl VariedWorld {
    /// All variants.
    pub const ALL: [Self; 14] = [
        Self::LogNormal,
        Self::Pareto,
        Self::Normal,
        Self::NoisyServer,
        Self::Diurnal,
        Self::WiFi,
        Self::Mobile,
        Self::HourlySine,
        Self::WarmUp,
        Self::Sleep,
        Self::Routes,
        Self::OneGood,
        Self::Vanishing,
        Self::ComeAndGo,
    ];

    /// Display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogNormal => "log-normal",
            Self::Pareto => "Pareto 1.5",
            Self::Normal => "normal",
            Self::NoisyServer => "noisy server",
            Self::Diurnal => "busy evenings",
            Self::WiFi => "Wi-Fi",
            Self::Mobile => "mobile",
            Self::HourlySine => "hourly sine",
            Self::WarmUp => "warming up",
            Self::Sleep => "sleeping laptop",
            Self::Routes => "changing routes",
            Self::OneGood => "one good, three bad",
            Self::Vanishing => "good one vanishes",
            Self::ComeAndGo => "five come and go",
        }
    }

    /// Returns the scenario.
    pub fn scenario(self) -> Scenario {
        let path = |length, queue| Link::symmetric(Direction::new(length, queue));
        let usual = |length| Link::exponential(length, 1e-4);
        let scenario = match self {
            Self::LogNormal => world(path(5e-3, Queue::LogNormal(1e-4, 1.2)), 1e-9),
            Self::Pareto => world(path(5e-3, Queue::Pareto(1e-4, 1.5)), 1e-9),
            Self::Normal => world(path(5e-3, Queue::Normal(3e-4)), 1e-9),
            Self::NoisyServer => world(Link::exponential(2e-3, 1e-5), 1e-9)
                .modify(|world| world.servers[0].jitter = 3e-4),
            Self::Diurnal => busy_evenings(),
            Self::WiFi => world(wifi(), 2e-9),
            Self::Mobile => {
                let mut link = path(3e-2, Queue::LogNormal(8e-3, 0.8));
                link.outbound.queue = Queue::LogNormal(1.5e-2, 1.0);
                world(link.with(|direction| direction.loss = 0.1), 5e-9)
            }
            Self::HourlySine => world(usual(3e-3), 3e-10).modify(|world| {
                world.node.oscillator.sine = Some(Sine {
                    amplitude: 3e-7,
                    period: 3600.0,
                });
            }),
            Self::WarmUp => (0..40).fold(world(usual(5e-3), 1e-9), |world, minute| {
                let later = 60.0 * f64::from(minute);
                world
                    .at(30_000.0 + later, Action::FrequencyJump(5e-8))
                    .at(60_000.0 + later, Action::FrequencyJump(-5e-8))
            }),
            Self::Sleep => [(20_000.0, 3600.0, 0.4), (50_000.0, 20_000.0, -1.3)]
                .into_iter()
                .fold(
                    world(Link::exponential(1e-2, 5e-4), 1e-9),
                    |world, (at, seconds, error)| world.at(at, Action::Suspend { seconds, error }),
                ),
            Self::Routes => {
                let mut crossed = usual(2e-2);
                crossed.inbound.length += 6e-3;
                world(usual(2e-2), 1e-9)
                    .at(30_000.0, Action::Route(0, usual(2.4e-2)))
                    .at(60_000.0, Action::Route(0, crossed))
                    .at(80_000.0, Action::Route(0, usual(2e-2)))
            }
            Self::OneGood => several(&one_good(), 1e-9),
            Self::Vanishing => [30_000.0, 60_000.0]
                .into_iter()
                .fold(several(&one_good(), 1e-9), |world, at| {
                    silent(world, 0, at, at + 10_000.0)
                }),
            Self::ComeAndGo => (0..18).fold(several(&five(), 2e-9), |world, turn| {
                let from = 5000.0 * f64::from(turn + 1);
                silent(world, turn as usize % 5, from, from + 12_000.0)
            }),
        };
        scenario.modify(|world| {
            world.name = format!("varied: {}", self.name());
            world.settled = 10_000.0;
        })
    }
}

/// One server; oscillator, clock and timestamps as in the reference worlds.
fn world(link: Link, wander: f64) -> Scenario {
    several(&[link], wander)
}

fn several(links: &[Link], wander: f64) -> Scenario {
    let reference = Scenario::reference(1e-4, wander).modify(|world| {
        world.servers.clear();
        world.engine.sources.clear();
        world.duration = 100_000.0;
    });
    let servers = links.iter().enumerate().map(|(index, link)| Server {
        link: *link,
        processing: 0.0,
        ..Server::new(Scenario::address(index))
    });
    servers
        .fold(reference, Scenario::with_server)
        .with_poll_limits(4, 10)
        .with_minimum_agreeing(1)
}

fn silent(world: Scenario, server: usize, from: f64, until: f64) -> Scenario {
    world
        .at(from, Action::Behaviour(server, crate::Behaviour::Silent))
        .at(until, Action::Behaviour(server, crate::Behaviour::Honest))
}

fn busy_evenings() -> Scenario {
    let quiet = Link::exponential(1e-2, 1e-4);
    (0..3).fold(world(quiet, 1e-9), |world, day| {
        let noon = 86_400.0 * f64::from(day) + 36_000.0;
        let hours = (0..8).fold(world, |world, hour| {
            let part = (f64::from(hour) + 0.5) / 8.0;
            let queue = 1e-4 + 3e-3 * (core::f64::consts::PI * part).sin();
            let mut busy = Link::exponential(1e-2, queue);
            busy.outbound.queue = Queue::Exponential(queue / 4.0);
            world.at(noon + 3600.0 * f64::from(hour), Action::Route(0, busy))
        });
        hours
            .at(noon + 8.0 * 3600.0, Action::Route(0, quiet))
            .modify(|world| world.duration = 260_000.0)
    })
}

fn wifi() -> Link {
    let mut link = Link::exponential(4e-3, 3e-4).with(|direction| direction.loss = 0.02);
    link.inbound.congestion = Some(Congestion {
        every: 600.0,
        lasting: 120.0,
        queue: 2e-2,
    });
    link.outbound.congestion = Some(Congestion {
        every: 2000.0,
        lasting: 60.0,
        queue: 5e-3,
    });
    link
}

fn one_good() -> [Link; 4] {
    [
        Link::exponential(5e-4, 1e-5),
        Link::exponential(2e-2, 5e-3).asymmetric(3e-3),
        Link::exponential(3e-2, 2e-3).asymmetric(-4e-3),
        Link::exponential(1e-2, 8e-3),
    ]
}

fn five() -> [Link; 5] {
    [
        Link::exponential(8e-3, 5e-4).asymmetric(4e-4),
        Link::exponential(1.2e-2, 8e-4).asymmetric(-6e-4),
        Link::exponential(2e-2, 3e-4).asymmetric(1e-3),
        Link::exponential(6e-3, 1.5e-3),
        Link::exponential(3e-2, 1e-3).asymmetric(-2e-3),
    ]
}
