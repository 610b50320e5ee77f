//! Reads files, with checks of their size and permissions.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::diagnostic::{Diagnostic, quote};
use crate::document::Place;

/// Reads the text of the file; warns if it is world-writable.
pub(crate) fn read(path: &Path) -> io::Result<(String, Vec<Diagnostic>)> {
    let file = fs::File::open(path)?;
    let mut warnings = Vec::new();
    if others_may(&file.metadata()?, WRITE) {
        let message = "Unrestricted config file permissions: Others can write.";
        let path = quote(&path.to_string_lossy(), ' ');
        let help = format!("run `chmod o-w {}`", path.trim());
        warnings.push(Diagnostic::warning(Place::nowhere(), message).with_help(help));
    }
    Ok((read_text(file)?, warnings))
}

/// Permission of others to read.
pub(crate) const READ: u32 = 0o004;
/// Permission of others to write.
pub(crate) const WRITE: u32 = 0o002;

/// Whether all users have the permission `what`.
#[cfg(unix)]
pub(crate) fn others_may(metadata: &fs::Metadata, what: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.mode() & what != 0
}

#[cfg(not(unix))]
pub(crate) fn others_may(_: &fs::Metadata, _: u32) -> bool {
    false
}

/// Reads a file of limited size.
pub(crate) fn read_octets(file: fs::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        let message = format!("the file is longer than {LARGEST_FILE} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Reads a text of limited size.
pub(crate) fn read_text(file: fs::File) -> io::Result<String> {
    let bytes = read_octets(file)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = format!("line {line} is not valid UTF-8");
        io::Error::new(ErrorKind::InvalidData, message)
    })
}

/// Maximum size of a file in bytes, against a device or an endless pipe given by mistake.
const LARGEST_FILE: u64 = 16 << 20;
