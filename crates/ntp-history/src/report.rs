//! Figures for each day, and for all of them, from the entries of a history.

use std::collections::{BTreeMap, BTreeSet};

use ntp_time::{NtpDuration, SystemTime};
use serde::Serialize;

use crate::{ChainFault, Entry, Levels, Line, Occurrence};

/// The condition of every figure, in the words of the guide.
pub const CONDITION: &str = "The error bound holds as long as most sources are right within what \
    they state and the oscillator drifts no faster than the drift allowance. The estimated error \
    holds 99.9 % of the time if paths are symmetric. Figures are rounded up to two significant \
    digits.";

/// Share of the time that the percentile covers.
const SHARE: f64 = 0.999;

/// A break between two entries that is worth a line: shorter ones are the restart of a daemon's
/// loop, or the resolution of the figures.
const GAP: NtpDuration = NtpDuration::from_seconds(1);

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Beginning of the time that it covers.
    pub from: SystemTime,
    /// Its end.
    pub to: SystemTime,
    /// What the figures depend on.
    pub condition: &'static str,
    /// Figures of the whole time.
    pub overall: Summary,
    /// Figures of each day (UTC).
    pub days: Vec<Summary>,
    /// Times without a history, because the daemon did not run or the clock was set.
    pub gaps: Vec<Gap>,
    /// Events that concern the clock.
    pub events: Vec<Occurrence>,
    /// Changes of the configuration, with who made them.
    pub changes: Vec<Occurrence>,
    /// Number of events that were not recorded, because there were too many in a quarter of an hour.
    pub events_not_recorded: u64,
    /// Versions of the daemon that wrote the history.
    pub versions: BTreeSet<String>,
    /// Whether the history is as it was written.
    pub integrity: Integrity,
    /// Figures of each entry, for a plot.
    #[serde(skip)]
    pub points: Vec<Point>,
}

/// Figures of an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Its beginning.
    pub from: SystemTime,
    /// Its end.
    pub to: SystemTime,
    /// Largest error bound; `None` while not synchronised.
    pub bound: Option<NtpDuration>,
    /// Largest estimated error.
    pub estimated_error: Option<NtpDuration>,
}

/// Figures of a day or of the whole time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The day, or `overall`.
    pub date: String,
    /// Time for which there is a history.
    pub covered: NtpDuration,
    /// Time for which there is none.
    pub uncovered: NtpDuration,
    /// Time in which the clock was synchronised.
    pub synchronized: NtpDuration,
    /// Largest error bound while it was.
    pub largest_bound: Option<NtpDuration>,
    /// Error bound that was not exceeded in 99.9 % of that time.
    pub bound_p999: Option<NtpDuration>,
    /// Largest estimated error while it was synchronised.
    pub largest_estimated_error: Option<NtpDuration>,
    /// Estimated error that was not exceeded in 99.9 % of that time.
    pub estimated_error_p999: Option<NtpDuration>,
    /// Time outside each limit.
    pub outside: Vec<Outside>,
    /// Number of steps, by the daemon or by other programs.
    pub steps: usize,
    /// Number of losses of synchronisation.
    pub losses: usize,
    /// Sources that were selected.
    pub sources: BTreeSet<String>,
}

/// Time in which a limit was not kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outside {
    /// The limit of the error bound.
    pub limit: NtpDuration,
    /// Time in which the bound was larger, or the clock was not synchronised. Time without a history
    /// is not part of it.
    pub time: NtpDuration,
}

/// A time without a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// The clock at its beginning.
    pub from: SystemTime,
    /// The clock at its end.
    pub to: SystemTime,
}

/// Whether a history is as it was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Integrity {
    /// Whether every line that was read continues the chain.
    pub intact: bool,
    /// Number of lines that were read.
    pub lines: u64,
    /// Number of the last line, from 0.
    pub last_number: Option<u64>,
    /// Hash of the last line, to compare with the log.
    pub last_hash: String,
    /// Lines that do not continue the chain.
    pub faults: Vec<Fault>,
}

/// A line that does not continue the chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// File and line.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

/// Collects entries for a [`Report`].
#[derive(Debug)]
pub struct Collector {
    from: Option<SystemTime>,
    to: Option<SystemTime>,
    limits: Vec<NtpDuration>,
    days: BTreeMap<String, Totals>,
    report: Report,
    /// Ends of the first and the last entry.
    range: Option<(SystemTime, SystemTime)>,
}

/// What a [`Summary`] is made from.
#[derive(Clone, Debug, Default)]
struct Totals {
    covered: NtpDuration,
    bound: Levels,
    estimated_error: Levels,
    sources: BTreeSet<String>,
    steps: usize,
    losses: usize,
}

impl Collector {
    /// Begins a report about a time; about the whole history without limits of the time. Entries
    /// that begin in it are counted.
    pub fn new(from: Option<SystemTime>, to: Option<SystemTime>, limits: Vec<NtpDuration>) -> Self {
        Self {
            from,
            to,
            limits,
            days: BTreeMap::new(),
            report: Report {
                from: SystemTime::from_nanos(0),
                to: SystemTime::from_nanos(0),
                condition: CONDITION,
                overall: Summary::default(),
                days: Vec::new(),
                gaps: Vec::new(),
                events: Vec::new(),
                changes: Vec::new(),
                events_not_recorded: 0,
                versions: BTreeSet::new(),
                integrity: Integrity::default(),
                points: Vec::new(),
            },
            range: None,
        }
    }

    /// Adds a line. Lines come in the order of the files.
    pub fn add(&mut self, line: Line) {
        self.report.integrity.lines += 1;
        let entry = line.entry;
        let begins_in = self.from.is_none_or(|from| entry.from >= from)
            && self.to.is_none_or(|to| entry.from < to);
        if begins_in {
            self.add_entry(entry);
        }
    }

    /// Adds a line that does not continue the chain.
    pub fn add_fault(&mut self, place: String, fault: ChainFault) {
        self.report.integrity.faults.push(Fault {
            place,
            problem: fault.to_string(),
        });
    }

    fn add_entry(&mut self, entry: Entry) {
        let to = entry.to();
        if let Some((_, last)) = self.range
            && entry.from - last > GAP
        {
            self.report.gaps.push(Gap {
                from: last,
                to: entry.from,
            });
        }
        let first = self.range.map_or(entry.from, |(first, _)| first);
        self.range = Some((first, to));
        self.report.points.push(Point {
            from: entry.from,
            to,
            bound: entry.bound.largest(),
            estimated_error: entry.estimated_error.largest(),
        });
        self.report.versions.insert(entry.version);
        self.report.events_not_recorded += entry.more_events;
        let day = self.days.entry(date(entry.from)).or_default();
        day.covered += entry.length;
        day.bound.merge(&entry.bound);
        day.estimated_error.merge(&entry.estimated_error);
        day.sources.extend(entry.sources);
        for occurrence in entry.events {
            match &*occurrence.event {
                "clock_stepped" | "clock_disturbed" => day.steps += 1,
                "synchronization_lost" | "machine_disrupted" => day.losses += 1,
                _ => {}
            }
            let list = match &*occurrence.event {
                "control_call" | "configuration_reloaded" => &mut self.report.changes,
                _ => &mut self.report.events,
            };
            list.push(occurrence);
        }
    }

    /// Finishes the report. `last` is the number and hash of the last line. Returns `None` if no
    /// entry is of the time.
    pub fn finish(self, last: Option<u64>, last_hash: String) -> Option<Report> {
        let (first, end) = self.range?;
        let mut report = self.report;
        report.from = self.from.unwrap_or(first);
        report.to = self.to.unwrap_or(end);
        report.integrity.last_number = last;
        report.integrity.last_hash = last_hash;
        report.integrity.intact = report.integrity.faults.is_empty();
        let mut overall = Totals::default();
        for (date, day) in self.days {
            overall.merge(&day);
            report.days.push(day.summary(date, &self.limits));
        }
        report.overall = overall.summary("overall".into(), &self.limits);
        let missing = report.to - report.from - report.overall.covered;
        report.overall.uncovered = missing.max(NtpDuration::ZERO);
        for day in &mut report.days {
            let gaps = report.gaps.iter().filter_map(|gap| gap.within(&day.date));
            day.uncovered = gaps.fold(NtpDuration::ZERO, |sum, gap| sum + gap);
        }
        Some(report)
    }
}

impl Totals {
    fn merge(&mut self, other: &Self) {
        self.covered += other.covered;
        self.bound.merge(&other.bound);
        self.estimated_error.merge(&other.estimated_error);
        self.sources.extend(other.sources.iter().cloned());
        self.steps += other.steps;
        self.losses += other.losses;
    }

    fn summary(self, date: String, limits: &[NtpDuration]) -> Summary {
        let synchronized = self.bound.total();
        let unsynchronized = (self.covered - synchronized).max(NtpDuration::ZERO);
        let outside = limits.iter().map(|&limit| Outside {
            limit,
            time: self.bound.above(limit) + unsynchronized,
        });
        Summary {
            date,
            covered: self.covered,
            uncovered: NtpDuration::ZERO,
            synchronized,
            largest_bound: self.bound.largest(),
            bound_p999: self.bound.quantile(SHARE),
            largest_estimated_error: self.estimated_error.largest(),
            estimated_error_p999: self.estimated_error.quantile(SHARE),
            outside: outside.collect(),
            steps: self.steps,
            losses: self.losses,
            sources: self.sources,
        }
    }
}

impl Gap {
    /// Returns the part of the gap in the day, if any.
    fn within(&self, day: &str) -> Option<NtpDuration> {
        const DAY: i64 = 86_400_000_000_000;
        // A gap may be years long; only its first and last days have entries, and so a summary.
        let midnight = |time: SystemTime| time.as_nanos().div_euclid(DAY) * DAY;
        let (first, last) = (midnight(self.from), midnight(self.to));
        let (begin, end) = (self.from.as_nanos(), self.to.as_nanos());
        let nanos = match (date(self.from) == day, date(self.to) == day) {
            (true, true) => end - begin,
            (true, false) => first + DAY - begin,
            (false, true) => end - last,
            (false, false) => return None,
        };
        Some(NtpDuration::from_nanos(nanos))
    }
}

/// The day of a time, UTC.
pub fn date(time: SystemTime) -> String {
    time.to_string()
        .chars()
        .take_while(|it| *it != 'T')
        .collect()
}
