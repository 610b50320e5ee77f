//! Invariants that hold for every request; see [`wire::fuzzing`](crate::wire::fuzzing) for the
//! callers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ntp_time::{Monotonic, NtpDuration, SystemTime};

use super::{
    Access, Claim, Draft, Kind, Policy, RateLimit, Reason, Refusal, ServerNow, ServerView, Verdict,
    Versions, WorkerState, respond,
};
use crate::keys::{Algorithm, Key, KeyRing};
use crate::nts::{Keyset, MasterSecret};
use crate::wire::{ExtensionField, Header, Mode, Packet, Version, v5};

const FROM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 123);
const RECEIVED: SystemTime = SystemTime::from_nanos(1_700_000_000_123_456_789);

/// Sends `request` to servers with different policies and checks their replies.
///
/// # Panics
///
/// If an invariant of [`server`](super) is violated.
pub fn check(request: &[u8]) {
    for policy in policies() {
        let view = ServerView {
            claim: Claim::UNSYNCHRONIZED,
            policy: Arc::new(policy),
            keyset: Some(Arc::new(Keyset::new(MasterSecret::new([9; 64])))),
            reference_ids: None,
        };
        let mut worker = WorkerState::new(&view.policy, 1, [1; 32]);
        // The second is a repetition, which the rate limit may refuse.
        for sent in 1..=2 {
            let reply = exchange(&view, &mut worker, request);
            assert_eq!(worker.counters().statistics.total(), sent);
            assert!(reply.len() <= request.len(), "a reply amplifies");
            check_reply_is_not_answered(&reply);
        }
    }
}

fn exchange(view: &ServerView, worker: &mut WorkerState, request: &[u8]) -> Vec<u8> {
    let now = ServerNow {
        monotonic: Monotonic::from_nanos(1),
        system: RECEIVED + NtpDuration::from_micros(10),
    };
    let transmit = RECEIVED + NtpDuration::from_micros(20);
    let mut draft = Draft::new();
    let verdict = respond(view, worker, FROM, now, request, RECEIVED, &mut draft);
    let stamp_token = draft.stamp_token();
    let reply = draft.seal(transmit).to_vec();

    let first = request.first().copied().unwrap_or_default();
    if v5::Header::is_version_5(first) {
        check_version_5(request, verdict, &reply);
        return reply;
    }
    let parsed = Packet::parse(request);
    let (kind, authenticated) = match verdict {
        Verdict::Answer {
            kind,
            interleaved,
            authenticated,
        } => {
            // No pair was ever completed.
            assert!(!interleaved);
            (kind, authenticated)
        }
        Verdict::Ignore(reason) => {
            assert!(reply.is_empty(), "an ignored datagram left a reply");
            if let Reason::Malformed(malformed) = reason {
                assert_eq!(parsed, Err(malformed));
            }
            return reply;
        }
    };
    let request = parsed.expect("only packets are answered");
    let packet = Packet::parse(&reply).expect("a reply is a packet");
    check_header(&request.header, &packet.header, transmit);
    assert_eq!(
        kind == Kind::CryptoNak,
        packet.mac.is_some_and(|mac| mac.is_crypto_nak())
    );
    let sealed = packet
        .extensions()
        .any(|field| field.field_type == ExtensionField::NTS_AUTHENTICATOR);
    assert_eq!(
        authenticated,
        sealed || packet.mac.is_some_and(|mac| !mac.is_crypto_nak())
    );
    if let (true, Some(mac)) = (authenticated, packet.mac) {
        let key = view
            .policy
            .keys
            .get(mac.key_id)
            .expect("a key that we hold");
        assert!(key.verify(packet.authenticated(), mac.digest));
        assert_eq!(request.mac.map(|mac| mac.length()), Some(mac.length()));
    }
    for field in packet.extensions() {
        if sealed && field.field_type == ExtensionField::NTS_AUTHENTICATOR {
            continue;
        }
        let mut request_fields = request.extensions();
        assert!(request_fields.any(
            |other| field.body.starts_with(other.body) && field.field_type == other.field_type
        ));
    }
    assert!(stamp_token.is_none() || kind == Kind::Time);
    reply
}

fn check_version_5(request: &[u8], verdict: Verdict, reply: &[u8]) {
    let Verdict::Answer {
        kind,
        interleaved,
        authenticated,
    } = verdict
    else {
        assert!(reply.is_empty(), "an ignored datagram left a reply");
        return;
    };
    assert_eq!(reply.len(), request.len());
    let request = v5::Packet::parse(request).expect("only packets are answered");
    let packet = v5::Packet::parse(reply).expect("a reply is a packet");
    let (asked, header) = (request.header, packet.header);
    assert_eq!((asked.mode, header.mode), (Mode::Client, Mode::Server));
    assert_eq!(header.client_cookie, asked.client_cookie);
    assert_eq!(packet.draft, request.draft);
    assert!(
        packet
            .draft
            .is_some_and(|name| v5::draft::known_name(name).is_some())
    );
    // No pair was ever completed.
    assert!(!interleaved && !header.flags.interleaved);
    assert_eq!(
        header.flags.authentication_nak,
        matches!(kind, Kind::CryptoNak | Kind::NtsNak)
    );
    assert_eq!(header.poll == v5::Header::NEVER, kind == Kind::Deny);
    let sealed = packet
        .fields()
        .any(|field| field.field_type == ExtensionField::NTS_AUTHENTICATOR);
    assert_eq!(authenticated, sealed || packet.mac.is_some());
}

fn check_header(request: &Header, reply: &Header, transmit: SystemTime) {
    match request.mode {
        Mode::Client => assert_eq!(reply.mode, Mode::Server),
        Mode::Reserved => {
            assert_eq!((request.version, reply.mode), (Version::V1, Mode::Server));
        }
        Mode::SymmetricActive => assert_eq!(reply.mode, Mode::SymmetricPassive),
        other => panic!("answered {other:?}, which is not a request"),
    }
    assert_eq!(reply.version, request.version);
    assert!(reply.poll >= request.poll);
    assert_eq!(reply.origin_timestamp, request.transmit_timestamp);
    assert_ne!(reply.receive_timestamp, reply.transmit_timestamp);
    let unit = NtpDuration::EPSILON;
    assert!((reply.receive_timestamp - RECEIVED.to_ntp()).abs() <= unit);
    assert!((reply.transmit_timestamp - transmit.to_ntp()).abs() <= unit);
}

/// Otherwise two servers could be made to answer each other endlessly.
fn check_reply_is_not_answered(reply: &[u8]) {
    if reply.is_empty() {
        return;
    }
    let view = ServerView::unrestricted(Claim::UNSYNCHRONIZED);
    let mut worker = WorkerState::new(&view.policy, 1, [2; 32]);
    let answer = exchange(&view, &mut worker, reply);
    assert!(answer.is_empty(), "an answer is answered");
}

fn policies() -> [Policy; 4] {
    let key = |id, algorithm| Key::new(id, algorithm, b"0123456789abcdef").ok();
    // Key ids that fuzzers and the corpus use.
    let keys = [key(42, Algorithm::Aes128Cmac), key(1, Algorithm::Sha1)];
    [
        Policy::default(),
        Policy {
            keys: KeyRing::new(keys.into_iter().flatten()).unwrap_or_default(),
            versions: Versions::UP_TO_4.with(Version::V5),
            ..Policy::default()
        },
        Policy {
            versions: Versions::UP_TO_4.with(Version::V5),
            access: Access::from_rules(Some(Refusal::Deny), []),
            ..Policy::default()
        },
        Policy {
            rate_limit: RateLimit {
                slots: 4,
                cutoff: NtpDuration::from_seconds(1),
                kiss: Some(0),
                ..RateLimit::NONE
            },
            require_nts: Some(Refusal::Ignore),
            versions: Versions::UP_TO_4.with(Version::V5),
            ..Policy::default()
        },
    ]
}
