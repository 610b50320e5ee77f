//! Strangers who send what they like, and servers that answer nonsense.

use ntp_proto::engine::Event;
use ntp_sim::{Action, Attack, Conduct, Forgery, Scenario, Server, Spoilt, Stamping, World};

const ATTACK: Attack = Attack {
    from: 0.0,
    until: 1e9,
    datagrams: 3,
    within: 5e-3,
    forgery: Forgery::GuessedNonce,
};

/// What is known of time, to the bit.
fn knowledge(world: &World) -> String {
    let snapshot = world.snapshot();
    let sources: Vec<_> = snapshot
        .sources
        .iter()
        .map(|source| (source.state, source.measured, source.poll, source.reach))
        .collect();
    format!(
        "{:?} {sources:?} {:?} {:?}",
        snapshot.system,
        world.clock().system(),
        world.clock().correction()
    )
}

fn knowledge_after(scenario: &Scenario, seconds: f64) -> String {
    let mut world = World::new(scenario, 7);
    world.run(seconds).unwrap();
    knowledge(&world)
}

#[test]
fn forgeries_of_every_kind_leave_no_trace_in_what_is_known() {
    let peaceful = Scenario::new("forgeries")
        .with_servers(4)
        .but(|world| world.rules.look_every = 16.0);
    let expected = knowledge_after(&peaceful, 2000.0);
    let spoilt = Spoilt::ALL.map(Forgery::Spoilt);
    for forgery in
        spoilt
            .into_iter()
            .chain([Forgery::GuessedNonce, Forgery::GuessedKiss, Forgery::Replay])
    {
        let attacked = peaceful
            .clone()
            .but(|world| world.attack = Some(Attack { forgery, ..ATTACK }));
        assert_eq!(knowledge_after(&attacked, 2000.0), expected, "{forgery:?}");
    }
}

#[test]
fn a_server_that_answers_nonsense_is_worth_as_much_as_a_silent_one() {
    let with = |conduct| {
        let server = Server {
            conduct,
            error: 17.0,
            ..Server::new(Scenario::address(0))
        };
        Scenario::new("nonsense")
            .with_server(server)
            .with_servers(3)
            .but(|world| world.rules.look_every = 16.0)
    };
    let expected = knowledge_after(&with(Conduct::Silent), 2000.0);
    for spoilt in Spoilt::ALL {
        assert_eq!(
            knowledge_after(&with(Conduct::Spoilt(spoilt)), 2000.0),
            expected,
            "{spoilt:?}"
        );
    }
}

#[test]
fn a_server_that_turns_to_nonsense_is_let_go_and_comes_back() {
    for spoilt in Spoilt::ALL {
        let scenario = Scenario::new("passing nonsense")
            .with_servers(4)
            .at(1000.0, Action::Conduct(0, Conduct::Spoilt(spoilt)))
            .at(3000.0, Action::Conduct(0, Conduct::Honest))
            .polling(4, 6)
            .but(|world| world.rules.look_every = 16.0);
        let mut world = World::new(&scenario, 1);
        world.run(3000.0).unwrap();
        assert!(world.error().abs() < 1e-3, "{spoilt:?}");
        world.run(4500.0).unwrap();
        assert!(
            world.snapshot().sources[0].reach.is_reachable(),
            "{spoilt:?}"
        );
    }
}

#[test]
fn a_flood_of_a_hundred_thousand_datagrams_is_one_message_an_hour() {
    let scenario = Scenario::new("flood")
        .with_servers(1)
        .agreeing(1)
        .polling(6, 6)
        .but(|world| {
            world.attack = Some(Attack {
                datagrams: 2500,
                within: 9e-3,
                ..ATTACK
            });
            world.rules.look_every = 0.0;
        });
    let mut world = World::new(&scenario, 1);
    world.run(3500.0).unwrap();
    let counters = world.snapshot().sources[0].counters;
    assert!(counters.bogus > 100_000, "{counters:?}");
    assert!(
        counters.accepted + 1 >= counters.sent,
        "every request was answered all the same: {counters:?}"
    );
    let told = world
        .journal()
        .when(|event| matches!(event, Event::ReplyRejected { .. }));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn doubled_and_overtaken_replies_do_no_harm() {
    for stamping in [
        Stamping::Kernel,
        Stamping::LateKernel(0.02),
        Stamping::Daemon(2e-5),
    ] {
        let scenario = Scenario::new("doubles").with_servers(4).but(|world| {
            for server in &mut world.servers {
                server.link = server.link.with(|direction| {
                    direction.duplication = 0.3;
                    direction.late = (0.1, 2.0);
                    direction.loss = 0.1;
                });
            }
            world.node.stamping = stamping;
            world.duration = 6000.0;
            world.settled = 2000.0;
            world.rules.look_every = 4.0;
        });
        let report = ntp_sim::run(&scenario, 1).unwrap();
        assert!(report.maximum < 5e-4, "{stamping:?}: {:e}", report.maximum);
    }
}
