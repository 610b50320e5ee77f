//! Step-out: how long the sources must hold a new time before the clock is stepped to it.
//!
//! # Problem
//! After start-up the sources may suddenly agree on another time than before. Either our clock
//! stood still without a sign (a paused virtual machine), or the sources are wrong. Nothing here
//! can tell the two apart but time: a majority that is wrong by mistake is usually corrected soon,
//! and one that lies must not take the clock along at once, nor again and again.
//!
//! # Rule
//! A step that only the sources ask for waits until they have held the new time for the step-out
//! threshold (WATCH of RFC 5905 appendix A.5.5.6, of ntpd's `tinker stepout`) and for several polls
//! each. *Held* means that the correction stayed the same to within [`TOLERANCE`]; if it changes,
//! or the majority is lost, the time starts again. Meanwhile the clock keeps its frequency. Each
//! step doubles the time for the next one, up to [`MAX_WAIT`]; each [`MEMORY`] without such a
//! demand halves it again.
//!
//! A majority that lies can thus move the clock by steps once after the threshold, again after
//! twice that, and in the long run once a day, each time by less than the panic threshold.

use ntp_time::{Monotonic, NtpDuration};

/// Smallest correction that is a new time of the sources and not an error of the oscillator. ntpd
/// steps beyond 128 ms (STEPT of RFC 5905). A smaller value delays corrections that a slew makes
/// within minutes, a larger one slews for longer.
pub(super) const NEW_TIME: NtpDuration = NtpDuration::from_millis(100);
/// Change of the correction that makes it another one. Below [`NEW_TIME`], so that a series of
/// changes too small to wait for cannot move a time that is waited for by as much.
const TOLERANCE: NtpDuration = NtpDuration::from_millis(50);
/// Longest wait after repeated steps. A longer one keeps a machine wrong for days if it is paused
/// often, a shorter one lets a lying majority step more often than daily.
const MAX_WAIT: NtpDuration = NtpDuration::from_seconds(86_400);
/// Time without a demand for a step that halves the wait for the next one.
const MEMORY: NtpDuration = NtpDuration::from_seconds(86_400);

/// Whether the sources have held their new time long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not yet.
    Wait {
        /// Shortest time until the step.
        remaining: NtpDuration,
        /// Whether the sources have only now come to this time.
        begins: bool,
    },
    /// They have.
    Held,
}

/// Conditions that the sources must meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    /// Shortest time, before doublings.
    pub(super) threshold: NtpDuration,
    /// Number of updates.
    pub(super) updates: u32,
}

/// A step that the sources ask for.
#[derive(Clone, Copy, Debug)]
struct Pending {
    since: Monotonic,
    correction: NtpDuration,
    updates: u32,
}

/// State of the rule, see the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stepout {
    pending: Option<Pending>,
    /// Number of doublings of the threshold.
    doublings: u32,
    /// Since when nothing was pending, or the last halving.
    quiet_since: Option<Monotonic>,
}

impl Stepout {
    /// Records an update that asks for a step by `correction`.
    pub(super) fn demand(
        &mut self,
        now: Monotonic,
        correction: NtpDuration,
        conditions: Conditions,
    ) -> Verdict {
        self.quiet_since = None;
        let same = |pending: &Pending| (pending.correction - correction).abs() <= TOLERANCE;
        let before = self.pending.filter(same);
        let pending = Pending {
            updates: before.map_or(0, |before| before.updates.saturating_add(1)),
            ..before.unwrap_or(Pending {
                since: now,
                correction,
                updates: 0,
            })
        };
        self.pending = Some(pending);
        let remaining = self.remaining(now, conditions.threshold);
        match remaining.unwrap_or(NtpDuration::ZERO) {
            NtpDuration::ZERO if pending.updates >= conditions.updates => Verdict::Held,
            remaining => Verdict::Wait {
                remaining,
                begins: before.is_none(),
            },
        }
    }

    /// Shortest time until a pending step has been held for long enough.
    pub(super) fn remaining(&self, now: Monotonic, threshold: NtpDuration) -> Option<NtpDuration> {
        let pending = self.pending?;
        let remaining = self.wait(threshold) - (now - pending.since);
        Some(remaining.max(NtpDuration::ZERO))
    }

    /// Records that the step was made.
    pub(super) fn record_step(&mut self) {
        self.pending = None;
        self.doublings = self.doublings.saturating_add(1);
    }

    /// Forgets the pending step: the majority is lost, or the clock is stepped for another reason.
    pub(super) fn forget(&mut self) {
        self.pending = None;
    }

    /// Records an update that asks for no step.
    pub(super) fn record_agreement(&mut self, now: Monotonic) {
        self.pending = None;
        let since = *self.quiet_since.get_or_insert(now);
        if self.doublings > 0 && now - since >= MEMORY {
            self.doublings -= 1;
            self.quiet_since = Some(since + MEMORY);
        }
    }

    /// Time for which the sources must hold a new time now.
    fn wait(&self, threshold: NtpDuration) -> NtpDuration {
        let mut wait = threshold;
        for _ in 0..self.doublings {
            if wait >= MAX_WAIT || wait == NtpDuration::ZERO {
                break;
            }
            wait = wait * 2;
        }
        wait.min(threshold.max(MAX_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITIONS: Conditions = Conditions {
        threshold: NtpDuration::from_seconds(300),
        updates: 4,
    };
    const STEP: NtpDuration = NtpDuration::from_seconds(900);

    fn at(seconds: i64) -> Monotonic {
        Monotonic::from_nanos(seconds * 1_000_000_000)
    }

    /// Demands the step each minute from `start` on and returns how long it took.
    fn waited(stepout: &mut Stepout, start: i64) -> i64 {
        (0..)
            .map(|minute| minute * 60)
            .find(|waited| stepout.demand(at(start + waited), STEP, CONDITIONS) == Verdict::Held)
            .inspect(|_| stepout.record_step())
            .unwrap()
    }

    #[test]
    fn repeated_steps_wait_twice_as_long_up_to_a_day_and_quiet_days_halve_that() {
        let mut stepout = Stepout::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(waited(&mut stepout, now));
            now += 100_000;
        }
        assert_eq!(waits[..4], [300, 600, 1200, 2400]);
        assert_eq!(waits[8..], [76_800, 86_400, 86_400, 86_400]);
        // Two days and a bit: an update each hour agrees.
        for hour in 0..50 {
            stepout.record_agreement(at(now + hour * 3600));
        }
        now += 200_000;
        let doublings = stepout.doublings;
        assert_eq!(doublings, 10);
        assert_eq!(waited(&mut stepout, now), 86_400);
    }

    #[test]
    fn a_time_that_changes_or_loses_its_majority_starts_again() {
        let mut stepout = Stepout::default();
        for second in (0..3000).step_by(25) {
            let moving = NtpDuration::from_seconds(900 * second);
            let verdict = stepout.demand(at(second), moving, CONDITIONS);
            assert!(matches!(verdict, Verdict::Wait { begins: true, .. }));
        }
        let mut stepout = Stepout::default();
        for second in (0..300).step_by(60) {
            stepout.demand(at(second), STEP, CONDITIONS);
        }
        stepout.forget();
        let verdict = stepout.demand(at(300), STEP, CONDITIONS);
        assert!(matches!(verdict, Verdict::Wait { begins: true, .. }));
    }

    #[test]
    fn time_alone_is_not_enough() {
        let mut stepout = Stepout::default();
        stepout.demand(at(0), STEP, CONDITIONS);
        let verdict = stepout.demand(at(4096), STEP, CONDITIONS);
        let remaining = NtpDuration::ZERO;
        assert_eq!(
            verdict,
            Verdict::Wait {
                remaining,
                begins: false
            }
        );
    }
}
