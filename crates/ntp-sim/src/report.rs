//! How well a run kept time.
//!
//! The clock's true error and what the engine claims about it are taken once a second from the scenario's `settled` on.

use ntp_proto::discipline::ErrorFigures;
use ntp_proto::engine::Snapshot;

use crate::spread::Spread;

/// Figures of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Root mean square of the clock's error, seconds.
    pub rms: f64,
    /// Its largest magnitude, seconds.
    pub maximum: f64,
    /// Root mean square of the clock's rate error, s/s; slews count.
    pub frequency_rms: f64,
    /// What its magnitude exceeds one percent of the time, seconds.
    pub error_99: f64,
    /// Share of seconds, of those with a claim, in which the truth was inside the bound.
    pub bound_coverage: f64,
    /// Share of them in which it was inside the estimated error.
    pub estimate_coverage: f64,
    /// Median bound, seconds.
    pub median_bound: f64,
    /// Median estimated error, seconds.
    pub median_estimate: f64,
    /// Seconds from the beginning until the error stayed below 10 ms, and below 1 ms; infinite if it did not.
    pub settled_below: (f64, f64),
    /// Requests sent since `settled`.
    pub requests: u64,
    /// Seconds counted.
    pub seconds: u64,
    /// Requests sent in the whole run.
    pub requests_in_all: u64,
    /// Equal runs have equal ones.
    pub fingerprint: u64,
    /// The engine's state at the end.
    pub last: Snapshot,
}

impl Report {
    /// Mean time between two requests to all servers together, seconds.
    pub fn mean_interval(&self) -> f64 {
        self.seconds as f64 / self.requests.max(1) as f64
    }
}

/// Sums towards a [`Report`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    seconds: u64,
    squares: f64,
    rate_squares: f64,
    maximum: f64,
    claims: u64,
    inside_bound: u64,
    inside_estimate: u64,
    errors: Spread,
    bounds: Spread,
    estimates: Spread,
    requests_before: u64,
    last_above: (f64, f64),
    latest: f64,
}

impl Tally {
    /// One second of the whole run.
    pub(crate) fn second(
        &mut self,
        at: f64,
        (error, rate): (f64, f64),
        claim: Option<ErrorFigures>,
        counts: bool,
        requests: u64,
    ) {
        let magnitude = error.abs();
        self.latest = at;
        if magnitude >= 10e-3 {
            self.last_above.0 = at;
        }
        if magnitude >= 1e-3 {
            self.last_above.1 = at;
        }
        if !counts {
            self.requests_before = requests;
            return;
        }
        self.seconds += 1;
        self.squares += error * error;
        self.rate_squares += rate * rate;
        self.maximum = self.maximum.max(magnitude);
        self.errors.add(magnitude);
        if let Some(claim) = claim {
            self.claims += 1;
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

    pub(crate) fn report(&self, requests: u64, fingerprint: u64, last: Snapshot) -> Report {
        let (seconds, claims) = (self.seconds.max(1) as f64, self.claims.max(1) as f64);
        let settled = |last_above: f64| {
            if last_above >= self.latest {
                f64::INFINITY
            } else {
                last_above
            }
        };
        Report {
            rms: (self.squares / seconds).sqrt(),
            maximum: self.maximum,
            frequency_rms: (self.rate_squares / seconds).sqrt(),
            error_99: self.errors.quantile(0.99),
            bound_coverage: self.inside_bound as f64 / claims,
            estimate_coverage: self.inside_estimate as f64 / claims,
            median_bound: self.bounds.quantile(0.5),
            median_estimate: self.estimates.quantile(0.5),
            settled_below: (settled(self.last_above.0), settled(self.last_above.1)),
            requests: requests - self.requests_before,
            seconds: self.seconds,
            requests_in_all: requests,
            fingerprint,
            last,
        }
    }
}
