//! Everything found in the files of a configuration, bounded, and the error that a bad file becomes.
//!
//! The texts begin as upstream's do, because programs look for them: `config toml parsing
//! error: ` before what is wrong inside the file, `io error while reading config: ` before what
//! kept it from being read. All of the rest is the full list of problems with their excerpts.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Severity, Style, quote};

/// Problems and remarks, of which only the first few hundred are kept: a file of another kind
/// given by mistake must not produce a report as long as itself.
#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    omitted: usize,
}

impl Report {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let list = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning | Severity::Note => &mut self.warnings,
        };
        if list.len() < KEPT {
            list.push(diagnostic);
        } else if diagnostic.severity == Severity::Error {
            self.omitted += 1;
        }
    }

    /// Keeps only such errors.
    pub(crate) fn retain_errors(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.errors.retain(keep);
    }

    /// Takes over the errors of another reading of the same files that this one does not have.
    pub(crate) fn complete(&mut self, other: Self) {
        let key = |found: &Diagnostic| (found.place.order(), found.message.clone());
        let mut known: BTreeSet<_> = self.errors.iter().map(key).collect();
        for error in other.errors {
            if known.insert(key(&error)) {
                self.push(error);
            }
        }
        self.omitted = self.omitted.max(other.omitted);
    }

    /// The warnings if there is no error, else the error; both in the order of the files. `name` is that of the main file.
    pub(crate) fn conclude(mut self, name: &str) -> Result<Vec<Diagnostic>, LoadError> {
        self.errors.sort_by_key(|found| found.place.order());
        self.warnings.sort_by_key(|found| found.place.order());
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        Err(LoadError::Invalid(Invalid {
            name: blamed(&self.errors, name),
            problems: self.errors,
            warnings: self.warnings,
            omitted: self.omitted,
        }))
    }
}

/// Why a configuration could not be loaded. `Display` is the whole report, without colours.
#[derive(Debug)]
pub enum LoadError {
    /// The file could not be read: the operating system or the caller is to blame.
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The file was read, and what it says is not acceptable: its writer is to blame.
    Invalid(Invalid),
}

/// All that is wrong with a file.
#[derive(Debug)]
pub struct Invalid {
    name: String,
    problems: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    omitted: usize,
}

impl LoadError {
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            error,
        }
    }

    /// The problems found in the file, in its order; empty for an I/O error.
    pub fn problems(&self) -> &[Diagnostic] {
        match self {
            Self::Io { .. } => &[],
            Self::Invalid(invalid) => &invalid.problems,
        }
    }

    /// The warnings that the same file would have had if it had been acceptable.
    pub fn warnings(&self) -> &[Diagnostic] {
        match self {
            Self::Io { .. } => &[],
            Self::Invalid(invalid) => &invalid.warnings,
        }
    }

    /// The whole report; the first line is the same in every style.
    pub fn render(&self, style: Style) -> String {
        let invalid = match self {
            Self::Io { path, error } => {
                let path = quote(&path.to_string_lossy(), '`');
                return format!("io error while reading config: {error} ({path})");
            }
            Self::Invalid(invalid) => invalid,
        };
        let total = invalid.problems.len() + invalid.omitted;
        let mut text = format!(
            "config toml parsing error: {total} problem{} in {}",
            if total == 1 { "" } else { "s" },
            invalid.name
        );
        for problem in invalid.problems.iter().take(SHOWN) {
            text.push_str("\n\n");
            text.push_str(&problem.render(style));
        }
        if total > SHOWN {
            text.push_str(&format!("\n\n… and {} more", total - SHOWN));
        }
        text
    }
}

/// The files that have problems, for the head of the report.
fn blamed(problems: &[Diagnostic], main: &str) -> String {
    let files: BTreeSet<&str> = problems
        .iter()
        .filter_map(|found| found.place.file())
        .collect();
    match files.len() {
        0 => quote(main, '`'),
        1 => files.into_iter().map(|name| quote(name, '`')).collect(),
        number => format!("{number} files"),
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Invalid(_) => None,
        }
    }
}

/// Diagnostics kept of one file, errors and warnings each.
const KEPT: usize = 200;
/// Problems drawn in one report.
const SHOWN: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;

    #[test]
    fn the_report_of_a_hopeless_file_is_bounded_and_says_so() {
        let mut report = Report::default();
        for _ in 0..10_000 {
            report.push(Diagnostic::error(Place::nowhere(), "unknown field `x`"));
        }
        let text = report.conclude("ntp.toml").unwrap_err().to_string();
        assert!(text.starts_with("config toml parsing error: 10000 problems in `ntp.toml`"));
        assert!(text.ends_with("… and 9950 more"), "{text}");
    }

    #[test]
    fn an_io_error_names_the_file_after_the_operating_systems_words() {
        let error = LoadError::io(Path::new("/x.toml"), io::ErrorKind::NotFound.into());
        assert_eq!(
            error.to_string(),
            "io error while reading config: entity not found (`/x.toml`)"
        );
    }
}
