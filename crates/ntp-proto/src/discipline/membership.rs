//! Who takes part: sources come and go, and at most sixteen sit in the joint state.
//!
//! # Seats
//! A seat costs every filter a row and a column, so it is given to a source at its first sample
//! that survives the vote, and only the sixteen with the smallest root distance have one. The
//! others keep their path model and their vote; they are promoted when they are clearly better than
//! the worst that is seated, or when that one no longer answers.
//!
//! # Asymmetry, when a second source arrives
//! With one source the asymmetry of its path cannot be seen and is taken into the phase: the bias
//! is zero and certain. A second source may disagree by both asymmetries. So at that moment the
//! first one's is *admitted*: phase and bias become uncertain together while their sum stays known,
//! the newcomer's bias gets its own prior, and the data share out the difference. The estimate does
//! not jump, neither then nor when a source leaves, which merely drops its row and column (exact
//! for Gaussians).

use ntp_time::FreeTime;

use super::Discipline;
use super::hypothesis::MAX_SLOTS;
use super::source::{Opinion, Source, SourceKey};

/// A newcomer must be this much nearer to its reference clock than the worst that is seated, lest
/// two swap seats for ever.
const CLEARLY_BETTER: f64 = 0.8;

impl Discipline {
    /// A new source, eligible at once. It counts among those asked, so the engine should rule it
    /// out again ([`Self::set_eligible`]) if it does not answer.
    pub fn join(&mut self) -> SourceKey {
        let key = SourceKey(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        self.sources.push(Source::new(key));
        self.edges.clear();
        self.edges.reserve(2 * self.sources.len());
        key
    }

    /// The source is gone for good. What it taught about the clock stays.
    pub fn leave(&mut self, key: SourceKey) {
        if let Some(index) = self.index(key) {
            self.unseat(index);
            self.sources.remove(index);
        }
    }

    /// Whether the source may take part: reachable, synchronised, not excluded by the operator, not
    /// a loop to ourselves.
    ///
    /// Returns whether that is another answer than before.
    pub fn set_eligible(&mut self, key: SourceKey, eligible: bool) -> bool {
        let Some(index) = self.index(key) else {
            return false;
        };
        let source = &mut self.sources[index];
        let was = source.eligible;
        source.eligible = eligible && !source.opinion.noselect;
        source.selected &= source.eligible;
        source.in_use &= source.eligible;
        source.eligible != was
    }

    /// The operator's opinion of a source; holds from the next vote on ([`Self::revote`]).
    pub fn set_opinion(&mut self, key: SourceKey, opinion: Opinion) {
        if let Some(index) = self.index(key) {
            self.sources[index].opinion = opinion;
            self.set_eligible(key, self.sources[index].eligible);
        }
    }

    pub(super) fn index(&self, key: SourceKey) -> Option<usize> {
        self.sources
            .binary_search_by_key(&key, |source| source.key)
            .ok()
    }

    pub(super) fn source(&self, key: SourceKey) -> Option<&Source> {
        self.sources.get(self.index(key)?)
    }

    /// The source's slot in the joint state; a new one if it deserves it.
    pub(super) fn seat(&mut self, index: usize, now: FreeTime) -> Option<usize> {
        if let Some(slot) = self.sources[index].slot {
            return Some(slot);
        }
        if self.seated >= MAX_SLOTS {
            self.make_room(index, now)?;
        }
        self.admit_asymmetries();
        let source = &mut self.sources[index];
        let slot = self.seated;
        source.slot = Some(slot);
        source.asymmetric = true;
        source.strikes = 0;
        let prior = source.asymmetry_prior();
        self.bank.for_each(|filter| filter.enter(prior));
        self.seated += 1;
        Some(slot)
    }

    /// Unseats the worst source, if it is absent or clearly worse than the one at `index`.
    fn make_room(&mut self, index: usize, now: FreeTime) -> Option<()> {
        let distance = |source: &Source| source.asymmetry_prior();
        let absent = |source: &Source| !source.eligible || source.is_stale(now);
        let (worst, candidate) = self
            .sources
            .iter()
            .enumerate()
            .filter(|(_, source)| source.slot.is_some())
            .max_by(|(_, a), (_, b)| {
                absent(a)
                    .cmp(&absent(b))
                    .then(distance(a).total_cmp(&distance(b)))
            })?;
        // Distances are compared as variances.
        let better =
            distance(&self.sources[index]) < CLEARLY_BETTER * CLEARLY_BETTER * distance(candidate);
        if !better && !absent(candidate) {
            return None;
        }
        self.unseat(worst);
        Some(())
    }

    fn unseat(&mut self, index: usize) {
        if self.sources[index].slot.is_none() {
            return;
        }
        // Whoever comes next will have another asymmetry than the one in the phase.
        self.admit_asymmetries();
        let Some(slot) = self.sources[index].slot.take() else {
            return;
        };
        self.bank.for_each(|filter| filter.leave(slot));
        self.seated -= 1;
        let last = self.seated;
        for source in &mut self.sources {
            if source.slot == Some(last) {
                source.slot = Some(slot);
            }
        }
    }

    /// Lets the bias of the source that started the clock alone carry the asymmetry of its path
    /// from now on.
    fn admit_asymmetries(&mut self) {
        for source in &mut self.sources {
            let Some(slot) = source.slot.filter(|_| !source.asymmetric) else {
                continue;
            };
            source.asymmetric = true;
            let prior = source.asymmetry_prior();
            self.bank
                .for_each(|filter| filter.admit_asymmetry(slot, prior));
        }
    }
}
