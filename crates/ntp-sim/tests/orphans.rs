//! Orphan mode: machines of an isolated network that elect one of them, through partitions, joins
//! and the return of a real source.
//!
//! The checker holds its invariants for every machine: the bound contains the true error, and no
//! clock is stepped after the start.

use ntp_proto::engine::LocalConfig;
use ntp_sim::{Action, Behaviour, Machine, Scenario, Server, World, source_at};
use ntp_time::{NtpDuration, PollInterval, PollLimits, ReferenceId, Stratum};

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;
/// Number of machines; the server of this number is the real source.
const MACHINES: usize = 4;
/// Largest difference between the clocks of a network, seconds.
const AGREEMENT: f64 = 1e-3;
/// Time in which two networks that are joined agree again: their difference is slewed.
const JOINING: f64 = HOUR;

/// Machines that have each other and the real source as sources; the source answers for an hour.
fn group(name: &str) -> Scenario {
    let mut world = Scenario::new(name).with_minimum_agreeing(1);
    for index in 0..=MACHINES {
        world.servers.push(Server::new(Scenario::address(index)));
    }
    for index in 0..MACHINES {
        let mut machine = Machine {
            server: index,
            node: world.node,
            engine: world.engine.clone(),
        };
        machine.node.clock_error = NtpDuration::from_millis(7 * index as i64);
        machine.node.oscillator.offset = 5e-6 * (index + 1) as f64;
        machine.engine.local = Some(LocalConfig {
            stratum: Stratum::new(8),
            reference_id: ReferenceId::LOCAL,
            distance: NtpDuration::ZERO,
            activate_below: None,
            wait_synced: NtpDuration::ZERO,
            wait_unsynced: NtpDuration::from_seconds(300),
            orphan: true,
        });
        let others = (0..=MACHINES).filter(|other| *other != index);
        let sources = others.map(|other| {
            let mut source = source_at(Scenario::address(other));
            source.association.initial_poll = PollInterval::from_log2(4);
            source.association.limits = PollLimits {
                min: PollInterval::from_log2(4),
                max: PollInterval::from_log2(6),
            };
            source
        });
        machine.engine.sources = sources.collect();
        world.machines.push(machine);
    }
    world.at(HOUR, real(Behaviour::Silent))
}

fn real(behaviour: Behaviour) -> Action {
    Action::Behaviour(MACHINES, behaviour)
}

/// The machines without time of their own: those that follow another one.
fn elected(world: &World, network: &[usize]) -> Vec<usize> {
    let serves = |index: &&usize| world.status_of(**index).system.local_since.is_some();
    network.iter().filter(serves).copied().collect()
}

fn difference(world: &World, network: &[usize]) -> f64 {
    let errors = network.iter().map(|index| world.error_of_server(*index));
    let errors: Vec<f64> = errors.collect();
    let largest = errors.iter().copied().fold(f64::MIN, f64::max);
    largest - errors.iter().copied().fold(f64::MAX, f64::min)
}

/// Runs until `end`; from `settled` on the machines of each network must agree.
fn assert_agree(world: &mut World, networks: &[&[usize]], settled: f64, end: f64) {
    while world.now() < end {
        let at = (world.now() + 16.0).min(end);
        world
            .run(at)
            .unwrap_or_else(|violation| panic!("{violation}"));
        for network in networks.iter().filter(|_| at >= settled) {
            let difference = difference(world, network);
            assert!(difference < AGREEMENT, "{network:?} at {at}: {difference}");
        }
    }
}

/// Steps after the first hour.
fn steps(world: &World) -> Vec<(usize, f64)> {
    let steps = ALL.iter().flat_map(|index| {
        let steps = world.journal_of(*index).steps.iter();
        steps.map(|(at, _)| (*index, at.as_seconds()))
    });
    steps.filter(|(_, at)| *at > HOUR).collect()
}

const ALL: &[usize] = &[0, 1, 2, 3];

#[test]
fn a_group_elects_one_through_a_partition_and_hands_over_to_a_real_source_without_a_step() {
    let scenario = group("orphans")
        .at(3.0 * HOUR, Action::Networks(vec![1, 0, 0, 0, 0]))
        .at(6.0 * HOUR, Action::Networks(vec![]))
        .at(9.0 * HOUR, real(Behaviour::Honest));
    let mut world = World::new(&scenario, 1);
    assert_agree(&mut world, &[ALL], 600.0, 3.0 * HOUR);
    assert_eq!(elected(&world, ALL), [0]);
    // The machine with the smallest ID leaves.
    assert_agree(&mut world, &[&[1, 2, 3]], 0.0, 6.0 * HOUR);
    assert_eq!(elected(&world, ALL), [0, 1]);
    assert_agree(&mut world, &[ALL], 6.0 * HOUR + JOINING, 9.0 * HOUR);
    assert_eq!(elected(&world, ALL), [0]);
    assert_handed_over(&mut world, 9.0 * HOUR + JOINING);
}

/// A machine without time follows the group, and takes its place only once it agrees.
#[test]
fn the_smallest_id_joins_late_and_does_not_move_the_group() {
    let mut scenario = group("late joiner")
        .at(0.0, Action::Networks(vec![1, 0, 0, 0, 0]))
        .at(200.0, Action::Networks(vec![]));
    scenario.script.retain(|(at, _)| *at != HOUR);
    scenario.servers[MACHINES].behaviour = Behaviour::Silent;
    // It is started while the others have served their time for long: it waits longer.
    let local = scenario.machines[0].engine.local.as_mut().unwrap();
    local.wait_unsynced = NtpDuration::from_seconds(2 * 3600);
    scenario.machines[0].node.clock_error = NtpDuration::from_seconds(40);
    scenario.rules.bound = false;
    let mut world = World::new(&scenario, 2);
    world.run(HOUR).unwrap();
    assert_eq!(elected(&world, ALL), [1]);
    assert!(difference(&world, ALL) < AGREEMENT, "it follows the group");
    assert!(world.error_of_server(0).abs() < 1.0);
    assert_agree(&mut world, &[ALL], 0.0, 4.0 * HOUR);
    assert_eq!(elected(&world, ALL), [0]);
}

/// All slew for minutes, and take the time of the first that has it until they have it themselves.
#[test]
fn a_drift_of_a_day_is_slewed_when_a_real_source_returns() {
    let mut scenario = group("drift").at(DAY, real(Behaviour::Honest));
    for machine in &mut scenario.machines {
        machine.node.oscillator.wander = 3e-8;
    }
    let mut world = World::new(&scenario, 4);
    // Such crystals leave each other by a millisecond before the loss of the source is noticed.
    assert_agree(&mut world, &[ALL], 2.0 * HOUR, DAY);
    let error = world.error_of_server(0);
    assert!(error.abs() > 0.15, "the handover is no test: {error}");
    assert_handed_over(&mut world, DAY + HOUR);
}

/// The time is that of the real source from `settled` on, without a step since the first hour.
fn assert_handed_over(world: &mut World, settled: f64) {
    assert_agree(world, &[ALL], settled, settled + HOUR);
    for index in ALL {
        let system = world.status_of(*index).system;
        assert_eq!((system.synchronized, system.stratum.get()), (true, 2));
        assert!(world.error_of_server(*index).abs() < AGREEMENT);
    }
    assert_eq!(steps(world), [], "no step after the start");
}

/// `cargo test -p ntp-sim --test orphans -- --ignored`
#[test]
#[ignore = "takes a minute"]
fn a_group_agrees_for_a_week_of_leaves_joins_and_partitions() {
    let networks: [&[&[usize]]; 7] = [
        &[&[0], &[1, 2, 3]],
        &[&[0, 1], &[2, 3]],
        &[&[0, 2], &[1], &[3]],
        &[&[0, 1, 2], &[3]],
        &[&[0, 3], &[1, 2]],
        &[&[0], &[1], &[2], &[3]],
        &[&[0, 1, 3], &[2]],
    ];
    let mut scenario = group("a week of orphans");
    for (day, parts) in networks.iter().enumerate() {
        let mut numbers = vec![0; MACHINES + 1];
        for (number, part) in (1..).zip(*parts) {
            part.iter().for_each(|index| numbers[*index] = number);
        }
        let cut = DAY * day as f64 + 6.0 * HOUR;
        scenario = scenario
            .at(cut, Action::Networks(numbers))
            .at(cut + 6.0 * HOUR, Action::Networks(vec![]));
    }
    let week = 7.0 * DAY;
    let scenario = scenario.at(week, real(Behaviour::Honest));
    let mut world = World::new(&scenario, 3);
    assert_agree(&mut world, &[ALL], 600.0, 6.0 * HOUR);
    for (day, parts) in networks.iter().enumerate() {
        let cut = DAY * day as f64 + 6.0 * HOUR;
        assert_agree(&mut world, parts, 0.0, cut + 6.0 * HOUR);
        for part in *parts {
            assert_eq!(elected(&world, part), part[..1], "day {day}");
        }
        let joined = cut + 6.0 * HOUR;
        let next = (joined + 18.0 * HOUR).min(week);
        assert_agree(&mut world, &[ALL], joined + JOINING, next);
        assert_eq!(elected(&world, ALL), [0], "day {day}");
    }
    assert_handed_over(&mut world, week + 2.0 * HOUR);
}
