//! A majority of the sources that suddenly holds another time: followed late, or not at all.

use ntp_proto::engine::{Command, Event};
use ntp_sim::{Action, Scenario, World};

/// Three servers that are right until the script makes them wrong.
fn three(name: &str) -> Scenario {
    Scenario::new(name)
        .with_servers(3)
        .with_poll_limits(4, 6)
        .modify(|world| {
            world.rules.bound = false;
            world.rules.check_interval = 4.0;
        })
}

/// From `at` on, all three are wrong by `error` seconds.
fn wrong(mut scenario: Scenario, at: f64, error: f64) -> Scenario {
    for server in 0..3 {
        scenario = scenario.at(at, Action::ServerError(server, error));
    }
    scenario
}

/// Steps after start-up.
fn late_steps(world: &World) -> Vec<f64> {
    let steps = world.journal().steps.iter();
    let late = steps.filter(|(at, _)| at.as_seconds() > 100.0);
    late.map(|(at, _)| at.as_seconds()).collect()
}

#[test]
fn servers_that_keep_stepping_do_not_move_the_clock() {
    for step_threshold in [None, Some(ntp_time::NtpDuration::from_millis(10))] {
        let mut scenario = three("900 s every 25 s")
            .modify(|world| world.engine.steering.step_threshold = step_threshold);
        for count in 1..=100 {
            scenario = wrong(
                scenario,
                1000.0 + 25.0 * f64::from(count),
                900.0 * f64::from(count),
            );
        }
        for seed in 0..3 {
            let mut world = World::new(&scenario, seed);
            world.run(3500.0).unwrap();
            // The steps are outliers that are attributed to the clock, by which its frequency wanders
            // around the right one.
            assert!(world.error().abs() < 0.5, "{}", world.error());
            assert!(late_steps(&world).is_empty(), "{:?}", late_steps(&world));
            assert_eq!(world.status().system.refused_step, None);
            assert!(!world.status().system.synchronized);
        }
    }
}

#[test]
fn an_honest_step_of_all_servers_is_followed_after_minutes() {
    for by in [900.0, -900.0, 0.3] {
        let scenario = wrong(three("one step"), 3000.0, by);
        for seed in 0..3 {
            let mut world = World::new(&scenario, seed);
            world.run(3280.0).unwrap();
            assert!(world.error().abs() < 0.01, "{by}: {}", world.error());
            let pending = |event: &Event| matches!(event, Event::StepPending { .. });
            assert_eq!(world.journal().event_times(pending).len(), 1, "{by}");
            world.run(4000.0).unwrap();
            assert!((world.error() - by).abs() < 0.01, "{by}: {}", world.error());
            let steps = late_steps(&world);
            assert!(steps[0] > 3300.0 && steps[0] < 3600.0, "{by}: {steps:?}");
            assert!(world.status().system.synchronized);
        }
    }
}

#[test]
fn a_time_that_is_taken_back_leaves_no_trace() {
    let scenario = wrong(wrong(three("mistake"), 3000.0, 5000.0), 3200.0, 0.0);
    for seed in 0..3 {
        let mut world = World::new(&scenario, seed);
        world.run(4000.0).unwrap();
        assert!(world.error().abs() < 1e-3, "{}", world.error());
        assert!(late_steps(&world).is_empty(), "{:?}", late_steps(&world));
        // Not even a correction that a panic threshold forbids stops steering at once.
        let refused = |event: &Event| matches!(event, Event::StepRefused { .. });
        assert!(world.journal().event_times(refused).is_empty());
        assert!(world.status().system.synchronized);
    }
}

#[test]
fn repeated_steps_take_longer_each_time() {
    let mut scenario = three("staircase");
    for count in 1..=5 {
        scenario = wrong(
            scenario,
            10_000.0 * f64::from(count),
            500.0 * f64::from(count),
        );
    }
    let mut world = World::new(&scenario, 1);
    world.run(60_000.0).unwrap();
    let waits = (1..)
        .zip(late_steps(&world))
        .map(|(count, at)| at - 10_000.0 * f64::from(count));
    let waits: Vec<_> = waits.collect();
    assert_eq!(waits.len(), 5, "{waits:?}");
    for (wait, shortest) in waits.iter().zip([300.0, 600.0, 1200.0, 2400.0, 4800.0]) {
        assert!(*wait > shortest && *wait < shortest + 200.0, "{waits:?}");
    }
}

#[test]
fn an_operator_need_not_wait() {
    let scenario = wrong(three("command"), 3000.0, 900.0)
        .at(3200.0, Action::Command(Command::Step { forced: false }));
    let mut world = World::new(&scenario, 1);
    world.run(3201.0).unwrap();
    assert!((world.error() - 900.0).abs() < 0.01, "{}", world.error());
}

#[test]
fn a_foreign_step_is_corrected_at_once_while_a_step_is_pending() {
    let scenario = wrong(three("both"), 3000.0, 20.0).at(3100.0, Action::ForeignStep(5.0));
    let mut world = World::new(&scenario, 1);
    world.run(3160.0).unwrap();
    assert!((world.error() - 20.0).abs() < 0.01, "{}", world.error());
}
