//! One list of leap seconds: what is accepted is read back as it was written, and contradicts itself at no time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_proto::leap::fuzzing::check(data));
