//! One datagram: the codec, then the server and the client.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    ntp_proto::wire::fuzzing::check(datagram);
    ntp_proto::server::fuzzing::check(datagram);
    ntp_proto::client::fuzzing::check(datagram);
});
