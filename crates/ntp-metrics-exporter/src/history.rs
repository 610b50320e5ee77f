//! Bounded history for the dashboard.
//!
//! Two rings: one point every two seconds for half an hour, and one a minute for a day. A point has
//! the values that the dashboard plots: offset and both errors of the clock, offset and half
//! interval of at most [`MAX_SOURCES`] sources, and the total rates of all servers since the
//! previous point. If the daemon did not reply, the point has no values, and the plot a gap.
//!
//! A point is stored as the JSON that is sent, with numbers of four digits, enough for a plot: at most
//! about 550 octets with sixteen sources, so 1.3 MB for both rings.
//!
//! # JSON
//! A point is a list: number of the point, milliseconds since 1970, then `null`, or `[synchronised,
//! offset, estimated error, bound, truth]` in seconds, `{"id": [offset, half interval], ...}`, and
//! `[received, accepted, refused]` per second or `null`. The dashboard requests the points after
//! its last one; a changed `started` shows that the exporter was restarted and the numbers start at
//! 0 again.

use std::array;
use std::collections::VecDeque;

use ntp_control_api::observation::{Server, State, seconds};
use ntp_time::NtpDuration;
use serde_json::{Map, Value, json};

/// Maximum number of sources with a history; the table of the dashboard shows all.
pub(crate) const MAX_SOURCES: usize = 16;

/// Interval in seconds and number of points of the fine ring: half an hour.
pub(crate) const FINE: (u32, usize) = (2, 900);
/// Interval in seconds and number of points of the coarse ring: a day.
pub(crate) const COARSE: (u32, usize) = (60, 1440);

/// Both rings.
#[derive(Debug)]
pub(crate) struct History {
    /// Start of the history in milliseconds since 1970.
    started: i64,
    fine: Ring,
    coarse: Ring,
}

impl History {
    pub(crate) fn new(started: i64) -> Self {
        Self {
            started,
            fine: Ring::new(FINE),
            coarse: Ring::new(COARSE),
        }
    }

    /// Adds a point for `at`, in milliseconds since 1970. Call it at the interval of [`FINE`].
    pub(crate) fn record(&mut self, at: i64, state: Option<&State>) {
        self.fine.record(at, state);
        let due = self.coarse.last.is_none_or(|last| {
            // Also after a backward step of the clock.
            (at - last).unsigned_abs() >= u64::from(COARSE.0) * 1000
        });
        if due {
            self.coarse.record(at, state);
        }
    }

    /// Returns the points of a ring after the one with this number, as JSON.
    pub(crate) fn json_after(&self, number: Option<u64>, coarse: bool) -> String {
        let ring = if coarse { &self.coarse } else { &self.fine };
        let points = ring.after(number).join(",");
        format!(
            "{{\"started\":{},\"step\":{},\"length\":{},\"points\":[{points}]}}",
            self.started, ring.step, ring.length
        )
    }
}

/// A ring of points.
#[derive(Debug)]
struct Ring {
    step: u32,
    length: usize,
    points: VecDeque<Box<str>>,
    /// Number of the next point.
    next: u64,
    /// Time of the last point.
    last: Option<i64>,
    /// Time and requests of the last point, if it has any.
    requests: Option<(i64, [u64; 3])>,
}

impl Ring {
    fn new((step, length): (u32, usize)) -> Self {
        Self {
            step,
            length,
            points: VecDeque::new(),
            next: 0,
            last: None,
            requests: None,
        }
    }

    fn record(&mut self, at: i64, state: Option<&State>) {
        let requests = state.and_then(|state| Some((at, requests(&state.servers)?)));
        let rates = (self.requests.zip(requests)).and_then(|(before, after)| rates(before, after));
        let values = state.map_or("null".to_owned(), |state| values(state, rates));
        if self.points.len() >= self.length {
            self.points.pop_front();
        }
        let point = format!("[{},{at},{values}]", self.next);
        self.points.push_back(point.into_boxed_str());
        self.next += 1;
        self.last = Some(at);
        self.requests = requests;
    }

    fn after(&self, number: Option<u64>) -> Vec<&str> {
        let oldest = self.next - self.points.len() as u64;
        let known = number.map_or(0, |number| number.saturating_add(1).saturating_sub(oldest));
        let points = self.points.iter().map(AsRef::as_ref);
        points
            .skip(usize::try_from(known).unwrap_or(usize::MAX))
            .collect()
    }
}

/// Returns the values of a point as elements of a JSON list.
fn values(state: &State, rates: Option<[f64; 3]>) -> String {
    let details = &state.system.details;
    let rounded_seconds = |duration: NtpDuration| rounded(seconds(duration));
    let clock = json!([
        u8::from(details.synchronized.unwrap_or(state.system.stratum < 16)),
        details.offset.map(rounded_seconds),
        details.estimated_error.map(rounded_seconds),
        details.error_bound.map(rounded_seconds),
        // With the sign of an offset.
        details.true_offset.map(|ahead| rounded_seconds(-ahead)),
    ]);
    let measured = state
        .sorted_sources()
        .into_iter()
        .filter(|it| it.uncertainty < NtpDuration::MAX);
    let sources: Map<String, Value> = measured
        .take(MAX_SOURCES)
        .map(|source| {
            let values = [source.offset, source.uncertainty].map(rounded_seconds);
            (source.id.to_string(), json!(values))
        })
        .collect();
    let rates = rates.map(|rates| rates.map(rounded));
    format!("{clock},{},{}", Value::Object(sources), json!(rates))
}

/// Returns the requests to all servers since the daemon started: received, accepted and refused; `None`
/// without servers.
fn requests(servers: &[Server]) -> Option<[u64; 3]> {
    let requests = servers.iter().map(|Server { stats, .. }| {
        let refused = [
            stats.denied,
            stats.rate_limited,
            stats.ignored,
            stats.nts_nak,
        ];
        let refused = refused.into_iter().fold(0, u64::wrapping_add);
        [stats.received, stats.accepted, refused]
    });
    requests.reduce(|sum, one| array::from_fn(|index| sum[index].wrapping_add(one[index])))
}

/// Returns the rates per second between two times in milliseconds; `None` after a restart of the daemon or a
/// backward step of the clock.
fn rates(before: (i64, [u64; 3]), after: (i64, [u64; 3])) -> Option<[f64; 3]> {
    let time = (after.0 - before.0) as f64 / 1000.0;
    let (before, after) = (before.1, after.1);
    (time > 0.0 && after[0] >= before[0])
        .then(|| array::from_fn(|index| after[index].saturating_sub(before[index]) as f64 / time))
}

/// Rounds to four significant digits.
fn rounded(number: f64) -> f64 {
    format!("{number:.3e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_newest_points_and_returns_the_requested_ones() {
        let mut history = History::new(7);
        for number in 0..2000 {
            history.record(number * 2000, None);
        }
        assert_eq!(history.fine.points.len(), FINE.1);
        assert_eq!(history.coarse.points.len(), 2000 * 2 / 60 + 1);
        let json =
            |after| -> Value { serde_json::from_str(&history.json_after(after, false)).unwrap() };
        assert_eq!(json(None)["points"].as_array().unwrap().len(), FINE.1);
        let two = json(Some(1997));
        assert_eq!(
            two["points"],
            serde_json::json!([[1998, 3_996_000, null], [1999, 3_998_000, null]])
        );
    }

    #[test]
    fn a_point_has_the_values_of_the_clock_the_sources_and_the_servers() {
        let json = include_str!("../../ntp-control-api/tests/data/ours.json");
        let mut state: State = serde_json::from_str(json).unwrap();
        state.servers[0].stats.received = 100;
        let mut history = History::new(7);
        history.record(0, Some(&state));
        state.servers[0].stats.received = 120;
        state.servers[0].stats.denied += 5;
        history.record(2000, Some(&state));
        let json: Value = serde_json::from_str(&history.json_after(Some(0), false)).unwrap();
        assert_eq!(
            json,
            json!({ "started": 7, "step": 2, "length": FINE.1, "points": [[
                1,
                2000,
                [1, -1.25e-5, 0.0002, 0.02, -0.000_244_1],
                // The second source has not been measured.
                { "2": [-0.000_244_1, 0.000_122_1] },
                [10.0, 0.0, 2.5],
            ]] })
        );
    }

    #[test]
    fn values_are_rounded_to_four_digits() {
        assert_eq!(rounded(1.234_567e-5), 1.235e-5);
        assert_eq!(rounded(-0.25), -0.25);
        assert_eq!(rounded(1_234_567.0), 1_235_000.0);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn rates_are_absent_after_a_restart_of_the_daemon() {
        let rates = |before, after| rates((0, [before; 3]), (2000, [after; 3]));
        assert_eq!(rates(10, 30), Some([10.0; 3]));
        assert_eq!(rates(30, 10), None);
    }
}
