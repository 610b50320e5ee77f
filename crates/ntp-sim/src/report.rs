//! How well a run kept time.
//!
//! The clock's true error and the engine's claims about it are sampled once a second from the
//! scenario's `settled` on.

use ntp_proto::discipline::ErrorFigures;
use ntp_types::status::EngineStatus;

use crate::histogram::Histogram;

/// Limits of [`Report::settled_below`], seconds.
pub const SETTLED_LIMITS: [f64; 3] = [10e-3, 1e-3, 100e-6];

/// Figures of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Root mean square of the clock's error, seconds.
    pub rms: f64,
    /// Its largest magnitude, seconds.
    pub maximum: f64,
    /// Root mean square of the clock's rate error, s/s, slews included.
    pub frequency_rms: f64,
    /// 99th percentile of the magnitude of the error, seconds.
    pub error_99: f64,
    /// Share of the seconds with a bound in which the true error was inside it.
    pub bound_coverage: f64,
    /// Share of those in which the true error was inside the estimated error.
    pub estimate_coverage: f64,
    /// Median bound, seconds.
    pub median_bound: f64,
    /// Median estimated error, seconds.
    pub median_estimate: f64,
    /// Seconds from the beginning until the error stayed below each of [`SETTLED_LIMITS`]; infinite
    /// if it did not.
    pub settled_below: [f64; 3],
    /// Requests sent since `settled`.
    pub requests: u64,
    /// Seconds that the figures cover.
    pub seconds: u64,
    /// Requests sent in the whole run.
    pub total_requests: u64,
    /// Hash of the run; equal runs have equal ones.
    pub fingerprint: u64,
    /// The engine's status at the end.
    pub last: EngineStatus,
}

impl Report {
    /// Mean time between two requests to all servers together, seconds.
    pub fn mean_interval(&self) -> f64 {
        self.seconds as f64 / self.requests.max(1) as f64
    }
}

/// Accumulates the figures of a [`Report`].
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportBuilder {
    seconds: u64,
    squares: f64,
    rate_squares: f64,
    maximum: f64,
    bounds_given: u64,
    inside_bound: u64,
    inside_estimate: u64,
    errors: Histogram,
    bounds: Histogram,
    estimates: Histogram,
    requests_before: u64,
    last_exceeded: [f64; 3],
    latest: f64,
}

impl ReportBuilder {
    /// Adds one second of the run. Only those with `counted` enter the figures.
    pub(crate) fn add_second(
        &mut self,
        at: f64,
        (error, rate): (f64, f64),
        claim: Option<ErrorFigures>,
        counted: bool,
        requests: u64,
    ) {
        let magnitude = error.abs();
        self.latest = at;
        for (last, limit) in self.last_exceeded.iter_mut().zip(SETTLED_LIMITS) {
            if magnitude >= limit {
                *last = at;
            }
        }
        if !counted {
            self.requests_before = requests;
            return;
        }
        self.seconds += 1;
        self.squares += error * error;
        self.rate_squares += rate * rate;
        self.maximum = self.maximum.max(magnitude);
        self.errors.add(magnitude);
        if let Some(claim) = claim {
            self.bounds_given += 1;
            let (bound, estimate) = (
                claim.bound.as_seconds_f64(),
                claim.estimated_error.as_seconds_f64(),
            );
            self.inside_bound += u64::from(magnitude <= bound);
            self.inside_estimate += u64::from(magnitude <= estimate);
            self.bounds.add(bound);
            self.estimates.add(estimate);
        }
    }

    pub(crate) fn build(&self, requests: u64, fingerprint: u64, last: EngineStatus) -> Report {
        let (seconds, bounds_given) = (self.seconds.max(1) as f64, self.bounds_given.max(1) as f64);
        let settled = |last_exceeded: f64| {
            if last_exceeded >= self.latest {
                f64::INFINITY
            } else {
                last_exceeded
            }
        };
        Report {
            rms: (self.squares / seconds).sqrt(),
            maximum: self.maximum,
            frequency_rms: (self.rate_squares / seconds).sqrt(),
            error_99: self.errors.quantile(0.99),
            bound_coverage: self.inside_bound as f64 / bounds_given,
            estimate_coverage: self.inside_estimate as f64 / bounds_given,
            median_bound: self.bounds.quantile(0.5),
            median_estimate: self.estimates.quantile(0.5),
            settled_below: self.last_exceeded.map(settled),
            requests: requests - self.requests_before,
            seconds: self.seconds,
            total_requests: requests,
            fingerprint,
            last,
        }
    }
}
