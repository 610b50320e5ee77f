//! Disturbances of the clock: steps by others, suspends, frequency jumps, route changes.

use ntp_proto::engine::Event;
use ntp_sim::{Action, Link, Scenario, World, run};

/// Runs `action` at 3000 s in a settled world.
fn after(action: Action) -> Scenario {
    Scenario::new("disturbance")
        .with_servers(4)
        .at(3000.0, action)
        .modify(|world| {
            world.duration = 6000.0;
            world.rules.check_interval = 4.0;
        })
}

fn disturbances(world: &World) -> Vec<f64> {
    world
        .journal()
        .event_times(|event| matches!(event, Event::ClockDisturbed { .. }))
}

#[test]
fn a_foreign_step_is_noticed_survived_and_corrected() {
    for by in [10.0, -3.0, 0.05] {
        for seed in 0..3 {
            let mut world = World::new(&after(Action::ForeignStep(by)), seed);
            world.run(2999.0).unwrap();
            assert!(world.error().abs() < 5e-4);
            world.run(3040.0).unwrap();
            let noticed = disturbances(&world);
            assert!(
                noticed.len() == 1 && (3000.0..3017.0).contains(&noticed[0]),
                "{by} s: {noticed:?}"
            );
            assert!(
                world.error().abs() < 1e-3,
                "{by} s, seed {seed}: {}",
                world.error()
            );
            world.run(6000.0).unwrap();
            assert!(
                world.error().abs() < 5e-4,
                "{by} s, seed {seed}: {}",
                world.error()
            );
        }
    }
}

/// A source that answered again only minutes later was shown with the seconds of the clock before
/// the step.
#[test]
fn offsets_measured_before_a_step_are_reported_relative_to_the_clock_after_it() {
    for by in [10.0, -3.0] {
        let mut world = World::new(&after(Action::ForeignStep(by)), 1);
        let mut checks = 0;
        world.run(2999.0).unwrap();
        for tick in 1..=400 {
            world.run(2999.0 + f64::from(tick) / 10.0).unwrap();
            let noticed = !disturbances(&world).is_empty();
            if !noticed || world.error().abs() > 1e-3 {
                continue;
            }
            checks += 1;
            for source in world.status().sources {
                let offset = source.measurement.unwrap().offset.as_seconds_f64();
                assert!(offset.abs() < 2e-3, "{by} s: {} {offset}", source.name);
            }
        }
        assert!(checks > 50, "{checks}");
    }
}

#[test]
fn an_undetectably_small_foreign_step_is_corrected() {
    let scenario = after(Action::ForeignStep(0.006)).modify(|world| world.rules.bound = false);
    let mut world = World::new(&scenario, 1);
    world.run(3001.0).unwrap();
    assert!(world.error() > 5e-3);
    world.run(6000.0).unwrap();
    assert!(world.error().abs() < 5e-4, "{}", world.error());
}

#[test]
fn a_suspend_is_noticed_survived_and_corrected() {
    for error in [0.0, 0.4, -2.0] {
        let mut world = World::new(
            &after(Action::Suspend {
                seconds: 1000.0,
                error,
            }),
            1,
        );
        world.run(4030.0).unwrap();
        assert_eq!(
            world
                .journal()
                .event_times(|event| matches!(event, Event::Resumed { .. }))
                .len(),
            1
        );
        assert!(world.error().abs() < 2e-3, "{error} s: {}", world.error());
        world.run(6000.0).unwrap();
        assert!(world.error().abs() < 5e-4, "{error} s: {}", world.error());
    }
}

#[test]
fn a_hidden_pause_of_a_virtual_machine_is_corrected() {
    let scenario = after(Action::Pause(30.0)).modify(|world| {
        // Both clocks stood still: nothing shows before the next replies, and no bound can cover
        // it.
        world.rules.bound = false;
        world.rules.no_steps = false;
    });
    for seed in 0..3 {
        let report = run(&scenario, seed).unwrap();
        assert!(
            report.settled_below[1] < 5000.0,
            "seed {seed}: {:?}",
            report.settled_below
        );
    }
}

/// The figures of a migration: not synchronised within 100 ms, right again within 5 s.
#[test]
fn a_noticed_migration_drops_the_history_and_the_clock_is_right_within_seconds() {
    for (seed, pause, frequency) in [(1, 0.8, 30e-6), (2, 30.0, -20e-6), (3, 0.02, 5e-6)] {
        let migration = Action::Migration {
            pause,
            frequency,
            noticed_after: 0.05,
        };
        let mut world = World::new(&after(migration), seed);
        // It is noticed at the next wake-up, 50 ms after the migration at the latest, and replies
        // may make the clock right before that.
        let mut until = 2999.999;
        world.run(until).unwrap();
        assert!(world.status().system.synchronized);
        while world.status().system.synchronized && until < 3000.06 {
            until += 1e-3;
            world.run(until).unwrap();
        }
        let status = world.status();
        assert!(!status.system.synchronized);
        assert!(
            status
                .sources
                .iter()
                .all(|source| source.measurement.is_none())
        );
        assert!(world.figures().is_none());
        world.run(3005.0).unwrap();
        assert!(world.status().system.synchronized, "{pause} s");
        assert!(world.error().abs() < 5e-3, "{pause} s: {}", world.error());
        world.run(6000.0).unwrap();
        assert!(world.error().abs() < 5e-4, "{pause} s: {}", world.error());
        let noticed = |event: &Event| matches!(event, Event::MachineDisrupted { .. });
        assert_eq!(world.journal().event_times(noticed).len(), 1);
    }
}

/// A machine that is continued from a snapshot soon after it booted, or migrated twice: the sources
/// may not begin another burst, and their next poll is up to 12 s off.
#[test]
fn a_migration_within_a_minute_of_a_burst_is_corrected_within_seconds() {
    let migration = Action::Migration {
        pause: 0.8,
        frequency: 5e-6,
        noticed_after: 0.05,
    };
    for second in 0..12 {
        let at = 3025.0 + f64::from(second);
        let scenario = after(migration.clone()).at(at, migration.clone());
        let mut world = World::new(&scenario, 1);
        world.run(at + 0.1).unwrap();
        assert!(!world.status().system.synchronized, "at {at} s");
        world.run(at + 5.0).unwrap();
        assert!(world.status().system.synchronized, "at {at} s");
        assert!(world.error().abs() < 5e-3, "{} at {at} s", world.error());
    }
}

#[test]
fn a_frequency_jump_of_20_ppm_is_followed() {
    // Beyond the drift allowance, so the bound may fail for a poll interval.
    let scenario = after(Action::FrequencyJump(20e-6)).modify(|world| world.rules.bound = false);
    for seed in 0..3 {
        let report = run(&scenario, seed).unwrap();
        assert!(
            report.settled_below[1] < 5500.0,
            "seed {seed}: {:?}",
            report.settled_below
        );
        assert!(
            (report.last.system.frequency.as_ppm() - 40.0).abs() < 1.0,
            "{}",
            report.last.system.frequency
        );
    }
}

#[test]
fn a_longer_route_is_distinguished_from_a_wrong_clock() {
    let mut scenario = Scenario::new("route change")
        .with_servers(1)
        .with_minimum_agreeing(1)
        .with_poll_limits(6, 6);
    let link = scenario.servers[0].link;
    scenario = scenario
        .at(30_000.0, Action::Route(0, link.longer(5e-3)))
        .modify(|world| {
            world.duration = 45_000.0;
            world.settled = 20_000.0;
            world.rules.check_interval = 8.0;
        });
    let report = run(&scenario, 1).unwrap();
    assert!(report.maximum < 5e-4, "{:e}", report.maximum);
}

#[test]
fn an_hour_without_network_causes_little_error() {
    let scenario = Scenario::new("outage")
        .with_servers(4)
        .at(
            20_000.0,
            Action::Network {
                v4: false,
                v6: false,
            },
        )
        .at(23_600.0, Action::Network { v4: true, v6: true })
        .modify(|world| {
            world.node.oscillator.wander = 1e-10;
            world.duration = 26_000.0;
            world.settled = 20_000.0;
            world.rules.check_interval = 4.0;
        });
    let report = run(&scenario, 1).unwrap();
    assert!(report.maximum < 1e-3, "{:e}", report.maximum);
    assert!(report.last.system.synchronized);
}

#[test]
fn after_days_without_a_source_the_clock_is_not_called_synchronised() {
    let scenario = Scenario::new("holdover")
        .with_servers(4)
        .at(
            10_000.0,
            Action::Network {
                v4: false,
                v6: false,
            },
        )
        .modify(|world| {
            world.node.oscillator.wander = 1e-11;
            world.duration = 300_000.0;
            world.rules.check_interval = 64.0;
        });
    let mut world = World::new(&scenario, 1);
    world.run(20_000.0).unwrap();
    assert!(world.status().system.synchronized);
    world.run(300_000.0).unwrap();
    assert!(!world.status().system.synchronized);
    assert_eq!(
        world
            .journal()
            .event_times(|event| matches!(event, Event::SynchronizationLost { .. }))
            .len(),
        1
    );
}

#[test]
fn a_clock_that_was_set_while_no_source_answers_is_not_called_synchronised() {
    let scenario = Scenario::new("set in the dark")
        .with_servers(4)
        .at(
            3000.0,
            Action::Network {
                v4: false,
                v6: false,
            },
        )
        .at(4000.0, Action::ForeignStep(20.0))
        .at(5000.0, Action::Network { v4: true, v6: true });
    let mut world = World::new(&scenario, 1);
    world.run(3999.0).unwrap();
    assert!(
        world.status().system.synchronized,
        "a quarter of an hour without a source is nothing"
    );
    world.run(4001.0).unwrap();
    assert!(!world.status().system.synchronized);
    assert_eq!(
        world.clock().status().map(|status| status.leap),
        Some(ntp_time::LeapIndicator::Unsynchronized)
    );
    world.run(6200.0).unwrap();
    assert!(
        world.status().system.synchronized && world.error().abs() < 1e-3,
        "{}",
        world.error()
    );
}

#[test]
fn an_asymmetric_route_change_is_not_attributed_to_the_clock() {
    let usual = Link::exponential(20e-3, 1e-4);
    let mut crossed = usual;
    crossed.inbound.length += 6e-3;
    let scenario = Scenario::new("crossed route")
        .with_servers(1)
        .with_minimum_agreeing(1)
        .modify(|world| world.servers[0].link = usual)
        .at(10_000.0, Action::Route(0, usual.longer(4e-3)))
        // 4 ms shorter outbound, 2 ms longer inbound: the delay changes by 2 ms, the offset by 3
        // ms.
        .at(30_000.0, Action::Route(0, crossed));
    for seed in 0..3 {
        let mut world = World::new(&scenario, seed);
        world.run(30_000.0).unwrap();
        assert!(world.error().abs() < 3e-4, "seed {seed}");
        world.run(40_000.0).unwrap();
        assert!(world.error().abs() < 1e-3, "seed {seed}: {}", world.error());
    }
}
