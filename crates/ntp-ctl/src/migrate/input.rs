//! Reads a configuration with all files that it includes.
//!
//! The lines of all files are joined to one text, in the order in which the daemon reads them. So a
//! converter sees one file; a number of a line stands for a place ([`Input::place`]).
//!
//! The files of chronyd's `confdir` and `sourcedir` are read in the order of their names; of files
//! with one name in several directories the first one counts. ntpsec's `includefile` takes a file
//! or a directory, relative to the file that includes it. A file that cannot be read is named with
//! the line that includes it; the others are converted.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ntp_files::MAX_TEXT;

use super::Dialect;
use super::lines::Line;

/// Depth of includes that chronyd permits; ntpd permits five.
const MAX_DEPTH: usize = 10;
/// Maximum number of files: more are a mistake, such as an include of a wrong directory.
const MAX_FILES: usize = 1000;
/// Reason why a line with includes is not converted: the reader replaces such lines otherwise.
pub(super) const NOT_READ: &str =
    "includes are read if the path of the file is given, and the line has the right words";
/// Directives that chronyd permits in the files of `sourcedir`.
const SOURCES: &[&str] = &["server", "pool", "peer"];
/// Directories of chronyd into which DHCP clients write servers.
const DHCP: &[&str] = &["/run/chrony-dhcp", "/var/run/chrony-dhcp"];

/// Directory below which all paths are looked up, as of the image of another machine.
#[derive(Clone, Debug)]
pub(crate) struct Root(pub(crate) PathBuf);

impl Root {
    /// The place of an absolute path.
    pub(crate) fn find(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            Ok(below) => self.0.join(below),
            Err(_) => path.to_owned(),
        }
    }

    /// The absolute path of a place.
    fn name(&self, place: &Path) -> PathBuf {
        let below = place.strip_prefix(&self.0);
        below.map_or_else(|_| place.to_owned(), |below| Path::new("/").join(below))
    }
}

/// A remark of the reader on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Whether its effect is lost.
    pub(super) lost: bool,
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) why: String,
}

/// The lines of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// The lines of all files.
    pub(super) text: String,
    /// Names of the files, in the order in which they were read.
    pub(super) files: Vec<String>,
    /// Index of the file and number of each line of `text`; empty if `text` is a single file.
    places: Vec<(usize, usize)>,
    pub(super) notes: Vec<Note>,
    /// Where the file of symmetric keys is copied to, if it is.
    pub(super) key_copy: Option<String>,
    /// Assignments of the service's environment: number of the line, and its text.
    pub(super) settings: Vec<(usize, String)>,
    /// Whether the servers that DHCP names are used.
    pub(super) dhcp: bool,
}

impl Input {
    /// A single file.
    pub(super) fn single(name: &str, text: &str) -> Self {
        Self {
            text: text.to_owned(),
            files: vec![name.to_owned()],
            ..Self::default()
        }
    }

    /// Formats the place of a line: with its file, if there are several.
    pub(super) fn place(&self, line: usize) -> String {
        self.places(&[line])
    }

    /// Formats the places of several lines.
    pub(super) fn places(&self, lines: &[usize]) -> String {
        let mut text = match lines.len() {
            _ if self.files.len() > 1 => "",
            1 => "line ",
            _ => "lines ",
        }
        .to_owned();
        let mut last = None;
        for (index, line) in lines.iter().enumerate() {
            let (file, number) = match self.places.get(line.wrapping_sub(1)) {
                Some(place) if self.files.len() > 1 => (Some(place.0), place.1),
                Some(place) => (None, place.1),
                None => (None, *line),
            };
            text.push_str(if index > 0 { ", " } else { "" });
            if let Some(file) = file.filter(|_| file != last) {
                text.push_str(&format!("{}:", self.files[file]));
            }
            text.push_str(&number.to_string());
            last = file;
        }
        text
    }

    /// Adds a line of a file, and returns its number.
    fn push(&mut self, file: usize, number: usize, text: &str) -> usize {
        self.text.push_str(text);
        self.text.push('\n');
        self.places.push((file, number));
        self.places.len()
    }

    /// Adds the lines of a file with assignments, which are not lines of the configuration.
    pub(super) fn add_settings(&mut self, name: &str, text: &str) {
        let file = self.files.len();
        self.files.push(name.to_owned());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                let number = self.push(file, index + 1, "");
                self.settings.push((number, line.to_owned()));
            }
        }
    }
}

/// Reads files into an [`Input`].
pub(super) struct Reader<'r> {
    root: &'r Root,
    dialect: Dialect,
    input: Input,
    /// The file that is read, and those that include it.
    stack: Vec<PathBuf>,
    octets: u64,
}

impl<'r> Reader<'r> {
    pub(super) fn new(root: &'r Root, dialect: Dialect) -> Self {
        Self {
            root,
            dialect,
            input: Input::default(),
            stack: Vec::new(),
            octets: 0,
        }
    }

    pub(super) fn finish(self) -> Input {
        self.input
    }

    /// Adds a file with all that it includes.
    ///
    /// # Errors
    /// Why this file itself cannot be read.
    pub(super) fn add(&mut self, path: &Path) -> io::Result<()> {
        self.add_file(path, false)
    }

    fn add_file(&mut self, path: &Path, sources_only: bool) -> io::Result<()> {
        let refuse = |why: &str| Err(io::Error::new(ErrorKind::InvalidInput, why));
        let place = self.root.find(path);
        let real = place.canonicalize().unwrap_or_else(|_| place.clone());
        if self.stack.contains(&real) {
            return refuse("it includes itself");
        }
        if self.stack.len() >= MAX_DEPTH {
            return refuse("includes are nested too deeply");
        }
        if self.input.files.len() >= MAX_FILES {
            return refuse("too many files are included");
        }
        let left = MAX_TEXT.saturating_sub(self.octets);
        let octets = ntp_files::read_input(&place, left)?;
        self.octets += octets.len() as u64;
        let text = String::from_utf8_lossy(&octets);
        let file = self.input.files.len();
        self.input.files.push(path.display().to_string());
        self.stack.push(real);
        let syntax = self.dialect.syntax();
        for (index, text) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let number = index + 1;
            let logical = syntax.lines(text).pop();
            let line = logical.as_ref().map(|it| syntax.split(it));
            let include = line.as_ref().and_then(|it| Include::of(self.dialect, it));
            match (include, &line) {
                (Some(include), Some(line)) => {
                    let at = self.input.push(file, number, "");
                    self.include(path, at, line.text, &include);
                }
                (None, Some(line)) if sources_only && !SOURCES.contains(&&*line.directive) => {
                    let at = self.input.push(file, number, "");
                    let why = "chronyd reads only server, pool and peer from this file";
                    self.note(false, at, line.text, why);
                }
                _ => {
                    self.input.push(file, number, text);
                }
            }
        }
        self.stack.pop();
        Ok(())
    }

    /// Adds what the line `at` of the file `from` includes.
    fn include(&mut self, from: &Path, at: usize, text: &str, include: &Include<'_>) {
        let dhcp = |path: &&str| DHCP.contains(&path.trim_end_matches('/'));
        if let Include::Directories(directories, _) = include
            && directories.iter().any(dhcp)
        {
            self.input.dhcp = true;
            return self.note(false, at, text, DHCP_REPLACEMENT);
        }
        let sources_only = matches!(include, Include::Directories(_, ".sources"));
        let mut read = 0;
        for found in include.files(self.root, from) {
            let problem = match found {
                Ok(path) => self
                    .add_file(&path, sources_only)
                    .map_err(|error| (path, error)),
                Err(problem) => Err(problem),
            };
            match problem {
                Ok(()) => read += 1,
                Err((path, error)) => {
                    let why = format!("could not read {}: {error}", path.display());
                    self.note(true, at, text, &why);
                }
            }
        }
        let converted = match read {
            0 => "no such file".to_owned(),
            1 => "its file is converted, too".to_owned(),
            count => format!("its {count} files are converted, too"),
        };
        let why = format!("{converted}; drop-ins of ntpd-rs are in /etc/ntpd-rs/ntp.toml.d");
        self.note(false, at, text, &why);
    }

    fn note(&mut self, lost: bool, line: usize, text: &str, why: &str) {
        self.input.notes.push(Note {
            lost,
            line,
            text: text.to_owned(),
            why: why.to_owned(),
        });
    }
}

/// What takes the place of a directory that DHCP clients write.
const DHCP_REPLACEMENT: &str =
    "hooks of DHCP clients call `ntp-ctl dhcp`; see `dhcp-sources` in [synchronization]";

/// What a line includes.
enum Include<'l> {
    /// The files whose names match.
    Pattern(&'l str),
    /// The files of directories with this end of their names.
    Directories(&'l [&'l str], &'static str),
    /// A file, or the files `*.conf` of a directory.
    Path(&'l str),
}

/// A file to read, or what could not be searched.
type Found = Result<PathBuf, (PathBuf, io::Error)>;

impl<'l> Include<'l> {
    fn of(dialect: Dialect, line: &'l Line<'l>) -> Option<Self> {
        let words = line.words.as_slice();
        match (dialect, line.directive.as_str(), words) {
            (Dialect::Chrony, "include", [pattern]) => Some(Self::Pattern(pattern)),
            (Dialect::Chrony, "confdir", [_, ..]) => Some(Self::Directories(words, ".conf")),
            (Dialect::Chrony, "sourcedir", [_, ..]) => Some(Self::Directories(words, ".sources")),
            (Dialect::Ntpd, "includefile", [path]) => Some(Self::Path(path)),
            _ => None,
        }
    }

    /// The files to read, in their order.
    fn files(&self, root: &Root, from: &Path) -> Vec<Found> {
        match self {
            Self::Pattern(pattern) => matches(root, pattern),
            Self::Directories(directories, suffix) => {
                let directories = directories.iter().map(|it| Path::new("/").join(it));
                in_directories(root, directories, suffix)
            }
            Self::Path(path) => {
                let path = from.parent().unwrap_or(Path::new("/")).join(path);
                match root.find(&path).is_dir() {
                    true => in_directories(root, [path], ".conf"),
                    false => vec![Ok(path)],
                }
            }
        }
    }
}

/// The files that match a pattern of glob(3); without wildcards the file itself, which must exist.
fn matches(root: &Root, pattern: &str) -> Vec<Found> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![Ok(Path::new("/").join(pattern))];
    }
    let below = glob::Pattern::escape(&root.0.to_string_lossy());
    let whole = format!(
        "{}/{}",
        below.trim_end_matches('/'),
        pattern.trim_start_matches('/')
    );
    let options = glob::MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..glob::MatchOptions::default()
    };
    let found = match glob::glob_with(&whole, options) {
        Ok(found) => found,
        Err(error) => {
            let error = io::Error::new(ErrorKind::InvalidInput, error);
            return vec![Err((pattern.into(), error))];
        }
    };
    let found = found.take(MAX_FILES + 1).map(|found| match found {
        Ok(path) => Ok(root.name(&path)),
        Err(error) => Err((root.name(error.path()), error.into())),
    });
    found.collect()
}

/// The files of directories with a suffix, in the order of their names; of files with one name the
/// first. A directory that does not exist is empty.
pub(super) fn in_directories(
    root: &Root,
    directories: impl IntoIterator<Item = PathBuf>,
    suffix: &str,
) -> Vec<Found> {
    let mut by_name = BTreeMap::new();
    let mut problems = Vec::new();
    for directory in directories {
        let entries = match std::fs::read_dir(root.find(&directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                problems.push(Err((directory, error)));
                continue;
            }
        };
        for name in entries.filter_map(|entry| Some(entry.ok()?.file_name())) {
            let shown = name.to_string_lossy();
            if shown.ends_with(suffix) && !shown.starts_with('.') {
                let path = directory.join(&name);
                by_name.entry(name).or_insert(path);
            }
        }
    }
    problems.extend(by_name.into_values().map(Ok));
    problems
}
