//! Worlds drawn from a seed: most servers are correct, everything else is random.
//!
//! Paths with any distribution and asymmetry, lossy, duplicating, congested; clocks off by
//! microseconds or days; oscillators of every quality; kernels that round; timestamps by daemon or
//! kernel; up to half of the servers wrong, grossly or subtly; a script of faults; an attacker. The
//! checker verifies the invariants in all of them.
//!
//! A *subtle* falseticker is the hardest kind: near, precise by its own claim, and wrong by less
//! than the correct servers can resolve, so that it stays within their intervals and is selected.
//! Most of the client's error is then the falseticker's; the bound must cover it.

use crate::{
    Action, Attack, Behaviour, ClockLimits, Congestion, Corruption, Forgery, Link, Queue, Rng,
    Scenario, Server, Sine, Stamping,
};

/// Returns a world drawn from `seed`.
pub fn random_world(seed: u64) -> Scenario {
    world_and_falsetickers(seed).0
}

/// Returns a world drawn from `seed`, and the number of its falsetickers, which are its first
/// servers.
pub(crate) fn world_and_falsetickers(seed: u64) -> (Scenario, usize) {
    let mut rng = Rng::new(seed, u64::MAX);
    let servers = 1 + rng.below(7);
    let falsetickers = if servers >= 3 {
        rng.below((servers - 1) / 2 + 1)
    } else {
        0
    };
    let mut scenario = Scenario::new("swarm").with_minimum_agreeing(servers.div_ceil(2).min(3));
    for index in 0..servers {
        scenario = scenario.with_server(random_server(&mut rng, index, index < falsetickers));
    }
    let min = 4 + rng.below(3) as i8;
    let max = min + rng.below(4) as i8;
    scenario = scenario.with_poll_limits(min, max);
    scenario.node.oscillator.offset = rng.uniform_between(-80e-6, 80e-6);
    scenario.node.oscillator.wander = rng.log_uniform(1e-11, 1e-8);
    scenario.node.oscillator.white = if rng.bernoulli(0.3) {
        rng.log_uniform(1e-10, 1e-8)
    } else {
        0.0
    };
    scenario.node.oscillator.sine = rng.bernoulli(0.3).then_some(Sine {
        amplitude: 2e-7,
        period: 86_400.0,
    });
    scenario.node.clock = [
        ClockLimits::Ideal,
        ClockLimits::Kernel,
        ClockLimits::KernelWithoutTick,
    ][rng.below(3)];
    scenario.node.stamping = match rng.below(3) {
        0 => Stamping::Kernel,
        1 => Stamping::LateKernel(rng.log_uniform(1e-5, 0.1)),
        _ => Stamping::Daemon(rng.log_uniform(1e-6, 1e-4)),
    };
    if rng.bernoulli(0.3) {
        scenario.node.reading_noise = rng.log_uniform(1e-8, 1e-5);
    }
    let scale = rng.log_uniform(1e-3, 1e6);
    scenario = scenario.with_clock_offset(if rng.bernoulli(0.5) {
        -scale
    } else {
        scale.min(80_000.0)
    });
    scenario.duration = 1600.0;
    scenario.rules.check_interval = 20.0;
    for _ in 0..rng.below(5) {
        let action = random_action(&mut rng, &scenario, falsetickers);
        scenario = scenario.at(rng.uniform_between(300.0, 1100.0), action);
    }
    if rng.bernoulli(0.3) {
        let forgery = match rng.below(4) {
            0 => Forgery::GuessedNonce,
            1 => Forgery::GuessedKiss,
            2 => Forgery::Replay,
            _ => Forgery::Corrupt(Corruption::ALL[rng.below(Corruption::ALL.len())]),
        };
        scenario.attack = Some(Attack {
            from: 0.0,
            until: 1e9,
            datagrams: 3,
            within: 0.1,
            forgery,
        });
    }
    (scenario, falsetickers)
}

fn random_server(rng: &mut Rng, index: usize, falseticker: bool) -> Server {
    let queue = rng.log_uniform(1e-6, 3e-3);
    let queue = match rng.below(4) {
        0 => Queue::Normal(queue),
        1 => Queue::Uniform(queue),
        2 => Queue::HeavyTail(queue),
        _ => Queue::Exponential(queue),
    };
    let length = rng.log_uniform(5e-5, 3e-2);
    let mut link = Link::exponential(length, 0.0).with(|direction| direction.queue = queue);
    link = link.asymmetric(rng.uniform_between(-0.8, 0.8) * length);
    let (loss, congested) = (0.2 * rng.uniform() * rng.uniform(), rng.bernoulli(0.2));
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
    if falseticker && rng.bernoulli(0.5) {
        // Within the intervals of the others, if those are that wide.
        let sign = if rng.bernoulli(0.5) { 1.0 } else { -1.0 };
        server.error = sign * rng.log_uniform(1e-4, 2e-2);
        server.link = Link::exponential(rng.log_uniform(1e-5, 1e-3), 1e-6);
    } else if falseticker {
        // Far enough outside of every interval that the selection must exclude it.
        server.error = rng.log_uniform(0.5, 1000.0);
        if rng.bernoulli(0.3) {
            server.behaviour =
                Behaviour::Corrupt(Corruption::ALL[rng.below(Corruption::ALL.len())]);
        }
    } else {
        server.stratum = 1 + rng.below(4) as u8;
        server.root_delay = rng.log_uniform(1e-5, 1e-2);
        server.root_dispersion = rng.log_uniform(1e-5, 1e-2);
        // Its claims about itself are true.
        server.error = rng.uniform_between(-1.0, 1.0) * server.root_dispersion;
    }
    server
}

fn random_action(rng: &mut Rng, scenario: &Scenario, falsetickers: usize) -> Action {
    let server = falsetickers + rng.below(scenario.servers.len() - falsetickers);
    match rng.below(8) {
        0 => Action::ForeignStep(rng.log_uniform(0.05, 500.0)),
        1 => Action::ForeignStep(-rng.log_uniform(0.05, 500.0)),
        2 => Action::Suspend {
            seconds: rng.uniform_between(1.0, 300.0),
            error: rng.uniform_between(-0.4, 0.4),
        },
        3 => Action::Network {
            v4: rng.bernoulli(0.7),
            v6: true,
        },
        4 => Action::AddressesChanged,
        // If there are falsetickers, the correct servers must remain the majority of those that
        // answer.
        5 if falsetickers == 0 => Action::Behaviour(server, Behaviour::Silent),
        6 => Action::Route(
            server,
            scenario.servers[server]
                .link
                .longer(rng.uniform_between(0.0, 5e-3)),
        ),
        _ => Action::Behaviour(
            server,
            Behaviour::RateBelow(rng.uniform_between(2.0, 100.0)),
        ),
    }
}
