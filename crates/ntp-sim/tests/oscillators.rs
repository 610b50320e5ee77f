//! Oscillators that are far from their nominal frequency.

use ntp_proto::discipline::FrequencyPrior;
use ntp_proto::engine::Event;
use ntp_sim::{Link, Scenario, World};
use ntp_time::Frequency;

/// Servers at the end of a path of `delay` seconds, and an oscillator that is wrong by `ppm`.
fn scenario(ppm: f64, servers: usize, delay: f64) -> Scenario {
    Scenario::new("far from the nominal frequency")
        .with_servers(servers)
        .with_minimum_agreeing(servers.div_ceil(2))
        .modify(|world| {
            for server in &mut world.servers {
                server.link = Link::exponential(delay, 1e-4);
            }
            world.node.oscillator.offset = ppm * 1e-6;
            // Until the wrong prior of the frequency is refuted, the bound relies on it.
            world.rules.bound = false;
            world.rules.no_steps = false;
            world.rules.frequency = 0.2;
        })
}

fn count(world: &World, which: impl Fn(&Event) -> bool) -> usize {
    world.journal().event_times(which).len()
}

/// Runs on until `end` and checks that the bound contains the error in every second.
fn run_within_bound(world: &mut World, from: u32, end: u32, label: &str) {
    for second in from..end {
        world.run(f64::from(second)).unwrap();
        let bound = world.status().system.error_bound.unwrap().as_seconds_f64();
        let error = world.error();
        assert!(
            error.abs() < bound,
            "{label}: at {second} s the error is {error}, the bound {bound}"
        );
    }
}

#[test]
fn frequency_errors_up_to_ten_percent_are_learnt_at_the_start() {
    let errors = [2e3_f64, -2e3, 1e4, -1e4, 5e4, -5e4, 9.9e4, -9e4];
    // On a long path the rate shows only after some time, and only a large one.
    for (servers, delay, seconds) in [(1, 2e-3, 10), (4, 2e-3, 10), (4, 0.1, 120)] {
        for ppm in errors
            .into_iter()
            .filter(|ppm| delay < 0.01 || ppm.abs() > 5e3)
        {
            for seed in 0..3 {
                let label = format!("{ppm} ppm, {servers} servers, {delay} s, seed {seed}");
                let mut world = World::new(&scenario(ppm, servers, delay), seed);
                world.run(f64::from(seconds)).unwrap();
                assert!(world.error().abs() < 3e-3, "{label}: {}", world.error());
                run_within_bound(&mut world, seconds, 300, &label);
                world.run(900.0).unwrap();
                assert!(world.error().abs() < 1e-3, "{label}: {}", world.error());
                assert!(world.status().system.synchronized, "{label}");
                let steps = count(&world, |event| matches!(event, Event::ClockStepped { .. }));
                assert!(steps <= 6, "{label}: {steps} steps");
                let reported = |event: &Event| matches!(event, Event::FrequencyOutOfRange { .. });
                assert_eq!(count(&world, reported), 0, "{label}");
            }
        }
    }
}

#[test]
fn a_saved_frequency_error_of_some_percent_is_used_at_the_next_start() {
    let mut first = World::new(&scenario(5e4, 4, 2e-3), 1);
    first.run(4000.0).unwrap();
    let saved = first.journal().persisted.as_ref().unwrap().1.frequency;
    let scenario = scenario(5e4, 4, 2e-3).modify(|world| {
        world.engine.frequency_prior = saved;
        world.rules.bound = true;
    });
    let mut second = World::new(&scenario, 2);
    second.run(60.0).unwrap();
    let is_late = |(at, _): &&(ntp_sim::TrueTime, _)| at.as_seconds() > 0.5;
    assert_eq!(second.journal().steps.iter().filter(is_late).count(), 0);
    assert!(second.error().abs() < 1e-3, "{}", second.error());
}

#[test]
fn a_saved_frequency_of_another_machine_is_replaced() {
    let scenario = scenario(20.0, 4, 2e-3).modify(|world| {
        world.engine.frequency_prior = Some(FrequencyPrior {
            frequency: Frequency::from_ppm(-30_000.0),
            uncertainty: Frequency::from_ppm(0.01),
        });
    });
    let mut world = World::new(&scenario, 1);
    world.run(10.0).unwrap();
    run_within_bound(&mut world, 10, 300, "another machine");
    assert!(world.error().abs() < 1e-3, "{}", world.error());
    let frequency = world.status().system.frequency.as_ppm();
    assert!((frequency - 20.0).abs() < 1.0, "{frequency}");
}

#[test]
fn an_oscillator_beyond_the_range_of_the_clock_is_reported() {
    for ppm in [1.5e5, -1.5e5] {
        let mut world = World::new(&scenario(ppm, 4, 2e-3), 1);
        world.run(1200.0).unwrap();
        let reported = |event: &Event| matches!(event, Event::FrequencyOutOfRange { .. });
        assert_eq!(count(&world, reported), 1, "{ppm} ppm: once an hour");
        assert!(!world.status().system.synchronized, "{ppm} ppm");
    }
}
