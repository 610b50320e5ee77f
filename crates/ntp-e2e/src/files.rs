//! Temporary directories and files of a test.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Creates a temporary directory, removed when dropped.
///
/// # Panics
/// If it cannot be created.
pub(crate) fn temporary_directory() -> TempDir {
    match tempfile::Builder::new().prefix("ntpe2e-").tempdir() {
        Ok(directory) => directory,
        Err(error) => panic!("cannot create a temporary directory: {error}"),
    }
}

/// Writes a file.
///
/// # Panics
/// If it cannot be written.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    if let Err(error) = fs::write(path, content) {
        panic!("cannot write {}: {error}", path.display());
    }
}

/// Writes a file into `directory`. Returns its path.
///
/// # Panics
/// If it cannot be written.
pub(crate) fn write_in(directory: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = directory.path().join(name);
    write(&path, content);
    path
}
