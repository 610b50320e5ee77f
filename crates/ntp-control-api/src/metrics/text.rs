//! The two text formats that a Prometheus server scrapes.
//!
//! Each family has a `HELP`, a `TYPE` and possibly a `UNIT` line, then its samples;
//! `# EOF` ends the document. The formats differ in one relevant point, the declaration of a
//! counter.
//!
//! | format | a counter `x_total` is declared as |
//! |---|---|
//! | [`Format::OpenMetrics`] | `x` |
//! | [`Format::Classic`] | `x_total` |
//!
//! The second is upstream's text, a mixture of both: in the Prometheus text format, its `UNIT` and
//! `EOF` lines are comments. The lines of samples are identical in both.

use std::fmt::{self, Write};

use super::{Kind, Number};

/// Text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4, as upstream writes it.
    Classic,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Returns the media type, for the `Content-Type` of a response.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writer of a metrics document.
#[derive(Clone, Debug)]
pub struct Text {
    format: Format,
    text: String,
}

impl Text {
    /// Creates an empty document.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// Declares a family by its full name. Its samples must follow before the next declaration.
    pub fn declare(&mut self, name: &str, kind: Kind, help: &str) {
        let shown = match self.format {
            Format::OpenMetrics if kind == Kind::Counter => {
                name.strip_suffix("_total").unwrap_or(name)
            }
            Format::OpenMetrics | Format::Classic => name,
        };
        self.line(format_args!("# HELP {shown} {help}."));
        self.line(format_args!("# TYPE {shown} {}", kind.name()));
        if let Some(unit) = unit(shown) {
            self.line(format_args!("# UNIT {shown} {unit}"));
        }
    }

    /// Appends a sample. `name` is that of the family with any suffix, `labels` is empty or
    /// `{...}`.
    pub fn sample(&mut self, name: impl fmt::Display, labels: impl fmt::Display, value: Number) {
        self.line(format_args!("{name}{labels} {value}"));
    }

    /// Ends the document and returns it.
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }

    /// Appends a line. Writing to a string cannot fail.
    fn line(&mut self, content: fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(content);
        self.text.push('\n');
    }
}

/// Returns the unit if `name` ends with one that Prometheus knows.
fn unit(name: &str) -> Option<&'static str> {
    ["seconds", "bytes"].into_iter().find(|unit| {
        name.strip_suffix(unit)
            .is_some_and(|rest| rest.ends_with('_'))
    })
}

/// A label value, escaped for use between quotes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                // Readers print labels: `\u{1b}` with the backslash escaped.
                other if other.is_control() => write!(f, "\\{}", other.escape_debug())?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(count) => write!(f, "{count}"),
            Self::Real(value) if *value == f64::INFINITY => f.write_str("+Inf"),
            Self::Real(value) if *value == f64::NEG_INFINITY => f.write_str("-Inf"),
            Self::Real(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_declared_as_each_format_requires() {
        let text = |format| {
            let mut text = Text::new(format);
            text.declare("x_cpu_seconds_total", Kind::Counter, "Time");
            text.sample("x_cpu_seconds_total", "", 7u64.into());
            text.finish()
        };
        assert_eq!(
            text(Format::Classic),
            "# HELP x_cpu_seconds_total Time.\n# TYPE x_cpu_seconds_total counter\nx_cpu_seconds_total 7\n# EOF\n"
        );
        assert_eq!(
            text(Format::OpenMetrics),
            "# HELP x_cpu_seconds Time.\n# TYPE x_cpu_seconds counter\n# UNIT x_cpu_seconds seconds\n\
             x_cpu_seconds_total 7\n# EOF\n"
        );
    }

    #[test]
    fn numbers_are_formatted_as_prometheus_requires() {
        let text = |number: Number| number.to_string();
        assert_eq!(text(u64::MAX.into()), "18446744073709551615");
        assert_eq!(text((-0.25).into()), "-0.25");
        assert_eq!(text(f64::INFINITY.into()), "+Inf");
        assert_eq!(text(f64::NEG_INFINITY.into()), "-Inf");
        assert_eq!(text(f64::NAN.into()), "NaN");
    }
}
