//! systemd-timesyncd's `timesyncd.conf`.
//!
//! timesyncd polls one server of its list at a time. ntpd-rs polls all of them and follows the
//! majority.

use super::draft::{Draft, SOURCE, Table};
use super::input::Input;
use super::lines::{Continuation, Line, Syntax};
use super::table::Fate::{Converted, NotNeeded};
use super::table::{Conversion, Directive, INVALID};

/// Pool of the packaged configuration.
const POOL: &str = "ntpd-rs.pool.ntp.org";

/// Converts the file.
pub(super) fn draft(input: &Input) -> Draft {
    let mut timesyncd = Timesyncd::default();
    for line in &Timesyncd::SYNTAX.lines(&input.text) {
        let line = Timesyncd::SYNTAX.split(line);
        if line.text.starts_with('[') {
            if !line.text.eq_ignore_ascii_case("[time]") {
                timesyncd.draft.unsupported(&line, "unknown section");
            }
            continue;
        }
        let Some((key, value)) = line.text.split_once('=') else {
            timesyncd.draft.unsupported(&line, "invalid line");
            continue;
        };
        // Keys are distinguished by case in systemd; a row of the table is in lower case.
        let assignment = Line {
            directive: key.trim().to_ascii_lowercase(),
            words: value.split_whitespace().collect(),
            ..line
        };
        timesyncd.convert_line(&assignment);
    }
    timesyncd.built_in = built_in(&input.text);
    timesyncd.finish()
}

/// A server, and the line that names it.
type Server = (String, usize, String);

/// State of the conversion.
#[derive(Default)]
pub(super) struct Timesyncd {
    draft: Draft,
    servers: Vec<Server>,
    fallback: Vec<Server>,
    built_in: Vec<Server>,
    /// Shortest and longest poll interval in log2 seconds.
    polls: (Option<i32>, Option<i32>),
}

impl Conversion for Timesyncd {
    const SYNTAX: Syntax = Syntax {
        comments: &['#', ';'],
        comment_in_word: false,
        quotes: &[],
        continuation: Continuation::NotComments,
    };

    #[rustfmt::skip]
    const DIRECTIVES: &'static [Directive<Self>] = &[
        ("ntp servers", Converted(|it, line| add(&mut it.servers, line))),
        ("fallbackntp", Converted(|it, line| add(&mut it.fallback, line))),
        ("pollintervalminsec", Converted(|it, line| it.poll(line, false))),
        ("pollintervalmaxsec", Converted(|it, line| it.poll(line, true))),
        ("rootdistancemaxsec connectionretrysec", NotNeeded("weighting and retries of sources are automatic")),
        ("saveintervalsec", NotNeeded("persistent state is saved in [state] directory when it changes")),
    ];

    fn draft(&mut self) -> &mut Draft {
        &mut self.draft
    }
}

impl Timesyncd {
    fn poll(&mut self, line: &Line<'_>, longest: bool) {
        let Some(seconds) = span(&line.words.join(" ")).filter(|it| *it >= 1.0) else {
            return self.draft.unsupported(line, INVALID);
        };
        let exact = seconds.log2();
        let log2 = exact.ceil().clamp(0.0, 17.0);
        if (log2 - exact).abs() > f64::EPSILON {
            let why = format!("poll intervals are powers of two: 2^{log2} s");
            self.draft.not_needed(line, &why);
        }
        let log2 = Some(log2 as i32);
        match longest {
            true => self.polls.1 = log2,
            false => self.polls.0 = log2,
        }
    }

    fn finish(mut self) -> Draft {
        if self.servers.is_empty() && self.fallback.is_empty() {
            self.servers = self.built_in;
            if !self.servers.is_empty() {
                let comment = "the built-in servers of timesyncd, as its file states them";
                self.draft.comment("[synchronization]", comment);
            }
        } else if self.servers.is_empty() {
            self.servers = self.fallback;
        } else {
            let why = "timesyncd uses these only without NTP=; add them as [[source]] if needed";
            for (_, line, text) in &self.fallback {
                self.draft.remarks.unsupported(*line, text, why);
            }
        }
        for (name, line, text) in &self.servers {
            let mut table = Table::default();
            table.set_text("mode", "server");
            table.set_text("address", name);
            if let Some(limits) = limits(self.polls) {
                table.set("poll-interval-limits", limits);
            }
            self.draft.push(SOURCE, (*line, text), table);
        }
        if self.servers.is_empty() {
            let mut pool = Table::default();
            pool.comment("no server configured: timesyncd uses those of the network or built-in ones; this is a public pool");
            pool.set_text("mode", "pool");
            pool.set_text("address", POOL);
            if let Some(limits) = limits(self.polls) {
                pool.set("poll-interval-limits", limits);
            }
            self.draft.push(SOURCE, (0, ""), pool);
        } else {
            let section = "[synchronization]";
            self.draft
                .comment(section, "timesyncd follows a single server");
            self.draft.set_minimum(1);
        }
        self.draft
    }
}

/// The servers that are built in: the packaged file has them as a comment, as it has all defaults.
fn built_in(text: &str) -> Vec<Server> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(names) = line.trim().strip_prefix("#FallbackNTP=") {
            let names = names.split_whitespace();
            found = names
                .map(|it| (it.to_owned(), index + 1, line.to_owned()))
                .collect();
        }
    }
    found
}

/// The range of poll intervals, if one of its ends is set.
fn limits(polls: (Option<i32>, Option<i32>)) -> Option<String> {
    if polls == (None, None) {
        return None;
    }
    // timesyncd's defaults, 32 s and 2048 s.
    let (min, max) = (polls.0.unwrap_or(5), polls.1.unwrap_or(11));
    Some(format!("{{ min = {min}, max = {} }}", max.max(min)))
}

/// Adds the names of a value; an empty value clears the list, as everywhere in systemd.
fn add(servers: &mut Vec<Server>, line: &Line<'_>) {
    if line.words.is_empty() {
        servers.clear();
    }
    let names = line.words.iter();
    servers.extend(names.map(|name| ((*name).to_owned(), line.number, line.text.to_owned())));
}

/// Parses a time span of systemd (systemd.time(7)): numbers with units, whose sum counts; a number
/// without a unit is in seconds. Returns seconds.
pub(crate) fn span(text: &str) -> Option<f64> {
    const MINUTE: f64 = 60.0;
    const DAY: f64 = 86_400.0;
    let mut sum = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'));
        let (value, after) = rest.split_at(digits.unwrap_or(rest.len()));
        let value: f64 = value.parse().ok()?;
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let seconds = match unit {
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "us" | "usec" | "µs" | "μs" => 1e-6,
            "ms" | "msec" => 1e-3,
            "min" | "m" | "minute" | "minutes" => MINUTE,
            "h" | "hr" | "hour" | "hours" => 60.0 * MINUTE,
            "d" | "day" | "days" => DAY,
            "w" | "week" | "weeks" => 7.0 * DAY,
            // The mean of the Gregorian calendar, as in systemd.
            "M" | "month" | "months" => 30.44 * DAY,
            "y" | "year" | "years" => 365.25 * DAY,
            _ => return None,
        };
        sum += value * seconds;
        rest = after.trim_start();
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_those_of_systemd() {
        for (text, seconds) in [
            ("5", Some(5.0)),
            ("1min 30s", Some(90.0)),
            ("34min8s", Some(2048.0)),
            ("1.5h", Some(5400.0)),
            ("1d 2 hours", Some(93_600.0)),
            ("500 ms", Some(0.5)),
            ("2w", Some(1_209_600.0)),
            ("", None),
            ("5 parsecs", None),
            ("min", None),
            ("-5", None),
            ("1..2", None),
        ] {
            assert_eq!(span(text), seconds, "{text}");
        }
    }
}
