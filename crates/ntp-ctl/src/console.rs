//! Output streams of the commands and their errors.
//!
//! Standard output carries the result; failing to write it is a failure of the command.
//! Standard error carries messages; failing to write them is ignored.
//!
//! Everything that is printed passes through [`Escaping`], because text of servers, of certificates
//! and of the command line may contain what a terminal obeys. Colours are added afterwards.

use std::fmt::{self, Display};
use std::io::{self, Write};

use ntp_config::{Diagnostic, Style};
use ntp_types::escape::escape_lines;
use serde::Serialize;

/// Width of output that does not go to a terminal, in columns.
pub(crate) const DEFAULT_WIDTH: usize = 80;

/// The output streams of the program.
pub(crate) struct Console<'a> {
    pub(crate) out: Escaping<'a>,
    pub(crate) err: Escaping<'a>,
    /// Style of diagnostics on `err`.
    pub(crate) style: Style,
    /// Whether `out` supports colours.
    pub(crate) coloured: bool,
    /// Columns of `out`, at least [`DEFAULT_WIDTH`].
    pub(crate) width: usize,
}

/// Selects green (ECMA-48 SGR).
pub(crate) const GREEN: &str = "\x1b[32m";
/// Selects red.
pub(crate) const RED: &str = "\x1b[31m";
/// Selects yellow.
pub(crate) const YELLOW: &str = "\x1b[33m";
/// Selects the terminal's own colour.
pub(crate) const DEFAULT_COLOUR: &str = "\x1b[0m";

/// A stream that escapes control characters, except line feeds and tabs.
pub(crate) struct Escaping<'a> {
    stream: &'a mut dyn Write,
    /// Whether the colours above are passed on.
    coloured: bool,
}

impl<'a> Escaping<'a> {
    pub(crate) fn new(stream: &'a mut dyn Write, coloured: bool) -> Self {
        Self { stream, coloured }
    }

    pub(crate) fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(text);
        let colours = [GREEN, RED, YELLOW, DEFAULT_COLOUR];
        let mut escaped = String::with_capacity(text.len());
        let mut rest = &*text;
        while let Some(at) = rest.find('\x1b').filter(|_| self.coloured) {
            let (before, control) = rest.split_at(at);
            let colour = colours.iter().find(|colour| control.starts_with(**colour));
            let length = colour.map_or(1, |colour| colour.len());
            escaped += &escape_lines(before);
            escaped += &colour.map_or_else(|| escape_lines("\x1b"), |it| (*it).to_owned());
            rest = &control[length..];
        }
        escaped += &escape_lines(rest);
        self.stream.write_all(escaped.as_bytes())
    }

    /// For `write!`.
    pub(crate) fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(text.to_string().as_bytes())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }

    /// Returns the stream, for text that is escaped already.
    fn escaped(&mut self) -> &mut dyn Write {
        self.stream
    }
}

/// Escapes in a JSON document the control characters that JSON permits, C1 and DEL. They occur in
/// strings only.
fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}' => escaped += &format!("\\u{:04x}", u32::from(character)),
            other => escaped.push(other),
        }
    }
    escaped
}

impl Console<'_> {
    /// Prints text on standard output.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// Prints a value as JSON on standard output.
    pub(crate) fn print_json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.print_json_text(&json)
    }

    /// Prints a JSON document on standard output.
    pub(crate) fn print_json_text(&mut self, json: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out.escaped(), "{}", escape_json(json))?)
    }

    /// Prints a line on standard error.
    pub(crate) fn message(&mut self, text: impl Display) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Prints a diagnostic and an empty line on standard error.
    pub(crate) fn diagnostic(&mut self, diagnostic: &Diagnostic) {
        let text = diagnostic.render(self.style);
        self.rendered(&format!("{text}\n"));
    }

    /// Prints diagnostics, rendered in the style of standard error, and a line feed.
    pub(crate) fn rendered(&mut self, text: &str) {
        match self.style {
            Style::Plain => self.message(text),
            // The renderer replaces the control characters of the file.
            Style::Coloured => {
                let _ = writeln!(self.err.escaped(), "{text}");
            }
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Invalid command line; the text is complete.
    Usage(String),
    /// Any other error, with exit code 1.
    Error(String),
    /// As `Error`, with diagnostics in the style of standard error.
    Diagnostics(String),
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
