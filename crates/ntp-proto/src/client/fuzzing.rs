//! Invariants that hold for any datagram on a client's socket. Used by the fuzz target, the corpus
//! replay and a property test.

use std::net::SocketAddr;

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, Stamp, StampSource, Stratum, SystemTime};
use ntp_types::source::SourceId;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::{Association, AssociationConfig, Datagram, ExchangeId, LocalIdentity, Reply};
use crate::wire::{Header, Reader};

/// Position of the origin timestamp in a packet (RFC 5905 section 7.3).
const ORIGIN: std::ops::Range<usize> = 24..32;

/// Passes `bytes` to an association with an open exchange: first unchanged, which must have no
/// effect unless they match the nonce, then with the right nonce, which must yield a valid result
/// whatever else they contain.
///
/// # Panics
/// If an invariant is violated.
pub fn check(bytes: &[u8]) {
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
        AssociationConfig::default(),
        now,
    );
    let mut rng = ChaCha12Rng::from_seed([7; 32]);
    let request = association
        .request(now, id, &mut rng)
        .expect("a request without protection needs no cookies");
    association.transmitted(id, stamp);
    let nonce = Header::parse(&mut Reader::new(&request.payload))
        .map_or(NtpTimestamp::ZERO, |header| header.transmit_timestamp);
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
            received,
        };
        association.receive(
            now + NtpDuration::from_millis(20),
            &datagram,
            &local_identity,
            Stratum::UNSYNCHRONIZED,
        )
    };

    let matches_nonce = bytes.get(ORIGIN) == Some(&nonce.to_bits().to_be_bytes()[..]);
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
        origin.copy_from_slice(&nonce.to_bits().to_be_bytes());
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
    }
}
