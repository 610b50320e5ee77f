//! Source selection.

use ntp_proto::discipline::SourceState;
use ntp_proto::engine::Event;
use ntp_sim::{Action, Behaviour, Corruption, Link, Queue, Scenario, Server, World};
use ntp_time::{NtpDuration, ReferenceId};

fn states(world: &World) -> Vec<SourceState> {
    world
        .status()
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
        .modify(|world| {
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
fn a_recovered_falseticker_is_selected_again() {
    let scenario = server(|server| server.error = 0.05).at(2000.0, Action::ServerError(0, 0.0));
    let mut world = World::new(&scenario, 1);
    world.run(6000.0).unwrap();
    assert_eq!(states(&world), [SourceState::Selected; 4]);
}

#[test]
fn two_disagreeing_sources_steer_nothing_and_are_reported() {
    let scenario = Scenario::new("quarrel")
        .with_servers(1)
        .with_minimum_agreeing(1)
        .with_clock_offset(1.0)
        .modify(|world| {
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
    let complaints = world.journal().event_times(
        |event| matches!(event, Event::NoMajority { sources, .. } if sources.len() == 2),
    );
    assert!(
        (1..=2).contains(&complaints.len()),
        "once an hour: {complaints:?}"
    );
}

#[test]
fn liars_within_the_interval_of_a_trusted_source_do_not_move_the_clock() {
    // The trusted server is far away: its interval contains both others.
    for trusted_is_late in [false, true] {
        let scenario = Scenario::new("trust")
            .with_servers(3)
            .with_minimum_agreeing(1)
            .modify(|world| {
                let far = Link::exponential(0.6, 1e-4);
                for (server, error) in world.servers.iter_mut().zip([0.25, 0.3, 0.0]) {
                    server.link = far;
                    server.error = error;
                }
                world.engine.sources[2].selection.trust = true;
                // Nothing contradicts the two while they are alone.
                world.rules.bound = !trusted_is_late;
                if trusted_is_late {
                    world.servers[2].behaviour = Behaviour::Silent;
                }
                world.script = vec![(600.0, Action::Behaviour(2, Behaviour::Honest))];
            });
        let mut world = World::new(&scenario, 1);
        world.run(6000.0).unwrap();
        use SourceState::{Outranked, Selected};
        assert_eq!(states(&world), [Outranked, Outranked, Selected]);
        assert!(world.error().abs() < 1e-3, "{}", world.error());
    }
}

#[test]
fn a_wrong_majority_wins() {
    // A wrong majority cannot be detected; the engine must only not become unstable.
    let scenario = Scenario::new("wrong majority")
        .with_servers(4)
        .modify(|world| {
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
fn unsynchronised_servers_are_ignored() {
    let conducts = [
        Behaviour::Unsynchronized,
        Behaviour::Corrupt(Corruption::StratumSixteen),
        Behaviour::Corrupt(Corruption::StratumBeyond),
        Behaviour::Corrupt(Corruption::TooFar),
    ];
    for behaviour in conducts {
        let scenario = server(|server| {
            server.behaviour = behaviour;
            server.error = 30.0;
        });
        let mut world = World::new(&scenario, 1);
        world.run(1200.0).unwrap();
        assert!(
            world.error().abs() < 1e-3,
            "{behaviour:?}: {}",
            world.error()
        );
        let odd = &world.status().sources[0];
        assert!(
            odd.measurement.is_none() && odd.packets.accepted == 0,
            "{behaviour:?}"
        );
        assert!(odd.packets.unusable > 0, "{behaviour:?}");
    }
}

#[test]
fn a_server_synchronised_to_this_client_is_not_selected() {
    let scenario = server(|server| {
        server.stratum = 3;
        server.reference_id = ReferenceId::new([198, 19, 0, 1]);
    });
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    assert_eq!(world.status().sources[0].packets.accepted, 0);
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn a_source_with_a_wide_interval_does_not_vote() {
    let scenario = server(|server| {
        server.link = Link::exponential(0.3, 1e-3);
        server.error = 0.2;
    })
    .modify(|world| {
        world.engine.discipline.maximum_source_uncertainty = NtpDuration::from_millis(250);
    });
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    assert_eq!(states(&world)[0], SourceState::TooUncertain);
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn asymmetric_paths_of_many_servers_average_out_and_stay_within_the_bound() {
    let scenario = Scenario::new("asymmetry").with_servers(4).modify(|world| {
        for (server, asymmetry) in world.servers.iter_mut().zip([2e-3, -2e-3, 1e-3, -1e-3]) {
            server.link = Link::exponential(1e-2, 1e-4).asymmetric(asymmetry);
        }
        world.duration = 20_000.0;
        world.settled = 10_000.0;
        world.rules.check_interval = 8.0;
    });
    let report = ntp_sim::run(&scenario, 1).unwrap();
    assert!(report.rms < 1e-3, "{:e}", report.rms);
    assert!(
        report.bound_coverage == 1.0 && report.estimate_coverage > 0.99,
        "{report:?}"
    );
}

#[test]
fn the_bound_holds_for_every_delay_distribution() {
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
            .with_minimum_agreeing(1)
            .modify(|world| {
                for server in &mut world.servers {
                    server.link.outbound.queue = law;
                    server.link.inbound.queue = law;
                }
                world.duration = 8000.0;
                world.settled = 4000.0;
                world.rules.check_interval = 4.0;
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

#[test]
fn three_equal_servers_on_a_local_network_are_not_the_reference_in_turn() {
    for seed in 0..8 {
        let scenario = Scenario::new("a local network").modify(|world| {
            for index in 0..3 {
                let server = Server {
                    link: Link::exponential(1e-4, 3e-5),
                    stratum: 1 + u8::from(index == 2),
                    root_dispersion: 1e-5,
                    ..Server::new(Scenario::address(index))
                };
                *world = world.clone().with_server(server);
            }
        });
        let mut world = World::new(&scenario, seed);
        let mut seen = Vec::new();
        for second in 1..3_000 {
            world.run(f64::from(second)).unwrap();
            let system = world.status().system;
            if system.synchronized {
                seen.push((system.stratum, system.reference_id));
            }
        }
        assert!(seen.len() > 2_900);
        seen.dedup();
        let logged = |event: &Event| matches!(event, Event::ReferenceChanged { .. });
        assert_eq!(world.journal().event_times(logged).len(), seen.len() - 1);
        assert!(seen.len() <= 2, "seed {seed}: {seen:?}");
    }
}
