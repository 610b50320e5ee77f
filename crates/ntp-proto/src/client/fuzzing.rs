//! What must hold for any datagram that reaches a client's socket; called by the fuzz target, the corpus replay and a property test.

use std::net::SocketAddr;

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, Stamp, StampSource, Stratum, SystemTime};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::{Association, LocalIdentity, Reply, Terms};
use crate::engine::{Datagram, ExchangeId, SourceId};
use crate::wire::{Header, Reader};

/// Where the origin timestamp stands in a packet (RFC 5905 section 7.3).
const ORIGIN: std::ops::Range<usize> = 24..32;

/// Feeds `bytes` to an association with an open exchange, first as they are, which must change nothing unless they
/// happen to be an answer, and then with the right nonce, which must give a sound verdict whatever else they say.
///
/// # Panics
/// If a promise is broken.
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
        Terms::default(),
        now,
    );
    let mut rng = ChaCha12Rng::from_seed([7; 32]);
    let request = association
        .request(now, id, &mut rng)
        .expect("without protection there is nothing to run out of");
    association.transmitted(id, stamp);
    let nonce = Header::parse(&mut Reader::new(&request.payload))
        .map_or(NtpTimestamp::ZERO, |header| header.transmit_timestamp);
    let us = LocalIdentity::default();
    let arrive = |association: &mut Association, payload: &[u8]| {
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
            &us,
            Stratum::UNSYNCHRONIZED,
        )
    };

    let lucky = bytes.get(ORIGIN) == Some(&nonce.to_bits().to_be_bytes()[..]);
    if !lucky {
        let before = (
            association.reach(),
            association.next_poll(),
            association.schedule().poll(),
        );
        let verdict = arrive(&mut association, bytes);
        assert!(
            verdict.is_err_and(|rejection| !rejection.blames_server()),
            "a stranger's datagram was listened to"
        );
        assert_eq!(
            association.exchange(),
            Some(id),
            "a stranger's datagram used up the exchange"
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

    let mut answer = bytes.to_vec();
    if let Some(origin) = answer.get_mut(ORIGIN) {
        origin.copy_from_slice(&nonce.to_bits().to_be_bytes());
    }
    if let Ok(Reply::Time(accepted)) = arrive(&mut association, &answer) {
        let header = accepted.header;
        assert!(header.stratum.is_usable() && !header.transmit_timestamp.is_zero());
        assert!(
            association.exchange().is_none(),
            "an exchange has one answer"
        );
        assert!(
            arrive(&mut association, &answer).is_err(),
            "a replay was listened to"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_datagram(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            check(&bytes);
        }

        #[test]
        fn anything_that_looks_like_a_reply(mut bytes in proptest::collection::vec(any::<u8>(), 48..120)) {
            bytes[0] = 0x24;
            bytes.truncate(bytes.len() / 4 * 4);
            check(&bytes);
        }
    }
}
