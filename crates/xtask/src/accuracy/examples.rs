//! Single runs worth looking at, drawn.

use std::path::Path;

use ntp_sim::anchors::Other;
use ntp_sim::{Link, Scenario, Server, World};

use super::plot::{Plot, Point};

/// Something to see.
struct Scene {
    file: &'static str,
    title: &'static str,
    world: Scenario,
    /// From and until, and how far apart the points are, seconds.
    from: f64,
    until: f64,
    every: f64,
}

fn scenes() -> Vec<Scene> {
    vec![
        Scene {
            file: "start.svg",
            title: "Cold start: 100 ms and 100 ppm off, queues of 1 ms",
            world: Scenario::cold_start(1e-3, 0.1, 100e-6, None),
            from: 2.0,
            until: 600.0,
            every: 1.0,
        },
        Scene {
            file: "quiet.svg",
            title: "A quiet day: queues of 100 us, wander 1e-9, a packet every 64 s",
            world: Scenario::anchor(1e-4, 1e-9),
            from: 10_000.0,
            until: 40_000.0,
            every: 30.0,
        },
        Scene {
            file: "flip.svg",
            title: "The oscillator's frequency jumps by 1 ppm at 40 000 s",
            world: Other::Flips.scenario(),
            from: 38_000.0,
            until: 44_000.0,
            every: 8.0,
        },
        Scene {
            file: "liar.svg",
            title: "Three servers 10 ms away, and a near one that is 3 ms wrong",
            world: subtle_liar(),
            from: 2.0,
            until: 3600.0,
            every: 4.0,
        },
    ]
}

/// A liar whose small interval lies within those of the honest.
fn subtle_liar() -> Scenario {
    let near = Server {
        link: Link::exponential(1e-4, 1e-5),
        error: 3e-3,
        ..Server::new(Scenario::address(3))
    };
    let far = Link::exponential(1e-2, 1e-4);
    Scenario::new("subtle liar")
        .with_servers(3)
        .but(|world| {
            for server in &mut world.servers {
                server.link = far;
            }
        })
        .with_server(near)
}

/// Draws all scenes into `directory`.
pub(crate) fn draw(directory: &Path) -> Result<(), String> {
    std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    for scene in scenes() {
        let plot = Plot {
            title: scene.title.to_owned(),
            points: points(&scene)?,
            unit: 1e-6,
        };
        let path = directory.join(scene.file);
        std::fs::write(&path, plot.svg())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn points(scene: &Scene) -> Result<Vec<Point>, String> {
    let mut world = World::new(&scene.world, 1);
    let mut points = Vec::new();
    let mut at = scene.from;
    while at <= scene.until {
        world.run(at).map_err(|violation| violation.to_string())?;
        if let Some(figures) = world.figures() {
            points.push(Point {
                at,
                error: world.error(),
                estimated_error: figures.estimated_error.as_seconds_f64(),
                bound: figures.bound.as_seconds_f64(),
            });
        }
        at += scene.every;
    }
    Ok(points)
}
