//! Random worlds with random faults, judged by the checker. `cargo xtask worlds` runs thousands of
//! them.

use ntp_sim::{Scenario, World, random_receiver_world, random_world};

/// Draws a world from a seed.
type Draw = fn(u64) -> Scenario;

/// The range of seeds, `0..usual`; set `NTP_SIM_SEEDS=1000..2000` for others.
fn seeds(usual: u64) -> core::ops::Range<u64> {
    let requested = std::env::var("NTP_SIM_SEEDS").ok();
    let range = requested.and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    range.unwrap_or(0..usual)
}

/// Violations in the worlds of `seeds`, each with the command that reproduces it.
fn violations(draw: Draw, seeds: impl Iterator<Item = u64>) -> Vec<String> {
    seeds
        .filter_map(|seed| {
            let violation = ntp_sim::run(&draw(seed), seed).err()?;
            Some(format!(
                "{violation}\nor: NTP_SIM_SEEDS={seed}..{} cargo test -p ntp-sim --test swarm",
                seed + 1
            ))
        })
        .collect()
}

fn assert_invariants(draw: Draw, seeds: &core::ops::Range<u64>) {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let found: Vec<String> = std::thread::scope(|scope| {
        let share = |worker| seeds.clone().skip(worker).step_by(workers);
        let handles: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || violations(draw, share(worker))))
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().expect("no world panics"))
            .collect()
    });
    assert!(
        found.is_empty(),
        "{} of {} worlds:\n{}",
        found.len(),
        seeds.clone().count(),
        found.join("\n")
    );
}

#[test]
fn invariants_hold_in_a_swarm_of_random_worlds() {
    assert_invariants(random_world, &seeds(200));
}

/// Devices of all kinds beside the servers, right and wrong ones.
#[test]
fn invariants_hold_in_a_swarm_of_random_worlds_with_receivers() {
    assert_invariants(random_receiver_world, &seeds(100));
}

/// A precise clock beside an asymmetric path that was called unsteady after a jump; a phase that began
/// again from a source used long before; a stray pulse as one of the first.
#[test]
fn the_bound_holds_in_worlds_that_once_left_it() {
    let found = violations(random_receiver_world, [937, 1825, 1827].into_iter());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in 0..10 {
        let scenario = random_world(seed);
        let fingerprint = |seed| {
            let mut world = World::new(&scenario, seed);
            let _ = world.run(1500.0);
            (
                world.journal().fingerprint(),
                world.error().to_bits(),
                format!("{:?}", world.status()),
            )
        };
        assert_eq!(fingerprint(seed), fingerprint(seed), "seed {seed}");
        assert_ne!(fingerprint(seed).0, fingerprint(seed + 1).0, "seed {seed}");
    }
}
