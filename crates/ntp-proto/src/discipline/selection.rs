//! Selection: which sources are used, and where the truth must be.
//!
//! [`intersection`](super::intersection) has the geometry of intervals; this module applies it to
//! sources. A source is a *candidate* if it is eligible, has answered recently and is certain
//! enough. All candidates are *voters*, unless some of them are trusted: then only those are, and
//! the others only confirm the result. The result is valid if a majority of the voters agree, the
//! candidates are a majority of the sources that were polled, as many sources agree as configured,
//! and a required source is among them.
//!
//! # Precedence
//! Of the sources that agree, those with precedence are *in use*: the trusted ones if any source is
//! trusted, and of these the preferred ones if any is preferred. The others must not move the
//! estimate, neither by new samples nor by what they left in it: a source without precedence may be
//! wrong by the whole interval of the one that has it. It therefore gives up its slot in the joint
//! state, see `Discipline::apply_precedence`.
//!
//! # Fallback
//! Sources with `fallback` are not eligible while the engine holds them back (`engine/fallback`). When
//! they take part, each selection also decides whether the others would be a majority by themselves,
//! upon which the engine holds them back again. Until then all vote; as many must agree as
//! configured, but not more than there are sources with `fallback`, because the number is meant for
//! the others. The bound covers the intervals of all selected sources: any of them may be the one
//! with which the absent others would agree.

use ntp_time::{FreeTime, NtpDuration};

use super::intersection::{
    Agreement, Interval, Overlap, end_of_overlap, is_majority, largest_overlap, majority_span,
};
use super::source::{DatedInterval, Propagation, Source, SourceKey};
use super::{Discipline, Guarantee};

/// Hysteresis: a source displaces another, as reference or from its slot in the joint state, only
/// if its root distance is below this share of the other's. Equal sources must not alternate: our
/// own clients see the reference, and a change of slots loses a bias. A share closer to 1
/// alternates more easily, a smaller one keeps worse sources for longer.
pub(super) const CLEARLY_NEARER: f64 = 0.8;

/// Hysteresis in time: another source must have been clearly nearer without interruption for this
/// long, in seconds, and for [`REFERENCE_HOLD_SAMPLES`] samples of the reference, before it becomes
/// the reference. Clients see the reference as our stratum and reference ID; with less, the last
/// source that answered on a local network is the nearest.
const REFERENCE_HOLD: f64 = 128.0;
/// See [`REFERENCE_HOLD`]. With less, the age of its last sample alone would replace a reference.
const REFERENCE_HOLD_SAMPLES: f64 = 2.0;

/// Conditions under which a source is a candidate at some time.
struct CandidateCriteria {
    now: FreeTime,
    propagation: Propagation,
    /// Largest half-width of a candidate's interval, seconds.
    widest: f64,
    /// Whether sources with `fallback` are left out.
    regular_only: bool,
}

impl CandidateCriteria {
    /// Whether the source may be a candidate, as far as `fallback` is concerned.
    fn admits(&self, source: &Source) -> bool {
        !(self.regular_only && source.options.fallback)
    }

    /// Interval of the source at `now`, if it is a candidate.
    fn interval(&self, source: &Source) -> Option<Interval> {
        let last = source
            .last
            .filter(|_| self.admits(source) && source.eligible)
            .filter(|_| source.unsteady.is_none() && !source.is_stale(self.now))?;
        let interval = last.propagate(&self.propagation);
        (interval.half_width <= self.widest).then_some(interval)
    }
}

/// Sources that take part in the vote.
struct Voters {
    /// Whether only trusted sources vote.
    trusted_only: bool,
    /// Number of voters.
    count: usize,
    /// Number of sources that were polled and have not answered yet, as far as they matter.
    unanswered: usize,
    /// Number of sources that would vote but have no usable interval: unanswered, stale, too
    /// uncertain, or unreachable. A source that has never answered and is not waited for any more
    /// is none of them: nothing shows that there is a server.
    absent: usize,
    /// Whether a trusted source has not answered yet and is still eligible.
    awaiting_trusted: bool,
}

impl Voters {
    /// Number of sources that must agree for a majority, `minimum` at least: half of the voters, or
    /// of those without which there are too few candidates.
    fn required_agreement(&self, minimum: usize) -> usize {
        let quorum = self.count.max((self.count + self.unanswered) / 2 + 1);
        minimum.max(quorum / 2 + 1)
    }

    /// Number of voters that are right at least, if most of those that should vote are right: all
    /// absent ones may be among the right ones.
    fn required_overlap(&self) -> usize {
        let most = (self.count + self.absent) / 2 + 1;
        most.saturating_sub(self.absent)
    }
}

impl Discipline {
    /// Selects the sources that are part of the majority, and those of them that are used. Returns
    /// where the truth must be, if there is a majority.
    pub(super) fn select(&mut self, now: FreeTime) -> Option<Guarantee> {
        if self.filter_time.is_none() {
            // Intervals are compared as `f64`, which is exact enough near a phase of one of them.
            let newest = self.sources.iter().filter_map(|source| source.last);
            if let Some(newest) = newest.max_by_key(|interval| interval.at) {
                self.origin = newest.phase;
            }
        }
        let expected = self.bank.moments().phase;
        let mut criteria = CandidateCriteria {
            now,
            propagation: self.propagation(now, self.frequency_sigma()),
            widest: self.config.maximum_source_uncertainty.as_seconds_f64(),
            regular_only: true,
        };
        let fallback = |source: &Source| source.options.fallback && source.eligible;
        let fallback_votes = self.sources.iter().any(fallback);
        if fallback_votes {
            self.vote(&criteria, expected);
            self.regular_majority = self.agreement.majority;
        }
        criteria.regular_only = false;
        let voters = self.vote(&criteria, expected);
        if !fallback_votes {
            self.regular_majority = self.agreement.majority;
        }
        if !self.agreement.majority {
            return None;
        }
        let span = match voters.required_overlap() {
            _ if fallback_votes => self.union_of_selected(&criteria.propagation)?,
            0 | 1 => self.union_of_selected(&criteria.propagation)?,
            required_overlap => majority_span(&self.edges, required_overlap)?,
        };
        self.guarantee_of(span, &criteria.propagation)
    }

    /// Decides which sources are part of the majority of the candidates, and which of them are used.
    fn vote(&mut self, criteria: &CandidateCriteria, expected: f64) -> Voters {
        let voters = self.collect_voters(criteria);
        let overlap = largest_overlap(&mut self.edges, expected);
        self.mark_selected(criteria, &voters, overlap);
        voters
    }

    /// Number of sources that must agree at least.
    pub(super) fn minimum_agreeing(&self, regular_only: bool) -> usize {
        let configured = self.config.minimum_agreeing_sources.max(1);
        let fallback =
            |source: &&Source| source.options.fallback && !source.options.noselect && !regular_only;
        match self.sources.iter().filter(fallback).count() {
            0 => configured,
            count => configured.min(count),
        }
    }

    /// Whether the sources without [`SelectionOptions::fallback`](super::SelectionOptions) were a
    /// majority by themselves at the last sample, and still answer at `at`.
    pub fn regular_majority(&self, at: FreeTime) -> bool {
        self.regular_majority && self.agreement(at).majority
    }

    /// Repeats the selection after sources or their options changed, with their last samples. The
    /// guarantee follows from the samples that were used, and stays until the next one.
    pub fn reselect(&mut self, now: FreeTime) {
        self.prediction.take();
        self.select(now);
    }

    /// Standard deviation of the oscillator's frequency, s/s: the prior's before the start.
    pub(super) fn frequency_sigma(&self) -> f64 {
        match self.filter_time {
            Some(_) => self.bank.moments().frequency_variance.max(0.0).sqrt(),
            None => self.prior.uncertainty.as_ratio(),
        }
    }

    /// Collects the edges of the voters' intervals.
    fn collect_voters(&mut self, criteria: &CandidateCriteria) -> Voters {
        let trusted = |source: &Source| source.options.trust && criteria.interval(source).is_some();
        let trusted_only = self.sources.iter().any(trusted);
        let unanswered =
            |source: &Source| source.eligible && source.last.is_none() && criteria.admits(source);
        let awaited = |source: &Source| unanswered(source) && source.options.trust;
        let running = self.estimate_exists();
        self.edges.clear();
        for source in &self.sources {
            if let Some(interval) = criteria
                .interval(source)
                .filter(|_| !trusted_only || source.options.trust)
            {
                self.edges.extend(interval.edges());
            }
        }
        Voters {
            trusted_only,
            count: self.edges.len() / 2,
            // A minority that answers first must not start the clock. Once it runs, new sources do
            // not count before they answer; with trusted sources the others are not waited for.
            unanswered: if running || trusted_only {
                0
            } else {
                let unanswered = |source: &&Source| unanswered(source);
                self.sources.iter().filter(unanswered).count()
            },
            absent: self
                .sources
                .iter()
                .filter(|source| {
                    (source.eligible || source.samples > 0) && source.unsteady.is_none()
                })
                .filter(|source| criteria.admits(source))
                .filter(|source| {
                    !source.options.noselect && (!trusted_only || source.options.trust)
                })
                .filter(|source| criteria.interval(source).is_none())
                .count(),
            awaiting_trusted: !running && self.sources.iter().any(awaited),
        }
    }

    /// Marks the sources that agree, and those of them that are used.
    fn mark_selected(
        &mut self,
        criteria: &CandidateCriteria,
        voters: &Voters,
        overlap: Option<Overlap>,
    ) {
        let end = overlap.map_or(0.0, |overlap| end_of_overlap(&self.edges, overlap.point));
        let (mut agreeing, mut candidates) = (0, 0);
        for source in &mut self.sources {
            let interval = criteria.interval(source);
            candidates += usize::from(interval.is_some());
            source.selected = overlap.zip(interval).is_some_and(|(overlap, interval)| {
                if voters.trusted_only && !source.options.trust {
                    interval.overlaps(overlap.point, end)
                } else {
                    interval.contains(overlap.point)
                }
            });
            agreeing += usize::from(source.selected);
        }
        let decided = overlap.is_some_and(|overlap| {
            is_majority(
                overlap.agreeing,
                voters.count,
                voters.count + voters.unanswered,
            )
        });
        let required = |source: &Source| source.selected && source.options.require;
        let satisfied = !self.config.some_required || self.sources.iter().any(required);
        let minimum = self.minimum_agreeing(criteria.regular_only);
        let majority = decided && satisfied && !voters.awaiting_trusted && agreeing >= minimum;
        self.agreement = Agreement {
            agreeing,
            candidates,
            required: voters.required_agreement(minimum),
            majority,
        };
        let permitted = |source: &Source| !voters.trusted_only || source.options.trust;
        let preferred =
            |source: &Source| source.selected && permitted(source) && source.options.prefer;
        let preferred_only = self.sources.iter().any(preferred);
        for source in &mut self.sources {
            let held_back = source.options.fallback && source.options.noselect;
            source.has_precedence = permitted(source)
                && (!preferred_only || source.options.prefer)
                && source.unsteady.is_none()
                && !held_back;
            source.selected &= majority;
            source.in_use = source.selected && source.has_precedence;
        }
    }

    /// Smallest interval that contains the intervals of all selected sources.
    fn union_of_selected(&self, propagation: &Propagation) -> Option<Interval> {
        let selected = self.sources.iter().filter(|source| source.selected);
        let intervals = selected.filter_map(|source| Some(source.last?.propagate(propagation)));
        intervals.reduce(Interval::hull)
    }

    /// The guarantee for `span`, with the reference source.
    fn guarantee_of(&mut self, span: Interval, propagation: &Propagation) -> Option<Guarantee> {
        let (best, last) = self.reference(propagation)?;
        Some(Guarantee {
            interval: DatedInterval {
                at: propagation.now,
                phase: self.origin + NtpDuration::from_seconds_f64(span.centre),
                half_width: span.half_width,
                root_delay: last.root_delay,
            },
            best,
        })
    }

    /// Lets a source that is clearly nearer become the reference with the next sample, however short
    /// it has been so.
    pub fn release_reference(&mut self) {
        self.reference_beaten = Some(FreeTime::from_nanos(i64::MIN));
    }

    /// The nearest source in use, by root distance. The previous one stays until others have been
    /// clearly nearer for long enough.
    fn reference(&mut self, propagation: &Propagation) -> Option<(SourceKey, DatedInterval)> {
        let used = self.sources.iter().filter(|source| source.in_use);
        let intervals = used.filter_map(|source| Some((source.key, source.last?)));
        // The frequency uncertainty is left out: at the start it would make the newest the nearest.
        let allowance = self.drift_allowance(propagation.now).as_ratio();
        let distance = |interval: &DatedInterval| {
            let age = (propagation.now - interval.at).as_seconds_f64();
            interval.half_width + allowance * age.abs()
        };
        let nearest = intervals.min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1)))?;
        let before = self
            .guarantee
            .and_then(|guarantee| self.source(guarantee.best));
        let before = before.filter(|source| source.in_use);
        let before = before.and_then(|source| {
            let hold = REFERENCE_HOLD.max(REFERENCE_HOLD_SAMPLES * source.spacing());
            Some((source.key, source.last?, hold))
        });
        let Some((key, last, hold)) = before else {
            self.reference_beaten = None;
            return Some(nearest);
        };
        let beaten = distance(&nearest.1) < CLEARLY_NEARER * distance(&last);
        let since = beaten.then(|| self.reference_beaten.unwrap_or(propagation.now));
        let replace = since.is_some_and(|since| (propagation.now - since).as_seconds_f64() >= hold);
        self.reference_beaten = since.filter(|_| !replace);
        Some(if replace { nearest } else { (key, last) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Measurement, NoiseLaw};
    use super::*;

    #[test]
    fn the_reference_changes_only_to_a_clearly_nearer_source() {
        let config = Config {
            minimum_agreeing_sources: 1,
            ..Config::default()
        };
        let mut discipline = Discipline::new(config, None);
        let keys = [
            discipline.add_source(NoiseLaw::Queue),
            discipline.add_source(NoiseLaw::Queue),
        ];
        let measure = |discipline: &mut Discipline, seconds: i64, key, delay_us| {
            let at = FreeTime::from_nanos(seconds * 1_000_000_000);
            let measurement = Measurement {
                at,
                phase: NtpDuration::ZERO,
                delay: Some(NtpDuration::from_micros(delay_us)),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::from_millis(1),
            };
            discipline.add_measurement(key, &measurement);
            discipline
                .error_figures(at, NtpDuration::ZERO)
                .map(|figures| figures.best)
        };
        measure(&mut discipline, 0, keys[0], 1000);
        let first = measure(&mut discipline, 1, keys[1], 1000);
        assert!(first.is_some());
        // The nearer one of both varies; the first remains.
        for second in 2..40 {
            let key = keys[second as usize % 2];
            assert_eq!(
                measure(&mut discipline, second, key, 900 + (second * 37) % 200),
                first,
                "second {second}"
            );
        }
        let (first, other) = if first == Some(keys[0]) {
            (keys[0], keys[1])
        } else {
            (keys[1], keys[0])
        };
        // The reference moves away, and returns before the time is up.
        for second in 40..160 {
            assert_eq!(
                measure(&mut discipline, second, first, 4000),
                Some(first),
                "second {second}"
            );
        }
        measure(&mut discipline, 160, first, 1000);
        for second in 161..288 {
            measure(&mut discipline, second, other, 1000);
            assert_eq!(
                measure(&mut discipline, second, first, 4000),
                Some(first),
                "second {second}"
            );
        }
        measure(&mut discipline, 289, other, 1000);
        assert_eq!(
            measure(&mut discipline, 290, first, 4000),
            Some(other),
            "one that was clearly nearer for two minutes takes over"
        );
        discipline.release_reference();
        measure(&mut discipline, 291, first, 100);
        let reference = measure(&mut discipline, 292, first, 100);
        assert_eq!(reference, Some(first), "released by an operator");
    }

    #[test]
    fn the_phase_starts_from_the_narrowest_interval_not_the_last_answer() {
        let mut discipline = Discipline::new(Config::default(), None);
        let keys = [
            discipline.add_source(NoiseLaw::Queue),
            discipline.add_source(NoiseLaw::Queue),
            discipline.add_source(NoiseLaw::Queue),
        ];
        // The whole delay is in one direction.
        for (key, delay_ms) in keys.into_iter().zip([10, 40, 200]) {
            let measurement = Measurement {
                at: FreeTime::from_nanos(delay_ms * 1_000_000),
                phase: NtpDuration::from_millis(-delay_ms / 2),
                delay: Some(NtpDuration::from_millis(delay_ms)),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::ZERO,
            };
            discipline.add_measurement(key, &measurement);
        }
        let now = FreeTime::from_nanos(200_000_000);
        let phase = discipline.estimate(now).expect("a majority").phase;
        assert!(phase.abs() < NtpDuration::from_millis(20), "{phase:?}");
    }

    /// A measurement at some millisecond of a server that is wrong by `phase_ms` and states an error
    /// of `dispersion_ms`.
    fn measurement(at_ms: i64, phase_ms: i64, dispersion_ms: i64) -> Measurement {
        Measurement {
            at: FreeTime::from_nanos(at_ms * 1_000_000),
            phase: NtpDuration::from_millis(phase_ms),
            delay: Some(NtpDuration::from_millis(1)),
            stamp_noise: 1e-6,
            root_delay: NtpDuration::ZERO,
            root_dispersion: NtpDuration::from_millis(dispersion_ms),
        }
    }

    #[test]
    fn sources_that_never_answered_leave_the_bound_to_those_that_did() {
        let mut discipline = Discipline::new(Config::default(), None);
        let answering: Vec<_> = (0..28)
            .map(|_| discipline.add_source(NoiseLaw::Queue))
            .collect();
        let dead: Vec<_> = (0..26)
            .map(|_| discipline.add_source(NoiseLaw::Queue))
            .collect();
        for key in dead {
            discipline.set_eligible(key, false);
        }
        let bound_ms = |discipline: &Discipline, at_ms: i64| {
            let at = FreeTime::from_nanos(at_ms * 1_000_000);
            let figures = discipline.error_figures(at, NtpDuration::ZERO);
            figures.map(|figures| (figures.bound.as_seconds_f64() * 1e3).round())
        };
        for round in 0..4 {
            for (place, key) in (0..).zip(&answering) {
                // The last two are servers whose clock counts seconds.
                let dispersion_ms = if place < 26 { 1 } else { 630 };
                let sample = measurement(2000 * round + place, 0, dispersion_ms);
                discipline.add_measurement(*key, &sample);
            }
        }
        let bound = bound_ms(&discipline, 6100);
        assert!(bound.is_some_and(|bound| bound < 10.0), "{bound:?}");
        // Those that have answered may be among those that are right.
        for key in &answering[..24] {
            discipline.set_eligible(*key, false);
        }
        discipline.add_measurement(answering[24], &measurement(6200, 0, 1));
        let bound = bound_ms(&discipline, 6200);
        assert!(bound.is_some_and(|bound| bound > 600.0), "{bound:?}");
    }

    #[test]
    fn the_required_number_is_a_majority_at_least() {
        for (configured, sources, agreeing, required) in [
            (1, 1, 1, 1),
            (1, 2, 1, 2),
            (1, 4, 1, 3),
            (3, 4, 1, 3),
            (3, 2, 1, 3),
        ] {
            let config = Config {
                minimum_agreeing_sources: configured,
                ..Config::default()
            };
            let mut discipline = Discipline::new(config, None);
            let keys: Vec<_> = (0..sources)
                .map(|_| discipline.add_source(NoiseLaw::Queue))
                .collect();
            for (place, key) in (0..).zip(keys) {
                // No two agree.
                discipline.add_measurement(key, &measurement(place, 50 * place, 1));
            }
            let agreement = discipline.agreement(FreeTime::from_nanos(10_000_000));
            let counts = (agreement.agreeing, agreement.required);
            assert_eq!(counts, (agreeing, required), "{configured} of {sources}");
            assert_eq!(agreement.majority, agreeing >= required);
        }
    }
}
