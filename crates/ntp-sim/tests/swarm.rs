//! Hundreds of random worlds with random faults: the checker says whether anything that must always hold broke.

use ntp_sim::{
    Action, Attack, Chance, ClockLimits, Conduct, Congestion, Forgery, Link, Queue, Scenario,
    Server, Sine, Spoilt, Stamping, World,
};

/// A world drawn from a seed: most servers are honest, all else is chance.
fn random_world(seed: u64) -> Scenario {
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
    if liar {
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
        5 => Action::Conduct(server, Conduct::Silent),
        6 => Action::Route(
            server,
            scenario.servers[server]
                .link
                .longer(chance.between(0.0, 5e-3)),
        ),
        _ => Action::Conduct(server, Conduct::RateBelow(chance.between(2.0, 100.0))),
    }
}

/// The range of seeds; `NTP_SIM_SEEDS=1000..2000` asks for others.
fn seeds() -> core::ops::Range<u64> {
    let asked = std::env::var("NTP_SIM_SEEDS").ok();
    let range = asked.and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    range.unwrap_or(0..200)
}

/// Violations in the worlds of `seeds`, told with the command that shows them again.
fn violations(seeds: impl Iterator<Item = u64>) -> Vec<String> {
    seeds
        .filter_map(|seed| {
            let violation = ntp_sim::run(&random_world(seed), seed).err()?;
            Some(format!(
                "{violation}\nor: NTP_SIM_SEEDS={seed}..{} cargo test -p ntp-sim --test swarm",
                seed + 1
            ))
        })
        .collect()
}

#[test]
fn nothing_that_must_always_hold_breaks_in_a_swarm_of_random_worlds() {
    let seeds = seeds();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let found: Vec<String> = std::thread::scope(|scope| {
        let share = |worker| seeds.clone().skip(worker).step_by(workers);
        let handles: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || violations(share(worker))))
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().expect("no world panics"))
            .collect()
    });
    assert!(
        found.is_empty(),
        "{} of {} worlds:\n{}",
        found.len(),
        seeds.count(),
        found.join("\n")
    );
}

#[test]
fn a_seed_reproduces_its_run_to_the_bit() {
    for seed in 0..10 {
        let scenario = random_world(seed);
        let fingerprint = |seed| {
            let mut world = World::new(&scenario, seed);
            let _ = world.run(1500.0);
            (
                world.journal().fingerprint(),
                world.error().to_bits(),
                format!("{:?}", world.snapshot()),
            )
        };
        assert_eq!(fingerprint(seed), fingerprint(seed), "seed {seed}");
        assert_ne!(fingerprint(seed).0, fingerprint(seed + 1).0, "seed {seed}");
    }
}
