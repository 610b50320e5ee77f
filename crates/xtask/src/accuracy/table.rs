//! Tables, printed in columns or as JSON.

use core::fmt;

use serde_json::{Map, Value, json};

/// Content of a cell.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Text(String),
    /// Three significant digits with an exponent.
    Small(f64),
    /// As `Small`, with a standard error in percent.
    Measured(f64, f64),
    /// Two digits after the point.
    Ratio(f64),
    /// A share, in percent.
    Share(f64),
    /// Whole seconds.
    Seconds(f64),
    /// Empty.
    None,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Small(value) => format!("{value:.2e}"),
            Self::Measured(value, error) => format!("{value:.2e} {:>2.0}%", 100.0 * error / value),
            Self::Ratio(value) => format!("{value:.2}"),
            Self::Share(value) => format!("{:.2}", 100.0 * value),
            Self::Seconds(value) => format!("{value:.0}"),
            Self::None => "-".to_owned(),
        };
        f.pad(&text)
    }
}

impl Cell {
    /// A cell of a value that may not have been measured.
    pub(crate) fn known(value: Option<f64>, cell: impl Fn(f64) -> Self) -> Self {
        value.map_or(Self::None, cell)
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Measured(value, error) => json!({ "value": value, "standard_error": error }),
            Self::Small(value) | Self::Ratio(value) | Self::Share(value) | Self::Seconds(value) => {
                json!(value)
            }
            Self::None => Value::Null,
        }
    }
}

/// A table with a summary.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<Cell>>,
    /// Figures over all rows: description and value.
    pub(crate) summary: Vec<(String, f64)>,
}

impl Table {
    pub(crate) fn json(&self) -> Value {
        let row = |cells: &Vec<Cell>| {
            let pairs = self.head.iter().zip(cells);
            Value::Object(
                pairs
                    .map(|(head, cell)| ((*head).to_owned(), cell.json()))
                    .collect(),
            )
        };
        let summary: Map<String, Value> = self
            .summary
            .iter()
            .map(|(what, value)| (what.clone(), json!(value)))
            .collect();
        json!({
            "name": self.name,
            "title": self.title,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "summary": summary,
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {} ({})\n", self.title, self.name)?;
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells
                    .map(|cell| cell.to_string().chars().count())
                    .chain([self.head[column].chars().count()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        write!(f, "|")?;
        for (head, width) in self.head.iter().zip(&widths) {
            write!(f, " {head:>width$} |")?;
        }
        write!(f, "\n|")?;
        for width in &widths {
            write!(f, "{}:|", "-".repeat(width + 1))?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "|")?;
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, " {cell:>width$} |")?;
            }
            writeln!(f)?;
        }
        writeln!(f)?;
        for (what, value) in &self.summary {
            writeln!(f, "- {what}: {value:.3}")?;
        }
        Ok(())
    }
}
