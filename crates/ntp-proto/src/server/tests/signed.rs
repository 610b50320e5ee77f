//! Requests with a MAC or with extension fields.

use super::*;

pub(super) fn key(id: u32, algorithm: Algorithm) -> Key {
    Key::new(id, algorithm, b"0123456789abcdef").unwrap()
}

pub(super) fn with_keys() -> TestServer {
    let keys = [key(1, Algorithm::Aes128Cmac), key(2, Algorithm::Sha256)];
    TestServer::new(Policy {
        keys: KeyRing::new(keys).unwrap(),
        ..Policy::default()
    })
}

/// A request signed with `key`, with its digest truncated to `length`.
pub(super) fn signed(
    version: Version,
    key: &Key,
    length: usize,
    fields: &[ExtensionField<'_>],
) -> Vec<u8> {
    let mac = Mac {
        key_id: key.id(),
        digest: &[0; 64][..length],
    };
    let mut octets = packet(&request(version), fields, Some(mac));
    let (covered, digest) = Mac::split_packet(&mut octets, length).unwrap();
    let tag = key.sign(covered);
    digest.copy_from_slice(&tag.whole()[..length]);
    octets
}

#[test]
fn a_reply_is_signed_with_the_key_of_its_request() {
    for (version, key, length) in [
        (Version::V4, key(1, Algorithm::Aes128Cmac), 16),
        (Version::V4, key(2, Algorithm::Sha256), 20),
        (Version::V3, key(2, Algorithm::Sha256), 20),
        (Version::V3, key(2, Algorithm::Sha256), 32),
    ] {
        let mut server = with_keys();
        let request = signed(version, &key, length, &[]);
        let outcome = server.request(&request);
        let expected = Verdict::Answer {
            kind: Kind::Time,
            interleaved: false,
            authenticated: true,
        };
        assert_eq!(outcome.verdict, expected);
        assert_eq!(outcome.octets.len(), request.len());
        let packet = Packet::parse(&outcome.octets).unwrap();
        let mac = packet.mac.unwrap();
        assert_eq!(mac.key_id, key.id());
        assert!(key.verify(packet.authenticated(), mac.digest));
        // Sealing again at another time signs again.
        server.draft.seal(EPOCH);
        let again = server
            .draft
            .seal(EPOCH + NtpDuration::from_seconds(5))
            .to_vec();
        assert_eq!(again, outcome.octets);
        // A request without a MAC gets a reply without one.
        assert_eq!(
            server.request(&octets(&super::request(version))).verdict,
            TIME
        );
        assert_eq!(server.worker.counters().details.authenticated, 1);
    }
}

#[test]
fn a_wrong_signature_gets_a_crypto_nak() {
    let mut server = with_keys();
    let mut forged = signed(Version::V4, &key(1, Algorithm::Aes128Cmac), 16, &[]);
    *forged.last_mut().unwrap() ^= 1;
    let unknown = signed(Version::V4, &key(3, Algorithm::Aes128Cmac), 16, &[]);
    let other_type = signed(Version::V4, &key(2, Algorithm::Sha1), 20, &[]);
    for request in [forged, unknown, other_type] {
        let outcome = server.request(&request);
        assert_eq!(outcome.verdict, refused(Kind::CryptoNak));
        assert!(
            Packet::parse(&outcome.octets)
                .unwrap()
                .mac
                .unwrap()
                .is_crypto_nak()
        );
        assert!(outcome.octets.len() < request.len());
    }
    let counters = *server.worker.counters();
    assert_eq!(
        (
            counters.statistics.denied,
            counters.details.bad_authentication
        ),
        (3, 3)
    );
}

#[test]
fn macs_are_ignored_if_no_keys_are_configured() {
    let request = signed(Version::V4, &key(1, Algorithm::Aes128Cmac), 16, &[]);
    let outcome = unrestricted().request(&request);
    assert_eq!(outcome.verdict, TIME);
    assert_eq!(outcome.octets.len(), Header::LEN);
}

const UNIQUE: ExtensionField<'static> = ExtensionField {
    field_type: 0x0104,
    body: &[7; 32],
};
const UNKNOWN: ExtensionField<'static> = ExtensionField {
    field_type: 0xf0de,
    body: &[9; 28],
};
const AUTHENTICATOR: ExtensionField<'static> = ExtensionField {
    field_type: 0x0404,
    body: &[1; 40],
};

#[test]
fn only_the_unique_identifier_field_is_echoed() {
    let fields = [UNKNOWN, UNIQUE, UNKNOWN];
    let plain = packet(&request(Version::V4), &fields, None);
    let key = key(1, Algorithm::Aes128Cmac);
    let signed = signed(Version::V4, &key, 16, &fields);
    for request in [plain, signed] {
        let outcome = with_keys().request(&request);
        let reply = Packet::parse(&outcome.octets).unwrap();
        let echoed: Vec<_> = reply.extensions().collect();
        assert_eq!(echoed, [UNIQUE]);
        let authenticated = reply
            .mac
            .is_some_and(|mac| key.verify(reply.authenticated(), mac.digest));
        assert_eq!(
            authenticated,
            Packet::parse(&request).unwrap().mac.is_some()
        );
    }
    // Longer than any reply: the field cannot be echoed.
    let body = vec![0; Draft::CAPACITY];
    let field = ExtensionField {
        body: &body,
        ..UNIQUE
    };
    let outcome = unrestricted().request(&packet(&request(Version::V4), &[field], None));
    assert_eq!(outcome.verdict, Verdict::Ignore(Reason::Unanswerable));
}

#[test]
fn an_invalid_cookie_gets_an_ntsn_kiss() {
    let mut server = unrestricted();
    let outcome = server.request(&packet(
        &request(Version::V4),
        &[UNIQUE, AUTHENTICATOR],
        None,
    ));
    assert_eq!(outcome.verdict, refused(Kind::NtsNak));
    assert_eq!(&outcome.kiss(), b"NTSN");
    assert!(
        Packet::parse(&outcome.octets)
            .unwrap()
            .extensions()
            .eq([UNIQUE])
    );
    let counters = server.worker.counters();
    assert_eq!(
        (
            counters.statistics.nts_nak,
            counters.statistics.nts_received,
            counters.statistics.total()
        ),
        (1, 1, 1)
    );
}

#[test]
fn requests_without_nts_are_refused_if_nts_is_required() {
    for (refusal, expected) in [
        (Refusal::Ignore, Verdict::Ignore(Reason::NtsRequired)),
        (Refusal::Deny, refused(Kind::Deny)),
    ] {
        let mut server = TestServer::new(Policy {
            require_nts: Some(refusal),
            ..Policy::default()
        });
        assert_eq!(
            server.request(&octets(&request(Version::V4))).verdict,
            expected
        );
        let with_nts = packet(&request(Version::V4), &[UNIQUE, AUTHENTICATOR], None);
        assert_eq!(server.request(&with_nts).verdict, refused(Kind::NtsNak));
    }
}
