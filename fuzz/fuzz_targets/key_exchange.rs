//! One message of a key exchange, split into pieces: both sides and the record codec.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_proto::nts::exchange::fuzzing::check(data));
