//! Layout of plain output: pages of labelled values, and tables.

use std::fmt::{Display, Write as _};

/// Labelled values, one in each line.
pub(crate) struct Page {
    text: String,
    width: usize,
}

impl Page {
    /// Starts a page whose labels are `width` columns wide.
    pub(crate) const fn new(width: usize) -> Self {
        let text = String::new();
        Self { text, width }
    }

    /// Adds a value.
    pub(crate) fn line(&mut self, label: &str, value: impl Display) {
        let _ = writeln!(self.text, "{label:<0$}: {value}", self.width);
    }

    /// Adds a value if there is one.
    pub(crate) fn optional(&mut self, label: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(label, value);
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A column of a table. It is as wide as its widest cell, and at least `width`.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    heading: &'static str,
    width: usize,
    is_left: bool,
}

/// Returns a left-aligned column.
pub(crate) const fn left(heading: &'static str, width: usize) -> Column {
    Column {
        heading,
        width,
        is_left: true,
    }
}

/// Returns a right-aligned column.
pub(crate) const fn right(heading: &'static str, width: usize) -> Column {
    Column {
        heading,
        width,
        is_left: false,
    }
}

/// Formats a table with its headings.
pub(crate) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let headings = columns.iter().map(|it| it.heading.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(headings).chain(rows).collect();
    let widest = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index));
        cells.map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (columns.iter().enumerate())
        .map(|(index, column)| column.width.max(widest(index).unwrap_or(0)))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = columns.iter().zip(&widths).zip(row);
        let cells = cells.map(|((column, &width), cell)| match column.is_left {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join(" ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Formats an optional cell.
pub(crate) fn or_dash(cell: Option<impl Display>) -> String {
    cell.map_or_else(|| "-".into(), |cell| cell.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_headings_cells_and_their_least_width() {
        let rows = [["±", "4321", "x"], ["long", "5", ""]];
        let rows = rows.map(|row| row.map(ToOwned::to_owned).to_vec());
        let shown = table(&[left("A", 0), right("N", 5), left("Word", 0)], rows);
        assert_eq!(shown, "A        N Word\n±     4321 x\nlong     5\n");
    }

    #[test]
    fn a_page_aligns_its_values() {
        let mut page = Page::new(6);
        page.line("A", 1);
        page.optional("B", None::<u8>);
        page.optional("  C", Some("x"));
        assert_eq!(page.into_text(), "A     : 1\n  C   : x\n");
    }
}
