//! One problem of a configuration, told so that the administrator can act on it.
//!
//! A [`Diagnostic`] names what is wrong (`message`), shows where (`place`, with a short `label`
//! at the caret), and says what to write instead (`help`). It renders like a compiler's error:
//!
//! ```text
//! error: unknown field `adress` in `[[source]]`
//!  --> /etc/ntpd-rs/ntp.toml:4:1
//!   |
//! 4 | adress = "ntp.example.org"
//!   | ^^^^^^ did you mean `address`?
//! ```
//!
//! The excerpt handed to the renderer is the affected lines only, so rendering costs the same
//! in a small file and in a huge one, and text taken from the file goes through [`quote`],
//! which bounds its length and disarms control characters.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::document::{Document, Place};

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Accepted, and probably not what was meant.
    Warning,
    /// Not accepted.
    Error,
}

/// How a diagnostic is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Plain text: for logs and pipes.
    #[default]
    Plain,
    /// With ANSI colours: for terminals.
    Coloured,
}

/// A problem or remark about a configuration, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub place: Place,
    /// A few words shown at the caret.
    pub label: Option<String>,
    /// A second place that explains the first, with words for its caret.
    pub related: Option<(Place, String)>,
    /// What to do about it, each in one line.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// A problem that makes the configuration unacceptable.
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, place, message.into())
    }

    /// A remark about something that is accepted but probably not meant.
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, message.into())
    }

    /// Something to know.
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

    /// With words at the caret.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// With one more line of advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// With a second place that explains the first.
    #[must_use]
    pub fn with_related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related = Some((place, label.into()));
        self
    }

    /// The diagnostic with its excerpt, over several lines, without a line break at the end.
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
        let Some((related, label)) = &self.related else {
            return vec![
                excerpt(document, line..line + 1).annotation(primary(start_of(document, line))),
            ];
        };
        let Some((other, other_span)) = related.parts() else {
            return vec![
                excerpt(document, line..line + 1).annotation(primary(start_of(document, line))),
            ];
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
            excerpt(document, line..line + 1).annotation(primary(start_of(document, line))),
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

/// Text from the file as it may stand in a message: between the `mark`s, on one line, without
/// control characters, and no longer than a line can bear.
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

/// The line on which `span` begins, and the part of the span that stands on it: a caret under
/// every line of a long table would hide what is meant.
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

/// Columns of a rendered excerpt; a longer line is cut around its caret.
const WIDTH: usize = 120;
/// Two places at most this many lines apart share an excerpt.
const NEAR_LINES: usize = 12;
/// Text from the file is cut after this many characters.
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
    fn quoted_text_is_bounded_and_harmless() {
        assert_eq!(quote("a\u{1b}[31m\nb", '`'), "`a\\u{1b}[31m\\nb`");
        assert!(quote(&"x".repeat(1_000_000), '"').chars().count() < 70);
    }

    #[test]
    fn a_diagnostic_without_a_place_still_renders() {
        let text = Diagnostic::note(Place::nowhere(), "no sources").to_string();
        assert_eq!(text, "note: no sources");
    }
}
