//! Invariants of the server for any datagram.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn invariants_hold_for_any_datagram(
        first in any::<u8>(),
        rest in vec(any::<u8>(), 0..120),
    ) {
        let mut datagram = vec![first];
        datagram.extend(rest);
        fuzzing::check(&datagram);
    }

    /// Random octets are seldom a request with fields or a MAC; these always are.
    #[test]
    fn invariants_hold_for_any_request(
        version in prop_oneof![
            Just(Version::V1), Just(Version::V2), Just(Version::V3), Just(Version::V4)
        ],
        mode in prop_oneof![Just(Mode::Client), Just(Mode::SymmetricActive)],
        stamps in any::<[u64; 3]>(),
        poll in any::<i8>(),
        fields in vec((prop_oneof![Just(0x0104u16), Just(0x0404), any::<u16>()], 0usize..40), 0..4),
        digest in prop_oneof![Just(None), Just(Some(0)), Just(Some(16)), Just(Some(20))],
        number in prop_oneof![Just(1u32), Just(2), Just(42)],
        genuine: bool,
    ) {
        let [origin, receive, transmit] = stamps.map(NtpTimestamp::from_bits);
        let header = Header {
            poll: PollInterval::from_log2(poll),
            origin_timestamp: origin,
            receive_timestamp: receive,
            transmit_timestamp: transmit,
            ..Header::blank(version, mode)
        };
        let bodies = [3; 40];
        let fields: Vec<_> = fields
            .iter()
            .filter(|_| version == Version::V4)
            .map(|(field_type, length)| ExtensionField { field_type: *field_type, body: &bodies[..*length] })
            .collect();
        let blank = [0; 20];
        let mac = digest.map(|length| Mac {
            key_id: if length == 0 { 0 } else { number },
            digest: &blank[..length],
        });
        let mut datagram = packet(&header, &fields, mac);
        if let (true, Some(length @ 1..)) = (genuine, digest) {
            let algorithm = if length == 16 { Algorithm::Aes128Cmac } else { Algorithm::Sha1 };
            let (covered, digest) = Mac::split_packet(&mut datagram, length).unwrap();
            digest.copy_from_slice(super::signed::key(number, algorithm).sign(covered).version_4());
        }
        fuzzing::check(&datagram);
    }
}
