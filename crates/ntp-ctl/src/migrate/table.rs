//! Tables of the directives and options of a format.
//!
//! Each format has one table of its directives, and one for each directive with options. A row
//! states what becomes of it: a function converts it, or a remark gives the reason why it has no
//! equivalent or needs none. A word that no row names is reported as unknown. So nothing is lost
//! silently; a test walks all tables.

use super::draft::{Draft, Remarks};
use super::input::Input;
use super::lines::{Line, Syntax};
use super::service;

/// What becomes of a directive.
pub(super) enum Fate<S> {
    /// The function converts the line.
    Converted(fn(&mut S, &Line<'_>)),
    /// It needs no equivalent, for this reason.
    NotNeeded(&'static str),
    /// Its effect is lost, for this reason.
    Unsupported(&'static str),
}

/// Names, separated by spaces, and what becomes of these directives.
pub(super) type Directive<S> = (&'static str, Fate<S>);

/// What becomes of an option.
pub(super) enum OptionFate<S> {
    /// The function converts its value, an empty string if it has none, or returns the reason why
    /// it cannot.
    Converted(fn(&mut S, &str) -> Result<(), &'static str>),
    /// It needs no equivalent, for this reason.
    NotNeeded(&'static str),
    /// Its effect is lost, for this reason.
    Unsupported(&'static str),
}

/// Names, separated by spaces, the number of words that follow, and what becomes of these options.
pub(super) type OptionRow<S> = (&'static str, usize, OptionFate<S>);

/// State of a conversion: a draft, and what depends on several lines.
pub(super) trait Conversion: Sized + 'static {
    /// Syntax of the file.
    const SYNTAX: Syntax;
    /// All directives.
    const DIRECTIVES: &'static [Directive<Self>];
    /// All options of the command line.
    const COMMAND_LINE: &'static [OptionRow<Self>] = &[];

    fn draft(&mut self) -> &mut Draft;

    /// Converts all lines, and the options of the service.
    fn convert(&mut self, input: &Input) {
        for line in &Self::SYNTAX.lines(&input.text) {
            self.convert_line(&Self::SYNTAX.split(line));
        }
        service::convert(self, input);
    }

    /// Converts a line by the table.
    fn convert_line(&mut self, line: &Line<'_>) {
        match row(Self::DIRECTIVES, |row| row.0, &line.directive) {
            Some((_, Fate::Converted(convert))) => convert(self, line),
            Some((_, Fate::NotNeeded(why))) => self.draft().not_needed(line, why),
            Some((_, Fate::Unsupported(why))) => self.draft().unsupported(line, why),
            None => self.draft().unsupported(line, "unknown directive"),
        }
    }
}

fn row<'t, R>(table: &'t [R], names: fn(&R) -> &'static str, name: &str) -> Option<&'t R> {
    let mut rows = table.iter();
    rows.find(|row| names(row).split(' ').any(|known| known == name))
}

/// Converts the options of a line, which are `words`. Returns what is not converted.
pub(super) fn convert_options<S>(
    target: &mut S,
    line: &Line<'_>,
    words: &[&str],
    table: &[OptionRow<S>],
) -> Remarks {
    let mut remarks = Remarks::default();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        // Letters of a command line are distinguished by case.
        let name = match word.starts_with('-') {
            true => word.to_owned(),
            false => word.to_ascii_lowercase(),
        };
        let Some((_, values, fate)) = row(table, |row| row.0, &name) else {
            remarks.unsupported(line.number, word, "unknown option");
            continue;
        };
        let value: Vec<&str> = words.by_ref().take(*values).collect();
        let value = value.join(" ");
        let text = format!("{} {word} {value}", line.directive);
        let text = text.trim_end();
        match fate {
            OptionFate::Converted(_) if *values > 0 && value.is_empty() => {
                remarks.unsupported(line.number, text, "its value is missing");
            }
            OptionFate::Converted(convert) => {
                if let Err(why) = convert(target, &value) {
                    remarks.unsupported(line.number, text, why);
                }
            }
            OptionFate::NotNeeded(why) => remarks.not_needed(line.number, text, why),
            OptionFate::Unsupported(why) => remarks.unsupported(line.number, text, why),
        }
    }
    remarks
}

/// Reason why a value is not converted.
pub(super) const INVALID: &str = "invalid value";

/// All names of a table.
#[cfg(test)]
pub(super) fn names<R>(table: &[R], names: fn(&R) -> &'static str) -> Vec<&'static str> {
    table.iter().flat_map(|row| names(row).split(' ')).collect()
}
