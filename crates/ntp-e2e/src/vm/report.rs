//! What a guest reported: lines of a word and `name=value` pairs behind an `@`.

use std::collections::BTreeMap;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    kind: String,
    text: String,
    values: BTreeMap<String, String>,
}

impl Record {
    /// From a line of the console, if it is one.
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

    /// The first word.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Everything behind the first word.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A value.
    ///
    /// # Panics
    /// If there is none of this name.
    #[track_caller]
    pub fn value(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => panic!("no {name} in {self:?}"),
        }
    }

    /// A value that is a number.
    ///
    /// # Panics
    /// If there is none of this name, or it is no number.
    #[track_caller]
    pub fn number(&self, name: &str) -> f64 {
        match self.value(name).parse() {
            Ok(number) => number,
            Err(_) => panic!("{name} is no number in {self:?}"),
        }
    }
}

/// All of a guest's records, in order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    records: Vec<Record>,
}

impl Report {
    /// From the lines of a console.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let records = lines.into_iter().filter_map(Record::parse).collect();
        Self { records }
    }

    /// Whether the scenario ran to its end.
    pub fn is_complete(&self) -> bool {
        self.all("done").next().is_some()
    }

    /// The records with this first word.
    pub fn all(&self, kind: &str) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(move |record| record.kind == kind)
    }

    /// The record with this first word and `name=NAME`.
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

    /// The daemon's log lines that the scenario quoted and that contain `text`.
    pub fn said(&self, text: &str) -> Vec<&str> {
        self.all("said")
            .map(Record::text)
            .filter(|line| line.contains(text))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_among_other_lines() {
        let report = Report::parse([
            "[    1.0] kernel: noise",
            "@look name=first offset=-0.25 bits=0x40\r",
            "@said clock stepped by 5 s",
            "@done",
        ]);
        assert!(report.is_complete());
        let look = report.named("look", "first");
        assert_eq!((look.number("offset"), look.value("bits")), (-0.25, "0x40"));
        assert_eq!(report.said("stepped"), ["clock stepped by 5 s"]);
    }
}
