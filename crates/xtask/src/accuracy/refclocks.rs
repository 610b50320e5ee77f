//! The table of reference clocks.
//!
//! chrony's column is empty: its drivers read devices of a machine in real time, so it was not
//! measured in these worlds. The figures stand beside the error of the optimal filter instead.

use ntp_sim::clock_worlds::{ClockWorld, STATED_ERROR};
use ntp_sim::{Action, Scenario, Violation, World};

use super::measure::{Figure, Runs, all, quantile};
use super::table::{Cell, Table};
use super::tables::{CLAIMS_HEAD, claims, measured};

/// What follows a migration of the machine.
struct Migration {
    /// Seconds from the change of the marker until the clock is unsynchronised.
    unsynchronized: f64,
    /// Seconds until it is synchronised again and right within 5 ms.
    right: f64,
}

/// Measures the worlds.
pub(super) fn table(seeds: u64) -> Result<Table, Violation> {
    let worlds = ClockWorld::ALL.map(ClockWorld::scenario);
    let runs = all(&worlds, seeds)?;
    let migrations = crate::parallel::map(usize::try_from(seeds).unwrap_or(1), |seed| {
        migration(seed as u64)
    });
    let migrations: Vec<Migration> = migrations.into_iter().collect::<Result<_, _>>()?;
    let worst = |of: fn(&Migration) -> f64| quantile_of(&migrations, of);
    let mut head = vec![
        "world",
        "RMS",
        "limit",
        "/limit",
        "maximum",
        "bound/stated",
        "freq",
    ];
    head.extend(CLAIMS_HEAD);
    Ok(Table {
        name: "refclocks",
        title: format!("Reference clocks, a sample each second, {seeds} runs each"),
        head,
        rows: ClockWorld::ALL
            .into_iter()
            .zip(&runs)
            .map(|(world, runs)| row(world, runs))
            .collect(),
        summary: vec![
            (
                "unsynchronised after a migration, maximum, s".to_owned(),
                worst(|migration| migration.unsynchronized),
            ),
            (
                "right again after a migration, maximum, s".to_owned(),
                worst(|migration| migration.right),
            ),
        ],
    })
}

fn row(world: ClockWorld, runs: &Runs) -> Vec<Cell> {
    let rms: Figure = runs.rms();
    let mut row = vec![
        Cell::Text(world.name().to_owned()),
        measured(rms),
        Cell::Small(world.limit()),
        Cell::Ratio(rms.value / world.limit()),
        measured(runs.maximum()),
        Cell::Ratio(runs.mean(|run| run.median_bound) / STATED_ERROR),
        measured(runs.frequency()),
    ];
    row.extend(claims(runs));
    row
}

fn quantile_of(migrations: &[Migration], of: fn(&Migration) -> f64) -> f64 {
    let values: Vec<f64> = migrations.iter().map(of).collect();
    quantile(&values, 1.0)
}

/// A machine with three servers is moved to a host whose crystal differs by 30 ppm, and stands still
/// for 0.8 s. The page is compared every 50 ms.
fn migration(seed: u64) -> Result<Migration, Violation> {
    /// Time of the migration, seconds.
    const AT: f64 = 3000.0;
    const PAUSE: f64 = 0.8;
    /// Time that is looked at, seconds.
    const LIMIT: f64 = 60.0;
    const STEP: f64 = 0.01;
    /// Error of a clock that is right, seconds.
    const RIGHT: f64 = 5e-3;
    let scenario = Scenario::new("migration").with_servers(3).at(
        AT,
        Action::Migration {
            pause: PAUSE,
            frequency: 30e-6,
            noticed_after: 0.05,
        },
    );
    let mut world = World::new(&scenario, seed);
    world.run(AT)?;
    // It is right for good after the last moment at which it is not.
    let (mut unsynchronized, mut right) = (f64::INFINITY, 0.0);
    while world.now() < AT + LIMIT {
        world.run(world.now() + STEP)?;
        let (after, is_synchronized) = (world.now() - AT, world.status().system.synchronized);
        if !is_synchronized {
            unsynchronized = after.min(unsynchronized);
        }
        if !is_synchronized || world.error().abs() > RIGHT {
            right = after;
        }
    }
    Ok(Migration {
        unsynchronized,
        right,
    })
}
