//! TOML syntax: from text to a tree, with errors in terms of the configuration.
//!
//! The parser recovers from errors, so one pass finds all problems of the file. Only a line
//! without `=` stops it (for example `server ntp.example.org iburst`, from another daemon's
//! configuration): such lines are overwritten with blanks, which keeps all offsets, and the
//! text is parsed again.
//!
//! One mistake often causes several parser errors. Each line is reported once, and problems of
//! its recovered content are not reported, because that content is a guess.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use toml::de::{DeTable, Error};

use crate::diagnostic::{Diagnostic, quote};
use crate::document::{Document, Place};
use crate::documentation::section_doc;

/// Returns the text of the document with lines that are not TOML blanked, and their errors.
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
        // Unreachable: whole lines were filled. Unrepaired text only loses later problems.
        Err(_) => (Cow::Borrowed(text), errors),
    }
}

/// Syntax errors of files.
#[derive(Default)]
pub(crate) struct SyntaxProblems {
    pub(crate) list: Vec<Diagnostic>,
    /// Files and lines (from 0) with errors: further problems there are not reported.
    pub(crate) lines: BTreeSet<(usize, usize)>,
    /// Whether some line could not be read, so that absent keys may be there.
    pub(crate) incomplete: bool,
}

/// Converts the errors to diagnostics, one for each line.
pub(crate) fn explain(document: &Arc<Document>, mut errors: Vec<Error>) -> SyntaxProblems {
    errors.sort_by_key(offset_of);
    let mut lines = BTreeSet::new();
    let mut incomplete = false;
    let mut problems = Vec::new();
    for error in &errors {
        let line = document.line_of(offset_of(error));
        if !lines.insert(line) {
            continue;
        }
        let duplicated = error.message() == DUPLICATE;
        incomplete |= !duplicated;
        if problems.len() >= EXPLAINED {
            let place = Place::new(document, error.span().unwrap_or_default());
            problems.push(Diagnostic::error(place, error.message()));
        } else if duplicated {
            problems.extend(duplicate(document, error, line, &lines));
        } else {
            problems.push(malformed(document, error, line));
        }
    }
    let order = document.order();
    SyntaxProblems {
        list: problems,
        lines: lines.into_iter().map(|line| (order, line)).collect(),
        incomplete,
    }
}

impl SyntaxProblems {
    /// Adds the errors of another file.
    pub(crate) fn extend(&mut self, other: Self) {
        self.list.extend(other.list);
        self.lines.extend(other.lines);
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

/// The line with its value quoted, if quotation marks are missing.
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

/// Correction of common mistakes.
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
                "this is the syntax of another daemon; write a section `[[source]]` with `mode = \"{mode}\"` and `address = \"…\"`"
            ))
        }
        _ if FOREIGN.contains(&word) => Some(format!(
            "`{word}` is a directive of another daemon's configuration"
        )),
        _ => None,
    }
}

/// A duplicate key or section; `None` if it is a consequence of an earlier mistake.
fn duplicate(
    document: &Arc<Document>,
    error: &Error,
    line: usize,
    reported: &BTreeSet<usize>,
) -> Option<Diagnostic> {
    let span = error.span().unwrap_or_default();
    let key = document.text().get(span.clone()).unwrap_or("");
    let is_header = |line: usize| document.line(line).trim_start().starts_with('[');
    let header = is_header(line);
    let place = Place::new(document, span);
    let diagnostic = Diagnostic::error(place, format!("duplicate key {}", quote(key, '`')));
    let diagnostic = match earlier(document, key, line, header) {
        Some(place) => diagnostic.with_related(place, "first defined here"),
        None => diagnostic,
    };
    if !header {
        // A duplicate `[source]` makes each of its keys a duplicate as well.
        let section = (0..line)
            .rev()
            .take(EARLIER_LINES)
            .find(|line| is_header(*line));
        let repeated = section.filter(|section| reported.contains(section));
        let follows = repeated.is_some_and(|section| repeatable(document.line(section)).is_some());
        return (!follows).then(|| diagnostic.with_help("keep one of the two"));
    }
    match repeatable(document.line(line)) {
        // Another one has single brackets, and is reported for that.
        Some(_) if document.line(line).trim_start().starts_with("[[") => None,
        Some(heading) => Some(diagnostic.with_help(format!(
            "a section that may be repeated needs double brackets: `{heading}`"
        ))),
        None => Some(diagnostic.with_help("this section is not repeatable: merge the two")),
    }
}

/// The correct header of a repeatable section, if `line` is the header of one.
fn repeatable(line: &str) -> Option<&'static str> {
    let name = line
        .trim_start()
        .trim_start_matches('[')
        .split(']')
        .next()?
        .trim();
    let section = section_doc(name).filter(|section| section.is_repeatable())?;
    Some(section.heading)
}

/// The nearest earlier line with the same key or header. The parser does not report it; the
/// beginnings of lines suffice to find it in every file written by hand.
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

/// Prefix of the parser's message about a line without `=`.
const STRAY_LINE: &str = "key with no value";
/// The parser's message about a duplicate key or section.
const DUPLICATE: &str = "duplicate key";
/// Maximum number of problems that get advice.
const EXPLAINED: usize = 200;
/// Maximum number of lines searched backwards for the first of two duplicates.
const EARLIER_LINES: usize = 10_000;
/// Common directives of chrony and ntpd.
#[rustfmt::skip]
const FOREIGN: &[&str] = &[
    "allow", "bindaddress", "deny", "driftfile", "hwtimestamp", "keyfile", "keys", "leapsectz",
    "local", "logdir", "makestep", "maxdistance", "minsources", "ntsdumpdir", "refclock",
    "restrict", "rtcsync", "statsdir", "tinker", "tos",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Diagnostic> {
        let document = Document::new("ntp.toml", text);
        let (text, mut errors) = repair(&document);
        errors.extend(DeTable::parse_recoverable(&text).1);
        explain(&document, errors).list
    }

    /// Notices a change of the parser's wording, which would silently disable the recovery.
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
