//! Plots of single runs.

use std::path::Path;

use ntp_sim::reference::ReferenceWorld;
use ntp_sim::{Link, Scenario, Server, World};

use super::plot::{Plot, Point};

/// A run to plot.
struct Example {
    file: &'static str,
    title: &'static str,
    world: Scenario,
    /// Start, end and spacing of the points, seconds.
    from: f64,
    until: f64,
    every: f64,
}

fn examples() -> Vec<Example> {
    vec![
        Example {
            file: "start.svg",
            title: "Cold start: offset 100 ms and 100 ppm, queueing delay 1 ms",
            world: Scenario::cold_start(1e-3, 0.1, 100e-6, None),
            from: 2.0,
            until: 600.0,
            every: 1.0,
        },
        Example {
            file: "quiet.svg",
            title: "A quiet day: queueing delay 100 us, wander 1e-9, a packet every 64 s",
            world: Scenario::reference(1e-4, 1e-9),
            from: 10_000.0,
            until: 40_000.0,
            every: 30.0,
        },
        Example {
            file: "flip.svg",
            title: "The oscillator's frequency jumps by 1 ppm at 40 000 s",
            world: ReferenceWorld::Flips.scenario(),
            from: 38_000.0,
            until: 44_000.0,
            every: 8.0,
        },
        Example {
            file: "liar.svg",
            title: "Three servers 10 ms away, and a near falseticker that is 3 ms wrong",
            world: subtle_falseticker(),
            from: 2.0,
            until: 3600.0,
            every: 4.0,
        },
    ]
}

/// A falseticker whose small interval is within those of the truechimers.
fn subtle_falseticker() -> Scenario {
    let near = Server {
        link: Link::exponential(1e-4, 1e-5),
        error: 3e-3,
        ..Server::new(Scenario::address(3))
    };
    let far = Link::exponential(1e-2, 1e-4);
    Scenario::new("subtle falseticker")
        .with_servers(3)
        .modify(|world| {
            for server in &mut world.servers {
                server.link = far;
            }
        })
        .with_server(near)
}

/// Plots all examples into `directory`.
pub(crate) fn draw(directory: &Path) -> Result<(), String> {
    std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    for example in examples() {
        let plot = Plot {
            title: example.title.to_owned(),
            points: points(&example)?,
            unit: 1e-6,
        };
        let path = directory.join(example.file);
        std::fs::write(&path, plot.svg())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn points(example: &Example) -> Result<Vec<Point>, String> {
    let mut world = World::new(&example.world, 1);
    let mut points = Vec::new();
    let mut at = example.from;
    while at <= example.until {
        world.run(at).map_err(|violation| violation.to_string())?;
        if let Some(figures) = world.figures() {
            points.push(Point {
                at,
                error: world.error(),
                estimated_error: figures.estimated_error.as_seconds_f64(),
                bound: figures.bound.as_seconds_f64(),
            });
        }
        at += example.every;
    }
    Ok(points)
}
