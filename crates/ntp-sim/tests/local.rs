//! Local reference: what is served while no source is available.

use ntp_proto::engine::{Command, LocalConfig, ManualAction, Refusal};
use ntp_proto::server::Claim;
use ntp_sim::{Action, Behaviour, Scenario, World};
use ntp_time::{LeapIndicator, NtpDuration, ReferenceId, Stratum, SystemTime};

const LOCAL: LocalConfig = LocalConfig {
    stratum: Stratum::new(10),
    reference_id: ReferenceId::LOCAL,
    distance: NtpDuration::ZERO,
    activate_below: None,
    wait_synced: NtpDuration::ZERO,
    wait_unsynced: NtpDuration::ZERO,
    orphan: false,
};

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// A machine with a local reference and three sources, which are silent from two hours on until
/// `back`.
fn isolated(local: LocalConfig, back: f64) -> Scenario {
    let silence = |at, behaviour| (0..3).map(move |it| (at, Action::Behaviour(it, behaviour)));
    Scenario::new("isolated")
        .with_servers(3)
        .with_poll_limits(4, 6)
        .modify(|scenario| {
            scenario.engine.local = Some(local);
            scenario
                .script
                .extend(silence(2.0 * HOUR, Behaviour::Silent));
            scenario.script.extend(silence(back, Behaviour::Honest));
        })
}

/// Stratum, if the time is served as synchronised, and root dispersion in seconds.
fn served(claim: &Claim, now: SystemTime) -> (Option<u8>, f64) {
    let stratum = claim.stratum.get();
    let dispersion = claim.root_dispersion.at(now);
    let synchronized = claim.leap != LeapIndicator::Unsynchronized;
    (synchronized.then_some(stratum), dispersion.as_seconds_f64())
}

fn served_by(world: &World) -> (Option<u8>, f64) {
    served(&world.claim(), world.clock().system())
}

fn has(world: &World, name: &str) -> usize {
    let events = world.journal().events.iter();
    events.filter(|(_, event)| event.name() == name).count()
}

#[test]
fn a_machine_without_a_source_is_its_own_reference_from_the_start() {
    let scenario = Scenario::new("alone").modify(|it| it.engine.local = Some(LOCAL));
    let mut world = World::new(&scenario, 1);
    for hours in [0.001, 1.0, 48.0] {
        world.run(hours * HOUR).unwrap();
        assert_eq!(served_by(&world), (Some(10), 0.0), "after {hours} h");
    }
    assert_eq!(world.claim().reference_id, ReferenceId::LOCAL);
    let system = world.status().system;
    assert_eq!((system.synchronized, system.stratum.get()), (false, 10));
    assert_eq!(system.leap, LeapIndicator::None);
    assert!(system.local_since.is_some());
}

#[test]
fn local_time_begins_with_the_bound_at_the_loss_and_its_dispersion_grows_up_to_a_second() {
    let mut world = World::new(&isolated(LOCAL, 20.0 * DAY), 2);
    world.run(2.0 * HOUR).unwrap();
    assert_eq!(served_by(&world).0, Some(2));
    world.run(2.5 * HOUR).unwrap();
    let (stratum, early) = served_by(&world);
    assert_eq!(stratum, Some(10));
    assert!(early > 0.0 && early < 0.1, "{early}");
    world.run(6.0 * HOUR).unwrap();
    let (_, later) = served_by(&world);
    assert!(later > early + 1e-3, "{early} {later}");
    assert!(later >= world.error().abs());
    world.run(4.0 * DAY).unwrap();
    assert_eq!(served_by(&world).0, Some(10));
    assert!(
        (served_by(&world).1 - 1.0).abs() < 1e-3,
        "{:?}",
        served_by(&world)
    );
    assert_eq!(has(&world, "local_time_started"), 1);
}

#[test]
fn a_source_that_returns_is_followed_without_a_step() {
    let back = DAY;
    let scenario = isolated(LOCAL, back).at(3.0 * HOUR, Action::FrequencyJump(3e-6));
    let mut world = World::new(&scenario, 3);
    world.run(back).unwrap();
    let (error, steps) = (world.error(), has(&world, "clock_stepped"));
    assert!(error.abs() > 0.2, "the handover is no test: {error}");
    world.run(back + 600.0).unwrap();
    assert_eq!(served_by(&world).0, Some(2));
    assert_eq!(has(&world, "local_time_ended"), 1);
    world.run(back + DAY).unwrap();
    assert!(world.error().abs() < 1e-3, "{}", world.error());
    assert_eq!(has(&world, "clock_stepped"), steps);
}

#[test]
fn a_machine_that_boots_before_its_network_sets_its_clock_as_usual() {
    let mut scenario = isolated(LOCAL, 100.0).with_clock_offset(5.0);
    scenario.script.retain(|(at, _)| *at == 100.0);
    for server in &mut scenario.servers {
        server.behaviour = Behaviour::Silent;
    }
    let mut world = World::new(&scenario, 4);
    world.run(99.0).unwrap();
    assert_eq!(served_by(&world).0, Some(10));
    world.run(400.0).unwrap();
    assert_eq!(served_by(&world).0, Some(2));
    assert!(world.error().abs() < 1e-2, "{}", world.error());
}

#[test]
fn waits_and_distances_delay_the_local_time() {
    let seconds = NtpDuration::from_seconds;
    let cases = [
        LocalConfig {
            wait_synced: seconds(7200),
            ..LOCAL
        },
        LocalConfig {
            distance: NtpDuration::from_millis(100),
            ..LOCAL
        },
    ];
    for config in cases {
        let mut world = World::new(&isolated(config, 20.0 * DAY), 5);
        world.run(3.0 * HOUR).unwrap();
        assert_eq!(served_by(&world).0, Some(2), "{config:?}");
        world.run(12.0 * HOUR).unwrap();
        assert_eq!(served_by(&world).0, Some(10), "{config:?}");
    }
    let unsynced = LocalConfig {
        wait_unsynced: seconds(90),
        ..LOCAL
    };
    let never = LocalConfig {
        activate_below: Some(seconds(1)),
        ..LOCAL
    };
    for (config, from) in [(unsynced, Some(90.0)), (never, None)] {
        let scenario = Scenario::new("alone").modify(|it| it.engine.local = Some(config));
        let mut world = World::new(&scenario, 6);
        world.run(89.0).unwrap();
        assert_eq!(served_by(&world).0, None, "{config:?}");
        world.run(91.0).unwrap();
        assert_eq!(served_by(&world).0, from.map(|_| 10), "{config:?}");
    }
}

/// `local stratum 3` of chronyd does not exclude sources of stratum 3, as `local-stratum` does.
#[test]
fn sources_at_the_local_stratum_are_followed() {
    let local = LocalConfig {
        stratum: Stratum::new(3),
        ..LOCAL
    };
    let mut scenario = isolated(local, 20.0 * DAY);
    for server in &mut scenario.servers {
        server.stratum = 3;
    }
    let mut world = World::new(&scenario, 7);
    world.run(HOUR).unwrap();
    assert_eq!(served_by(&world).0, Some(4));
}

/// The time that an operator enters at `seconds`, half a second off at most.
fn entered(seconds: f64, error: f64) -> (f64, Action) {
    let start = Scenario::new("").start;
    let time = start + NtpDuration::from_seconds_f64(seconds + error);
    let forced = false;
    (seconds, Action::Command(Command::SetTime { time, forced }))
}

#[test]
fn entered_times_set_the_clock_and_teach_its_frequency_over_days() {
    let mut scenario = Scenario::new("manual").with_clock_offset(-90.0);
    scenario.engine.local = Some(LOCAL);
    scenario.engine.manual = true;
    for (seconds, error) in [
        (60.0, 0.2),
        (DAY, -0.2),
        (2.0 * DAY, 0.1),
        (4.0 * DAY, -0.1),
    ] {
        scenario.script.push(entered(seconds, error));
    }
    scenario.script.push((
        4.5 * DAY,
        Action::Command(Command::Manual(ManualAction::Delete(Some(0)))),
    ));
    let mut world = World::new(&scenario, 8);
    world.run(120.0).unwrap();
    assert!((world.error() - 0.2).abs() < 0.1, "{}", world.error());
    let (stratum, dispersion) = served_by(&world);
    assert!(stratum == Some(10) && (0.5..0.6).contains(&dispersion));
    world.run(4.2 * DAY).unwrap();
    assert!(world.error().abs() < 0.5, "{}", world.error());
    // 20 ppm are 1.7 s a day.
    let rate = world.clock().rate_error();
    assert!(rate.abs() < 3e-6, "{rate}");
    let entries = world.status().system.manual.unwrap();
    assert_eq!(entries.len(), 4);
    assert!(
        entries
            .iter()
            .all(|entry| entry.residual.abs() < NtpDuration::from_seconds(1))
    );
    world.run(4.6 * DAY).unwrap();
    assert_eq!(world.status().system.manual.unwrap().len(), 3);
    assert!(
        world
            .journal()
            .persisted
            .as_ref()
            .is_some_and(|(_, it)| it.frequency.is_some())
    );
}

#[test]
fn no_time_is_entered_while_sources_determine_it_or_without_permission() {
    for (manual, refusal) in [
        (true, Refusal::SourceAvailable),
        (false, Refusal::ManualDisabled),
    ] {
        let mut scenario = Scenario::new("refused").with_servers(3);
        scenario.engine.manual = manual;
        scenario.script.push(entered(600.0, 30.0));
        let mut world = World::new(&scenario, 9);
        world.run(700.0).unwrap();
        assert_eq!(world.journal().completed, [Err(refusal)]);
        assert!(world.error().abs() < 1e-3);
    }
}
