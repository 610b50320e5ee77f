//! Associations with NTS, against a server that can decrypt its cookies or cannot.

use super::*;
use crate::client::NtsSession;
use crate::nts::{
    AeadAlgorithm, Cookie, KeyExchangeResult, Keyset, MasterSecret, NextProtocol, SessionKeys,
};
use crate::server::Versions;
use crate::wire::v5::draft;
use crate::wire::{ExtensionField, Header, v5};

fn secret(fill: u8) -> MasterSecret {
    MasterSecret::new([fill; 64])
}

fn keys(algorithm: AeadAlgorithm, fill: u8) -> SessionKeys {
    let length = algorithm.key_length();
    SessionKeys::new(algorithm, &vec![fill; length], &vec![fill + 1; length]).unwrap()
}

fn key_exchange_result(keyset: &Keyset, keys: SessionKeys, cookies: u8) -> KeyExchangeResult {
    KeyExchangeResult {
        protocol: NextProtocol::NtpV4,
        cookies: (0..cookies)
            .map(|nonce| keyset.seal_cookie(&keys, [nonce; 16]).unwrap())
            .collect(),
        keys,
        legacy_keys: None,
        server: None,
        port: None,
    }
}

const ALGORITHM: AeadAlgorithm = AeadAlgorithm::AesSivCmac256;

impl Pair {
    /// A client after a key exchange with a server that has `keyset`.
    fn with_nts(keyset: Keyset, result: KeyExchangeResult) -> Self {
        let session = Protection::Nts(Box::new(NtsSession::new(result)));
        let mut pair = Self::new(session, []);
        pair.view.keyset = Some(Arc::new(keyset));
        pair
    }

    fn with_default_nts() -> Self {
        let keyset = Keyset::new(secret(1));
        let result = key_exchange_result(&keyset, keys(ALGORITHM, 1), 8);
        Self::with_nts(keyset, result)
    }

    fn session(&self) -> &NtsSession {
        self.association.protection().nts().unwrap()
    }

    /// Polls without loss.
    fn exchange(&mut self) -> Result<Reply, Rejection> {
        let request = self.send_request();
        let reply = self.serve(&request);
        self.receive(&reply)
    }
}

fn cookie_of(request: &[u8]) -> Vec<u8> {
    let packet = Packet::parse(request).unwrap();
    let cookie = packet
        .extensions()
        .find(|field| field.field_type == ExtensionField::NTS_COOKIE);
    cookie.unwrap().body.to_vec()
}

#[test]
fn cookies_are_used_once_and_the_stock_stays_full() {
    for algorithm in AeadAlgorithm::ALL {
        let keyset = Keyset::new(secret(1));
        let result = key_exchange_result(&keyset, keys(algorithm, 1), 8);
        let mut pair = Pair::with_nts(keyset, result);
        let mut seen = Vec::new();
        for _ in 0..40 {
            let request = pair.send_request();
            let cookie = cookie_of(&request);
            assert!(!seen.contains(&cookie));
            seen.push(cookie);
            let reply = pair.serve(&request);
            assert!(matches!(pair.receive(&reply), Ok(Reply::Time(_))));
            assert_eq!(pair.session().cookies(), Cookie::MAX_STORED);
        }
        assert_eq!(pair.association.counters().accepted, 40);
    }
}

#[test]
fn cookies_lost_with_replies_are_restored_by_the_next_reply() {
    let mut pair = Pair::with_default_nts();
    for lost in 1..=7 {
        pair.send_request();
        assert_eq!(pair.session().cookies(), 8 - lost);
        assert!(!pair.session().needs_key_exchange());
    }
    pair.exchange().unwrap();
    assert_eq!(pair.session().cookies(), 8);
}

#[test]
fn without_a_cookie_no_request_is_sent_and_a_key_exchange_is_needed() {
    let mut pair = Pair::with_default_nts();
    for _ in 0..8 {
        pair.send_request();
    }
    assert!(pair.session().needs_key_exchange());
    let now = Monotonic::from_nanos(0) + pair.now;
    let id = pair.id();
    assert!(pair.association.request(now, id, &mut pair.rng).is_none());
    assert_eq!(pair.association.exchange(), None);
    assert!(pair.association.next_poll() > now);

    let keyset = Keyset::new(secret(1));
    let fresh = key_exchange_result(&keyset, keys(ALGORITHM, 5), 8);
    pair.association.install_session(NtsSession::new(fresh));
    assert!(!pair.session().needs_key_exchange());
    pair.exchange().unwrap();
}

#[test]
fn forged_and_replayed_replies_are_rejected() {
    let mut pair = Pair::with_default_nts();
    let request = pair.send_request();
    let genuine = pair.serve(&request);
    for bit in 0..genuine.len() * 8 {
        let mut forged = genuine.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(pair.receive(&forged).is_err(), "bit {bit}");
    }
    // A reply to the previous request.
    assert!(pair.receive(&genuine).is_ok());
    pair.send_request();
    assert!(pair.receive(&genuine).is_err());
    // A reply to a request without NTS, which is not protected.
    let plain = Header::parse(&mut crate::wire::Reader::new(&request)).unwrap();
    let mut octets = vec![0; Header::LEN];
    plain
        .emit(&mut crate::wire::Writer::new(&mut octets))
        .unwrap();
    let unprotected = pair.serve(&octets);
    assert!(pair.receive(&unprotected).is_err());
}

/// Returns an NTS NAK, which anyone on the path can forge.
fn nts_nak(pair: &mut Pair, request: &[u8]) -> Vec<u8> {
    let keyset = pair.view.keyset.replace(Arc::new(Keyset::new(secret(99))));
    let reply = pair.serve(request);
    pair.view.keyset = keyset;
    reply
}

#[test]
fn forged_nts_naks_have_no_effect_while_the_server_replies() {
    let mut pair = Pair::with_default_nts();
    for _ in 0..50 {
        let request = pair.send_request();
        let nak = nts_nak(&mut pair, &request);
        for _ in 0..5 {
            assert_eq!(pair.receive(&nak).err(), Some(Rejection::NtsNak));
        }
        let genuine = pair.serve(&request);
        assert!(matches!(pair.receive(&genuine), Ok(Reply::Time(_))));
        assert!(!pair.session().needs_key_exchange());
    }
    assert_eq!(pair.association.counters().nts_naks, 250);
}

#[test]
fn consecutive_refused_polls_cause_a_key_exchange_and_the_old_keys_stay_in_use() {
    let mut pair = Pair::with_default_nts();
    for _ in 0..3 {
        assert!(!pair.session().needs_key_exchange());
        let request = pair.send_request();
        let nak = nts_nak(&mut pair, &request);
        pair.receive(&nak).unwrap_err();
    }
    pair.send_request();
    assert!(pair.session().needs_key_exchange());
    // Without a key exchange, the server accepts the old keys again.
    pair.exchange().unwrap();
    assert!(!pair.session().needs_key_exchange());
    assert_eq!(pair.session().cookies(), 8);
}

#[test]
fn keys_refused_from_the_start_are_replaced_by_the_previous_ones() {
    let mut pair = Pair::with_default_nts();
    pair.exchange().unwrap();
    let elsewhere = Keyset::new(secret(7));
    let wrong = key_exchange_result(&elsewhere, keys(ALGORITHM, 5), 8);
    pair.association.install_session(NtsSession::new(wrong));
    for _ in 0..3 {
        assert_eq!(pair.exchange().err(), Some(Rejection::NtsNak));
    }
    assert!(matches!(pair.exchange(), Ok(Reply::Time(_))));
}

/// Debian's chrony is too old to test AES-128-GCM-SIV, so this server derives keys as chrony 4.4 to
/// 4.6.0 does: from the exporter context of another algorithm. The client sees this as a second
/// pair of keys.
#[test]
fn a_server_with_the_legacy_key_derivation_is_detected() {
    let algorithm = AeadAlgorithm::Aes128GcmSiv;
    let (right, old) = (keys(algorithm, 1), keys(algorithm, 5));
    for server in [&right, &old] {
        let keyset = Keyset::new(secret(1));
        let result = KeyExchangeResult {
            protocol: NextProtocol::NtpV4,
            keys: right.clone(),
            legacy_keys: Some(old.clone()),
            ..key_exchange_result(&keyset, server.clone(), 8)
        };
        let mut pair = Pair::with_nts(keyset, result);
        let polls = (0..3).take_while(|_| pair.exchange().is_err()).count();
        assert!(polls <= 1, "settled after one refusal");
        // The choice is final: forged NAKs do not restore the other pair.
        for _ in 0..2 {
            let request = pair.send_request();
            let nak = nts_nak(&mut pair, &request);
            pair.receive(&nak).unwrap_err();
        }
        pair.exchange().unwrap();
    }
}

#[test]
fn an_unauthenticated_kiss_is_rejected() {
    let mut pair = Pair::with_default_nts();
    let request = pair.send_request();
    let open = pair.view.clone();
    pair.view.policy = Arc::new(Policy {
        access: crate::server::Access::from_rules(Some(crate::server::Refusal::Deny), []),
        ..Policy::default()
    });
    // A forged DENY first, then the server's.
    pair.view.keyset = Some(Arc::new(Keyset::new(secret(99))));
    let forged = pair.serve(&request);
    assert_eq!(
        pair.receive(&forged).err(),
        Some(Rejection::Unauthenticated)
    );
    pair.view.keyset = open.keyset;
    let genuine = pair.serve(&request);
    assert!(matches!(
        pair.receive(&genuine),
        Ok(Reply::Kiss(crate::client::KissCode::Deny))
    ));
}

/// A client and a server after a key exchange for version 5.
fn version_5_pair() -> Pair {
    let keyset = Keyset::new(secret(1));
    let result = KeyExchangeResult {
        protocol: NextProtocol::NtpV5(draft::NAMES[1]),
        ..key_exchange_result(&keyset, keys(ALGORITHM, 1), 8)
    };
    let mut pair = Pair::with_nts(keyset, result);
    let policy = Policy {
        versions: Versions::UP_TO_4.with(Version::V5),
        ..Policy::default()
    };
    pair.worker = WorkerState::new(&policy, 1, [3; 32]);
    pair.view.policy = Arc::new(policy);
    pair
}

#[test]
fn the_version_is_that_of_the_key_exchange() {
    let mut pair = version_5_pair();
    for _ in 0..20 {
        let request = pair.send_request();
        let packet = v5::Packet::parse(&request).unwrap();
        assert_eq!(packet.draft, Some(draft::NAMES[1].as_bytes()));
        assert!(packet.correction.is_none() && request.len() <= 1024);
        let reply = pair.serve(&request);
        assert_eq!(reply.len(), request.len());
        assert!(matches!(pair.receive(&reply), Ok(Reply::Time(_))));
    }
    assert_eq!(pair.session().cookies(), Cookie::MAX_STORED);
    // Keys for version 4 lead back to it.
    let keyset = Keyset::new(secret(1));
    let older = key_exchange_result(&keyset, keys(ALGORITHM, 1), 8);
    pair.association.install_session(NtsSession::new(older));
    assert_eq!(pair.send_request()[0] >> 3 & 7, 4);
}

#[test]
fn a_draft_that_the_key_exchange_did_not_confirm_is_found_and_kept() {
    let mut pair = version_5_pair();
    let keyset = Keyset::new(secret(1));
    // The server names no draft, and speaks only the older one.
    let session = || {
        let keys = key_exchange_result(&keyset, keys(ALGORITHM, 1), 8);
        let protocol = NextProtocol::NtpV5(draft::NAMES[0]);
        NtsSession::new(KeyExchangeResult { protocol, ..keys })
    };
    pair.association.install_session(session());
    for number in [0, 1, 1, 1] {
        let request = pair.send_request();
        let packet = v5::Packet::parse(&request).unwrap();
        assert_eq!(packet.draft, Some(draft::NAMES[number].as_bytes()));
        if number == 1 {
            let reply = pair.serve(&request);
            assert!(matches!(pair.receive(&reply), Ok(Reply::Time(_))));
            // New keys do not begin again.
            pair.association.install_session(session());
        }
    }
}

#[test]
fn a_response_of_version_5_without_the_keys_is_rejected_and_a_nak_is_no_proof() {
    let mut pair = version_5_pair();
    let request = pair.send_request();
    let genuine = pair.serve(&request);
    let mut altered = genuine.clone();
    altered[47] ^= 1;
    let mut nak = genuine.clone();
    nak[1] = 0;
    nak[15] = 4;
    let bare = genuine[..48].to_vec();
    for (forged, rejection) in [
        (altered, Rejection::Unauthenticated),
        (bare, Rejection::PlainReply),
        (nak, Rejection::NtsNak),
    ] {
        assert_eq!(pair.receive(&forged).err(), Some(rejection));
        assert!(pair.association.exchange().is_some());
    }
    assert!(matches!(pair.receive(&genuine), Ok(Reply::Time(_))));
}
