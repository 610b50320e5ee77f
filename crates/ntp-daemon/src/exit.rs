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

/// Every code and when it is used, for the manual.
pub const CODES: &[(&str, &str)] = &[
    (
        "0",
        "The daemon was asked to end (SIGTERM, SIGINT), or printed help or version.",
    ),
    ("1", "The command line is wrong."),
    (
        "70",
        "The clock cannot be controlled, a port cannot be bound, the log cannot be opened; or a correction was beyond a panic threshold, \
         and the clock was left alone: the log has both times. If the sources are right, `ntp-ctl force-sync` sets the clock.",
    ),
    (
        "78",
        "The configuration cannot be used; standard error says why.",
    ),
];

/// The code for the operating system.
pub fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}
