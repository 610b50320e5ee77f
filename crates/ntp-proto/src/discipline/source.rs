//! What the discipline keeps about one source besides its bias: path, noise, last interval and
//! standing.

use ntp_time::{FreeTime, Frequency, NtpDuration};

use super::gate::{ROUTE_MEMORY, Trend};
use super::measurement::Measurement;
use super::noise::{FlatNoise, KindBelief, Noise};
use super::path::PathModel;
use super::selection::Interval;

/// A source's handle, given out by [`Discipline::join`](super::Discipline::join) and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(pub(super) u32);

/// What the operator thinks of a source, beyond what measurements say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opinion {
    /// Used in place of sources without this mark, as long as it is part of the majority.
    pub prefer: bool,
    /// Right by decree: while such sources answer, they alone vote, and others are used only if they agree.
    pub trust: bool,
    /// Without at least one such source in the majority nothing is steered.
    pub require: bool,
    /// Measured and shown, never used.
    pub noselect: bool,
}

/// Where a source stands in the vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// The engine ruled it out.
    Ineligible,
    /// It has not answered yet, or not since the clock was disturbed.
    NoSamples,
    /// It has not answered for eight of its own intervals.
    Stale,
    /// Its interval is wider than the configured maximum.
    TooUncertain,
    /// It has a say, but the sources do not agree.
    NoMajority,
    /// Its interval lies outside the majority's.
    Falseticker,
    /// It is part of the majority, but the operator prefers others that are.
    Outranked,
    /// It is part of the majority.
    Selected,
}

/// All there is to tell about a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceStatus {
    /// Where it stands.
    pub state: SourceState,
    /// Whether it has a place in the joint state; otherwise better sources do.
    pub seated: bool,
    /// Time of the last sample.
    pub last: Option<FreeTime>,
    /// What its last sample, brought to the present, says about our best estimate: estimate minus
    /// sample. Zero before there are both.
    pub offset: NtpDuration,
    /// Half of its correctness interval now.
    pub uncertainty: NtpDuration,
    /// Delay of the idle path.
    pub base_delay: NtpDuration,
    /// Median excess over it.
    pub typical_excess: NtpDuration,
    /// Standard deviation that a typical sample of this source has.
    pub jitter: NtpDuration,
    /// Estimated asymmetry of its path, and the standard deviation of that. Zero if the source
    /// stands alone.
    pub bias: NtpDuration,
    /// See [`Self::bias`].
    pub bias_sigma: NtpDuration,
    /// Samples in a row that were surprises.
    pub strikes: u32,
}

/// The correctness interval of a sample, as it was when it was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub(super) at: FreeTime,
    pub(super) phase: NtpDuration,
    pub(super) half_width: f64,
    /// Round trip to the reference clock: the packet's plus the server's own.
    pub(super) root_delay: f64,
}

/// How intervals are carried to the present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carriage {
    pub(super) now: FreeTime,
    pub(super) origin: NtpDuration,
    pub(super) frequency: f64,
    /// Widening per second of age.
    pub(super) drift: f64,
}

impl Sighting {
    pub(super) fn interval(&self, carriage: &Carriage) -> Interval {
        let age = (carriage.now - self.at).as_seconds_f64();
        Interval {
            centre: (self.phase - carriage.origin).as_seconds_f64() + carriage.frequency * age,
            half_width: self.half_width + carriage.drift * age.abs(),
        }
    }
}

/// Samples that the running mean of the information remembers.
const INFORMATION_MEMORY: u32 = 64;
/// Intervals without an answer after which a source has no say: the length of the reach register,
/// RFC 5905 section 13.
const STALE_INTERVALS: f64 = 8.0;
/// At start samples are 2 s apart, and nobody is stale after 16 s.
const LEAST_SPACING: f64 = 64.0;

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) key: SourceKey,
    pub(super) eligible: bool,
    pub(super) opinion: Opinion,
    /// Part of the majority at the last vote.
    pub(super) selected: bool,
    /// Selected, and not outranked by preferred sources.
    pub(super) in_use: bool,
    /// Place in the joint state.
    pub(super) slot: Option<usize>,
    /// Whether the bias carries the asymmetry of the whole path (always, except for a source that
    /// started the clock alone).
    pub(super) asymmetric: bool,
    pub(super) path: PathModel,
    pub(super) flat: FlatNoise,
    pub(super) belief: KindBelief,
    pub(super) last: Option<Sighting>,
    /// What the last sample is worth.
    pub(super) noise: Option<Noise>,
    pub(super) last_used: Option<FreeTime>,
    pub(super) strikes: u32,
    pub(super) trend: Trend,
    /// Mean of 1/variance of its samples, 1/s^2.
    pub(super) information: f64,
    /// Samples used since its poll interval was last lengthened.
    pub(super) calm: u32,
    /// The server's share of the last sample's interval, seconds.
    server_error: f64,
    spacing: f64,
    /// Samples since the path last changed its length.
    same_route: u32,
}

impl Source {
    pub(super) fn new(key: SourceKey) -> Self {
        Self {
            key,
            eligible: true,
            opinion: Opinion::default(),
            selected: false,
            in_use: false,
            slot: None,
            asymmetric: false,
            path: PathModel::new(),
            flat: FlatNoise::new(),
            belief: KindBelief::PRIOR,
            last: None,
            noise: None,
            last_used: None,
            strikes: 0,
            trend: Trend::default(),
            information: 0.0,
            calm: 0,
            server_error: 0.0,
            spacing: LEAST_SPACING,
            same_route: ROUTE_MEMORY,
        }
    }

    /// Remembers where this sample says the truth is.
    pub(super) fn sight(&mut self, measurement: &Measurement, ignore_dispersion: bool) {
        if let Some(last) = &self.last {
            let gap = (measurement.at - last.at).as_seconds_f64();
            self.spacing = gap.max(LEAST_SPACING);
        }
        self.server_error = measurement.server_error(ignore_dispersion);
        self.last = Some(Sighting {
            at: measurement.at,
            phase: measurement.phase,
            half_width: measurement.half_width(ignore_dispersion),
            root_delay: measurement.delay_seconds() + measurement.root_delay.as_seconds_f64(),
        });
    }

    /// Learns how much a sample of this source is worth.
    pub(super) fn inform(&mut self, variance: f64) {
        let memory = self.path.samples().clamp(1, INFORMATION_MEMORY);
        self.information += (1.0 / variance - self.information) / f64::from(memory);
    }

    pub(super) fn is_stale(&self, now: FreeTime) -> bool {
        self.last
            .is_some_and(|last| (now - last.at).as_seconds_f64() > STALE_INTERVALS * self.spacing)
    }

    /// Notes with each sample whether the path changed its length.
    pub(super) fn note_route(&mut self, changed: bool) {
        self.same_route = if changed {
            0
        } else {
            self.same_route.saturating_add(1)
        };
    }

    /// Whether the path changed its length lately.
    pub(super) fn rerouted(&self) -> bool {
        self.same_route < ROUTE_MEMORY
    }

    /// Prior variance of the asymmetry: uniform over half of the whole way to the reference clock.
    pub(super) fn asymmetry_prior(&self) -> f64 {
        let half = self.path.home() / 2.0 + self.server_error;
        half * half / 3.0
    }

    /// The largest credible variance of the asymmetry: what the part of the delay above the best
    /// route ever seen can hide, and the whole of that route too unless the phase has taken it in.
    pub(super) fn asymmetry_cap(&self) -> f64 {
        let detour = self.path.baseline() - self.path.home();
        let whole = if self.asymmetric {
            self.asymmetry_prior()
        } else {
            0.0
        };
        whole + detour * detour / 12.0
    }

    /// The clock moved by an unknown amount: nothing that was measured before can be carried over.
    pub(super) fn forget_sighting(&mut self) {
        self.last = None;
        self.flat.forget_neighbours();
        self.trend = Trend::default();
        self.strikes = 0;
    }

    /// The clock moved by a known amount, give or take `allowance` seconds.
    pub(super) fn widen_sighting(&mut self, allowance: f64) {
        if let Some(last) = &mut self.last {
            last.half_width += allowance;
        }
        self.flat.forget_neighbours();
        self.trend = Trend::default();
        self.strikes = 0;
    }
}

/// Frequency sigmas that an interval widens by, on top of the drift allowance: while the
/// oscillator's own error is not yet known, the allowance alone would be no guarantee.
const FREQUENCY_SIGMAS: f64 = 4.0;

/// Widening of an interval per second of its age. `youth` is what the frequency may be wrong by whatever the filters believe,
/// see [`Discipline::youth`](super::Discipline).
pub(super) fn drift_rate(allowance: Frequency, frequency_sigma: f64, youth: f64) -> f64 {
    allowance.as_ratio().max(0.0) + FREQUENCY_SIGMAS * frequency_sigma + youth
}
