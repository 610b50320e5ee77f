//! Stories about the discipline as a whole, each in a small world.
//!
//! Limits are generous: they catch what is broken, not what is a percent worse. The ignored tests
//! at the end print figures to compare.

use ntp_time::{FreeTime, NtpDuration, PollInterval, PollLimits};

use super::testworld::{Chance, World};
use super::{
    Blame, Config, Discipline, FrequencyPrior, Measurement, Outcome, Rejection, SourceState,
};

/// RMS error of clock and frequency over 40 000 s after the first 10 000 s, pooled over the seeds.
fn grid_cell(queue: f64, wander: f64, seeds: core::ops::Range<u64>) -> (f64, f64) {
    let count = seeds.clone().count() as f64;
    let (mut phase, mut frequency) = (0.0, 0.0);
    for seed in seeds {
        let mut world = World::of_the_grid(seed, queue, wander, 6);
        world.look_every = 0;
        world.run(10_000);
        world.forget_statistics();
        world.run(40_000);
        phase += world.statistics.rms().powi(2) / count;
        frequency += world.statistics.frequency_rms().powi(2) / count;
    }
    (phase.sqrt(), frequency.sqrt())
}

/// Mean queue, wander, and the smaller RMS error of chrony 4.8 and ntpd-rs 1.9 in the same world.
const BETTER_PEER: [(f64, f64, f64); 8] = [
    (1e-6, 1e-10, 5.5e-7),
    (1e-6, 1e-8, 2.89e-6),
    (1e-5, 1e-9, 5.04e-6),
    (1e-4, 1e-10, 1.13e-5),
    (1e-4, 1e-9, 2.25e-5),
    (1e-4, 1e-7, 1.19e-4),
    (1e-3, 1e-8, 2.47e-4),
    (1e-2, 1e-9, 8.7e-4),
];

#[test]
fn is_more_accurate_than_the_better_peer() {
    for (queue, wander, peer) in BETTER_PEER {
        let (phase, _) = grid_cell(queue, wander, 0..2);
        assert!(
            phase < peer,
            "queue {queue:e}, wander {wander:e}: {phase:e} against {peer:e}"
        );
    }
}

#[test]
fn a_one_way_queue_is_seen_through() {
    let mut world = World::new(1, 1e-9);
    let link = world.link(1e-3, 1e-3, 6);
    world.links[link].queue = [1e-5, 1e-3];
    world.run(20_000);
    world.forget_statistics();
    world.run(60_000);
    // chrony 1.8e-5, ntpd-rs 4.5e-4; half of the mean queue would be 5e-4.
    assert!(world.statistics.rms() < 1.5e-5);
}

#[test]
fn truth_is_inside_the_bound_always_and_inside_the_estimate_nearly_always() {
    let (mut looked, mut outside) = (0, 0);
    for (seed, queue, wander) in [
        (1, 1e-6, 1e-9),
        (2, 1e-4, 1e-10),
        (3, 1e-5, 1e-7),
        (4, 1e-3, 1e-9),
        (5, 1e-2, 1e-8),
    ] {
        let mut world = World::of_the_grid(seed, queue, wander, 6);
        world.frequency = 50e-6;
        world.phase = -0.3;
        world.look_every = 3;
        world.run(30_000);
        assert_eq!(world.statistics.outside_bound, 0, "queue {queue:e}");
        // Small means small: not even the sigma of a single sample's half delay.
        assert!(world.statistics.mean_claim() < 20.0 * world.statistics.rms().max(queue));
        looked += world.statistics.looked;
        outside += world.statistics.outside_estimate;
    }
    assert!(outside * 1000 <= looked, "{outside} of {looked}");
}

#[test]
fn a_cold_start_steps_once_and_never_again() {
    let mut world = World::new(2, 1e-9);
    world.link(5e-3, 1e-4, 6);
    world.frequency = 100e-6;
    world.phase = 0.1;
    world.run(10);
    world.forget_statistics();
    world.run(2000);
    assert!(world.statistics.worst < 1e-3);
    assert_eq!(world.statistics.steps, 0);
}

#[test]
fn a_known_frequency_makes_a_start_smooth() {
    let prior = FrequencyPrior {
        frequency: ntp_time::Frequency::from_ppm(80.0),
        uncertainty: ntp_time::Frequency::from_ppm(0.1),
    };
    let mut world = World::with_prior(3, 1e-9, Some(prior));
    world.link(5e-3, 1e-3, 6);
    world.frequency = 80.1e-6;
    world.run(100);
    let estimate = world.frequency_estimate().unwrap();
    assert!((estimate.as_ratio() - 80.1e-6).abs() < 4e-6);
    assert!(world.discipline.frequency_prior().is_some());
}

#[test]
fn a_machine_without_a_battery_clock_ends_at_microseconds() {
    let mut world = World::new(4, 1e-9).starting_off_by(NtpDuration::from_seconds(-1_800_000_000));
    world.link(5e-5, 1e-6, 4);
    world.frequency = -30e-6;
    world.run(1000);
    assert!(world.error().abs() < 5e-6);
    world.forget_statistics();
    world.run(5000);
    assert!(world.statistics.worst < 5e-6);
    assert_eq!(world.statistics.outside_bound, 0);
}

#[test]
fn a_falseticker_from_the_start_is_outvoted() {
    let mut world = World::new(5, 1e-9);
    for _ in 0..4 {
        world.link(5e-3, 1e-3, 6);
    }
    world.links[0].server_error = 0.05;
    world.run(1000);
    world.forget_statistics();
    world.run(20_000);
    assert!(world.statistics.worst < 1e-3);
    assert_eq!(world.statistics.outside_bound, 0);
    let status = |link: usize| {
        let key = world.links[link].key;
        world.discipline.status(key, world.now()).unwrap()
    };
    assert_eq!(status(0).state, SourceState::Falseticker);
    assert!((status(0).offset.as_seconds_f64() - 0.05).abs() < 5e-3);
    assert_eq!(status(1).state, SourceState::Selected);
    let agreement = world.discipline.agreement(world.now());
    assert!(agreement.majority);
    assert_eq!((agreement.agreeing, agreement.candidates), (3, 4));
}

#[test]
fn a_lone_server_that_jumps_right_after_the_start_is_not_taken_for_a_frequency() {
    for second in [2, 3, 5, 9] {
        let mut world = World::new(26, 1e-9);
        world.link(5e-3, 1e-4, 4);
        world.frequency = 30e-6;
        world.run(second);
        world.links[0].server_error = 13.0;
        world.run(120);
        let frequency = world.frequency_estimate().unwrap().as_ratio();
        assert!((frequency - 30e-6).abs() < 20e-6, "{second}: {frequency}");
        let blamed = |(_, _, outcome): &&_| matches!(outcome, Outcome::Blamed(Blame::Clock));
        assert_eq!(world.statistics.outcomes.iter().filter(blamed).count(), 1);
    }
}

#[test]
fn a_server_that_steps_is_blamed_alone() {
    let mut world = World::new(6, 1e-9);
    for _ in 0..4 {
        world.link(5e-3, 1e-4, 6);
    }
    world.run(10_000);
    world.forget_statistics();
    // Inside its correctness interval, so that only the filter can tell.
    world.links[2].server_error = 3e-3;
    world.run(5000);
    assert!(world.statistics.worst < 1e-4);
    let blames = world.statistics.outcomes.iter();
    let blames: Vec<_> = blames
        .filter(|(_, _, outcome)| matches!(outcome, Outcome::Blamed(_)))
        .collect();
    assert_eq!(blames.len(), 1);
    assert_eq!(
        (blames[0].1, blames[0].2),
        (2, Outcome::Blamed(Blame::Server))
    );
}

#[test]
fn a_foreign_step_is_followed_at_the_third_strike() {
    let mut world = World::of_the_grid(7, 1e-4, 1e-9, 6);
    world.run(10_000);
    world.foreign_step(10e-3);
    world.run(300);
    assert!(world.error().abs() < 5e-4);
    world.forget_statistics();
    world.run(5000);
    assert!(world.statistics.rms() < 5e-5);
}

#[test]
fn three_witnesses_of_four_are_enough_to_blame_the_clock() {
    let mut world = World::new(8, 1e-9);
    for _ in 0..4 {
        world.link(5e-3, 1e-4, 6);
    }
    world.run(10_000);
    world.foreign_step(3e-3);
    // Two rounds of polls; each source by itself would need three.
    world.run(130);
    assert!(world.error().abs() < 3e-4, "{}", world.error());
}

#[test]
fn a_frequency_jump_is_learnt_within_minutes() {
    let mut world = World::of_the_grid(9, 1e-4, 1e-9, 6);
    world.run(10_000);
    world.frequency += 20e-6;
    world.run(1000);
    world.forget_statistics();
    world.run(4000);
    assert!(world.statistics.rms() < 5e-5);
}

#[test]
fn a_small_frequency_jump_is_noticed_though_every_sample_passes_the_gate() {
    let mut world = World::new(9, 1e-10);
    world.link(1e-3, 1e-4, 6);
    world.run(20_000);
    world.forget_statistics();
    world.frequency += 1e-6;
    world.run(3000);
    assert!(world.statistics.worst < 6e-4);
    let blamed =
        |(_, _, outcome): &(i64, usize, Outcome)| *outcome == Outcome::Leaned(Blame::Clock);
    assert!(world.statistics.outcomes.iter().any(blamed));
    assert!(world.error().abs() < 1e-4);
}

#[test]
fn a_server_that_drifts_away_is_left_behind() {
    let mut world = World::new(22, 1e-9);
    for _ in 0..4 {
        world.link(1e-3, 1e-3, 6);
    }
    world.run(20_000);
    world.forget_statistics();
    for _ in 0..4000 {
        world.links[1].server_error += 1e-6;
        world.run(1);
    }
    assert!(world.statistics.worst < 4e-4);
}

#[test]
fn a_longer_route_in_both_directions_moves_nothing() {
    let mut world = World::of_the_grid(10, 1e-4, 1e-9, 6);
    world.run(10_000);
    world.forget_statistics();
    world.links[0].length = [2.6e-3; 2];
    world.run(10_000);
    // chrony's RMS error in this world is 5.8e-4.
    assert!(world.statistics.worst < 1.2e-4);
    assert_eq!(world.statistics.outside_bound, 0);
}

#[test]
fn a_longer_route_in_one_direction_is_remembered_as_a_detour() {
    let mut world = World::of_the_grid(11, 1e-5, 1e-9, 6);
    world.run(10_000);
    world.forget_statistics();
    world.links[0].length = [5.1e-3, 1e-4];
    world.run(5000);
    world.links[0].length = [1e-4; 2];
    world.run(5000);
    // A client that trusts the path would be 2.5 ms off.
    assert!(world.statistics.worst < 2e-4);
}

#[test]
fn sources_come_and_go_without_a_jump() {
    let mut world = World::new(12, 1e-9);
    let figures = |world: &mut World| {
        world.forget_statistics();
        world.run(10_000);
        (world.statistics.rms(), world.statistics.outside_bound)
    };
    world.link(5e-3, 1e-3, 6);
    world.run(20_000);
    for change in 0..4 {
        match change {
            0 => (0..3).for_each(|_| {
                world.link(5e-3, 1e-3, 6);
            }),
            1 => {
                world.remove(0);
                world.remove(1);
            }
            2 => (0..2).for_each(|_| {
                world.link(5e-3, 1e-3, 6);
            }),
            _ => world.remove(3),
        }
        let (rms, outside_bound) = figures(&mut world);
        assert!(rms < 1.5e-4, "after change {change}: {rms:e}");
        assert_eq!(outside_bound, 0);
    }
    assert_eq!(world.statistics.steps, 0);
}

#[test]
fn a_distant_server_is_trusted_only_as_far_as_its_word() {
    let mut world = World::new(13, 1e-9);
    for _ in 0..3 {
        world.link(5e-3, 1e-4, 6);
    }
    // Next door, but its own way to the reference clock is long, and it is wrong by what that may
    // hide.
    let near = world.link(1e-4, 1e-5, 6);
    world.links[near].root_delay = 0.06;
    world.links[near].server_error = 0.01;
    world.run(20_000);
    let status = world
        .discipline
        .status(world.links[near].key, world.now())
        .unwrap();
    assert_eq!(status.state, SourceState::Selected);
    // The three pull against a prior that is six times narrower than the near one's.
    assert!(world.error().abs() < 1e-3, "{}", world.error());
    assert_eq!(world.statistics.outside_bound, 0);
}

#[test]
fn holdover_keeps_the_frequency_and_owns_up_to_the_drift() {
    let mut world = World::of_the_grid(14, 1e-4, 1e-9, 6);
    world.frequency = 40e-6;
    world.run(20_000);
    world.links[0].answers = false;
    world.forget_statistics();
    world.run(20_000);
    assert!(world.error().abs() < 5e-3);
    assert_eq!(world.statistics.outside_bound, 0);
    let now = world.now();
    let figures = world.discipline.report(now, NtpDuration::ZERO).unwrap();
    assert!((figures.bound.as_seconds_f64() - 0.3).abs() < 0.05);
    assert_eq!(world.discipline.agreement(now).agreeing, 0);
    let status = world.discipline.status(world.links[0].key, now).unwrap();
    assert_eq!(status.state, SourceState::Stale);
}

#[test]
fn a_disturbance_of_known_size_costs_only_its_uncertainty() {
    let mut world = World::of_the_grid(15, 1e-4, 1e-9, 6);
    world.run(10_000);
    let now = world.now();
    world.discipline.clock_disturbed(now, 1e-3);
    let sigma = world.discipline.estimate(now).unwrap().phase_sigma;
    assert!((sigma - 1e-3).abs() < 1e-4);
    world.foreign_step(1e-3);
    world.forget_statistics();
    world.run(300);
    assert!(world.error().abs() < 3e-4);
    assert_eq!(world.statistics.outside_bound, 0);
}

#[test]
fn a_leap_second_moves_the_phase_and_nothing_else() {
    let mut world = World::of_the_grid(16, 1e-4, 1e-9, 6);
    world.run(10_000);
    let now = world.now();
    let before = world.discipline.estimate(now).unwrap();
    let second = NtpDuration::from_seconds(1);
    world.discipline.true_time_jumped(-second);
    let after = world.discipline.estimate(now).unwrap();
    assert_eq!(after.phase, before.phase + second);
    assert_eq!(after.frequency, before.frequency);
    // UTC now is a second behind what it was, so the oscillator is a second further ahead.
    world.phase += 1.0;
    world.run(1000);
    assert!(world.statistics.outcomes.is_empty());
}

#[test]
fn a_lost_phase_is_found_by_the_next_sample() {
    let mut world = World::of_the_grid(16, 1e-4, 1e-9, 6);
    world.frequency = 25e-6;
    world.run(10_000);
    world.discipline.forget_phase();
    world.steering.allow_step();
    assert!(world.discipline.estimate(world.now()).is_none());
    world.foreign_step(5.0);
    world.run(70);
    assert!(world.error().abs() < 5e-4);
    let frequency = world.frequency_estimate().unwrap().as_ratio();
    assert!((frequency - world.frequency).abs() < 1e-6);
}

#[test]
fn polls_are_long_in_noise_and_short_in_wander() {
    let mean_interval = |queue, wander| {
        let mut world = World::of_the_grid(17, queue, wander, 4);
        world.look_every = 0;
        world.adapt = Some(PollLimits::default());
        world.run(10_000);
        world.forget_statistics();
        world.run(40_000);
        40_000 / world.statistics.packets
    };
    assert!(mean_interval(1e-3, 1e-10) > 400);
    let middle = mean_interval(1e-4, 1e-8);
    assert!((50..300).contains(&middle), "{middle}");
    assert!(mean_interval(1e-6, 1e-7) <= 17);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let run = || {
        let mut world = World::of_the_grid(18, 1e-4, 1e-9, 6);
        world.run(3000);
        world.error().to_bits()
    };
    assert_eq!(run(), run());
}

/// A measurement that no sane server would cause.
fn garbage(chance: &mut Chance) -> Measurement {
    let any =
        |chance: &mut Chance| NtpDuration::from_bits(chance.bits() as i64 >> (chance.bits() % 64));
    let noises = [0.0, 1e-9, 1e-3, 1.0, f64::NAN, f64::INFINITY, -1.0];
    Measurement {
        at: FreeTime::from_nanos(chance.bits() as i64 >> (chance.bits() % 64)),
        phase: any(chance),
        delay: any(chance).abs(),
        stamp_noise: noises[chance.bits() as usize % noises.len()],
        root_delay: any(chance).abs(),
        root_dispersion: any(chance).abs(),
    }
}

#[test]
fn a_storm_of_garbage_breaks_nothing_and_passes() {
    let config = Config {
        minimum_agreeing_sources: 1,
        // So that garbage comes all the way in.
        maximum_source_uncertainty: NtpDuration::MAX,
        ..Config::default()
    };
    let mut chance = Chance::new(19);
    let mut discipline = Discipline::new(config, None);
    let keys = [discipline.join(), discipline.join(), discipline.join()];
    for round in 0..20_000u64 {
        let measurement = garbage(&mut chance);
        let key = keys[(chance.bits() % 3) as usize];
        discipline.measure(key, &measurement);
        if round % 100 == 0 {
            discipline.clock_disturbed(measurement.at, measurement.stamp_noise);
        }
        if let Some(estimate) = discipline.estimate(measurement.at) {
            assert!(estimate.frequency.as_ratio().is_finite());
            assert!(estimate.phase_sigma.is_finite() && estimate.link_sigma.is_finite());
        }
        discipline.report(measurement.at, measurement.phase);
        discipline.status(key, measurement.at);
        discipline.poll_wish(key, PollLimits::default(), PollInterval::from_log2(6));
    }
    // Afterwards honest sources find the time again.
    for second in 0..200 {
        for key in keys {
            let measurement = Measurement {
                at: FreeTime::from_nanos((1_000_000 + 16 * second) * 1_000_000_000),
                phase: NtpDuration::from_seconds(7)
                    + NtpDuration::from_seconds_f64(1e-4 * chance.normal()),
                delay: NtpDuration::from_millis(10),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::ZERO,
            };
            discipline.measure(key, &measurement);
        }
    }
    let at = FreeTime::from_nanos((1_000_000 + 16 * 200) * 1_000_000_000);
    let estimate = discipline.estimate(at).unwrap();
    assert!((estimate.phase.as_seconds_f64() - 7.0).abs() < 1e-3);
    assert_eq!(discipline.agreement(at).agreeing, 3);
}

#[test]
fn a_thousand_sources_share_sixteen_seats() {
    let mut discipline = Discipline::new(Config::default(), None);
    let keys: Vec<_> = (0..1000).map(|_| discipline.join()).collect();
    let mut spare = 0;
    for round in 0..2 {
        for (index, key) in keys.iter().enumerate() {
            let measurement = Measurement {
                at: FreeTime::from_nanos((64 * round * 1000 + index as i64) * 1_000_000),
                phase: NtpDuration::from_millis(3),
                // The nearest come last, and must get in all the same.
                delay: NtpDuration::from_millis(40 - 36 * (index as i64) / 1000),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::ZERO,
            };
            let outcome = discipline.measure(*key, &measurement);
            spare += usize::from(outcome == Outcome::Spare);
        }
    }
    assert!(spare > 900);
    let now = FreeTime::from_nanos(70_000_000_000);
    let seated: Vec<usize> = (0..1000)
        .filter(|index| discipline.status(keys[*index], now).unwrap().seated)
        .collect();
    assert_eq!(seated.len(), 16);
    assert!(seated.iter().all(|index| *index > 500), "{seated:?}");
    assert_eq!(discipline.selected_count(), 1000);
}

#[test]
fn memory_stays_within_its_budget() {
    let filters = 42 * size_of::<super::hypothesis::Hypothesis>();
    let sources = 8 * size_of::<super::source::Source>();
    assert!(filters + sources + size_of::<Discipline>() < 128 * 1024);
}

#[test]
fn who_left_is_unknown() {
    let mut discipline = Discipline::new(Config::default(), None);
    let key = discipline.join();
    discipline.leave(key);
    let measurement = Measurement {
        stamp_noise: 0.0,
        ..garbage(&mut Chance::new(0))
    };
    assert_eq!(
        discipline.measure(key, &measurement),
        Outcome::Rejected(Rejection::UnknownSource)
    );
    assert_eq!(discipline.status(key, measurement.at), None);
}

#[test]
fn too_few_sources_never_touch_the_clock() {
    let mut world = World::new(20, 1e-9);
    world.discipline.reconfigure(Config::default());
    world.link(5e-3, 1e-3, 4);
    world.link(5e-3, 1e-3, 4);
    world.phase = 1.0;
    world.run(2000);
    assert!(world.discipline.estimate(world.now()).is_none());
    assert_eq!(world.statistics.steps, 0);
    world.link(5e-3, 1e-3, 4);
    world.run(200);
    assert!(world.error().abs() < 5e-3);
}

#[test]
#[ignore = "prints the grid of the accuracy anchors: RMS error of clock and frequency"]
fn print_the_grid() {
    for queue in [1e-6, 1e-5, 1e-4, 1e-3, 1e-2] {
        for wander in [1e-10, 1e-9, 1e-8, 1e-7] {
            let (phase, frequency) = grid_cell(queue, wander, 100..124);
            println!("{queue:e} {wander:e}: {phase:.3e} {frequency:.3e}");
        }
    }
}

#[test]
#[ignore = "prints the grid with free polls: RMS error and mean interval"]
fn print_the_grid_with_free_polls() {
    for queue in [1e-6, 1e-5, 1e-4, 1e-3, 1e-2] {
        for wander in [1e-10, 1e-9, 1e-8, 1e-7] {
            let (mut squares, mut packets) = (0.0, 0);
            for seed in 100..108 {
                let mut world = World::of_the_grid(seed, queue, wander, 4);
                world.look_every = 0;
                world.adapt = Some(PollLimits::default());
                world.run(20_000);
                world.forget_statistics();
                world.run(80_000);
                squares += world.statistics.rms().powi(2) / 8.0;
                packets += world.statistics.packets;
            }
            let (rms, interval) = (f64::sqrt(squares), 8 * 80_000 / packets);
            println!("{queue:e} {wander:e}: {rms:.3e} @{interval}");
        }
    }
}
