//! NTS: keys that come, go and are fought over.

use std::net::IpAddr;

use ntp_proto::client::Authentication;
use ntp_proto::engine::{Event, Host, KeyExchangeOutcome, RemovalReason};
use ntp_proto::nts::{AeadAlgorithm, StoredSession};
use ntp_sim::{Action, Attack, Conduct, Forgery, Named, Nts, Scenario, World, nts_source};

const ALWAYS: Attack = Attack {
    from: 0.0,
    until: 1e9,
    datagrams: 5,
    within: 9e-3,
    forgery: Forgery::NtsNak,
};

fn world(scenario: &Scenario) -> World {
    World::new(scenario, 3)
}

fn exchanges(world: &World) -> usize {
    world.journal().key_exchanges.len()
}

fn cookies(world: &World) -> Vec<usize> {
    let sources = world.snapshot().sources;
    sources
        .iter()
        .map(|source| match source.authentication {
            Authentication::Nts { cookies, .. } => cookies,
            other => panic!("{} is protected by {other}", source.name),
        })
        .collect()
}

fn addresses(world: &World) -> Vec<IpAddr> {
    let sources = world.snapshot().sources;
    sources.iter().map(|source| source.address.ip()).collect()
}

fn refuses() -> Action {
    Action::Nts(
        0,
        Some(Nts {
            exchanges: false,
            ..Nts::default()
        }),
    )
}

#[test]
fn one_key_exchange_lasts_for_weeks_of_time() {
    for algorithm in AeadAlgorithm::ALL {
        let scenario = Scenario::new("quiet").with_nts_servers(3).but(|world| {
            for server in &mut world.servers {
                server.nts = Some(Nts {
                    algorithm,
                    ..Nts::default()
                });
            }
        });
        let mut world = world(&scenario);
        world.run(20_000.0).unwrap();
        assert!(world.error().abs() < 1e-3);
        assert_eq!(exchanges(&world), 3);
        assert_eq!(cookies(&world), [8; 3]);
        for source in world.snapshot().configured {
            let keys = source.key_exchange.unwrap();
            assert_eq!((keys.exchanges, keys.next), (1, None));
            assert_eq!(keys.outcome, KeyExchangeOutcome::Succeeded);
        }
    }
    let scenario = Scenario::new("a month").with_nts_servers(3).polling(10, 10);
    let mut world = world(&scenario);
    world.run(29.0 * 86_400.0).unwrap();
    assert_eq!(exchanges(&world), 6, "after four weeks once more");
}

#[test]
fn what_somebody_on_the_path_forges_leaves_no_trace_while_answers_come() {
    let peaceful = Scenario::new("forgeries").with_nts_servers(4);
    let knowledge = |scenario: &Scenario| {
        let mut world = world(scenario);
        world.run(4_000.0).unwrap();
        assert_eq!(exchanges(&world), 4);
        assert_eq!(cookies(&world), [8; 4]);
        format!("{:?} {:?}", world.snapshot().system, world.clock().system())
    };
    let expected = knowledge(&peaceful);
    for forgery in [
        Forgery::NtsNak,
        Forgery::WrongBit,
        Forgery::Replay,
        Forgery::GuessedKiss,
        Forgery::GuessedNonce,
    ] {
        let attacked = peaceful.clone().but(|world| {
            world.attack = Some(Attack { forgery, ..ALWAYS });
        });
        assert_eq!(knowledge(&attacked), expected, "{forgery:?}");
    }
}

#[test]
fn refusals_and_silence_together_lead_to_few_exchanges_and_to_time_afterwards() {
    // Somebody on the path swallows every answer and sends refusals instead, for six hours.
    let scenario = Scenario::new("storm")
        .with_nts_servers(1)
        .agreeing(1)
        .at(1_000.0, Action::Conduct(0, Conduct::Silent))
        .at(22_600.0, Action::Conduct(0, Conduct::Honest))
        .but(|world| {
            world.attack = Some(Attack {
                from: 1_000.0,
                until: 22_600.0,
                ..ALWAYS
            });
        });
    let mut world = world(&scenario);
    world.run(22_600.0).unwrap();
    let during = exchanges(&world);
    assert!((2..40).contains(&during), "{during} exchanges in six hours");
    world.run(26_000.0).unwrap();
    assert!(world.snapshot().sources[0].reach.is_reachable());
    assert!(world.error().abs() < 1e-3);
    let refused = |event: &Event| matches!(event, Event::ReplyRejected { .. });
    assert!(
        world.journal().when(refused).len() <= 8,
        "the log is not flooded"
    );
}

#[test]
fn losses_cost_cookies_and_hardly_ever_keys() {
    let scenario = Scenario::new("losses").with_nts_servers(3).but(|world| {
        for server in &mut world.servers {
            server.link = server.link.with(|direction| direction.loss = 0.2);
        }
    });
    let mut world = world(&scenario);
    world.run(50_000.0).unwrap();
    assert!(world.error().abs() < 1e-3);
    assert!(exchanges(&world) <= 5, "{}", exchanges(&world));
}

#[test]
fn an_exchange_that_fails_for_an_hour_is_tried_ever_less_often_and_then_works() {
    let scenario = Scenario::new("no keys yet")
        .with_nts_servers(1)
        .agreeing(1)
        .at(0.0, refuses())
        .at(3_600.0, Action::Nts(0, Some(Nts::default())));
    let mut world = world(&scenario);
    world.run(3_600.0).unwrap();
    let tries = exchanges(&world);
    assert!((6..=14).contains(&tries), "{tries} exchanges in an hour");
    assert!(world.snapshot().sources.is_empty());
    let keys = world.snapshot().configured[0].key_exchange.clone().unwrap();
    assert_eq!(
        keys.outcome,
        KeyExchangeOutcome::Failed(ntp_proto::engine::KeyExchangeError::Client("connection refused".to_owned()))
    );
    let told = |event: &Event| matches!(event, Event::KeyExchangeFailed { .. });
    assert!(world.journal().when(told).len() <= 2);
    world.run(3_600.0 + 1_300.0 + 100.0).unwrap();
    assert!(world.snapshot().system.synchronized);
}

#[test]
fn an_exchange_that_fails_while_cookies_last_is_not_even_noticed() {
    let scenario = Scenario::new("keys, no exchange")
        .with_nts_servers(1)
        .agreeing(1)
        .at(100.0, refuses());
    let mut world = world(&scenario);
    world.run(20_000.0).unwrap();
    assert_eq!(exchanges(&world), 1);
    assert!(world.snapshot().system.synchronized);
}

#[test]
fn a_server_that_lost_its_keys_is_asked_for_new_ones() {
    let forgets = Nts {
        secret: 2,
        ..Nts::default()
    };
    let scenario = Scenario::new("forgotten keys")
        .with_nts_servers(1)
        .agreeing(1)
        .polling(4, 6)
        .at(5_000.0, Action::Nts(0, Some(forgets)));
    let mut world = world(&scenario);
    world.run(5_000.0).unwrap();
    assert_eq!(exchanges(&world), 1);
    world.run(5_600.0).unwrap();
    assert_eq!(exchanges(&world), 2);
    assert!(world.snapshot().sources[0].reach.is_reachable());
    assert_eq!(cookies(&world), [8]);
    let removed = |event: &Event| matches!(event, Event::SourceRemoved(..));
    assert!(
        world.journal().when(removed).is_empty(),
        "its history is kept"
    );
}

#[test]
fn the_server_that_the_exchange_names_is_the_one_that_is_asked() {
    let named = |names| {
        Scenario::new("named")
            .with_strangers(3)
            .with_name("ke.example", &[0])
            .with_name("ntp.example", &[2])
            .with_source(nts_source(Host::Name("ke.example".to_owned())))
            .agreeing(1)
            .but(|world| {
                for server in &mut world.servers {
                    server.nts = Some(Nts {
                        names,
                        ..Nts::default()
                    });
                }
            })
    };
    for (names, server) in [
        (Named::Itself, 0),
        (Named::Address(Scenario::address(1)), 1),
        (Named::Name("ntp.example"), 2),
    ] {
        let mut world = world(&named(names));
        world.run(1_000.0).unwrap();
        assert_eq!(addresses(&world), [Scenario::address(server)]);
        assert_eq!(world.snapshot().sources[0].address.port(), 123);
        for other in 0..3 {
            assert_eq!(world.requests_to(other) > 0, other == server, "{names:?}");
        }
    }
}

#[test]
fn a_server_that_moved_is_found_by_a_new_exchange() {
    let strangers = || {
        Scenario::new("moved")
            .with_strangers(2)
            .with_name("ke.example", &[0])
            .with_name("ntp.example", &[0])
            .with_source(nts_source(Host::Name("ke.example".to_owned())))
            .agreeing(1)
            .polling(4, 6)
    };
    for names in [Named::Itself, Named::Name("ntp.example")] {
        let address = Ok(vec![Scenario::address(1)]);
        let scenario = strangers()
            .but(|world| {
                for server in &mut world.servers {
                    server.nts = Some(Nts {
                        names,
                        ..Nts::default()
                    });
                }
            })
            .at(3_000.0, Action::Conduct(0, Conduct::Silent))
            .at(
                3_000.0,
                Action::Name("ke.example".to_owned(), address.clone()),
            )
            .at(3_000.0, Action::Name("ntp.example".to_owned(), address));
        let mut world = world(&scenario);
        world.run(3_000.0).unwrap();
        assert_eq!(addresses(&world), [Scenario::address(0)]);
        world.run(5_000.0).unwrap();
        assert_eq!(addresses(&world), [Scenario::address(1)], "{names:?}");
        assert!(world.snapshot().sources[0].reach.is_reachable());
    }
}

#[test]
fn a_server_that_denies_an_authentic_request_is_left_alone() {
    // A DENY that nobody sealed, for an hour.
    let scenario = Scenario::new("denied")
        .with_nts_servers(3)
        .at(1_000.0, Action::Conduct(1, Conduct::Kiss(*b"DENY")))
        .at(4_600.0, Action::Conduct(1, Conduct::Honest));
    let mut world = world(&scenario);
    world.run(8_000.0).unwrap();
    let removed = |event: &Event| matches!(event, Event::SourceRemoved(_, RemovalReason::Denied));
    assert!(world.journal().when(removed).is_empty());
    assert!(
        world
            .snapshot()
            .sources
            .iter()
            .all(|source| source.reach.is_reachable())
    );
}

#[test]
fn at_the_end_the_sessions_are_handed_out_with_cookies_that_were_never_used() {
    let scenario = Scenario::new("farewell")
        .with_nts_servers(3)
        .at(2_000.0, Action::ShutDown);
    let mut world = world(&scenario);
    world.run(2_001.0).unwrap();
    let sessions = &world.journal().sessions;
    assert_eq!(sessions.len(), 3);
    for (name, session) in sessions {
        assert!(name.ends_with(":4460"));
        assert_eq!(session.result.cookies.len(), 8);
        let stored = StoredSession::parse(&StoredSession::emit(session)).unwrap();
        assert_eq!(stored.from, session.from);
        assert_eq!(stored.result.cookies, session.result.cookies);
    }
}

#[test]
fn a_source_that_new_keys_brought_back_was_called_silent_in_the_moment_in_which_it_answered() {
    // Eight polls in vain use up eight cookies. The keys that are exchanged for that arrive before the next poll, which was the one that
    // pronounced the source dead, and its answer, a millisecond later, the one that took it back.
    let silent = Scenario::new("eight polls in vain")
        .with_nts_servers(1)
        .agreeing(1)
        .at(2_000.0, Action::Conduct(0, Conduct::Silent));
    let mut before = world(&silent);
    before.run(20_000.0).unwrap();
    let renewed = before.journal().key_exchanges[1].as_seconds();
    let scenario = silent.at(renewed + 0.1, Action::Conduct(0, Conduct::Honest));
    let mut world = world(&scenario);
    world.run(renewed + 2_000.0).unwrap();
    let journal = world.journal();
    let told = |matches: fn(&Event) -> bool| journal.when(matches);
    assert_eq!(
        told(|event| matches!(event, Event::SourceUnreachable(_))),
        [] as [f64; 0]
    );
    let answers = told(|event| matches!(event, Event::SourceReachable(_)));
    assert_eq!(answers.len(), 1, "at the start: {answers:?}");
    let [source] = &world.snapshot().sources[..] else {
        panic!("one source");
    };
    assert!(source.reach.is_reachable());
    assert_eq!(exchanges(&world), 2);
}
