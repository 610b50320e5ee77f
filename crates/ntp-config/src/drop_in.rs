//! The folders beside the main file: `ntp.toml.d` for administrators and `sources.d` for programs.
//!
//! For a main file `/etc/ntpd-rs/ntp.toml` they are `/etc/ntpd-rs/ntp.toml.d` (the file's name and `.d`) and `/etc/ntpd-rs/sources.d`. Of each
//! the files `*.toml` are read in the order of their names, byte by byte; hidden ones are passed over. Neither the folders nor the main file
//! need to exist. A folder may be a symbolic link, for programs (DHCP clients, say) that can only write below `/run`.
//!
//! A file that is there and cannot be read is an error, not something to be passed over: it may be the one that says whom not to trust.
//!
//! Whoever can write into a folder decides what time it is. So folders in a directory that everybody may write to (`-c /tmp/test.toml`) are not
//! read, which is said.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, quote};
use crate::document::{Document, Place};
use crate::layers::{Layer, Role};
use crate::load;

/// Files read of one folder; no administrator writes as many.
const MOST_FILES: usize = 1000;

/// The folders that belong to a main file: that of sources, and that of drop-ins, in the order in which they are read.
pub fn folders_of(main: &Path) -> [PathBuf; 2] {
    let mut drop_ins = main.as_os_str().to_owned();
    drop_ins.push(".d");
    [main.with_file_name("sources.d"), PathBuf::from(drop_ins)]
}

/// Reads the files of the folders that belong to `main`. The second value says what cannot be read, and what should not be as it is.
pub(crate) fn read(main: &Path, first: usize) -> (Vec<Layer>, Vec<Diagnostic>) {
    let (mut layers, mut said) = (Vec::new(), Vec::new());
    let roles = [Role::Sources, Role::Whole];
    for (folder, role) in folders_of(main).iter().zip(roles) {
        let files = match list(main, folder, &mut said) {
            Ok(files) => files,
            Err(error) => {
                said.push(unreadable("the folder", folder, &error));
                continue;
            }
        };
        for path in files {
            match load::read(&path) {
                Ok((text, warnings)) => {
                    said.extend(warnings);
                    let name = path.to_string_lossy();
                    let document = Document::nth(first + layers.len(), &name, &text);
                    layers.push(Layer { document, role });
                }
                Err(error) => said.push(unreadable("the drop-in", &path, &error)),
            }
        }
    }
    (layers, said)
}

/// The files of a folder that are to be read; none if there is no such folder.
fn list(main: &Path, folder: &Path, said: &mut Vec<Diagnostic>) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) => return Ok(Vec::new()),
        // A file of that name, where the main file lies among others.
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let around = main
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    for (directory, open) in [(around, true), (folder, false)] {
        if !load::others_may(&fs::metadata(directory)?, load::WRITE) {
            continue;
        }
        let quoted = quote(&directory.to_string_lossy(), '`');
        if open {
            let message = format!(
                "{} is not read, because everybody on this machine may write to {quoted}",
                quote(&folder.to_string_lossy(), '`')
            );
            said.push(
                Diagnostic::warning(Place::nowhere(), message)
                    .with_help("keep the configuration in a directory of its own"),
            );
            return Ok(Vec::new());
        }
        let message = format!("everybody on this machine may put files into {quoted}");
        let help = format!("run `chmod o-w {}`", quoted.trim_matches('`'));
        said.push(Diagnostic::warning(Place::nowhere(), message).with_help(help));
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
            said.push(Diagnostic::warning(Place::nowhere(), message));
        }
    }
    files.sort();
    if files.len() > MOST_FILES {
        let message = format!("more than {MOST_FILES} files");
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
            "the daemon reads it again as an unprivileged user, so it must be readable for everybody: run `chmod a+rX {path}`"
        )),
        ErrorKind::NotFound => diagnostic.with_help("a symbolic link that leads nowhere: remove it"),
        ErrorKind::IsADirectory => diagnostic.with_help("files are read, not directories in a folder"),
        _ => diagnostic,
    }
}

/// Endings that show that a file was meant to be read.
const MISTAKEN: &[&str] = &["conf", "cfg", "sources", "tml", "TOML", "Toml"];
