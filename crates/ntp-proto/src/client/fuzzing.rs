//! Invariants that hold for any datagram on a client's socket. Used by the fuzz target, the corpus
//! replay and a property test.

use std::net::SocketAddr;

use ntp_time::{Monotonic, NtpDuration, Stamp, StampSource, Stratum, SystemTime};
use ntp_types::source::SourceId;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::{
    Association, AssociationConfig, Datagram, ExchangeId, LocalIdentity, Reply, VersionChoice,
};
use crate::reference_ids::ServerId;
use crate::wire::{Header, Reader, Version, v5};

/// Position of the origin timestamp in a packet (RFC 5905 section 7.3), and of the client cookie of
/// version 5.
const ORIGIN: std::ops::Range<usize> = 24..32;

/// Passes `bytes` to an association of version 4 and to one of version 5.
///
/// # Panics
/// If an invariant is violated.
pub fn check(bytes: &[u8]) {
    check_version(bytes, Version::V4);
    check_version(bytes, Version::V5);
}

/// Passes `bytes` to an association with an open exchange: first unchanged, which must have no
/// effect unless they match the nonce, then with the right nonce, which must yield a valid result
/// whatever else they contain.
fn check_version(bytes: &[u8], version: Version) {
    let now = Monotonic::from_nanos(0);
    let id = ExchangeId {
        source: SourceId(0),
        sequence: 0,
    };
    let stamp = Stamp {
        time: SystemTime::from_nanos(1_700_000_000_000_000_000),
        source: StampSource::Kernel,
    };
    let mut association = Association::new(
        SocketAddr::from(([192, 0, 2, 1], 123)),
        AssociationConfig {
            version: VersionChoice::Fixed(version),
            interleaved: true,
            ..AssociationConfig::default()
        },
        now,
    );
    association.set_server_id(Some(ServerId::from_octets([9; ServerId::LEN])));
    let mut rng = ChaCha12Rng::from_seed([7; 32]);
    let request = association
        .request(now, id, &mut rng)
        .expect("a request without protection needs no cookies");
    association.transmitted(id, stamp);
    let mut reader = Reader::new(&request.payload);
    let nonce = match version {
        Version::V5 => v5::Header::parse(&mut reader).map(|header| header.client_cookie.to_bits()),
        _ => Header::parse(&mut reader).map(|header| header.transmit_timestamp.to_bits()),
    };
    let nonce = nonce.unwrap_or_default();
    let local_identity = LocalIdentity::default();
    let receive = |association: &mut Association, payload: &[u8]| {
        let received = Stamp {
            time: stamp.time + NtpDuration::from_millis(20),
            ..stamp
        };
        let datagram = Datagram {
            exchange: id,
            payload,
            truncated: false,
            hop_limit: None,
            received,
        };
        association.receive(
            now + NtpDuration::from_millis(20),
            &datagram,
            &local_identity,
            Stratum::UNSYNCHRONIZED,
        )
    };

    let matches_nonce = bytes.get(ORIGIN) == Some(&nonce.to_be_bytes()[..]);
    if !matches_nonce {
        let before = (
            association.reach(),
            association.next_poll(),
            association.schedule().poll(),
        );
        let result = receive(&mut association, bytes);
        assert!(
            result.is_err_and(|rejection| !rejection.is_server_fault()),
            "a datagram without the nonce was accepted"
        );
        assert_eq!(
            association.exchange(),
            Some(id),
            "a datagram without the nonce closed the exchange"
        );
        assert_eq!(
            before,
            (
                association.reach(),
                association.next_poll(),
                association.schedule().poll()
            )
        );
    }

    let mut reply = bytes.to_vec();
    if let Some(origin) = reply.get_mut(ORIGIN) {
        origin.copy_from_slice(&nonce.to_be_bytes());
    }
    if let Ok(Reply::Time(accepted)) = receive(&mut association, &reply) {
        let content = accepted.content;
        assert!(content.stratum.is_usable() && !content.transmit_timestamp.is_zero());
        assert!(
            association.exchange().is_none(),
            "an accepted reply closes the exchange"
        );
        assert!(
            receive(&mut association, &reply).is_err(),
            "a replayed reply was accepted"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_datagram_keeps_the_invariants(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            check(&bytes);
        }

        #[test]
        fn any_datagram_of_server_mode_keeps_the_invariants(mut bytes in proptest::collection::vec(any::<u8>(), 48..120)) {
            bytes[0] = 0x24;
            bytes.truncate(bytes.len() / 4 * 4);
            check(&bytes);
        }

        #[test]
        fn any_response_of_version_5_keeps_the_invariants(
            mut bytes in proptest::collection::vec(any::<u8>(), 48..400),
            scale in 0u8..4,
            flags in 0u8..8,
            field in prop_oneof![0xf501u16..0xf50b, Just(0xf5ff)],
        ) {
            bytes[0] = 0x2c;
            bytes[12] = scale;
            bytes[14] = 0;
            bytes[15] = flags;
            bytes.truncate(bytes.len() / 4 * 4);
            if bytes.len() >= 52 {
                let length = bytes.len() as u16 - 48;
                bytes[48..50].copy_from_slice(&field.to_be_bytes());
                bytes[50..52].copy_from_slice(&length.to_be_bytes());
            }
            check(&bytes);
        }
    }
}
