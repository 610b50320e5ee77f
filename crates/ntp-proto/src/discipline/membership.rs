//! Membership: adds and removes sources; at most sixteen are in the joint state.
//!
//! # Slots
//! A slot costs every filter a row and a column, so a source gets one with its first sample that
//! passes the selection, and only the sixteen sources with the smallest root distance have one. The
//! others keep their path model and their vote. They get a slot when they are clearly better than
//! the worst source that has one, or when that one no longer answers.
//!
//! # Asymmetry, when a second source arrives
//! With one source the asymmetry of its path cannot be observed and is part of the phase: the bias
//! is zero and certain. A second source may differ by both asymmetries. So at that moment the first
//! source's asymmetry is *split off*: phase and bias become uncertain together while their sum
//! stays known, the new source's bias gets its own prior, and the data divide the difference. The
//! estimate does not jump, neither then nor when a source leaves, which drops its row and column
//! (exact for Gaussians).
//!
//! # Precedence
//! When sources with precedence (`trust`, `prefer`) replace others, the others' opinion is still in
//! the state: the biases of the new ones are relative to them. So the others lose their slots, the
//! best of those that remain carries the phase alone, as at the start, and the rest join again with
//! their next samples. If none remains, the next sample initialises the phase; the frequency is
//! kept.

use ntp_time::FreeTime;

use super::Discipline;
use super::SelectionOptions;
use super::hypothesis::MAX_SLOTS;
use super::measurement::NoiseLaw;
use super::selection::CLEARLY_NEARER;
use super::source::{Source, SourceKey};

impl Discipline {
    /// Adds a source whose samples are as noisy as `law` says, eligible at once. It counts as polled, so the engine should make it
    /// ineligible ([`Self::set_eligible`]) if it does not answer.
    pub fn add_source(&mut self, law: NoiseLaw) -> SourceKey {
        let key = SourceKey(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        self.sources.push(Source::new(key, law));
        self.edges.clear();
        self.edges.reserve(2 * self.sources.len());
        self.pairs.reserve(self.sources.len().min(MAX_SLOTS));
        key
    }

    /// Removes a source. What it taught about the clock stays.
    pub fn remove_source(&mut self, key: SourceKey) {
        self.prediction.take();
        if let Some(index) = self.index(key) {
            self.release_slot(index);
            self.pairs.remove(key);
            self.sources.remove(index);
        }
    }

    /// Sets whether the source may be selected: reachable, synchronised, no loop to ourselves.
    /// Sources with [`SelectionOptions::noselect`] never are.
    ///
    /// Returns whether that changed.
    pub fn set_eligible(&mut self, key: SourceKey, eligible: bool) -> bool {
        self.prediction.take();
        let Some(index) = self.index(key) else {
            return false;
        };
        let source = &mut self.sources[index];
        let was = source.eligible;
        source.eligible = eligible && !source.options.noselect;
        source.selected &= source.eligible;
        source.in_use &= source.eligible;
        source.eligible != was
    }

    /// Sets the selection options of a source; effective from the next selection
    /// ([`Self::reselect`]).
    pub fn set_selection_options(&mut self, key: SourceKey, options: SelectionOptions) {
        if let Some(index) = self.index(key) {
            self.sources[index].options = options;
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

    /// Returns the source's slot in the joint state; assigns one if it is good enough.
    pub(super) fn assign_slot(&mut self, index: usize, now: FreeTime) -> Option<usize> {
        if let Some(slot) = self.sources[index].slot {
            return Some(slot);
        }
        if self.slots_used >= MAX_SLOTS {
            self.evict_worst(index, now)?;
        }
        self.split_asymmetries();
        let members = self.sources.iter().filter(|source| source.slot.is_some());
        let wander = members.map(|source| source.wander).fold(0.0, f64::max);
        let source = &mut self.sources[index];
        let slot = self.slots_used;
        source.wander = wander;
        source.slot = Some(slot);
        source.asymmetric = true;
        source.consecutive_outliers = 0;
        let prior = source.asymmetry_prior();
        self.bank.for_each(|filter| filter.add_source(prior));
        self.slots_used += 1;
        Some(slot)
    }

    /// Releases the slot of the worst source, if that one is absent or clearly worse than the
    /// source at `index`.
    fn evict_worst(&mut self, index: usize, now: FreeTime) -> Option<()> {
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
            distance(&self.sources[index]) < CLEARLY_NEARER * CLEARLY_NEARER * distance(candidate);
        if !better && !absent(candidate) {
            return None;
        }
        let key = self.sources[worst].key;
        self.release_slot(worst);
        self.pairs.remove(key);
        Some(())
    }

    /// Releases the slot of the source at `index`; the last slot moves into its place.
    fn release_slot(&mut self, index: usize) {
        if self.sources[index].slot.is_none() {
            return;
        }
        // The next source has another asymmetry than the one in the phase.
        self.split_asymmetries();
        let Some(slot) = self.sources[index].slot.take() else {
            return;
        };
        self.bank.for_each(|filter| filter.remove_source(slot));
        self.slots_used -= 1;
        let last = self.slots_used;
        for source in &mut self.sources {
            if source.slot == Some(last) {
                source.slot = Some(slot);
            }
        }
    }

    /// Releases the slots of sources without precedence, if there are any, and makes the best source
    /// in use carry the phase alone.
    pub(super) fn apply_precedence(&mut self) {
        let excluded = |source: &Source| source.slot.is_some() && !source.has_precedence;
        if !self.sources.iter().any(excluded) {
            return;
        }
        let forgotten = |source: &&Source| excluded(source) && source.unsteady.is_none();
        for source in self.sources.iter().filter(forgotten) {
            self.pairs.remove(source.key);
        }
        // The bias of a source that is not in use is as old as its last sample that was.
        self.release_slots(|source| source.slot.is_some() && !source.in_use);
        let Some(best) = self.best_slot() else {
            self.phase_lost = true;
            return;
        };
        let best = self.sources.iter().find(|source| source.slot == Some(best));
        let Some(best) = best.map(|source| source.key) else {
            return;
        };
        self.release_slots(|source| source.slot.is_some() && source.key != best);
        self.bank.for_each(|filter| filter.merge_bias(0));
        for source in &mut self.sources {
            source.asymmetric &= source.slot.is_none();
        }
    }

    fn release_slots(&mut self, which: impl Fn(&Source) -> bool) {
        while let Some(index) = self.sources.iter().position(&which) {
            self.release_slot(index);
        }
    }

    /// Moves the asymmetry of the source that started the clock alone from the phase to its bias.
    fn split_asymmetries(&mut self) {
        for source in &mut self.sources {
            let Some(slot) = source.slot.filter(|_| !source.asymmetric) else {
                continue;
            };
            source.asymmetric = true;
            let prior = source.asymmetry_prior();
            self.bank
                .for_each(|filter| filter.split_asymmetry(slot, prior));
        }
    }
}
