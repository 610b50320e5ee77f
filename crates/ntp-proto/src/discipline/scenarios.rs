//! Scenarios for the whole discipline, each in a small simulated world.
//!
//! Limits are generous: they detect defects, not a loss of a few percent. The ignored tests at the
//! end print figures for comparison.

use ntp_time::{FreeTime, NtpDuration, PollInterval, PollLimits};

use super::testworld::{Rng, World};
use super::{
    Cause, Config, Discipline, FrequencyPrior, InvalidMeasurement, Measurement, MeasurementOutcome,
    NoiseLaw, SourceState,
};

/// RMS error of clock and frequency over 40 000 s after the first 10 000 s, pooled over the seeds.
fn grid_cell(queue: f64, wander: f64, seeds: core::ops::Range<u64>) -> (f64, f64) {
    let count = seeds.clone().count() as f64;
    let (mut phase, mut frequency) = (0.0, 0.0);
    for seed in seeds {
        let mut world = World::of_the_grid(seed, queue, wander, 6);
        world.check_every = 0;
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
fn the_error_is_below_that_of_the_better_peer() {
    for (queue, wander, peer) in BETTER_PEER {
        let (phase, _) = grid_cell(queue, wander, 0..2);
        assert!(
            phase < peer,
            "queue {queue:e}, wander {wander:e}: {phase:e} against {peer:e}"
        );
    }
}

#[test]
fn a_one_directional_queue_is_corrected() {
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
fn the_error_is_always_within_the_bound_and_nearly_always_within_the_estimate() {
    let (mut checked, mut outside) = (0, 0);
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
        world.check_every = 3;
        world.run(30_000);
        assert_eq!(world.statistics.outside_bound, 0, "queue {queue:e}");
        // The estimated error is small: below the sigma of a single sample's half delay.
        assert!(world.statistics.mean_estimate() < 20.0 * world.statistics.rms().max(queue));
        checked += world.statistics.checked;
        outside += world.statistics.outside_estimate;
    }
    assert!(outside * 1000 <= checked, "{outside} of {checked}");
}

#[test]
fn a_cold_start_steps_exactly_once() {
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
fn a_frequency_prior_is_used_at_the_start() {
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
fn an_initial_error_of_half_a_century_does_not_reduce_accuracy() {
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
fn a_step_of_the_only_server_right_after_the_start_is_not_learnt_as_a_frequency() {
    for second in [2, 3, 5, 9] {
        let mut world = World::new(26, 1e-9);
        world.link(5e-3, 1e-4, 4);
        world.frequency = 30e-6;
        world.run(second);
        world.links[0].server_error = 13.0;
        world.run(120);
        let frequency = world.frequency_estimate().unwrap().as_ratio();
        assert!((frequency - 30e-6).abs() < 20e-6, "{second}: {frequency}");
        let attributed = |(_, _, outcome): &&_| {
            matches!(outcome, MeasurementOutcome::StepDetected(Cause::Clock))
        };
        assert_eq!(
            world.statistics.outcomes.iter().filter(attributed).count(),
            1
        );
    }
}

#[test]
fn a_step_of_one_server_is_attributed_to_that_server() {
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
    let steps = world.statistics.outcomes.iter();
    let steps: Vec<_> = steps
        .filter(|(_, _, outcome)| matches!(outcome, MeasurementOutcome::StepDetected(_)))
        .collect();
    assert_eq!(steps.len(), 1);
    assert_eq!(
        (steps[0].1, steps[0].2),
        (2, MeasurementOutcome::StepDetected(Cause::Server))
    );
}

#[test]
fn an_unrecorded_step_is_followed_at_the_third_outlier() {
    let mut world = World::of_the_grid(7, 1e-4, 1e-9, 6);
    world.run(10_000);
    world.unrecorded_step(10e-3);
    world.run(300);
    assert!(world.error().abs() < 5e-4);
    world.forget_statistics();
    world.run(5000);
    assert!(world.statistics.rms() < 5e-5);
}

#[test]
fn outliers_of_three_of_four_sources_are_attributed_to_the_clock() {
    let mut world = World::new(8, 1e-9);
    for _ in 0..4 {
        world.link(5e-3, 1e-4, 6);
    }
    world.run(10_000);
    world.unrecorded_step(3e-3);
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
fn a_small_frequency_jump_inside_the_gate_is_detected_as_drift() {
    let mut world = World::new(9, 1e-10);
    world.link(1e-3, 1e-4, 6);
    world.run(20_000);
    world.forget_statistics();
    world.frequency += 2e-6;
    world.run(3000);
    assert!(world.statistics.worst < 6e-4);
    let attributed = |(_, _, outcome): &(i64, usize, MeasurementOutcome)| {
        *outcome == MeasurementOutcome::DriftDetected(Cause::Clock)
    };
    assert!(world.statistics.outcomes.iter().any(attributed));
    assert!(world.error().abs() < 1e-4);
}

#[test]
fn a_drifting_server_does_not_move_the_clock() {
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
    assert!(world.statistics.worst < 2e-4);
}

#[test]
fn a_longer_route_in_both_directions_does_not_move_the_clock() {
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
fn a_longer_route_in_one_direction_becomes_a_bias() {
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
fn adding_and_removing_sources_does_not_move_the_clock() {
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
fn a_server_counts_only_as_far_as_its_root_distance_allows() {
    let mut world = World::new(13, 1e-9);
    for _ in 0..3 {
        world.link(5e-3, 1e-4, 6);
    }
    // Near, but its own root delay is long, and it is wrong by what that may hide.
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
fn holdover_keeps_the_frequency_and_widens_the_bound() {
    let mut world = World::of_the_grid(14, 1e-4, 1e-9, 6);
    world.frequency = 40e-6;
    world.run(20_000);
    world.links[0].answers = false;
    world.forget_statistics();
    world.run(20_000);
    assert!(world.error().abs() < 5e-3);
    assert_eq!(world.statistics.outside_bound, 0);
    let now = world.now();
    let figures = world
        .discipline
        .error_figures(now, NtpDuration::ZERO)
        .unwrap();
    assert!((figures.bound.as_seconds_f64() - 0.3).abs() < 0.05);
    assert_eq!(world.discipline.agreement(now).agreeing, 0);
    let status = world.discipline.status(world.links[0].key, now).unwrap();
    assert_eq!(status.state, SourceState::Stale);
}

#[test]
fn a_known_disturbance_adds_only_its_uncertainty() {
    let mut world = World::of_the_grid(15, 1e-4, 1e-9, 6);
    world.run(10_000);
    let now = world.now();
    world.discipline.handle_disturbance(now, 1e-3);
    let sigma = world.discipline.estimate(now).unwrap().phase_sigma;
    assert!((sigma - 1e-3).abs() < 1e-4);
    world.unrecorded_step(1e-3);
    world.forget_statistics();
    world.run(300);
    assert!(world.error().abs() < 3e-4);
    assert_eq!(world.statistics.outside_bound, 0);
}

#[test]
fn a_leap_second_changes_only_the_phase() {
    let mut world = World::of_the_grid(16, 1e-4, 1e-9, 6);
    world.run(10_000);
    let now = world.now();
    let before = world.discipline.estimate(now).unwrap();
    let second = NtpDuration::from_seconds(1);
    world.discipline.apply_leap_second(-second);
    let after = world.discipline.estimate(now).unwrap();
    assert_eq!(after.phase, before.phase + second);
    assert_eq!(after.frequency, before.frequency);
    // UTC now is a second behind what it was, so the oscillator is a second further ahead.
    world.phase += 1.0;
    world.run(1000);
    assert!(world.statistics.outcomes.is_empty());
}

#[test]
fn a_forgotten_phase_is_initialised_by_the_next_sample() {
    let mut world = World::of_the_grid(16, 1e-4, 1e-9, 6);
    world.frequency = 25e-6;
    world.run(10_000);
    world.discipline.forget_phase();
    world.steering.allow_step();
    assert!(world.discipline.estimate(world.now()).is_none());
    world.unrecorded_step(5.0);
    world.run(70);
    assert!(world.error().abs() < 5e-4);
    let frequency = world.frequency_estimate().unwrap().as_ratio();
    assert!((frequency - world.frequency).abs() < 1e-6);
}

#[test]
fn polls_are_long_in_noise_and_short_in_wander() {
    let mean_interval = |queue, wander| {
        let mut world = World::of_the_grid(17, queue, wander, 4);
        world.check_every = 0;
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
fn the_same_seed_gives_bit_identical_results() {
    let run = || {
        let mut world = World::of_the_grid(18, 1e-4, 1e-9, 6);
        world.run(3000);
        world.error().to_bits()
    };
    assert_eq!(run(), run());
}

/// A measurement with random fields.
fn random_measurement(rng: &mut Rng) -> Measurement {
    let any = |rng: &mut Rng| NtpDuration::from_bits(rng.bits() as i64 >> (rng.bits() % 64));
    let noises = [0.0, 1e-9, 1e-3, 1.0, f64::NAN, f64::INFINITY, -1.0];
    Measurement {
        at: FreeTime::from_nanos(rng.bits() as i64 >> (rng.bits() % 64)),
        phase: any(rng),
        delay: Some(any(rng).abs()),
        stamp_noise: noises[rng.bits() as usize % noises.len()],
        root_delay: any(rng).abs(),
        root_dispersion: any(rng).abs(),
    }
}

#[test]
fn random_measurements_leave_no_lasting_damage() {
    let config = Config {
        minimum_agreeing_sources: 1,
        // So that random measurements pass the selection.
        maximum_source_uncertainty: NtpDuration::MAX,
        ..Config::default()
    };
    let mut rng = Rng::new(19);
    let mut discipline = Discipline::new(config, None);
    let keys = [
        discipline.add_source(NoiseLaw::Queue),
        discipline.add_source(NoiseLaw::Queue),
        discipline.add_source(NoiseLaw::Queue),
    ];
    for round in 0..20_000u64 {
        let measurement = random_measurement(&mut rng);
        let key = keys[(rng.bits() % 3) as usize];
        discipline.add_measurement(key, &measurement);
        if round % 100 == 0 {
            discipline.handle_disturbance(measurement.at, measurement.stamp_noise);
        }
        if let Some(estimate) = discipline.estimate(measurement.at) {
            assert!(estimate.frequency.as_ratio().is_finite());
            assert!(estimate.phase_sigma.is_finite() && estimate.link_sigma.is_finite());
        }
        discipline.error_figures(measurement.at, measurement.phase);
        discipline.status(key, measurement.at);
        discipline.choose_poll(key, PollLimits::default(), PollInterval::from_log2(6));
    }
    // Afterwards correct sources give the right time.
    for second in 0..200 {
        for key in keys {
            let measurement = Measurement {
                at: FreeTime::from_nanos((1_000_000 + 16 * second) * 1_000_000_000),
                phase: NtpDuration::from_seconds(7)
                    + NtpDuration::from_seconds_f64(1e-4 * rng.normal()),
                delay: Some(NtpDuration::from_millis(10)),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::ZERO,
            };
            discipline.add_measurement(key, &measurement);
        }
    }
    let at = FreeTime::from_nanos((1_000_000 + 16 * 200) * 1_000_000_000);
    let estimate = discipline.estimate(at).unwrap();
    assert!((estimate.phase.as_seconds_f64() - 7.0).abs() < 1e-3);
    assert_eq!(discipline.agreement(at).agreeing, 3);
}

#[test]
fn a_thousand_sources_share_sixteen_slots() {
    let mut discipline = Discipline::new(Config::default(), None);
    let keys: Vec<_> = (0..1000)
        .map(|_| discipline.add_source(NoiseLaw::Queue))
        .collect();
    let mut without_slot = 0;
    for round in 0..2 {
        for (index, key) in keys.iter().enumerate() {
            let measurement = Measurement {
                at: FreeTime::from_nanos((64 * round * 1000 + index as i64) * 1_000_000),
                phase: NtpDuration::from_millis(3),
                // The nearest come last, and must get a slot all the same.
                delay: Some(NtpDuration::from_millis(40 - 36 * (index as i64) / 1000)),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::ZERO,
            };
            let outcome = discipline.add_measurement(*key, &measurement);
            without_slot += usize::from(outcome == MeasurementOutcome::NoSlot);
        }
    }
    assert!(without_slot > 900);
    let now = FreeTime::from_nanos(70_000_000_000);
    let with_slot: Vec<usize> = (0..1000)
        .filter(|index| {
            discipline
                .status(keys[*index], now)
                .unwrap()
                .in_joint_estimate
        })
        .collect();
    assert_eq!(with_slot.len(), 16);
    assert!(with_slot.iter().all(|index| *index > 500), "{with_slot:?}");
    assert_eq!(discipline.selected_count(), 1000);
}

#[test]
fn memory_of_eight_sources_is_below_144_kib() {
    let filters = 42 * size_of::<super::hypothesis::Hypothesis>();
    let sources = 8 * size_of::<super::source::Source>();
    let pairs = 8 * 7 / 2 * super::pairs::Pairs::SIZE_OF_A_PAIR;
    assert!(filters + sources + pairs + size_of::<Discipline>() < 144 * 1024);
}

#[test]
fn a_removed_source_is_unknown() {
    let mut discipline = Discipline::new(Config::default(), None);
    let key = discipline.add_source(NoiseLaw::Queue);
    discipline.remove_source(key);
    let measurement = Measurement {
        stamp_noise: 0.0,
        ..random_measurement(&mut Rng::new(0))
    };
    assert_eq!(
        discipline.add_measurement(key, &measurement),
        MeasurementOutcome::Rejected(InvalidMeasurement::UnknownSource)
    );
    assert_eq!(discipline.status(key, measurement.at), None);
}

#[test]
fn too_few_agreeing_sources_do_not_adjust_the_clock() {
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

/// Samples a reference clock every 4 s, whose stated noise is 10 us and whose noise is `actual`
/// seconds. Returns the RMS error of the estimate and the share of outliers after ten minutes.
fn sampled_without_delay(actual: f64) -> (f64, f64) {
    let config = Config {
        minimum_agreeing_sources: 1,
        ..Config::default()
    };
    let mut discipline = Discipline::new(config, None);
    let sigma = NtpDuration::from_micros(10);
    let key = discipline.add_source(NoiseLaw::Gaussian { sigma });
    let mut rng = Rng::new(5);
    let (mut squares, mut outliers, mut count) = (0.0, 0.0, 0.0);
    for seconds in (0..7200).step_by(4) {
        let at = FreeTime::from_nanos(seconds * 1_000_000_000);
        let truth = 0.2 + 5e-6 * seconds as f64;
        let measurement = Measurement {
            at,
            phase: NtpDuration::from_seconds_f64(truth + actual * rng.normal()),
            delay: None,
            stamp_noise: 1e-7,
            root_delay: NtpDuration::ZERO,
            root_dispersion: NtpDuration::from_micros(500),
        };
        let outcome = discipline.add_measurement(key, &measurement);
        if seconds >= 600 {
            let estimate = discipline.estimate(at).unwrap();
            squares += (estimate.phase.as_seconds_f64() - truth).powi(2);
            outliers += f64::from(u8::from(outcome != MeasurementOutcome::Used));
            count += 1.0;
        }
    }
    (f64::sqrt(squares / count), outliers / count)
}

#[test]
fn samples_without_a_delay_are_averaged_by_their_stated_noise() {
    let (rms, outliers) = sampled_without_delay(10e-6);
    assert!(rms < 4e-6 && outliers < 0.01, "{rms:e} {outliers}");
}

#[test]
fn an_understated_noise_is_learnt() {
    let (rms, outliers) = sampled_without_delay(200e-6);
    assert!(rms < 80e-6 && outliers < 0.01, "{rms:e} {outliers}");
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
                world.check_every = 0;
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
