//! Entry point of the control program; everything is in the crate `ntp-ctl`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ntp_ctl::main()
}
