//! Start-up: fast, with few packets, and from any initial clock.

use ntp_proto::discipline::FrequencyPrior;
use ntp_proto::engine::{Event, PersistedState};
use ntp_sim::{Calendar, Scenario, World, run};
use ntp_time::{Frequency, LeapIndicator, NtpDuration};

fn synchronized(world: &World) -> Option<f64> {
    world
        .journal()
        .event_times(|event| matches!(event, Event::Synchronized { .. }))
        .first()
        .copied()
}

#[test]
fn four_servers_synchronise_in_seconds() {
    let scenario = Scenario::new("four servers")
        .with_servers(4)
        .with_clock_offset(0.3);
    for seed in 0..5 {
        let mut world = World::new(&scenario, seed);
        world.run(3.0).unwrap();
        assert!(
            synchronized(&world).is_some_and(|at| at < 1.0),
            "seed {seed}"
        );
        assert!(world.error().abs() < 5e-3, "seed {seed}: {}", world.error());
        world.run(60.0).unwrap();
        assert!(world.error().abs() < 1e-3, "seed {seed}: {}", world.error());
        let status = world.status();
        assert_eq!(status.system.stratum.get(), 2);
        assert_eq!(status.system.leap, LeapIndicator::None);
        assert!(status.sources.iter().all(|source| source.reach != 0));
    }
}

#[test]
fn the_initial_burst_is_short() {
    let scenario = Scenario::new("burst").with_servers(4);
    let mut world = World::new(&scenario, 1);
    world.run(16.0).unwrap();
    for server in 0..4 {
        assert!(
            world.requests_to(server) <= 8,
            "{}",
            world.requests_to(server)
        );
    }
    world.run(300.0).unwrap();
    for server in 0..4 {
        assert!(
            (12..=20).contains(&world.requests_to(server)),
            "{}",
            world.requests_to(server)
        );
    }
    // Good clocks on good paths need few packets in the long run.
    world.run(40_000.0).unwrap();
    assert!(world.requests_to(0) < 700, "{}", world.requests_to(0));
}

#[test]
fn a_single_source_suffices_if_configured() {
    let scenario = Scenario::new("lone source")
        .with_servers(1)
        .with_minimum_agreeing(1)
        .with_clock_offset(-2.0);
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    assert!(world.error().abs() < 1e-3, "{}", world.error());

    let mut world = World::new(&scenario.with_minimum_agreeing(3), 1);
    world.run(600.0).unwrap();
    assert!(world.journal().adjustments == 0 && world.error() < -1.9);
    assert!(!world.status().system.synchronized);
}

#[test]
fn a_clock_that_starts_in_1970_is_stepped_once_and_ends_accurate() {
    let scenario = Scenario::new("no battery").with_servers(4).modify(|world| {
        world.node.clock_error = ntp_time::SystemTime::from_nanos(0) - world.start;
    });
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    let far: Vec<_> = world
        .journal()
        .steps
        .iter()
        .filter(|(_, by)| by.abs().as_seconds_f64() > 1.0)
        .collect();
    assert_eq!(far.len(), 1, "{:?}", world.journal().steps);
    assert!(world.error().abs() < 1e-4, "{}", world.error());
}

#[test]
fn the_saved_frequency_speeds_up_the_next_start() {
    let scenario = Scenario::new("first start")
        .with_servers(4)
        .modify(|world| {
            world.node.oscillator.offset = 80e-6;
            world.node.oscillator.wander = 1e-10;
        });
    let mut first = World::new(&scenario, 1);
    first.run(20_000.0).unwrap();
    let prior = first
        .journal()
        .persisted
        .and_then(|(_, kept)| kept.frequency)
        .expect("the frequency is handed out hourly");
    assert!(
        (prior.frequency.as_ratio() - 80e-6).abs() < 1e-7,
        "{prior:?}"
    );

    let error_in_the_first_minute = |prior: Option<FrequencyPrior>| {
        let scenario = scenario.clone().modify(|world| {
            world.engine.frequency_prior = prior;
            world.duration = 60.0;
            world.settled = 1.0;
        });
        (0..8)
            .map(|seed| run(&scenario, seed).unwrap().rms.powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let (with, without) = (
        error_in_the_first_minute(Some(prior)),
        error_in_the_first_minute(None),
    );
    assert!(with < 0.7 * without, "{with:e} against {without:e}");
}

#[test]
fn the_time_is_saved_once_it_was_held_for_an_hour() {
    let scenario = Scenario::new("what is kept").with_servers(4);
    let calendar = Calendar::new(scenario.start, &[]);
    let mut world = World::new(&scenario, 1);
    let mut kept = Vec::new();
    for minute in 1..=200 {
        world.run(f64::from(minute) * 60.0).unwrap();
        kept.extend(world.journal().persisted);
    }
    kept.dedup();
    // When the frequency is known, and hourly.
    assert!((3..=6).contains(&kept.len()), "{kept:?}");
    let saved = |(at, kept): &(_, PersistedState)| Some((*at, kept.time_floor?));
    let floors: Vec<_> = kept.iter().filter_map(saved).collect();
    assert!(floors.len() >= 2 && floors.len() < kept.len(), "{kept:?}");
    for (at, past) in floors {
        assert!(at.as_seconds() > 3600.0, "{at:?}");
        let late = calendar.utc(at) - past;
        assert!(late > NtpDuration::ZERO, "{at:?}: {late}");
        assert!(late < NtpDuration::from_seconds(1), "{at:?}: {late}");
    }
}

#[test]
fn a_wrong_frequency_file_is_corrected() {
    let scenario = Scenario::new("wrong frequency file")
        .with_servers(4)
        .modify(|world| {
            world.engine.frequency_prior = Some(FrequencyPrior {
                frequency: Frequency::from_ppm(-200.0),
                uncertainty: Frequency::from_ppm(0.01),
            });
            // The initial frequency is wrong, so no bound can hold at first.
            world.rules.bound = false;
        });
    let mut world = World::new(&scenario, 1);
    world.run(2000.0).unwrap();
    assert!(world.error().abs() < 1e-3, "{}", world.error());
}

#[test]
fn a_kernel_frequency_left_by_an_earlier_run_is_taken_into_account() {
    let scenario = Scenario::new("inherited correction")
        .with_servers(4)
        .modify(|world| {
            world.engine.clock.frequency = Frequency::from_ppm(-120.0);
        });
    let mut world = World::new(&scenario, 1);
    world.run(3600.0).unwrap();
    assert!(
        (world.status().system.frequency.as_ppm() - 20.0).abs() < 0.5,
        "{}",
        world.status().system.frequency
    );
    assert!(world.error().abs() < 5e-4);
}
