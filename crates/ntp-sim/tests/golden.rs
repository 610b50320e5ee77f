//! Golden results of the main worlds, rounded: they show what a change of the clock algorithm
//! improves or worsens.
//!
//! One run each, two significant digits, so the figures scatter by some percent around those of
//! `cargo xtask accuracy`. A change is not a failure by itself: check the whole table (`cargo xtask
//! accuracy --quick`) before accepting it (`INSTA_UPDATE=always cargo test -p ntp-sim --test golden`).

use std::fmt::Write;

use ntp_sim::reference::ReferenceWorld;
use ntp_sim::varied::VariedWorld;
use ntp_sim::{Scenario, World, run};

/// Returns a line for each world: RMS error and largest error in seconds, RMS frequency error.
fn table(worlds: impl IntoIterator<Item = Scenario>) -> String {
    let mut table = String::new();
    for world in worlds {
        let report = run(&world, 1).unwrap();
        assert_eq!(report.bound_coverage, 1.0, "{}", world.name);
        writeln!(
            table,
            "{:<28} rms {:.1e}  maximum {:.1e}  frequency {:.1e}",
            world.name, report.rms, report.maximum, report.frequency_rms
        )
        .unwrap();
    }
    table
}

#[test]
fn grid_results_are_unchanged() {
    let cells = [
        (1e-6, 1e-10),
        (1e-6, 1e-7),
        (1e-5, 1e-8),
        (1e-4, 1e-9),
        (1e-3, 1e-10),
        (1e-2, 1e-8),
    ];
    insta::assert_snapshot!(table(
        cells.map(|(queue, wander)| Scenario::reference(queue, wander))
    ));
}

#[test]
fn reference_world_results_are_unchanged() {
    use ReferenceWorld::{Flips, FourBiased, HeavyTail, LongerRoute, Loss, OneWay};

    // Half of the usual length is enough to notice a change.
    let worlds = [OneWay, Loss, Flips, HeavyTail, LongerRoute, FourBiased].map(|other| {
        other.scenario().modify(|world| {
            world.duration = world.duration.min(60_000.0);
        })
    });
    insta::assert_snapshot!(table(worlds));
}

#[test]
fn varied_world_results_are_unchanged() {
    use VariedWorld::{ComeAndGo, HourlySine, Pareto, Routes, WiFi};

    insta::assert_snapshot!(table(
        [Pareto, WiFi, HourlySine, Routes, ComeAndGo].map(VariedWorld::scenario)
    ));
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
