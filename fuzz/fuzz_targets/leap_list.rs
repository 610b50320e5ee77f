//! One leap-second list: an accepted list is read back as it was written, and is consistent at all times.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_proto::leap::fuzzing::check(data));
