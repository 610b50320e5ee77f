//! The vote: who is part of the majority, and where the truth must then be.
//!
//! [`selection`](super::selection) has the geometry of intervals; here it is applied to sources. A source is a *candidate* if
//! it is eligible, was heard lately and is certain enough. Candidates vote, unless some of them are trusted: then
//! these alone do, and the others may join what they decide. The outcome stands if the voters agree by majority, the candidates are a
//! majority of those who were asked, as many agree as the operator wants, and a required source is among them.

use ntp_time::{FreeTime, NtpDuration};

use super::selection::{
    Agreement, Interval, Overlap, end_of_overlap, is_majority, largest_overlap, stretch_of_majority,
};
use super::source::{Carriage, Sighting, Source, SourceKey};
use super::{Discipline, Guarantee};

/// A source takes the reference's part from another if its root distance is this much smaller.
const CLEARLY_NEARER: f64 = 0.8;

/// What makes a source a candidate at one moment.
struct Ballot {
    now: FreeTime,
    carriage: Carriage,
    /// Half width of the widest interval that has a say, in seconds.
    widest: f64,
}

impl Ballot {
    /// The source's interval, if it is a candidate.
    fn interval(&self, source: &Source) -> Option<Interval> {
        let sighting = source
            .last
            .filter(|_| source.eligible && !source.is_stale(self.now))?;
        let interval = sighting.interval(&self.carriage);
        (interval.half_width <= self.widest).then_some(interval)
    }
}

/// Who votes.
struct Electorate {
    /// Trusted sources decide alone.
    decree: bool,
    voters: usize,
    /// Sources that were asked and have not answered yet, as far as they matter.
    silent: usize,
    /// Sources that would vote, but do not say where the truth is: silent, stale, too uncertain, or given up by the engine.
    absent: usize,
    /// A trusted source has not answered yet and is waited for, until the engine gives it up.
    awaiting: bool,
}

impl Electorate {
    /// If most of those who should vote are right, so many of the voters are at least: the absent may all be right.
    fn vouchers(&self) -> usize {
        let most = (self.voters + self.absent) / 2 + 1;
        most.saturating_sub(self.absent)
    }
}

impl Discipline {
    /// Decides who is part of the majority, and who of that is used. Returns where the truth must be, if there is one.
    pub(super) fn vote(&mut self, now: FreeTime) -> Option<Guarantee> {
        if self.running.is_none() {
            // Intervals are compared as doubles: near a phase that is at hand they are exact.
            let newest = self.sources.iter().filter_map(|source| source.last);
            if let Some(newest) = newest.max_by_key(|sighting| sighting.at) {
                self.origin = newest.phase;
            }
        }
        let moments = self.bank.moments();
        let ballot = Ballot {
            now,
            carriage: self.carriage(now, self.frequency_doubt()),
            widest: self.config.maximum_source_uncertainty.as_seconds_f64(),
        };
        let electorate = self.call(&ballot);
        let overlap = largest_overlap(&mut self.edges, moments.phase);
        self.choose(&ballot, &electorate, overlap);
        if !self.agreement.majority {
            return None;
        }
        let stretch = match electorate.vouchers() {
            0 | 1 => self.union_of_selected(&ballot.carriage)?,
            vouchers => stretch_of_majority(&self.edges, vouchers)?,
        };
        self.guarantee_of(stretch, &ballot.carriage)
    }

    /// The set of sources or what is thought of them changed: decides again who is part of the majority, by what they said last. What is
    /// guaranteed was guaranteed by the samples that were used, and stays until the next one.
    pub fn revote(&mut self, now: FreeTime) {
        self.vote(now);
    }

    /// Standard deviation of the oscillator's frequency as far as it is known, s/s.
    pub(super) fn frequency_doubt(&self) -> f64 {
        match self.running {
            Some(_) => self.bank.moments().frequency_variance.max(0.0).sqrt(),
            None => self.prior.uncertainty.as_ratio(),
        }
    }

    /// Lays out the voters' intervals.
    fn call(&mut self, ballot: &Ballot) -> Electorate {
        let trusted = |source: &Source| source.opinion.trust && ballot.interval(source).is_some();
        let decree = self.sources.iter().any(trusted);
        let unheard = |source: &Source| source.eligible && source.last.is_none();
        let awaited = |source: &Source| unheard(source) && source.opinion.trust;
        let running = self.estimate_exists();
        self.edges.clear();
        for source in &self.sources {
            if let Some(interval) = ballot
                .interval(source)
                .filter(|_| !decree || source.opinion.trust)
            {
                self.edges.extend(interval.edges());
            }
        }
        Electorate {
            decree,
            voters: self.edges.len() / 2,
            // A minority that answers first must not start the clock; once it runs, newcomers have no say before they
            // speak, and nobody waits for those whom a decree makes superfluous.
            silent: if running || decree {
                0
            } else {
                self.sources.iter().filter(|source| unheard(source)).count()
            },
            absent: self
                .sources
                .iter()
                .filter(|source| !source.opinion.noselect && (!decree || source.opinion.trust))
                .filter(|source| ballot.interval(source).is_none())
                .count(),
            awaiting: !running && self.sources.iter().any(awaited),
        }
    }

    /// Marks the sources that agree, and of these the ones that are used.
    fn choose(&mut self, ballot: &Ballot, electorate: &Electorate, overlap: Option<Overlap>) {
        let end = overlap.map_or(0.0, |overlap| end_of_overlap(&self.edges, overlap.place));
        let (mut agreeing, mut candidates) = (0, 0);
        for source in &mut self.sources {
            let interval = ballot.interval(source);
            candidates += usize::from(interval.is_some());
            source.selected = overlap.zip(interval).is_some_and(|(overlap, interval)| {
                if electorate.decree && !source.opinion.trust {
                    interval.touches(overlap.place, end)
                } else {
                    interval.contains(overlap.place)
                }
            });
            agreeing += usize::from(source.selected);
        }
        let Electorate {
            voters,
            silent,
            awaiting,
            ..
        } = *electorate;
        let decided =
            overlap.is_some_and(|overlap| is_majority(overlap.agreeing, voters, voters + silent));
        let required = |source: &Source| source.selected && source.opinion.require;
        let satisfied = !self.config.some_required || self.sources.iter().any(required);
        let majority = decided
            && satisfied
            && !awaiting
            && agreeing >= self.config.minimum_agreeing_sources.max(1);
        self.agreement = Agreement {
            agreeing,
            candidates,
            majority,
        };
        let preferred = |source: &Source| source.selected && source.opinion.prefer;
        let ranked = self.sources.iter().any(preferred);
        for source in &mut self.sources {
            source.selected &= majority;
            source.in_use = source.selected && (!ranked || source.opinion.prefer);
        }
    }

    /// From the first to the last place that some selected source's interval covers.
    fn union_of_selected(&self, carriage: &Carriage) -> Option<Interval> {
        let selected = self.sources.iter().filter(|source| source.selected);
        let intervals = selected.filter_map(|source| Some(source.last?.interval(carriage)));
        intervals.reduce(Interval::joined)
    }

    /// The stretch that the vote left for the truth, to be kept, and the source that stands for it.
    fn guarantee_of(&self, stretch: Interval, carriage: &Carriage) -> Option<Guarantee> {
        let (best, sighting) = self.reference(carriage)?;
        Some(Guarantee {
            sighting: Sighting {
                at: carriage.now,
                phase: self.origin + NtpDuration::from_seconds_f64(stretch.centre),
                half_width: stretch.half_width,
                root_delay: sighting.root_delay,
            },
            best,
        })
    }

    /// The nearest source in use, by root distance. The one before keeps the part until another is clearly nearer: our own
    /// clients see which it is, and equal sources must not take turns.
    fn reference(&self, carriage: &Carriage) -> Option<(SourceKey, Sighting)> {
        let used = self.sources.iter().filter(|source| source.in_use);
        let seen = used.filter_map(|source| Some((source.key, source.last?)));
        // Without the doubt about our own oscillator, which at the start would make the newest the nearest.
        let allowance = self.config.drift_allowance.as_ratio();
        let distance = |sighting: &Sighting| {
            let age = (carriage.now - sighting.at).as_seconds_f64();
            sighting.half_width + allowance * age.abs()
        };
        let nearest = seen.min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1)))?;
        let before = self
            .guarantee
            .and_then(|guarantee| self.source(guarantee.best));
        let before = before.filter(|source| source.in_use);
        let before = before.and_then(|source| Some((source.key, source.last?)));
        let keeps = |before: &(SourceKey, Sighting)| {
            distance(&nearest.1) >= CLEARLY_NEARER * distance(&before.1)
        };
        Some(before.filter(keeps).unwrap_or(nearest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Measurement};
    use super::*;

    #[test]
    fn equal_sources_do_not_take_turns_as_reference_and_a_nearer_one_takes_over() {
        let config = Config {
            minimum_agreeing_sources: 1,
            ..Config::default()
        };
        let mut discipline = Discipline::new(config, None);
        let keys = [discipline.join(), discipline.join()];
        let mut hear = |seconds: i64, key, delay_us| {
            let at = FreeTime::from_nanos(seconds * 1_000_000_000);
            let measurement = Measurement {
                at,
                phase: NtpDuration::ZERO,
                delay: NtpDuration::from_micros(delay_us),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::from_millis(1),
            };
            discipline.measure(key, &measurement);
            discipline
                .report(at, NtpDuration::ZERO)
                .map(|figures| figures.best)
        };
        hear(0, keys[0], 1000);
        let first = hear(1, keys[1], 1000);
        assert!(first.is_some());
        // Now one is a little nearer, now the other; the first remains.
        for second in 2..40 {
            let key = keys[second as usize % 2];
            assert_eq!(
                hear(second, key, 900 + (second * 37) % 200),
                first,
                "second {second}"
            );
        }
        let (first, other) = if first == Some(keys[0]) {
            (keys[0], keys[1])
        } else {
            (keys[1], keys[0])
        };
        assert_eq!(
            hear(40, first, 4000),
            Some(other),
            "a clearly nearer one takes over"
        );
    }

    #[test]
    fn the_slowest_answer_of_the_first_majority_does_not_start_the_clock() {
        let mut discipline = Discipline::new(Config::default(), None);
        let keys = [discipline.join(), discipline.join(), discipline.join()];
        // Late by all of their delay, on one way.
        for (key, delay_ms) in keys.into_iter().zip([10, 40, 200]) {
            let measurement = Measurement {
                at: FreeTime::from_nanos(delay_ms * 1_000_000),
                phase: NtpDuration::from_millis(-delay_ms / 2),
                delay: NtpDuration::from_millis(delay_ms),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::ZERO,
            };
            discipline.measure(key, &measurement);
        }
        let now = FreeTime::from_nanos(200_000_000);
        let phase = discipline.estimate(now).expect("a majority").phase;
        assert!(phase.abs() < NtpDuration::from_millis(20), "{phase:?}");
    }
}
