//! What must hold for any octets at all, as functions that panic when it does not.
//!
//! The libFuzzer target in `fuzz/`, the replay of the committed corpus and property tests share them. An entry is a
//! message, after one octet that says into pieces of which length it is cut.

use super::{COOKIES, ClientExchange, Decision, ServerExchange, ServerPolicy};
use crate::nts::record::{Inbox, MessageWriter, REQUEST_LIMIT, RESPONSE_LIMIT, RecordKind};
use crate::nts::{AeadAlgorithm, Cookie};

/// Checks both sides and the records against `data`.
///
/// # Panics
/// If a promise of [`exchange`](super) or [`record`](crate::nts::record) is broken.
pub fn check(data: &[u8]) {
    let Some((cut, message)) = data.split_first() else {
        return;
    };
    let size = usize::from(*cut).max(1);
    records_survive_a_copy(message);
    the_server_decides_alike_however_it_is_cut(message, size);
    the_client_decides_alike_however_it_is_cut(message, size);
}

fn records_survive_a_copy(message: &[u8]) {
    let mut inbox = Inbox::new(RESPONSE_LIMIT);
    if inbox.push(message) != Ok(true) {
        assert!(inbox.length() <= RESPONSE_LIMIT);
        return;
    }
    let mut copy = MessageWriter::default();
    for record in inbox.records() {
        if record.critical {
            copy.critical(record.kind, record.body);
        } else {
            copy.optional(record.kind, record.body);
        }
    }
    let copy = copy.finish();
    let mut again = Inbox::new(copy.len());
    assert_eq!(again.push(&copy), Ok(true));
    assert!(inbox.records().eq(again.records()));
    assert!(inbox.records().all(|record| record.kind != RecordKind::END));
}

fn policy() -> ServerPolicy {
    ServerPolicy {
        algorithms: AeadAlgorithm::ALL.to_vec(),
        ntp_server: Some("ntp.example".into()),
        ntp_port: Some(123),
    }
}

fn the_server_decides_alike_however_it_is_cut(message: &[u8], size: usize) {
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
            let response = grant.response(&policy, &cookies);
            let mut client = ClientExchange::new(&[grant.algorithm]);
            let granted = client
                .receive(&response)
                .expect("our own response is taken");
            assert_eq!(
                granted.map(|granted| granted.cookies),
                Some(cookies.to_vec())
            );
        }
        Some(Decision::Refuse(refusal)) => assert!(refusal.response.len() <= 32),
        None => assert!(message.len() <= REQUEST_LIMIT),
    }
}

fn the_client_decides_alike_however_it_is_cut(message: &[u8], size: usize) {
    let whole = ClientExchange::new(&AeadAlgorithm::ALL).receive(message);
    let mut client = ClientExchange::new(&AeadAlgorithm::ALL);
    let mut pieces = message.chunks(size).map(|piece| client.receive(piece));
    let cut = pieces
        .find(|outcome| !matches!(outcome, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(whole, cut);
    if let Ok(Some(granted)) = whole {
        assert!((1..=COOKIES).contains(&granted.cookies.len()));
        assert!(granted.port != Some(0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Messages of records that both sides know, with bodies that are often right.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![0_u16..9, Just(1024), any::<u16>()];
        let body = prop_oneof![
            Just(vec![0, 0]),
            Just(vec![0, 15]),
            Just(vec![0, 30, 0, 15]),
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
        fn promises_hold_for_messages(cut in any::<u8>(), message in message()) {
            check(&[&[cut][..], &message].concat());
        }

        #[test]
        fn promises_hold_for_any_octets(data in prop::collection::vec(any::<u8>(), 0..200)) {
            check(&data);
        }
    }
}
