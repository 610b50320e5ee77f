//! Layout of plain output: pages of labelled values, and tables that fit the terminal.

use std::fmt::{Display, Write as _};

use ntp_types::status::Status;

use crate::console::DEFAULT_WIDTH;

/// Labelled values, one in each line. Long values continue below.
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
        let _ = write!(self.text, "{label:<0$}:", self.width);
        let indent = self.width + 1;
        let mut column = indent;
        for word in value.to_string().split(' ') {
            let width = word.chars().count() + 1;
            if column > indent && column + width > DEFAULT_WIDTH {
                let _ = write!(self.text, "\n{:indent$}", "");
                column = indent;
            }
            let _ = write!(self.text, " {word}");
            column += width;
        }
        self.text.push('\n');
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

/// A column of a table about items `T` of the state of the daemon.
pub(crate) struct Column<T> {
    heading: &'static str,
    cell: fn(&Status, &T) -> String,
    align: Align,
    /// 0: in every table. Others, in ascending order, as far as there is room.
    rank: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    /// Left, and truncated if the table does not fit: at most one column.
    Name,
}

impl<T> Column<T> {
    const fn new(heading: &'static str, align: Align, cell: fn(&Status, &T) -> String) -> Self {
        Self {
            heading,
            cell,
            align,
            rank: 0,
        }
    }

    /// Returns a left-aligned column.
    pub(crate) const fn left(heading: &'static str, cell: fn(&Status, &T) -> String) -> Self {
        Self::new(heading, Align::Left, cell)
    }

    /// Returns a right-aligned column.
    pub(crate) const fn right(heading: &'static str, cell: fn(&Status, &T) -> String) -> Self {
        Self::new(heading, Align::Right, cell)
    }

    /// Returns a left-aligned column that is truncated if the table does not fit.
    pub(crate) const fn name(heading: &'static str, cell: fn(&Status, &T) -> String) -> Self {
        Self::new(heading, Align::Name, cell)
    }
}

/// Shows the column only if there is room for it and those of lower rank.
#[expect(
    clippy::needless_pass_by_value,
    reason = "columns are constants, built once"
)]
pub(crate) const fn if_room<T>(rank: u8, column: Column<T>) -> Column<T> {
    Column { rank, ..column }
}

/// Least width of a truncated name.
const MIN_NAME: usize = 12;

/// Formats a table with its headings in at most `width` columns, as far as those of rank 0 fit.
pub(crate) fn table<'t, T: 't>(
    width: usize,
    columns: &[Column<T>],
    status: &Status,
    items: impl IntoIterator<Item = &'t T>,
) -> String {
    let headings = columns.iter().map(|it| it.heading.to_owned()).collect();
    let row = |item: &T| columns.iter().map(|it| (it.cell)(status, item)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(headings)
        .chain(items.into_iter().map(row))
        .collect();
    let length = |cell: &String| cell.chars().count();
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|index| {
            rows.iter()
                .map(|row| length(&row[index]))
                .max()
                .unwrap_or(0)
        })
        .collect();
    // Every column but the first has a space before it.
    let mut total = 0;
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|index| columns[*index].rank);
    let mut is_shown = vec![false; columns.len()];
    for index in order {
        let needed = widths[index] + usize::from(total > 0);
        if columns[index].rank > 0 && total + needed > width {
            break;
        }
        is_shown[index] = true;
        total += needed;
    }
    if let Some(name) = columns.iter().position(|it| it.align == Align::Name) {
        let excess = total.saturating_sub(width);
        widths[name] = widths[name].min(MIN_NAME.max(widths[name].saturating_sub(excess)));
    }
    let mut text = String::new();
    for row in &rows {
        let cells = (0..columns.len()).filter(|index| is_shown[*index]);
        let cells = cells.map(|index| {
            let (cell, width) = (&row[index], widths[index]);
            match columns[index].align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
                Align::Name => format!("{:<width$}", truncate(cell, width)),
            }
        });
        let line = cells.collect::<Vec<_>>().join(" ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Truncates `text` to `width` characters, the last one an ellipsis.
fn truncate(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Formats an optional cell.
pub(crate) fn or_dash(cell: Option<impl Display>) -> String {
    cell.map_or_else(|| "-".into(), |cell| cell.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<[&str; 4]>; 4] = [
        Column::name("A", |_, row| row[0].to_owned()),
        if_room(2, Column::right("N", |_, row| row[1].to_owned())),
        Column::left("Word", |_, row| row[2].to_owned()),
        if_room(1, Column::right("M", |_, row| row[3].to_owned())),
    ];

    #[test]
    fn a_table_has_the_columns_for_which_there_is_room() {
        let rows = [
            ["±", "4321", "x", "1"],
            ["a name of 20 letters", "5", "", "22"],
        ];
        let shown = |width| table(width, &COLUMNS, &Status::default(), &rows);
        let wide = "\
A                       N Word  M
±                    4321 x     1
a name of 20 letters    5      22
";
        assert_eq!(shown(33), wide);
        let narrower = "\
A                    Word  M
±                    x     1
a name of 20 letters      22
";
        assert_eq!(shown(32), narrower);
        let narrow = "A            Word\n±            x\na name of 2…\n";
        assert_eq!(shown(17), narrow);
        assert_eq!(shown(5), narrow);
    }

    #[test]
    fn a_page_aligns_its_values_and_wraps_long_ones() {
        let mut page = Page::new(6);
        page.line("A", 1);
        page.optional("B", None::<u8>);
        page.optional("  C", Some("x"));
        page.line("D", "word ".repeat(20).trim_end());
        let text = page.into_text();
        assert!(
            text.starts_with("A     : 1\n  C   : x\nD     : word word"),
            "{text}"
        );
        assert!(
            text.ends_with("word\n        word word word word word word\n"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.len() <= DEFAULT_WIDTH),
            "{text}"
        );
    }
}
