//! Output streams of the commands and their errors.
//!
//! Standard output carries the result; failing to write it is a failure of the command.
//! Standard error carries messages; failing to write them is ignored.

use std::fmt::Display;
use std::io::{self, Write};

use ntp_config::{Diagnostic, Style};
use serde::Serialize;

/// Width of output that does not go to a terminal, in columns.
pub(crate) const DEFAULT_WIDTH: usize = 80;

/// The output streams of the program.
pub(crate) struct Console<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) err: &'a mut dyn Write,
    /// Style of diagnostics on `err`.
    pub(crate) style: Style,
    /// Whether `out` supports colours.
    pub(crate) coloured: bool,
    /// Columns of `out`, at least [`DEFAULT_WIDTH`].
    pub(crate) width: usize,
}

impl Console<'_> {
    /// Prints text on standard output.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// Prints a value as JSON on standard output.
    pub(crate) fn print_json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        Ok(writeln!(self.out, "{json}")?)
    }

    /// Prints a line on standard error.
    pub(crate) fn message(&mut self, text: impl Display) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Prints a diagnostic and an empty line on standard error.
    pub(crate) fn diagnostic(&mut self, diagnostic: &Diagnostic) {
        self.message(format_args!("{}\n", diagnostic.render(self.style)));
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Invalid command line; the text is complete.
    Usage(String),
    /// Any other error, with exit code 1.
    Error(String),
    /// An error with its own exit code.
    WithExitCode {
        /// Not 0.
        exit_code: u8,
        /// Message.
        text: String,
    },
    /// An error of a command that has printed its result already, also as JSON.
    Reported {
        /// Not 0.
        exit_code: u8,
        /// Message.
        text: String,
    },
    /// The daemon refused: message, name of the error and its parameters.
    Refused(String, &'static str, serde_json::Value),
    /// Standard output could not be written.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
