//! Invariants that hold for any octets, as functions that panic if one is violated.
//!
//! They are called by the libFuzzer target in `fuzz/`, the replay of the committed corpus and
//! property tests. An entry is one octet, the length of the pieces in which the message arrives,
//! followed by the message.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    COOKIES_PER_RESPONSE, ClientExchange, Decision, NTPV4, PoolToken, ServerExchange, ServerPolicy,
    is_ntp_port,
};
use crate::nts::record::{MessageBuffer, MessageWriter, REQUEST_LIMIT, RESPONSE_LIMIT, RecordKind};
use crate::nts::{AeadAlgorithm, Cookie};

/// Address of the key-exchange server.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Token of the pool that the server accepts.
const TOKEN: &str = "tk";

/// Checks both sides and the records with `data`.
///
/// # Panics
///
/// If an invariant of [`exchange`](super) or [`record`](crate::nts::record) is violated.
pub fn check(data: &[u8]) {
    let Some((cut, message)) = data.split_first() else {
        return;
    };
    let size = usize::from(*cut).max(1);
    records_round_trip(message);
    server_result_is_independent_of_segmentation(message, size);
    client_result_is_independent_of_segmentation(message, size);
}

fn records_round_trip(message: &[u8]) {
    let mut buffer = MessageBuffer::new(RESPONSE_LIMIT);
    if buffer.push(message) != Ok(true) {
        assert!(buffer.length() <= RESPONSE_LIMIT);
        return;
    }
    let mut copy = MessageWriter::default();
    for record in buffer.records() {
        if record.critical {
            copy.critical(record.kind, record.body);
        } else {
            copy.optional(record.kind, record.body);
        }
    }
    let copy = copy.finish();
    let mut again = MessageBuffer::new(copy.len());
    assert_eq!(again.push(&copy), Ok(true));
    assert!(buffer.records().eq(again.records()));
    assert!(
        buffer
            .records()
            .all(|record| record.kind != RecordKind::END)
    );
}

fn policy() -> ServerPolicy {
    ServerPolicy {
        protocols: vec![NTPV4],
        algorithms: AeadAlgorithm::ALL.to_vec(),
        ntp_server: Some("ntp.example".into()),
        ntp_port: Some(123),
        pool_tokens: vec![PoolToken::new(TOKEN.to_owned())],
    }
}

fn server_result_is_independent_of_segmentation(message: &[u8], size: usize) {
    let policy = policy();
    let whole = ServerExchange::default().receive(&policy, message);
    let mut server = ServerExchange::default();
    let cut = message
        .chunks(size)
        .find_map(|piece| server.receive(&policy, piece));
    assert_eq!(whole, cut);
    match whole {
        Some(Decision::Grant(grant)) => {
            let cookies =
                core::array::from_fn(|_| Cookie::new(&[1; 100]).expect("of a usual length"));
            let has = |kind| request_has(message, kind);
            let of_pool = grant.fixed_keys.is_some();
            assert_eq!(
                of_pool,
                has(RecordKind::FIXED_KEY) && has(RecordKind::AUTHENTICATION)
            );
            assert!(of_pool || !grant.keep_alive);
            let response = grant.response(&policy, &cookies, false);
            let mut client = ClientExchange::new(&[grant.algorithm], PEER);
            let granted = client
                .receive(&response)
                .expect("our own response is accepted");
            assert_eq!(
                granted.map(|granted| granted.cookies),
                Some(cookies.to_vec())
            );
        }
        Some(Decision::Capabilities(question)) => {
            assert!(request_has(message, RecordKind::AUTHENTICATION));
            assert!(question.response(&policy, true).len() <= 64);
        }
        Some(Decision::Refuse(refusal)) => assert!(refusal.response.len() <= 32),
        None => assert!(message.len() <= REQUEST_LIMIT),
    }
}

/// Whether a complete request has a record of this kind.
fn request_has(message: &[u8], kind: RecordKind) -> bool {
    let mut buffer = MessageBuffer::new(REQUEST_LIMIT);
    assert_eq!(buffer.push(message), Ok(true));
    buffer.records().any(|record| record.kind == kind)
}

fn client_result_is_independent_of_segmentation(message: &[u8], size: usize) {
    let whole = ClientExchange::new(&AeadAlgorithm::ALL, PEER).receive(message);
    let mut client = ClientExchange::new(&AeadAlgorithm::ALL, PEER);
    let mut pieces = message.chunks(size).map(|piece| client.receive(piece));
    let cut = pieces
        .find(|outcome| !matches!(outcome, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(whole, cut);
    if let Ok(Some(granted)) = whole {
        assert!((1..=COOKIES_PER_RESPONSE).contains(&granted.cookies.len()));
        assert!(granted.port.is_none_or(is_ntp_port));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Messages of records that both sides know, with bodies that are often valid.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![0_u16..16, Just(1024), any::<u16>()];
        let body = prop_oneof![
            Just(vec![0, 0]),
            Just(vec![0, 15]),
            Just(vec![0, 30, 0, 15]),
            Just(TOKEN.as_bytes().to_vec()),
            Just(vec![7; 64]),
            Just(Vec::new()),
            prop::collection::vec(any::<u8>(), 0..40),
        ];
        let record = (any::<bool>(), kind, body);
        prop::collection::vec(record, 0..12).prop_map(|records| {
            let mut message = MessageWriter::default();
            for (critical, kind, body) in records {
                if critical {
                    message.critical(RecordKind(kind & 0x7fff), &body);
                } else {
                    message.optional(RecordKind(kind & 0x7fff), &body);
                }
            }
            message.finish()
        })
    }

    proptest! {
        #[test]
        fn invariants_hold_for_messages(cut in any::<u8>(), message in message()) {
            check(&[&[cut][..], &message].concat());
        }

        #[test]
        fn invariants_hold_for_any_octets(data in prop::collection::vec(any::<u8>(), 0..200)) {
            check(&data);
        }
    }
}
