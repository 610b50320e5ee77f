//! Poll times of an association.
//!
//! # Problem
//! At start-up the clock is wrong and time to convergence matters; later, packets are a cost to
//! other people's servers, and the clock model determines how many it needs.
//!
//! # Solution
//! There are three phases. A *burst* of eight requests two seconds apart yields offset and
//! frequency to a few parts per million. *Settling* then increases the interval with the age of the
//! association, `max(12 s, minimum, age / 5)`: each new interval adds a fixed share to the baseline over
//! which frequency is measured, which halves its error soonest for the packets spent (discipline.md
//! section 8 compares schedules: at most 20 packets in 300 s, below 1 ms after 39 s in the median).
//! Once that reaches the interval requested by the discipline, the association is *steady* and uses
//! that interval.
//!
//! Only a burst ignores the configured minimum. It has at most eight packets, and two bursts begin
//! at least a minute apart.
//!
//! A RATE kiss ends the first two phases permanently (RFC 5905 section 7.4). The interval becomes
//! longer than the one in use, beyond the configured maximum if need be, and is the minimum from
//! then on. For each day without a kiss the minimum becomes one step shorter.
//!
//! A server that does not reply gets no further bursts: after one unanswered burst it is polled at
//! the configured minimum, and its first reply starts the burst again.
//!
//! Intervals are lengthened by 0.5 to 2 %, never shortened: clients do not synchronise with each
//! other, and the minimum interval of a server is kept even if our clock runs fast or a request
//! travels faster than the previous one.

use ntp_time::{Monotonic, NtpDuration, PollInterval, PollLimits};
use rand_core::RngCore;

/// Number of requests in a burst. Eight is the value of RFC 5905 section 13.1 and allowed by rate
/// limits of servers.
const BURST_REQUESTS: u8 = 8;
/// Interval between requests of a burst; RFC 5905 section 13.1 (BTIME).
const BURST_INTERVAL: NtpDuration = NtpDuration::from_seconds(2);
/// Minimum interval between the starts of two bursts: at most eight packets a minute.
const BURST_SPACING: NtpDuration = NtpDuration::from_seconds(60);
/// Minimum lengthening of an interval, and range of the random addition, as fractions: at least 80
/// ms of 16 s.
const LENGTHENING: (f64, f64) = (0.005, 0.015);
/// Minimum interval while settling.
const SETTLING_INTERVAL: NtpDuration = NtpDuration::from_seconds(12);
/// Longest interval due to RATE kisses: MAXPOLL of RFC 5905 section 7.2, 36 hours.
const SLOWEST: PollInterval = PollInterval::from_log2(17);
/// Time without a RATE kiss after which the minimum due to kisses becomes one step shorter. A
/// shorter time annoys a server whose limit has not changed, a longer one keeps an interval that a
/// passing overload or a neighbour behind the same address caused.
const CONTENT_AFTER: NtpDuration = NtpDuration::from_seconds(86_400);
/// Ratio of the age to the settling interval.
const AGE_TO_INTERVAL: i64 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Burst { left: u8, answered: bool },
    Settling { since: Monotonic },
    Steady,
}

/// Effect of the RATE kisses of a server.
#[derive(Clone, Copy, Debug)]
struct Slowdown {
    /// Minimum interval.
    minimum: PollInterval,
    /// Time of the last kiss, or of the last step to a shorter minimum.
    since: Monotonic,
}

/// Poll times of one association.
#[derive(Clone, Debug)]
pub struct Schedule {
    limits: PollLimits,
    poll: PollInterval,
    /// Effect of RATE kisses.
    slowdown: Option<Slowdown>,
    /// Shortest interval that the server permits, if it states one (version 5).
    server_minimum: Option<PollInterval>,
    /// Planned time between the last two requests, and from the last to the next.
    gaps: [NtpDuration; 2],
    phase: Phase,
    /// Whether the last burst was unanswered, so that the next reply starts another one.
    burst_pending: bool,
    /// Start of the last burst, from which the settling interval is computed.
    started: Monotonic,
}

impl Schedule {
    /// Creates a schedule that starts with a burst at `now`.
    pub fn new(limits: PollLimits, initial: PollInterval, now: Monotonic) -> Self {
        Self {
            limits,
            poll: limits.clamp(initial),
            slowdown: None,
            server_minimum: None,
            gaps: [NtpDuration::ZERO; 2],
            phase: Phase::Burst {
                left: BURST_REQUESTS,
                answered: false,
            },
            burst_pending: false,
            started: now,
        }
    }

    /// The steady poll interval: the one requested by the discipline, within the limits.
    pub fn poll(&self) -> PollInterval {
        self.poll
    }

    /// The configured limits, raised by RATE kisses and by what the server permits.
    pub fn limits(&self) -> PollLimits {
        let kissed = self.slowdown.map(|slowdown| slowdown.minimum);
        match kissed.max(self.server_minimum) {
            Some(minimum) => PollLimits {
                min: self.limits.min.max(minimum),
                max: self.limits.max.max(minimum),
            },
            None => self.limits,
        }
    }

    /// Sets the shortest interval that the server permits, as its last reply states it. A burst is
    /// not affected.
    pub fn set_server_minimum(&mut self, minimum: PollInterval) {
        self.server_minimum = Some(minimum);
        self.poll = self.limits().clamp(self.poll);
    }

    /// Whether burst and settling are over.
    pub fn is_steady(&self) -> bool {
        self.phase == Phase::Steady
    }

    /// Whether a burst is in progress.
    pub fn is_in_burst(&self) -> bool {
        matches!(self.phase, Phase::Burst { .. })
    }

    /// Sets the interval requested by the discipline, within the limits.
    pub fn set_poll(&mut self, poll: PollInterval) {
        self.poll = self.limits().clamp(poll);
    }

    /// Sets the configured limits; RATE kisses remain in effect.
    pub fn set_limits(&mut self, limits: PollLimits) {
        self.limits = limits;
        self.poll = self.limits().clamp(self.poll);
    }

    /// Starts a new burst, unless the server sent a RATE kiss or the last burst started less than a
    /// minute ago: repeated disturbances of the clock must not cause a flood. Returns whether a
    /// burst was started; the next poll is then due at once.
    pub fn restart(&mut self, now: Monotonic) -> bool {
        if self.slowdown.is_some() || now - self.started < BURST_SPACING {
            return false;
        }
        self.start_burst(now);
        true
    }

    /// Earliest time of an additional request after one at `last`. `None` if the server sent a RATE
    /// kiss.
    pub fn earliest(&self, last: Monotonic) -> Option<Monotonic> {
        self.slowdown.is_none().then_some(last + BURST_INTERVAL)
    }

    fn start_burst(&mut self, now: Monotonic) {
        self.phase = Phase::Burst {
            left: BURST_REQUESTS,
            answered: false,
        };
        self.burst_pending = false;
        self.started = now;
    }

    /// Records a request sent at `now`. Returns the time of the next one.
    pub fn record_request(&mut self, now: Monotonic, rng: &mut impl RngCore) -> Monotonic {
        let steady = self.poll.to_duration();
        let settling = SETTLING_INTERVAL.max(self.limits().min.to_duration());
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
                settling.min(steady)
            }
            Phase::Burst {
                answered: false, ..
            } => {
                self.phase = Phase::Steady;
                self.burst_pending = true;
                self.poll = self.limits().min;
                self.poll.to_duration()
            }
            Phase::Settling { since } => {
                let interval = settling.max((now - since) / AGE_TO_INTERVAL);
                if interval >= steady {
                    self.phase = Phase::Steady;
                }
                interval.min(steady)
            }
            Phase::Steady => steady,
        };
        self.gaps = [self.gaps[1], interval];
        now + lengthened(interval, rng)
    }

    /// Records a usable reply. Returns whether it starts a burst, so that the next poll is due
    /// soon.
    pub fn record_reply(&mut self, now: Monotonic) -> bool {
        if let Some(slowdown) = &mut self.slowdown
            && now - slowdown.since >= CONTENT_AFTER
        {
            slowdown.minimum = slowdown.minimum.shorter().max(self.limits.min);
            slowdown.since = now;
        }
        // The previous burst was unanswered; a reply restarts it once.
        if self.burst_pending && now - self.started >= BURST_SPACING {
            self.start_burst(now);
            return true;
        }
        if let Phase::Burst { answered, .. } = &mut self.phase {
            *answered = true;
        }
        false
    }

    /// Processes a RATE kiss: the interval becomes longer than the one in use, at most 36 hours.
    /// Returns the time of the next request, counted from `now`.
    pub fn handle_rate_kiss(&mut self, now: Monotonic, rng: &mut impl RngCore) -> Monotonic {
        let in_use = if self.phase == Phase::Steady {
            self.poll.to_duration()
        } else {
            self.gaps[0]
        };
        let mut minimum = self.limits().clamp(self.poll);
        while minimum.to_duration() <= in_use && minimum < SLOWEST {
            minimum = minimum.longer();
        }
        self.slowdown = Some(Slowdown {
            minimum,
            since: now,
        });
        self.phase = Phase::Steady;
        self.burst_pending = false;
        self.set_poll(self.poll);
        now + lengthened(self.poll.to_duration(), rng)
    }
}

fn lengthened(interval: NtpDuration, rng: &mut impl RngCore) -> NtpDuration {
    let (minimum, range) = LENGTHENING;
    let share = minimum + range * f64::from(rng.next_u32()) / f64::from(u32::MAX);
    // The requests of a burst are not worth lengthening.
    if interval > BURST_INTERVAL {
        interval + interval.scaled(share)
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

    /// Send times in seconds up to `end`, with a reply to every request if `answering`.
    fn times(schedule: &mut Schedule, end: i64, answering: bool) -> Vec<i64> {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut now = Monotonic::default();
        let mut sent = Vec::new();
        while now < Monotonic::default() + NtpDuration::from_seconds(end) {
            sent.push(now.as_nanos() / 1_000_000_000);
            let next = schedule.record_request(now, &mut rng);
            if answering {
                schedule.record_reply(now);
            }
            now = next;
        }
        sent
    }

    #[test]
    fn the_start_takes_eight_packets_in_16_s_and_at_most_twenty_in_300_s() {
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
    fn a_server_without_replies_is_not_flooded() {
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
        // The first reply restarts the burst.
        assert!(schedule.record_reply(Monotonic::default() + NtpDuration::from_seconds(600)));
    }

    #[test]
    fn rate_kisses_end_the_burst_and_raise_the_minimum_step_by_step() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut schedule = Schedule::new(
            limits(4, 10),
            PollInterval::from_log2(4),
            Monotonic::default(),
        );
        schedule.handle_rate_kiss(Monotonic::default(), &mut rng);
        assert_eq!(schedule.poll(), PollInterval::from_log2(4));
        schedule.handle_rate_kiss(Monotonic::default(), &mut rng);
        assert_eq!(schedule.poll(), PollInterval::from_log2(5));
        schedule.set_poll(PollInterval::from_log2(4));
        assert_eq!(
            schedule.poll(),
            PollInterval::from_log2(5),
            "the discipline cannot undercut the minimum of the server"
        );
        assert!(!schedule.restart(Monotonic::default() + NtpDuration::from_seconds(600)));
        for _ in 0..20 {
            schedule.handle_rate_kiss(Monotonic::default(), &mut rng);
        }
        assert_eq!(schedule.poll(), SLOWEST);
    }

    #[test]
    fn a_rate_kiss_exceeds_the_configured_maximum_until_the_server_was_content_for_days() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let fixed = PollInterval::from_log2(4);
        for poll in [0, 1, 4, 10] {
            let poll = PollInterval::from_log2(poll);
            let only = PollLimits {
                min: poll,
                max: poll,
            };
            let mut schedule = Schedule::new(only, poll, Monotonic::default());
            times(&mut schedule, 100, true);
            let now = Monotonic::default() + NtpDuration::from_seconds(100);
            schedule.handle_rate_kiss(now, &mut rng);
            schedule.handle_rate_kiss(now, &mut rng);
            assert!(schedule.poll() > poll, "{} after {poll}", schedule.poll());
        }
        let only = PollLimits {
            min: fixed,
            max: fixed,
        };
        let mut schedule = Schedule::new(only, fixed, Monotonic::default());
        for _ in 0..4 {
            schedule.handle_rate_kiss(Monotonic::default(), &mut rng);
        }
        let mut polls = Vec::new();
        for hours in 0..100 {
            let now = Monotonic::default() + NtpDuration::from_seconds(hours * 3600);
            schedule.record_reply(now);
            schedule.set_poll(fixed);
            polls.push(schedule.poll().as_log2());
        }
        polls.dedup();
        assert_eq!(polls, [7, 6, 5, 4], "one step a day");
    }

    #[test]
    fn after_the_burst_the_configured_minimum_is_kept() {
        for minimum in [4, 6, 10] {
            let shortest = PollInterval::from_log2(minimum);
            let mut schedule = Schedule::new(limits(minimum, 10), shortest, Monotonic::default());
            let sent = times(&mut schedule, 20_000, true);
            assert_eq!(sent.iter().filter(|time| **time < 16).count(), 8);
            let shortest = shortest.to_duration().as_nanos() / 1_000_000_000;
            let steady = sent[7..].windows(2);
            assert!(
                steady.clone().all(|pair| pair[1] - pair[0] >= shortest),
                "{sent:?}"
            );
        }
    }
}
