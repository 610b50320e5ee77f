//! Requests with NTS.

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::*;
use crate::nts::{
    AeadAlgorithm, Cookie, Direction, Keyset, MasterSecret, NtsRequest, Proof, SessionKeys,
    verify_reply,
};
use crate::wire::NtsAuthenticator;

const AUTHENTICATED: Verdict = Verdict::Answer {
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

fn nts_request(algorithm: AeadAlgorithm, cookies: usize) -> NtsRequest {
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

fn with_nts(policy: Policy) -> TestServer {
    let mut server = TestServer::new(policy);
    server.view.keyset = Some(Arc::new(keyset()));
    server
}

/// Verifies a reply as the client does.
fn proof(outcome: &Outcome, request: &NtsRequest, algorithm: AeadAlgorithm) -> Proof {
    let packet = Packet::parse(&outcome.octets).unwrap();
    verify_reply(&packet, &keys(algorithm), &request.unique_identifier)
}

fn cookies(outcome: &Outcome, request: &NtsRequest, algorithm: AeadAlgorithm) -> Vec<Cookie> {
    match proof(outcome, request, algorithm) {
        Proof::Authentic(cookies) => cookies,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_authentic_request_gets_the_time_and_one_cookie_per_cookie_or_placeholder_field() {
    for algorithm in AeadAlgorithm::ALL {
        for wanted in [1, 2, 8] {
            let mut server = with_nts(Policy::default());
            let request = nts_request(algorithm, wanted);
            let outcome = server.request(&request.octets);
            assert_eq!(outcome.verdict, AUTHENTICATED);
            assert_eq!(outcome.octets.len(), request.octets.len());
            let fresh = cookies(&outcome, &request, algorithm);
            let placeholders = Packet::parse(&request.octets)
                .unwrap()
                .extensions()
                .filter(|field| field.field_type == ExtensionField::NTS_PLACEHOLDER)
                .count();
            assert_eq!(fresh.len(), 1 + placeholders);
            // Each cookie is valid, and no two are equal.
            for cookie in &fresh {
                assert_eq!(fresh.iter().filter(|other| *other == cookie).count(), 1);
                let header = super::request(Version::V4);
                let next =
                    NtsRequest::new(&header, &keys(algorithm), cookie, 1, &mut rng()).unwrap();
                let outcome = server.request(&next.octets);
                assert_eq!(outcome.verdict, AUTHENTICATED);
                assert_eq!(cookies(&outcome, &next, algorithm).len(), 1);
            }
            let counters = server.worker.counters();
            let all = 1 + fresh.len() as u64;
            assert_eq!(
                (
                    counters.statistics.nts_accepted,
                    counters.statistics.nts_received
                ),
                (all, all)
            );
            assert_eq!(
                (counters.statistics.accepted, counters.details.authenticated),
                (all, 0)
            );
        }
    }
}

#[test]
fn a_reply_with_any_flipped_bit_is_not_authentic() {
    for algorithm in AeadAlgorithm::ALL {
        let request = nts_request(algorithm, 1);
        let outcome = with_nts(Policy::default()).request(&request.octets);
        for bit in 0..outcome.octets.len() * 8 {
            let mut octets = outcome.octets.clone();
            octets[bit / 8] ^= 1 << (bit % 8);
            let Ok(packet) = Packet::parse(&octets) else {
                continue;
            };
            let proof = verify_reply(&packet, &keys(algorithm), &request.unique_identifier);
            assert!(!matches!(proof, Proof::Authentic(_)), "bit {bit}");
        }
        // The reply does not verify for another request.
        let mut other = request.clone();
        other.unique_identifier[0] ^= 1;
        assert_eq!(proof(&outcome, &other, algorithm), Proof::Unrelated);
    }
}

#[test]
fn an_inauthentic_request_gets_an_unauthenticated_ntsn_kiss() {
    let algorithm = AeadAlgorithm::AesSivCmac256;
    let request = nts_request(algorithm, 3);
    for at in [8, 60, 100, request.octets.len() - 1] {
        let mut forged = request.octets.clone();
        forged[at] ^= 1;
        let mut server = with_nts(Policy::default());
        let outcome = server.request(&forged);
        assert_eq!(outcome.verdict, refused(Kind::NtsNak), "octet {at}");
        assert_eq!(&outcome.kiss(), b"NTSN");
        assert_eq!(outcome.octets.len(), Header::LEN + 36);
        if at != 60 {
            assert_eq!(proof(&outcome, &request, algorithm), Proof::Unauthenticated);
        }
        assert_eq!(server.worker.counters().statistics.nts_nak, 1);
    }
    // A cookie of another server, or whose key is gone.
    let mut server = with_nts(Policy::default());
    let rotated = keyset().rotated(MasterSecret::new([8; 64]), 0);
    server.view.keyset = Some(Arc::new(rotated));
    assert_eq!(
        server.request(&request.octets).verdict,
        refused(Kind::NtsNak)
    );
    // Rotated, but the key is kept.
    let rotated = keyset().rotated(MasterSecret::new([8; 64]), 1);
    server.view.keyset = Some(Arc::new(rotated));
    assert_eq!(server.request(&request.octets).verdict, AUTHENTICATED);
}

#[test]
fn a_request_needs_exactly_one_cookie_and_space_for_the_reply_nonce() {
    let algorithm = AeadAlgorithm::AesSivCmac256;
    let cookie = cookie(algorithm);
    let (unique, blank) = ([7; 32], [0; 64]);
    let field = |field_type, body| ExtensionField { field_type, body };
    let identifier = field(ExtensionField::UNIQUE_IDENTIFIER, &unique[..]);
    let cookie = field(ExtensionField::NTS_COOKIE, cookie.octets());
    let exchange = |fields: &[ExtensionField<'_>], nonce: usize, padding: usize| {
        let body = NtsAuthenticator::body_length(nonce, 16) + padding;
        let authenticator = field(ExtensionField::NTS_AUTHENTICATOR, &blank[..body]);
        let fields = [fields, &[authenticator]].concat();
        let mut octets = packet(&request(Version::V4), &fields, None);
        let (covered, place) = NtsAuthenticator::split_packet(&mut octets, body).unwrap();
        let nonce = vec![5; nonce];
        let sealed = NtsAuthenticator::lay_out(place, &nonce, 16).unwrap();
        keys(algorithm)
            .seal(Direction::ClientToServer, covered, &nonce, sealed)
            .unwrap();
        with_nts(Policy::default()).request(&octets).verdict
    };
    let nak = refused(Kind::NtsNak);
    assert_eq!(exchange(&[identifier, cookie], 16, 0), AUTHENTICATED);
    assert_eq!(exchange(&[identifier, cookie], 20, 0), AUTHENTICATED);
    assert_eq!(exchange(&[identifier, cookie], 12, 4), AUTHENTICATED);
    assert_eq!(exchange(&[identifier, cookie], 12, 0), nak);
    assert_eq!(exchange(&[identifier], 16, 0), nak);
    assert_eq!(exchange(&[identifier, cookie, cookie], 16, 0), nak);
}

#[test]
fn a_reply_has_at_most_eight_cookies_and_is_no_longer_than_its_request() {
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
        let (covered, place) = NtsAuthenticator::split_packet(octets, body).unwrap();
        let sealed = NtsAuthenticator::lay_out(place, &[5; 12], 16).unwrap();
        keys(algorithm)
            .seal(Direction::ClientToServer, covered, &[5; 12], sealed)
            .unwrap();
        let outcome = with_nts(Policy::default()).request(octets);
        assert_eq!(outcome.verdict, AUTHENTICATED);
        assert!(outcome.octets.len() <= octets.len());
        let packet = Packet::parse(&outcome.octets).unwrap();
        let Proof::Authentic(fresh) = verify_reply(&packet, &keys(algorithm), &unique) else {
            panic!("the reply is not authentic");
        };
        assert_eq!(fresh.len(), expected, "{count} of {length} octets");
    }
}

#[test]
fn kisses_to_authentic_requests_are_authentic_and_carry_cookies() {
    let algorithm = AeadAlgorithm::AesSivCmac256;
    let request = nts_request(algorithm, 1);
    let mut denying = with_nts(Policy {
        access: Access::from_rules(Some(Refusal::Deny), []),
        ..Policy::default()
    });
    let outcome = denying.request(&request.octets);
    assert_eq!(&outcome.kiss(), b"DENY");
    assert_eq!(cookies(&outcome, &request, algorithm).len(), 1);
    assert_eq!(denying.worker.counters().statistics.nts_denied, 1);

    let mut limiting = with_nts(Policy {
        rate_limit: RateLimit {
            slots: 4,
            cutoff: NtpDuration::from_seconds(100),
            kiss: Some(0),
            ..RateLimit::NONE
        },
        ..Policy::default()
    });
    assert_eq!(limiting.request(&request.octets).verdict, AUTHENTICATED);
    let outcome = limiting.request(&request.octets);
    assert_eq!(&outcome.kiss(), b"RATE");
    assert_eq!(cookies(&outcome, &request, algorithm).len(), 1);
    assert_eq!(limiting.worker.counters().statistics.nts_rate_limited, 1);
}

#[test]
fn nts_requests_are_answered_if_nts_is_required() {
    for refusal in [Refusal::Ignore, Refusal::Deny] {
        let mut server = with_nts(Policy {
            require_nts: Some(refusal),
            ..Policy::default()
        });
        let request = nts_request(AeadAlgorithm::AesSivCmac512, 1);
        assert_eq!(server.request(&request.octets).verdict, AUTHENTICATED);
        assert_ne!(
            server
                .request(&octets(&super::request(Version::V4)))
                .verdict,
            TIME
        );
    }
}

#[test]
fn nts_requests_are_ignored_while_the_keyset_is_empty() {
    let mut server = with_nts(Policy::default());
    server.view.keyset = Some(Arc::new(Keyset::EMPTY));
    let request = nts_request(AeadAlgorithm::AesSivCmac256, 1);
    assert_eq!(
        server.request(&request.octets).verdict,
        Verdict::Ignore(Reason::NoKeys)
    );
    assert_eq!(
        server
            .request(&octets(&super::request(Version::V4)))
            .verdict,
        TIME
    );
}

#[test]
fn an_nts_reply_can_be_interleaved() {
    let algorithm = AeadAlgorithm::AesSivCmac256;
    let mut server = with_nts(Policy::default());
    let mut header = request(Version::V4);
    let exchange = |server: &mut TestServer, header: &Header| {
        let request =
            NtsRequest::new(header, &keys(algorithm), &cookie(algorithm), 1, &mut rng()).unwrap();
        let outcome = server.request(&request.octets);
        assert_eq!(cookies(&outcome, &request, algorithm).len(), 1);
        outcome
    };
    header.origin_timestamp = (EPOCH + NtpDuration::from_seconds(1)).to_ntp();
    header.receive_timestamp = NtpTimestamp::from_bits(5);
    let origin = NtpTimestamp::from_bits(header.origin_timestamp.to_bits() | 1);
    header.origin_timestamp = origin;
    let first = exchange(&mut server, &header);
    let sent = EPOCH + NtpDuration::from_seconds(4);
    server.worker.record_transmit(first.token.unwrap(), sent);
    header.origin_timestamp = first.header().receive_timestamp;
    let second = exchange(&mut server, &header);
    assert!(matches!(
        second.verdict,
        Verdict::Answer {
            interleaved: true,
            ..
        }
    ));
    assert!((second.header().transmit_timestamp - sent.to_ntp()).abs() <= NtpDuration::EPSILON);
}
