//! Output formats of commands.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Plain,
    /// JSON for programs
    Json,
    /// Metrics in the text format of Prometheus (`status` only)
    Prometheus,
    /// Markdown (`report` only)
    Md,
    /// Comma-separated values (`report` only)
    Csv,
}

impl Format {
    /// Returns the name on the command line, and the command that has it.
    pub(crate) const fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Plain => ("plain", "any"),
            Self::Json => ("json", "any"),
            Self::Prometheus => ("prometheus", "status"),
            Self::Md => ("md", "report"),
            Self::Csv => ("csv", "report"),
        }
    }
}
