//! NTS: key exchange, cookies, refusals and attacks on them.

use std::net::IpAddr;

use ntp_proto::discipline::SourceState;
use ntp_proto::engine::{Event, Host, KeyExchangeFailure, RemovalReason};
use ntp_proto::nts::{AeadAlgorithm, StoredSession};
use ntp_sim::{
    Action, Attack, Behaviour, Forgery, NegotiatedServer, Nts, Scenario, World, nts_source,
};

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

fn cookies(world: &World) -> Vec<u64> {
    let sources = world.status().sources;
    sources
        .iter()
        .map(|source| source.nts_cookies.expect("the source uses NTS"))
        .collect()
}

fn addresses(world: &World) -> Vec<IpAddr> {
    let sources = world.status().sources;
    sources
        .iter()
        .map(|source| source.address.socket().unwrap().ip())
        .collect()
}

fn refuses() -> Action {
    Action::Nts(
        0,
        Some(Nts {
            available: false,
            ..Nts::default()
        }),
    )
}

#[test]
fn one_key_exchange_lasts_for_weeks() {
    for algorithm in AeadAlgorithm::ALL {
        let scenario = Scenario::new("quiet").with_nts_servers(3).modify(|world| {
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
        for source in world.status().configured {
            let keys = source.key_exchange.unwrap();
            assert_eq!((keys.exchanges, keys.next), (1, None));
            assert_eq!(keys.error, None);
            assert!(keys.age.is_some());
        }
    }
    let scenario = Scenario::new("a month")
        .with_nts_servers(3)
        .with_poll_limits(10, 10);
    let mut world = world(&scenario);
    world.run(29.0 * 86_400.0).unwrap();
    assert_eq!(exchanges(&world), 6, "after four weeks once more");
}

#[test]
fn on_path_forgeries_have_no_effect_while_replies_arrive() {
    let peaceful = Scenario::new("forgeries").with_nts_servers(4);
    let knowledge = |scenario: &Scenario| {
        let mut world = world(scenario);
        world.run(4_000.0).unwrap();
        assert_eq!(exchanges(&world), 4);
        assert_eq!(cookies(&world), [8; 4]);
        format!("{:?} {:?}", world.status().system, world.clock().system())
    };
    let expected = knowledge(&peaceful);
    for forgery in [
        Forgery::NtsNak,
        Forgery::WrongBit,
        Forgery::Replay,
        Forgery::GuessedKiss,
        Forgery::GuessedNonce,
    ] {
        let attacked = peaceful.clone().modify(|world| {
            world.attack = Some(Attack { forgery, ..ALWAYS });
        });
        assert_eq!(knowledge(&attacked), expected, "{forgery:?}");
    }
}

#[test]
fn refusals_without_replies_lead_to_few_key_exchanges_and_recovery() {
    // An on-path attacker drops every reply and sends refusals instead, for six hours.
    let scenario = Scenario::new("storm")
        .with_nts_servers(1)
        .with_minimum_agreeing(1)
        .at(1_000.0, Action::Behaviour(0, Behaviour::Silent))
        .at(22_600.0, Action::Behaviour(0, Behaviour::Honest))
        .modify(|world| {
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
    assert!(world.status().sources[0].reach != 0);
    assert!(world.error().abs() < 1e-3);
    let refused = |event: &Event| matches!(event, Event::ReplyRejected { .. });
    assert!(
        world.journal().event_times(refused).len() <= 8,
        "the log is not flooded"
    );
}

#[test]
fn packet_loss_costs_cookies_and_rarely_keys() {
    let scenario = Scenario::new("losses").with_nts_servers(3).modify(|world| {
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
fn failing_key_exchanges_back_off_and_recover() {
    let scenario = Scenario::new("no keys yet")
        .with_nts_servers(1)
        .with_minimum_agreeing(1)
        .at(0.0, refuses())
        .at(3_600.0, Action::Nts(0, Some(Nts::default())));
    let mut world = world(&scenario);
    world.run(3_600.0).unwrap();
    let tries = exchanges(&world);
    assert!((6..=14).contains(&tries), "{tries} exchanges in an hour");
    assert!(world.status().sources.is_empty());
    let keys = world.status().configured[0].key_exchange.clone().unwrap();
    let refused = KeyExchangeFailure::ConnectionRefused;
    assert_eq!(keys.reason, Some(refused));
    let failed = |event: &Event| matches!(event, Event::KeyExchangeFailed { reason, .. } if *reason == refused);
    assert!(world.journal().event_times(failed).len() <= 2);
    world.run(3_600.0 + 1_300.0 + 100.0).unwrap();
    assert!(world.status().system.synchronized);
}

#[test]
fn failing_key_exchanges_have_no_effect_while_cookies_last() {
    let scenario = Scenario::new("keys, no exchange")
        .with_nts_servers(1)
        .with_minimum_agreeing(1)
        .at(100.0, refuses());
    let mut world = world(&scenario);
    world.run(20_000.0).unwrap();
    assert_eq!(exchanges(&world), 1);
    assert!(world.status().system.synchronized);
}

#[test]
fn a_server_that_lost_its_keys_triggers_a_key_exchange() {
    let forgets = Nts {
        secret: 2,
        ..Nts::default()
    };
    let scenario = Scenario::new("lost keys")
        .with_nts_servers(1)
        .with_minimum_agreeing(1)
        .with_poll_limits(4, 6)
        .at(5_000.0, Action::Nts(0, Some(forgets)));
    let mut world = world(&scenario);
    world.run(5_000.0).unwrap();
    assert_eq!(exchanges(&world), 1);
    world.run(5_600.0).unwrap();
    assert_eq!(exchanges(&world), 2);
    assert!(world.status().sources[0].reach != 0);
    assert_eq!(cookies(&world), [8]);
    let removed = |event: &Event| matches!(event, Event::SourceRemoved { .. });
    assert!(
        world.journal().event_times(removed).is_empty(),
        "its history is kept"
    );
}

#[test]
fn the_negotiated_ntp_server_is_polled() {
    let named = |names| {
        Scenario::new("named")
            .with_unconfigured_servers(3)
            .with_name("ke.example", &[0])
            .with_name("ntp.example", &[2])
            .with_source(nts_source(Host::Name("ke.example".to_owned())))
            .with_minimum_agreeing(1)
            .modify(|world| {
                for server in &mut world.servers {
                    server.nts = Some(Nts {
                        server: names,
                        ..Nts::default()
                    });
                }
            })
    };
    for (names, server) in [
        (NegotiatedServer::Same, 0),
        (NegotiatedServer::Address(Scenario::address(1)), 1),
        (NegotiatedServer::Name("ntp.example"), 2),
    ] {
        let mut world = world(&named(names));
        world.run(1_000.0).unwrap();
        assert_eq!(addresses(&world), [Scenario::address(server)]);
        assert_eq!(
            world.status().sources[0].address.socket().unwrap().port(),
            123
        );
        for other in 0..3 {
            assert_eq!(world.requests_to(other) > 0, other == server, "{names:?}");
        }
    }
}

#[test]
fn a_moved_server_is_found_by_a_new_key_exchange() {
    let scenario_with_name = || {
        Scenario::new("moved")
            .with_unconfigured_servers(2)
            .with_name("ke.example", &[0])
            .with_name("ntp.example", &[0])
            .with_source(nts_source(Host::Name("ke.example".to_owned())))
            .with_minimum_agreeing(1)
            .with_poll_limits(4, 6)
    };
    for names in [
        NegotiatedServer::Same,
        NegotiatedServer::Name("ntp.example"),
    ] {
        let address = Ok(vec![Scenario::address(1)]);
        let scenario = scenario_with_name()
            .modify(|world| {
                for server in &mut world.servers {
                    server.nts = Some(Nts {
                        server: names,
                        ..Nts::default()
                    });
                }
            })
            .at(3_000.0, Action::Behaviour(0, Behaviour::Silent))
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
        assert!(world.status().sources[0].reach != 0);
    }
}

#[test]
fn an_unauthenticated_deny_changes_nothing() {
    // A DENY without authentication, for an hour.
    let scenario = Scenario::new("denied")
        .with_nts_servers(3)
        .at(1_000.0, Action::Behaviour(1, Behaviour::Kiss(*b"DENY")))
        .at(4_600.0, Action::Behaviour(1, Behaviour::Honest));
    let mut world = world(&scenario);
    world.run(8_000.0).unwrap();
    let removed = |event: &Event| {
        matches!(
            event,
            Event::SourceRemoved {
                reason: RemovalReason::Denied,
                ..
            }
        )
    };
    assert!(world.journal().event_times(removed).is_empty());
    assert!(
        world
            .status()
            .sources
            .iter()
            .all(|source| source.reach != 0)
    );
}

#[test]
fn shutdown_outputs_sessions_with_unused_cookies() {
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
fn a_source_recovered_by_new_keys_was_reported_unreachable_when_it_answered() {
    // Eight unanswered polls use up eight cookies. The new keys arrived before the next poll, which
    // declared the source unreachable; its reply, a millisecond later, made it reachable again.
    let silent = Scenario::new("eight polls in vain")
        .with_nts_servers(1)
        .with_minimum_agreeing(1)
        .at(2_000.0, Action::Behaviour(0, Behaviour::Silent));
    let mut before = world(&silent);
    before.run(20_000.0).unwrap();
    let renewed = before.journal().key_exchanges[1].as_seconds();
    let scenario = silent.at(renewed + 0.1, Action::Behaviour(0, Behaviour::Honest));
    let mut world = world(&scenario);
    world.run(renewed + 2_000.0).unwrap();
    let journal = world.journal();
    let times = |matches: fn(&Event) -> bool| journal.event_times(matches);
    assert_eq!(
        times(|event| matches!(event, Event::SourceUnreachable { .. })),
        [] as [f64; 0]
    );
    let answers = times(|event| matches!(event, Event::SourceReachable { .. }));
    assert_eq!(answers.len(), 1, "at the start: {answers:?}");
    let [source] = &world.status().sources[..] else {
        panic!("one source");
    };
    assert!(source.reach != 0);
    assert_eq!(exchanges(&world), 2);
}

#[test]
fn authentic_replies_without_time_cause_no_key_exchange() {
    let scenario = Scenario::new("not synchronised yet")
        .with_nts_servers(3)
        .modify(|world| world.servers[0].stratum = 16);
    let mut world = world(&scenario);
    world.run(20_000.0).unwrap();
    assert_eq!(exchanges(&world), 3);
    let source = &world.status().sources[0];
    assert_eq!(source.state, SourceState::Unusable);
    assert_eq!(source.nts_cookies, Some(8));
    assert!(
        source
            .last_error
            .as_ref()
            .unwrap()
            .contains("not synchronised")
    );
    let error = |event: &Event| {
        matches!(event, Event::SourceUnreachable { error: Some(error), .. }
            if error.contains("not synchronised"))
    };
    assert_eq!(world.journal().event_times(error).len(), 1);
}
