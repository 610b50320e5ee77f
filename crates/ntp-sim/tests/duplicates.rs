//! One server has one vote, whatever the number of names and entries that lead to it.

use ntp_proto::discipline::SourceState;
use ntp_proto::engine::{Command, Event, Host, RemovalReason, SourceConfig, SourceKind};
use ntp_sim::{
    Action, Behaviour, NegotiatedServer, Nts, Scenario, World, nts_source, source, source_at,
};

use SourceState::{Duplicate, Falseticker, Selected};

fn states(world: &World) -> Vec<SourceState> {
    let sources = world.status().sources;
    sources.iter().map(|source| source.state).collect()
}

/// States by the configured names, in their order.
fn states_of(world: &World, names: &[&str]) -> Vec<SourceState> {
    let sources = world.status().sources;
    let of = |name: &&str| {
        let mut sources = sources.iter();
        let found = sources.find(|source| source.name == format!("{name}:123"));
        found.map_or(SourceState::NoSamples, |source| source.state)
    };
    names.iter().map(of).collect()
}

fn server(name: &str) -> SourceConfig {
    source(name, SourceKind::Server)
}

/// A server that is wrong by 0.5 s, and two honest ones with sources by address.
fn liar_and_two() -> Scenario {
    Scenario::new("one liar")
        .with_unconfigured_servers(3)
        .with_minimum_agreeing(2)
        .modify(|world| {
            world.servers[0].error = 0.5;
            for honest in [1, 2] {
                let address = world.servers[honest].address;
                world.engine.sources.push(source_at(address));
            }
        })
}

fn check_liar_is_outvoted(scenario: &Scenario, label: &str) {
    for seed in 0..3 {
        let mut world = World::new(scenario, seed);
        world.run(1800.0).unwrap();
        assert!(world.error().abs() < 1e-3, "{label}: {}", world.error());
        let states = states(&world);
        let count = |state| states.iter().filter(|it| **it == state).count();
        let found = (count(Falseticker), count(Duplicate), count(Selected));
        assert_eq!(found, (1, states.len() - 3, 2), "{label}: {states:?}");
        let system = world.status().system;
        let votes = (system.agreeing, system.candidates, system.required);
        assert_eq!(votes, (2, 3, 2), "{label}: servers are counted");
    }
}

#[test]
fn a_liar_with_many_entries_does_not_outvote_two_honest_servers() {
    let names = ["a.example", "b.example", "c.example"];
    let mut by_name = liar_and_two();
    for name in names {
        by_name = by_name.with_name(name, &[0]).with_source(server(name));
    }
    check_liar_is_outvoted(&by_name, "three names");

    let literal = liar_and_two().modify(|world| {
        let address = world.servers[0].address;
        let again = [source_at(address), source_at(address), source_at(address)];
        world.engine.sources.splice(0..0, again);
    });
    check_liar_is_outvoted(&literal, "three times the address");

    let in_pool = liar_and_two()
        .with_name("pool.example", &[0])
        .with_source(source(
            "pool.example",
            SourceKind::Pool {
                count: 1,
                ignore: Vec::new(),
            },
        ))
        .with_name("a.example", &[0])
        .with_source(server("a.example"));
    check_liar_is_outvoted(&in_pool, "a pool and a name");
}

#[test]
fn a_key_exchange_server_has_one_vote_whatever_servers_it_names() {
    // One key-exchange server under two names sends its clients to different addresses.
    let scenario = Scenario::new("one key exchange")
        .with_unconfigured_servers(5)
        .with_minimum_agreeing(2)
        .with_name("a.example", &[0])
        .with_name("b.example", &[0])
        .modify(|world| {
            for index in [0, 4] {
                world.servers[index].error = 0.5;
                world.servers[index].nts = Some(Nts::default());
            }
            for honest in [1, 2] {
                let address = world.servers[honest].address;
                world.engine.sources.push(source_at(address));
            }
            for name in ["a.example", "b.example"] {
                let host = Host::Name(name.to_owned());
                world.engine.sources.push(nts_source(host));
            }
            // The second exchange names another server.
            let moved = Nts {
                server: NegotiatedServer::Address(world.servers[4].address),
                ..Nts::default()
            };
            let offline = Command::Offline(Some("b.example:4460".to_owned()));
            let online = Command::Online(Some("b.example:4460".to_owned()));
            world.script = vec![
                (0.0, Action::Command(offline)),
                (60.0, Action::Nts(0, Some(moved))),
                (61.0, Action::Command(online)),
            ];
        });
    let mut world = World::new(&scenario, 1);
    world.run(3000.0).unwrap();
    assert!(world.error().abs() < 1e-3, "{}", world.error());
    assert_eq!(
        states(&world),
        [Selected, Selected, Falseticker, Duplicate],
        "{:?}",
        world.status().sources
    );
}

#[test]
fn a_changed_name_is_followed_in_both_directions() {
    let names = ["a.example", "b.example"];
    let scenario = Scenario::new("names change")
        .with_unconfigured_servers(2)
        .with_servers(2)
        .with_name("a.example", &[0])
        .with_name("b.example", &[0])
        .with_source(server("a.example"))
        .with_source(server("b.example"));
    let second = |world: &mut Scenario| Ok(vec![world.servers[1].address]);
    let scenario = scenario.modify(|world| {
        let name = Action::Name("b.example".to_owned(), second(world));
        world.script.push((2000.0, name));
        // Later its own server is gone, and the name leads to the first again.
        let first = Ok(vec![world.servers[0].address]);
        let name = Action::Name("b.example".to_owned(), first);
        world.script.push((8000.0, name));
        let silent = Action::Behaviour(1, Behaviour::Silent);
        world.script.push((8000.0, silent));
    });
    let mut world = World::new(&scenario, 1);
    world.run(1999.0).unwrap();
    assert_eq!(states_of(&world, &names), [Selected, Duplicate]);
    world.run(7999.0).unwrap();
    assert_eq!(states_of(&world, &names), [Selected, Selected]);
    let moved = world.journal().event_times(|event| {
        matches!(event, Event::SourceRemoved { reason, .. } if *reason == RemovalReason::Duplicate)
    });
    assert_eq!(moved.len(), 1, "{moved:?}");
    world.run(30_000.0).unwrap();
    assert_eq!(states_of(&world, &names), [Selected, Duplicate]);
    let reported = |event: &Event| matches!(event, Event::SourceDuplicate { .. });
    assert_eq!(world.journal().event_times(reported).len(), 2);
}

#[test]
fn entries_of_a_name_with_several_addresses_use_different_ones() {
    let scenario = Scenario::new("one name, three addresses")
        .with_unconfigured_servers(3)
        .with_name("many.example", &[0, 1, 2])
        .with_source(server("many.example"))
        .with_source(server("many.example"))
        .with_source(server("many.example"));
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    assert_eq!(states(&world), [Selected; 3]);
}

#[test]
fn the_vote_passes_to_an_entry_that_can_use_it_with_the_options_of_all() {
    let scenario = Scenario::new("the first entry is taken offline")
        .with_servers(1)
        .with_minimum_agreeing(1)
        .modify(|world| {
            let mut second = source_at(world.servers[0].address);
            second.name = "again:123".to_owned();
            // Without the option the clock would not be steered.
            second.selection.require = true;
            world.engine.sources.push(second);
        })
        .at(
            1000.0,
            Action::Command(Command::Offline(Some("198.18.0.1:123".to_owned()))),
        );
    let mut world = World::new(&scenario, 1);
    world.run(900.0).unwrap();
    assert!(world.status().system.synchronized);
    assert_eq!(states(&world), [Selected, Duplicate]);
    world.run(1100.0).unwrap();
    assert_eq!(states(&world), [Duplicate, Selected]);
}
