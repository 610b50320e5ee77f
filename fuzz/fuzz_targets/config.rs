//! One configuration file: it is parsed and its problems are rendered, whatever it contains.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| ntp_config::fuzzing::check(text));
