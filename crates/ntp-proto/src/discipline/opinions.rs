//! What the operator's opinions do to the vote: scenarios of a few samples each.

use ntp_time::{FreeTime, NtpDuration};

use super::{Config, Discipline, Measurement, Opinion, SourceKey, SourceState};

const PLAIN: Opinion = Opinion {
    prefer: false,
    trust: false,
    require: false,
    noselect: false,
};

/// Sources whose servers are wrong by so many milliseconds, each heard a few times over a path of 2 ms.
fn heard(minimum: usize, sources: &[(f64, Opinion)]) -> (Discipline, Vec<SourceKey>) {
    let config = Config {
        minimum_agreeing_sources: minimum,
        some_required: sources.iter().any(|(_, opinion)| opinion.require),
        ..Config::default()
    };
    let mut discipline = Discipline::new(config, None);
    let keys: Vec<_> = sources.iter().map(|_| discipline.join()).collect();
    for (key, (_, opinion)) in keys.iter().zip(sources) {
        discipline.set_opinion(*key, *opinion);
    }
    for round in 0..4 {
        for (key, (wrong_ms, _)) in keys.iter().zip(sources) {
            let measurement = Measurement {
                at: FreeTime::from_nanos(round * 2_000_000_000),
                phase: NtpDuration::from_seconds_f64(wrong_ms * 1e-3),
                delay: NtpDuration::from_millis(2),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::ZERO,
            };
            discipline.measure(*key, &measurement);
        }
    }
    (discipline, keys)
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
fn one_trusted_source_outweighs_three_that_agree_against_it() {
    let trust = Opinion {
        trust: true,
        ..PLAIN
    };
    let sources = [(50.0, PLAIN), (50.0, PLAIN), (50.0, PLAIN), (0.0, trust)];
    let (discipline, keys) = heard(1, &sources);
    use SourceState::{Falseticker, Selected};
    assert_eq!(
        states(&discipline, &keys),
        [Falseticker, Falseticker, Falseticker, Selected]
    );
    assert!(phase_ms(&discipline).is_some_and(|phase| phase.abs() < 0.1));
}

#[test]
fn those_who_agree_with_the_trusted_are_used_and_count() {
    let trust = Opinion {
        trust: true,
        ..PLAIN
    };
    let sources = [(0.2, PLAIN), (0.1, PLAIN), (50.0, PLAIN), (0.0, trust)];
    let (discipline, keys) = heard(3, &sources);
    use SourceState::{Falseticker, Selected};
    assert_eq!(
        states(&discipline, &keys),
        [Selected, Selected, Falseticker, Selected]
    );
}

#[test]
fn a_preferred_source_replaces_the_others_of_the_majority_but_not_the_vote() {
    let prefer = Opinion {
        prefer: true,
        ..PLAIN
    };
    let (discipline, keys) = heard(3, &[(0.3, PLAIN), (0.4, PLAIN), (0.0, prefer)]);
    use SourceState::{Falseticker, Outranked, Selected};
    assert_eq!(states(&discipline, &keys), [Outranked, Outranked, Selected]);
    assert_eq!(phase_ms(&discipline).map(f64::round), Some(0.0));

    let (discipline, keys) = heard(2, &[(0.3, PLAIN), (0.4, PLAIN), (50.0, prefer)]);
    assert_eq!(
        states(&discipline, &keys),
        [Selected, Selected, Falseticker]
    );
}

#[test]
fn without_a_required_source_nothing_is_known() {
    let require = Opinion {
        require: true,
        ..PLAIN
    };
    let (discipline, _) = heard(1, &[(0.0, PLAIN), (0.0, PLAIN), (50.0, require)]);
    assert_eq!(phase_ms(&discipline), None);
    let (discipline, _) = heard(1, &[(0.0, PLAIN), (50.0, PLAIN), (0.0, require)]);
    assert!(phase_ms(&discipline).is_some());
}

#[test]
fn what_is_not_to_be_selected_neither_votes_nor_moves_anything() {
    let noselect = Opinion {
        noselect: true,
        ..PLAIN
    };
    let (mut discipline, keys) = heard(1, &[(50.0, noselect), (50.0, noselect), (0.0, PLAIN)]);
    use SourceState::{Ineligible, Selected};
    assert_eq!(
        states(&discipline, &keys),
        [Ineligible, Ineligible, Selected]
    );
    // The engine calls every source that answers eligible; the operator's word is the last.
    discipline.set_eligible(keys[0], true);
    assert_eq!(states(&discipline, &keys)[0], Ineligible);
}
