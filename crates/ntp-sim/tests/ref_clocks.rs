//! Reference clocks as sources: devices without address and packets.

use ntp_proto::discipline::{SelectionOptions, SourceState};
use ntp_proto::engine::{Command, Event, SourceConfig};
use ntp_sim::{
    Action, ClockBehaviour, Queue, RefClock, Scenario, World, random_world, ref_clock_source,
};
use ntp_time::{LeapIndicator, NtpDuration, ReferenceId, Stratum, SystemTime};
use ntp_types::source::SourceAddress;
use ntp_types::status::SourceStatus;

const DEVICE: &str = "/dev/pps0";
const GPS: ReferenceId = ReferenceId::new(*b"GPS\0");

fn alone() -> Scenario {
    Scenario::new("a reference clock alone")
        .with_ref_clock(RefClock::new(DEVICE))
        .with_minimum_agreeing(1)
        .with_clock_offset(0.3)
}

/// Three servers and a reference clock, which is the last source.
fn beside_servers(clock: RefClock) -> Scenario {
    Scenario::new("a reference clock beside servers")
        .with_servers(3)
        .with_ref_clock(clock)
}

fn after(scenario: &Scenario, seconds: f64) -> World {
    let mut world = World::new(scenario, 1);
    world.run(seconds).unwrap();
    world
}

fn clock_status(world: &World) -> SourceStatus {
    let sources = world.status().sources;
    let device = SourceAddress::Device(DEVICE.to_owned());
    let mut clocks = sources.into_iter().filter(|it| it.address == device);
    clocks.next().expect("the reference clock is a source")
}

fn device_config() -> SourceConfig {
    ref_clock_source(&RefClock::new(DEVICE))
}

#[test]
fn alone_it_makes_the_machine_stratum_1_under_its_reference_id() {
    let world = after(&alone(), 1800.0);
    let system = world.status().system;
    assert!(system.synchronized);
    assert_eq!(system.stratum, Stratum::PRIMARY);
    assert_eq!(system.reference_id, GPS);
    assert_eq!(system.reference, Some(clock_status(&world).id));
    assert_eq!(system.root_delay, NtpDuration::ZERO);
    let bound = system.error_bound.unwrap();
    assert!(bound > NtpDuration::from_micros(100), "{bound}");
    assert!(bound < NtpDuration::from_micros(300), "{bound}");
    assert!(world.error().abs() < 5e-6, "{:e}", world.error());
}

#[test]
fn its_status_claims_nothing_that_only_a_network_has() {
    let world = after(&alone(), 600.0);
    let status = clock_status(&world);
    assert_eq!(status.state, SourceState::Selected);
    assert_eq!(status.name, DEVICE);
    assert_eq!(status.authentication, "none");
    assert_eq!((status.packets.sent, status.packets.received), (0, 0));
    assert_eq!((status.nts_cookies, status.next_poll), (None, None));
    assert_eq!((status.reach, status.unanswered), (255, 0));
    assert_eq!(
        (status.poll, status.poll_min),
        (status.poll_max, status.poll_max)
    );
    let measured = status.measurement.unwrap();
    assert_eq!((measured.delay, measured.transmit_stamp), (None, None));
    assert_eq!(measured.stratum, Stratum::new(0));
    assert_eq!(measured.root_dispersion, NtpDuration::from_micros(100));
    let path = status.path.unwrap();
    assert_eq!(path.base_delay, NtpDuration::ZERO);
    let jitter = path.jitter.as_seconds_f64();
    assert!((0.5e-6..4e-6).contains(&jitter), "{jitter:e}");
    assert_eq!(world.journal().requests, 0);
}

#[test]
fn beside_servers_it_is_selected_and_improves_the_clock() {
    let rms = |scenario: &Scenario| {
        let scenario = scenario.clone().modify(|world| world.settled = 1800.0);
        let mut world = World::new(&scenario, 1);
        world.run(7200.0).unwrap();
        (world.report().rms, world)
    };
    let noisy = |scenario: Scenario| {
        scenario.modify(|world| {
            for server in &mut world.servers {
                let queue = Queue::Exponential(1e-3);
                server.link = server.link.with(|direction| direction.queue = queue);
            }
        })
    };
    let (with, world) = rms(&noisy(beside_servers(RefClock::new(DEVICE))));
    let (without, _) = rms(&noisy(Scenario::new("servers only").with_servers(3)));
    let sources = world.status().sources;
    assert!(sources.iter().all(|it| it.state == SourceState::Selected));
    assert_eq!(world.status().system.stratum, Stratum::PRIMARY);
    assert!(with < without / 10.0, "{with:e} {without:e}");
}

#[test]
fn preferred_it_outranks_the_servers() {
    let scenario = beside_servers(RefClock::new(DEVICE)).modify(|world| {
        let clock = world.engine.sources.last_mut().unwrap();
        clock.selection.prefer = true;
    });
    let world = after(&scenario, 1800.0);
    let states: Vec<_> = world.status().sources.iter().map(|it| it.state).collect();
    let outranked = states.iter().filter(|it| **it == SourceState::Outranked);
    assert_eq!(outranked.count(), 3);
    assert_eq!(clock_status(&world).state, SourceState::Selected);
}

#[test]
fn a_clock_that_is_not_to_be_selected_is_measured_only() {
    let noselect = SelectionOptions {
        noselect: true,
        ..SelectionOptions::default()
    };
    let scenario = beside_servers(RefClock {
        error: 1.0,
        ..RefClock::new(DEVICE)
    })
    .modify(|world| world.engine.sources[3].selection = noselect);
    let world = after(&scenario, 1800.0);
    let status = clock_status(&world);
    assert_eq!(status.state, SourceState::Unusable);
    let offset = status.measurement.unwrap().offset.as_seconds_f64();
    assert!((offset - 1.0).abs() < 1e-3, "{offset}");
    assert!(world.error().abs() < 1e-3);
}

#[test]
fn a_wrong_clock_is_a_falseticker() {
    for (error, at) in [(0.05, 0.0), (-0.05, 1000.0)] {
        let scenario = beside_servers(RefClock::new(DEVICE)).at(at, Action::ClockError(0, error));
        let world = after(&scenario, 3600.0);
        assert_eq!(clock_status(&world).state, SourceState::Falseticker);
        assert!(world.error().abs() < 1e-3, "{}", world.error());
        let reference = world.status().system.reference.unwrap();
        assert_ne!(reference, clock_status(&world).id);
        assert_eq!(world.status().system.stratum, Stratum::new(2));
    }
}

#[test]
fn eight_missing_samples_make_it_unreachable_and_the_next_one_reachable() {
    let clock = RefClock {
        interval: 4.0,
        ..RefClock::new(DEVICE)
    };
    let scenario = beside_servers(clock)
        .at(1001.0, Action::ClockBehaviour(0, ClockBehaviour::Silent))
        .at(1501.0, Action::ClockBehaviour(0, ClockBehaviour::Normal));
    let mut world = World::new(&scenario, 1);
    // The last sample is that at 1000 s, so the eighth missing one is that at 1032 s.
    world.run(1031.0).unwrap();
    assert_eq!(clock_status(&world).state, SourceState::Selected);
    world.run(1036.0).unwrap();
    let silent = clock_status(&world);
    assert_eq!(silent.state, SourceState::Unreachable);
    assert_eq!((silent.reach, silent.unanswered), (0, 8));
    world.run(1500.0).unwrap();
    assert_ne!(world.status().system.reference, Some(silent.id));
    world.run(1600.0).unwrap();
    assert_eq!(clock_status(&world).state, SourceState::Selected);

    let journal = world.journal();
    let of_the_clock = |event: &Event| match event {
        Event::SourceUnreachable { source, .. } | Event::SourceReachable { source } => {
            source.id == silent.id
        }
        _ => false,
    };
    let times = journal.event_times(of_the_clock);
    assert_eq!(times.len(), 3, "{times:?}");
    assert!((1032.0..1036.0).contains(&times[1]), "{times:?}");
    assert!((1501.0..1505.0).contains(&times[2]), "{times:?}");
}

#[test]
fn a_clock_that_never_yields_a_sample_is_reported_once() {
    let scenario = alone().at(0.0, Action::ClockBehaviour(0, ClockBehaviour::Silent));
    let world = after(&scenario, 3600.0);
    let unreachable = |event: &Event| matches!(event, Event::SourceUnreachable { .. });
    assert_eq!(world.journal().event_times(unreachable).len(), 1);
    assert!(!world.status().system.synchronized);
}

#[test]
fn samples_of_an_unsynchronised_clock_are_not_used() {
    let unsynchronized = Action::ClockBehaviour(0, ClockBehaviour::Unsynchronized);
    let scenario = alone().at(1000.0, unsynchronized);
    let world = after(&scenario, 1200.0);
    let status = clock_status(&world);
    assert_eq!(status.state, SourceState::Unreachable);
    let error = status.last_error.unwrap();
    assert!(error.contains("not synchronised"), "{error}");
    assert!(world.error().abs() < 1e-3, "{}", world.error());
}

#[test]
fn it_survives_steps_and_suspends() {
    let scenario = alone().at(1000.0, Action::ForeignStep(0.7)).at(
        2000.0,
        Action::Suspend {
            seconds: 900.0,
            error: -2.0,
        },
    );
    let world = after(&scenario, 4000.0);
    assert!(world.error().abs() < 1e-5, "{}", world.error());
    let unreachable = |event: &Event| matches!(event, Event::SourceUnreachable { .. });
    let times = world.journal().event_times(unreachable);
    assert!(times.is_empty(), "{times:?}");
}

#[test]
fn its_announcement_of_a_leap_second_is_followed() {
    // Noon of 2026-06-01 plus twelve hours.
    let midnight = SystemTime::from_nanos(1_780_315_200_000_000_000 + 43_200_000_000_000);
    let scenario = alone().modify(|world| {
        world.start = midnight - NtpDuration::from_seconds(1800);
        world.leaps = vec![midnight];
    });
    let world = after(&scenario, 900.0);
    let leap = clock_status(&world).measurement.unwrap().leap;
    assert_eq!(leap, LeapIndicator::Insert);
}

#[test]
fn an_operator_closes_opens_adds_and_removes_it() {
    let offline = Command::Offline(Some(DEVICE.to_owned()));
    let online = Command::Online(Some(DEVICE.to_owned()));
    let scenario = beside_servers(RefClock::new(DEVICE))
        .at(500.5, Action::Command(offline))
        .at(1000.5, Action::Command(online))
        .at(1500.5, Action::Command(Command::Remove(DEVICE.to_owned())))
        .at(2000.5, Action::Command(Command::Add(device_config())));
    let mut world = World::new(&scenario, 1);
    world.run(1000.0).unwrap();
    let status = clock_status(&world);
    assert!(!status.online);
    let age = world.clock().system() - status.measurement.unwrap().at;
    assert!(age > NtpDuration::from_seconds(498), "{age}");
    // Closed is not silent.
    assert_ne!(status.state, SourceState::Unreachable);
    world.run(1100.0).unwrap();
    let status = clock_status(&world);
    let age = world.clock().system() - status.measurement.unwrap().at;
    assert!(status.online && age < NtpDuration::from_seconds(2), "{age}");
    world.run(1600.0).unwrap();
    assert_eq!(world.status().sources.len(), 3);
    world.run(2100.0).unwrap();
    assert_eq!(clock_status(&world).state, SourceState::Selected);
    assert_ne!(clock_status(&world).id, status.id);
}

#[test]
fn a_reload_keeps_it_unless_its_own_settings_change() {
    let base = beside_servers(RefClock::new(DEVICE));
    let mut same = base.engine.clone();
    same.discipline.minimum_agreeing_sources = 2;
    same.sources[3].selection.trust = true;
    let mut other = same.clone();
    let mut config = device_config();
    if let ntp_proto::engine::SourceKind::RefClock(clock) = &mut config.kind {
        clock.accuracy = NtpDuration::from_millis(3);
    }
    other.sources[3] = config;
    let scenario = base
        .at(500.0, Action::Reconfigure(Box::new(same)))
        .at(1000.0, Action::Reconfigure(Box::new(other)));
    let mut world = World::new(&scenario, 1);
    world.run(400.0).unwrap();
    let first = clock_status(&world).id;
    world.run(900.0).unwrap();
    let kept = clock_status(&world);
    assert_eq!(kept.id, first);
    assert!(kept.options.trust);
    world.run(1500.0).unwrap();
    let replaced = clock_status(&world);
    assert_ne!(replaced.id, first);
    let accuracy = replaced.measurement.unwrap().root_dispersion;
    assert_eq!(accuracy, NtpDuration::from_millis(3));
}

/// Invariants of the checker: the bound contains the error whatever else happens.
#[test]
fn every_invariant_holds_in_random_worlds_with_a_clock_that_is_right() {
    for seed in 100..124 {
        let step = f64::from(seed as u32 % 5);
        let clock = RefClock {
            interval: step.exp2(),
            noise: 10f64.powf(-3.0 - step / 2.0),
            error: if seed % 2 == 0 { 9e-5 } else { -9e-5 },
            ..RefClock::new(DEVICE)
        };
        let scenario = random_world(seed)
            .with_ref_clock(clock)
            .at(700.0, Action::ClockBehaviour(0, ClockBehaviour::Silent))
            .at(900.0, Action::ClockBehaviour(0, ClockBehaviour::Normal));
        ntp_sim::run(&scenario, seed).unwrap();
    }
}
