//! Invariants that hold for any octets, as functions that panic if one is violated.
//!
//! They are called by the libFuzzer target in `fuzz/` and a property test. Random octets never pass
//! a tag, so most of what is checked here is first *sealed with valid keys*: what a client with a
//! valid cookie may send, and what a server with which we exchanged keys may send.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ntp_time::{Monotonic, SystemTime};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::{
    AeadAlgorithm, Cookie, Direction, Keyset, MasterSecret, NtsRequest, Proof, SessionKeys,
    StoredKeyset, StoredSession, verify_reply,
};
use crate::server::{
    Claim, Draft, Kind, Policy, ServerNow, ServerView, Verdict, WorkerState, respond,
};
use crate::wire::{
    ExtensionField, Header, Mode, NtsAuthenticator, Packet, Reader, Version, Writer, emit,
};

const TIME: SystemTime = SystemTime::from_nanos(1_700_000_000_123_456_789);

/// Length of the longest input that is tested.
const LIMIT: usize = 2048;

/// Checks the parsers, client and server with `data`, whose first octet selects the algorithm.
///
/// # Panics
///
/// If an invariant of [`nts`](super), [`server`](crate::server) or [`client`](crate::client) is
/// violated.
pub fn check(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let data = data.get(..LIMIT).unwrap_or(data);
    let algorithm = AeadAlgorithm::ALL[usize::from(*choice) % 3];
    parsers_round_trip(data);
    random_octets_are_not_a_cookie(data);
    check_request_with_any_fields(algorithm, data);
    check_reply_with_any_text(algorithm, data);
    check_damaged_reply(algorithm, data);
}

fn keyset() -> Keyset {
    Keyset::new(MasterSecret::new([9; MasterSecret::LENGTH]))
}

fn keys(algorithm: AeadAlgorithm) -> SessionKeys {
    let length = algorithm.key_length();
    SessionKeys::new(algorithm, &vec![1; length], &vec![2; length]).expect("of the right length")
}

fn cookie(algorithm: AeadAlgorithm) -> Cookie {
    keyset()
        .seal_cookie(&keys(algorithm), [3; 16])
        .expect("there is a key")
}

fn parsers_round_trip(data: &[u8]) {
    if let Ok(stored) = StoredKeyset::parse(data, Keyset::MAX_KEYS) {
        assert_eq!(*stored.emit(), data);
    }
    if let Ok(stored) = StoredSession::parse(data) {
        assert_eq!(*StoredSession::emit(&stored), data);
    }
    if let Some(field) = NtsAuthenticator::parse(data) {
        assert!(field.nonce.len() + field.sealed.len() + 4 <= data.len());
        assert!(field.nonce_capacity < data.len());
    }
}

fn random_octets_are_not_a_cookie(data: &[u8]) {
    assert!(keyset().open_cookie(data).is_none(), "forged");
}

/// The fields as encoded in `data`; a field with the type of a cookie gets a valid cookie as its
/// body.
fn check_request_with_any_fields(algorithm: AeadAlgorithm, data: &[u8]) {
    let ours = cookie(algorithm);
    let mut reader = Reader::new(data);
    let mut fields = Vec::new();
    while let (Ok(field_type), Ok(length)) = (reader.u16(), reader.u8()) {
        let Ok(body) = reader.take(length.into()) else {
            break;
        };
        let body = match field_type {
            ExtensionField::NTS_COOKIE => ours.octets(),
            _ => body,
        };
        fields.push(ExtensionField { field_type, body });
    }
    let blank = [0; 64];
    let body = NtsAuthenticator::body_length(algorithm.nonce_length(), AeadAlgorithm::OVERHEAD);
    fields.push(ExtensionField {
        field_type: ExtensionField::NTS_AUTHENTICATOR,
        body: blank.get(..body).unwrap_or_default(),
    });
    let mut octets = vec![0; 1 << 17];
    let mut writer = Writer::new(&mut octets);
    let header = Header::blank(Version::V4, Mode::Client);
    if emit(&header, fields.iter().copied(), None, &mut writer).is_err() {
        return;
    }
    let request = writer.finish();
    let nonce = vec![5; algorithm.nonce_length()];
    let (covered, place) = NtsAuthenticator::split_packet(request, body).expect("it ends with one");
    let sealed =
        NtsAuthenticator::lay_out(place, &nonce, AeadAlgorithm::OVERHEAD).expect("it fits");
    keys(algorithm)
        .seal(Direction::ClientToServer, covered, &nonce, sealed)
        .expect("lengths are right");

    let (verdict, reply) = exchange(request);
    assert!(reply.len() <= request.len(), "a reply amplifies");
    let of_type = |wanted| {
        fields
            .iter()
            .filter(move |field| field.field_type == wanted)
    };
    // The first authenticator counts; what follows it is ignored.
    if of_type(ExtensionField::NTS_AUTHENTICATOR).count() > 1 {
        return;
    }
    let sealed = matches!(
        verdict,
        Verdict::Answer {
            kind: Kind::Time,
            authenticated: true,
            ..
        }
    );
    if verdict.is_answer() {
        assert_eq!(sealed, of_type(ExtensionField::NTS_COOKIE).count() == 1);
    }
    let identifier = of_type(ExtensionField::UNIQUE_IDENTIFIER).next();
    if let (true, Some(identifier)) = (sealed, identifier)
        && let Ok(identifier) = identifier.body.try_into()
    {
        let packet = Packet::parse(&reply).expect("a reply is a packet");
        let Proof::Authentic(cookies) = verify_reply(&packet, &keys(algorithm), identifier) else {
            panic!("the client refuses an authentic reply");
        };
        assert!(cookies.len() <= 1 + of_type(ExtensionField::NTS_PLACEHOLDER).count());
        for cookie in cookies {
            assert!(keyset().open_cookie(cookie.octets()).is_some());
        }
    }
}

fn exchange(request: &[u8]) -> (Verdict, Vec<u8>) {
    let view = ServerView {
        claim: Claim::UNSYNCHRONIZED,
        policy: Arc::new(Policy::default()),
        keyset: Some(Arc::new(keyset())),
        reference_ids: None,
    };
    let mut worker = WorkerState::new(&view.policy, 1, [1; 32]);
    let mut draft = Draft::new();
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4000);
    let now = ServerNow {
        monotonic: Monotonic::from_nanos(1),
        system: TIME,
    };
    let verdict = respond(&view, &mut worker, from, now, request, TIME, &mut draft);
    (verdict, draft.seal(TIME).to_vec())
}

/// A server that holds the keys may encrypt any text.
fn check_reply_with_any_text(algorithm: AeadAlgorithm, data: &[u8]) {
    let identifier = [7; 32];
    let nonce = vec![5; algorithm.nonce_length()];
    let sealed = data.len() + AeadAlgorithm::OVERHEAD;
    let blank = vec![0; NtsAuthenticator::body_length(nonce.len(), sealed)];
    let field = |field_type, body| ExtensionField { field_type, body };
    let fields = [
        field(ExtensionField::UNIQUE_IDENTIFIER, &identifier[..]),
        field(ExtensionField::NTS_AUTHENTICATOR, &blank),
    ];
    let mut octets = vec![0; LIMIT + 256];
    let mut writer = Writer::new(&mut octets);
    let header = Header::blank(Version::V4, Mode::Server);
    if emit(&header, fields, None, &mut writer).is_err() {
        return;
    }
    let reply = writer.finish();
    let (covered, place) =
        NtsAuthenticator::split_packet(reply, blank.len()).expect("it ends with one");
    let sealed = NtsAuthenticator::lay_out(place, &nonce, sealed).expect("it fits");
    let text = algorithm.text(sealed.len()).expect("it has a tag");
    sealed[text].copy_from_slice(data);
    keys(algorithm)
        .seal(Direction::ServerToClient, covered, &nonce, sealed)
        .expect("lengths are right");
    let packet = Packet::parse(reply).expect("it was emitted");
    match verify_reply(&packet, &keys(algorithm), &identifier) {
        Proof::Authentic(cookies) => {
            assert!(cookies.len() <= Cookie::MAX_STORED);
            let octets: usize = cookies.iter().map(|cookie| cookie.octets().len()).sum();
            assert!(octets <= data.len());
        }
        other => panic!("the client refuses an authentic reply: {other:?}"),
    }
}

/// A reply with any changed octet is not authentic.
fn check_damaged_reply(algorithm: AeadAlgorithm, data: &[u8]) {
    let header = Header::blank(Version::V4, Mode::Client);
    let mut rng = ChaCha12Rng::from_seed([4; 32]);
    let request = NtsRequest::new(&header, &keys(algorithm), &cookie(algorithm), 2, &mut rng)
        .expect("it fits");
    let (_, mut reply) = exchange(&request.octets);
    for (octet, damage) in reply.iter_mut().zip(data) {
        *octet ^= damage;
    }
    let untouched = data.iter().take(reply.len()).all(|damage| *damage == 0);
    if let Ok(packet) = Packet::parse(&reply) {
        let proof = verify_reply(&packet, &keys(algorithm), &request.unique_identifier);
        assert_eq!(matches!(proof, Proof::Authentic(_)), untouched);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn invariants_hold_for_any_octets(data in vec(any::<u8>(), 0..400)) {
            check(&data);
        }

        #[test]
        fn invariants_hold_for_plausible_fields(
            cipher: u8,
            fields in vec((prop_oneof![Just(0x0104u16), Just(0x0204), Just(0x0304), Just(0x0404), any::<u16>()], 0u8..140), 0..12),
        ) {
            let mut data = vec![cipher];
            for (field_type, length) in fields {
                data.extend(field_type.to_be_bytes());
                data.push(length);
                data.resize(data.len() + usize::from(length), 3);
            }
            check(&data);
        }
    }
}
