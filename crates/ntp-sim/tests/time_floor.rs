//! A time that an earlier run saved as past, and that may be wrong.

use ntp_proto::discipline::PanicThreshold;
use ntp_proto::engine::{Command, Event, PersistedState, TimePrior};
use ntp_sim::{Action, Scenario, World};
use ntp_time::{NtpDuration, SystemTime};

const YEAR: NtpDuration = NtpDuration::from_seconds(365 * 86_400);

/// A world with a saved floor that is `ahead` of true time, whose clock showed `clock` at the start
/// and was then set forward if that is before the release.
fn world(name: &str, servers: usize, clock: SystemTime, ahead: NtpDuration) -> Scenario {
    let scenario = Scenario::new(name)
        .with_servers(servers)
        .with_minimum_agreeing(servers.min(3));
    let floor = scenario.start + ahead;
    let shown = if clock < SystemTime::RELEASED {
        floor
    } else {
        clock
    };
    scenario.modify(|world| {
        world.node.clock_error = shown - world.start;
        world.engine.time_prior = Some(TimePrior {
            clock,
            floor: Some(floor),
        });
        world.rules.no_steps = false;
    })
}

fn reports(world: &World, followed: bool) -> usize {
    let matches = |event: &Event| matches!(event, Event::FloorContradicted { followed: it, .. } if *it == followed);
    world.journal().event_times(matches).len()
}

fn saved(world: &World) -> Option<PersistedState> {
    world.journal().persisted.map(|(_, saved)| saved)
}

const IN_1970: SystemTime = SystemTime::from_nanos(0);

fn right() -> SystemTime {
    Scenario::new("").start
}

#[test]
fn a_floor_in_the_future_does_not_move_a_clock_that_sources_confirm() {
    for servers in [1, 3] {
        let scenario = world("poisoned", servers, right(), YEAR * 6);
        let mut world = World::new(&scenario, 1);
        world.run(10.0).unwrap();
        assert!(world.status().system.synchronized);
        assert_eq!(reports(&world, true), 1);
        world.run(3500.0).unwrap();
        assert_eq!(saved(&world).and_then(|saved| saved.time_floor), None);
        assert!(world.status().system.contradicted_time.is_some());
        world.run(5000.0).unwrap();
        let saved = saved(&world).unwrap();
        assert!(saved.replaces_floor, "{saved:?}");
        assert!(saved.time_floor.unwrap() < right() + YEAR);
        assert!(world.error().abs() < 1e-3);
        assert_eq!(world.status().system.contradicted_time, None);
        // From then on it only grows.
        world.run(20_000.0).unwrap();
        assert!(!world.journal().persisted.unwrap().1.replaces_floor);
    }
}

#[test]
fn a_clock_that_was_set_forward_to_a_wrong_floor_is_set_back_by_a_majority() {
    let scenario = world("set to a wrong floor", 3, IN_1970, YEAR * 6);
    let mut world = World::new(&scenario, 1);
    world.run(250.0).unwrap();
    assert!(world.error() > 1e8, "{}", world.error());
    assert!(!world.status().system.synchronized);
    world.run(900.0).unwrap();
    assert_eq!(world.status().system.refused_step, None);
    assert!(world.error().abs() < 1e-3, "{}", world.error());
    assert!(world.status().system.synchronized);
}

#[test]
fn a_lone_source_cannot_roll_back_the_floor() {
    // The floor is right, the source two years behind; and a clock before the release is no
    // witness.
    let scenario = world("lone liar", 1, IN_1970, NtpDuration::ZERO)
        .modify(|world| world.servers[0].error = -2.0 * YEAR.as_seconds_f64());
    let mut world = World::new(&scenario, 1);
    world.run(10_000.0).unwrap();
    assert!(world.error().abs() < 1.0, "{}", world.error());
    assert!(!world.status().system.synchronized);
    assert_eq!(reports(&world, true), 0);
    assert!((2..=4).contains(&reports(&world, false)));
    assert_eq!(saved(&world).and_then(|saved| saved.time_floor), None);
}

#[test]
fn an_operator_needs_no_witness() {
    let scenario = world("operator", 1, IN_1970, YEAR * 6)
        .at(100.0, Action::Command(Command::Step { forced: true }));
    let mut world = World::new(&scenario, 1);
    world.run(101.0).unwrap();
    assert!(world.error().abs() < 0.1, "{}", world.error());
    assert!(saved(&world).unwrap().replaces_floor);
    world.run(200.0).unwrap();
    assert!(world.status().system.synchronized);
}

#[test]
fn a_floor_is_not_saved_beyond_what_the_start_allows() {
    let mut scenario = Scenario::new("ceiling").with_servers(3).modify(|world| {
        let limit = Some(NtpDuration::from_seconds(100));
        world.engine.steering.startup_panic.forward = limit;
        world.rules.bound = false;
        world.rules.no_steps = false;
    });
    for server in 0..3 {
        scenario = scenario.at(1000.0, Action::ServerError(server, 900.0));
    }
    let start = scenario.start;
    let mut world = World::new(&scenario, 1);
    world.run(10_000.0).unwrap();
    assert!((world.error() - 900.0).abs() < 1.0);
    let (at, saved) = world.journal().persisted.unwrap();
    let floor = saved.time_floor.unwrap() - start;
    let elapsed = at.as_seconds();
    assert!(
        (floor.as_seconds_f64() - (elapsed + 100.0)).abs() < 1.0,
        "{floor}"
    );
}

#[test]
fn a_clock_of_another_era_is_reported_and_not_moved() {
    for ahead in [f64::from(i32::MAX), -f64::from(i32::MAX)] {
        let scenario = Scenario::new("another era")
            .with_servers(3)
            .with_clock_offset(ahead);
        let mut world = World::new(&scenario, 1);
        world.run(2000.0).unwrap();
        assert_eq!(world.status().system.refused_step, None);
        assert!(world.journal().steps.is_empty(), "{ahead}");
        assert!(!world.status().system.synchronized);
        let reported = |event: &Event| matches!(event, Event::ClockOutOfRange { .. });
        assert_eq!(world.journal().event_times(reported).len(), 1);
    }
}

/// The largest offset that is measured, in seconds: 2^31 s less a day.
const MEASURED: f64 = 2_147_483_648.0 - 86_400.0;

#[test]
fn a_clock_almost_an_era_off_has_a_true_bound_and_can_be_set() {
    for offset in [MEASURED - 60.0, 60.0 - MEASURED] {
        let scenario = |steerable| {
            Scenario::new("almost another era")
                .with_servers(3)
                .with_clock_offset(offset)
                .modify(|world| {
                    world.engine.clock.steerable = steerable;
                    world.engine.steering.startup_panic = PanicThreshold::default();
                })
        };
        // As with `kind = "none"`, and as `force-sync` measures before it sets the clock.
        let mut world = World::new(&scenario(false), 1);
        world.run(2000.0).unwrap();
        let status = world.status();
        let (measured, bound) = (
            status.system.offset.unwrap(),
            status.system.error_bound.unwrap(),
        );
        assert!((measured.as_seconds_f64() + world.error()).abs() < 1e-3);
        let rest = (bound - measured.abs()).as_seconds_f64();
        assert!((1e-3..0.1).contains(&rest), "{offset}: {rest}");

        let mut world = World::new(&scenario(true), 1);
        world.run(2000.0).unwrap();
        assert!(world.error().abs() < 1e-3, "{offset}: {}", world.error());
        assert!(world.status().system.synchronized);
    }
}

#[test]
fn sources_name_the_clock_of_another_era_as_the_reason() {
    for offset in [MEASURED + 60.0, -MEASURED - 60.0] {
        let scenario = Scenario::new("another era")
            .with_servers(3)
            .with_clock_offset(offset)
            .modify(|world| world.engine.clock.steerable = false);
        let mut world = World::new(&scenario, 1);
        world.run(2000.0).unwrap();
        let status = world.status();
        assert_eq!(status.system.error_bound, None);
        for source in &status.sources {
            let error = source.last_error.as_deref().unwrap_or_default();
            assert!(error.contains("68 years"), "{source:?}");
        }
    }
}
