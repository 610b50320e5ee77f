//! Reading a section of the tree, key by key, without stopping at the first problem.
//!
//! A derived deserialiser gives up at its first error, and forgets where a value stood. Here
//! every section is a [`Section`] that hands out the [`Value`] of each key it is asked for and
//! remembers the question. [`Section::finish`] then knows what was written but never asked for
//! (unknown keys, each with the known key it resembles) and what was needed but not written.
//! Converters ([`crate::value`]) report to the [`Context`] and return `None`; the section's
//! caller goes on with the default, so one pass finds all problems of a file.
//!
//! The questions are the schema. The context keeps them too, and a test holds the documented
//! keys ([`crate::KEYS`]) to them in both directions.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, quote};
use crate::document::{Located, Place};
use crate::keys::{self, heading};
use crate::layers::Files;
use crate::outline::{self, Said};
use crate::renamed;
use crate::report::Report;
use crate::settings;
use crate::suggest::closest;
use crate::syntax::Explained;

/// One question: section, mode (of a source) and key.
pub(crate) type Asked = (&'static str, Option<&'static str>, &'static str);

/// What the reading of a whole configuration shares.
pub(crate) struct Context {
    files: Files,
    /// Lines that are already blamed for their syntax, each with its file: what the tree says about them is not
    /// worth a complaint.
    blamed: BTreeSet<(usize, usize)>,
    /// Whether some line could not be read, or belongs to another file.
    incomplete: bool,
    pub(crate) report: Report,
    pub(crate) asked: BTreeSet<Asked>,
}

impl Context {
    /// A context whose report begins with what is wrong with the syntax of the files.
    pub(crate) fn new(files: Files, syntax: Explained) -> Self {
        let mut report = Report::default();
        for problem in syntax.problems {
            report.push(problem);
        }
        Self {
            files,
            blamed: syntax.blamed,
            incomplete: syntax.incomplete,
            report,
            asked: BTreeSet::new(),
        }
    }

    /// From here on, nothing is missed: what is absent here may stand in another file.
    pub(crate) fn expect_part(&mut self) {
        self.incomplete = true;
    }

    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        self.files.place(span)
    }

    /// Adds a diagnostic, unless it stands on a line that is already blamed for its syntax.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        let row = diagnostic.place.row();
        if !row.is_some_and(|row| self.blamed.contains(&row)) {
            self.report.push(diagnostic);
        }
    }

    /// Adds the errors that another reading of the same files found, and this one did not.
    pub(crate) fn complete(&mut self, mut other: Self) {
        let blamed = &self.blamed;
        let spared =
            |found: &Diagnostic| !found.place.row().is_some_and(|row| blamed.contains(&row));
        other.report.retain_errors(spared);
        self.report.complete(other.report);
    }

    /// Adds a diagnostic about something absent, unless it may stand on a line that could not
    /// be read.
    pub(crate) fn report_missing(&mut self, diagnostic: Diagnostic) {
        if !self.incomplete {
            self.report(diagnostic);
        }
    }
}

/// A value of the tree and whose it is.
#[derive(Clone)]
pub(crate) struct Value<'t> {
    pub(crate) node: &'t DeValue<'t>,
    pub(crate) span: Range<usize>,
    /// The key, for messages; for an element of an array the array's.
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

    /// Reports that this value will not do, and why.
    pub(crate) fn reject<T>(&self, cx: &mut Context, message: impl Into<String>) -> Option<T> {
        cx.report(Diagnostic::error(self.place(cx), message));
        None
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

    /// Remarks on this value, which is accepted.
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
    /// Whether an unknown key is only worth a warning.
    lenient: bool,
    /// Whether missing keys are passed over: which are needed depends on a mode not known.
    forgiving: bool,
}

impl<'t> Section<'t> {
    /// The table `value` as section `name` (an entry of [`crate::SECTIONS`]).
    pub(crate) fn open(cx: &mut Context, name: &'static str, value: &Value<'t>) -> Option<Self> {
        if let DeValue::Table(table) = value.node {
            return Some(Self::of_table(name, table, value.span.clone()));
        }
        let message = format!(
            "invalid type: {}, expected a table",
            crate::value::describe(value.node)
        );
        if matches!(value.node, DeValue::Array(_)) && !name.contains('.') {
            let help = format!(
                "this section stands once, in single brackets: `{}`",
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
            forgiving: false,
        }
    }

    /// From here on, keys belong to this mode of the section.
    pub(crate) fn set_mode(&mut self, mode: &'static str) {
        self.mode = Some(mode);
    }

    /// Accepts unknown keys with a warning: where upstream accepts them silently.
    pub(crate) fn accept_unknown(&mut self) {
        self.lenient = true;
    }

    /// Knows every documented key of the section, in whatever mode, and misses none: for a
    /// section whose mode is not clear.
    pub(crate) fn accept_documented(&mut self) {
        let documented = keys::KEYS.iter().filter(|doc| doc.section == self.name);
        for doc in documented {
            if !self.known.contains(&doc.key) {
                self.known.push(doc.key);
            }
        }
        self.forgiving = true;
    }

    /// All that the table says, as plain TOML.
    pub(crate) fn settings(&self) -> toml::Table {
        settings::plain(self.table)
    }

    /// The same, each value with its place.
    pub(crate) fn said(&self, cx: &Context) -> Vec<Said> {
        outline::of_table(cx, self.table)
    }

    /// The table's place: its header.
    pub(crate) fn place(&self, cx: &Context) -> Place {
        cx.place(self.header.clone())
    }

    /// The value of `key`, if the file has one. This is the question that makes a key known.
    pub(crate) fn value(&mut self, cx: &mut Context, key: &'static str) -> Option<Value<'t>> {
        cx.asked.insert((self.name, self.mode, key));
        self.known.push(key);
        self.table.get(key).map(|node| Value::new(node, key))
    }

    /// The value of `key`, converted; `None` if absent or wrong (and then reported).
    pub(crate) fn optional<T>(
        &mut self,
        cx: &mut Context,
        key: &'static str,
        convert: impl FnOnce(&mut Context, &Value<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(cx, key)?;
        convert(cx, &value)
    }

    /// The value of `key`, converted, or `default`.
    pub(crate) fn or<T>(
        &mut self,
        cx: &mut Context,
        key: &'static str,
        convert: impl FnOnce(&mut Context, &Value<'t>) -> Option<T>,
        default: T,
    ) -> T {
        self.optional(cx, key, convert).unwrap_or(default)
    }

    /// As [`Section::optional`], and the key's absence is an error.
    pub(crate) fn required<T>(
        &mut self,
        cx: &mut Context,
        key: &'static str,
        convert: impl FnOnce(&mut Context, &Value<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(cx, key);
        if value.is_none() {
            self.missing.push(key);
        }
        convert(cx, &value?)
    }

    /// Reports what was written and never asked for, and what was asked for in vain.
    pub(crate) fn finish(self, cx: &mut Context) {
        let mut misspelled = BTreeSet::new();
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            // A key that is there already is not meant; a section may be meant again.
            let top = self.name.is_empty();
            let absent = |known: &&str| top || !self.table.contains_key(*known);
            let absent = self.known.iter().copied().filter(absent);
            let old = renamed::find(self.name, name);
            let meant = match old {
                Some(old) => old.right,
                None => closest(name, absent),
            };
            // A mere warning does not tell that a required key is absent.
            if !self.lenient {
                misspelled.extend(meant);
            }
            let advice = old.map(|old| old.advice);
            let diagnostic = self.unknown(cx.place(key.span()), name, meant, advice);
            cx.report(diagnostic);
        }
        if self.forgiving {
            return;
        }
        for key in self.missing {
            if misspelled.contains(key) {
                continue;
            }
            let message = format!("missing field `{key}` in {}", title(self.name, self.mode));
            let mut diagnostic = Diagnostic::error(cx.place(self.header.clone()), message);
            if let Some(doc) = keys::find(self.name, self.mode, key) {
                diagnostic = diagnostic.with_help(format!("`{key}` ({}): {}", doc.kind, doc.doc));
            }
            cx.report_missing(diagnostic);
        }
    }

    fn unknown(
        &self,
        place: Place,
        name: &str,
        meant: Option<&'static str>,
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
        if let Some(meant) = meant {
            let meant = if self.name.is_empty() {
                heading(meant)
            } else {
                meant
            };
            return diagnostic.with_label(format!("did you mean `{meant}`?"));
        }
        if let Some(elsewhere) = keys::elsewhere(self.name, self.mode, name) {
            return diagnostic.with_help(elsewhere);
        }
        if let Some(twice) = closest(name, self.known.iter().copied()) {
            return diagnostic.with_label(format!("`{twice}` is written already"));
        }
        if self.name.is_empty() {
            let headings: Vec<&str> = self.known.iter().copied().map(heading).collect();
            return diagnostic.with_help(format!("the sections are {}", list(&headings)));
        }
        diagnostic.with_help(format!("{title} has the keys {}", list(&self.known)))
    }
}

/// The section as messages name it.
fn title(name: &'static str, mode: Option<&str>) -> String {
    match mode {
        Some(mode) => format!("`{}` of mode `{mode}`", heading(name)),
        None => format!("`{}`", heading(name)),
    }
}

/// The words in backquotes, with commas.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
