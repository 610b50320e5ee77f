//! `ntp-ctl migrate`: converts the configuration of another time daemon to an equivalent
//! `ntp.toml`.
//!
//! Settings with an equivalent are converted. Every other line becomes a comment with its number
//! and the reason, so that nothing is lost silently: first the lines whose effect is lost, then
//! those that are not needed because ntpd-rs has the effect by default or in another way. The
//! result is a proposal for review.
//!
//! The formats are similar: one directive per line, followed by words. `lines` splits them. `chrony`,
//! `ntpd`, `openntpd` and `timesyncd` have tables of their directives and options (`table`), which
//! name every one that their daemon has; `draft` holds the result.

mod access;
mod chrony;
#[cfg(test)]
mod completeness;
mod draft;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod lines;
mod ntpd;
mod openntpd;
mod ref_clock;
mod source;
mod table;
mod timesyncd;

use std::path::Path;

use ntp_files::MAX_TEXT;
use serde_json::json;

use crate::console::{Console, Failure};

/// Converts the file and prints the result.
pub(crate) fn run(
    path: &Path,
    dialect: Option<Dialect>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let bytes = ntp_files::read_input(path, MAX_TEXT)
        .map_err(|error| Failure::Error(format!("Could not read {}: {error}", path.display())))?;
    let text = String::from_utf8_lossy(&bytes);
    let Some(dialect) = dialect.or_else(|| Dialect::detect(path, &text)) else {
        return Err(Failure::Error(format!(
            "Unknown format of {}; use --from chrony, ntpd, openntpd or timesyncd",
            path.display()
        )));
    };
    let migrated = migrate(dialect, &path.display().to_string(), &text);
    if json {
        return console.print_json(&json!({
            "done": true, "toml": migrated.toml, "unsupported_lines": migrated.unsupported,
        }));
    }
    console.print(&migrated.toml)?;
    if migrated.unsupported > 0 {
        console.message(format_args!(
            "{}: {} without an equivalent; see the comments at the end",
            path.display(),
            match migrated.unsupported {
                1 => "1 line".to_owned(),
                count => format!("{count} lines"),
            }
        ));
    }
    Ok(())
}

/// Daemon that a file belongs to.
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
    /// Detects the daemon by the name of the file, then by its content.
    pub(crate) fn detect(path: &Path, text: &str) -> Option<Self> {
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

/// A converted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Migrated {
    /// The text of `ntp.toml`.
    pub(crate) toml: String,
    /// Number of lines and options without an equivalent.
    pub(crate) unsupported: usize,
}

/// Converts `text`, which was read from `origin`.
pub(crate) fn migrate(dialect: Dialect, origin: &str, text: &str) -> Migrated {
    let mut draft = match dialect {
        Dialect::Chrony => chrony::draft(text),
        Dialect::Ntpd => ntpd::draft(text),
        Dialect::Openntpd => openntpd::draft(text),
        Dialect::Timesyncd => timesyncd::draft(text),
    };
    draft.finish();
    Migrated {
        unsupported: draft.lost(),
        toml: draft.render(origin),
    }
}

#[cfg(test)]
mod tests;
