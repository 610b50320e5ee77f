//! Interleaved mode: what it is worth, and that nothing is lost by asking for it.

use ntp_sim::{Link, Report, Scenario, Server, run};

/// A server across a quiet switch, whose replies leave late by a millisecond in the mean after they were stamped: a
/// virtual machine, or a busy one.
fn late(interleaved: bool) -> Server {
    Server {
        link: Link::exponential(5e-5, 5e-6),
        departure: 1e-3,
        interleaved,
        ..Server::new(Scenario::address(0))
    }
}

fn world(server: Server, asks: bool) -> Scenario {
    Scenario::new("a server whose replies leave late")
        .with_server(server)
        .agreeing(1)
        .but(|world| {
            for source in &mut world.engine.sources {
                source.association.interleaved = asks;
            }
            world.duration = 20_000.0;
            world.settled = 5_000.0;
        })
}

fn report(scenario: &Scenario, seed: u64) -> Report {
    run(scenario, seed).unwrap()
}

#[test]
fn stamps_of_the_departure_make_a_late_server_a_good_one() {
    for (min, max) in [(2, 2), (4, 10)] {
        for seed in 0..3 {
            let of = |asks| report(&world(late(true), asks).polling(min, max), seed);
            let (basic, interleaved) = (of(false), of(true));
            assert!(!basic.last.sources[0].interleaved);
            assert!(interleaved.last.sources[0].interleaved);
            assert!(
                interleaved.rms * 3.0 < basic.rms,
                "polls 2^{min}..2^{max} s, seed {seed}: {:e} against {:e}",
                interleaved.rms,
                basic.rms
            );
            assert!(interleaved.median_bound * 2.0 < basic.median_bound);
        }
    }
}

#[test]
fn a_server_without_the_mode_is_as_good_as_without_asking() {
    for seed in 0..3 {
        let of = |asks| report(&world(late(false), asks), seed);
        let (plain, asked) = (of(false), of(true));
        assert!(!asked.last.sources[0].interleaved);
        assert!(
            asked.rms < 1.5 * plain.rms,
            "{:e} {:e}",
            asked.rms,
            plain.rms
        );
        assert!(asked.requests < plain.requests + plain.requests / 5);
    }
}

#[test]
fn a_lossy_path_falls_back_and_comes_back() {
    for seed in 0..3 {
        let server = Server {
            link: late(true).link.with(|direction| direction.loss = 0.1),
            ..late(true)
        };
        let of = |asks| report(&world(server, asks).polling(4, 6), seed);
        let (basic, interleaved) = (of(false), of(true));
        assert!(
            interleaved.rms * 2.0 < basic.rms,
            "{:e} against {:e}",
            interleaved.rms,
            basic.rms
        );
    }
}
