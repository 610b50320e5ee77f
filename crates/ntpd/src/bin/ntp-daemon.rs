//! Entry point of the daemon; everything is in the crate `ntp-daemon`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ntp_daemon::main()
}
