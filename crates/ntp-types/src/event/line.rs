//! What precedes the message on a line of a log.

use core::fmt::Write as _;

use ntp_time::SystemTime;

use super::Severity;

/// What precedes the messages of a log.
///
/// Time and level have the layout of upstream: UTC with microseconds, and the level in five columns.
/// The journal of systemd stores time and level of each line itself. It takes the level from a prefix
/// as in sd-daemon(3), so that `journalctl -p warning` works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineStart {
    /// Time and level.
    Plain,
    /// The same in the colours of a terminal.
    Coloured,
    /// The level for the journal.
    Journal,
}

impl LineStart {
    /// Begins a line.
    pub fn line(self, severity: Severity, time: SystemTime) -> String {
        let (level, color, priority) = match severity {
            Severity::Error => ("ERROR", 31, 3),
            Severity::Warning => (" WARN", 33, 4),
            Severity::Info => (" INFO", 32, 6),
            Severity::Debug => ("DEBUG", 34, 7),
        };
        let time = time.to_string();
        // Truncates nanoseconds to microseconds.
        let time = time.get(..time.len().saturating_sub(4)).unwrap_or(&time);
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Plain => write!(line, "{time}Z {level} "),
            Self::Coloured => write!(
                line,
                "\u{1b}[2m{time}Z\u{1b}[0m \u{1b}[{color}m{level}\u{1b}[0m "
            ),
            Self::Journal => write!(line, "<{priority}>"),
        };
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_starts_as_its_readers_expect() {
        let time = SystemTime::from_nanos(1_780_315_200_123_456_789);
        for (start, severity, expected) in [
            (
                LineStart::Plain,
                Severity::Info,
                "2026-06-01T12:00:00.123456Z  INFO ",
            ),
            (
                LineStart::Plain,
                Severity::Error,
                "2026-06-01T12:00:00.123456Z ERROR ",
            ),
            (
                LineStart::Coloured,
                Severity::Warning,
                "\u{1b}[2m2026-06-01T12:00:00.123456Z\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m ",
            ),
            (LineStart::Journal, Severity::Debug, "<7>"),
            (LineStart::Journal, Severity::Error, "<3>"),
        ] {
            assert_eq!(start.line(severity, time), expected);
        }
    }
}
