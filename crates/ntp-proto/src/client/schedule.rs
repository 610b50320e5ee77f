//! When to poll next.
//!
//! # Problem
//! At the start the clock is wrong and every second counts; later, packets are a cost
//! to somebody else's server and the clock model knows best how many it needs.
//!
//! # Idea
//! Three phases. A *burst* of eight requests two seconds apart gives offset and frequency to a few
//! parts per million. *Settling* then widens the interval with the age of the association,
//! `max(12 s, age / 5)`: each new interval adds a fixed share to the baseline over which frequency is
//! measured, which is what halves its error soonest for the packets spent (discipline.md section 8
//! compares schedules: at most 20 packets in 300 s, below 1 ms after 39 s in the median). Once that
//! reaches the interval which the discipline asks for, the association is *steady* and follows its wish.
//!
//! The first two phases ignore the configured minimum, which is about the long run. A RATE kiss
//! ends them at once and for good: the server has spoken (RFC 5905 section 7.4), and the interval it provoked is
//! from then on a floor.
//!
//! A server that answers nothing gets no burst after burst: after one in vain it is
//! polled at the configured minimum, and its first answer starts the burst that failed.
//!
//! Intervals are stretched by 0.5 to 2 %, never shortened: clients do not march in step, and a server that counts seconds is not
//! undercut by a clock that runs fast or a request that travels faster than the one before.

use ntp_time::{Monotonic, NtpDuration, PollInterval, PollLimits};
use rand_core::RngCore;

/// Requests in a burst. Eight is what RFC 5905 section 13.1 uses and servers' rate limits allow.
const BURST_REQUESTS: u8 = 8;
/// Between requests of a burst; RFC 5905 section 13.1 (BTIME).
const BURST_INTERVAL: NtpDuration = NtpDuration::from_seconds(2);
/// Between the beginnings of two bursts at least: eight packets a minute at the worst.
const BURST_SPACING: NtpDuration = NtpDuration::from_seconds(60);
/// Least stretch of an interval, and by how much it may exceed that: 80 ms of 16 s at least.
const STRETCH: (f64, f64) = (0.005, 0.015);
/// Shortest interval while settling.
const SETTLING_INTERVAL: NtpDuration = NtpDuration::from_seconds(12);
/// Share of the age that the settling interval takes.
const SETTLING_SHARE: i64 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Burst { left: u8, answered: bool },
    Settling { since: Monotonic },
    Steady,
}

/// Poll times of one association.
#[derive(Clone, Debug)]
pub struct Schedule {
    limits: PollLimits,
    poll: PollInterval,
    /// Floor that RATE kisses have raised.
    server_minimum: Option<PollInterval>,
    phase: Phase,
    /// The last burst stayed unanswered; the next answer is owed one.
    burst_owed: bool,
    /// When the latest burst began: the origin of the settling interval.
    started: Monotonic,
}

impl Schedule {
    /// A schedule that begins with a burst at `now`.
    pub fn new(limits: PollLimits, initial: PollInterval, now: Monotonic) -> Self {
        Self {
            limits,
            poll: limits.clamp(initial),
            server_minimum: None,
            phase: Phase::Burst {
                left: BURST_REQUESTS,
                answered: false,
            },
            burst_owed: false,
            started: now,
        }
    }

    /// The steady poll interval: what the discipline asked for within the limits.
    pub fn poll(&self) -> PollInterval {
        self.poll
    }

    /// The configured limits, raised by what RATE kisses demanded.
    pub fn limits(&self) -> PollLimits {
        match self.server_minimum {
            Some(minimum) => PollLimits {
                min: self.limits.min.max(minimum),
                max: self.limits.max.max(minimum),
            },
            None => self.limits,
        }
    }

    /// Whether the start schedule is over.
    pub fn is_steady(&self) -> bool {
        self.phase == Phase::Steady
    }

    /// Whether the burst at the start is still going on.
    pub fn is_in_burst(&self) -> bool {
        matches!(self.phase, Phase::Burst { .. })
    }

    /// Takes the discipline's wish.
    pub fn set_poll(&mut self, wish: PollInterval) {
        self.poll = self.limits().clamp(wish);
    }

    /// Takes another range; what RATE kisses demanded still holds.
    pub fn set_limits(&mut self, limits: PollLimits) {
        self.limits = limits;
        self.poll = self.limits().clamp(self.poll);
    }

    /// Begins a new burst, unless the server has asked for fewer packets or the last burst was only just: a clock that is
    /// disturbed again and again must not turn us into a flood. Returns whether the next poll should happen at once.
    pub fn restart(&mut self, now: Monotonic) -> bool {
        if self.server_minimum.is_some() || now - self.started < BURST_SPACING {
            return false;
        }
        self.begin_burst(now);
        true
    }

    /// When there may be a request out of turn at the earliest, after one at `last`; not at all if the server has asked for fewer.
    pub fn earliest(&self, last: Monotonic) -> Option<Monotonic> {
        self.server_minimum
            .is_none()
            .then_some(last + BURST_INTERVAL)
    }

    fn begin_burst(&mut self, now: Monotonic) {
        self.phase = Phase::Burst {
            left: BURST_REQUESTS,
            answered: false,
        };
        self.burst_owed = false;
        self.started = now;
    }

    /// A request goes out at `now`: returns the time of the next one.
    pub fn requested(&mut self, now: Monotonic, rng: &mut impl RngCore) -> Monotonic {
        let steady = self.poll.to_duration();
        let interval = match self.phase {
            Phase::Burst { left, answered } if left > 1 => {
                self.phase = Phase::Burst {
                    left: left - 1,
                    answered,
                };
                BURST_INTERVAL.min(steady)
            }
            Phase::Burst { answered: true, .. } => {
                self.phase = Phase::Settling {
                    since: self.started,
                };
                SETTLING_INTERVAL.min(steady)
            }
            Phase::Burst {
                answered: false, ..
            } => {
                self.phase = Phase::Steady;
                self.burst_owed = true;
                self.poll = self.limits().min;
                self.poll.to_duration()
            }
            Phase::Settling { since } => {
                let interval = SETTLING_INTERVAL.max((now - since) / SETTLING_SHARE);
                if interval >= steady {
                    self.phase = Phase::Steady;
                }
                interval.min(steady)
            }
            Phase::Steady => steady,
        };
        now + stretched(interval, rng)
    }

    /// A usable answer came. Returns whether it starts an overdue burst, so that the next poll is due soon.
    pub fn answered(&mut self, now: Monotonic) -> bool {
        // The burst before it met with silence, and one follows an answer only once.
        if self.burst_owed {
            self.begin_burst(now);
            return true;
        }
        if let Phase::Burst { answered, .. } = &mut self.phase {
            *answered = true;
        }
        false
    }

    /// The server asked for fewer packets: one step slower than the interval in use, within the limits. Returns the time of the
    /// next request, counted from `now`.
    pub fn rate_kissed(&mut self, now: Monotonic, rng: &mut impl RngCore) -> Monotonic {
        let slower = if self.phase == Phase::Steady {
            self.poll.longer()
        } else {
            self.limits.min.max(self.poll)
        };
        let minimum = slower.min(self.limits.max).max(self.limits.min);
        self.server_minimum = Some(self.server_minimum.map_or(minimum, |old| old.max(minimum)));
        self.phase = Phase::Steady;
        self.burst_owed = false;
        self.set_poll(self.poll);
        now + stretched(self.poll.to_duration(), rng)
    }
}

fn stretched(interval: NtpDuration, rng: &mut impl RngCore) -> NtpDuration {
    let (least, more) = STRETCH;
    let stretch = least + more * f64::from(rng.next_u32()) / f64::from(u32::MAX);
    // A burst is too short for its stretch to matter and too visible for it not to annoy.
    if interval > BURST_INTERVAL {
        interval + interval.scaled(stretch)
    } else {
        interval
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn limits(min: i8, max: i8) -> PollLimits {
        PollLimits {
            min: PollInterval::from_log2(min),
            max: PollInterval::from_log2(max),
        }
    }

    /// Send times in seconds up to `end`, with an answer to every request if `answering`.
    fn times(schedule: &mut Schedule, end: i64, answering: bool) -> Vec<i64> {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut now = Monotonic::default();
        let mut sent = Vec::new();
        while now < Monotonic::default() + NtpDuration::from_seconds(end) {
            sent.push(now.as_nanos() / 1_000_000_000);
            let next = schedule.requested(now, &mut rng);
            if answering {
                schedule.answered(now);
            }
            now = next;
        }
        sent
    }

    #[test]
    fn the_start_costs_eight_packets_in_16_s_and_twenty_in_300() {
        let mut schedule = Schedule::new(
            limits(4, 10),
            PollInterval::from_log2(6),
            Monotonic::default(),
        );
        let sent = times(&mut schedule, 300, true);
        assert_eq!(sent.iter().filter(|time| **time < 16).count(), 8);
        assert!((18..=20).contains(&sent.len()), "{sent:?}");
        assert!(!schedule.is_steady());
    }

    #[test]
    fn a_silent_server_is_not_hammered() {
        let mut schedule = Schedule::new(
            limits(4, 10),
            PollInterval::from_log2(4),
            Monotonic::default(),
        );
        let sent = times(&mut schedule, 600, false);
        assert!(
            sent.windows(2)
                .filter(|pair| pair[0] >= 14)
                .all(|pair| pair[1] - pair[0] >= 15),
            "{sent:?}"
        );
        // Its first answer gets the burst that failed.
        assert!(schedule.answered(Monotonic::default() + NtpDuration::from_seconds(600)));
    }

    #[test]
    fn rate_kisses_end_the_burst_and_raise_the_floor_step_by_step() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut schedule = Schedule::new(
            limits(4, 10),
            PollInterval::from_log2(4),
            Monotonic::default(),
        );
        schedule.rate_kissed(Monotonic::default(), &mut rng);
        assert_eq!(schedule.poll(), PollInterval::from_log2(4));
        schedule.rate_kissed(Monotonic::default(), &mut rng);
        assert_eq!(schedule.poll(), PollInterval::from_log2(5));
        schedule.set_poll(PollInterval::from_log2(4));
        assert_eq!(
            schedule.poll(),
            PollInterval::from_log2(5),
            "a wish does not undercut the server"
        );
        assert!(!schedule.restart(Monotonic::default() + NtpDuration::from_seconds(600)));
        for _ in 0..20 {
            schedule.rate_kissed(Monotonic::default(), &mut rng);
        }
        assert_eq!(schedule.poll(), PollInterval::from_log2(10));
    }
}
