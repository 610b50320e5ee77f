//! From text to tree: TOML's own errors, told in the administrator's terms.
//!
//! The parser recovers from an error and goes on, so one pass finds every problem of the file.
//! One kind of error stops it short, a line without `=` (`server ntp.example.org iburst`, say,
//! from another daemon's configuration): such lines are blanked, byte for byte so that offsets
//! stay true, and the rest is parsed again.
//!
//! One mistake often upsets the parser several times; a line is blamed once, and no complaint
//! about what the recovered tree says of it is added, because that is guesswork.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use toml::de::{DeTable, Error};

use crate::diagnostic::{Diagnostic, quote};
use crate::document::{Document, Place};
use crate::keys::SECTIONS;

/// The document's text with lines that are no TOML at all blanked, and their errors.
pub(crate) fn repair(document: &Document) -> (Cow<'_, str>, Vec<Error>) {
    let text = document.text();
    let (_, mut errors) = DeTable::parse_recoverable(text);
    errors.retain(|error| error.message().starts_with(STRAY_LINE));
    if errors.is_empty() {
        return (Cow::Borrowed(text), errors);
    }
    let mut bytes = text.as_bytes().to_vec();
    for error in &errors {
        let line = document.line_range(document.line_of(offset_of(error)));
        bytes[line].fill(b' ');
    }
    match String::from_utf8(bytes) {
        Ok(blanked) => (Cow::Owned(blanked), errors),
        // Cannot happen: whole lines were filled. Unrepaired text only loses later problems.
        Err(_) => (Cow::Borrowed(text), errors),
    }
}

/// What is wrong with the syntax of files.
#[derive(Default)]
pub(crate) struct Explained {
    pub(crate) problems: Vec<Diagnostic>,
    /// Files and lines (from 0) that are blamed: nothing more is said about them.
    pub(crate) blamed: BTreeSet<(usize, usize)>,
    /// Whether some line could not be read, so that what seems absent may stand there.
    pub(crate) incomplete: bool,
}

/// The errors as diagnostics, one for each line.
pub(crate) fn explain(document: &Arc<Document>, mut errors: Vec<Error>) -> Explained {
    errors.sort_by_key(offset_of);
    let mut blamed = BTreeSet::new();
    let mut incomplete = false;
    let mut problems = Vec::new();
    for error in &errors {
        let line = document.line_of(offset_of(error));
        if !blamed.insert(line) {
            continue;
        }
        let duplicated = error.message() == DUPLICATE;
        incomplete |= !duplicated;
        if problems.len() >= EXPLAINED {
            let place = Place::new(document, error.span().unwrap_or_default());
            problems.push(Diagnostic::error(place, error.message()));
        } else if duplicated {
            problems.extend(duplicate(document, error, line, &blamed));
        } else {
            problems.push(malformed(document, error, line));
        }
    }
    let order = document.order();
    Explained {
        problems,
        blamed: blamed.into_iter().map(|line| (order, line)).collect(),
        incomplete,
    }
}

impl Explained {
    /// What is wrong with one more file.
    pub(crate) fn extend(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.blamed.extend(other.blamed);
        self.incomplete |= other.incomplete;
    }
}

fn malformed(document: &Arc<Document>, error: &Error, line: usize) -> Diagnostic {
    let place = Place::new(document, error.span().unwrap_or_default());
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (error.message(), None),
    };
    let text = document.line(line).trim();
    if what.contains("array elements") || text.starts_with('[') && what.contains("quoted") {
        let help = "a list that begins further up is probably not closed with `]`";
        return Diagnostic::error(place, format!("invalid TOML: {what}")).with_help(help);
    }
    if let Some(help) = unquoted(text, what) {
        let message = "invalid TOML: string values must be quoted";
        return Diagnostic::error(place, message).with_help(help);
    }
    let mut diagnostic = Diagnostic::error(place, format!("invalid TOML: {what}"));
    if let Some(expected) = expected.filter(|expected| *expected != "nothing") {
        diagnostic = diagnostic.with_label(format!("expected {expected}"));
    }
    match advice(text) {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

/// The same line with its text quoted, if that is what is wrong with it.
fn unquoted(line: &str, what: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or("").trim();
    let bare = !value.starts_with(['"', '\'', '[', '{', '“', '”', '„', '‘', '’']);
    let looks_like_text =
        value.contains(|c: char| c.is_alphabetic() || matches!(c, '.' | ':' | '/'));
    if !bare || !looks_like_text || what.starts_with("invalid boolean") {
        return None;
    }
    let (key, value) = (quote(key.trim(), ' '), quote(value, '"'));
    Some(format!(
        "text needs quotation marks: `{} = {value}`",
        key.trim()
    ))
}

/// What the writer of a malformed line probably wanted.
fn advice(line: &str) -> Option<String> {
    if line.contains(['“', '”', '„', '‘', '’']) {
        return Some("typographic quotation marks do not quote: write straight ones (\")".into());
    }
    let Some((_, value)) = line.split_once('=') else {
        return without_equals(line);
    };
    let value = value.split('#').next().unwrap_or("").trim();
    if value.len() > 1 && value.starts_with('0') && value.bytes().all(|b| b.is_ascii_digit()) {
        let digits = quote(value.trim_start_matches('0'), ' ');
        return Some(format!("an octal number is written `0o{}`", digits.trim()));
    }
    None
}

fn without_equals(line: &str) -> Option<String> {
    if let Some((key, value)) = line.split_once(": ") {
        let (key, value) = (quote(key, ' '), quote(value.trim(), ' '));
        return Some(format!("write `{} = {}`", key.trim(), value.trim()));
    }
    let word = line.split_whitespace().next()?;
    match word {
        "server" | "pool" | "peer" => {
            let mode = if word == "pool" { "pool" } else { "server" };
            Some(format!(
                "this is another daemon's way; here write a section `[[source]]` with `mode = \"{mode}\"` and `address = \"…\"`"
            ))
        }
        _ if FOREIGN.contains(&word) => Some(format!(
            "`{word}` is a directive of another daemon's configuration and has no place here"
        )),
        _ => None,
    }
}

/// A key or section written twice; `None` if that only follows from an earlier mistake.
fn duplicate(
    document: &Arc<Document>,
    error: &Error,
    line: usize,
    blamed: &BTreeSet<usize>,
) -> Option<Diagnostic> {
    let span = error.span().unwrap_or_default();
    let key = document.text().get(span.clone()).unwrap_or("");
    let is_header = |line: usize| document.line(line).trim_start().starts_with('[');
    let header = is_header(line);
    let place = Place::new(document, span);
    let diagnostic = Diagnostic::error(place, format!("duplicate key {}", quote(key, '`')));
    let diagnostic = match earlier(document, key, line, header) {
        Some(place) => diagnostic.with_related(place, "first written here"),
        None => diagnostic,
    };
    if !header {
        // A `[source]` written twice makes each of its keys a duplicate as well.
        let section = (0..line)
            .rev()
            .take(EARLIER_LINES)
            .find(|line| is_header(*line));
        let repeated = section.filter(|section| blamed.contains(section));
        let follows = repeated.is_some_and(|section| repeatable(document.line(section)).is_some());
        return (!follows).then(|| diagnostic.with_help("keep one of the two"));
    }
    match repeatable(document.line(line)) {
        // Another stands in single brackets, and is reported for that.
        Some(_) if document.line(line).trim_start().starts_with("[[") => None,
        Some(heading) => Some(diagnostic.with_help(format!(
            "a section that may be repeated stands in double brackets: `{heading}`"
        ))),
        None => Some(diagnostic.with_help("this section may stand only once: join the two")),
    }
}

/// The right header of a section that may be repeated, if `line` is one.
fn repeatable(line: &str) -> Option<&'static str> {
    let name = line
        .trim_start()
        .trim_start_matches('[')
        .split(']')
        .next()?
        .trim();
    let mut sections = SECTIONS
        .iter()
        .filter(|section| section.heading.starts_with("[["));
    sections
        .find(|section| section.name == name)
        .map(|section| section.heading)
}

/// The nearest earlier line that writes the same key or header. The parser knows, but does not
/// tell; a look at the beginnings of lines finds it in every file written by hand.
fn earlier(document: &Arc<Document>, key: &str, line: usize, header: bool) -> Option<Place> {
    let lines = (0..line).rev().take(EARLIER_LINES);
    lines.into_iter().find_map(|number| {
        let text = document.line(number);
        let content = text.trim_start();
        let indent = text.len() - content.len();
        let (skipped, content) = if header {
            let name = content.trim_start_matches('[').trim_start();
            (content.len() - name.len(), name)
        } else {
            (0, content)
        };
        if header != (skipped > 0) {
            return None;
        }
        let rest = content.strip_prefix(key)?.trim_start();
        if !rest.starts_with(if header { ']' } else { '=' }) {
            return None;
        }
        let start = document.line_range(number).start + indent + skipped;
        Some(Place::new(document, start..start + key.len()))
    })
}

fn offset_of(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// How the parser's message begins for a line without `=`.
const STRAY_LINE: &str = "key with no value";
/// The parser's message for a key or section written twice.
const DUPLICATE: &str = "duplicate key";
/// Problems that are explained with care; no one reads as many.
const EXPLAINED: usize = 200;
/// How far back the first of two duplicates is looked for.
const EARLIER_LINES: usize = 10_000;
/// Directives of chrony and ntpd that are most often pasted.
const FOREIGN: &[&str] = &[
    "allow",
    "bindaddress",
    "deny",
    "driftfile",
    "hwtimestamp",
    "keyfile",
    "keys",
    "leapsectz",
    "local",
    "logdir",
    "makestep",
    "maxdistance",
    "minsources",
    "ntsdumpdir",
    "refclock",
    "restrict",
    "rtcsync",
    "statsdir",
    "tinker",
    "tos",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Diagnostic> {
        let document = Document::new("ntp.toml", text);
        let (text, mut errors) = repair(&document);
        errors.extend(DeTable::parse_recoverable(&text).1);
        explain(&document, errors).problems
    }

    /// If the parser's wording changes, recovery from stray lines silently stops: this notices.
    #[test]
    fn a_stray_line_does_not_hide_what_follows() {
        let found = problems("server a iburst\nmode = server\nallow all\nx = 1\nx = 2\n");
        let lines: Vec<_> = found.iter().map(|found| found.place.line()).collect();
        assert_eq!(lines, [Some(1), Some(2), Some(3), Some(5)]);
        assert!(found[0].help[0].contains("[[source]]"), "{}", found[0]);
        assert!(
            found[1].help[0].contains("`mode = \"server\"`"),
            "{}",
            found[1]
        );
        assert!(found[3].related.is_some(), "{}", found[3]);
    }

    #[test]
    fn a_repeated_section_points_at_the_first() {
        let found = problems("[keyset]\n\n[keyset]\n");
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0]
                .related
                .as_ref()
                .and_then(|(place, _)| place.line()),
            Some(1)
        );
    }

    #[test]
    fn a_leading_zero_is_taken_for_octal() {
        let found = problems("observation-permissions = 0666\n");
        assert!(found[0].help[0].contains("0o666"), "{}", found[0]);
    }
}
