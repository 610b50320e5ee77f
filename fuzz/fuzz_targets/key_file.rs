//! One file of symmetric keys: each line is a key or named as a fault, as it would be alone.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_proto::keys::fuzzing::check(data));
