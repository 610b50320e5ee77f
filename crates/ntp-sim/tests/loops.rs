//! Loops of servers of version 5: engines that serve each other and find loops by their reference
//! IDs, of which each response carries a part.
//!
//! The checker holds its invariants for every engine: the bound of each clock contains its true
//! error also while servers follow each other round and round.

use std::net::IpAddr;

use ntp_proto::client::VersionChoice;
use ntp_proto::discipline::SourceState;
use ntp_proto::engine::SourceConfig;
use ntp_proto::wire::Version;
use ntp_sim::{Action, Behaviour, Machine, Scenario, Server, World, source_at};
use ntp_time::{NtpDuration, PollInterval, PollLimits};
use ntp_types::event::Rejection;
use ntp_types::status::SourceStatus;

/// Longest interval between polls: 64 s, lengthened by up to 2 %.
const POLL: f64 = 66.0;

fn source(address: IpAddr, version: Version) -> SourceConfig {
    let mut source = source_at(address);
    source.association.version = VersionChoice::Fixed(version);
    source.association.limits = PollLimits {
        min: PollInterval::from_log2(4),
        max: PollInterval::from_log2(6),
    };
    source.association.initial_poll = PollInterval::from_log2(4);
    source
}

/// `count` machines, each of which has the next one and a primary server of its own as sources.
/// Server `count + index` is the primary server of the machine of server `index`.
fn ring(count: usize) -> Scenario {
    let mut world = Scenario::new(&format!("ring of {count}")).with_minimum_agreeing(1);
    for index in 0..2 * count {
        world.servers.push(Server {
            version_5: true,
            ..Server::new(Scenario::address(index))
        });
    }
    for index in 0..count {
        let mut machine = Machine {
            server: index,
            node: world.node,
            engine: world.engine.clone(),
        };
        machine.node.clock_error = NtpDuration::from_millis(3 * index as i64);
        machine.node.oscillator.offset = 5e-6 * (index + 1) as f64;
        machine.engine.sources = vec![
            source(Scenario::address((index + 1) % count), Version::V5),
            source(Scenario::address(count + index), Version::V4),
        ];
        world.machines.push(machine);
    }
    world
}

/// What the machine of server `index` states about the next one.
fn next(world: &World, index: usize) -> SourceStatus {
    world.status_of(index).sources.swap_remove(0)
}

fn follows(world: &World, index: usize) -> bool {
    next(world, index).state == SourceState::Selected
}

/// How long all machines of a ring followed the next one.
#[derive(Default)]
struct Loops {
    since: Option<f64>,
    longest: f64,
    seconds: f64,
    any_follows: bool,
}

/// Runs until `end`, and looks for loops of the `count` machines once a second.
fn watch(world: &mut World, count: usize, end: f64) -> Loops {
    let mut loops = Loops::default();
    while world.now() < end {
        let at = world.now() + 1.0;
        world
            .run(at)
            .unwrap_or_else(|violation| panic!("{violation}"));
        let following = (0..count).filter(|index| follows(world, *index)).count();
        loops.any_follows |= following > 0;
        if following == count {
            let since = *loops.since.get_or_insert(at);
            loops.longest = loops.longest.max(at - since);
            loops.seconds += 1.0;
        } else {
            loops.since = None;
        }
    }
    loops
}

#[test]
fn loops_of_two_to_five_machines_dissolve_within_bounded_polls() {
    let end = 2.0 * 3600.0;
    for count in 2..=5 {
        for seed in 1..=2 {
            let mut world = World::new(&ring(count), seed);
            let loops = watch(&mut world, count, end);
            // Each filter is fetched in four polls, and the IDs pass one machine after the other.
            let bound = POLL * (4 * count + 4) as f64;
            let Loops {
                longest, seconds, ..
            } = loops;
            let name = format!("{count} machines, seed {seed}");
            assert!(loops.any_follows, "{name}: no loop is no reason to refuse");
            assert!(longest <= bound, "{name}: a loop lasted {longest} s");
            assert!(seconds * 4.0 < end, "{name}: loops lasted {seconds} s");
        }
    }
}

#[test]
fn machines_that_lose_their_primary_servers_do_not_follow_each_other_round_and_round() {
    for count in [3, 4] {
        let silent =
            (count..2 * count).map(|primary| Action::Behaviour(primary, Behaviour::Silent));
        let scenario = silent.fold(ring(count), |world, silent| world.at(3600.0, silent));
        let mut world = World::new(&scenario, 1);
        // The bound of a loop, and the time until the primary servers count as unreachable.
        let settled = 3600.0 + POLL * (4 * count + 4 + 9) as f64;
        watch(&mut world, count, settled);
        let loops = watch(&mut world, count, settled + 4.0 * 3600.0);
        let seconds = loops.seconds;
        assert!(
            seconds < 3600.0,
            "{count} machines: loops lasted {seconds} s"
        );
    }
}

#[test]
fn a_chain_is_followed_and_its_end_is_no_source_of_its_beginning() {
    for count in [3, 4] {
        let mut scenario = ring(count);
        // Only the last machine has a primary server, so the others form a chain behind it.
        for primary in count..2 * count - 1 {
            scenario.servers[primary].behaviour = Behaviour::Silent;
        }
        let mut world = World::new(&scenario, 1);
        let loops = watch(&mut world, count, 2.0 * 3600.0);
        assert_eq!(loops.seconds, 0.0, "{count} machines");
        for index in 0..count - 1 {
            assert!(
                follows(&world, index),
                "machine {index} follows the next one"
            );
            let strata = world.status_of(index).system.stratum.get();
            assert_eq!(usize::from(strata), count - index + 1);
        }
        let excluded = next(&world, count - 1);
        assert_eq!(excluded.state, SourceState::Unusable);
        let reason = excluded.last_error.unwrap().to_string();
        assert!(reason.contains(&Rejection::Loop.to_string()), "{reason}");
    }
}

#[test]
fn a_source_whose_filter_is_full_is_refused() {
    let mut scenario = ring(3);
    scenario.servers[1].full_reference_ids = true;
    let mut world = World::new(&scenario, 1);
    let mut asked = 0;
    while world.now() < 3600.0 {
        let at = world.now() + 1.0;
        world
            .run(at)
            .unwrap_or_else(|violation| panic!("{violation}"));
        assert!(!follows(&world, 0), "at {at} s");
        asked += u32::from(follows(&world, 2));
    }
    let reason = next(&world, 0).last_error.unwrap().to_string();
    let expected = Rejection::ReferenceIdsFull.to_string();
    assert!(reason.contains(&expected), "{reason}");
    assert!(
        asked > 0,
        "the others are used: the filter is not passed on"
    );
    assert!(
        world.status_of(0).system.synchronized,
        "by its primary server"
    );
}
