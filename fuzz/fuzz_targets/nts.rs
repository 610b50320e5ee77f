//! NTS packets, files and cookies, sealed with the right keys where deeper code requires it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_proto::nts::fuzzing::check(data));
