//! Changes by an operator at run time, and what must continue undisturbed.

use ntp_proto::discipline::{PanicThreshold, SelectionOptions, SourceState};
use ntp_proto::engine::{Command, CommandOutcome, EngineConfig, Refusal, SourceKind};
use ntp_sim::{Action, Scenario, World, source, source_at};
use ntp_time::{NtpDuration, PollInterval, PollLimits};

fn name(index: usize) -> String {
    source_at(Scenario::address(index)).name
}

fn states(world: &World) -> Vec<(String, SourceState)> {
    let sources = world.status().sources;
    let state = |source: &ntp_types::status::SourceStatus| (source.name.clone(), source.state);
    sources.iter().map(state).collect()
}

fn ids(status: &ntp_types::status::EngineStatus) -> Vec<u32> {
    status.sources.iter().map(|source| source.id.0).collect()
}

#[test]
fn added_sources_are_selected_and_removed_sources_are_not_polled() {
    let scenario = Scenario::new("add and remove")
        .with_servers(3)
        .with_unconfigured_servers(1)
        .at(
            500.0,
            Action::Command(Command::Add(source_at(Scenario::address(3)))),
        )
        .at(1500.0, Action::Command(Command::Remove(name(3))))
        .at(1500.0, Action::Command(Command::Remove(name(3))));
    let mut world = World::new(&scenario, 1);
    world.run(1400.0).unwrap();
    assert!(states(&world).contains(&(name(3), SourceState::Selected)));
    world.run(1500.5).unwrap();
    let requests = world.requests_to(3);
    world.run(5000.0).unwrap();
    assert_eq!(world.requests_to(3), requests);
    assert_eq!(world.status().sources.len(), 3);
    let gone = Err(Refusal::UnknownSource(name(3)));
    let done = |name| Ok(CommandOutcome::Sources(vec![name]));
    assert_eq!(
        world.journal().completed,
        [done(name(3)), done(name(3)), gone]
    );
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn removing_a_source_does_not_affect_lookups_and_members_of_others() {
    let scenario = Scenario::new("remove the first")
        .with_servers(1)
        .with_unconfigured_servers(4)
        .with_name("pool.example", &[1, 2, 3, 4])
        .with_source(source(
            "pool.example",
            SourceKind::Pool {
                count: 4,
                ignore: Vec::new(),
            },
        ))
        // Before the lookup completes: its result belongs to the pool, wherever the pool is in the
        // list by then.
        .at(0.01, Action::Command(Command::Remove(name(0))));
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    let sources = world.status().sources;
    assert_eq!(sources.len(), 4);
    assert!(
        sources
            .iter()
            .all(|source| source.name == "pool.example:123")
    );
}

#[test]
fn nothing_is_sent_to_a_source_that_is_offline() {
    let scenario = Scenario::new("offline")
        .with_servers(3)
        .at(500.0, Action::Command(Command::Offline(None)))
        .at(4000.0, Action::Command(Command::Online(None)));
    let mut world = World::new(&scenario, 1);
    world.run(500.5).unwrap();
    let requests: Vec<_> = (0..3).map(|index| world.requests_to(index)).collect();
    world.run(3999.0).unwrap();
    let later: Vec<_> = (0..3).map(|index| world.requests_to(index)).collect();
    assert_eq!(requests, later);
    assert!(world.status().system.error_bound.unwrap() > NtpDuration::from_millis(20));
    world.run(4010.0).unwrap();
    assert!((0..3).all(|index| world.requests_to(index) > requests[index]));
    world.run(4200.0).unwrap();
    assert!(
        states(&world)
            .iter()
            .all(|(_, state)| *state == SourceState::Selected)
    );
}

#[test]
fn a_refresh_replaces_addresses_that_a_name_no_longer_has() {
    let moved = Action::Name("time.example".to_owned(), Ok(vec![Scenario::address(4)]));
    let scenario = Scenario::new("refresh")
        .with_servers(3)
        .with_unconfigured_servers(2)
        .with_name("time.example", &[3])
        .with_source(source("time.example", SourceKind::Server))
        .at(1000.0, Action::Command(Command::Refresh))
        .at(1500.0, moved)
        .at(2000.0, Action::Command(Command::Refresh));
    let mut world = World::new(&scenario, 1);
    world.run(1000.0).unwrap();
    let before = ids(&world.status());
    // The answer of the resolver is the same: nothing changes.
    world.run(1900.0).unwrap();
    assert_eq!(ids(&world.status()), before);
    world.run(2400.0).unwrap();
    let addresses: Vec<_> = world
        .status()
        .sources
        .iter()
        .map(|it| it.address.socket())
        .collect();
    let has = |index| {
        let address = Some(Scenario::address(index));
        addresses.iter().any(|it| it.map(|it| it.ip()) == address)
    };
    assert!(has(4) && !has(3), "{addresses:?}");
    assert_eq!(addresses.len(), 4);
    let done = Ok(CommandOutcome::Sources(vec!["time.example:123".to_owned()]));
    assert_eq!(world.journal().completed, [done.clone(), done]);
}

#[test]
fn a_reset_drops_all_measurements_and_the_sources_are_followed_again() {
    let scenario = Scenario::new("reset")
        .with_servers(3)
        .at(2000.0, Action::Command(Command::Reselect))
        .at(2001.0, Action::Command(Command::Reset));
    let mut world = World::new(&scenario, 1);
    world.run(2000.5).unwrap();
    assert!(world.status().system.synchronized);
    let frequency = world.status().system.frequency;
    world.run(2001.001).unwrap();
    let status = world.status();
    assert!(!status.system.synchronized);
    assert!(
        status
            .sources
            .iter()
            .all(|source| source.measurement.is_none())
    );
    world.run(2060.0).unwrap();
    let status = world.status();
    assert!(status.system.synchronized);
    assert!((status.system.frequency - frequency).as_ppm().abs() < 1.0);
    assert!(world.error().abs() < 1e-3);
    let all = Ok(CommandOutcome::Sources((0..3).map(name).collect()));
    assert_eq!(world.journal().completed, [all.clone(), all]);
}

#[test]
fn readers_get_the_statistics_that_chronyc_shows() {
    let scenario = Scenario::new("statistics").with_servers(3);
    let mut world = World::new(&scenario, 1);
    assert_eq!(world.status().system.last_offset, None);
    world.run(5000.0).unwrap();
    let status = world.status();
    let system = &status.system;
    let rms = system.rms_offset.unwrap();
    assert!(system.last_offset.unwrap().abs() < NtpDuration::from_millis(1));
    assert!(
        rms > NtpDuration::ZERO && rms < NtpDuration::from_millis(1),
        "{rms}"
    );
    assert!(system.update_interval.unwrap() <= NtpDuration::from_seconds(256));
    let weights: f64 = status.sources.iter().filter_map(|it| it.path?.weight).sum();
    assert!((weights - 1.0).abs() < 1e-9, "{weights}");
    for source in &status.sources {
        let trend = source.trend.unwrap();
        assert_eq!(trend.samples, 32);
        let difference = (trend.frequency - system.frequency).as_ppm().abs();
        let limit = 4.0 * (trend.frequency_uncertainty + system.frequency_uncertainty).as_ppm();
        assert!(difference < limit, "{difference} {limit}");
        let measured = source.measurement.unwrap();
        assert_eq!(measured.version, Some(4));
        assert!(measured.response_time.unwrap() >= NtpDuration::ZERO);
    }
}

#[test]
fn a_burst_measures_at_once_but_not_twice_a_minute() {
    let burst = || Action::Command(Command::Burst(Some(name(0))));
    let scenario = Scenario::new("burst")
        .with_servers(3)
        .at(2000.0, burst())
        .at(2020.0, burst());
    let mut world = World::new(&scenario, 1);
    world.run(1999.0).unwrap();
    let before = world.requests_to(0);
    world.run(2030.0).unwrap();
    let sent = world.requests_to(0) - before;
    assert!((8..=10).contains(&sent), "{sent} requests");
    let spared = |started| {
        Ok(CommandOutcome::Burst {
            started,
            skipped: 1 - started,
        })
    };
    assert_eq!(world.journal().completed, [spared(1), spared(0)]);
}

#[test]
fn selection_options_and_poll_limits_change_at_run_time() {
    let changed = |noselect, min, max| {
        let mut source = source_at(Scenario::address(1));
        source.selection.noselect = noselect;
        source.association.limits = PollLimits {
            min: PollInterval::from_log2(min),
            max: PollInterval::from_log2(max),
        };
        Action::Command(Command::Replace(name(1), source))
    };
    let scenario = Scenario::new("set")
        .with_servers(4)
        .at(500.0, changed(true, 4, 10))
        .at(1000.0, changed(false, 5, 5))
        .at(1001.0, changed(false, 6, 5));
    let mut world = World::new(&scenario, 1);
    world.run(501.0).unwrap();
    let id = world.status().sources[1].id;
    assert!(states(&world).contains(&(name(1), SourceState::Unusable)));
    world.run(1400.0).unwrap();
    assert!(states(&world).contains(&(name(1), SourceState::Selected)));
    let source = &world.status().sources[1];
    assert_eq!((source.poll, source.id), (PollInterval::from_log2(5), id));
    assert!(
        world.journal().completed[2].is_err(),
        "a minimum above the maximum"
    );
}

#[test]
fn a_source_with_a_new_address_restarts() {
    let other = source_at(Scenario::address(3));
    let scenario = Scenario::new("another address")
        .with_servers(3)
        .with_unconfigured_servers(1)
        .at(
            500.0,
            Action::Command(Command::Replace(name(1), other.clone())),
        )
        .at(501.0, Action::Command(Command::Replace(name(0), other)));
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    assert_eq!(ids(&world.status()), [0, 2, 3]);
    let taken = Err(Refusal::DuplicateSource(name(3)));
    assert_eq!(world.journal().completed[1], taken);
}

/// A world that slews for minutes, because it does not step by itself.
fn slewing(name: &str) -> Scenario {
    Scenario::new(name)
        .with_servers(3)
        .with_clock_offset(0.09)
        .modify(|world| world.engine.steering.steps_at_start = 0)
}

#[test]
fn a_step_command_corrects_the_offset_at_once() {
    let scenario = slewing("step").at(60.0, Action::Command(Command::Step { forced: false }));
    let mut world = World::new(&scenario, 1);
    world.run(59.9).unwrap();
    assert!(world.error() > 0.05, "still slewing: {}", world.error());
    world.run(60.1).unwrap();
    assert!(world.error().abs() < 5e-3, "{}", world.error());
    assert!(matches!(
        world.journal().completed[..],
        [Ok(CommandOutcome::Stepped { .. })]
    ));
    world.run(600.0).unwrap();
    assert!(world.error().abs() < 1e-3, "{}", world.error());
}

#[test]
fn a_step_past_a_panic_threshold_must_be_forced() {
    let forbidden = PanicThreshold {
        forward: Some(NtpDuration::ZERO),
        backward: Some(NtpDuration::ZERO),
    };
    let scenario = slewing("forced step")
        .at(60.0, Action::Command(Command::Step { forced: false }))
        .at(61.0, Action::Command(Command::Step { forced: true }))
        .modify(|world| world.engine.steering.single_panic = forbidden);
    let mut world = World::new(&scenario, 1);
    world.run(61.1).unwrap();
    assert!(matches!(
        world.journal().completed[..],
        [
            Err(Refusal::Panic { .. }),
            Ok(CommandOutcome::Stepped { .. })
        ]
    ));
    assert!(world.error().abs() < 5e-3, "{}", world.error());
    assert_eq!(world.journal().halt, None);
}

#[test]
fn a_step_command_without_a_majority_is_refused() {
    let scenario = Scenario::new("step without knowledge")
        .with_servers(2)
        .with_minimum_agreeing(3)
        .at(100.0, Action::Command(Command::Step { forced: true }));
    let mut world = World::new(&scenario, 1);
    world.run(200.0).unwrap();
    let refused = Refusal::NoMajority {
        agreeing: 2,
        needed: 3,
    };
    assert_eq!(world.journal().completed, [Err(refused)]);
    assert!(world.journal().steps.is_empty());
}

/// Reconfigures with a changed copy of the engine's configuration.
fn changed(scenario: &Scenario, change: impl FnOnce(&mut EngineConfig)) -> Action {
    let mut engine = scenario.engine.clone();
    change(&mut engine);
    Action::Reconfigure(Box::new(engine))
}

#[test]
fn a_reload_does_not_affect_unchanged_sources() {
    let scenario = Scenario::new("reload")
        .with_servers(4)
        .with_unconfigured_servers(1);
    let reload = changed(&scenario, |engine| {
        engine.sources.remove(0);
        engine.sources[0].selection = SelectionOptions {
            prefer: true,
            ..SelectionOptions::default()
        };
        engine.sources.insert(1, source_at(Scenario::address(4)));
        engine.steering.step_threshold = Some(NtpDuration::from_millis(10));
    });
    let scenario = scenario.at(1000.0, reload);
    let mut world = World::new(&scenario, 1);
    world.run(999.0).unwrap();
    let before = world.status();
    world.run(1000.5).unwrap();
    let after = world.status();
    assert_eq!(ids(&after), [1, 2, 3, 4]);
    for (old, new) in before.sources[1..].iter().zip(&after.sources) {
        assert_eq!((old.id, old.reach), (new.id, new.reach));
        assert_eq!(old.packets.accepted, new.packets.accepted);
    }
    assert!(after.sources[0].options.prefer);
    assert_eq!(after.system.synchronized, before.system.synchronized);
    let done = CommandOutcome::Reconfigured {
        added: vec![name(4)],
        removed: vec![name(0)],
        changed: vec![name(1)],
        retried: Vec::new(),
    };
    assert_eq!(world.journal().completed, [Ok(done)]);
    world.run(3000.0).unwrap();
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn a_pool_that_shrinks_keeps_its_best_members_and_one_that_grows_finds_more() {
    let pool = |count| SourceKind::Pool {
        count,
        ignore: Vec::new(),
    };
    let scenario = Scenario::new("pool of another size")
        .with_unconfigured_servers(6)
        .with_name("pool.example", &[0, 1, 2, 3, 4, 5])
        .with_source(source("pool.example", pool(4)));
    let resize = |count| changed(&scenario, |engine| engine.sources[0].kind = pool(count));
    let (small, large) = (resize(3), resize(6));
    let scenario = scenario.clone().at(1000.0, small).at(2000.0, large);
    let mut world = World::new(&scenario, 1);
    world.run(999.0).unwrap();
    let before = ids(&world.status());
    world.run(1001.0).unwrap();
    assert_eq!(ids(&world.status()), before[..3]);
    world.run(2100.0).unwrap();
    assert_eq!(world.status().sources.len(), 6);
}

/// Three servers, the first of them preferred, and an operator's commands.
fn preferring(commands: &[(f64, Command)]) -> Scenario {
    let mut scenario = Scenario::new("prefer")
        .with_servers(3)
        .with_minimum_agreeing(1);
    scenario.engine.sources[0].selection.prefer = true;
    for (at, command) in commands {
        scenario = scenario.at(*at, Action::Command(command.clone()));
    }
    scenario
}

/// The states of the second and the third source.
fn others(world: &World) -> Vec<SourceState> {
    let states = states(world);
    let others = states.iter().filter(|(source, _)| *source != name(0));
    others.map(|(_, state)| *state).collect()
}

#[test]
fn the_others_are_used_at_once_when_the_preferred_source_is_removed() {
    let scenario = preferring(&[(1000.0, Command::Remove(name(0)))]);
    let mut world = World::new(&scenario, 1);
    world.run(999.9).unwrap();
    assert_eq!(others(&world), [SourceState::Outranked; 2]);
    world.run(1_000.000_001).unwrap();
    assert_eq!(others(&world), [SourceState::Selected; 2]);
}

#[test]
fn the_others_are_used_as_long_as_the_preferred_source_is_offline() {
    let scenario = preferring(&[
        (1000.0, Command::Offline(Some(name(0)))),
        (1001.0, Command::Online(Some(name(0)))),
    ]);
    let mut world = World::new(&scenario, 1);
    world.run(1_000.000_001).unwrap();
    assert_eq!(others(&world), [SourceState::Selected; 2]);
    world.run(1_001.000_001).unwrap();
    assert_eq!(others(&world), [SourceState::Outranked; 2]);
}

#[test]
fn changed_selection_options_apply_at_once() {
    let opinion = |prefer, noselect| {
        let mut source = source_at(Scenario::address(0));
        source.selection = SelectionOptions {
            prefer,
            noselect,
            ..SelectionOptions::default()
        };
        Command::Replace(name(0), source)
    };
    let scenario = preferring(&[
        (1000.0, opinion(false, false)),
        (1001.0, opinion(true, false)),
        (1002.0, opinion(true, true)),
    ]);
    let mut world = World::new(&scenario, 1);
    for (after, state) in [
        (1_000.000_001, SourceState::Selected),
        (1_001.000_001, SourceState::Outranked),
        (1_002.000_001, SourceState::Selected),
    ] {
        world.run(after).unwrap();
        assert_eq!(others(&world), [state; 2], "{after}");
    }
}
