//! Where the commands speak, and how they fail.
//!
//! Standard output carries what was asked for, and failing to write it is a failure of the
//! command. Standard error carries everything else; if nobody reads that there is nobody to tell.

use std::fmt::Display;
use std::io::{self, Write};

use ntp_config::{Diagnostic, Style};
use serde::Serialize;

/// The two streams of a program.
pub(crate) struct Console<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) err: &'a mut dyn Write,
    /// How diagnostics are drawn on `err`.
    pub(crate) style: Style,
    /// Whether `out` shows colours.
    pub(crate) painted: bool,
}

impl Console<'_> {
    /// A text on standard output.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// Something for programs on standard output.
    pub(crate) fn json(&mut self, told: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(told).map_err(io::Error::from)?;
        Ok(writeln!(self.out, "{json}")?)
    }

    /// A line on standard error.
    pub(crate) fn complain(&mut self, text: impl Display) {
        let _ = writeln!(self.err, "{text}");
    }

    /// A diagnostic on standard error, with an empty line to set it apart from the next.
    pub(crate) fn show(&mut self, diagnostic: &Diagnostic) {
        self.complain(format_args!("{}\n", diagnostic.render(self.style)));
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong; the text is complete.
    Usage(String),
    /// The reason, for people; ends with code 1.
    Told(String),
    /// The same with another exit code, or for a command that has told programs already.
    Judged {
        /// Not 0.
        exit_code: u8,
        /// The reason, for people.
        text: String,
    },
    /// The daemon would not: the reason for people, and its error for programs.
    Refused(String, &'static str, serde_json::Value),
    /// Standard output could not be written.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
