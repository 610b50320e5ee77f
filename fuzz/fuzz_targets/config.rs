//! One configuration file: parsing it and rendering its problems.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| ntp_config::fuzzing::check(text));
