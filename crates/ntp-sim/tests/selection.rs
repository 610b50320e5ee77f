//! Whom to believe.

use ntp_proto::discipline::SourceState;
use ntp_proto::engine::Event;
use ntp_sim::{Action, Conduct, Link, Queue, Scenario, Server, Spoilt, World};
use ntp_time::{NtpDuration, ReferenceId};

fn states(world: &World) -> Vec<SourceState> {
    world
        .snapshot()
        .sources
        .iter()
        .map(|source| source.state)
        .collect()
}

fn server(change: impl FnOnce(&mut Server)) -> Scenario {
    let mut server = Server::new(Scenario::address(0));
    change(&mut server);
    Scenario::new("one odd server")
        .with_server(server)
        .with_servers(3)
}

#[test]
fn a_falseticker_is_outvoted_from_the_start() {
    let scenario = server(|server| server.error = 0.05);
    for seed in 0..5 {
        let mut world = World::new(&scenario, seed);
        world.run(3600.0).unwrap();
        assert_eq!(states(&world)[0], SourceState::Falseticker, "seed {seed}");
        assert!(world.error().abs() < 2e-4, "seed {seed}: {}", world.error());
    }
}

#[test]
fn a_server_that_turns_into_a_falseticker_moves_nothing() {
    let scenario = Scenario::new("turncoat")
        .with_servers(4)
        .at(3000.0, Action::ServerError(2, -0.05))
        .but(|world| {
            world.settled = 3000.0;
            world.duration = 6000.0;
        });
    for seed in 0..5 {
        let report = ntp_sim::run(&scenario, seed).unwrap();
        assert!(report.maximum < 2e-4, "seed {seed}: {:e}", report.maximum);
        assert_eq!(report.last.sources[2].state, SourceState::Falseticker);
    }
}

#[test]
fn a_falseticker_that_becomes_honest_again_is_heard_again() {
    let scenario = server(|server| server.error = 0.05).at(2000.0, Action::ServerError(0, 0.0));
    let mut world = World::new(&scenario, 1);
    world.run(6000.0).unwrap();
    assert_eq!(states(&world), [SourceState::Selected; 4]);
}

#[test]
fn two_sources_that_disagree_steer_nothing_and_are_named() {
    let scenario = Scenario::new("quarrel")
        .with_servers(1)
        .agreeing(1)
        .clock_off_by(1.0)
        .but(|world| {
            *world = world.clone().with_server(Server {
                error: 0.5,
                ..Server::new(Scenario::address(1))
            });
        });
    let mut world = World::new(&scenario, 1);
    world.run(3600.0).unwrap();
    assert_eq!(
        world.journal().adjustments,
        0,
        "{:?}",
        world.journal().events
    );
    let complaints = world
        .journal()
        .when(|event| matches!(event, Event::NoMajority { sources, .. } if sources.len() == 2));
    assert!(
        (1..=2).contains(&complaints.len()),
        "once an hour: {complaints:?}"
    );
}

#[test]
fn a_lying_majority_wins_and_the_bound_is_not_to_blame() {
    // Nothing can be done about it; it must only not end in confusion.
    let scenario = Scenario::new("conspiracy").with_servers(4).but(|world| {
        world.servers[0].error = 0.05;
        world.servers[1].error = 0.05;
        world.servers[2].error = 0.05;
        world.rules.bound = false;
    });
    let mut world = World::new(&scenario, 1);
    world.run(3600.0).unwrap();
    assert!((world.error() - 0.05).abs() < 1e-3);
}

#[test]
fn servers_without_time_to_give_are_ignored() {
    let conducts = [
        Conduct::Unsynchronized,
        Conduct::Spoilt(Spoilt::StratumSixteen),
        Conduct::Spoilt(Spoilt::StratumBeyond),
        Conduct::Spoilt(Spoilt::TooFar),
    ];
    for conduct in conducts {
        let scenario = server(|server| {
            server.conduct = conduct;
            server.error = 30.0;
        });
        let mut world = World::new(&scenario, 1);
        world.run(1200.0).unwrap();
        assert!(world.error().abs() < 1e-3, "{conduct:?}: {}", world.error());
        let odd = &world.snapshot().sources[0];
        assert!(
            odd.measured.is_none() && odd.counters.accepted == 0,
            "{conduct:?}"
        );
        assert!(odd.counters.unusable > 0, "{conduct:?}");
    }
}

#[test]
fn a_server_that_follows_us_is_not_followed() {
    let scenario = server(|server| {
        server.stratum = 3;
        server.reference_id = ReferenceId::new([198, 19, 0, 1]);
    });
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    assert_eq!(world.snapshot().sources[0].counters.accepted, 0);
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn a_source_with_a_wide_interval_has_no_say() {
    let scenario = server(|server| {
        server.link = Link::exponential(0.3, 1e-3);
        server.error = 0.2;
    })
    .but(|world| {
        world.engine.discipline.maximum_source_uncertainty = NtpDuration::from_millis(250);
    });
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    assert_eq!(states(&world)[0], SourceState::TooUncertain);
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn asymmetric_paths_of_many_servers_average_out_and_stay_within_the_bound() {
    let scenario = Scenario::new("asymmetry").with_servers(4).but(|world| {
        for (server, asymmetry) in world.servers.iter_mut().zip([2e-3, -2e-3, 1e-3, -1e-3]) {
            server.link = Link::exponential(1e-2, 1e-4).asymmetric(asymmetry);
        }
        world.duration = 20_000.0;
        world.settled = 10_000.0;
        world.rules.look_every = 8.0;
    });
    let report = ntp_sim::run(&scenario, 1).unwrap();
    assert!(report.rms < 1e-3, "{:e}", report.rms);
    assert!(
        report.bound_coverage == 1.0 && report.estimate_coverage > 0.99,
        "{report:?}"
    );
}

#[test]
fn every_delay_law_keeps_truth_within_the_bound() {
    let laws = [
        Queue::Idle,
        Queue::Exponential(1e-3),
        Queue::Normal(3e-4),
        Queue::Uniform(2e-3),
        Queue::HeavyTail(5e-4),
    ];
    for (seed, law) in (1..).zip(laws) {
        let scenario = Scenario::new("delay law")
            .with_servers(2)
            .agreeing(1)
            .but(|world| {
                for server in &mut world.servers {
                    server.link.there.queue = law;
                    server.link.back.queue = law;
                }
                world.duration = 8000.0;
                world.settled = 4000.0;
                world.rules.look_every = 4.0;
            });
        let report = ntp_sim::run(&scenario, seed).unwrap();
        assert!(report.rms < 5e-4, "{law:?}: {:e}", report.rms);
        assert!(
            report.estimate_coverage > 0.98,
            "{law:?}: {}",
            report.estimate_coverage
        );
    }
}
