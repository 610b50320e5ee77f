//! Exit codes as in upstream and systemd (`sysexits.h`).

use std::process::ExitCode;

/// Success.
pub const OK: u8 = 0;
/// Error on the command line, or an error without a code of its own.
pub const FAILURE: u8 = 1;
/// EX_SOFTWARE: the clock cannot be controlled, a panic threshold forbids a step (with
/// `on-panic = "exit"`), or the log file cannot be opened.
pub const SOFTWARE: u8 = 70;
/// EX_OSERR: a thread of the daemon, or a system call that always works, failed while the daemon
/// ran. Starting again may help; the unit does so.
pub const FAILED: u8 = 71;
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
        "The clock cannot be controlled, a port cannot be bound, the log cannot be opened; or, with `on-panic = \"exit\"`, a panic \
         threshold forbids a step: the log has both times. If the sources are right, `ntp-ctl force-sync` sets the clock. Also: the operating system gives no random \
         numbers, privileges cannot be dropped, or the daemon did not end within 10 s of SIGTERM.",
    ),
    (
        "71",
        "A part of the daemon failed while it ran: see the log for the reason. Starting again may help, and the systemd unit does so.",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_starts_a_daemon_again_that_failed_and_no_other() {
        let unit = include_str!("../../../pkg/systemd/ntpd-rs.service");
        assert!(unit.lines().any(|line| line == "Restart=on-failure"));
        let prevented = unit
            .lines()
            .filter_map(|line| line.strip_prefix("RestartPreventExitStatus="))
            .flat_map(str::split_ascii_whitespace)
            .map(|code| code.parse::<u8>().unwrap());
        let mut prevented: Vec<_> = prevented.collect();
        prevented.sort_unstable();
        assert_eq!(prevented, [FAILURE, SOFTWARE, CONFIG]);
        assert!(!prevented.contains(&FAILED));
    }
}
