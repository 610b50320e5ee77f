//! Input of the control socket, in pieces: calls and their parameters.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_control_api::control::fuzzing::check(data));
