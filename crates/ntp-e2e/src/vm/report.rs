//! Report of a guest: console lines that begin with `@`, a word, and `name=value` pairs.

use std::collections::BTreeMap;

use crate::log_event::LogEvent;

/// One line of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    kind: String,
    text: String,
    values: BTreeMap<String, String>,
}

impl Record {
    /// Parses a console line. `None` if it is not part of a report.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim().strip_prefix('@')?;
        let (kind, text) = line.split_once(' ').unwrap_or((line, ""));
        let values = text
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some(Self {
            kind: kind.to_owned(),
            text: text.to_owned(),
            values,
        })
    }

    /// First word.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Text after the first word.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Value of the pair `name`.
    ///
    /// # Panics
    /// If there is no such pair.
    #[track_caller]
    pub fn value(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => panic!("no {name} in {self:?}"),
        }
    }

    /// Value of the pair `name` as a number.
    ///
    /// # Panics
    /// If there is no such pair, or its value is not a number.
    #[track_caller]
    pub fn number(&self, name: &str) -> f64 {
        match self.value(name).parse() {
            Ok(number) => number,
            Err(_) => panic!("{name} is not a number in {self:?}"),
        }
    }
}

/// All records of a guest, in order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    records: Vec<Record>,
}

impl Report {
    /// Parses the lines of a console.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let records = lines.into_iter().filter_map(Record::parse).collect();
        Self { records }
    }

    /// Whether the scenario ended normally.
    pub fn is_complete(&self) -> bool {
        self.all("done").next().is_some()
    }

    /// Records with this first word.
    pub fn all(&self, kind: &str) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(move |record| record.kind == kind)
    }

    /// First record with this first word and a pair `name=NAME`.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn named(&self, kind: &str, name: &str) -> &Record {
        let mut found = self
            .all(kind)
            .filter(|record| record.values.get("name").is_some_and(|value| value == name));
        match found.next() {
            Some(record) => record,
            None => panic!("the guest did not report {kind} {name}"),
        }
    }

    /// Reported events of the daemon called `name`.
    ///
    /// # Panics
    /// If no event has this name.
    #[track_caller]
    pub fn events(&self, name: &str) -> Vec<LogEvent> {
        LogEvent::assert_declared(name);
        let mut events = self.all_events();
        events.retain(|event| event.name() == name);
        events
    }

    /// All reported events of the daemon.
    pub fn all_events(&self) -> Vec<LogEvent> {
        let lines = self.all("log").map(Record::text);
        lines.filter_map(LogEvent::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_parsed_among_other_lines() {
        let report = Report::parse([
            "[    1.0] kernel: noise",
            "@compare name=first offset=-0.25 bits=0x40\r",
            "@log 2026 INFO clock stepped by 5 s event=clock_stepped step=5.0 warn=false",
            "@log a line that is no event",
            "@done",
        ]);
        assert!(report.is_complete());
        let first = report.named("compare", "first");
        assert_eq!(
            (first.number("offset"), first.value("bits")),
            (-0.25, "0x40")
        );
        assert_eq!(report.events("clock_stepped").len(), 1);
        assert_eq!(report.events("clock_stepped")[0].field("step"), "5.0");
        assert_eq!(report.events("resumed"), []);
    }
}
