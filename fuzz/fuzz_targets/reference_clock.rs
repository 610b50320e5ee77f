//! One reading of each kind of reference clock: a sample is neither from the future nor too old.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_refclock::fuzzing::check(data));
