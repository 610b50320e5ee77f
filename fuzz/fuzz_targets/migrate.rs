//! One configuration of another time daemon: it becomes TOML, whatever it contains and whoever is said to have written it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ntp_ctl::migrate::fuzzing::check(data));
