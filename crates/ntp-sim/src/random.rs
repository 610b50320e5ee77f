//! Worlds drawn from a seed: most servers are honest, all else is chance.
//!
//! Paths of any law and asymmetry, lossy, duplicating, congested; clocks off by microseconds or days; oscillators of every quality; kernels that
//! round; stamps by daemon or kernel; up to half of the servers lying, grossly or subtly; a script of things that go wrong;
//! a stranger who forges. What must hold in all of them is the checker's business.
//!
//! A *subtle* liar is the hardest kind: near, precise by its own word, and wrong by less than the honest servers can tell, so that
//! it stays within their intervals and is believed. Most of its victims' error is then its lie; the bound must know.

use crate::{
    Action, Attack, Chance, ClockLimits, Conduct, Congestion, Forgery, Link, Queue, Scenario,
    Server, Sine, Spoilt, Stamping,
};

/// A world drawn from `seed`.
pub fn random_world(seed: u64) -> Scenario {
    let mut chance = Chance::new(seed, u64::MAX);
    let servers = 1 + chance.below(7);
    let liars = if servers >= 3 {
        chance.below((servers - 1) / 2 + 1)
    } else {
        0
    };
    let mut scenario = Scenario::new("swarm").agreeing(servers.div_ceil(2).min(3));
    for index in 0..servers {
        scenario = scenario.with_server(random_server(&mut chance, index, index < liars));
    }
    let min = 4 + chance.below(3) as i8;
    let max = min + chance.below(4) as i8;
    scenario = scenario.polling(min, max);
    scenario.node.oscillator.offset = chance.between(-80e-6, 80e-6);
    scenario.node.oscillator.wander = chance.scale_between(1e-11, 1e-8);
    scenario.node.oscillator.white = if chance.happens(0.3) {
        chance.scale_between(1e-10, 1e-8)
    } else {
        0.0
    };
    scenario.node.oscillator.sine = chance.happens(0.3).then_some(Sine {
        amplitude: 2e-7,
        period: 86_400.0,
    });
    scenario.node.clock = [
        ClockLimits::Ideal,
        ClockLimits::Kernel,
        ClockLimits::KernelWithoutTick,
    ][chance.below(3)];
    scenario.node.stamping = match chance.below(3) {
        0 => Stamping::Kernel,
        1 => Stamping::LateKernel(chance.scale_between(1e-5, 0.1)),
        _ => Stamping::Daemon(chance.scale_between(1e-6, 1e-4)),
    };
    if chance.happens(0.3) {
        scenario.node.reading_noise = chance.scale_between(1e-8, 1e-5);
    }
    let scale = chance.scale_between(1e-3, 1e6);
    scenario = scenario.clock_off_by(if chance.happens(0.5) {
        -scale
    } else {
        scale.min(80_000.0)
    });
    scenario.duration = 1600.0;
    scenario.rules.look_every = 20.0;
    for _ in 0..chance.below(5) {
        let action = random_action(&mut chance, &scenario, liars);
        scenario = scenario.at(chance.between(300.0, 1100.0), action);
    }
    if chance.happens(0.3) {
        let forgery = match chance.below(4) {
            0 => Forgery::GuessedNonce,
            1 => Forgery::GuessedKiss,
            2 => Forgery::Replay,
            _ => Forgery::Spoilt(Spoilt::ALL[chance.below(Spoilt::ALL.len())]),
        };
        scenario.attack = Some(Attack {
            from: 0.0,
            until: 1e9,
            datagrams: 3,
            within: 0.1,
            forgery,
        });
    }
    scenario
}

fn random_server(chance: &mut Chance, index: usize, liar: bool) -> Server {
    let queue = chance.scale_between(1e-6, 3e-3);
    let queue = match chance.below(4) {
        0 => Queue::Normal(queue),
        1 => Queue::Uniform(queue),
        2 => Queue::HeavyTail(queue),
        _ => Queue::Exponential(queue),
    };
    let length = chance.scale_between(5e-5, 3e-2);
    let mut link = Link::exponential(length, 0.0).with(|direction| direction.queue = queue);
    link = link.asymmetric(chance.between(-0.8, 0.8) * length);
    let (loss, congested) = (
        0.2 * chance.uniform() * chance.uniform(),
        chance.happens(0.2),
    );
    link = link.with(|direction| {
        direction.loss = loss;
        direction.duplication = 0.02;
        direction.late = (0.01, 0.5);
        direction.congestion = congested.then_some(Congestion {
            every: 600.0,
            lasting: 60.0,
            queue: 0.02,
        });
    });
    let mut server = Server {
        link,
        ..Server::new(Scenario::address(index))
    };
    if liar && chance.happens(0.5) {
        // Within the intervals of the others, if they are as far away as that.
        let sign = if chance.happens(0.5) { 1.0 } else { -1.0 };
        server.error = sign * chance.scale_between(1e-4, 2e-2);
        server.link = Link::exponential(chance.scale_between(1e-5, 1e-3), 1e-6);
    } else if liar {
        // Far enough outside of every interval that the vote must tell.
        server.error = chance.scale_between(0.5, 1000.0);
        if chance.happens(0.3) {
            server.conduct = Conduct::Spoilt(Spoilt::ALL[chance.below(Spoilt::ALL.len())]);
        }
    } else {
        server.stratum = 1 + chance.below(4) as u8;
        server.root_delay = chance.scale_between(1e-5, 1e-2);
        server.root_dispersion = chance.scale_between(1e-5, 1e-2);
        // What it says of itself is true.
        server.error = chance.between(-1.0, 1.0) * server.root_dispersion;
    }
    server
}

fn random_action(chance: &mut Chance, scenario: &Scenario, liars: usize) -> Action {
    let server = liars + chance.below(scenario.servers.len() - liars);
    match chance.below(8) {
        0 => Action::ForeignStep(chance.scale_between(0.05, 500.0)),
        1 => Action::ForeignStep(-chance.scale_between(0.05, 500.0)),
        2 => Action::Suspend {
            seconds: chance.between(1.0, 300.0),
            error: chance.between(-0.4, 0.4),
        },
        3 => Action::Network {
            v4: chance.happens(0.7),
            v6: true,
        },
        4 => Action::AddressesChanged,
        // Where there are liars, the honest must remain the majority of those who speak.
        5 if liars == 0 => Action::Conduct(server, Conduct::Silent),
        6 => Action::Route(
            server,
            scenario.servers[server]
                .link
                .longer(chance.between(0.0, 5e-3)),
        ),
        _ => Action::Conduct(server, Conduct::RateBelow(chance.between(2.0, 100.0))),
    }
}
