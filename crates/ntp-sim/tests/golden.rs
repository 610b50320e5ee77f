//! Golden results of the main worlds, rounded: they show what a change of the clock algorithm
//! improves or worsens.
//!
//! One run each, two significant digits, so the figures scatter by some percent around those of
//! `cargo xtask accuracy`. A change is not a failure by itself: check the whole table (`cargo xtask
//! accuracy --quick`) before updating a figure.

use ntp_sim::reference::ReferenceWorld;
use ntp_sim::varied::VariedWorld;
use ntp_sim::{Report, Scenario, World, run};

/// RMS error, largest error and RMS frequency error.
fn figures(report: &Report) -> [String; 3] {
    [report.rms, report.maximum, report.frequency_rms].map(|value| format!("{value:.1e}"))
}

fn check(worlds: impl Iterator<Item = (Scenario, [&'static str; 3])>) {
    let results: Vec<_> = worlds
        .map(|(world, expected)| {
            let report = run(&world, 1).unwrap();
            assert_eq!(report.bound_coverage, 1.0, "{}", world.name);
            (world.name, figures(&report), expected)
        })
        .collect();
    let differing: Vec<_> = results
        .iter()
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn grid_results_are_unchanged() {
    let cells = [
        (1e-6, 1e-10, ["2.8e-7", "1.1e-6", "1.3e-8"]),
        (1e-6, 1e-7, ["2.2e-5", "1.3e-4", "3.6e-6"]),
        (1e-5, 1e-8, ["7.0e-6", "3.7e-5", "5.0e-7"]),
        (1e-4, 1e-9, ["1.1e-5", "3.7e-5", "1.4e-7"]),
        (1e-3, 1e-10, ["2.6e-5", "7.3e-5", "9.8e-8"]),
        (1e-2, 1e-8, ["5.8e-4", "2.3e-3", "2.3e-6"]),
    ];
    check(
        cells
            .into_iter()
            .map(|(queue, wander, expected)| (Scenario::reference(queue, wander), expected)),
    );
}

#[test]
fn reference_world_results_are_unchanged() {
    let worlds = [
        (ReferenceWorld::OneWay, ["8.1e-6", "4.6e-5", "1.4e-7"]),
        (ReferenceWorld::Loss, ["1.7e-5", "5.3e-5", "1.6e-7"]),
        (ReferenceWorld::Flips, ["1.5e-5", "1.7e-4", "5.4e-7"]),
        (ReferenceWorld::HeavyTail, ["5.0e-6", "2.9e-5", "1.4e-7"]),
        (ReferenceWorld::LongerRoute, ["1.2e-5", "4.9e-5", "2.0e-7"]),
        (ReferenceWorld::FourBiased, ["2.5e-5", "8.0e-5", "3.8e-7"]),
    ];
    // Half of the usual length is enough to notice a change.
    check(worlds.into_iter().map(|(other, expected)| {
        let world = other.scenario().modify(|world| {
            world.duration = world.duration.min(60_000.0);
        });
        (world, expected)
    }));
}

#[test]
fn varied_world_results_are_unchanged() {
    let worlds = [
        (VariedWorld::Pareto, ["5.1e-5", "3.4e-4", "2.4e-7"]),
        (VariedWorld::WiFi, ["1.3e-4", "6.5e-4", "1.3e-6"]),
        (VariedWorld::HourlySine, ["2.9e-5", "1.4e-4", "8.1e-7"]),
        (VariedWorld::Routes, ["6.0e-5", "2.3e-4", "8.6e-7"]),
        (VariedWorld::ComeAndGo, ["8.0e-5", "2.6e-4", "5.1e-7"]),
    ];
    check(
        worlds
            .into_iter()
            .map(|(varied, expected)| (varied.scenario(), expected)),
    );
}

#[test]
fn a_cold_start_settles_in_seconds() {
    let settled = |queue, offset| {
        let scenario = Scenario::cold_start(queue, offset, 100e-6, None);
        let mut world = World::new(&scenario, 1);
        world.run(400.0).unwrap();
        world.report().settled_below
    };
    assert_eq!(settled(1e-4, 0.1)[..2], [0.0, 0.0]);
    assert_eq!(settled(1e-4, 10.0)[..2], [0.0, 0.0]);
    let [ten, one, _] = settled(1e-3, 0.1);
    assert!(ten < 2.0 && one < 150.0, "{ten} {one}");
}
