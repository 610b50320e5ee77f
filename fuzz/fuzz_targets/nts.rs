//! What stands in NTS packets, files and cookies, sealed with the right keys where that is what it takes to get further.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_proto::nts::fuzzing::check(data));
