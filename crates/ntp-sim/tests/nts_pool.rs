//! NTS pools: which members are used, and how unusable ones are replaced.

use std::net::IpAddr;

use ntp_proto::engine::{Event, Host, KeyExchangeFailure, RemovalReason, SourceKind};
use ntp_sim::{Action, Behaviour, NegotiatedServer, Nts, Scenario, World, nts_source};

const NAMES: [&str; 5] = [
    "a.example",
    "b.example",
    "c.example",
    "d.example",
    "e.example",
];

/// A pool of `members` servers at `ke.example`, of which `count` are wanted. Server 0 exchanges the
/// keys and is the first member.
fn pool(members: usize, count: usize) -> Scenario {
    with_names(&NAMES[..members], count)
}

fn with_names(names: &'static [&'static str], count: usize) -> Scenario {
    let mut source = nts_source(Host::Name("ke.example".to_owned()));
    source.kind = SourceKind::NtsPool {
        count,
        ignore: Vec::new(),
    };
    let mut scenario = Scenario::new("NTS pool")
        .with_unconfigured_servers(names.len())
        .with_name("ke.example", &[0])
        .with_source(source)
        .with_minimum_agreeing(2)
        .with_poll_limits(4, 6)
        .modify(|world| {
            for server in &mut world.servers {
                server.nts = Some(Nts {
                    server: NegotiatedServer::Pool(names),
                    ..Nts::default()
                });
            }
        });
    for (index, name) in names.iter().enumerate() {
        scenario = scenario.with_name(name, &[index]);
    }
    scenario
}

fn run(scenario: &Scenario, seconds: f64) -> World {
    let mut world = World::new(scenario, 3);
    world.run(seconds).unwrap();
    world
}

/// Indices of the servers in use.
fn members(world: &World) -> Vec<usize> {
    let index = |address: IpAddr| (0..9).find(|index| Scenario::address(*index) == address);
    let sources = world.status().sources;
    let mut members: Vec<_> = sources
        .iter()
        .map(|source| index(source.address.socket().unwrap().ip()).unwrap())
        .collect();
    members.sort_unstable();
    members
}

fn exchanges(world: &World) -> usize {
    world.journal().key_exchanges.len()
}

fn removed(world: &World, wanted: RemovalReason) -> usize {
    let is_removed =
        |event: &Event| matches!(event, Event::SourceRemoved { reason, .. } if *reason == wanted);
    world.journal().event_times(is_removed).len()
}

#[test]
fn one_exchange_for_each_member_suffices() {
    let world = run(&pool(5, 4), 20.0);
    assert_eq!(members(&world), [0, 1, 2, 3]);
    assert_eq!(exchanges(&world), 4);
    let world = run(&pool(5, 4), 20_000.0);
    assert_eq!(members(&world), [0, 1, 2, 3]);
    assert_eq!(exchanges(&world), 4);
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn a_pool_with_too_few_members_is_asked_rarely() {
    let world = run(&pool(3, 4), 20_000.0);
    assert_eq!(members(&world), [0, 1, 2]);
    assert!(
        (20..40).contains(&exchanges(&world)),
        "{}",
        exchanges(&world)
    );
    let keys = world.status().configured[0].key_exchange.clone().unwrap();
    assert_eq!(keys.reason, Some(KeyExchangeFailure::NoOtherMember));
}

#[test]
fn an_unreachable_member_is_replaced_and_kept_until_then() {
    let silent = Action::Behaviour(1, Behaviour::Silent);
    let scenario = pool(5, 3).at(1_000.0, silent.clone());
    let world = run(&scenario, 3_000.0);
    assert_eq!(members(&world), [0, 2, 3]);
    assert_eq!(removed(&world, RemovalReason::Replaced), 1);
    assert!(exchanges(&world) < 8, "{}", exchanges(&world));

    // The pool has no other server: the member is kept, and used again when it answers.
    let scenario = pool(3, 3)
        .at(1_000.0, silent)
        .at(20_000.0, Action::Behaviour(1, Behaviour::Honest));
    let world = run(&scenario, 25_000.0);
    assert_eq!(members(&world), [0, 1, 2]);
    assert!(
        world
            .status()
            .sources
            .iter()
            .all(|source| source.reach != 0)
    );
}

#[test]
fn a_falseticker_is_replaced() {
    let scenario = pool(5, 4).at(1_000.0, Action::ServerError(2, 0.5));
    let world = run(&scenario, 6_000.0);
    assert_eq!(members(&world), [0, 1, 3, 4]);
    assert_eq!(removed(&world, RemovalReason::Replaced), 1);
}

#[test]
fn two_names_of_one_server_are_one_member() {
    let scenario = pool(4, 3).with_name("b.example", &[0]);
    let world = run(&scenario, 1_000.0);
    assert_eq!(members(&world), [0, 2, 3]);
    assert_eq!(exchanges(&world), 4);
}

#[test]
fn ignored_addresses_and_unknown_names_are_not_used() {
    let scenario = pool(5, 3)
        .modify(|world| {
            world.engine.sources[0].kind = SourceKind::NtsPool {
                count: 3,
                ignore: vec![Scenario::address(0)],
            };
        })
        .at(
            0.0,
            Action::Name("b.example".to_owned(), Err("no such name".to_owned())),
        );
    let world = run(&scenario, 1_000.0);
    assert_eq!(members(&world), [2, 3, 4]);
}

#[test]
fn members_whose_keys_are_lost_get_new_ones() {
    let other_keys = Nts {
        secret: 2,
        server: NegotiatedServer::Pool(&NAMES),
        ..Nts::default()
    };
    let mut scenario = pool(5, 5);
    for server in 0..5 {
        scenario = scenario.at(1_000.0, Action::Nts(server, Some(other_keys)));
    }
    let world = run(&scenario, 6_000.0);
    assert_eq!(members(&world), [0, 1, 2, 3, 4]);
    assert_eq!(removed(&world, RemovalReason::Moved), 0);
    assert!(
        world
            .status()
            .sources
            .iter()
            .all(|source| source.reach == 0xff)
    );
}
