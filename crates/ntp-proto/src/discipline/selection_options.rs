//! Effect of the selection options: scenarios of a few samples each.

use ntp_time::{FreeTime, NtpDuration};

use super::{Config, Discipline, Measurement, NoiseLaw, SelectionOptions, SourceKey, SourceState};

const PLAIN: SelectionOptions = SelectionOptions {
    prefer: false,
    trust: false,
    require: false,
    noselect: false,
    fallback: false,
};

/// A discipline with four samples of each source. The servers are wrong by the given milliseconds,
/// the paths are 2 ms long.
fn measured(minimum: usize, sources: &[(f64, SelectionOptions)]) -> (Discipline, Vec<SourceKey>) {
    let config = Config {
        minimum_agreeing_sources: minimum,
        some_required: sources.iter().any(|(_, options)| options.require),
        ..Config::default()
    };
    let mut discipline = Discipline::new(config, None);
    let keys: Vec<_> = sources
        .iter()
        .map(|_| discipline.add_source(NoiseLaw::Queue))
        .collect();
    for (key, (_, options)) in keys.iter().zip(sources) {
        discipline.set_selection_options(*key, *options);
    }
    for round in 0..4 {
        for (key, (wrong_ms, _)) in keys.iter().zip(sources) {
            discipline.add_measurement(*key, &sample(round, *wrong_ms));
        }
    }
    (discipline, keys)
}

/// A sample of a server that is wrong by so many milliseconds; rounds are 2 s apart.
fn sample(round: i64, wrong_ms: f64) -> Measurement {
    Measurement {
        at: FreeTime::from_nanos(round * 2_000_000_000),
        phase: NtpDuration::from_seconds_f64(wrong_ms * 1e-3),
        delay: Some(NtpDuration::from_millis(2)),
        stamp_noise: 1e-6,
        root_delay: NtpDuration::ZERO,
        root_dispersion: NtpDuration::ZERO,
    }
}

fn states(discipline: &Discipline, keys: &[SourceKey]) -> Vec<SourceState> {
    let now = FreeTime::from_nanos(6_000_000_000);
    let status = |key: &SourceKey| discipline.status(*key, now).map(|status| status.state);
    keys.iter().filter_map(status).collect()
}

fn phase_ms(discipline: &Discipline) -> Option<f64> {
    let estimate = discipline.estimate(FreeTime::from_nanos(6_000_000_000))?;
    Some(estimate.phase.as_seconds_f64() * 1e3)
}

#[test]
fn one_trusted_source_outvotes_three_others_that_agree() {
    let trust = SelectionOptions {
        trust: true,
        ..PLAIN
    };
    let sources = [(50.0, PLAIN), (50.0, PLAIN), (50.0, PLAIN), (0.0, trust)];
    let (discipline, keys) = measured(1, &sources);
    use SourceState::{Falseticker, Selected};
    assert_eq!(
        states(&discipline, &keys),
        [Falseticker, Falseticker, Falseticker, Selected]
    );
    assert!(phase_ms(&discipline).is_some_and(|phase| phase.abs() < 0.1));
}

#[test]
fn sources_that_agree_with_a_trusted_one_are_counted_and_not_used() {
    let trust = SelectionOptions {
        trust: true,
        ..PLAIN
    };
    let sources = [(0.2, PLAIN), (0.1, PLAIN), (50.0, PLAIN), (0.0, trust)];
    let (discipline, keys) = measured(3, &sources);
    use SourceState::{Falseticker, Outranked, Selected};
    assert_eq!(
        states(&discipline, &keys),
        [Outranked, Outranked, Falseticker, Selected]
    );
    assert!(phase_ms(&discipline).is_some_and(|phase| phase.abs() < 0.01));
}

#[test]
fn sources_with_precedence_set_the_phase_also_if_they_come_later() {
    let options = |prefer, trust| SelectionOptions {
        prefer,
        trust,
        ..PLAIN
    };
    // Without precedence the last source, which the others contradict or not, is one of four.
    for (wrong_ms, precedence) in [
        (0.4, options(true, false)),
        (0.4, options(false, true)),
        (50.0, options(false, true)),
    ] {
        for precede_from_start in [false, true] {
            let mut sources = vec![(wrong_ms, PLAIN); 3];
            sources.push((0.0, PLAIN));
            let last = if precede_from_start {
                precedence
            } else {
                PLAIN
            };
            sources[3].1 = last;
            let (mut discipline, keys) = measured(1, &sources[..3]);
            let key = discipline.add_source(NoiseLaw::Queue);
            discipline.set_selection_options(key, last);
            let measure = |discipline: &mut Discipline, rounds: core::ops::Range<i64>| {
                for round in rounds {
                    for (key, wrong_ms) in
                        keys.iter().map(|key| (*key, wrong_ms)).chain([(key, 0.0)])
                    {
                        discipline.add_measurement(key, &sample(round, wrong_ms));
                    }
                }
            };
            measure(&mut discipline, 4..8);
            discipline.set_selection_options(key, precedence);
            measure(&mut discipline, 8..12);
            let estimate = discipline.estimate(FreeTime::from_nanos(22_000_000_000));
            let phase = estimate.map(|it| it.phase.as_seconds_f64() * 1e3);
            assert!(
                phase.is_some_and(|phase| phase.abs() < 0.01),
                "{wrong_ms} ms, {precedence:?}, from the start {precede_from_start}: {phase:?}"
            );
        }
    }
}

#[test]
fn a_preferred_source_replaces_the_others_only_as_part_of_the_majority() {
    let prefer = SelectionOptions {
        prefer: true,
        ..PLAIN
    };
    let (discipline, keys) = measured(3, &[(0.3, PLAIN), (0.4, PLAIN), (0.0, prefer)]);
    use SourceState::{Falseticker, Outranked, Selected};
    assert_eq!(states(&discipline, &keys), [Outranked, Outranked, Selected]);
    assert_eq!(phase_ms(&discipline).map(f64::round), Some(0.0));

    let (discipline, keys) = measured(2, &[(0.3, PLAIN), (0.4, PLAIN), (50.0, prefer)]);
    assert_eq!(
        states(&discipline, &keys),
        [Selected, Selected, Falseticker]
    );
}

#[test]
fn there_is_no_estimate_without_a_required_source() {
    let require = SelectionOptions {
        require: true,
        ..PLAIN
    };
    let (discipline, _) = measured(1, &[(0.0, PLAIN), (0.0, PLAIN), (50.0, require)]);
    assert_eq!(phase_ms(&discipline), None);
    let (discipline, _) = measured(1, &[(0.0, PLAIN), (50.0, PLAIN), (0.0, require)]);
    assert!(phase_ms(&discipline).is_some());
}

#[test]
fn a_noselect_source_has_no_vote_and_is_never_used() {
    let noselect = SelectionOptions {
        noselect: true,
        ..PLAIN
    };
    let (mut discipline, keys) = measured(1, &[(50.0, noselect), (50.0, noselect), (0.0, PLAIN)]);
    use SourceState::{Selected, Unusable};
    assert_eq!(states(&discipline, &keys), [Unusable, Unusable, Selected]);
    // The engine makes every source that answers eligible; `noselect` overrides that.
    discipline.set_eligible(keys[0], true);
    assert_eq!(states(&discipline, &keys)[0], Unusable);
}
