//! `ntp-ctl migrate`: another time daemon's configuration becomes an `ntp.toml` that does the same.
//!
//! What has an equivalent is carried over. Every line that has none ends as a comment with its number and the reason, so
//! that nothing is lost in silence: those after which something will be different first, apart from those that need nothing because
//! ntpd-rs does it anyway or in another way. The result is a proposal for a person to read.
//!
//! The formats are alike: a directive a line, words after it. `chrony`, `ntpd`, `openntpd` and `timesyncd` know their
//! directives; `draft` holds what came of them.

mod chrony;
mod draft;
pub mod fuzzing;
mod ntpd;
mod openntpd;
mod source;
mod timesyncd;

use std::fs;
use std::path::Path;

use crate::console::{Console, Failure};

/// Reads the file and prints what it becomes.
pub(crate) fn run(
    path: &Path,
    dialect: Option<Dialect>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let bytes = fs::read(path)
        .map_err(|error| Failure::Told(format!("{} cannot be read: {error}", path.display())))?;
    let text = String::from_utf8_lossy(&bytes);
    let Some(dialect) = dialect.or_else(|| Dialect::of(path, &text)) else {
        return Err(Failure::Told(format!(
            "it cannot be told whose configuration {} is; say it with --from chrony, ntpd, openntpd or timesyncd",
            path.display()
        )));
    };
    let migrated = migrate(dialect, &path.display().to_string(), &text);
    console.out.write_all(migrated.toml.as_bytes())?;
    if migrated.left > 0 {
        let (lines, have) = if migrated.left == 1 {
            ("line", "has")
        } else {
            ("lines", "have")
        };
        console.complain(format_args!(
            "{} {lines} of {} {have} no equivalent; each stands as a comment in the result, with the reason",
            migrated.left,
            path.display()
        ));
    }
    Ok(())
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dialect {
    /// chronyd's chrony.conf
    Chrony,
    /// ntpd's ntp.conf, of the reference implementation or ntpsec
    Ntpd,
    /// OpenNTPD's ntpd.conf
    Openntpd,
    /// systemd-timesyncd's timesyncd.conf
    Timesyncd,
}

impl Dialect {
    /// Guesses by the name of the file, then by what stands in it.
    pub(crate) fn of(path: &Path, text: &str) -> Option<Self> {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        if name.contains("chrony") {
            return Some(Self::Chrony);
        }
        if name.contains("timesyncd") {
            return Some(Self::Timesyncd);
        }
        if name.contains("openntpd") || name == "ntpd.conf" {
            return Some(Self::Openntpd);
        }
        if name.starts_with("ntp.") || name.contains("ntpsec") || name.contains("ntpd") {
            return Some(Self::Ntpd);
        }
        let has = |words: &[&str]| {
            text.lines().any(|line| {
                let first = line.split_whitespace().next().unwrap_or_default();
                words.iter().any(|word| first.eq_ignore_ascii_case(word))
            })
        };
        if has(&["[Time]"]) {
            Some(Self::Timesyncd)
        } else if has(&[
            "makestep",
            "rtcsync",
            "sourcedir",
            "confdir",
            "allow",
            "ntsdumpdir",
        ]) {
            Some(Self::Chrony)
        } else if has(&["restrict", "tinker", "tos", "fudge", "statsdir", "filegen"]) {
            Some(Self::Ntpd)
        } else if has(&["servers", "sensor", "constraint", "constraints"]) {
            Some(Self::Openntpd)
        } else {
            None
        }
    }
}

/// What came of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Migrated {
    /// The text of `ntp.toml`.
    pub(crate) toml: String,
    /// How many lines have no equivalent.
    pub(crate) left: usize,
}

/// Translates `text`, which was read from `origin`.
pub(crate) fn migrate(dialect: Dialect, origin: &str, text: &str) -> Migrated {
    let mut draft = match dialect {
        Dialect::Chrony => chrony::draft(text),
        Dialect::Ntpd => ntpd::draft(text),
        Dialect::Openntpd => openntpd::draft(text),
        Dialect::Timesyncd => timesyncd::draft(text),
    };
    draft.settle();
    Migrated {
        left: draft.left(),
        toml: draft.render(origin),
    }
}

/// A directive and its words, with the number of its line.
struct Line<'a> {
    number: usize,
    text: &'a str,
    /// In lower case.
    directive: String,
    words: Vec<&'a str>,
}

/// The lines that say something; a comment begins with one of `marks`.
fn lines<'a>(text: &'a str, marks: &'static [char]) -> impl Iterator<Item = Line<'a>> {
    text.lines().enumerate().filter_map(move |(index, text)| {
        let text = text.trim();
        if text.starts_with(marks) {
            return None;
        }
        // Behind a directive only '#' begins a comment.
        let said = text.split(" #").next().unwrap_or(text).trim();
        let mut words = said.split_whitespace();
        let directive = words.next()?.to_ascii_lowercase();
        Some(Line {
            number: index + 1,
            text: said,
            directive,
            words: words.collect(),
        })
    })
}

/// Beyond this a number is no setting, and written out it would be no number of TOML any more.
const LARGEST: f64 = 1e15;

/// A number as a setting may have it: `nan` and `inf` are words to Rust's parser, and to TOML's in another spelling.
fn number(word: &str) -> Option<f64> {
    let number = word.parse::<f64>().ok()?;
    (number.abs() <= LARGEST).then_some(number)
}

#[cfg(test)]
mod tests;
