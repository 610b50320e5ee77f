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
mod input;
mod lines;
mod locate;
mod ntpd;
mod openntpd;
mod paths;
mod ref_clock;
mod service;
mod source;
mod table;
mod timesyncd;
mod write;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::console::{Console, Failure};
use input::{Input, Root};
use lines::Syntax;
use table::Conversion;

/// Options of `migrate`.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Migrate {
    /// Directory or file to convert, such as /etc/chrony or /etc/ntp.conf
    path: PathBuf,
    /// Daemon of the file, if not clear from its name
    #[arg(long, value_name = "DAEMON")]
    from: Option<Dialect>,
    /// Replace the configuration file, copy the key file beside it, and take over the frequency of
    /// the clock; the old file is kept as ntp.toml.old
    #[arg(long, short)]
    write: bool,
    /// Look up all paths below this directory, as for the image of another machine
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = "/",
        hide_default_value = true
    )]
    root: PathBuf,
}

/// Converts the configuration and prints the result.
pub(crate) fn run(
    config: Option<&Path>,
    options: &Migrate,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let root = Root(options.root.clone());
    let path = &options.path;
    let (dialect, mut input) = locate::read(&root, path, options.from).map_err(Failure::Error)?;
    let target = config.unwrap_or_else(|| Path::new(ntp_config::DEFAULT_PATH));
    if options.write {
        input.key_copy = Some(write::key_file(target).display().to_string());
    }
    let migrated = migrate(dialect, &input);
    let written = match options.write {
        true => write::write(&migrated, &root, target)?,
        false => Vec::new(),
    };
    if json {
        return console.print_json(&json!({
            "done": true, "toml": migrated.toml, "unsupported_lines": migrated.unsupported,
            "files": input.files, "written": written,
        }));
    }
    if !options.write {
        console.print(&migrated.toml)?;
    }
    for file in &written {
        writeln!(console.out, "Written: {}", file.display())?;
    }
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
    /// Syntax of its file.
    fn syntax(self) -> &'static Syntax {
        match self {
            Self::Chrony => &chrony::Chrony::SYNTAX,
            Self::Ntpd => &ntpd::Ntpd::SYNTAX,
            Self::Openntpd => &openntpd::Openntpd::SYNTAX,
            Self::Timesyncd => &timesyncd::Timesyncd::SYNTAX,
        }
    }

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
    dialect: Dialect,
    /// The text of `ntp.toml`.
    pub(crate) toml: String,
    /// Number of lines and options without an equivalent.
    pub(crate) unsupported: usize,
    /// The file of symmetric keys that it uses.
    key_file: Option<String>,
    /// File with the frequency of the oscillator.
    drift_file: Option<String>,
}

/// Converts the configuration at a path to `ntp.toml`; without a dialect, that is found out. Returns
/// it with the number of lines without an equivalent.
///
/// # Errors
/// A message.
pub(crate) fn convert(path: &Path, dialect: Option<Dialect>) -> Result<(String, usize), String> {
    let (dialect, input) = locate::read(&Root("/".into()), path, dialect)?;
    let migrated = migrate(dialect, &input);
    Ok((migrated.toml, migrated.unsupported))
}

pub(crate) use timesyncd::span as time_span;

/// Converts a configuration.
fn migrate(dialect: Dialect, input: &Input) -> Migrated {
    let mut draft = match dialect {
        Dialect::Chrony => chrony::draft(input),
        Dialect::Ntpd => ntpd::draft(input),
        Dialect::Openntpd => openntpd::draft(input),
        Dialect::Timesyncd => timesyncd::draft(input),
    };
    draft.finish(input);
    Migrated {
        dialect,
        unsupported: draft.lost(),
        toml: draft.render(input),
        key_file: draft.key_file().map(str::to_owned),
        drift_file: draft.drift_file,
    }
}

/// Converts the text of a single file.
#[cfg(any(test, fuzzing))]
fn migrate_text(dialect: Dialect, text: &str) -> Migrated {
    migrate(dialect, &Input::single("the file", text))
}

#[cfg(test)]
mod tests;
