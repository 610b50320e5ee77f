//! Falsetickers within the intervals of the correct servers: the estimate may follow them, the
//! bound must cover it.

use ntp_sim::{Link, Scenario, Server, World};

/// Three servers 10 ms away, and a near one that is wrong by `error` seconds and claims to be good
/// to 100 us.
fn subtle(error: f64) -> Scenario {
    let near = Server {
        link: Link::exponential(1e-4, 1e-5),
        error,
        ..Server::new(Scenario::address(3))
    };
    Scenario::new("subtle falseticker")
        .with_servers(3)
        .modify(|world| {
            for server in &mut world.servers {
                server.link = Link::exponential(1e-2, 1e-4);
            }
        })
        .with_server(near)
}

#[test]
fn the_bound_covers_the_error_of_one_subtle_falseticker() {
    for server_error in [2e-3, -5e-3, 9e-3] {
        let mut world = World::new(&subtle(server_error), 1);
        for minute in 1..60 {
            // The checker ends the run if the true error leaves the bound.
            world.run(60.0 * f64::from(minute)).unwrap();
        }
        let (error, bound) = (world.error(), world.figures().unwrap().bound);
        assert!(
            error.abs() < 10.5e-3,
            "{server_error}: within the correct intervals"
        );
        assert!(
            bound.as_seconds_f64() < 0.03,
            "{server_error}: a bound of {bound} is of no use"
        );
    }
}

#[test]
fn served_root_distance_covers_the_bound() {
    let mut world = World::new(&subtle(5e-3), 1);
    world.run(3600.0).unwrap();
    let figures = world.figures().unwrap();
    let served = figures.root_delay.half() + figures.root_dispersion;
    assert!(served >= figures.bound);
    assert!(figures.root_dispersion >= figures.estimated_error);
    assert!(served.as_seconds_f64() < 0.03, "{served}");
}
