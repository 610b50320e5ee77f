//! Interleaved mode: its benefit, and that requesting it costs nothing.

use ntp_proto::engine::Event;
use ntp_sim::{Link, Report, Scenario, Server, World, run};
use ntp_time::NtpDuration;

/// A server behind a quiet switch whose replies leave a millisecond on average after their transmit
/// timestamp: a virtual machine, or a busy one.
fn late(interleaved: bool) -> Server {
    Server {
        link: Link::exponential(5e-5, 5e-6),
        transmit_delay: 1e-3,
        interleaved,
        ..Server::new(Scenario::address(0))
    }
}

fn world(server: Server, interleaved: bool) -> Scenario {
    Scenario::new("a server whose replies leave late")
        .with_server(server)
        .with_minimum_agreeing(1)
        .modify(|world| {
            for source in &mut world.engine.sources {
                source.association.interleaved = interleaved;
            }
            world.duration = 20_000.0;
            world.settled = 5_000.0;
        })
}

fn report(scenario: &Scenario, seed: u64) -> Report {
    run(scenario, seed).unwrap()
}

#[test]
fn interleaved_mode_removes_the_transmit_delay_of_a_server() {
    for (min, max) in [(2, 2), (4, 10)] {
        for seed in 0..3 {
            let of = |interleaved| {
                report(
                    &world(late(true), interleaved).with_poll_limits(min, max),
                    seed,
                )
            };
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
fn a_server_without_interleaved_mode_is_used_as_in_basic_mode() {
    for seed in 0..3 {
        let of = |interleaved| report(&world(late(false), interleaved), seed);
        let (plain, attempted) = (of(false), of(true));
        assert!(!attempted.last.sources[0].interleaved);
        assert!(
            attempted.rms < 1.5 * plain.rms,
            "{:e} {:e}",
            attempted.rms,
            plain.rms
        );
        assert!(attempted.requests < plain.requests + plain.requests / 5);
    }
}

#[test]
fn interleaved_mode_falls_back_and_recovers_on_a_lossy_path() {
    for seed in 0..3 {
        let server = Server {
            link: late(true).link.with(|direction| direction.loss = 0.1),
            ..late(true)
        };
        let of = |interleaved| report(&world(server, interleaved).with_poll_limits(4, 6), seed);
        let (basic, interleaved) = (of(false), of(true));
        assert!(
            interleaved.rms * 2.0 < basic.rms,
            "{:e} against {:e}",
            interleaved.rms,
            basic.rms
        );
    }
}

#[test]
fn the_offset_of_an_interleaved_source_is_that_of_the_moment_of_its_exchange() {
    // The exchange that a reply completes was two seconds earlier, in which a correction of 400 ppm
    // moves the clock by 800 us.
    let scenario = world(late(true), true)
        .with_poll_limits(4, 6)
        .modify(|world| world.node.oscillator.offset = 400e-6);
    let mut world = World::new(&scenario, 1);
    world.run(3_000.0).unwrap();
    let limit = NtpDuration::from_micros(50);
    let source = &world.status().sources[0];
    assert!(source.interleaved);
    assert!(source.measurement.unwrap().offset.abs() < limit);
    let wrong =
        |event: &Event| matches!(event, Event::Measured { offset, .. } if offset.abs() > limit);
    let wrong = world.journal().event_times(wrong);
    assert!(wrong.iter().all(|at| *at < 1_000.0), "{wrong:?}");
}
