//! All problems of the files of a configuration, bounded, and the error of an invalid file.
//!
//! The texts have the prefixes of upstream, because programs match them: `config toml parsing
//! error: ` for problems inside the file, `io error while reading config: ` for failures to read
//! it. The full list of problems with their excerpts follows.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostic::{self, Diagnostic, Severity, Style, quote};

/// Errors and warnings, limited in number: a file of another kind given by mistake must not
/// produce a report as long as itself.
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

    pub(crate) const fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Keeps only errors for which `keep` is true.
    pub(crate) fn retain_errors(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.errors.retain(keep);
    }

    /// Adds the errors that only another pass over the same files found.
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

    /// Returns the warnings, or the error if there is any; both in the order of the files. `name`
    /// is the name of the main file.
    pub(crate) fn finish(mut self, name: &str) -> Result<Vec<Diagnostic>, LoadError> {
        diagnostic::sort(&mut self.errors);
        diagnostic::sort(&mut self.warnings);
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        Err(LoadError::Invalid(Invalid {
            name: affected_files(&self.errors, name),
            problems: self.errors,
            warnings: self.warnings,
            omitted: self.omitted,
        }))
    }
}

/// Why a configuration could not be loaded. `Display` is the whole report, without colours.
#[derive(Debug)]
pub enum LoadError {
    /// The file could not be read.
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The file is invalid.
    Invalid(Invalid),
}

/// All problems of a file.
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

    /// The problems in the order of the file; empty for an I/O error.
    pub fn problems(&self) -> &[Diagnostic] {
        match self {
            Self::Io { .. } => &[],
            Self::Invalid(invalid) => &invalid.problems,
        }
    }

    /// The warnings, in the order of the file; empty for an I/O error.
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

/// The files that have problems, for the first line of the report.
fn affected_files(problems: &[Diagnostic], main: &str) -> String {
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

/// Maximum number of errors and of warnings that are kept.
const KEPT: usize = 200;
/// Maximum number of problems shown in a report.
const SHOWN: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;

    #[test]
    fn reports_with_many_problems_are_truncated() {
        let mut report = Report::default();
        for _ in 0..10_000 {
            report.push(Diagnostic::error(Place::nowhere(), "unknown field `x`"));
        }
        let text = report.finish("ntp.toml").unwrap_err().to_string();
        assert!(text.starts_with("config toml parsing error: 10000 problems in `ntp.toml`"));
        assert!(text.ends_with("… and 9950 more"), "{text}");
    }

    #[test]
    fn io_errors_end_with_the_name_of_the_file() {
        let error = LoadError::io(Path::new("/x.toml"), io::ErrorKind::NotFound.into());
        assert_eq!(
            error.to_string(),
            "io error while reading config: entity not found (`/x.toml`)"
        );
    }
}
