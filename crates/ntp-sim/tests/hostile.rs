//! Attackers, and servers that send invalid replies.

use ntp_proto::discipline::SourceState;
use ntp_proto::engine::Event;
use ntp_sim::{Action, Attack, Behaviour, Corruption, Forgery, Scenario, Server, Stamping, World};
use ntp_types::status::SourceStatus;

const ATTACK: Attack = Attack {
    from: 0.0,
    until: 1e9,
    datagrams: 3,
    within: 5e-3,
    forgery: Forgery::GuessedNonce,
};

/// The state of a source. One that answers without usable time is worth as much as one that does
/// not answer.
fn state(source: &SourceStatus) -> SourceState {
    match source.state {
        SourceState::Unusable => SourceState::Unreachable,
        state => state,
    }
}

/// Everything that the engine has learned about time, to the bit.
fn knowledge(world: &World) -> String {
    let status = world.status();
    let sources: Vec<_> = status
        .sources
        .iter()
        .map(|source| (state(source), source.measurement, source.poll, source.reach))
        .collect();
    format!(
        "{:?} {sources:?} {:?} {:?}",
        status.system,
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
fn forgeries_do_not_change_the_engine_state() {
    let peaceful = Scenario::new("forgeries")
        .with_servers(4)
        .modify(|world| world.rules.check_interval = 16.0);
    let expected = knowledge_after(&peaceful, 2000.0);
    let corruption = Corruption::ALL.map(Forgery::Corrupt);
    for forgery in
        corruption
            .into_iter()
            .chain([Forgery::GuessedNonce, Forgery::GuessedKiss, Forgery::Replay])
    {
        let attacked = peaceful
            .clone()
            .modify(|world| world.attack = Some(Attack { forgery, ..ATTACK }));
        assert_eq!(knowledge_after(&attacked, 2000.0), expected, "{forgery:?}");
    }
}

#[test]
fn a_server_with_invalid_replies_equals_a_silent_one() {
    let with = |behaviour| {
        let server = Server {
            behaviour,
            error: 17.0,
            ..Server::new(Scenario::address(0))
        };
        Scenario::new("nonsense")
            .with_server(server)
            .with_servers(3)
            .modify(|world| world.rules.check_interval = 16.0)
    };
    let expected = knowledge_after(&with(Behaviour::Silent), 2000.0);
    for corruption in Corruption::ALL {
        assert_eq!(
            knowledge_after(&with(Behaviour::Corrupt(corruption)), 2000.0),
            expected,
            "{corruption:?}"
        );
    }
}

#[test]
fn a_server_with_temporarily_invalid_replies_is_dropped_and_recovers() {
    for corruption in Corruption::ALL {
        let scenario = Scenario::new("passing nonsense")
            .with_servers(4)
            .at(1000.0, Action::Behaviour(0, Behaviour::Corrupt(corruption)))
            .at(3000.0, Action::Behaviour(0, Behaviour::Honest))
            .with_poll_limits(4, 6)
            .modify(|world| world.rules.check_interval = 16.0);
        let mut world = World::new(&scenario, 1);
        world.run(3000.0).unwrap();
        assert!(world.error().abs() < 1e-3, "{corruption:?}");
        world.run(4500.0).unwrap();
        assert!(world.status().sources[0].reach != 0, "{corruption:?}");
    }
}

#[test]
fn a_flood_of_datagrams_logs_one_message_an_hour() {
    let scenario = Scenario::new("flood")
        .with_servers(1)
        .with_minimum_agreeing(1)
        .with_poll_limits(6, 6)
        .modify(|world| {
            world.attack = Some(Attack {
                datagrams: 2500,
                within: 9e-3,
                ..ATTACK
            });
            world.rules.check_interval = 0.0;
        });
    let mut world = World::new(&scenario, 1);
    world.run(3500.0).unwrap();
    let counters = world.status().sources[0].packets;
    assert!(counters.bogus > 100_000, "{counters:?}");
    assert!(
        counters.accepted + 1 >= counters.sent,
        "every request was answered all the same: {counters:?}"
    );
    let messages = world
        .journal()
        .event_times(|event| matches!(event, Event::ReplyRejected { .. }));
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn duplicated_and_reordered_replies_are_harmless() {
    for stamping in [
        Stamping::Kernel,
        Stamping::LateKernel(0.02),
        Stamping::Daemon(2e-5),
    ] {
        let scenario = Scenario::new("doubles").with_servers(4).modify(|world| {
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
            world.rules.check_interval = 4.0;
        });
        let report = ntp_sim::run(&scenario, 1).unwrap();
        assert!(report.maximum < 5e-4, "{stamping:?}: {:e}", report.maximum);
    }
}
