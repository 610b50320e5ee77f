//! The answer of a name server to a query for SRV records.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| ntp_nts_ke::srv::fuzzing::check(octets));
