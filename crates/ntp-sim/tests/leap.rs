//! The leap second: announced by the servers, carried out by the kernel, noticed and understood by the engine.

use ntp_proto::engine::Event;
use ntp_sim::{LeapNews, Scenario, World};
use ntp_time::{LeapIndicator, SystemTime};

/// 2028-06-30T22:00:00Z and the midnight that follows.
const EVENING: SystemTime = SystemTime::from_nanos(1_846_015_200_000_000_000);
const MIDNIGHT: f64 = 2.0 * 3600.0;

fn leap_night() -> Scenario {
    Scenario::new("leap second")
        .with_servers(4)
        .polling(4, 6)
        .but(|world| {
            world.start = EVENING;
            world.leaps = vec![EVENING + ntp_time::NtpDuration::from_seconds(2 * 3600)];
            world.rules.look_every = 4.0;
        })
}

#[test]
fn an_announced_leap_second_disturbs_nothing() {
    assert_eq!(EVENING.to_string(), "2028-06-30T22:00:00.000000000Z");
    // Enough seeds that in some of them a reply arrives within the repeated second.
    for seed in 0..10 {
        let mut world = World::new(&leap_night(), seed);
        world.run(MIDNIGHT - 60.0).unwrap();
        assert_eq!(world.snapshot().system.leap, LeapIndicator::Insert);
        for minute in 0..60 {
            world
                .run(MIDNIGHT + 2.0 + 60.0 * f64::from(minute))
                .unwrap();
            assert!(
                world.error().abs() < 1e-3,
                "seed {seed}, minute {minute}: {}",
                world.error()
            );
        }
        let journal = world.journal();
        assert_eq!(
            journal
                .when(|event| matches!(event, Event::LeapSecond(LeapIndicator::Insert)))
                .len(),
            1
        );
        assert_eq!(
            journal
                .when(|event| matches!(event, Event::ClockDisturbed { .. }))
                .len(),
            0
        );
        assert!(
            journal.steps.iter().all(|(at, _)| at.as_seconds() < 60.0),
            "{:?}",
            journal.steps
        );
        assert_eq!(world.snapshot().system.leap, LeapIndicator::None);
    }
}

#[test]
fn a_leap_second_that_only_a_minority_announces_is_not_made() {
    let scenario = leap_night().but(|world| {
        world.leaps.clear();
        world.servers[1].leap_news = LeapNews::Invention;
    });
    let mut world = World::new(&scenario, 1);
    world.run(MIDNIGHT + 600.0).unwrap();
    assert!(
        world
            .journal()
            .when(|event| matches!(event, Event::LeapSecond(_)))
            .is_empty()
    );
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn a_leap_second_that_nobody_announced_is_found_out_and_survived() {
    let scenario = leap_night().but(|world| {
        for server in &mut world.servers {
            server.leap_news = LeapNews::Nothing;
        }
        world.rules.bound = false;
        world.rules.no_steps = false;
    });
    let mut world = World::new(&scenario, 1);
    world.run(MIDNIGHT + 3600.0).unwrap();
    assert!(world.error().abs() < 1e-3, "{}", world.error());
}
