//! Invariants of the server for any datagram.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::v5;

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

    /// Requests of version 5 with fields of every kind.
    #[test]
    fn invariants_hold_for_any_request_of_version_5(
        scale in 0u8..4,
        flags in 0u8..8,
        cookies in vec(any::<u8>(), 32),
        name in prop_oneof![9 => Just(v5::draft::NAMES[0]), 1 => Just("other")],
        fields in vec(
            (prop_oneof![0xf501u16..0xf50a, Just(0x0104), Just(0x0204), Just(0x0404), any::<u16>()], 0usize..40),
            0..5,
        ),
        digest in prop_oneof![Just(None), Just(Some(42u32)), Just(Some(7))],
        genuine: bool,
    ) {
        let mut datagram = vec![0; 16];
        datagram[0] = 5 << 3 | 3;
        datagram[12] = scale;
        datagram[15] = flags;
        datagram.extend(cookies);
        datagram.resize(48, 0);
        let mut buffer = [0; 1024];
        let mut writer = Writer::new(&mut buffer);
        v5::Field::Draft(name.as_bytes()).emit(&mut writer).unwrap();
        for (field_type, length) in fields {
            v5::emit_field(field_type, &[3; 40][..length], &mut writer).unwrap();
        }
        if let Some(key_id) = digest {
            let mac = v5::Mac { key_id, digest: &[0; 16] };
            v5::Field::Mac(mac).emit(&mut writer).unwrap();
        }
        datagram.extend(writer.finish().iter());
        if let (true, Some(number)) = (genuine, digest) {
            let (covered, digest) = v5::Mac::split_packet(&mut datagram, 16).unwrap();
            let key = super::signed::key(number, Algorithm::Aes128Cmac);
            digest.copy_from_slice(key.sign(covered).whole());
        }
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
