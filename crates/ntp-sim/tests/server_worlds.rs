//! Servers that wander, and minorities that lie within the intervals of the honest ones.

use ntp_sim::server_worlds::ServerWorld;
use ntp_sim::{Report, run};

fn measure(world: ServerWorld, duration: f64, seed: u64) -> Report {
    let scenario = world.scenario().modify(|world| world.duration = duration);
    run(&scenario, seed).unwrap()
}

/// Worlds in which a minority lies.
const LIES: [ServerWorld; 9] = [
    ServerWorld::DriftOneOfFour,
    ServerWorld::DriftOneOfThree,
    ServerWorld::SawtoothTwoOfFive,
    ServerWorld::SawtoothTwoOfFiveApart,
    ServerWorld::SlowSawtooth,
    ServerWorld::FastSawtooth,
    ServerWorld::SawtoothOneOfFour,
    ServerWorld::SawtoothOneOfThree,
    ServerWorld::StepTwoOfFive,
];

fn check_lies(duration: f64) {
    for world in LIES {
        let report = measure(world, duration, 3);
        assert!(report.maximum < 1e-3, "{}: {report:?}", world.name());
        assert!(
            report.estimate_coverage > 0.99,
            "{}: {report:?}",
            world.name()
        );
        assert_eq!(report.bound_coverage, 1.0, "{}", world.name());
    }
}

#[test]
fn a_lying_minority_does_not_move_the_clock_by_a_millisecond() {
    check_lies(40_000.0);
}

#[test]
#[ignore = "fifteen seconds"]
fn nor_in_two_days() {
    check_lies(200_000.0);
}

#[test]
fn wandering_servers_are_averaged_and_not_followed() {
    let report = measure(ServerWorld::Wandering, 80_000.0, 2);
    assert!(report.rms < 4e-5, "{report:?}");
    assert!(report.maximum < 2e-4, "{report:?}");
}

#[test]
fn two_servers_apart_are_met_in_the_middle() {
    let report = measure(ServerWorld::TwoApart, 60_000.0, 2);
    assert!(report.rms < 2e-5, "{report:?}");
}
