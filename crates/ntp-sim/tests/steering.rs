//! Steering of the clock: steps, slews, shutdown.

use ntp_proto::discipline::PanicThreshold;
use ntp_proto::engine::Event;
use ntp_sim::{Action, ClockLimits, Scenario, World, run};
use ntp_time::NtpDuration;

#[test]
fn step_threshold_decides_between_step_and_slew() {
    // A hidden pause of the machine, which only the sources reveal.
    let with = |threshold: f64, pause: f64| {
        let scenario = Scenario::new("step threshold")
            .with_servers(4)
            .at(3000.0, Action::Pause(pause))
            .modify(|world| {
                world.engine.steering.step_threshold =
                    Some(NtpDuration::from_seconds_f64(threshold));
                world.engine.steering.single_panic = PanicThreshold::default();
                world.rules.bound = false;
            });
        let mut world = World::new(&scenario, 1);
        world.run(8000.0).unwrap();
        let steps = world
            .journal()
            .steps
            .iter()
            .filter(|(at, _)| at.as_seconds() > 3000.0)
            .count();
        (steps, world.error())
    };
    let (steps, error) = with(0.05, 0.5);
    assert!(steps >= 1 && error.abs() < 1e-3, "{steps} steps, {error}");
    let (steps, error) = with(1.0, 0.5);
    assert!(steps == 0 && error.abs() < 1e-3, "{steps} steps, {error}");
}

#[test]
fn shutdown_ends_a_slew_and_saves_the_state() {
    let scenario = Scenario::new("shutdown")
        .with_servers(4)
        .at(3000.0, Action::Pause(0.09))
        .modify(|world| {
            world.rules.bound = false;
        });
    let mut world = World::new(&scenario, 1);
    // Wait for the slew that corrects the pause.
    let mut time = 3000.0;
    while world.clock().correction().as_ppm() < 300.0 {
        time += 1.0;
        world.run(time).unwrap();
        assert!(time < 6000.0, "no slew");
    }
    let mut world = World::new(&scenario.at(time, Action::ShutDown), 1);
    world.run(time + 100.0).unwrap();
    let left = world.clock().correction().as_ppm();
    assert!((left + 20.0).abs() < 3.0, "left at {left} ppm");
    assert!(world.journal().persisted.is_some());
    let requests = world.journal().requests;
    world.run(time + 1000.0).unwrap();
    assert_eq!(world.journal().requests, requests);
}

#[test]
fn an_unsteerable_clock_is_only_monitored() {
    let scenario = Scenario::new("watch only")
        .with_servers(4)
        .with_clock_offset(0.7)
        .modify(|world| {
            world.engine.clock.steerable = false;
            world.node.oscillator.wander = 0.0;
        });
    let mut world = World::new(&scenario, 1);
    world.run(2000.0).unwrap();
    assert_eq!(world.journal().adjustments, 0);
    let status = world.status();
    assert!((world.error() - 0.74).abs() < 0.01);
    let offset = status.system.offset.unwrap();
    assert!(
        (offset.as_seconds_f64() + world.error()).abs() < 1e-3,
        "{offset}"
    );
    assert!((status.system.frequency.as_ppm() - 20.0).abs() < 0.5);
}

#[test]
fn steering_works_with_every_kernel_frequency_limit() {
    for limits in [
        ClockLimits::Ideal,
        ClockLimits::Kernel,
        ClockLimits::KernelWithoutTick,
    ] {
        let scenario = Scenario::new("kernel limits")
            .with_servers(4)
            .with_clock_offset(-0.2)
            .modify(|world| {
                world.node.clock = limits;
                world.node.oscillator.offset = -350e-6;
                world.engine.discipline.initial_frequency_uncertainty =
                    ntp_time::Frequency::from_ppm(300.0);
                world.duration = 6000.0;
                world.settled = 3000.0;
                world.rules.check_interval = 2.0;
            });
        let report = run(&scenario, 1).unwrap();
        assert!(report.maximum < 3e-4, "{limits:?}: {:e}", report.maximum);
    }
}

#[test]
fn the_clock_is_not_stepped_in_steady_state() {
    let scenario = Scenario::new("quiet")
        .with_servers(4)
        .modify(|world| world.rules.check_interval = 16.0);
    let mut world = World::new(&scenario, 1);
    world.run(86_400.0).unwrap();
    let late = world.journal().event_times(|event| {
        matches!(
            event,
            Event::ClockStepped { .. } | Event::ClockDisturbed { .. }
        )
    });
    assert!(late.iter().all(|at| *at < 10.0), "{late:?}");
}

#[test]
fn an_accuracy_target_saves_packets_and_is_kept() {
    let measure = |target: Option<NtpDuration>| {
        let scenario = Scenario::new("accuracy target")
            .with_servers(4)
            .with_poll_limits(4, 10)
            .modify(|world| {
                world.duration = 86_400.0;
                world.settled = 3600.0;
                world.engine.discipline.accuracy_target = target;
            });
        run(&scenario, 1).unwrap()
    };
    let (free, targeted) = (measure(None), measure(Some(NtpDuration::from_millis(1))));
    assert!(
        2 * targeted.requests < free.requests,
        "{} {}",
        targeted.requests,
        free.requests
    );
    assert!(targeted.maximum < 1e-3, "{targeted:?}");
}
