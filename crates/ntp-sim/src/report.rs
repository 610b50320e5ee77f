//! How well a run kept time.
//!
//! The clock's true error is taken once a second from the scenario's `settled` on. Claims are looked at as often
//! as the rules say.

use ntp_proto::engine::Snapshot;

/// Figures of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Root mean square of the clock's error, seconds.
    pub rms: f64,
    /// Its largest magnitude, seconds.
    pub maximum: f64,
    /// Root mean square of the clock's rate error, s/s; slews count.
    pub frequency_rms: f64,
    /// Share of looks at which the truth was inside the bound.
    pub bound_coverage: f64,
    /// Share of looks at which it was inside the estimated error.
    pub estimate_coverage: f64,
    /// Mean bound, seconds.
    pub mean_bound: f64,
    /// Mean estimated error, seconds.
    pub mean_estimate: f64,
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
    looks: u64,
    inside_bound: u64,
    inside_estimate: u64,
    bounds: f64,
    estimates: f64,
    requests_before: u64,
    last_above: (f64, f64),
    latest: f64,
}

impl Tally {
    /// One second of the whole run.
    pub(crate) fn second(&mut self, at: f64, error: f64, rate: f64, counts: bool, requests: u64) {
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
    }

    /// A look at what the engine claims.
    pub(crate) fn look(&mut self, error: f64, snapshot: &Snapshot) {
        let (bound, estimate) = (
            snapshot.system.bound.as_seconds_f64(),
            snapshot.system.estimated_error.as_seconds_f64(),
        );
        self.looks += 1;
        self.inside_bound += u64::from(error.abs() <= bound);
        self.inside_estimate += u64::from(error.abs() <= estimate);
        self.bounds += bound;
        self.estimates += estimate;
    }

    pub(crate) fn report(&self, requests: u64, fingerprint: u64, last: Snapshot) -> Report {
        let (seconds, looks) = (self.seconds.max(1) as f64, self.looks.max(1) as f64);
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
            bound_coverage: self.inside_bound as f64 / looks,
            estimate_coverage: self.inside_estimate as f64 / looks,
            mean_bound: self.bounds / looks,
            mean_estimate: self.estimates / looks,
            settled_below: (settled(self.last_above.0), settled(self.last_above.1)),
            requests: requests - self.requests_before,
            seconds: self.seconds,
            requests_in_all: requests,
            fingerprint,
            last,
        }
    }
}
