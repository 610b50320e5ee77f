//! Reads a section of the tree, key by key, without stopping at the first problem.
//!
//! A derived deserialiser stops at its first error and loses the places of values. A
//! [`Section`] instead returns the [`Value`] of each requested key and records the request.
//! [`Section::finish`] then reports the keys that are in the file but were not requested
//! (unknown keys, each with the most similar known key) and the required keys that are absent.
//! Converters ([`crate::value`]) report to the [`Context`] and return `None`; the caller
//! continues with the default, so one pass finds all problems of a file.
//!
//! In tests the context records the requests too, and one compares them with the documented keys
//! ([`crate::KEYS`]).

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, list, quote};
use crate::document::{Files, Located, Place};
use crate::documentation::{Keys, heading};
use crate::entry::{self, Entry};
use crate::renamed;
use crate::report::Report;
use crate::settings;
use crate::suggest::closest;
use crate::syntax::SyntaxProblems;

/// Section, mode (of a source) and key.
pub(crate) type RequestedKey = (&'static str, Option<&'static str>, &'static str);

/// State shared while a whole configuration is read.
pub(crate) struct Context {
    files: Files,
    /// Every key that the files can have, for advice.
    documented: Keys,
    /// Files and lines with syntax errors: further problems there are not reported.
    malformed_lines: BTreeSet<(usize, usize)>,
    /// Whether some line could not be read, or the tree is one of several files.
    incomplete: bool,
    pub(crate) report: Report,
    /// Every key that was read; filled in tests only.
    pub(crate) requested: BTreeSet<RequestedKey>,
}

impl Context {
    /// Creates a context whose report starts with the syntax errors of the files.
    pub(crate) fn new(files: Files, syntax: SyntaxProblems, documented: Keys) -> Self {
        let mut report = Report::default();
        for problem in syntax.list {
            report.push(problem);
        }
        Self {
            files,
            documented,
            malformed_lines: syntax.lines,
            incomplete: syntax.incomplete,
            report,
            requested: BTreeSet::new(),
        }
    }

    /// Stops reports of missing keys: they may be in another file.
    pub(crate) fn expect_part(&mut self) {
        self.incomplete = true;
    }

    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        self.files.place(span)
    }

    /// The values of `table`, each with its place.
    pub(crate) fn entries(&self, table: &DeTable<'_>) -> Vec<Entry> {
        entry::of_table(&self.files, table)
    }

    /// Adds a diagnostic, unless its line already has a syntax error.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        let row = diagnostic.place.row();
        if !row.is_some_and(|row| self.malformed_lines.contains(&row)) {
            self.report.push(diagnostic);
        }
    }

    /// Adds the errors that only another pass over the same files found.
    pub(crate) fn complete(&mut self, mut other: Self) {
        let malformed = &self.malformed_lines;
        let relevant = |found: &Diagnostic| {
            !found
                .place
                .row()
                .is_some_and(|row| malformed.contains(&row))
        };
        other.report.retain_errors(relevant);
        self.report.complete(other.report);
    }

    /// Adds a diagnostic about an absent key, unless the key may be on a line that could not be
    /// read.
    pub(crate) fn report_missing(&mut self, diagnostic: Diagnostic) {
        if !self.incomplete {
            self.report(diagnostic);
        }
    }
}

/// A value of the tree and its key.
#[derive(Clone)]
pub(crate) struct Value<'t> {
    pub(crate) node: &'t DeValue<'t>,
    pub(crate) span: Range<usize>,
    /// The key, for messages; for an element of an array that of the array.
    pub(crate) key: &'static str,
}

impl<'t> Value<'t> {
    pub(crate) fn new(node: &'t Spanned<DeValue<'t>>, key: &'static str) -> Self {
        Self {
            node: node.get_ref(),
            span: node.span(),
            key,
        }
    }

    pub(crate) fn place(&self, cx: &Context) -> Place {
        cx.place(self.span.clone())
    }

    /// `value` with this value's place.
    pub(crate) fn locate<T>(&self, cx: &Context, value: T) -> Located<T> {
        Located {
            value,
            place: self.place(cx),
        }
    }

    /// Reports that this value is invalid, and why.
    pub(crate) fn reject<T>(&self, cx: &mut Context, message: impl Into<String>) -> Option<T> {
        cx.report(Diagnostic::error(self.place(cx), message));
        None
    }

    /// Rejects a value of the wrong type.
    pub(crate) fn reject_type<T>(&self, cx: &mut Context, expected: &str) -> Option<T> {
        self.reject(cx, self.mistyped(expected))
    }

    /// Rejects a value of the right type.
    pub(crate) fn reject_value<T>(&self, cx: &mut Context, expected: &str) -> Option<T> {
        self.reject(cx, self.invalid(expected))
    }

    /// Description of the value for messages.
    pub(crate) fn describe(&self) -> String {
        match self.node {
            DeValue::String(text) => format!("string {}", quote(text, '"')),
            DeValue::Integer(integer) => format!("integer {}", quote(&integer.to_string(), '`')),
            DeValue::Float(float) => format!("floating point {}", quote(float.as_str(), '`')),
            DeValue::Boolean(boolean) => format!("boolean `{boolean}`"),
            DeValue::Datetime(_) => "a date or time".into(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        }
    }

    /// Message about a value of the wrong type.
    pub(crate) fn mistyped(&self, expected: &str) -> String {
        format!("invalid type: {}, expected {expected}", self.describe())
    }

    /// Message about an invalid value of the right type.
    pub(crate) fn invalid(&self, expected: &str) -> String {
        format!("invalid value: {}, expected {expected}", self.describe())
    }

    /// As [`Value::reject`], with advice.
    pub(crate) fn reject_with<T>(
        &self,
        cx: &mut Context,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        cx.report(Diagnostic::error(self.place(cx), message).with_help(help));
        None
    }

    /// Adds an error about `what`, which this build cannot do.
    pub(crate) fn reject_as_lacking<T>(&self, cx: &mut Context, what: &str) -> Option<T> {
        let message = format!("{what} is not supported by this build");
        self.reject_with(
            cx,
            message,
            "remove it, or install a build with all features",
        )
    }

    /// Adds a warning about this value, which is accepted.
    pub(crate) fn warn(
        &self,
        cx: &mut Context,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        cx.report(Diagnostic::warning(self.place(cx), message).with_help(help));
    }
}

/// A table being read.
pub(crate) struct Section<'t> {
    name: &'static str,
    mode: Option<&'static str>,
    table: &'t DeTable<'t>,
    header: Range<usize>,
    known: Vec<&'static str>,
    missing: Vec<&'static str>,
    /// Whether an unknown key is only a warning.
    lenient: bool,
    /// Whether keys that were not requested are data.
    keys_are_data: bool,
    /// Whether missing keys are ignored, because the mode that requires them is unknown.
    mode_unknown: bool,
}

impl<'t> Section<'t> {
    /// Opens the table `value` as section `name` (of [`crate::SECTIONS`]).
    pub(crate) fn open(cx: &mut Context, name: &'static str, value: &Value<'t>) -> Option<Self> {
        if let DeValue::Table(table) = value.node {
            return Some(Self::of_table(name, table, value.span.clone()));
        }
        let message = value.mistyped("a table");
        if matches!(value.node, DeValue::Array(_)) && !name.contains('.') {
            let help = format!(
                "this section is not repeatable and needs single brackets: `{}`",
                heading(name)
            );
            return value.reject_with(cx, message, help);
        }
        value.reject(cx, message)
    }

    pub(crate) fn of_table(
        name: &'static str,
        table: &'t DeTable<'t>,
        header: Range<usize>,
    ) -> Self {
        Self {
            name,
            mode: None,
            table,
            header,
            known: Vec::new(),
            missing: Vec::new(),
            lenient: false,
            keys_are_data: false,
            mode_unknown: false,
        }
    }

    /// Sets the mode that the keys requested from here on belong to.
    pub(crate) fn set_mode(&mut self, mode: &'static str) {
        self.mode = Some(mode);
    }

    /// The mode of a source, if it is known.
    pub(crate) fn mode(&self) -> Option<&'static str> {
        self.mode
    }

    /// Whether the file has the key.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Makes the absence of `key` an error.
    pub(crate) fn require(&mut self, key: &'static str) {
        if !self.contains(key) {
            self.missing.push(key);
        }
    }

    /// Accepts unknown keys with a warning, where upstream accepts them silently.
    pub(crate) fn accept_unknown(&mut self) {
        self.lenient = true;
    }

    /// The keys that were not requested, for a table whose keys are data: the text of each, itself
    /// as a value (for messages), and its value. `name` is the key of the table.
    pub(crate) fn other_keys(
        &mut self,
        name: &'static str,
    ) -> impl Iterator<Item = (&'t str, Value<'t>, Value<'t>)> {
        self.keys_are_data = true;
        let known = self.known.clone();
        let all = self.table.iter();
        let other = all.filter(move |(key, _)| !known.contains(&key.get_ref().as_ref()));
        other.map(move |(key, node)| {
            let value = Value::new(node, name);
            let key_as_value = Value {
                span: key.span(),
                ..value.clone()
            };
            (key.get_ref().as_ref(), key_as_value, value)
        })
    }

    /// Accepts every documented key of the section, in any mode, and requires none: for a source
    /// whose mode is unknown.
    pub(crate) fn accept_documented(&mut self, cx: &Context) {
        for key in cx.documented.of_section(self.name) {
            if !self.known.contains(&key) {
                self.known.push(key);
            }
        }
        self.mode_unknown = true;
    }

    /// The table as plain TOML.
    pub(crate) fn settings(&self) -> toml::Table {
        settings::plain(self.table)
    }

    /// The values of the table, each with its place.
    pub(crate) fn entries(&self, cx: &Context) -> Vec<Entry> {
        cx.entries(self.table)
    }

    /// Place of the header.
    pub(crate) fn place(&self, cx: &Context) -> Place {
        cx.place(self.header.clone())
    }

    /// Returns the value of `key`, if the file has one, and makes the key a known one.
    pub(crate) fn value(&mut self, cx: &mut Context, key: &'static str) -> Option<Value<'t>> {
        if cfg!(test) {
            cx.requested.insert((self.name, self.mode, key));
        }
        self.known.push(key);
        self.table.get(key).map(|node| Value::new(node, key))
    }

    /// Returns the value of `key`, converted; `None` if absent or invalid (which is reported).
    pub(crate) fn optional<T>(
        &mut self,
        cx: &mut Context,
        key: &'static str,
        convert: impl FnOnce(&mut Context, &Value<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(cx, key)?;
        convert(cx, &value)
    }

    /// Returns the value of `key`, converted, or `default`.
    pub(crate) fn or<T>(
        &mut self,
        cx: &mut Context,
        key: &'static str,
        convert: impl FnOnce(&mut Context, &Value<'t>) -> Option<T>,
        default: T,
    ) -> T {
        self.optional(cx, key, convert).unwrap_or(default)
    }

    /// As [`Section::optional`]; the absence of the key is an error.
    pub(crate) fn required<T>(
        &mut self,
        cx: &mut Context,
        key: &'static str,
        convert: impl FnOnce(&mut Context, &Value<'t>) -> Option<T>,
    ) -> Option<T> {
        self.require(key);
        self.optional(cx, key, convert)
    }

    /// Reports unknown keys, and required keys that are absent.
    pub(crate) fn finish(self, cx: &mut Context) {
        let mut misspelt = BTreeSet::new();
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.keys_are_data || self.known.contains(&name) {
                continue;
            }
            // A key that is present is not suggested; a section may be, as it may be repeated.
            let top = self.name.is_empty();
            let absent = |known: &&str| top || !self.table.contains_key(*known);
            let absent = self.known.iter().copied().filter(absent);
            let old = renamed::find(self.name, name);
            let suggestion = match old {
                Some(old) => old.right,
                None => closest(name, absent),
            };
            // A misspelt required key is not reported as missing too, unless it was only a warning.
            if !self.lenient {
                misspelt.extend(suggestion);
            }
            let advice = old.map(|old| old.advice);
            let diagnostic = self.unknown(cx, cx.place(key.span()), name, suggestion, advice);
            cx.report(diagnostic);
        }
        if self.mode_unknown {
            return;
        }
        for key in self.missing {
            if misspelt.contains(key) {
                continue;
            }
            let message = format!("missing field `{key}` in {}", title(self.name, self.mode));
            let mut diagnostic = Diagnostic::error(cx.place(self.header.clone()), message);
            if let Some(help) = cx.documented.help(self.name, self.mode, key) {
                diagnostic = diagnostic.with_help(help);
            }
            cx.report_missing(diagnostic);
        }
    }

    fn unknown(
        &self,
        cx: &Context,
        place: Place,
        name: &str,
        suggestion: Option<&'static str>,
        advice: Option<&str>,
    ) -> Diagnostic {
        let title = title(self.name, self.mode);
        let quoted = quote(name, '`');
        let diagnostic = if self.lenient {
            let message = format!("unknown field {quoted} in {title} has no effect");
            Diagnostic::warning(place, message)
        } else if self.name.is_empty() {
            Diagnostic::error(place, format!("unknown field {quoted} at the top level"))
        } else {
            Diagnostic::error(place, format!("unknown field {quoted} in {title}"))
        };
        if let Some(advice) = advice {
            return diagnostic.with_help(advice);
        }
        if let Some(suggestion) = suggestion {
            let suggestion = if self.name.is_empty() {
                heading(suggestion)
            } else {
                suggestion
            };
            return diagnostic.with_label(format!("did you mean `{suggestion}`?"));
        }
        if let Some(elsewhere) = cx.documented.elsewhere(self.name, self.mode, name) {
            return diagnostic.with_help(elsewhere);
        }
        if let Some(present) = closest(name, self.known.iter().copied()) {
            return diagnostic.with_label(format!("`{present}` is already present"));
        }
        if self.name.is_empty() {
            let headings: Vec<&str> = self.known.iter().copied().map(heading).collect();
            return diagnostic.with_help(format!("the sections are {}", list(&headings)));
        }
        diagnostic.with_help(format!("{title} has the keys {}", list(&self.known)))
    }
}

/// Name of the section in messages.
fn title(name: &'static str, mode: Option<&str>) -> String {
    match mode {
        Some(mode) => format!("`{}` of mode `{mode}`", heading(name)),
        None => format!("`{}`", heading(name)),
    }
}
