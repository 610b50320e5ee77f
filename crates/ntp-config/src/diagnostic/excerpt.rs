//! Rendering of a [`Diagnostic`] with the affected lines of the file.
//!
//! The renderer gets those lines only, so its cost does not depend on the size of the file.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Severity, Style};
use crate::document::Document;

/// Renders the diagnostic with its excerpt, in several lines, without a final line break.
pub(super) fn render(it: &Diagnostic, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    let level = match it.severity {
        Severity::Note => Level::NOTE,
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let mut group = Group::with_title(level.primary_title(&it.message));
    if let Some((document, span)) = it.place.parts() {
        group = group.elements(snippets(it, document, span));
    }
    for help in &it.help {
        group = group.element(Level::HELP.message(help));
    }
    renderer.term_width(WIDTH).render(&[group])
}

fn snippets<'a>(
    it: &'a Diagnostic,
    document: &'a Document,
    span: Range<usize>,
) -> Vec<Snippet<'a, Annotation<'a>>> {
    let (line, span) = first_line(document, span);
    let primary = |start: usize| {
        AnnotationKind::Primary
            .span(span.start - start..span.end - start)
            .label(it.label.as_deref())
    };
    let alone = || excerpt(document, line..line + 1);
    let related = it.related.as_ref();
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
        excerpt(other, other_line..other_line + 1).annotation(context(start_of(other, other_line))),
    ]
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

fn excerpt(document: &Document, lines: Range<usize>) -> Snippet<'_, Annotation<'_>> {
    let range = start_of(document, lines.start)..document.line_range(lines.end - 1).end;
    Snippet::source(&document.text()[range])
        .line_start(lines.start + 1)
        .path(document.name())
}

/// Width of an excerpt in columns; a longer line is cut around its caret.
const WIDTH: usize = 120;
/// Maximum distance in lines of two places in one excerpt.
const NEAR_LINES: usize = 12;
