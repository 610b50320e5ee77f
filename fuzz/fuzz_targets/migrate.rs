//! One configuration of another time daemon, in each of the supported formats: the output is TOML.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_ctl::migrate::fuzzing::check(data));
