//! Addresses to poll: names, pools, kiss codes, and a network that comes and goes.

use std::net::{IpAddr, Ipv6Addr};

use ntp_proto::client::Rejection;
use ntp_proto::discipline::SourceState;
use ntp_proto::engine::{Command, CommandOutcome, Event, RemovalReason, SourceKind};
use ntp_sim::{Action, Behaviour, Scenario, Server, World, source};

fn pool(count: usize) -> SourceKind {
    SourceKind::Pool {
        count,
        ignore: Vec::new(),
    }
}

fn removals(world: &World, why: RemovalReason) -> usize {
    world
        .journal()
        .event_times(|event| matches!(event, Event::SourceRemoved { reason, .. } if *reason == why))
        .len()
}

/// Runs the world and checks that no address is used twice.
fn run_checking_for_duplicates(world: &mut World, from: usize, to: usize) {
    for second in (from..=to).step_by(16) {
        world.run(second as f64).unwrap();
        let mut addresses: Vec<_> = world
            .status()
            .sources
            .iter()
            .map(|source| source.address.clone())
            .collect();
        addresses.sort_unstable();
        let count = addresses.len();
        addresses.dedup();
        assert_eq!(addresses.len(), count, "at {second} s");
    }
}

/// Times of all DENY and RSTR kisses, in seconds.
fn denials(world: &World) -> Vec<f64> {
    world
        .journal()
        .event_times(|event| matches!(event, Event::KissReceived { retry: Some(_), .. }))
}

#[test]
fn a_server_that_denies_access_is_tried_again_after_an_hour_doubling_to_a_day() {
    for (code, name) in [(*b"DENY", None), (*b"RSTR", Some("time.example"))] {
        let scenario = Scenario::new("denied")
            .with_servers(4)
            .modify(|world| {
                if let Some(name) = name {
                    world.engine.sources[1] = source(name, SourceKind::Server);
                    world.names = vec![(name.to_owned(), Ok(vec![Scenario::address(1)]))];
                }
            })
            .at(1000.0, Action::Behaviour(1, Behaviour::Kiss(code)))
            .at(500_000.0, Action::Behaviour(1, Behaviour::Honest));
        let mut world = World::new(&scenario, 1);
        world.run(1000.0).unwrap();
        let before = world.requests_to(1);
        world.run(499_000.0).unwrap();
        let times = denials(&world);
        assert_eq!(world.requests_to(1), before + times.len() as u64);
        let delays: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (delay, least) in delays.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 24.0]) {
            let least = least * 3600.0;
            assert!((least..1.26 * least + 70.0).contains(delay), "{delays:?}");
        }
        assert!(delays.len() >= 7, "{delays:?}");
        assert_eq!(removals(&world, RemovalReason::Denied), times.len());
        let denied = &world.status().configured[1];
        assert!(denied.denied && denied.retry.unwrap().as_seconds_f64() > 0.0);
        assert!(
            denied
                .last_error
                .as_ref()
                .unwrap()
                .contains(core::str::from_utf8(&code).unwrap())
        );
        // The mistake is corrected.
        world.run(620_000.0).unwrap();
        assert_eq!(world.status().sources.len(), 4);
        assert!(!world.status().configured[1].denied);
        assert!(world.error().abs() < 1e-3);
    }
}

#[test]
fn an_operator_or_another_address_makes_a_denied_server_be_tried_at_once() {
    let attempts = |actions: &[(f64, Action)]| {
        let mut scenario = Scenario::new("denied by mistake")
            .with_servers(3)
            .with_unconfigured_servers(2)
            .with_name("time.example", &[3])
            .with_source(source("time.example", SourceKind::Server))
            .at(1000.0, Action::Behaviour(3, Behaviour::Kiss(*b"DENY")));
        scenario.script.extend_from_slice(actions);
        let mut world = World::new(&scenario, 1);
        world.run(1999.0).unwrap();
        let before = world.requests_to(3) + world.requests_to(4);
        assert_eq!(world.status().sources.len(), 3);
        world.run(2100.0).unwrap();
        let outcome = world.journal().completed.first().cloned();
        (
            world.requests_to(3) + world.requests_to(4) - before,
            outcome,
        )
    };
    assert_eq!(attempts(&[]), (0, None));
    let online = Command::Online(Some("time.example".to_owned()));
    assert_eq!(attempts(&[(2000.0, Action::Command(online))]).0, 1);
    assert_eq!(attempts(&[(2000.0, Action::AddressesChanged)]).0, 1);
    let resolves = Action::Name("time.example".to_owned(), Ok(vec![Scenario::address(4)]));
    assert!(attempts(&[(2000.0, resolves)]).0 > 1, "another server");
    let unchanged = Scenario::new("as it was")
        .with_servers(3)
        .with_source(source("time.example", SourceKind::Server));
    let reload = Action::Reconfigure(Box::new(unchanged.engine));
    let (sent, outcome) = attempts(&[(2000.0, reload)]);
    let Some(Ok(CommandOutcome::Reconfigured { retried, .. })) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        (sent, &retried[..]),
        (1, &["time.example:123".to_owned()][..])
    );
}

#[test]
fn a_flapping_interface_asks_a_denied_server_once_a_minute_at_most() {
    let mut scenario = Scenario::new("flapping")
        .with_servers(4)
        .at(1000.0, Action::Behaviour(1, Behaviour::Kiss(*b"DENY")));
    for second in 0..1200 {
        scenario = scenario.at(1200.0 + f64::from(second), Action::AddressesChanged);
    }
    let mut world = World::new(&scenario, 1);
    world.run(1200.0).unwrap();
    let before = world.requests_to(1);
    world.run(2400.0).unwrap();
    let sent = world.requests_to(1) - before;
    assert!((15..=20).contains(&sent), "{sent} requests in 20 minutes");
}

#[test]
fn a_pool_replaces_a_member_that_sends_deny() {
    let scenario = Scenario::new("denied in a pool")
        .with_unconfigured_servers(6)
        .with_name("pool.example", &[0, 1, 2, 3, 4, 5])
        .with_source(source("pool.example", pool(4)))
        .modify(|world| world.servers[2].behaviour = Behaviour::Kiss(*b"RSTR"));
    let mut world = World::new(&scenario, 1);
    run_checking_for_duplicates(&mut world, 0, 3000);
    assert_eq!(world.requests_to(2), 1);
    let addresses: Vec<_> = world
        .status()
        .sources
        .iter()
        .map(|source| source.address.socket().unwrap().ip())
        .collect();
    assert_eq!(addresses.len(), 4);
    assert!(!addresses.contains(&Scenario::address(2)));
}

#[test]
fn a_server_that_is_not_synchronised_sends_no_kiss_and_is_not_called_silent() {
    for code in [[0; 4], *b"INIT", *b"STEP"] {
        let scenario = Scenario::new("just started")
            .with_servers(4)
            .modify(|world| world.servers[0].behaviour = Behaviour::Kiss(code));
        let mut world = World::new(&scenario, 1);
        world.run(500.0).unwrap();
        let count = |event: fn(&Event) -> bool| world.journal().event_times(event).len();
        assert_eq!(
            count(|event| matches!(event, Event::KissReceived { .. })),
            0
        );
        assert_eq!(
            count(|event| matches!(
                event,
                Event::ReplyRejected {
                    reason: Rejection::Unsynchronized,
                    ..
                }
            )),
            1
        );
        assert_eq!(
            count(|event| matches!(event, Event::SourceUnreachable { error: Some(_), .. })),
            1
        );
        assert_eq!(world.status().sources[0].state, SourceState::Unusable);
    }
}

#[test]
fn a_rate_limit_of_half_a_minute_is_respected() {
    let scenario = Scenario::new("rate limit")
        .with_servers(4)
        .modify(|world| world.servers[0].behaviour = Behaviour::RateBelow(32.0));
    let mut world = World::new(&scenario, 1);
    world.run(3000.0).unwrap();
    let status = world.status();
    let limited = &status.sources[0];
    assert!(limited.poll.as_log2() >= 5, "{}", limited.poll);
    assert!(limited.packets.accepted > 10, "{:?}", limited.packets);
    let kisses = world
        .journal()
        .event_times(|event| matches!(event, Event::KissReceived { .. }));
    assert!(
        kisses.len() <= 4 && kisses.iter().all(|at| *at < 200.0),
        "{kisses:?}"
    );
}

#[test]
fn fast_polling_of_a_rate_limited_server_slows_to_half_a_minute() {
    // Limits such that the discipline itself would stay at 16 s.
    let scenario = Scenario::new("rate limit, fast")
        .with_servers(1)
        .with_minimum_agreeing(1)
        .modify(|world| {
            world.servers[0].behaviour = Behaviour::RateBelow(32.0);
            world.servers[0].link = ntp_sim::Link::exponential(1e-4, 1e-6);
            world.node.oscillator.wander = 1e-7;
        })
        .with_poll_limits(4, 10);
    let mut world = World::new(&scenario, 1);
    world.run(3000.0).unwrap();
    assert_eq!(world.status().sources[0].poll.as_log2(), 5);
}

#[test]
fn a_rate_kiss_slows_down_beyond_the_configured_maximum_and_the_log_says_so() {
    let scenario = Scenario::new("rate limit, fixed interval")
        .with_servers(3)
        .with_poll_limits(4, 4)
        .modify(|world| {
            world.servers[0].behaviour = Behaviour::RateBelow(100.0);
            for source in &mut world.engine.sources {
                source.association.interleaved = true;
            }
        });
    let mut world = World::new(&scenario, 1);
    world.run(5_000.0).unwrap();
    let before = world.requests_to(0);
    world.run(6_280.0).unwrap();
    assert!(world.requests_to(0) - before <= 11, "every 128 s");
    let source = &world.status().sources[0];
    assert_eq!((source.poll.as_log2(), source.poll_max.as_log2()), (7, 7));
    let polls = |poll: i8| {
        let told = move |event: &Event| matches!(event, Event::KissReceived { poll: Some(told), .. } if told.as_log2() == poll);
        world.journal().event_times(told).len()
    };
    assert_eq!([4, 5, 6, 7].map(polls), [1; 4]);
    // Days later the server is asked as configured again.
    let mut content = scenario.clone();
    content
        .script
        .push((6_000.0, Action::Behaviour(0, Behaviour::Honest)));
    let mut world = World::new(&content, 1);
    world.run(4.0 * 86_400.0).unwrap();
    assert_eq!(world.status().sources[0].poll.as_log2(), 4);
}

#[test]
fn an_unreachable_server_is_replaced_when_its_name_resolves_to_another() {
    let scenario = Scenario::new("moved server")
        .with_servers(3)
        .with_unconfigured_servers(2)
        .with_name("time.example", &[3])
        .with_source(source("time.example", SourceKind::Server))
        .at(2000.0, Action::Behaviour(3, Behaviour::Silent))
        .at(
            2500.0,
            Action::Name("time.example".to_owned(), Ok(vec![Scenario::address(4)])),
        );
    let mut world = World::new(&scenario, 1);
    world.run(2000.0).unwrap();
    assert_eq!(world.requests_to(4), 0);
    run_checking_for_duplicates(&mut world, 2000, 12_000);
    assert!(world.requests_to(4) > 10, "{}", world.requests_to(4));
    assert_eq!(removals(&world, RemovalReason::Unreachable), 1);
    assert!(
        world
            .status()
            .sources
            .iter()
            .all(|source| source.reach != 0)
    );
}

#[test]
fn an_unreachable_server_is_polled_further_and_recovers() {
    let scenario = Scenario::new("reboot")
        .with_servers(4)
        .at(2000.0, Action::Behaviour(0, Behaviour::Silent))
        .at(9000.0, Action::Behaviour(0, Behaviour::Honest));
    let mut world = World::new(&scenario, 1);
    world.run(9000.0).unwrap();
    assert!(!world.status().sources[0].reach != 0);
    world.run(12_000.0).unwrap();
    assert!(world.status().sources[0].reach != 0);
    assert_eq!(
        world
            .journal()
            .event_times(|event| matches!(event, Event::SourceUnreachable { .. }))
            .len(),
        1
    );
}

#[test]
fn a_server_back_before_the_ninth_poll_was_reported_unreachable_and_reachable_at_once() {
    let silent = Scenario::new("away for eight polls")
        .with_servers(4)
        .at(2000.0, Action::Behaviour(0, Behaviour::Silent));
    let unreachable = |event: &Event| matches!(event, Event::SourceUnreachable { .. });
    let mut before = World::new(&silent, 1);
    before.run(12_000.0).unwrap();
    let reported = before.journal().event_times(unreachable)[0];
    // It is back by then: a decision that waits for the next poll coincides with the reply to that.
    let scenario = silent.at(reported - 0.5, Action::Behaviour(0, Behaviour::Honest));
    let mut world = World::new(&scenario, 1);
    world.run(reported + 2000.0).unwrap();
    assert_eq!(world.journal().event_times(unreachable), [reported]);
    let back = world
        .journal()
        .event_times(|event| matches!(event, Event::SourceReachable { .. }));
    let back = back.last().expect("it answers");
    assert!(*back > reported + 5.0, "{reported} s, then {back} s");
}

#[test]
fn a_second_outage_within_an_hour_was_not_reported_but_its_end_was() {
    let mut scenario = Scenario::new("away twice")
        .with_servers(4)
        .with_poll_limits(4, 4);
    for begin in [2000.0, 3000.0] {
        scenario = scenario
            .at(begin, Action::Behaviour(0, Behaviour::Silent))
            .at(begin + 500.0, Action::Behaviour(0, Behaviour::Honest));
    }
    let mut world = World::new(&scenario, 1);
    world.run(4000.0).unwrap();
    let count = |matches: fn(&Event) -> bool| world.journal().event_times(matches).len();
    assert_eq!(
        count(|event| matches!(event, Event::SourceUnreachable { .. })),
        2
    );
    assert_eq!(
        count(|event| matches!(event, Event::SourceReachable { .. })),
        4 + 2
    );
}

#[test]
fn unreachable_pool_members_are_replaced() {
    let scenario = Scenario::new("pool loses members")
        .with_unconfigured_servers(8)
        .with_name("pool.example", &[0, 1, 2, 3])
        .with_source(source("pool.example", pool(4)))
        .at(
            1500.0,
            Action::Name(
                "pool.example".to_owned(),
                Ok((2..8).map(Scenario::address).collect()),
            ),
        )
        .at(2000.0, Action::Behaviour(0, Behaviour::Silent))
        .at(2000.0, Action::Behaviour(3, Behaviour::Silent));
    let mut world = World::new(&scenario, 1);
    run_checking_for_duplicates(&mut world, 0, 12_000);
    let status = world.status();
    assert_eq!(status.sources.len(), 4);
    assert!(
        status.sources.iter().all(|source| source.reach != 0),
        "{:?}",
        status.sources
    );
    assert_eq!(removals(&world, RemovalReason::Unreachable), 2);
}

#[test]
fn a_falseticker_in_a_pool_is_replaced() {
    let scenario = Scenario::new("falseticker in a pool")
        .with_unconfigured_servers(5)
        .with_name("pool.example", &[0, 1, 2, 3, 4])
        .with_source(source("pool.example", pool(4)))
        .modify(|world| world.servers[1].error = 0.1);
    let mut world = World::new(&scenario, 1);
    run_checking_for_duplicates(&mut world, 0, 3600);
    assert_eq!(removals(&world, RemovalReason::Falseticker), 1);
    assert!(
        !world
            .status()
            .sources
            .iter()
            .any(|source| source.address.socket().unwrap().ip() == Scenario::address(1))
    );
}

#[test]
fn two_pools_with_the_same_addresses_share_no_member() {
    let scenario = Scenario::new("two names for one pool")
        .with_unconfigured_servers(8)
        .with_name("a.example", &[0, 1, 2, 3, 4, 5, 6, 7])
        .with_name("b.example", &[0, 1, 2, 3, 4, 5, 6, 7])
        .with_source(source("a.example", pool(4)))
        .with_source(source("b.example", pool(4)));
    let mut world = World::new(&scenario, 1);
    run_checking_for_duplicates(&mut world, 0, 600);
    assert_eq!(world.status().sources.len(), 8);
}

#[test]
fn ignored_addresses_are_never_polled() {
    let scenario = Scenario::new("ignored")
        .with_unconfigured_servers(4)
        .with_name("pool.example", &[0, 1, 2, 3])
        .with_source(source(
            "pool.example",
            SourceKind::Pool {
                count: 4,
                ignore: vec![Scenario::address(1)],
            },
        ));
    let mut world = World::new(&scenario, 1);
    world.run(2000.0).unwrap();
    assert_eq!(world.requests_to(1), 0);
    assert_eq!(world.status().sources.len(), 3);
}

#[test]
fn failing_lookups_are_retried_until_they_succeed() {
    let scenario = Scenario::new("resolver down")
        .with_unconfigured_servers(4)
        .with_source(source("pool.example", pool(4)))
        .at(
            0.0,
            Action::Name(
                "pool.example".to_owned(),
                Err("temporary failure".to_owned()),
            ),
        )
        .at(
            200.0,
            Action::Name(
                "pool.example".to_owned(),
                Ok((0..4).map(Scenario::address).collect()),
            ),
        );
    let mut world = World::new(&scenario, 1);
    world.run(200.0).unwrap();
    let failures = world
        .journal()
        .event_times(|event| matches!(event, Event::ResolveFailed { .. }));
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(
        (5..20).contains(&world.journal().lookups),
        "{}",
        world.journal().lookups
    );
    world.run(300.0).unwrap();
    assert!(world.status().system.synchronized);
}

#[test]
fn sources_recover_when_the_network_comes_up_after_boot() {
    let scenario = Scenario::new("late network")
        .with_servers(4)
        .with_clock_offset(5.0)
        .at(
            0.0,
            Action::Network {
                v4: false,
                v6: false,
            },
        )
        .at(90.0, Action::Network { v4: true, v6: true });
    // Without a notification from the system at the next poll; with one, at once.
    for (notified, synchronized_by) in [(false, 120.0), (true, 92.0)] {
        let scenario = if notified {
            scenario.clone().at(90.1, Action::AddressesChanged)
        } else {
            scenario.clone()
        };
        let mut world = World::new(&scenario, 1);
        world.run(90.0).unwrap();
        let failures = world
            .journal()
            .event_times(|event| matches!(event, Event::SendFailed { .. }));
        assert_eq!(failures.len(), 4, "each source reports it once");
        world.run(synchronized_by).unwrap();
        assert!(world.status().system.synchronized, "notified: {notified}");
        world.run(300.0).unwrap();
        assert!(
            world.error().abs() < 1e-3,
            "notified: {notified}: {}",
            world.error()
        );
    }
}

#[test]
fn without_an_ipv6_route_the_ipv4_address_is_used_at_once() {
    let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    let scenario = Scenario::new("no IPv6")
        .with_unconfigured_servers(1)
        .with_minimum_agreeing(1)
        .with_source(source("time.example", SourceKind::Server))
        .modify(|world| {
            world.servers.push(Server::new(v6));
            world.names.push((
                "time.example".to_owned(),
                Ok(vec![v6, Scenario::address(0)]),
            ));
        })
        .at(
            0.0,
            Action::Network {
                v4: true,
                v6: false,
            },
        );
    let mut world = World::new(&scenario, 1);
    world.run(1.0).unwrap();
    assert!(
        world.status().system.synchronized,
        "{:?}",
        world.journal().events
    );
    assert_eq!(
        world.status().sources[0].address.socket().unwrap().ip(),
        Scenario::address(0)
    );
}

#[test]
fn a_server_with_a_closed_port_is_replaced_by_another_address_of_its_name() {
    let scenario = Scenario::new("port closed")
        .with_unconfigured_servers(2)
        .with_minimum_agreeing(1)
        .with_name("time.example", &[0, 1])
        .with_source(source("time.example", SourceKind::Server))
        .modify(|world| world.servers[0].behaviour = Behaviour::Refused);
    let mut world = World::new(&scenario, 1);
    world.run(120.0).unwrap();
    assert!(world.status().system.synchronized);
    assert_eq!(
        world.status().sources[0].address.socket().unwrap().ip(),
        Scenario::address(1)
    );
}

#[test]
fn a_thousand_sources_work() {
    let scenario = Scenario::new("a thousand sources")
        .with_servers(1000)
        .modify(|world| {
            world.duration = 25.0;
            world.settled = 20.0;
            world.rules.check_interval = 0.0;
        });
    let report = ntp_sim::run(&scenario, 1).unwrap();
    assert_eq!(report.last.sources.len(), 1000);
    assert!(report.maximum < 1e-3, "{:e}", report.maximum);
}
