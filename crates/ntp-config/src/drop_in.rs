//! Drop-in directories: `ntp.toml.d` for administrators and `sources.d` for programs.
//!
//! For a main file `/etc/ntpd-rs/ntp.toml` they are `/etc/ntpd-rs/ntp.toml.d` (the name of the
//! file and `.d`) and `/etc/ntpd-rs/sources.d`. The files `*.toml` of each are read in the
//! bytewise order of their names; hidden files are ignored. Neither the directories nor the
//! main file need to exist. A directory may be a symbolic link, for programs (such as DHCP
//! clients) that can only write below `/run`.
//!
//! A file that exists and cannot be read is an error: it may be the one that restricts which
//! sources are trusted.
//!
//! Write permission to a drop-in directory is control of the clock. Therefore drop-in
//! directories inside a world-writable directory (`-c /tmp/test.toml`) are not read, with a
//! warning.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ntp_files::Exposure;

use crate::diagnostic::{Diagnostic, quote};
use crate::document::{Document, Place};
use crate::files;
use crate::layers::{Layer, Role};

/// Maximum number of files in one directory.
const MAX_FILES: usize = 1000;

/// Returns the directories of a main file, in the order in which they are read: `sources.d` and
/// that of the drop-ins.
pub fn drop_in_directories(main: &Path) -> [PathBuf; 2] {
    let mut drop_ins = main.as_os_str().to_owned();
    drop_ins.push(".d");
    [main.with_file_name("sources.d"), PathBuf::from(drop_ins)]
}

/// Reads the drop-ins of `main`; `first` is the index of the first one. The second value are
/// failures and warnings.
pub(crate) fn read(main: &Path, first: usize) -> (Vec<Layer>, Vec<Diagnostic>) {
    let (mut layers, mut diagnostics) = (Vec::new(), Vec::new());
    let roles = [Role::Sources, Role::Whole];
    for (directory, role) in drop_in_directories(main).iter().zip(roles) {
        let parent = main.parent().unwrap_or(Path::new(""));
        let files = match list(parent, directory, &mut diagnostics) {
            Ok(files) => files,
            Err(error) => {
                diagnostics.push(unreadable("the directory", directory, &error));
                continue;
            }
        };
        for path in files {
            match files::read(&path) {
                Ok((text, warnings)) => {
                    diagnostics.extend(warnings);
                    let name = path.to_string_lossy();
                    let document = Document::nth(first + layers.len(), &name, &text);
                    layers.push(Layer { document, role });
                }
                Err(error) => diagnostics.push(unreadable("the drop-in", &path, &error)),
            }
        }
    }
    (layers, diagnostics)
}

/// Lists the files to read, sorted; none if the directory does not exist, or if `parent`, which is
/// that of the main file, is world-writable.
pub(crate) fn list(
    parent: &Path,
    directory: &Path,
    diagnostics: &mut Vec<Diagnostic>,
) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) => return Ok(Vec::new()),
        // An unrelated file of that name.
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    for (checked, is_parent) in [(parent, true), (directory, false)] {
        if Exposure::of(&fs::metadata(checked)?) != Some(Exposure::Writable) {
            continue;
        }
        let quoted = quote(&checked.to_string_lossy(), '`');
        if is_parent {
            let message = format!(
                "{} is not read, because {quoted} is world-writable",
                quote(&directory.to_string_lossy(), '`')
            );
            diagnostics.push(
                Diagnostic::warning(Place::nowhere(), message)
                    .with_help("keep the configuration in a directory of its own"),
            );
            return Ok(Vec::new());
        }
        let message = format!("{quoted} is world-writable");
        let help = format!("run `chmod o-w {}`", quoted.trim_matches('`'));
        diagnostics.push(Diagnostic::warning(Place::nowhere(), message).with_help(help));
    }
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if name.ends_with(".toml") {
            files.push(path);
        } else if let Some(ending) = path.extension()
            && MISTAKEN.iter().any(|mistaken| ending == *mistaken)
        {
            let message = format!(
                "{} is not read: the names of drop-ins end in `.toml`",
                quote(&path.to_string_lossy(), '`')
            );
            diagnostics.push(Diagnostic::warning(Place::nowhere(), message));
        }
    }
    files.sort();
    if files.len() > MAX_FILES {
        let message = format!("more than {MAX_FILES} files");
        return Err(io::Error::new(ErrorKind::InvalidData, message));
    }
    Ok(files)
}

fn unreadable(what: &str, path: &Path, error: &io::Error) -> Diagnostic {
    let quoted = quote(&path.to_string_lossy(), '`');
    let diagnostic = Diagnostic::error(
        Place::nowhere(),
        format!("cannot read {what} {quoted}: {error}"),
    );
    let path = quoted.trim_matches('`');
    match error.kind() {
        ErrorKind::PermissionDenied => diagnostic.with_help(format!(
            "a reload reads it as an unprivileged user, so it must be world-readable: run `chmod a+rX {path}`"
        )),
        ErrorKind::NotFound => diagnostic.with_help("the target of the symbolic link does not exist: remove the link"),
        ErrorKind::IsADirectory => diagnostic.with_help("drop-ins are files; subdirectories are not read"),
        _ => diagnostic,
    }
}

/// Extensions of files that are probably meant as drop-ins.
const MISTAKEN: &[&str] = &["conf", "cfg", "sources", "tml", "TOML", "Toml"];
