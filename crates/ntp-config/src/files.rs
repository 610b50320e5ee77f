//! Reads the files of a configuration, with checks of their permissions.

use std::io;
use std::path::Path;

use ntp_files::{Exposure, MAX_TEXT, RegularFile};

use crate::diagnostic::{Diagnostic, quote};
use crate::document::Place;

/// Reads the text of the file; warns if it is world-writable.
pub(crate) fn read(path: &Path) -> io::Result<(String, Vec<Diagnostic>)> {
    let file = RegularFile::open(path)?;
    let mut warnings = Vec::new();
    if file.exposure() == Some(Exposure::Writable) {
        let message = "Unrestricted config file permissions: Others can write.";
        let path = quote(&path.to_string_lossy(), ' ');
        let help = format!("run `chmod o-w {}`", path.trim());
        warnings.push(Diagnostic::warning(Place::nowhere(), message).with_help(help));
    }
    Ok((file.read_text(MAX_TEXT)?, warnings))
}
