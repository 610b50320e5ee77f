//! What standard output is.

use std::{env, io};

/// Returns whether standard output goes to the journal of systemd: its device and inode are those
/// in the variable `JOURNAL_STREAM` (systemd.exec(5)). A process may inherit the variable and write
/// elsewhere.
pub fn stdout_is_journal() -> bool {
    let Some(journal) = env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let output = rustix::fs::fstat(io::stdout());
    output.is_ok_and(|it| journal == *format!("{}:{}", it.st_dev, it.st_ino))
}
