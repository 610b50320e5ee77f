//! Bounded history for the dashboard.
//!
//! Two rings: one point every two seconds for half an hour, and one a minute for a day; and the list
//! of what changed ([`Journal`]). A point has the values that the dashboard plots: offset, errors and
//! frequency of the clock, offset and half interval of at most [`MAX_SOURCES`] sources, and the total
//! rates of all servers since the previous point. If the daemon did not reply, the point has no
//! values, and the plot a gap.
//!
//! A point is stored as the JSON that is sent, with numbers of four digits, enough for a plot: at most
//! about 550 octets with sixteen sources, so 1.3 MB for both rings. `store` keeps them in a file.
//!
//! # JSON
//! A point is a list: number of the point, milliseconds since 1970, then `null`, or `[synchronised,
//! offset, estimated error, bound, truth, frequency, its uncertainty]` in seconds and ppm, `{"series":
//! [offset, half interval], ...}`, and `[received, accepted, refused]` per second or `null`. The
//! member `series` has name and address of each series. The dashboard requests the points after its
//! last one; a changed `started` shows that the exporter was restarted and the numbers start at 0
//! again.

use std::array;
use std::collections::{BTreeMap, VecDeque};

use ntp_control_api::observation::{Server, Source, State, seconds};
use ntp_time::NtpDuration;
use serde_json::json;

use crate::journal::{FUTURE_TOLERANCE, Journal};

/// Maximum number of sources with a history; the table of the dashboard shows all.
pub(crate) const MAX_SOURCES: usize = 16;
/// Maximum number of series: those of a day of sources that change, such as servers of a pool.
const MAX_SERIES: usize = 64;

/// Interval in seconds and number of points of the fine ring: half an hour.
pub(crate) const FINE: (u32, usize) = (2, 900);
/// Interval in seconds and number of points of the coarse ring: a day.
pub(crate) const COARSE: (u32, usize) = (60, 1440);

/// Both rings, and the list of changes.
#[derive(Debug)]
pub(crate) struct History {
    /// Start of the history in milliseconds since 1970.
    started: i64,
    pub(crate) fine: Ring,
    coarse: Ring,
    series: SeriesTable,
    pub(crate) journal: Journal,
}

impl History {
    pub(crate) fn new(started: i64) -> Self {
        Self {
            started,
            fine: Ring::new(FINE),
            coarse: Ring::new(COARSE),
            series: SeriesTable::default(),
            journal: Journal::default(),
        }
    }

    /// Adds a point for `at`, in milliseconds since 1970. Call it at the interval of [`FINE`].
    pub(crate) fn record(&mut self, at: i64, state: Result<&State, &str>) {
        self.journal.record(at, state);
        let state = state.ok();
        let sources = state.map_or_else(BTreeMap::new, |state| self.series.of(state));
        self.fine.record(at, state, &sources);
        let due = self.coarse.points.back().is_none_or(|last| {
            // Also after a backward step of the clock.
            (at - last.at).unsigned_abs() >= u64::from(COARSE.0) * 1000
        });
        if due {
            self.coarse.record(at, state, &sources);
        }
    }

    /// Returns the points of a ring after the one with this number and the changes after the one with
    /// the number `change`, as JSON.
    pub(crate) fn json_after(
        &self,
        number: Option<u64>,
        coarse: bool,
        change: Option<u64>,
    ) -> String {
        let ring = if coarse { &self.coarse } else { &self.fine };
        format!(
            "{{\"started\":{},\"step\":{},\"length\":{},\"series\":{},\"points\":[{}],\"changes\":[{}]}}",
            self.started,
            ring.step,
            ring.length,
            self.series.json(),
            ring.after(number).join(","),
            self.journal.after(change).join(",")
        )
    }

    /// Calls `visit` with each part that a file should keep, as a list in JSON whose first element is
    /// the kind of the part.
    pub(crate) fn save(&self, visit: &mut dyn FnMut(String)) {
        for Series { key, name, address } in &self.series.entries {
            visit(json!(["series", key, name, address]).to_string());
        }
        for (kind, ring) in [("fine", &self.fine), ("coarse", &self.coarse)] {
            for Point { at, values } in &ring.points {
                visit(format!("[\"{kind}\",{at},{values}]"));
            }
        }
        self.journal.save(visit);
    }

    /// Adds a part that was saved, unless it is older than the history or, because the clock was
    /// wrong, later than `now`. Returns `None` if it is damaged.
    pub(crate) fn restore(&mut self, part: &str, now: i64) -> Option<()> {
        let kind = part.strip_prefix("[\"")?.split('"').next()?;
        match kind {
            "series" => {
                let (_, key, name, address) =
                    serde_json::from_str::<(String, u32, String, String)>(part).ok()?;
                self.series.restore(Series { key, name, address })
            }
            "fine" => self.fine.restore(part, now),
            "coarse" => self.coarse.restore(part, now),
            _ => self.journal.restore(part, now),
        }
    }
}

/// The sources that points refer to. A source has an identifier only until the daemon restarts.
#[derive(Debug, Default)]
struct SeriesTable {
    /// In the order of their last use, the latest at the end.
    entries: VecDeque<Series>,
    next: u32,
}

#[derive(Debug)]
struct Series {
    key: u32,
    name: String,
    address: String,
}

impl SeriesTable {
    /// Returns series, offset and half interval of the sources that have been measured.
    fn of(&mut self, state: &State) -> BTreeMap<u32, [f64; 2]> {
        let sources = state.sorted_sources().into_iter();
        let measured = sources.filter(|it| it.uncertainty < NtpDuration::MAX);
        let point = |source: &Source| {
            let values = [source.offset, source.uncertainty].map(|it| rounded(seconds(it)));
            (self.key(&source.name, &source.address), values)
        };
        measured.take(MAX_SOURCES).map(point).collect()
    }

    fn key(&mut self, name: &str, address: &str) -> u32 {
        let is_same = |it: &Series| it.name == name && it.address == address;
        let found = self.entries.iter().position(is_same);
        let series = match found.and_then(|index| self.entries.remove(index)) {
            Some(series) => series,
            None => Series {
                key: self.next,
                name: name.to_owned(),
                address: address.to_owned(),
            },
        };
        let key = series.key;
        self.add(series);
        key
    }

    fn add(&mut self, series: Series) {
        self.next = self.next.max(series.key.wrapping_add(1));
        if self.entries.len() >= MAX_SERIES {
            self.entries.pop_front();
        }
        self.entries.push_back(series);
    }

    fn restore(&mut self, series: Series) -> Option<()> {
        let is_new = self.entries.iter().all(|it| it.key != series.key);
        (is_new && series.key < u32::MAX).then(|| self.add(series))
    }

    fn json(&self) -> String {
        let entries = self.entries.iter();
        let entries = entries.map(|it| (it.key.to_string(), json!([it.name, it.address])));
        serde_json::Value::Object(entries.collect()).to_string()
    }
}

/// A ring of points.
#[derive(Debug)]
pub(crate) struct Ring {
    step: u32,
    length: usize,
    points: VecDeque<Point>,
    /// Number of the next point.
    next: u64,
    /// Time and requests of the last point, if it has any.
    requests: Option<(i64, [u64; 3])>,
}

#[derive(Debug)]
struct Point {
    /// Milliseconds since 1970.
    at: i64,
    /// The values as elements of a JSON list.
    values: Box<str>,
}

impl Ring {
    fn new((step, length): (u32, usize)) -> Self {
        Self {
            step,
            length,
            points: VecDeque::new(),
            next: 0,
            requests: None,
        }
    }

    fn record(&mut self, at: i64, state: Option<&State>, sources: &BTreeMap<u32, [f64; 2]>) {
        let requests = state.and_then(|state| Some((at, requests(&state.servers)?)));
        let rates = (self.requests.zip(requests)).and_then(|(before, after)| rates(before, after));
        let values = state.map_or("null".to_owned(), |state| values(state, sources, rates));
        self.requests = requests;
        self.add(at, values);
    }

    fn add(&mut self, at: i64, values: String) {
        while self.points.len() >= self.length
            || (self.points.front()).is_some_and(|first| self.is_too_old(first.at, at))
        {
            self.points.pop_front();
        }
        let values = values.into_boxed_str();
        self.points.push_back(Point { at, values });
        self.next += 1;
    }

    fn is_too_old(&self, at: i64, now: i64) -> bool {
        let span = i64::from(self.step) * 1000 * self.length as i64;
        now.saturating_sub(at) > span
    }

    fn restore(&mut self, part: &str, now: i64) -> Option<()> {
        let at = check(part)?;
        let values = part.splitn(3, ',').nth(2)?.strip_suffix(']')?;
        if !self.is_too_old(at, now) && at <= now.saturating_add(FUTURE_TOLERANCE) {
            self.add(at, values.to_owned());
        }
        Some(())
    }

    fn after(&self, number: Option<u64>) -> Vec<String> {
        let oldest = self.next - self.points.len() as u64;
        let from = number.map_or(oldest, |number| number.saturating_add(1).max(oldest));
        let skipped = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let points = self.points.iter().skip(skipped).zip(from..);
        points
            .map(|(Point { at, values }, number)| format!("[{number},{at},{values}]"))
            .collect()
    }
}

/// Number of figures of the clock in a point.
const CLOCK: usize = 7;

/// Returns the time of a saved point, or `None` if it does not have the form of a point.
fn check(part: &str) -> Option<i64> {
    if let Ok((_, at, ())) = serde_json::from_str::<(String, i64, ())>(part) {
        return Some(at);
    }
    type Clock = [Option<f64>; CLOCK];
    type Saved = (
        String,
        i64,
        Clock,
        BTreeMap<u32, [f64; 2]>,
        Option<[f64; 3]>,
    );
    let (_, at, ..) = serde_json::from_str::<Saved>(part).ok()?;
    Some(at)
}

/// Returns the values of a point as elements of a JSON list.
fn values(state: &State, sources: &BTreeMap<u32, [f64; 2]>, rates: Option<[f64; 3]>) -> String {
    let details = &state.system.details;
    let in_seconds = |duration: Option<NtpDuration>| duration.map(|it| rounded(seconds(it)));
    let synchronized = details.synchronized.unwrap_or(state.system.stratum < 16);
    let clock: [Option<f64>; CLOCK] = [
        Some(f64::from(u8::from(synchronized))),
        in_seconds(details.offset),
        in_seconds(details.estimated_error),
        in_seconds(details.error_bound),
        // With the sign of an offset.
        in_seconds(details.true_offset.map(|ahead| -ahead)),
        details.frequency_ppm.map(rounded),
        details.frequency_uncertainty_ppm.map(rounded),
    ];
    let rates = rates.map(|rates| rates.map(rounded));
    format!("{},{},{}", json!(clock), json!(sources), json!(rates))
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
    use serde_json::Value;

    use super::*;

    /// Returns points and changes after the given numbers.
    fn json(history: &History, after: Option<u64>) -> Value {
        serde_json::from_str(&history.json_after(after, false, None)).unwrap()
    }

    fn state() -> State {
        let json = include_str!("../../ntp-control-api/tests/data/ours.json");
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_ring_keeps_the_newest_points_and_returns_the_requested_ones() {
        let mut history = History::new(7);
        for number in 0..2000 {
            history.record(number * 2000, Err("no daemon"));
        }
        assert_eq!(history.fine.points.len(), FINE.1);
        assert_eq!(history.coarse.points.len(), 2000 * 2 / 60 + 1);
        let points = |after| json(&history, after)["points"].clone();
        assert_eq!(points(None).as_array().unwrap().len(), FINE.1);
        assert_eq!(
            points(Some(1997)),
            json!([[1998, 3_996_000, null], [1999, 3_998_000, null]])
        );
        assert_eq!(points(Some(1999)), json!([]));
        assert_eq!(points(Some(u64::MAX)), json!([]));
    }

    #[test]
    fn a_point_has_the_values_of_the_clock_the_sources_and_the_servers() {
        let mut state = state();
        state.servers[0].stats.received = 100;
        let mut history = History::new(7);
        history.record(0, Ok(&state));
        state.servers[0].stats.received = 120;
        state.servers[0].stats.denied += 5;
        history.record(2000, Ok(&state));
        let json = json(&history, Some(0));
        assert_eq!(
            json["points"],
            json!([[
                1,
                2000,
                [1.0, -1.25e-5, 0.0002, 0.02, -0.000_244_1, -12.25, 0.0625],
                // The second source has not been measured.
                { "0": [-0.000_244_1, 0.000_122_1] },
                [10.0, 0.0, 2.5],
            ]])
        );
        let series = json!({ "0": ["time.example.org:4460", "192.0.2.1:123"] });
        assert_eq!(json["series"], series);
    }

    #[test]
    fn a_series_is_of_a_name_and_an_address_whatever_the_identifier() {
        let mut state = state();
        let mut series = SeriesTable::default();
        assert_eq!(series.of(&state).into_keys().collect::<Vec<_>>(), [0]);
        state.sources[0].id = 77;
        assert_eq!(series.of(&state).into_keys().collect::<Vec<_>>(), [0]);
        for number in 0..1000 {
            state.sources[0].address = format!("192.0.2.2:{number}");
            series.of(&state);
        }
        assert_eq!(series.entries.len(), MAX_SERIES);
        assert_eq!(series.next, 1001);
    }

    #[test]
    fn a_saved_history_is_restored_without_what_is_too_old_or_in_the_future() {
        let hour = 3_600_000;
        let mut history = History::new(7);
        history.record(hour, Ok(&state()));
        history.record(2 * hour, Ok(&state()));
        history.record(2 * hour + 2000, Err("no daemon"));
        let mut parts = Vec::new();
        history.save(&mut |part| parts.push(part));

        let restored = |now| {
            let mut restored = History::new(8);
            for part in &parts {
                restored.restore(part, now).expect(part);
            }
            restored
        };
        let again = restored(2 * hour + 4000);
        let (before, after) = (json(&history, None), json(&again, None));
        assert_eq!(before["series"], after["series"]);
        assert_eq!(before["changes"], after["changes"]);
        assert_eq!(before["points"][0][3], after["points"][0][3]);
        assert_eq!(after["points"].as_array().unwrap().len(), 2);
        assert_eq!(again.coarse.points.len(), 2);

        assert_eq!(restored(3 * hour).fine.points.len(), 0);
        assert_eq!(restored(0).coarse.points.len(), 0);
    }

    #[test]
    fn damaged_parts_are_not_restored() {
        for part in [
            "",
            "[]",
            "[\"fine\"]",
            "[\"fine\",1]",
            "[\"fine\",1,2]",
            "[\"fine\",1,null",
            "[\"fine\",1,[1.0],{},null]",
            "[\"fine\",1,[1,0,0,0,0,0,0],{\"x\":[0,0]},null]",
            "[\"coarse\",\"1\",null]",
            "[\"series\",0,1,2]",
            "[\"series\",4294967295,\"a\",\"b\"]",
            "[\"change\",1]",
            "[\"other\",1,null]",
        ] {
            assert_eq!(History::new(7).restore(part, 0), None, "{part}");
        }
        let point = "[\"fine\",1,[1,0,0,0,null,0,0],{\"0\":[0,0]},[1,1,0]]";
        assert_eq!(History::new(7).restore(point, 0), Some(()));
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
