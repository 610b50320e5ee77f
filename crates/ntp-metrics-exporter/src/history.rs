//! Bounded history for the dashboard.
//!
//! Two rings: one point every two seconds for half an hour, and one a minute for a day. A point has
//! the values that the dashboard plots: offset and both errors of the clock, offset and half
//! interval of at most [`MAX_SOURCES`] sources, and the total rates of all servers since the
//! previous point. If the daemon did not reply, the point has no values, and the plot a gap.
//!
//! Values are stored as f32 and sent with four digits, enough for a plot. The rings have 2340
//! points of at most about 270 octets: 0.6 MB.
//!
//! # JSON
//! A point is a list: number of the point, milliseconds since 1970, then `null`, or `[synchronised,
//! offset, estimated error, bound, truth]` in seconds, `{"id": [offset, half interval], ...}`, and
//! `[received, accepted, refused]` per second or `null`. The dashboard requests the points after
//! its last one; a changed `started` shows that the exporter was restarted and the numbers start at
//! 0 again.

use std::collections::VecDeque;

use ntp_control_api::observation::{State, seconds};
use ntp_time::NtpDuration;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

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
        let due = self.coarse.points.back().is_none_or(|last| {
            // Also after a backward step of the clock.
            (at - last.at).unsigned_abs() >= u64::from(COARSE.0) * 1000
        });
        if due {
            self.coarse.record(at, state);
        }
    }

    /// Returns the points of a ring after the one with this number.
    pub(crate) fn after(&self, number: Option<u64>, coarse: bool) -> Excerpt<'_> {
        Excerpt {
            started: self.started,
            ring: if coarse { &self.coarse } else { &self.fine },
            number,
        }
    }
}

/// A ring of points.
#[derive(Debug)]
struct Ring {
    step: u32,
    length: usize,
    points: VecDeque<Point>,
    next: u64,
    served: Option<(i64, Requests)>,
}

impl Ring {
    fn new((step, length): (u32, usize)) -> Self {
        Self {
            step,
            length,
            points: VecDeque::new(),
            next: 0,
            served: None,
        }
    }

    fn record(&mut self, at: i64, state: Option<&State>) {
        let served = state.and_then(|state| Some((at, Requests::total(state)?)));
        let rates = match (&self.served, &served) {
            (Some(before), Some(after)) => Rates::between(before, after),
            _ => None,
        };
        self.served = served;
        if self.points.len() >= self.length {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            number: self.next,
            at,
            values: state.map(|state| Values::new(state, rates)),
        });
        self.next += 1;
    }
}

#[derive(Debug)]
struct Point {
    number: u64,
    at: i64,
    values: Option<Values>,
}

#[derive(Debug)]
struct Values {
    synchronized: bool,
    offset: Option<f32>,
    estimated_error: Option<f32>,
    bound: Option<f32>,
    truth: Option<f32>,
    sources: Box<[(u64, f32, f32)]>,
    rates: Option<Rates>,
}

impl Values {
    fn new(state: &State, rates: Option<Rates>) -> Self {
        let details = &state.system.details;
        let optional = |duration: Option<NtpDuration>| duration.map(|it| seconds(it) as f32);
        let measured = |uncertainty: &NtpDuration| *uncertainty < NtpDuration::MAX;
        let sources = state.sorted_sources().into_iter();
        Self {
            synchronized: details.synchronized.unwrap_or(state.system.stratum < 16),
            offset: optional(details.offset),
            estimated_error: optional(details.estimated_error),
            bound: optional(details.error_bound),
            // With the sign of an offset.
            truth: optional(details.true_offset.map(|ahead| -ahead)),
            sources: sources
                .filter(|source| measured(&source.uncertainty))
                .take(MAX_SOURCES)
                .map(|source| {
                    let (offset, half) = (seconds(source.offset), seconds(source.uncertainty));
                    (source.id, offset as f32, half as f32)
                })
                .collect(),
            rates,
        }
    }
}

/// Rates of requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    received: f32,
    accepted: f32,
    refused: f32,
}

impl Rates {
    fn between(before: &(i64, Requests), after: &(i64, Requests)) -> Option<Self> {
        let time = (after.0 - before.0) as f64 / 1000.0;
        let (b, a) = (&before.1, &after.1);
        // After a restart of the daemon or a step of the clock.
        if time <= 0.0 || a.received < b.received {
            return None;
        }
        let rate = |after: u64, before: u64| (after.saturating_sub(before) as f64 / time) as f32;
        Some(Self {
            received: rate(a.received, b.received),
            accepted: rate(a.accepted, b.accepted),
            refused: rate(a.refused, b.refused),
        })
    }
}

/// Number of requests to all servers since the daemon started.
#[derive(Clone, Copy, Debug)]
struct Requests {
    received: u64,
    accepted: u64,
    refused: u64,
}

impl Requests {
    /// Adds up those of all servers; `None` without servers.
    fn total(state: &State) -> Option<Self> {
        let requests = state.servers.iter().map(|server| {
            let stats = server.stats;
            let refused = [
                stats.denied,
                stats.rate_limited,
                stats.ignored,
                stats.nts_nak,
            ];
            Self {
                received: stats.received,
                accepted: stats.accepted,
                refused: refused.into_iter().fold(0, u64::wrapping_add),
            }
        });
        requests.reduce(|sum, one| Self {
            received: sum.received.wrapping_add(one.received),
            accepted: sum.accepted.wrapping_add(one.accepted),
            refused: sum.refused.wrapping_add(one.refused),
        })
    }
}

/// Part of a ring, serialised as JSON.
#[derive(Debug)]
pub(crate) struct Excerpt<'a> {
    started: i64,
    ring: &'a Ring,
    number: Option<u64>,
}

impl Serialize for Excerpt<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(4))?;
        map.serialize_entry("started", &self.started)?;
        map.serialize_entry("step", &self.ring.step)?;
        map.serialize_entry("length", &self.ring.length)?;
        map.serialize_entry("points", &Points(self))?;
        map.end()
    }
}

struct Points<'a>(&'a Excerpt<'a>);

impl Serialize for Points<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let after = self.0.number;
        let points = self.0.ring.points.iter();
        to.collect_seq(points.filter(|point| after.is_none_or(|after| point.number > after)))
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(None)?;
        list.serialize_element(&self.number)?;
        list.serialize_element(&self.at)?;
        let Some(values) = &self.values else {
            list.serialize_element(&None::<u8>)?;
            return list.end();
        };
        let Values {
            synchronized,
            offset,
            estimated_error,
            bound,
            truth,
            sources,
            rates,
        } = values;
        let rounded = |value: &Option<f32>| value.map(digits);
        list.serialize_element(&(
            u8::from(*synchronized),
            rounded(offset),
            rounded(estimated_error),
            rounded(bound),
            rounded(truth),
        ))?;
        list.serialize_element(&SourceValues(sources))?;
        let rates = rates.map(|r| [digits(r.received), digits(r.accepted), digits(r.refused)]);
        list.serialize_element(&rates)?;
        list.end()
    }
}

struct SourceValues<'a>(&'a [(u64, f32, f32)]);

impl Serialize for SourceValues<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(
            self.0
                .iter()
                .map(|(id, a, b)| (id, [digits(*a), digits(*b)])),
        )
    }
}

/// Rounds to four significant digits.
fn digits(number: f32) -> f64 {
    let number = f64::from(number);
    if number == 0.0 || !number.is_finite() {
        return 0.0;
    }
    let decimals = 3 - number.abs().log10().floor() as i32;
    // The shortest decimal form of the parsed double has these digits.
    format!(
        "{number:.*}",
        usize::try_from(decimals.clamp(0, 60)).unwrap_or(0)
    )
    .parse()
    .unwrap_or(number)
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
        let json = |after| serde_json::to_value(history.after(after, false)).unwrap();
        assert_eq!(json(None)["points"].as_array().unwrap().len(), FINE.1);
        let two = json(Some(1997));
        assert_eq!(
            two["points"],
            serde_json::json!([[1998, 3_996_000, null], [1999, 3_998_000, null]])
        );
    }

    #[test]
    fn values_are_rounded_to_four_digits() {
        let text = |number| serde_json::to_string(&digits(number)).unwrap();
        assert_eq!(text(1.234_567e-5), "0.00001235");
        assert_eq!(text(-0.25), "-0.25");
        assert_eq!(text(1_234_567.0), "1234567.0");
        assert_eq!(text(f32::NAN), "0.0");
    }

    #[test]
    fn rates_are_absent_after_a_restart_of_the_daemon() {
        let requests = |received| Requests {
            received,
            accepted: received,
            refused: 0,
        };
        let rates =
            |before, after| Rates::between(&(0, requests(before)), &(2000, requests(after)));
        assert_eq!(rates(10, 30).unwrap().accepted, 10.0);
        assert_eq!(rates(30, 10), None);
    }
}
