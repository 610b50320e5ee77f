//! One request of chronyc, from a Unix socket and over UDP.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_chronyc::fuzzing::check(data));
