//! Exit codes as in upstream and systemd (`sysexits.h`).

use std::process::ExitCode;

/// Success.
pub const OK: u8 = 0;
/// Error on the command line, or an error without a code of its own.
pub const FAILURE: u8 = 1;
/// EX_SOFTWARE: the clock cannot be controlled, a panic threshold was exceeded, or the log file
/// cannot be opened.
pub const SOFTWARE: u8 = 70;
/// EX_CONFIG: the configuration cannot be used.
pub const CONFIG: u8 = 78;

/// All codes and their meanings, for the manual.
pub const CODES: &[(&str, &str)] = &[
    (
        "0",
        "Terminated by SIGTERM or SIGINT, or printed help or version.",
    ),
    ("1", "The command line is invalid."),
    (
        "70",
        "The clock cannot be controlled, a port cannot be bound, the log cannot be opened; or a correction exceeded a panic \
         threshold and was not applied: the log has both times. If the sources are right, `ntp-ctl force-sync` sets the clock.",
    ),
    (
        "78",
        "The configuration cannot be used; see standard error for the reason.",
    ),
];

/// Converts a code for the operating system.
pub fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}
