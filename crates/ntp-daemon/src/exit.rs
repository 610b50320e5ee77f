//! Exit codes, as users of upstream and of systemd know them (`sysexits.h`).

use std::process::ExitCode;

/// Everything went well.
pub const OK: u8 = 0;
/// The command line is wrong, or something without a code of its own.
pub const FAILURE: u8 = 1;
/// EX_SOFTWARE: the clock cannot be controlled, a panic threshold was exceeded, the log file can't be opened.
pub const SOFTWARE: u8 = 70;
/// EX_CONFIG: the configuration cannot be used.
pub const CONFIG: u8 = 78;

/// The code for the operating system.
pub fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}
