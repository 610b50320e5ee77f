//! Leap seconds: announced by the servers or a list, inserted by the kernel and recognised by the
//! engine; or slewed, or smeared.

use ntp_proto::client::VersionChoice;
use ntp_proto::engine::Event;
use ntp_proto::leap::{LeapHandling, LeapTable};
use ntp_proto::wire::Version;
use ntp_sim::{Action, LeapAnnouncement, Scenario, World};
use ntp_time::{LeapIndicator, NtpDuration, SystemTime, Timescale};

/// 2028-06-30T22:00:00Z and the midnight that follows.
const EVENING: SystemTime = SystemTime::from_nanos(1_846_015_200_000_000_000);
const MIDNIGHT: f64 = 2.0 * 3600.0;

fn leap_night() -> Scenario {
    Scenario::new("leap second")
        .with_servers(4)
        .with_poll_limits(4, 6)
        .modify(|world| {
            world.start = EVENING;
            world.leaps = vec![EVENING + ntp_time::NtpDuration::from_seconds(2 * 3600)];
            world.rules.check_interval = 4.0;
        })
}

#[test]
fn an_announced_leap_second_disturbs_nothing() {
    assert_eq!(EVENING.to_string(), "2028-06-30T22:00:00.000000000Z");
    // Enough seeds that in some of them a reply arrives within the repeated second.
    for seed in 0..10 {
        let mut world = World::new(&leap_night(), seed);
        world.run(MIDNIGHT - 60.0).unwrap();
        assert_eq!(world.status().system.leap, LeapIndicator::Insert);
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
                .event_times(|event| matches!(
                    event,
                    Event::LeapSecond {
                        leap: LeapIndicator::Insert,
                        ..
                    }
                ))
                .len(),
            1
        );
        assert_eq!(
            journal
                .event_times(|event| matches!(event, Event::ClockDisturbed { .. }))
                .len(),
            0
        );
        assert!(
            journal.steps.iter().all(|(at, _)| at.as_seconds() < 60.0),
            "{:?}",
            journal.steps
        );
        assert_eq!(world.status().system.leap, LeapIndicator::None);
    }
}

#[test]
fn a_leap_second_announced_by_a_minority_is_not_inserted() {
    let scenario = leap_night().modify(|world| {
        world.leaps.clear();
        world.servers[1].leap_announcement = LeapAnnouncement::Always;
    });
    let mut world = World::new(&scenario, 1);
    world.run(MIDNIGHT + 600.0).unwrap();
    assert!(
        world
            .journal()
            .event_times(|event| matches!(event, Event::LeapSecond { .. }))
            .is_empty()
    );
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn an_unannounced_leap_second_is_detected_and_corrected() {
    let scenario = leap_night().modify(|world| {
        for server in &mut world.servers {
            server.leap_announcement = LeapAnnouncement::Never;
        }
        world.rules.bound = false;
        world.rules.no_steps = false;
    });
    let mut world = World::new(&scenario, 1);
    world.run(MIDNIGHT + 3600.0).unwrap();
    assert!(world.error().abs() < 1e-3, "{}", world.error());
}

/// A list with this midnight's leap second, valid for half a year more.
const LIST: &str = "#@ 4070563200\n3692217600 37\n4055011200 38\n";
/// A list without it.
const EMPTY_LIST: &str = "#@ 4070563200\n3692217600 37\n";

fn with_list(text: &str) -> Scenario {
    let table = LeapTable::parse(text).unwrap();
    leap_night().modify(|world| world.script.push((1.0, Action::LeapList(Some(table)))))
}

fn leap_seconds(world: &World) -> usize {
    let journal = world.journal();
    journal
        .event_times(|event| matches!(event, Event::LeapSecond { .. }))
        .len()
}

#[test]
fn a_leap_second_missing_from_the_list_is_not_inserted() {
    let scenario = with_list(EMPTY_LIST).modify(|world| {
        world.leaps.clear();
        for server in &mut world.servers {
            server.leap_announcement = LeapAnnouncement::Always;
        }
    });
    let mut world = World::new(&scenario, 3);
    world.run(MIDNIGHT - 60.0).unwrap();
    let system = world.status().system;
    assert_eq!(system.leap, LeapIndicator::None);
    assert_eq!(system.tai_offset, Some(37));
    world.run(MIDNIGHT + 600.0).unwrap();
    assert_eq!(leap_seconds(&world), 0);
    assert!(world.error().abs() < 1e-3);
    let reports = world
        .journal()
        .event_times(|event| matches!(event, Event::LeapSecondContradicted { .. }))
        .len();
    assert!((1..=3).contains(&reports), "once an hour, {reports} times");
}

#[test]
fn a_leap_second_in_the_list_needs_no_announcement() {
    let scenario = with_list(LIST).modify(|world| {
        for server in &mut world.servers {
            server.leap_announcement = LeapAnnouncement::Never;
        }
    });
    for seed in 0..4 {
        let mut world = World::new(&scenario, seed);
        world.run(MIDNIGHT + 600.0).unwrap();
        assert_eq!(leap_seconds(&world), 1);
        assert_eq!(world.status().system.tai_offset, Some(38));
        assert!(world.error().abs() < 1e-3);
    }
}

#[test]
fn nothing_is_announced_before_the_last_day_of_the_month() {
    let scenario = leap_night().modify(|world| {
        world.start = EVENING - NtpDuration::from_seconds(86_400);
        world.leaps.clear();
        for server in &mut world.servers {
            server.leap_announcement = LeapAnnouncement::Always;
        }
    });
    let mut world = World::new(&scenario, 1);
    world.run(MIDNIGHT - 60.0).unwrap();
    assert_eq!(world.status().system.leap, LeapIndicator::None);
    world.run(MIDNIGHT + 600.0).unwrap();
    assert_eq!(leap_seconds(&world), 0, "at the wrong midnight");
}

#[test]
fn a_slewed_leap_second_needs_no_step() {
    let scenario = leap_night().modify(|world| {
        world.engine.leap_handling = LeapHandling::Slew;
    });
    for seed in 0..4 {
        let mut world = World::new(&scenario, seed);
        world.run(MIDNIGHT - 60.0).unwrap();
        assert_eq!(world.status().system.leap, LeapIndicator::Insert);
        world.run(MIDNIGHT + 5.0).unwrap();
        assert!((world.error() - 1.0).abs() < 0.01, "{}", world.error());
        assert_eq!(leap_seconds(&world), 1);
        // At 500 ppm: half of it after 1000 s, all of it after 2000 s.
        world.run(MIDNIGHT + 1000.0).unwrap();
        assert!((world.error() - 0.5).abs() < 0.01, "{}", world.error());
        world.run(MIDNIGHT + 2200.0).unwrap();
        assert!(world.error().abs() < 1e-3, "{}", world.error());
        let steps = &world.journal().steps;
        assert!(steps.iter().all(|(at, _)| at.as_seconds() < 60.0));
    }
}

#[test]
fn a_smeared_leap_second_takes_from_noon_to_noon() {
    const NOON: f64 = 2.0 * 3600.0;
    const DAY: f64 = 86_400.0;
    let scenario = leap_night().modify(|world| {
        world.start = EVENING - NtpDuration::from_seconds(12 * 3600);
        world.engine.leap_handling = LeapHandling::Smear;
    });
    for seed in 0..4 {
        let mut world = World::new(&scenario, seed);
        for quarter in 0..=60 {
            // Not at the very moment of the jump, when it is undefined which side of it applies.
            let at = 900.0 + 1800.0 * f64::from(quarter);
            world.run(at).unwrap();
            let smeared = ((at - NOON) / DAY).clamp(0.0, 1.0);
            let past = at > NOON + DAY / 2.0;
            let expected = if past { 1.0 - smeared } else { -smeared };
            let error = world.error();
            assert!(
                (error - expected).abs() < 1e-3,
                "seed {seed}, at {at}: {error} instead of {expected}"
            );
            let system = world.status().system;
            assert_eq!(system.leap, LeapIndicator::None, "clients must not leap");
            assert!((system.smear.as_seconds_f64() - expected).abs() < 1e-3);
            assert!(system.error_bound.unwrap().as_seconds_f64() >= error.abs());
        }
        assert_eq!(leap_seconds(&world), 1);
        let steps = &world.journal().steps;
        assert!(steps.iter().all(|(at, _)| at.as_seconds() < 60.0));
    }
}

/// They answer in TAI although UTC is asked for, which only version 5 can express.
#[test]
fn servers_that_know_tai_only_are_used_with_the_list() {
    let scenario = Scenario::new("TAI").with_servers(3).modify(|world| {
        for server in &mut world.servers {
            server.version_5 = true;
            server.timescale = Timescale::Tai;
            server.error = 37.0;
        }
        for source in &mut world.engine.sources {
            source.association.version = VersionChoice::Fixed(Version::V5);
        }
    });
    let mut world = World::new(&scenario, 1);
    world.run(600.0).unwrap();
    assert!(!world.status().system.synchronized);
    let table = LeapTable::parse(EMPTY_LIST).unwrap();
    let mut world = World::new(&scenario.at(1.0, Action::LeapList(Some(table))), 1);
    world.run(600.0).unwrap();
    assert!(world.status().system.synchronized);
    assert!(world.error().abs() < 1e-3, "{}", world.error());
}
