//! Requests with NTS.

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::*;
use crate::nts::{
    AeadAlgorithm, Cookie, Direction, Keyset, MasterSecret, NtsRequest, Proof, SessionKeys, prove,
};
use crate::wire::NtsAuthenticator;

const SEALED: Verdict = Verdict::Answer {
    kind: Kind::Time,
    interleaved: false,
    authenticated: true,
};

fn keyset() -> Keyset {
    Keyset::new(MasterSecret::new([9; 64]))
}

fn keys(algorithm: AeadAlgorithm) -> SessionKeys {
    let length = algorithm.key_length();
    SessionKeys::new(algorithm, &vec![1; length], &vec![2; length]).unwrap()
}

fn cookie(algorithm: AeadAlgorithm) -> Cookie {
    keyset().seal_cookie(&keys(algorithm), [3; 16]).unwrap()
}

fn rng() -> ChaCha12Rng {
    ChaCha12Rng::from_seed([4; 32])
}

fn ask_for(algorithm: AeadAlgorithm, cookies: usize) -> NtsRequest {
    let header = request(Version::V4);
    NtsRequest::new(
        &header,
        &keys(algorithm),
        &cookie(algorithm),
        cookies,
        &mut rng(),
    )
    .unwrap()
}

fn with_nts(policy: Policy) -> Scene {
    let mut scene = Scene::new(policy);
    scene.view.keyset = Some(Arc::new(keyset()));
    scene
}

/// What the client makes of a reply.
fn proof(heard: &Heard, request: &NtsRequest, algorithm: AeadAlgorithm) -> Proof {
    let packet = Packet::parse(&heard.octets).unwrap();
    prove(&packet, &keys(algorithm), &request.unique_identifier)
}

fn cookies(heard: &Heard, request: &NtsRequest, algorithm: AeadAlgorithm) -> Vec<Cookie> {
    match proof(heard, request, algorithm) {
        Proof::Authentic(cookies) => cookies,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_authentic_request_gets_the_time_and_as_many_cookies_as_it_has_room_for() {
    for algorithm in AeadAlgorithm::ALL {
        for wanted in [1, 2, 8] {
            let mut scene = with_nts(Policy::default());
            let request = ask_for(algorithm, wanted);
            let heard = scene.ask(&request.octets);
            assert_eq!(heard.verdict, SEALED);
            assert_eq!(heard.octets.len(), request.octets.len());
            let fresh = cookies(&heard, &request, algorithm);
            let placeholders = Packet::parse(&request.octets)
                .unwrap()
                .extensions()
                .filter(|field| field.field_type == ExtensionField::NTS_PLACEHOLDER)
                .count();
            assert_eq!(fresh.len(), 1 + placeholders);
            // Each of them works, and none is like another.
            for cookie in &fresh {
                assert_eq!(fresh.iter().filter(|other| *other == cookie).count(), 1);
                let header = super::request(Version::V4);
                let next =
                    NtsRequest::new(&header, &keys(algorithm), cookie, 1, &mut rng()).unwrap();
                let heard = scene.ask(&next.octets);
                assert_eq!(heard.verdict, SEALED);
                assert_eq!(cookies(&heard, &next, algorithm).len(), 1);
            }
            let counters = scene.worker.counters();
            let all = 1 + fresh.len() as u64;
            assert_eq!((counters.nts_accepted, counters.nts_received), (all, all));
            assert_eq!((counters.accepted, counters.authenticated), (all, 0));
        }
    }
}

#[test]
fn no_bit_of_a_sealed_reply_can_be_changed() {
    for algorithm in AeadAlgorithm::ALL {
        let request = ask_for(algorithm, 1);
        let heard = with_nts(Policy::default()).ask(&request.octets);
        for bit in 0..heard.octets.len() * 8 {
            let mut octets = heard.octets.clone();
            octets[bit / 8] ^= 1 << (bit % 8);
            let Ok(packet) = Packet::parse(&octets) else {
                continue;
            };
            let proof = prove(&packet, &keys(algorithm), &request.unique_identifier);
            assert!(!matches!(proof, Proof::Authentic(_)), "bit {bit}");
        }
        // The reply to another request is none to this one.
        let mut other = request.clone();
        other.unique_identifier[0] ^= 1;
        assert_eq!(proof(&heard, &other, algorithm), Proof::NotOurs);
    }
}

#[test]
fn what_is_not_authentic_is_told_so_without_proof() {
    let algorithm = AeadAlgorithm::AesSivCmac256;
    let request = ask_for(algorithm, 3);
    for at in [8, 60, 100, request.octets.len() - 1] {
        let mut forged = request.octets.clone();
        forged[at] ^= 1;
        let mut scene = with_nts(Policy::default());
        let heard = scene.ask(&forged);
        assert_eq!(heard.verdict, refused(Kind::NtsNak), "octet {at}");
        assert_eq!(&heard.kiss(), b"NTSN");
        assert_eq!(heard.octets.len(), Header::LEN + 36);
        if at != 60 {
            assert_eq!(proof(&heard, &request, algorithm), Proof::Unproved);
        }
        assert_eq!(scene.worker.counters().nts_nak, 1);
    }
    // A cookie of another server, and one whose key is gone.
    let mut scene = with_nts(Policy::default());
    let rotated = keyset().rotated(MasterSecret::new([8; 64]), 0);
    scene.view.keyset = Some(Arc::new(rotated));
    assert_eq!(scene.ask(&request.octets).verdict, refused(Kind::NtsNak));
    // Rotated, but the key is kept.
    let rotated = keyset().rotated(MasterSecret::new([8; 64]), 1);
    scene.view.keyset = Some(Arc::new(rotated));
    assert_eq!(scene.ask(&request.octets).verdict, SEALED);
}

#[test]
fn a_request_needs_one_cookie_and_a_nonce_with_room_for_ours() {
    let algorithm = AeadAlgorithm::AesSivCmac256;
    let cookie = cookie(algorithm);
    let (unique, blank) = ([7; 32], [0; 64]);
    let field = |field_type, body| ExtensionField { field_type, body };
    let identifier = field(ExtensionField::UNIQUE_IDENTIFIER, &unique[..]);
    let cookie = field(ExtensionField::NTS_COOKIE, cookie.octets());
    let ask = |fields: &[ExtensionField<'_>], nonce: usize, padding: usize| {
        let body = NtsAuthenticator::body_length(nonce, 16) + padding;
        let authenticator = field(ExtensionField::NTS_AUTHENTICATOR, &blank[..body]);
        let fields = [fields, &[authenticator]].concat();
        let mut octets = packet(&request(Version::V4), &fields, None);
        let (covered, place) = NtsAuthenticator::divide(&mut octets, body).unwrap();
        let nonce = vec![5; nonce];
        let sealed = NtsAuthenticator::lay_out(place, &nonce, 16).unwrap();
        keys(algorithm)
            .seal(Direction::ClientToServer, covered, &nonce, sealed)
            .unwrap();
        with_nts(Policy::default()).ask(&octets).verdict
    };
    let nak = refused(Kind::NtsNak);
    assert_eq!(ask(&[identifier, cookie], 16, 0), SEALED);
    assert_eq!(ask(&[identifier, cookie], 20, 0), SEALED);
    assert_eq!(ask(&[identifier, cookie], 12, 4), SEALED);
    assert_eq!(ask(&[identifier, cookie], 12, 0), nak);
    assert_eq!(ask(&[identifier], 16, 0), nak);
    assert_eq!(ask(&[identifier, cookie, cookie], 16, 0), nak);
}

#[test]
fn a_thousand_placeholders_buy_eight_cookies_and_no_more_octets_than_they_have() {
    let algorithm = AeadAlgorithm::Aes128GcmSiv;
    let cookie = cookie(algorithm);
    let (unique, blank) = ([7; 32], [0; 64]);
    let field = |field_type, body| ExtensionField { field_type, body };
    for (count, length, expected) in [(1_000, 12, 8), (20, 12, 5), (4, 12, 1), (1_000, 40, 8)] {
        let mut fields = vec![
            field(ExtensionField::UNIQUE_IDENTIFIER, &unique[..]),
            field(ExtensionField::NTS_COOKIE, cookie.octets()),
        ];
        fields.resize(
            2 + count,
            field(ExtensionField::NTS_PLACEHOLDER, &blank[..length]),
        );
        let body = NtsAuthenticator::body_length(12, 16);
        fields.push(field(ExtensionField::NTS_AUTHENTICATOR, &blank[..body]));
        let mut octets = vec![0; 65_000];
        let mut writer = Writer::new(&mut octets);
        emit(&request(Version::V4), fields, None, &mut writer).unwrap();
        let octets = writer.finish();
        let (covered, place) = NtsAuthenticator::divide(octets, body).unwrap();
        let sealed = NtsAuthenticator::lay_out(place, &[5; 12], 16).unwrap();
        keys(algorithm)
            .seal(Direction::ClientToServer, covered, &[5; 12], sealed)
            .unwrap();
        let heard = with_nts(Policy::default()).ask(octets);
        assert_eq!(heard.verdict, SEALED);
        assert!(heard.octets.len() <= octets.len());
        let packet = Packet::parse(&heard.octets).unwrap();
        let Proof::Authentic(fresh) = prove(&packet, &keys(algorithm), &unique) else {
            panic!("the reply is not authentic");
        };
        assert_eq!(fresh.len(), expected, "{count} of {length} octets");
    }
}

#[test]
fn kisses_to_authentic_requests_are_authentic_and_bring_cookies() {
    let algorithm = AeadAlgorithm::AesSivCmac256;
    let request = ask_for(algorithm, 1);
    let mut denying = with_nts(Policy {
        access: Access {
            denylist: AccessList {
                networks: Networks::all(),
                refusal: Refusal::Deny,
            },
            ..Access::everybody()
        },
        ..Policy::default()
    });
    let heard = denying.ask(&request.octets);
    assert_eq!(&heard.kiss(), b"DENY");
    assert_eq!(cookies(&heard, &request, algorithm).len(), 1);
    assert_eq!(denying.worker.counters().nts_denied, 1);

    let mut limiting = with_nts(Policy {
        rate_limit: RateLimit {
            slots: 4,
            cutoff: NtpDuration::from_seconds(100),
            kiss: Some(0),
            ..RateLimit::NONE
        },
        ..Policy::default()
    });
    assert_eq!(limiting.ask(&request.octets).verdict, SEALED);
    let heard = limiting.ask(&request.octets);
    assert_eq!(&heard.kiss(), b"RATE");
    assert_eq!(cookies(&heard, &request, algorithm).len(), 1);
    assert_eq!(limiting.worker.counters().nts_rate_limited, 1);
}

#[test]
fn where_nts_is_required_it_is_enough() {
    for refusal in [Refusal::Ignore, Refusal::Deny] {
        let mut scene = with_nts(Policy {
            require_nts: Some(refusal),
            ..Policy::default()
        });
        let request = ask_for(AeadAlgorithm::AesSivCmac512, 1);
        assert_eq!(scene.ask(&request.octets).verdict, SEALED);
        assert_ne!(
            scene.ask(&octets(&super::request(Version::V4))).verdict,
            TIME
        );
    }
}

#[test]
fn while_the_keys_are_not_known_good_cookies_are_not_called_bad() {
    let mut scene = with_nts(Policy::default());
    scene.view.keyset = Some(Arc::new(Keyset::EMPTY));
    let request = ask_for(AeadAlgorithm::AesSivCmac256, 1);
    assert_eq!(
        scene.ask(&request.octets).verdict,
        Verdict::Ignore(Reason::NoKeys)
    );
    assert_eq!(
        scene.ask(&octets(&super::request(Version::V4))).verdict,
        TIME
    );
}

#[test]
fn a_sealed_reply_can_be_interleaved() {
    let algorithm = AeadAlgorithm::AesSivCmac256;
    let mut scene = with_nts(Policy::default());
    let mut header = request(Version::V4);
    let ask = |scene: &mut Scene, header: &Header| {
        let request =
            NtsRequest::new(header, &keys(algorithm), &cookie(algorithm), 1, &mut rng()).unwrap();
        let heard = scene.ask(&request.octets);
        assert_eq!(cookies(&heard, &request, algorithm).len(), 1);
        heard
    };
    header.origin_timestamp = (EPOCH + NtpDuration::from_seconds(1)).to_ntp();
    header.receive_timestamp = NtpTimestamp::from_bits(5);
    let origin = NtpTimestamp::from_bits(header.origin_timestamp.to_bits() | 1);
    header.origin_timestamp = origin;
    let first = ask(&mut scene, &header);
    let sent = EPOCH + NtpDuration::from_seconds(4);
    scene.worker.sent(first.token.unwrap(), sent);
    header.origin_timestamp = first.header().receive_timestamp;
    let second = ask(&mut scene, &header);
    assert!(matches!(
        second.verdict,
        Verdict::Answer {
            interleaved: true,
            ..
        }
    ));
    assert!((second.header().transmit_timestamp - sent.to_ntp()).abs() <= NtpDuration::EPSILON);
}
