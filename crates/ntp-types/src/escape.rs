//! Text from outside, made safe for a log, a terminal and a metric.
//!
//! Names, error messages of other programs, certificates and command lines may contain control
//! characters, which a terminal obeys, and invisible ones, which reorder what it shows. The log
//! (events), the output of `ntp-ctl` and the labels of metrics all pass through [`Escaped`].
//! JSON has its own escapes.

use core::fmt::{self, Write};

/// Passes text on with control characters and invisible characters escaped, as in a string of Rust:
/// `\u{1b}`.
#[derive(Debug)]
pub struct Escaped<W> {
    out: W,
    /// Whether line feeds and tabs are passed on.
    lines: bool,
}

impl<W: Write> Escaped<W> {
    /// Escapes one line of text: line feeds, too.
    pub const fn line(out: W) -> Self {
        Self { out, lines: false }
    }

    /// Escapes text that is laid out in lines: all but line feeds and tabs.
    pub const fn lines(out: W) -> Self {
        Self { out, lines: true }
    }
}

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                ' '..='~' => self.out.write_char(character)?,
                '\n' | '\t' if self.lines => self.out.write_char(character)?,
                // Leaves what can be printed as it is.
                _ => write!(self.out, "{}", character.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// Returns text that is laid out in lines, escaped.
pub fn escape_lines(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // Writing to a string cannot fail.
    let _ = Escaped::lines(&mut escaped).write_str(text);
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_what_it_prints_is_not() {
        let text = "a \u{1b}[2J\r\u{9b}1m\u{7f}\0\u{202e}é ± µ\tb\n";
        assert_eq!(
            escape_lines(text),
            "a \\u{1b}[2J\\r\\u{9b}1m\\u{7f}\\0\\u{202e}é ± µ\tb\n"
        );
        let mut line = String::new();
        Escaped::line(&mut line).write_str("a\nb\tc").unwrap();
        assert_eq!(line, "a\\nb\\tc");
    }
}
