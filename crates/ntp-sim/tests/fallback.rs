//! Sources with `fallback`: measured, and followed only while too few others are usable.

use ntp_proto::discipline::SourceState;
use ntp_sim::{Action, Behaviour, Scenario, World};
use ntp_time::NtpDuration;

const HOUR: f64 = 3600.0;
/// Error of the servers with `fallback`; they state more.
const ERROR: f64 = 0.03;

/// `regular` servers, and after them others with `fallback` that are wrong by [`ERROR`].
fn beside(regular: usize, fallback: usize) -> Scenario {
    Scenario::new("fallback")
        .with_servers(regular + fallback)
        .with_poll_limits(4, 6)
        .modify(|scenario| {
            for server in &mut scenario.servers[regular..] {
                server.error = ERROR;
                server.root_dispersion = 0.05;
            }
            for source in &mut scenario.engine.sources[regular..] {
                source.selection.fallback = true;
            }
        })
}

fn all_become(scenario: Scenario, servers: usize, at: f64, behaviour: Behaviour) -> Scenario {
    (0..servers).fold(scenario, |it, server| {
        it.at(at, Action::Behaviour(server, behaviour))
    })
}

fn silent_until(mut scenario: Scenario, servers: usize, back: f64) -> Scenario {
    for server in &mut scenario.servers[..servers] {
        server.behaviour = Behaviour::Silent;
    }
    all_become(scenario, servers, back, Behaviour::Honest)
}

fn states(world: &World) -> Vec<SourceState> {
    let status = world.status();
    status.sources.iter().map(|source| source.state).collect()
}

fn times_of(world: &World, name: &str) -> Vec<f64> {
    let events = world.journal().events.iter();
    let events = events.filter(|(_, event)| event.name() == name);
    events.map(|(at, _)| at.as_seconds()).collect()
}

#[test]
fn they_are_followed_after_a_wait_and_given_up_without_a_step() {
    for seed in 0..5 {
        let scenario = beside(3, 2);
        let scenario = all_become(scenario, 3, HOUR, Behaviour::Silent);
        let scenario = all_become(scenario, 3, 4.0 * HOUR, Behaviour::Honest);
        let mut world = World::new(&scenario, seed);
        world.run(HOUR).unwrap();
        use SourceState::{Selected, Standby};
        assert_eq!(
            states(&world),
            [Selected, Selected, Selected, Standby, Standby]
        );
        assert!(world.error().abs() < 2e-4, "seed {seed}: {}", world.error());
        let narrow = world.status().system.error_bound;
        let steps = times_of(&world, "clock_stepped").len();

        world.run(4.0 * HOUR).unwrap();
        assert_eq!(states(&world)[3..], [Selected, Selected]);
        // The estimate goes on: what they differ by is attributed to them, as far as they may err.
        assert!(world.error().abs() < 1e-3, "seed {seed}: {}", world.error());
        let system = world.status().system;
        assert!(system.synchronized && system.error_bound > narrow);
        assert!(system.fallback_since.is_some());
        let started = times_of(&world, "fallback_started");
        // Eight polls of 64 s until the others are stale, then the wait.
        assert!(
            started.len() == 1 && started[0] > HOUR + 120.0,
            "{started:?}"
        );
        assert!(started[0] < HOUR + 900.0, "{started:?}");

        world.run(6.0 * HOUR).unwrap();
        assert_eq!(
            states(&world),
            [Selected, Selected, Selected, Standby, Standby]
        );
        assert!(world.error().abs() < 2e-4, "seed {seed}: {}", world.error());
        assert_eq!(world.status().system.fallback_since, None);
        assert_eq!(times_of(&world, "fallback_started").len(), 1);
        let ended = times_of(&world, "fallback_ended");
        assert!(
            ended.len() == 1 && ended[0] < 4.0 * HOUR + 300.0,
            "{ended:?}"
        );
        assert_eq!(
            times_of(&world, "clock_stepped").len(),
            steps,
            "seed {seed}"
        );
    }
}

#[test]
fn they_set_the_clock_if_the_others_are_silent_from_the_start() {
    // One is enough, although three of the others must agree.
    for fallback in [1, 4] {
        let scenario = silent_until(beside(3, fallback), 3, HOUR).with_clock_offset(1e4);
        let mut world = World::new(&scenario, 1);
        world.run(119.0).unwrap();
        assert!(world.error() > 9e3, "{}", world.error());
        world.run(140.0).unwrap();
        assert!((world.error() - ERROR).abs() < 1e-2, "{}", world.error());
        world.run(2.0 * HOUR).unwrap();
        assert!(world.error().abs() < 2e-4, "{}", world.error());
    }
}

#[test]
fn a_network_that_comes_late_does_not_make_them_the_first() {
    let scenario = silent_until(beside(3, 4), 7, 0.5 * HOUR).with_clock_offset(50.0);
    let mut world = World::new(&scenario, 2);
    world.run(2.0 * HOUR).unwrap();
    assert!(world.error().abs() < 2e-4, "{}", world.error());
    assert!(times_of(&world, "fallback_started").is_empty());
}

#[test]
fn sources_that_answer_now_and_then_do_not_cause_a_change_each_time() {
    let mut scenario = silent_until(beside(3, 3), 3, HOUR);
    for minute in 0..60 {
        let at = HOUR + 60.0 * f64::from(minute);
        for server in 0..3 {
            // Each answers for 20 s of every three minutes, one after the other.
            let answers = minute % 3 == server;
            let server = usize::try_from(server).unwrap();
            if answers {
                scenario = scenario
                    .at(at, Action::Behaviour(server, Behaviour::Honest))
                    .at(at + 20.0, Action::Behaviour(server, Behaviour::Silent));
            }
        }
    }
    let mut world = World::new(&scenario, 3);
    world.run(2.0 * HOUR).unwrap();
    let changes =
        times_of(&world, "fallback_started").len() + times_of(&world, "fallback_ended").len();
    // Sixty answers; a source that answered is usable for minutes.
    assert!(changes <= 6, "{changes}");
}

/// They vote in their majority until the others have been usable for a while.
#[test]
fn what_wrong_sources_left_is_forgotten_when_they_are_given_up() {
    for error in [0.5, 100.0] {
        let scenario = silent_until(beside(3, 4), 3, HOUR).modify(|it| {
            it.rules.bound = false;
            for server in &mut it.servers[3..] {
                server.error = error;
            }
        });
        let mut world = World::new(&scenario, 8);
        world.run(HOUR).unwrap();
        assert!((world.error() - error).abs() < 0.01, "{}", world.error());
        let steps = times_of(&world, "clock_stepped").len();
        world.run(2.0 * HOUR).unwrap();
        assert!(world.error().abs() < 2e-4, "{error}: {}", world.error());
        let stepped = times_of(&world, "clock_stepped").len() > steps;
        assert_eq!(stepped, error > 1.5, "{error}");
    }
}

#[test]
fn they_complete_a_majority_that_is_short_of_one() {
    let scenario = all_become(beside(3, 1), 1, HOUR, Behaviour::Silent);
    let mut world = World::new(&scenario, 4);
    world.run(3.0 * HOUR).unwrap();
    assert_eq!(states(&world)[1..], [SourceState::Selected; 3]);
    assert!(world.status().system.synchronized);
}

#[test]
fn they_are_ordinary_sources_if_there_are_no_others() {
    let mut world = World::new(&beside(0, 3).with_clock_offset(5.0), 5);
    world.run(60.0).unwrap();
    assert_eq!(states(&world), [SourceState::Selected; 3]);
    assert!(times_of(&world, "fallback_started").is_empty());

    let mut scenario = beside(1, 3);
    scenario.engine.sources[0].selection.noselect = true;
    let mut world = World::new(&scenario, 6);
    world.run(60.0).unwrap();
    assert_eq!(states(&world)[1..], [SourceState::Selected; 3]);
}

#[test]
fn a_source_may_become_fallback_at_run_time() {
    let scenario = beside(3, 2);
    let mut changed = scenario.engine.clone();
    for source in &mut changed.sources {
        source.selection.fallback = !source.selection.fallback;
    }
    changed.discipline.minimum_agreeing_sources = 2;
    changed.fallback_after = NtpDuration::from_seconds(10);
    let scenario = scenario.at(HOUR, Action::Reconfigure(Box::new(changed)));
    let mut world = World::new(&scenario, 7);
    world.run(2.0 * HOUR).unwrap();
    use SourceState::{Selected, Standby};
    assert_eq!(
        states(&world),
        [Standby, Standby, Standby, Selected, Selected]
    );
}
