//! The text of a configuration file, and places in it.
//!
//! Problems are found long after the file was read: some while keys are converted, some when
//! the daemon finds that a configured facility is missing. Therefore a [`Place`] has a handle
//! on its [`Document`], and a diagnostic can show its excerpt without access to the text.
//!
//! Offsets are bytes in the text; lines and columns are counted from 1, columns in characters.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A configuration text and its name in reports.
pub(crate) struct Document {
    name: String,
    /// Index among the files of the configuration, from 0.
    order: usize,
    text: String,
    /// The offset of each line; never empty.
    line_starts: Vec<usize>,
}

impl Document {
    /// Creates a document. A byte-order mark is removed, because it would shift the columns of
    /// line 1.
    pub(crate) fn new(name: &str, text: &str) -> Arc<Self> {
        Self::nth(0, name, text)
    }

    /// Creates the document of one of several files.
    pub(crate) fn nth(order: usize, name: &str, text: &str) -> Arc<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(newlines.map(|(offset, _)| offset + 1))
            .collect();
        Arc::new(Self {
            name: name.to_owned(),
            order,
            text: text.to_owned(),
            line_starts,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn order(&self) -> usize {
        self.order
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the line (from 0) that contains `offset`.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.line_starts
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
    }

    /// Returns the range of line `line` (from 0) without its line break.
    pub(crate) fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.line_starts.get(line).copied();
        let start = start.unwrap_or(self.text.len());
        let next = self.line_starts.get(line + 1).copied();
        let line = &self.text[start..next.unwrap_or(self.text.len())];
        start..start + line.trim_end_matches(['\r', '\n']).len()
    }

    /// Returns the text of line `line` (from 0).
    pub(crate) fn line(&self, line: usize) -> &str {
        &self.text[self.line_range(line)]
    }

    /// Moves `span` to character boundaries inside the text.
    fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let boundary = |mut offset: usize| {
            offset = offset.min(self.text.len());
            while !self.text.is_char_boundary(offset) {
                offset -= 1;
            }
            offset
        };
        let start = boundary(span.start);
        start..boundary(span.end).max(start)
    }
}

/// A range of a configuration file, or nowhere (a default, or a setting made at run time).
///
/// Any two places compare equal: the place is not part of a setting, and a reload must not take
/// a moved line for a changed one.
#[derive(Clone, Default)]
pub struct Place(Option<(Arc<Document>, Range<usize>)>);

impl Place {
    pub(crate) fn new(document: &Arc<Document>, span: Range<usize>) -> Self {
        let span = document.clamp(span);
        Self(Some((Arc::clone(document), span)))
    }

    /// A place outside of all files.
    pub const fn nowhere() -> Self {
        Self(None)
    }

    /// Name of the file.
    pub fn file(&self) -> Option<&str> {
        self.0.as_ref().map(|(document, _)| document.name())
    }

    /// The line, from 1.
    pub fn line(&self) -> Option<usize> {
        let (document, span) = self.0.as_ref()?;
        Some(document.line_of(span.start) + 1)
    }

    /// The column, from 1, in characters.
    pub fn column(&self) -> Option<usize> {
        let (document, span) = self.0.as_ref()?;
        let line_start = document.line_range(document.line_of(span.start)).start;
        let before = document.text().get(line_start..span.start)?;
        Some(before.chars().count() + 1)
    }

    pub(crate) fn parts(&self) -> Option<(&Document, Range<usize>)> {
        let (document, span) = self.0.as_ref()?;
        Some((document, span.clone()))
    }

    /// Sort key: the index of the file, then the offset.
    pub(crate) fn order(&self) -> (usize, usize) {
        self.0
            .as_ref()
            .map_or((0, 0), |(document, span)| (document.order(), span.start))
    }

    /// Index of the file and line (from 0).
    pub(crate) fn row(&self) -> Option<(usize, usize)> {
        let (document, span) = self.0.as_ref()?;
        Some((document.order(), document.line_of(span.start)))
    }

    /// Index of the file among those of the configuration, from 0; 0 for nowhere.
    pub(crate) fn layer(&self) -> usize {
        self.order().0
    }
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

/// For example `ntp.toml:3:9`.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file(), self.line(), self.column()) {
            (Some(file), Some(line), Some(column)) => write!(f, "{file}:{line}:{column}"),
            _ => f.write_str("nowhere"),
        }
    }
}

/// All files of a configuration, each with the offset of its spans.
#[derive(Clone)]
pub(crate) struct Files(Vec<(usize, Arc<Document>)>);

impl Files {
    pub(crate) fn new<'d>(documents: impl Iterator<Item = &'d Arc<Document>>) -> Self {
        let mut base = 0;
        let files = documents.map(|document| {
            let start = base;
            // One more, so that the end of a file differs from the beginning of the next.
            base += document.text().len() + 1;
            (start, Arc::clone(document))
        });
        Self(files.collect())
    }

    /// Offset of the spans of file `index`.
    pub(crate) fn base(&self, index: usize) -> usize {
        self.0.get(index).map_or(0, |(base, _)| *base)
    }

    /// The place of a span.
    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        let after = self.0.partition_point(|(base, _)| *base <= span.start);
        let Some((base, document)) = self.0.get(after.saturating_sub(1)) else {
            return Place::nowhere();
        };
        Place::new(document, span.start - base..span.end.max(span.start) - base)
    }
}

/// A value and its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place; nowhere for a default.
    pub place: Place,
}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Self {
            value,
            place: Place::nowhere(),
        }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let document = Document::new("ntp.toml", "\u{feff}a = 1\r\nü = \"x\"\n");
        let offset = document.text().find("= \"x").unwrap();
        let place = Place::new(&document, offset..offset + 1);
        assert_eq!((place.line(), place.column()), (Some(2), Some(3)));
        assert_eq!(document.line(0), "a = 1");
        assert_eq!(format!("{place:?}"), "ntp.toml:2:3");
    }

    #[test]
    fn a_span_outside_the_text_or_inside_a_character_is_moved_to_a_boundary() {
        let document = Document::new("x", "ü");
        assert_eq!(Place::new(&document, 1..99).column(), Some(1));
        let empty = Document::new("x", "");
        assert_eq!(Place::new(&empty, 5..7).line(), Some(1));
    }
}
