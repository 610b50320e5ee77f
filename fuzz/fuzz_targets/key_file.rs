//! One file of symmetric keys: each line is a key or an error, independent of the other lines.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_proto::keys::fuzzing::check(data));
