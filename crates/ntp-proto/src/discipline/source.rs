//! State of one source besides its bias: path, noise, last correctness interval, selection.

use ntp_time::{FreeTime, Frequency, NtpDuration};

use super::allowance::slack;
use super::bank::Bank;
use super::confidence::CLAIM;
use super::gate::{DriftTest, ROUTE_MEMORY};
use super::initial_frequency::{RateSample, RateWindow};
use super::intersection::Interval;
use super::measurement::{Measurement, NoiseLaw};
use super::noise::{FlatNoise, KindBelief, Noise};
use super::pairs::{PRIOR_FLOOR, PairSample};
use super::path::PathModel;
use super::trend::{Points, Trend};
use super::{SelectionOptions, SourceState};

/// Handle of a source, returned by [`Discipline::add_source`](super::Discipline::add_source) and
/// never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(pub(super) u32);

/// Status of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceEstimate {
    /// Result of the selection.
    pub state: SourceState,
    /// Whether it has a slot in the joint state. If not, better sources occupy all of them.
    pub in_joint_estimate: bool,
    /// Time of the last sample.
    pub last: Option<FreeTime>,
    /// Estimate minus last sample, propagated to now. Zero without an estimate or a sample.
    pub offset: NtpDuration,
    /// Half-width of its correctness interval now.
    pub uncertainty: NtpDuration,
    /// Baseline: delay of the idle path.
    pub base_delay: NtpDuration,
    /// Median excess over the baseline.
    pub typical_excess: NtpDuration,
    /// Standard deviation of a typical sample of this source.
    pub jitter: NtpDuration,
    /// Estimated asymmetry of its path. Zero if it is the only source.
    pub bias: NtpDuration,
    /// Standard deviation of [`Self::bias`].
    pub bias_sigma: NtpDuration,
    /// Number of consecutive outliers.
    pub consecutive_outliers: u32,
    /// Its share of the information of the joint estimate, from 0 to 1.
    pub weight: f64,
    /// The line through its newest measurements.
    pub trend: Option<Trend>,
}

/// Correctness interval at the time of its sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatedInterval {
    pub(super) at: FreeTime,
    pub(super) phase: NtpDuration,
    /// Seconds.
    pub(super) half_width: f64,
    /// Round trip to the reference clock, seconds: the packet's plus the server's own.
    pub(super) root_delay: f64,
}

/// Parameters of the propagation of correctness intervals to now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Propagation {
    pub(super) now: FreeTime,
    pub(super) origin: NtpDuration,
    /// Frequency of the oscillator, s/s.
    pub(super) frequency: f64,
    /// Widening per second of age, s/s,
    pub(super) drift: f64,
    /// and its addition for old samples: see [`allowance::slack`](super::allowance::slack).
    pub(super) slack: f64,
}

impl DatedInterval {
    /// The interval at `propagation.now`.
    pub(super) fn propagate(&self, propagation: &Propagation) -> Interval {
        let age = (propagation.now - self.at).as_seconds_f64();
        Interval {
            centre: (self.phase - propagation.origin).as_seconds_f64()
                + propagation.frequency * age,
            half_width: self.half_width
                + (propagation.drift + slack(propagation.slack, age)) * age.abs(),
        }
    }
}

/// Length of the running mean of the information, in samples: about an hour at 64 s. A longer mean
/// keeps the poll interval steady through exceptional samples, a shorter one follows a change of
/// the network faster. Validated by simulation only.
const INFORMATION_MEMORY: u32 = 64;
/// Number of intervals without an answer after which a source is stale: the length of the reach
/// register, RFC 5905 section 13.
const STALE_INTERVALS: f64 = 8.0;
/// Smallest interval assumed for staleness, seconds: at the start samples are 2 s apart, and a
/// source must not be stale after 16 s.
const MIN_SPACING: f64 = 64.0;

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) key: SourceKey,
    pub(super) law: NoiseLaw,
    pub(super) eligible: bool,
    pub(super) options: SelectionOptions,
    /// Whether it was part of the majority at the last selection.
    pub(super) selected: bool,
    /// Whether its options permit its use beside those of the other sources, at the last selection.
    pub(super) has_precedence: bool,
    /// Whether it is selected and has precedence.
    pub(super) in_use: bool,
    /// Position in the joint state.
    pub(super) slot: Option<usize>,
    /// Whether the bias includes the asymmetry of the whole path: always, except for a source that
    /// started the clock alone.
    pub(super) asymmetric: bool,
    pub(super) path: PathModel,
    pub(super) flat: FlatNoise,
    pub(super) belief: KindBelief,
    /// Correctness interval of the last sample.
    pub(super) last: Option<DatedInterval>,
    /// The newest measurements, for readers.
    pub(super) points: Points,
    /// Samples that show the rate of the free-running clock at the start.
    pub(super) rates: RateWindow,
    /// Noise of the last sample.
    pub(super) noise: Option<Noise>,
    /// When it moved more than it states for the last time, while it is therefore excluded: see
    /// `unsteady`.
    pub(super) unsteady: Option<FreeTime>,
    /// Square of the rate at which its bias moves, s^2/s: see `pairs`.
    pub(super) wander: f64,
    pub(super) last_used: Option<FreeTime>,
    /// Number of consecutive outliers.
    pub(super) consecutive_outliers: u32,
    pub(super) drift_test: DriftTest,
    /// Number of samples ever seen.
    pub(super) samples: u32,
    /// Running mean of 1/variance of its samples, 1/s^2.
    pub(super) information: f64,
    /// Number of samples used since its poll interval was last lengthened, or the last outlier.
    pub(super) samples_since_poll_change: u32,
    /// The server's share of the last interval's half-width, seconds.
    server_error: f64,
    /// Time between the last two samples, seconds; at least [`MIN_SPACING`].
    spacing: f64,
    /// Number of samples since the path last changed its length.
    samples_on_route: u32,
}

impl Source {
    pub(super) fn new(key: SourceKey, law: NoiseLaw) -> Self {
        Self {
            key,
            law,
            eligible: true,
            options: SelectionOptions::default(),
            selected: false,
            has_precedence: true,
            in_use: false,
            slot: None,
            asymmetric: false,
            path: PathModel::new(),
            flat: FlatNoise::new(),
            belief: KindBelief::PRIOR,
            last: None,
            points: Points::new(),
            rates: RateWindow::default(),
            noise: None,
            unsteady: None,
            wander: 0.0,
            last_used: None,
            consecutive_outliers: 0,
            drift_test: DriftTest::default(),
            samples: 0,
            information: 0.0,
            samples_since_poll_change: 0,
            server_error: 0.0,
            spacing: MIN_SPACING,
            samples_on_route: ROUTE_MEMORY,
        }
    }

    /// Stores the correctness interval of a sample.
    pub(super) fn record_interval(&mut self, measurement: &Measurement, ignore_dispersion: bool) {
        if let Some(last) = &self.last {
            let gap = (measurement.at - last.at).as_seconds_f64();
            self.spacing = gap.max(MIN_SPACING);
        }
        self.points
            .push(measurement.at, measurement.phase, measurement.delay);
        self.server_error = measurement.server_error(ignore_dispersion);
        let half_width = measurement.half_width(ignore_dispersion);
        self.rates.push(RateSample {
            at: measurement.at,
            phase: measurement.phase,
            half_width: half_width - self.server_error,
        });
        self.last = Some(DatedInterval {
            at: measurement.at,
            phase: measurement.phase,
            half_width,
            root_delay: measurement.delay_seconds() + measurement.root_delay.as_seconds_f64(),
        });
    }

    /// Updates the running mean of the information with the variance of a sample.
    pub(super) fn record_information(&mut self, variance: f64) {
        let memory = self.samples.clamp(1, INFORMATION_MEMORY);
        self.information += (1.0 / variance - self.information) / f64::from(memory);
    }

    /// The newest sample, for pairs.
    pub(super) fn pair_sample(&self, bank: &Bank) -> Option<PairSample> {
        let (last, noise) = self.last.zip(self.noise.as_ref())?;
        Some(PairSample {
            at: last.at,
            phase: last.phase,
            variance: bank.noise_variance(noise.symmetric, noise.flat),
        })
    }

    /// Whether it is in the joint state and answers.
    pub(super) fn takes_part(&self, now: FreeTime) -> bool {
        self.slot.is_some() && self.in_use && !self.is_stale(now)
    }

    /// Whether its movement against the others is learnt: reference clocks also while they are
    /// falsetickers, because a precise one of them may be the witness of which one drifts.
    pub(super) fn is_compared(&self, now: FreeTime) -> bool {
        let is_clock = self.law != NoiseLaw::Queue && self.eligible && !self.is_stale(now);
        is_clock || self.takes_part(now)
    }

    /// Prior variance of the difference of its bias and another's, s^2.
    pub(super) fn distance_prior(&self, other: &Self) -> f64 {
        2.0 * (self.asymmetry_prior() + other.asymmetry_prior()) + PRIOR_FLOOR
    }

    /// Whether it has not answered for [`STALE_INTERVALS`].
    pub(super) fn is_stale(&self, now: FreeTime) -> bool {
        self.last
            .is_some_and(|last| (now - last.at).as_seconds_f64() > STALE_INTERVALS * self.spacing)
    }

    /// The error that it states for itself, seconds.
    pub(super) fn stated_error(&self) -> f64 {
        self.server_error
    }

    /// Time between the last two samples in seconds, at least [`MIN_SPACING`].
    pub(super) fn spacing(&self) -> f64 {
        self.spacing
    }

    /// Records whether the path changed its length with this sample.
    pub(super) fn record_route(&mut self, changed: bool) {
        self.samples_on_route = if changed {
            0
        } else {
            self.samples_on_route.saturating_add(1)
        };
    }

    /// Whether the path changed its length within the last [`ROUTE_MEMORY`] samples.
    pub(super) fn route_changed(&self) -> bool {
        self.samples_on_route < ROUTE_MEMORY
    }

    /// Prior variance of the asymmetry, s^2: uniform over half of the delay to the reference clock.
    pub(super) fn asymmetry_prior(&self) -> f64 {
        let half = self.path.lowest_baseline() / 2.0 + self.server_error;
        half * half / 3.0
    }

    /// Largest credible variance of the asymmetry, s^2: what the part of the delay above the lowest
    /// baseline can hide, and all of that baseline too unless it is part of the phase.
    pub(super) fn asymmetry_cap(&self) -> f64 {
        let detour = self.path.baseline() - self.path.lowest_baseline();
        let whole = if self.asymmetric {
            self.asymmetry_prior()
        } else {
            0.0
        };
        whole + detour * detour / 12.0
    }

    /// Forgets what cannot be kept after the clock moved by an unknown amount.
    pub(super) fn forget_measurements(&mut self) {
        self.last = None;
        self.points.clear();
        self.rates = RateWindow::default();
        self.flat.forget_neighbours();
        self.drift_test = DriftTest::default();
        self.consecutive_outliers = 0;
    }

    /// Moves what is known of its phase by a known amount.
    pub(super) fn shift(&mut self, by: NtpDuration) {
        if let Some(last) = &mut self.last {
            last.phase += by;
        }
        self.points.shift(by);
        self.rates.shift(by);
        self.flat.shift(by);
    }

    /// Adapts to a move of the clock that is known to within `allowance` seconds.
    pub(super) fn widen_interval(&mut self, allowance: f64) {
        if let Some(last) = &mut self.last {
            last.half_width += allowance;
        }
        self.points.clear();
        self.rates = RateWindow::default();
        self.flat.forget_neighbours();
        self.drift_test = DriftTest::default();
        self.consecutive_outliers = 0;
    }
}

/// Widening of an interval per second of its age, s/s. The configured allowance alone would be no
/// guarantee while the frequency is uncertain. `startup_drift` is the frequency error that is
/// possible whatever the filters believe, see `Discipline::startup_drift`.
pub(super) fn drift_rate(allowance: Frequency, frequency_sigma: f64, startup_drift: f64) -> f64 {
    allowance.as_ratio().max(0.0) + CLAIM * frequency_sigma + startup_drift
}
