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
//! The renderer gets the affected lines only, so its cost does not depend on the size of the
//! file. Text from the file goes through [`quote`], which limits its length and escapes control
//! characters.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::document::{Document, Place};

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

    /// Renders the diagnostic with its excerpt, in several lines, without a final line break.
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled(),
        };
        let level = match self.severity {
            Severity::Note => Level::NOTE,
            Severity::Warning => Level::WARNING,
            Severity::Error => Level::ERROR,
        };
        let mut group = Group::with_title(level.primary_title(&self.message));
        if let Some((document, span)) = self.place.parts() {
            group = group.elements(self.snippets(document, span));
        }
        for help in &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.term_width(WIDTH).render(&[group])
    }

    fn snippets<'a>(
        &'a self,
        document: &'a Document,
        span: Range<usize>,
    ) -> Vec<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let (line, span) = first_line(document, span);
        let primary = |start: usize| {
            AnnotationKind::Primary
                .span(span.start - start..span.end - start)
                .label(self.label.as_deref())
        };
        let alone = || excerpt(document, line..line + 1);
        let related = self.related.as_ref();
        let related = related.and_then(|(place, label)| Some((place.parts()?, label)));
        let Some(((other, other_span), label)) = related else {
            return vec![alone().annotation(primary(start_of(document, line)))];
        };
        let (other_line, other_span) = first_line(other, other_span);
        let context = |start: usize| {
            AnnotationKind::Context
                .span(other_span.start - start..other_span.end - start)
                .label(label.as_str())
        };
        if line.abs_diff(other_line) <= NEAR_LINES {
            let lines = line.min(other_line)..line.max(other_line) + 1;
            let start = start_of(document, lines.start);
            let both = excerpt(document, lines);
            return vec![both.annotation(primary(start)).annotation(context(start))];
        }
        vec![
            alone().annotation(primary(start_of(document, line))),
            excerpt(other, other_line..other_line + 1)
                .annotation(context(start_of(other, other_line))),
        ]
    }
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

/// The line on which `span` begins, and the part of the span on that line: carets under every
/// line of a long table would be unreadable.
fn first_line(document: &Document, span: Range<usize>) -> (usize, Range<usize>) {
    let line = document.line_of(span.start);
    let end = document.line_range(line).end;
    let start = span.start.min(end);
    (line, start..span.end.clamp(start, end))
}

fn start_of(document: &Document, line: usize) -> usize {
    document.line_range(line).start
}

fn excerpt(
    document: &Document,
    lines: Range<usize>,
) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    let range = start_of(document, lines.start)..document.line_range(lines.end - 1).end;
    Snippet::source(&document.text()[range])
        .line_start(lines.start + 1)
        .path(document.name())
}

/// Width of an excerpt in columns; a longer line is cut around its caret.
const WIDTH: usize = 120;
/// Maximum distance in lines of two places in one excerpt.
const NEAR_LINES: usize = 12;
/// Maximum length of quoted text in characters.
const QUOTED_CHARACTERS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

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
