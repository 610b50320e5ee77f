//! A world small enough for unit tests: one oscillator, its clock, and servers behind queues.
//!
//! Every second the oscillator's frequency walks by `wander` x N(0,1); every packet takes `length +
//! queue x Exp(1)` in each direction. Those are the worlds of the accuracy anchors. Corrections are
//! kept exactly, in free time.

use ntp_time::{FreeTime, Frequency, Monotonic, NtpDuration, PollInterval, PollLimits};

use super::{
    Config, Decision, Discipline, FrequencyPrior, Measurement, MeasurementOutcome, NoiseLaw,
    SourceKey, Steering, SteeringConfig, Update,
};

/// Seeded random number generator (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1].
    pub(super) fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    pub(super) fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (core::f64::consts::TAU * self.uniform()).cos()
    }
}

/// A server and the path to it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) key: SourceKey,
    /// Idle delay of requests and of replies, seconds.
    pub(super) length: [f64; 2],
    /// Mean queue of requests and of replies, seconds.
    pub(super) queue: [f64; 2],
    /// The server's clock minus true time, seconds.
    pub(super) server_error: f64,
    /// Whether the server reports how its clock was corrected (NTPv5), and its error at the last
    /// report.
    pub(super) reports: bool,
    reported_error: Option<f64>,
    pub(super) root_delay: f64,
    pub(super) answers: bool,
    pub(super) poll: PollInterval,
    samples: u32,
    first: i64,
    next: i64,
}

/// Correction of the steered clock, piecewise linear in free time.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    since: f64,
    /// Steps are kept apart, in fixed point: the first may be half a century.
    stepped: NtpDuration,
    correction: f64,
    base: f64,
    slew: f64,
    slew_until: f64,
}

impl Clock {
    fn correction(&self, free: f64) -> f64 {
        let slewed = (free.min(self.slew_until) - self.since).max(0.0) * self.slew;
        self.correction + (free - self.since) * self.base + slewed
    }

    fn advance(&mut self, free: f64) {
        self.correction = self.correction(free);
        self.since = free;
    }
}

/// Statistics, updated once a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Statistics {
    seconds: u64,
    squares: f64,
    frequency_squares: f64,
    pub(super) worst: f64,
    /// Number of checks with an error outside the bound, outside the estimated error, and of all.
    pub(super) outside_bound: u64,
    pub(super) outside_estimate: u64,
    pub(super) checked: u64,
    /// Sum of the estimated errors.
    estimated_errors: f64,
    pub(super) outcomes: Vec<(i64, usize, MeasurementOutcome)>,
    pub(super) packets: u64,
    pub(super) steps: u64,
}

impl Statistics {
    pub(super) fn rms(&self) -> f64 {
        (self.squares / self.seconds as f64).sqrt()
    }

    pub(super) fn frequency_rms(&self) -> f64 {
        (self.frequency_squares / self.seconds as f64).sqrt()
    }

    pub(super) fn mean_estimate(&self) -> f64 {
        self.estimated_errors / self.checked as f64
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) wander: f64,
    /// The oscillator's frequency error.
    pub(super) frequency: f64,
    /// Free-running clock minus true time, without `epoch`.
    pub(super) phase: f64,
    epoch: NtpDuration,
    pub(super) second: i64,
    pub(super) links: Vec<Link>,
    pub(super) discipline: Discipline,
    pub(super) steering: Steering,
    clock: Clock,
    previous_error: Option<f64>,
    pub(super) statistics: Statistics,
    /// Limits in which the discipline chooses poll intervals; `None` for fixed intervals.
    pub(super) adapt: Option<PollLimits>,
    /// Seconds between checks of the error figures; 0 for none.
    pub(super) check_every: i64,
}

/// True time at the beginning of each world, seconds.
const BEGINNING: i64 = 1_800_000_000;

impl World {
    pub(super) fn new(seed: u64, wander: f64) -> Self {
        Self::with_prior(seed, wander, None)
    }

    pub(super) fn with_prior(seed: u64, wander: f64, prior: Option<FrequencyPrior>) -> Self {
        let config = Config {
            minimum_agreeing_sources: 1,
            ..Config::default()
        };
        Self {
            rng: Rng::new(seed),
            wander,
            frequency: 0.0,
            phase: 0.0,
            epoch: NtpDuration::ZERO,
            second: 0,
            links: Vec::new(),
            discipline: Discipline::new(config, prior),
            steering: Steering::new(SteeringConfig::default()),
            clock: Clock::default(),
            previous_error: None,
            statistics: Statistics::default(),
            adapt: None,
            check_every: 16,
        }
    }

    /// Sets the initial error of the clock, which may be half a century.
    pub(super) fn starting_off_by(mut self, epoch: NtpDuration) -> Self {
        self.epoch = epoch;
        self
    }

    /// Adds a server at the given one-way distance, with symmetric queues.
    pub(super) fn link(&mut self, length: f64, queue: f64, poll: i8) -> usize {
        let stagger = 2 * self.links.len() as i64;
        self.links.push(Link {
            key: self.discipline.add_source(NoiseLaw::Queue),
            length: [length; 2],
            queue: [queue; 2],
            server_error: 0.0,
            reports: false,
            reported_error: None,
            root_delay: 0.0,
            answers: true,
            poll: PollInterval::from_log2(poll),
            samples: 0,
            first: 0,
            next: self.second + 1 + stagger,
        });
        self.links.len() - 1
    }

    pub(super) fn remove(&mut self, link: usize) {
        let gone = self.links.remove(link);
        self.discipline.remove_source(gone.key);
    }

    /// A world of the grid of accuracy anchors.
    pub(super) fn of_the_grid(seed: u64, queue: f64, wander: f64, poll: i8) -> Self {
        let mut world = Self::new(seed, wander);
        world.link(queue.max(1e-4), queue, poll);
        world
    }

    /// Free time as seconds since the beginning.
    fn free(&self) -> f64 {
        self.second as f64 + self.phase
    }

    fn free_time(&self, since_beginning: f64) -> FreeTime {
        FreeTime::from_nanos(BEGINNING * 1_000_000_000)
            + self.epoch
            + NtpDuration::from_seconds_f64(since_beginning)
    }

    /// The present moment.
    pub(super) fn now(&self) -> FreeTime {
        self.free_time(self.free())
    }

    /// The system clock minus true time, seconds.
    pub(super) fn error(&self) -> f64 {
        (self.epoch + self.clock.stepped).as_seconds_f64()
            + self.phase
            + self.clock.correction(self.free())
    }

    /// Steps the clock without an entry in the ledger.
    pub(super) fn unrecorded_step(&mut self, by: f64) {
        self.phase += by;
        self.previous_error = None;
    }

    pub(super) fn forget_statistics(&mut self) {
        self.statistics = Statistics::default();
    }

    pub(super) fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.second += 1;
            self.frequency += self.wander * self.rng.normal();
            self.phase += self.frequency;
            self.observe();
            for index in 0..self.links.len() {
                if self.links[index].next <= self.second {
                    self.exchange(index);
                }
            }
        }
    }

    fn observe(&mut self) {
        let error = self.error();
        let statistics = &mut self.statistics;
        statistics.seconds += 1;
        statistics.squares += error * error;
        statistics.worst = statistics.worst.max(error.abs());
        if let Some(previous) = self.previous_error {
            statistics.frequency_squares += (error - previous).powi(2);
        }
        self.previous_error = Some(error);
        if self.check_every > 0 && self.second % self.check_every == 0 {
            self.check(error);
        }
    }

    fn check(&mut self, error: f64) {
        let now = self.now();
        let Some(estimate) = self.discipline.estimate(now) else {
            return;
        };
        let residual = estimate.phase + self.correction_now();
        let Some(figures) = self.discipline.error_figures(now, residual) else {
            return;
        };
        let statistics = &mut self.statistics;
        statistics.checked += 1;
        statistics.estimated_errors += figures.estimated_error.as_seconds_f64();
        statistics.outside_bound += u64::from(error.abs() > figures.bound.as_seconds_f64());
        statistics.outside_estimate +=
            u64::from(error.abs() > figures.estimated_error.as_seconds_f64());
    }

    fn correction_now(&self) -> NtpDuration {
        self.clock.stepped + NtpDuration::from_seconds_f64(self.clock.correction(self.free()))
    }

    fn exchange(&mut self, index: usize) {
        let link = &mut self.links[index];
        let [request, reply]: [f64; 2] = core::array::from_fn(|direction| {
            link.length[direction] + link.queue[direction] * self.rng.exponential()
        });
        if link.samples == 0 {
            link.first = self.second;
        }
        self.statistics.packets += 1;
        let (key, answers, server_error, root_delay) =
            (link.key, link.answers, link.server_error, link.root_delay);
        let duration = request + reply;
        let middle = self.phase + self.frequency * duration / 2.0;
        let measurement = Measurement {
            at: self.free_time(self.second as f64 + duration / 2.0 + middle),
            phase: self.epoch
                + NtpDuration::from_seconds_f64(middle + (reply - request) / 2.0 - server_error),
            delay: Some(NtpDuration::from_seconds_f64(duration)),
            stamp_noise: 1e-9,
            root_delay: NtpDuration::from_seconds_f64(root_delay),
            root_dispersion: NtpDuration::ZERO,
        };
        if answers {
            self.links[index].samples += 1;
            if self.links[index].reports {
                let before = self.links[index].reported_error.replace(server_error);
                let moved = before.map_or(0.0, |before| server_error - before);
                let moved = NtpDuration::from_seconds_f64(moved);
                self.discipline.follow_server_correction(key, moved);
            }
            let outcome = self.discipline.add_measurement(key, &measurement);
            if !matches!(outcome, MeasurementOutcome::Used) {
                self.statistics.outcomes.push((self.second, index, outcome));
            }
            if let Some(limits) = self.adapt {
                let current = self.links[index].poll;
                self.links[index].poll = self.discipline.choose_poll(key, limits, current);
            }
        }
        let link = &mut self.links[index];
        let since_first = NtpDuration::from_seconds(self.second - link.first);
        let interval = start_interval(link.samples, since_first, link.poll)
            .unwrap_or(link.poll.to_duration())
            .as_nanos()
            / 1_000_000_000;
        link.next = self.second + interval;
        let until_next = interval / self.links.len() as i64;
        if answers {
            self.steer(duration, NtpDuration::from_seconds(until_next.max(1)));
        }
    }

    fn steer(&mut self, after: f64, until_next: NtpDuration) {
        let free = self.free() + after * (1.0 + self.frequency);
        self.clock.advance(free);
        let Some(estimate) = self.discipline.estimate(self.free_time(free)) else {
            return;
        };
        let correction = self.clock.stepped + NtpDuration::from_seconds_f64(self.clock.correction);
        let update = Update {
            at: Monotonic::from_nanos(self.second * 1_000_000_000),
            until_next,
            agreeing: self.links.len(),
            relative_rate: self.links.len() as f64,
        };
        match self
            .steering
            .decide(estimate.phase + correction, &estimate, update)
        {
            Decision::Step { by, frequency } => {
                self.clock.stepped += by;
                self.clock.base = frequency.as_ratio();
                self.clock.slew = 0.0;
                self.previous_error = None;
                self.statistics.steps += 1;
            }
            Decision::Slew {
                frequency,
                base,
                duration,
            } => {
                self.clock.base = base.as_ratio();
                self.clock.slew = (frequency - base).as_ratio();
                self.clock.slew_until = free + duration.as_seconds_f64();
            }
            Decision::Wait { frequency, .. } => {
                self.clock.base = frequency.as_ratio();
                self.clock.slew = 0.0;
            }
            Decision::Hold => {}
            Decision::Panic(_) => panic!("no panic threshold is configured"),
        }
    }

    /// Estimated frequency of the oscillator.
    pub(super) fn frequency_estimate(&self) -> Option<Frequency> {
        Some(self.discipline.estimate(self.now())?.frequency)
    }
}

/// Number of samples at the start at [`START_SPACING`].
const START_SAMPLES: u32 = 8;
const START_SPACING: NtpDuration = NtpDuration::from_seconds(2);
/// After them this interval, or a fifth of the time since the first sample.
const START_LEAST: NtpDuration = NtpDuration::from_seconds(12);
const START_SHARE: i64 = 5;

/// Interval to the next request of a new source: eight at 2 s, then 12 s or a fifth of the time
/// since its first sample, whichever is longer. Returns `None` once that reaches the poll interval.
/// About 20 packets in five minutes; it may be below the configured minimum, but a RATE kiss must
/// end it.
fn start_interval(
    samples: u32,
    since_first: NtpDuration,
    poll: PollInterval,
) -> Option<NtpDuration> {
    let interval = if samples < START_SAMPLES {
        START_SPACING
    } else {
        START_LEAST.max(since_first / START_SHARE)
    };
    (interval < poll.to_duration()).then_some(interval)
}
