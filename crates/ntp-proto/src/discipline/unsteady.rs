//! Unsteady reference clocks: those that move more than they state.
//!
//! # Problem
//! A reference clock states a small error and has precise samples, so it outweighs all servers. If it
//! drifts (the clock of a network card that nothing steers), our clock follows it until the
//! correctness intervals of the servers end: several milliseconds for servers at 5 ms. The filters
//! see the frequency of the drift as that of our own oscillator, and every server as moving.
//!
//! # Idea
//! In the difference of two sources our oscillator cancels, see `pairs`. If a reference clock moves
//! against most other sources by more than it states, and much faster than these move against each
//! other, its statement is wrong. It is then no candidate, as if its interval lay outside of the
//! majority's. What it has left in the joint state is removed as after a loss of precedence, and the
//! frequency is learnt again. Its pairs are kept, so that it is used again once it has been steady for some
//! minutes: sources come and go, and with them the pairs that can be compared.
//!
//! At least two other sources must answer: a single one might be the one that moves.

use ntp_time::FreeTime;

use super::allowance::DriftRecord;
use super::gate::MAX_FREQUENCY_JUMP;
use super::source::Source;
use super::{Discipline, NoiseLaw};

/// Time within which a reference clock must not move by more than it states, seconds. A shorter one
/// permits faster drifts; a longer one excludes good clocks beside servers that wander together. It
/// must be steady for as long before it is used again.
const STEADY_TIME: f64 = 256.0;
/// Movement within [`STEADY_TIME`] below which no reference clock is called unsteady, seconds: 0.25
/// ppm. Two servers that follow the same third one may wander together by as much, and a receiver
/// that states a microsecond is not to be outvoted by them.
const SMALLEST_MOVEMENT: f64 = 6.4e-5;
/// Ratio of the rates, squared, from which on the clock moves and not the servers: one step of the
/// rates that are distinguished.
const CLEARLY_FASTER: f64 = 16.0;
/// Ratio of the squared rates at which an unsteady clock becomes unsteady and steady again.
const HYSTERESIS: f64 = 4.0;

impl Discipline {
    /// Judges whether the reference clock at `index` moves more than it states, by the pairs that it
    /// forms with the sources that answer.
    pub(super) fn judge_steadiness(&mut self, index: usize, now: FreeTime) {
        let source = &self.sources[index];
        if source.law == NoiseLaw::Queue {
            return;
        }
        let Some((own, others)) = self.rates(source, now) else {
            return;
        };
        let stated = source.stated_error().max(SMALLEST_MOVEMENT);
        let limit = (stated * stated / STEADY_TIME).max(CLEARLY_FASTER * others);
        let source = &mut self.sources[index];
        let Some(last) = source.unsteady else {
            if own > limit {
                self.exclude_unsteady(index, now);
            }
            return;
        };
        if own > limit / HYSTERESIS {
            source.unsteady = Some(now);
        } else if (now - last).as_seconds_f64() > STEADY_TIME {
            source.unsteady = None;
        }
    }

    fn exclude_unsteady(&mut self, index: usize, now: FreeTime) {
        let source = &mut self.sources[index];
        source.unsteady = Some(now);
        source.in_use = false;
        source.has_precedence = false;
        self.drift_record = DriftRecord::default();
        self.bank
            .for_each(|filter| filter.widen(0.0, MAX_FREQUENCY_JUMP * MAX_FREQUENCY_JUMP));
        self.apply_precedence();
    }

    /// Whether a source moves much faster than the others. A reference clock that does not is taken to
    /// be steady: its pairs with servers cannot resolve its wander, and the smallest rate that they
    /// know would cost a tenth of its accuracy.
    pub(super) fn moves_most(&self, source: &Source, now: FreeTime) -> bool {
        let rates = self.rates(source, now);
        rates.is_some_and(|(own, others)| own > CLEARLY_FASTER * others)
    }

    /// Squared rates, s^2/s, of a source and of the middle one of at least two others.
    fn rates(&self, source: &Source, now: FreeTime) -> Option<(f64, f64)> {
        let present = |key| self.source(key).is_some_and(|other| other.is_compared(now));
        let own = self.pairs.confirmed_rate(source.key, present)?;
        let mut others = [0.0; super::hypothesis::MAX_SLOTS];
        let mut count = 0;
        let answering = self.sources.iter().filter(|it| it.is_compared(now));
        for other in answering
            .filter(|it| it.key != source.key)
            .take(others.len())
        {
            others[count] = self.pairs.confirmed_rate(other.key, present)?;
            count += 1;
        }
        let middle = super::ring::median::<{ super::hypothesis::MAX_SLOTS }>(&others[..count])?;
        (count > 1).then_some((own, middle))
    }
}
