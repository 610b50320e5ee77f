//! An association with NTS, against a server that can read its cookies, cannot, or could once.

use super::*;
use crate::client::NtsSession;
use crate::nts::{AeadAlgorithm, Cookie, KeyExchangeResult, Keyset, MasterSecret, SessionKeys};
use crate::wire::{ExtensionField, Header};

fn secret(fill: u8) -> MasterSecret {
    MasterSecret::new([fill; 64])
}

fn keys(algorithm: AeadAlgorithm, fill: u8) -> SessionKeys {
    let length = algorithm.key_length();
    SessionKeys::new(algorithm, &vec![fill; length], &vec![fill + 1; length]).unwrap()
}

fn granted(keyset: &Keyset, keys: SessionKeys, cookies: u8) -> KeyExchangeResult {
    KeyExchangeResult {
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
    /// After a key exchange with a server that has `keyset`.
    fn with_nts(keyset: Keyset, result: KeyExchangeResult) -> Self {
        let session = Protection::Nts(Box::new(NtsSession::new(result)));
        let mut pair = Self::new(session, []);
        pair.view.keyset = Some(Arc::new(keyset));
        pair
    }

    fn usual() -> Self {
        let keyset = Keyset::new(secret(1));
        let result = granted(&keyset, keys(ALGORITHM, 1), 8);
        Self::with_nts(keyset, result)
    }

    fn session(&self) -> &NtsSession {
        self.association.protection().nts().unwrap()
    }

    /// A poll whose request and reply both arrive.
    fn exchange(&mut self) -> Result<Reply, Rejection> {
        let request = self.ask();
        let reply = self.answer(&request);
        self.hear(&reply)
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
fn no_cookie_is_used_twice_and_the_stock_stays_full() {
    for algorithm in AeadAlgorithm::ALL {
        let keyset = Keyset::new(secret(1));
        let result = granted(&keyset, keys(algorithm, 1), 8);
        let mut pair = Pair::with_nts(keyset, result);
        let mut seen = Vec::new();
        for _ in 0..40 {
            let request = pair.ask();
            let cookie = cookie_of(&request);
            assert!(!seen.contains(&cookie));
            seen.push(cookie);
            let reply = pair.answer(&request);
            assert!(matches!(pair.hear(&reply), Ok(Reply::Time(_))));
            assert_eq!(pair.session().cookies(), Cookie::IN_STOCK);
        }
        assert_eq!(pair.association.counters().accepted, 40);
    }
}

#[test]
fn lost_replies_cost_cookies_which_the_next_answer_brings_back() {
    let mut pair = Pair::usual();
    for lost in 1..=7 {
        pair.ask();
        assert_eq!(pair.session().cookies(), 8 - lost);
        assert!(!pair.session().wants_keys());
    }
    pair.exchange().unwrap();
    assert_eq!(pair.session().cookies(), 8);
}

#[test]
fn without_a_cookie_nothing_is_asked_and_new_keys_are_wanted() {
    let mut pair = Pair::usual();
    for _ in 0..8 {
        pair.ask();
    }
    assert!(pair.session().wants_keys());
    let now = Monotonic::from_nanos(0) + pair.now;
    let id = pair.id();
    assert!(pair.association.request(now, id, &mut pair.rng).is_none());
    assert_eq!(pair.association.exchange(), None);
    assert!(pair.association.next_poll() > now);

    let keyset = Keyset::new(secret(1));
    let fresh = granted(&keyset, keys(ALGORITHM, 5), 8);
    pair.association.renew(NtsSession::new(fresh));
    assert!(!pair.session().wants_keys());
    pair.exchange().unwrap();
}

#[test]
fn no_forger_can_use_up_an_exchange_or_move_anything() {
    let mut pair = Pair::usual();
    let request = pair.ask();
    let genuine = pair.answer(&request);
    for bit in 0..genuine.len() * 8 {
        let mut forged = genuine.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(pair.hear(&forged).is_err(), "bit {bit}");
    }
    // A reply to the request before.
    assert!(pair.hear(&genuine).is_ok());
    pair.ask();
    assert!(pair.hear(&genuine).is_err());
    // One that is authentic, but has no protection: of a plain request.
    let plain = Header::parse(&mut crate::wire::Reader::new(&request)).unwrap();
    let mut octets = vec![0; Header::LEN];
    plain
        .emit(&mut crate::wire::Writer::new(&mut octets))
        .unwrap();
    let unprotected = pair.answer(&octets);
    assert!(pair.hear(&unprotected).is_err());
}

/// The answer of a server that cannot read the cookie, or of somebody who says so.
fn nak(pair: &mut Pair, request: &[u8]) -> Vec<u8> {
    let keyset = pair.view.keyset.replace(Arc::new(Keyset::new(secret(99))));
    let reply = pair.answer(request);
    pair.view.keyset = keyset;
    reply
}

#[test]
fn refusals_by_somebody_on_the_path_change_nothing_while_the_server_answers() {
    let mut pair = Pair::usual();
    for _ in 0..50 {
        let request = pair.ask();
        let refusal = nak(&mut pair, &request);
        for _ in 0..5 {
            assert_eq!(pair.hear(&refusal).err(), Some(Rejection::NtsNak));
        }
        let genuine = pair.answer(&request);
        assert!(matches!(pair.hear(&genuine), Ok(Reply::Time(_))));
        assert!(!pair.session().wants_keys());
    }
    assert_eq!(pair.association.counters().nts_naks, 250);
}

#[test]
fn several_refused_polls_in_a_row_make_new_keys_wanted_and_the_old_ones_stay() {
    let mut pair = Pair::usual();
    for _ in 0..3 {
        assert!(!pair.session().wants_keys());
        let request = pair.ask();
        let refusal = nak(&mut pair, &request);
        pair.hear(&refusal).unwrap_err();
    }
    pair.ask();
    assert!(pair.session().wants_keys());
    // Nobody came with new ones, but the server can read the old ones after all.
    pair.exchange().unwrap();
    assert!(!pair.session().wants_keys());
    assert_eq!(pair.session().cookies(), 8);
}

#[test]
fn keys_that_are_refused_from_the_beginning_give_way_to_the_ones_before() {
    let mut pair = Pair::usual();
    pair.exchange().unwrap();
    let elsewhere = Keyset::new(secret(7));
    let wrong = granted(&elsewhere, keys(ALGORITHM, 5), 8);
    pair.association.renew(NtsSession::new(wrong));
    for _ in 0..3 {
        assert_eq!(pair.exchange().err(), Some(Rejection::NtsNak));
    }
    assert!(matches!(pair.exchange(), Ok(Reply::Time(_))));
}

/// Debian's chrony is too old to be a peer for AES-128-GCM-SIV at all, so this server derives its keys as chrony 4.4 to 4.6.0 would: from the
/// exporter context of another algorithm. What the client sees of that is a second pair of keys.
#[test]
fn a_server_that_derives_keys_in_the_old_way_is_found_out() {
    let algorithm = AeadAlgorithm::Aes128GcmSiv;
    let (right, old) = (keys(algorithm, 1), keys(algorithm, 5));
    for server in [&right, &old] {
        let keyset = Keyset::new(secret(1));
        let result = KeyExchangeResult {
            keys: right.clone(),
            legacy_keys: Some(old.clone()),
            ..granted(&keyset, server.clone(), 8)
        };
        let mut pair = Pair::with_nts(keyset, result);
        let polls = (0..3).take_while(|_| pair.exchange().is_err()).count();
        assert!(polls <= 1, "settled after one refusal");
        // And for good: forged refusals do not bring the other pair back.
        for _ in 0..2 {
            let request = pair.ask();
            let refusal = nak(&mut pair, &request);
            pair.hear(&refusal).unwrap_err();
        }
        pair.exchange().unwrap();
    }
}

#[test]
fn a_kiss_must_be_authentic_to_be_heard() {
    let mut pair = Pair::usual();
    let request = pair.ask();
    let open = pair.view.clone();
    pair.view.policy = Arc::new(Policy {
        access: crate::server::Access {
            denylist: crate::server::AccessList {
                networks: crate::server::Networks::all(),
                refusal: crate::server::Refusal::Deny,
            },
            ..crate::server::Access::everybody()
        },
        ..Policy::default()
    });
    // Somebody else's DENY, and then the server's.
    pair.view.keyset = Some(Arc::new(Keyset::new(secret(99))));
    let forged = pair.answer(&request);
    assert_eq!(pair.hear(&forged).err(), Some(Rejection::Unauthenticated));
    pair.view.keyset = open.keyset;
    let genuine = pair.answer(&request);
    assert!(matches!(
        pair.hear(&genuine),
        Ok(Reply::Kiss(crate::client::Kiss::Deny))
    ));
}
