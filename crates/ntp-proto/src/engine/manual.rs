//! Manual time: an operator enters the time (`ntp-ctl settime`), for networks without any source.
//!
//! Each entry is a measurement of the free-running clock with a standard deviation of
//! [`ENTRY_SIGMA`]. Phase p and frequency f are the straight line through the entries by least
//! squares; what is known of the frequency counts as one more observation, so that entries in quick
//! succession do not change it:
//!
//! ```text
//! sum over the entries of (phase_i - p - f (t_i - t))^2 / sigma^2  +  (f - f0)^2 / sigma_0^2
//! ```
//!
//! An entry makes no source: the clock is not synchronised by it, and clients are served by the
//! local reference (`local`), as with chronyd.

use ntp_time::{FreeTime, Frequency, NtpDuration, SystemTime};
use ntp_types::status::ManualEntry;

use super::{CommandOutcome, Engine, Now, Refusal, RefusedStep};
use crate::discipline::{Decision, Estimate, FrequencyPrior, Update};

/// Error of an entry: the reaction time of the operator, and half of the second that is typed.
const ENTRY_SIGMA: NtpDuration = NtpDuration::from_millis(500);

/// Number of entries that are kept, as by chronyd. The oldest is dropped first.
const MAX_ENTRIES: usize = 16;

/// Time that a slew may take as the time to the next update, so that the slew is short.
const UNTIL_NEXT: NtpDuration = NtpDuration::from_seconds(64);

/// The entered times.
#[derive(Debug)]
pub(super) struct ManualTime {
    pub(super) enabled: bool,
    entries: Vec<Entry>,
    /// What was known of the frequency before the first entry.
    prior: FrequencyPrior,
    /// What is known of it by the entries.
    pub(super) frequency: Option<FrequencyPrior>,
}

/// An entered time.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When it was entered.
    at: FreeTime,
    time: SystemTime,
    /// The free-running clock minus the time.
    phase: NtpDuration,
    /// The time minus the clock.
    original: NtpDuration,
}

impl ManualTime {
    pub(super) fn new(enabled: bool, prior: FrequencyPrior) -> Self {
        Self {
            enabled,
            entries: Vec::new(),
            prior,
            frequency: None,
        }
    }

    /// Switches the entry of times on or off, and drops all entries.
    pub(super) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
        self.entries.clear();
    }

    /// The straight line, at the time of the newest entry. `None` without an entry.
    fn line(&self) -> Option<(FreeTime, Estimate)> {
        let newest = self.entries.last()?;
        let weight = ENTRY_SIGMA.as_seconds_f64().powi(-2);
        let known = self.prior.uncertainty.as_ratio().max(f64::EPSILON).powi(-2);
        let (mut x1, mut xx, mut y1, mut xy) = (0.0, known, 0.0, 0.0);
        xy += known * self.prior.frequency.as_ratio();
        for entry in &self.entries {
            let x = (entry.at - newest.at).as_seconds_f64();
            let y = (entry.phase - newest.phase).as_seconds_f64();
            x1 += weight * x;
            xx += weight * x * x;
            y1 += weight * y;
            xy += weight * x * y;
        }
        let sum = weight * self.entries.len() as f64;
        let determinant = sum * xx - x1 * x1;
        let phase = (xx * y1 - x1 * xy) / determinant;
        let phase_sigma = (xx / determinant).sqrt();
        let estimate = Estimate {
            phase: newest.phase + NtpDuration::from_seconds_f64(phase),
            frequency: Frequency::from_ratio((sum * xy - x1 * y1) / determinant),
            phase_sigma,
            link_sigma: phase_sigma,
            frequency_sigma: (sum / determinant).sqrt(),
            covariance: -x1 / determinant,
            wander: 0.0,
        };
        Some((newest.at, estimate))
    }

    /// The straight line, extended to `free`.
    fn estimate(&self, free: FreeTime) -> Option<Estimate> {
        let (at, line) = self.line()?;
        let phase = line.phase + (free - at).scaled(line.frequency.as_ratio());
        Some(Estimate { phase, ..line })
    }
}

impl Engine {
    /// Enters that it is `time` now.
    pub(super) fn set_time(
        &mut self,
        now: Now,
        time: SystemTime,
        forced: bool,
    ) -> Result<CommandOutcome, Refusal> {
        if !self.manual.enabled {
            return Err(Refusal::ManualDisabled);
        }
        if !self.config.clock.steerable {
            return Err(Refusal::NotSteerable);
        }
        let free = self.ledger.free_time(now.system);
        if self.discipline.agreement(free).majority {
            return Err(Refusal::SourceAvailable);
        }
        if self.manual.entries.is_empty() {
            let known = self.discipline.frequency_prior();
            self.manual.prior = known
                .or(self.config.frequency_prior)
                .unwrap_or(self.manual.prior);
        }
        let before = self.manual.entries.clone();
        if before.len() == MAX_ENTRIES {
            self.manual.entries.remove(0);
        }
        self.manual.entries.push(Entry {
            at: free,
            time,
            phase: free.ahead_of(time.to_ntp()),
            original: time - now.system,
        });
        let outcome = self.follow_manual(now, forced);
        if outcome.is_err() {
            self.manual.entries = before;
        }
        outcome
    }

    /// Drops an entry, or all, and corrects the clock by those that remain.
    pub(super) fn delete_manual(
        &mut self,
        now: Now,
        index: Option<usize>,
    ) -> Result<CommandOutcome, Refusal> {
        let Some(index) = index else {
            self.manual.enable(self.manual.enabled);
            return Ok(CommandOutcome::Done);
        };
        if index >= self.manual.entries.len() {
            return Err(Refusal::UnknownEntry(index));
        }
        self.manual.entries.remove(index);
        if self.manual.entries.is_empty() {
            return Ok(CommandOutcome::Done);
        }
        self.follow_manual(now, false)?;
        Ok(CommandOutcome::Done)
    }

    /// Corrects the clock by the entries: a gap beyond their error is stepped, a smaller one slewed.
    fn follow_manual(&mut self, now: Now, forced: bool) -> Result<CommandOutcome, Refusal> {
        let free = self.ledger.free_time(now.system);
        let Some(estimate) = self.manual.estimate(free) else {
            return Ok(CommandOutcome::Done);
        };
        let offset = estimate.phase + self.ledger.correction(now.system);
        let decision = if offset.abs() > ENTRY_SIGMA {
            self.steering.step(offset, &estimate, forced)
        } else {
            self.steering.withhold_step();
            let update = Update {
                at: now.monotonic,
                until_next: UNTIL_NEXT,
                agreeing: 0,
                relative_rate: 1.0,
            };
            self.steering.decide(offset, &estimate, update)
        };
        if let Decision::Panic(excess) = decision {
            return Err(Refusal::Panic(RefusedStep::new(now, excess)));
        }
        // What the sources showed earlier is another time.
        self.discipline.forget_phase();
        self.local.end_handover();
        let before = self.manual.frequency.unwrap_or(self.manual.prior).frequency;
        self.apply_decision(now, offset, decision);
        self.manual.frequency = Some(FrequencyPrior {
            frequency: estimate.frequency,
            uncertainty: Frequency::from_ratio(estimate.frequency_sigma),
        });
        self.persist(now);
        Ok(CommandOutcome::TimeSet {
            correction: -offset,
            frequency: estimate.frequency,
            change: estimate.frequency - before,
        })
    }

    /// Largest error of the clock by the entries, as for a source: their error, and the drift since
    /// the newest one.
    pub(super) fn manual_bound(&self, now: Now) -> Option<NtpDuration> {
        let newest = self.manual.entries.last()?;
        let age = self.ledger.free_time(now.system) - newest.at;
        Some(ENTRY_SIGMA + age.scaled(self.drift_allowance(now).as_ratio()))
    }

    /// The entries; `None` while no time can be entered.
    pub(super) fn manual_entries(&self, now: Now) -> Option<Vec<ManualEntry>> {
        if !self.manual.enabled {
            return None;
        }
        let correction = self.ledger.correction(now.system);
        let entries = self.manual.entries.iter().map(|entry| {
            let line = self.manual.estimate(entry.at);
            ManualEntry {
                time: entry.time,
                slewed: -(entry.phase + correction),
                original: entry.original,
                residual: line.map_or(NtpDuration::ZERO, |line| line.phase - entry.phase),
            }
        });
        Some(entries.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(prior_ppm: f64, times: &[(i64, f64)]) -> ManualTime {
        let mut manual = ManualTime::new(
            true,
            FrequencyPrior {
                frequency: Frequency::ZERO,
                uncertainty: Frequency::from_ppm(prior_ppm),
            },
        );
        let start = FreeTime::from_nanos(1_700_000_000_000_000_000);
        for (seconds, phase) in times {
            manual.entries.push(Entry {
                at: start + NtpDuration::from_seconds(*seconds),
                time: SystemTime::from_nanos(0),
                phase: NtpDuration::from_seconds_f64(*phase),
                original: NtpDuration::ZERO,
            });
        }
        manual
    }

    #[test]
    fn entries_of_days_teach_the_frequency_and_entries_of_seconds_do_not() {
        let day = 86_400;
        let clock = |days: i64| (days * day, 50e-6 * (days * day) as f64);
        let (_, line) = entries(100.0, &[clock(0), clock(1), clock(2)])
            .line()
            .unwrap();
        assert!((line.frequency.as_ppm() - 50.0).abs() < 1.0, "{line:?}");
        assert!(line.frequency_sigma < 5e-6);
        let (_, line) = entries(100.0, &[(0, 0.0), (2, 0.6), (4, -0.3)])
            .line()
            .unwrap();
        assert!(line.frequency.as_ppm().abs() < 1.0, "{line:?}");
        let (_, line) = entries(100.0, &[(0, 3.0)]).line().unwrap();
        assert_eq!(line.phase, NtpDuration::from_seconds(3));
    }
}
