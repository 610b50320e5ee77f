//! Requests with a MAC, and with extension fields.

use super::*;

pub(super) fn key(id: u32, algorithm: Algorithm) -> Key {
    Key::new(id, algorithm, b"0123456789abcdef").unwrap()
}

pub(super) fn with_keys() -> Scene {
    let keys = [key(1, Algorithm::Aes128Cmac), key(2, Algorithm::Sha256)];
    Scene::new(Policy {
        keys: KeyRing::new(keys).unwrap(),
        ..Policy::default()
    })
}

/// A request signed with `key`, its digest cut to `length`.
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
    let (covered, digest) = Mac::divide(&mut octets, length).unwrap();
    let tag = key.sign(covered);
    digest.copy_from_slice(&tag.whole()[..length]);
    octets
}

#[test]
fn a_signed_request_gets_an_answer_signed_with_the_same_key() {
    for (version, key, length) in [
        (Version::V4, key(1, Algorithm::Aes128Cmac), 16),
        (Version::V4, key(2, Algorithm::Sha256), 20),
        (Version::V3, key(2, Algorithm::Sha256), 20),
        (Version::V3, key(2, Algorithm::Sha256), 32),
    ] {
        let mut scene = with_keys();
        let request = signed(version, &key, length, &[]);
        let heard = scene.ask(&request);
        let expected = Verdict::Answer {
            kind: Kind::Time,
            interleaved: false,
            authenticated: true,
        };
        assert_eq!(heard.verdict, expected);
        assert_eq!(heard.octets.len(), request.len());
        let packet = Packet::parse(&heard.octets).unwrap();
        let mac = packet.mac.unwrap();
        assert_eq!(mac.key_id, key.id());
        assert!(key.verify(packet.authenticated(), mac.digest));
        // Sealed again, at another time, it is signed again.
        scene.draft.seal(EPOCH);
        let again = scene
            .draft
            .seal(EPOCH + NtpDuration::from_seconds(5))
            .to_vec();
        assert_eq!(again, heard.octets);
        // And a plain one is not.
        assert_eq!(scene.ask(&octets(&super::request(version))).verdict, TIME);
        assert_eq!(scene.worker.counters().authenticated, 1);
    }
}

#[test]
fn a_wrong_signature_gets_a_crypto_nak() {
    let mut scene = with_keys();
    let mut forged = signed(Version::V4, &key(1, Algorithm::Aes128Cmac), 16, &[]);
    *forged.last_mut().unwrap() ^= 1;
    let unknown = signed(Version::V4, &key(3, Algorithm::Aes128Cmac), 16, &[]);
    let other_type = signed(Version::V4, &key(2, Algorithm::Sha1), 20, &[]);
    for request in [forged, unknown, other_type] {
        let heard = scene.ask(&request);
        assert_eq!(heard.verdict, refused(Kind::CryptoNak));
        assert!(
            Packet::parse(&heard.octets)
                .unwrap()
                .mac
                .unwrap()
                .is_crypto_nak()
        );
        assert!(heard.octets.len() < request.len());
    }
    let counters = *scene.worker.counters();
    assert_eq!((counters.denied, counters.bad_authentication), (3, 3));
}

#[test]
fn without_keys_macs_are_not_looked_at() {
    let request = signed(Version::V4, &key(1, Algorithm::Aes128Cmac), 16, &[]);
    let heard = open().ask(&request);
    assert_eq!(heard.verdict, TIME);
    assert_eq!(heard.octets.len(), Header::LEN);
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
fn of_extension_fields_the_unique_identifier_is_echoed() {
    let fields = [UNKNOWN, UNIQUE, UNKNOWN];
    let plain = packet(&request(Version::V4), &fields, None);
    let key = key(1, Algorithm::Aes128Cmac);
    let signed = signed(Version::V4, &key, 16, &fields);
    for request in [plain, signed] {
        let heard = with_keys().ask(&request);
        let reply = Packet::parse(&heard.octets).unwrap();
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
    // Longer than any reply: nothing that could be echoed.
    let body = vec![0; Draft::CAPACITY];
    let field = ExtensionField {
        body: &body,
        ..UNIQUE
    };
    let heard = open().ask(&packet(&request(Version::V4), &[field], None));
    assert_eq!(heard.verdict, Verdict::Ignore(Reason::Unanswerable));
}

#[test]
fn a_cookie_that_cannot_be_read_is_said_so() {
    let mut scene = open();
    let heard = scene.ask(&packet(
        &request(Version::V4),
        &[UNIQUE, AUTHENTICATOR],
        None,
    ));
    assert_eq!(heard.verdict, refused(Kind::NtsNak));
    assert_eq!(&heard.kiss(), b"NTSN");
    assert!(
        Packet::parse(&heard.octets)
            .unwrap()
            .extensions()
            .eq([UNIQUE])
    );
    let counters = scene.worker.counters();
    assert_eq!(
        (counters.nts_nak, counters.nts_received, counters.received()),
        (1, 1, 1)
    );
}

#[test]
fn nts_can_be_required() {
    for (refusal, expected) in [
        (Refusal::Ignore, Verdict::Ignore(Reason::NtsRequired)),
        (Refusal::Deny, refused(Kind::Deny)),
    ] {
        let mut scene = Scene::new(Policy {
            require_nts: Some(refusal),
            ..Policy::default()
        });
        assert_eq!(scene.ask(&octets(&request(Version::V4))).verdict, expected);
        let with_nts = packet(&request(Version::V4), &[UNIQUE, AUTHENTICATOR], None);
        assert_eq!(scene.ask(&with_nts).verdict, refused(Kind::NtsNak));
    }
}
