//! A problem of a configuration, with its place and advice.
//!
//! A [`Diagnostic`] has the problem (`message`), its place (`place`, with a short `label` at the
//! caret), and the correction (`help`). It is rendered like a compiler's error:
//!
//! ```text
//! error: unknown field `adress` in `[[source]]`
//!  --> /etc/ntpd-rs/ntp.toml:4:1
//!   |
//! 4 | adress = "ntp.example.org"
//!   | ^^^^^^ did you mean `address`?
//! ```
//!
//! Text from the file goes through [`quote`], which limits its length and escapes control
//! characters.

#[cfg(any(test, not(feature = "diagnostics")))]
mod brief;
#[cfg(feature = "diagnostics")]
mod excerpt;

use std::fmt;

use crate::document::Place;
#[cfg(not(feature = "diagnostics"))]
use brief::render;
#[cfg(feature = "diagnostics")]
use excerpt::render;

/// Severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Information.
    Note,
    /// Accepted, but probably not intended.
    Warning,
    /// Rejected.
    Error,
}

/// Rendering style.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Plain text: for logs and pipes.
    #[default]
    Plain,
    /// With ANSI colours: for terminals.
    Coloured,
}

/// A problem of a configuration, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its severity.
    pub severity: Severity,
    /// The problem, in one line.
    pub message: String,
    /// Its place.
    pub place: Place,
    /// Short text at the caret.
    pub label: Option<String>,
    /// A second place that explains the first, with the text at its caret.
    pub related: Option<(Place, String)>,
    /// Advice, one line each.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// Creates a problem that makes the configuration invalid.
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, place, message.into())
    }

    /// Creates a warning about a setting that is accepted but probably not intended.
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, message.into())
    }

    /// Creates a note.
    pub fn note(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, place, message.into())
    }

    const fn new(severity: Severity, place: Place, message: String) -> Self {
        Self {
            severity,
            message,
            place,
            label: None,
            related: None,
            help: Vec::new(),
        }
    }

    /// Sets the text at the caret.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Sets a second place that explains the first.
    #[must_use]
    pub fn with_related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related = Some((place, label.into()));
        self
    }

    /// Renders the diagnostic, in several lines, without a final line break.
    pub fn render(&self, style: Style) -> String {
        render(self, style)
    }
}

/// Sorts diagnostics by their places.
pub(crate) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|found| found.place.order());
}

/// The plain rendering.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

/// Quotes text from the file for a message: between `mark`s, on one line, without control
/// characters, and limited in length.
pub(crate) fn quote(text: &str, mark: char) -> String {
    let mut quoted = String::from(mark);
    for (count, character) in text.chars().enumerate() {
        if count == QUOTED_CHARACTERS {
            quoted.push('…');
            break;
        }
        if character.is_control() {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted.push(mark);
    quoted
}

/// The words in backquotes, separated by commas.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// Maximum length of quoted text in characters.
const QUOTED_CHARACTERS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    #[test]
    fn a_rendered_problem_shows_file_line_caret_label_and_help() {
        let document = Document::new("ntp.toml", "[[source]]\nadress = \"x\"\n");
        let place = Place::new(&document, 11..17);
        let text = Diagnostic::error(place, "unknown field `adress`")
            .with_label("did you mean `address`?")
            .with_help("see the manual")
            .to_string();
        let expected = "error: unknown field `adress`\n --> ntp.toml:2:1\n  |\n2 | adress = \"x\"\n  | ^^^^^^ did you mean `address`?\n  |\n  = help: see the manual";
        assert_eq!(text, expected);
    }

    #[test]
    fn quoted_text_is_short_and_escaped() {
        assert_eq!(quote("a\u{1b}[31m\nb", '`'), "`a\\u{1b}[31m\\nb`");
        assert!(quote(&"x".repeat(1_000_000), '"').chars().count() < 70);
    }

    #[test]
    fn a_diagnostic_without_a_place_is_rendered() {
        let text = Diagnostic::note(Place::nowhere(), "no sources").to_string();
        assert_eq!(text, "note: no sources");
    }
}
