//! Panic thresholds: corrections that the engine refuses, and how steering resumes.

use ntp_proto::discipline::{Panic, PanicThreshold};
use ntp_proto::engine::{Command, Event, Refusal};
use ntp_sim::{Action, Behaviour, Scenario, World};
use ntp_time::{LeapIndicator, NtpDuration, Stratum};

fn seconds(value: i64) -> Option<NtpDuration> {
    Some(NtpDuration::from_seconds(value))
}

/// Servers that are right until the script makes them wrong.
fn four(name: &str) -> Scenario {
    Scenario::new(name)
        .with_servers(4)
        .with_poll_limits(4, 6)
        .modify(|world| world.rules.bound = false)
}

/// From `at` on, all are wrong by `error` seconds.
fn wrong(mut scenario: Scenario, at: f64, error: f64) -> Scenario {
    for server in 0..4 {
        scenario = scenario.at(at, Action::ServerError(server, error));
    }
    scenario
}

fn step(forced: bool) -> Action {
    Action::Command(Command::Step { forced })
}

/// Key of the threshold that keeps the clock from being steered.
fn refused(world: &World) -> Option<String> {
    Some(world.status().system.refused_step?.threshold)
}

fn times_refused(world: &World) -> usize {
    let refused = |event: &Event| matches!(event, Event::StepRefused { exits: false, .. });
    world.journal().event_times(refused).len()
}

fn times_resumed(world: &World) -> Vec<f64> {
    let resumed = |event: &Event| matches!(event, Event::SteeringResumed { .. });
    world.journal().event_times(resumed)
}

#[test]
fn a_refused_step_stops_steering_and_nothing_else() {
    let scenario = wrong(four("far"), 3000.0, 5000.0)
        .modify(|world| world.engine.local_stratum = Stratum::new(5));
    let mut world = World::new(&scenario, 1);
    world.run(3290.0).unwrap();
    // A step that the sources may take back is not refused yet.
    assert_eq!(refused(&world), None);
    world.run(4000.0).unwrap();
    assert_eq!(refused(&world).as_deref(), Some(Panic::Single.key()));
    let (frequency, requests) = (world.clock().correction(), world.journal().requests);
    for hour in 1..=3 {
        world.run(4000.0 + 3600.0 * f64::from(hour)).unwrap();
        let claim = world.claim();
        assert_eq!(claim.leap, LeapIndicator::Unsynchronized);
        assert_eq!(claim.stratum, Stratum::UNSYNCHRONIZED);
        let system = world.status().system;
        assert!(!system.synchronized && system.majority);
        assert_eq!(system.stratum, Stratum::UNSYNCHRONIZED);
        assert_eq!(world.clock().correction(), frequency);
        assert!(world.journal().requests > requests + 100);
        assert_eq!(times_refused(&world), 1 + hour as usize, "one each hour");
    }
    // The oscillator's own drift, and nothing of the correction.
    assert!(world.error().abs() < 0.1, "{}", world.error());
    assert_eq!(world.journal().halt, None);
    assert!(times_resumed(&world).is_empty());
}

#[test]
fn an_operator_forces_a_refused_step() {
    let scenario = wrong(four("forced"), 3000.0, 5000.0)
        .at(4000.0, step(false))
        .at(4001.0, step(true));
    let mut world = World::new(&scenario, 1);
    world.run(4000.5).unwrap();
    let results = &world.journal().completed;
    assert!(matches!(results[..], [Err(Refusal::Panic(_))]));
    assert!(refused(&world).is_some() && world.error().abs() < 0.01);
    world.run(4100.0).unwrap();
    assert_eq!(refused(&world), None);
    assert!((world.error() - 5000.0).abs() < 0.01, "{}", world.error());
    assert!(world.status().system.synchronized);
    assert_eq!(times_resumed(&world).len(), 1);
}

#[test]
fn steering_resumes_when_the_sources_ask_for_a_permitted_correction() {
    let scenario = wrong(wrong(four("mistake"), 3000.0, 5000.0), 9000.0, 0.0);
    for seed in 0..3 {
        let mut world = World::new(&scenario, seed);
        world.run(8990.0).unwrap();
        assert!(refused(&world).is_some());
        let steps = world.journal().steps.len();
        world.run(12_000.0).unwrap();
        assert_eq!(refused(&world), None);
        assert_eq!(
            times_resumed(&world).len(),
            1,
            "{:?}",
            times_resumed(&world)
        );
        assert_eq!(world.journal().steps.len(), steps);
        assert!(world.error().abs() < 1e-3, "{}", world.error());
        assert!(world.status().system.synchronized);
    }
}

#[test]
fn a_backward_step_beyond_the_startup_threshold_is_refused() {
    let scenario = four("startup panic").with_clock_offset(100_000.0);
    let mut world = World::new(&scenario, 1);
    world.run(60.0).unwrap();
    assert_eq!(refused(&world).as_deref(), Some(Panic::Startup.key()));
    assert_eq!(world.journal().adjustments, 0);
    assert!((world.error() - 100_000.0).abs() < 0.01);
    // Forward there is no limit at the start.
    let mut world = World::new(&scenario.with_clock_offset(-100_000.0), 1);
    world.run(60.0).unwrap();
    assert!(refused(&world).is_none() && world.error().abs() < 1e-3);
}

#[test]
fn with_on_panic_exit_a_refused_step_halts() {
    let scenario = Scenario::new("exit")
        .with_servers(4)
        .modify(|world| world.engine.exit_on_panic = true)
        .at(3000.0, Action::ForeignStep(2000.0));
    let mut world = World::new(&scenario, 1);
    world.run(4000.0).unwrap();
    let halt = world.journal().halt.map(|step| step.which);
    assert_eq!(halt, Some(Panic::Single));
    let exits = |event: &Event| matches!(event, Event::StepRefused { exits: true, .. });
    assert_eq!(world.journal().event_times(exits).len(), 1);
    assert!((world.error() - 2000.0).abs() < 0.01, "{}", world.error());
    let mut steps = world.journal().steps.iter();
    assert!(steps.all(|(at, _)| at.as_seconds() < 60.0));
    let requests = world.journal().requests;
    world.run(6000.0).unwrap();
    assert_eq!(world.journal().requests, requests);
}

#[test]
fn small_steps_add_up_to_the_accumulated_threshold_until_one_is_forced() {
    let mut scenario = four("accumulated panic")
        .modify(|world| world.engine.steering.accumulated_panic = seconds(25))
        .at(5000.0, step(true));
    for time in [2000.0, 3000.0, 4000.0, 6000.0, 7000.0, 8000.0] {
        scenario = scenario.at(time, Action::ForeignStep(10.0));
    }
    let mut world = World::new(&scenario, 1);
    for (end, is_refused) in [
        (3900.0, false),
        (4900.0, true),
        (7900.0, false),
        (9000.0, true),
    ] {
        world.run(end).unwrap();
        let key = is_refused.then(|| Panic::Accumulated.key());
        assert_eq!(refused(&world).as_deref(), key, "at {end}");
        let expected = if is_refused { 10.0 } else { 0.0 };
        assert!((world.error() - expected).abs() < 0.01, "{}", world.error());
    }
    assert_eq!(
        world
            .status()
            .system
            .accumulated_steps
            .as_seconds_f64()
            .round(),
        50.0,
        "all steps are shown"
    );
}

#[test]
fn a_raised_threshold_permits_the_refused_step_at_once() {
    let scenario = wrong(four("reload"), 3000.0, 5000.0);
    let mut raised = scenario.engine.clone();
    raised.steering.single_panic = PanicThreshold::default();
    let scenario = scenario.at(4000.0, Action::Reconfigure(Box::new(raised)));
    let mut world = World::new(&scenario, 1);
    world.run(4000.1).unwrap();
    assert!((world.error() - 5000.0).abs() < 0.01, "{}", world.error());
    assert_eq!(times_resumed(&world).len(), 1);
}

#[test]
fn a_refused_clock_is_no_local_reference() {
    let mut scenario = wrong(four("local"), 3000.0, 5000.0).modify(|world| {
        world.engine.local = Some(ntp_proto::engine::LocalConfig {
            stratum: Stratum::new(10),
            reference_id: ntp_time::ReferenceId::XNON,
            distance: NtpDuration::from_seconds(1),
            activate_below: None,
            wait_synced: NtpDuration::from_seconds(60),
            wait_unsynced: NtpDuration::from_seconds(60),
            orphan: false,
        });
    });
    for server in 0..4 {
        scenario = scenario.at(4000.0, Action::Behaviour(server, Behaviour::Silent));
    }
    let mut world = World::new(&scenario, 1);
    world.run(40_000.0).unwrap();
    let system = world.status().system;
    assert!(!system.majority && refused(&world).is_some());
    assert_eq!(system.local_since, None);
    assert_eq!(world.claim().leap, LeapIndicator::Unsynchronized);
}
