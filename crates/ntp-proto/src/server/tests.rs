//! What a client sees, request by request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, NtpShort, NtpTimestamp, PollInterval,
    ReferenceId, Stratum, SystemTime,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::keys::{Algorithm, KeyRing};
use crate::wire::{Mac, Writer, emit};

const EPOCH: SystemTime = SystemTime::from_nanos(1_700_000_000_000_000_000);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn claim() -> Claim {
    Claim {
        leap: LeapIndicator::Insert,
        stratum: Stratum::new(2),
        precision: -23,
        root_delay: NtpShort::from_bits(0x0123),
        root_dispersion: RootDispersion {
            value: NtpDuration::from_seconds(1),
            at: EPOCH,
            growth: Frequency::from_ratio(0.5),
        },
        reference_id: ReferenceId::new([192, 0, 2, 1]),
        reference_timestamp: NtpTimestamp::from_bits(0x1111_2222_3333_4444),
        limit: NtpDuration::MAX,
        local: Local::NONE,
        epoch: 0,
    }
}

/// A server, a client and the time, which passes by a second from request to request.
struct Scene {
    view: ServerView,
    worker: WorkerState,
    draft: Draft,
    seconds: i64,
}

struct Heard {
    verdict: Verdict,
    octets: Vec<u8>,
    token: Option<StampToken>,
}

impl Heard {
    fn header(&self) -> Header {
        Packet::parse(&self.octets).unwrap().header
    }

    fn kiss(&self) -> [u8; 4] {
        assert_eq!(self.header().stratum, Stratum::KISS);
        assert_eq!(self.header().leap, LeapIndicator::Unsynchronized);
        self.header().reference_id.octets()
    }
}

impl Scene {
    fn new(policy: Policy) -> Self {
        let view = ServerView {
            claim: claim(),
            policy: Arc::new(policy),
        };
        Self {
            worker: WorkerState::new(&view.policy, 1, [5; 32]),
            view,
            draft: Draft::new(),
            seconds: 3,
        }
    }

    fn now(&self) -> SystemTime {
        EPOCH + NtpDuration::from_seconds(self.seconds)
    }

    fn ask(&mut self, request: &[u8]) -> Heard {
        self.ask_from(CLIENT, request)
    }

    fn ask_from(&mut self, client: IpAddr, request: &[u8]) -> Heard {
        let received = self.now();
        let now = ServerNow {
            monotonic: Monotonic::from_nanos(self.seconds * 1_000_000_000),
            system: received + NtpDuration::from_seconds(1),
        };
        let from = SocketAddr::new(client, 4123);
        let verdict = respond(
            &self.view,
            &mut self.worker,
            from,
            now,
            request,
            received,
            &mut self.draft,
        );
        self.seconds += 1;
        let octets = self
            .draft
            .seal(received + NtpDuration::from_seconds(2))
            .to_vec();
        assert_eq!(octets.len(), self.draft.len());
        Heard {
            verdict,
            octets,
            token: self.draft.stamp_wanted(),
        }
    }
}

fn open() -> Scene {
    Scene::new(Policy::default())
}

fn octets(header: &Header) -> Vec<u8> {
    packet(header, &[], None)
}

fn packet(header: &Header, fields: &[ExtensionField<'_>], mac: Option<Mac<'_>>) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let mut writer = Writer::new(&mut buffer);
    emit(header, fields.iter().copied(), mac, &mut writer).unwrap();
    writer.finish().to_vec()
}

fn request(version: Version) -> Header {
    Header {
        poll: PollInterval::from_log2(7),
        transmit_timestamp: NtpTimestamp::from_bits(0xdead_beef_0bad_cafe),
        ..Header::blank(version, Mode::Client)
    }
}

const TIME: Verdict = Verdict::Answer {
    kind: Kind::Time,
    interleaved: false,
    authenticated: false,
};

fn refused(kind: Kind) -> Verdict {
    Verdict::Answer {
        kind,
        interleaved: false,
        authenticated: false,
    }
}

#[test]
fn a_request_is_answered_field_by_field() {
    for version in [Version::V3, Version::V4] {
        let heard = open().ask(&octets(&request(version)));
        assert_eq!(heard.verdict, TIME);
        let expected = Header {
            leap: LeapIndicator::Insert,
            version,
            mode: Mode::Server,
            stratum: Stratum::new(2),
            poll: PollInterval::from_log2(7),
            precision: -23,
            root_delay: NtpShort::from_bits(0x0123),
            // 1 s, and 4 s of growth at a half.
            root_dispersion: NtpShort::from_bits(3 << 16),
            reference_id: ReferenceId::new([192, 0, 2, 1]),
            reference_timestamp: NtpTimestamp::from_bits(0x1111_2222_3333_4444),
            origin_timestamp: NtpTimestamp::from_bits(0xdead_beef_0bad_cafe),
            // Marked as what it is.
            receive_timestamp: (EPOCH + NtpDuration::from_seconds(3)).to_ntp()
                + NtpDuration::EPSILON,
            transmit_timestamp: (EPOCH + NtpDuration::from_seconds(5)).to_ntp(),
        };
        assert_eq!(heard.header(), expected);
        assert_eq!(heard.token, None);
    }
}

#[test]
fn only_requests_are_answered_and_no_answer_is_a_request() {
    for mode in Mode::ALL {
        let heard = open().ask(&octets(&Header::blank(Version::V4, mode)));
        match mode {
            Mode::Client | Mode::SymmetricActive => {
                assert_eq!(heard.verdict, TIME);
                let second = open().ask(&heard.octets).verdict;
                assert!(matches!(second, Verdict::Ignore(Reason::NotARequest(_))));
            }
            other => {
                assert_eq!(heard.verdict, Verdict::Ignore(Reason::NotARequest(other)));
                assert!(heard.octets.is_empty());
            }
        }
    }
}

#[test]
fn nothing_of_an_earlier_answer_survives_a_refusal() {
    let mut scene = open();
    scene.ask(&octets(&request(Version::V4)));
    let heard = scene.ask(b"hello");
    assert_eq!(
        heard.verdict,
        Verdict::Ignore(Reason::Malformed(Malformed::TooShort))
    );
    assert!(heard.octets.is_empty() && scene.draft.is_empty());
    let counters = scene.worker.counters();
    assert_eq!((counters.accepted, counters.ignored), (1, 1));
    assert_eq!((counters.malformed, counters.received()), (1, 2));
}

#[test]
fn versions_are_answered_as_configured() {
    let mut unknown = octets(&request(Version::V4));
    unknown[0] = 5 << 3 | 3;
    let reason = Reason::Malformed(Malformed::Version(5));
    assert_eq!(open().ask(&unknown).verdict, Verdict::Ignore(reason));

    let mut scene = Scene::new(Policy {
        versions: Versions::NONE.with(Version::V4),
        ..Policy::default()
    });
    assert_eq!(scene.ask(&octets(&request(Version::V4))).verdict, TIME);
    let reason = Reason::Version(Version::V3);
    let heard = scene.ask(&octets(&request(Version::V3)));
    assert_eq!(heard.verdict, Verdict::Ignore(reason));
}

#[test]
fn a_request_from_port_zero_cannot_be_answered() {
    let mut scene = open();
    let now = ServerNow {
        monotonic: Monotonic::from_nanos(0),
        system: EPOCH,
    };
    let request = octets(&request(Version::V4));
    let from = SocketAddr::new(CLIENT, 0);
    let verdict = respond(
        &scene.view,
        &mut scene.worker,
        from,
        now,
        &request,
        EPOCH,
        &mut scene.draft,
    );
    assert_eq!(verdict, Verdict::Ignore(Reason::Unanswerable));
}

#[test]
fn refusals_are_silent_or_say_deny() {
    let list = |network: &str, refusal| AccessList {
        networks: Networks::new([(network.parse().unwrap(), 24)]),
        refusal,
    };
    let policy = Policy {
        access: Access {
            denylist: list("192.0.2.0", Refusal::Deny),
            allowlist: list("198.51.100.0", Refusal::Ignore),
        },
        ..Policy::default()
    };
    let mut scene = Scene::new(policy);
    let request = octets(&request(Version::V4));

    let heard = scene.ask(&request);
    assert_eq!(heard.verdict, refused(Kind::Deny));
    assert_eq!(&heard.kiss(), b"DENY");
    assert_eq!(
        heard.header().origin_timestamp.to_bits(),
        0xdead_beef_0bad_cafe
    );
    // A dual-stack socket shows the same client like this.
    let mapped = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201));
    assert_eq!(
        scene.ask_from(mapped, &request).verdict,
        refused(Kind::Deny)
    );
    let stranger = scene.ask_from("203.0.113.1".parse().unwrap(), &request);
    assert_eq!(stranger.verdict, Verdict::Ignore(Reason::Access));
    assert!(stranger.octets.is_empty());
    let friend = scene.ask_from("198.51.100.9".parse().unwrap(), &request);
    assert_eq!(friend.verdict, TIME);
    // Not even a kiss for what is no request.
    assert!(scene.ask(b"what time is it?").octets.is_empty());

    let counters = scene.worker.counters();
    assert_eq!(
        (counters.denied, counters.ignored, counters.accepted),
        (2, 2, 1)
    );
    assert_eq!(counters.received(), 5);
}

fn limited(kiss: Option<u8>) -> Scene {
    Scene::new(Policy {
        rate_limit: RateLimit {
            slots: 64,
            cutoff: NtpDuration::from_seconds(300),
            kiss,
            ..RateLimit::NONE
        },
        ..Policy::default()
    })
}

#[test]
fn who_asks_too_often_is_not_answered() {
    let mut scene = limited(None);
    let request = octets(&request(Version::V4));
    let first = scene.ask(&request);
    assert_eq!(first.verdict, TIME);
    // Told to ask no oftener than every 512 s.
    assert_eq!(first.header().poll, PollInterval::from_log2(9));
    assert_eq!(
        scene.ask(&request).verdict,
        Verdict::Ignore(Reason::RateLimited)
    );
    // What is no request does not count against anybody.
    let other: IpAddr = "203.0.113.1".parse().unwrap();
    for datagram in [
        &b"garbage"[..],
        &octets(&Header::blank(Version::V4, Mode::Server)),
    ] {
        assert!(matches!(
            scene.ask_from(other, datagram).verdict,
            Verdict::Ignore(_)
        ));
    }
    assert_eq!(scene.ask_from(other, &request).verdict, TIME);
    scene.seconds += 300;
    assert_eq!(scene.ask(&request).verdict, TIME);
    let counters = scene.worker.counters();
    assert_eq!(
        (counters.accepted, counters.rate_limited, counters.ignored),
        (3, 1, 2)
    );
}

#[test]
fn a_rate_kiss_names_the_interval() {
    let mut scene = limited(Some(0));
    let request = octets(&request(Version::V4));
    scene.ask(&request);
    let heard = scene.ask(&request);
    assert_eq!(heard.verdict, refused(Kind::Rate));
    assert_eq!(&heard.kiss(), b"RATE");
    assert_eq!(heard.header().poll, PollInterval::from_log2(9));
    let counters = scene.worker.counters();
    assert_eq!(
        (
            counters.rate_limited,
            counters.rate_kisses,
            counters.received()
        ),
        (1, 1, 2)
    );
}

#[test]
fn kisses_are_limited_too() {
    let mut scene = limited(None);
    let policy = Policy {
        access: Access {
            allowlist: AccessList {
                networks: Networks::NONE,
                refusal: Refusal::Deny,
            },
            ..Access::everybody()
        },
        ..(*scene.view.policy).clone()
    };
    scene.view.policy = Arc::new(policy);
    let request = octets(&request(Version::V4));
    assert_eq!(scene.ask(&request).verdict, refused(Kind::Deny));
    assert_eq!(
        scene.ask(&request).verdict,
        Verdict::Ignore(Reason::RateLimited)
    );
}

#[test]
fn a_new_policy_forgets_only_what_it_changes() {
    let mut scene = limited(None);
    let request = octets(&request(Version::V4));
    scene.ask(&request);
    let mut policy = (*scene.view.policy).clone();
    policy.versions = Versions::NONE.with(Version::V4);
    scene.worker.fit(&policy);
    assert_eq!(
        scene.ask(&request).verdict,
        Verdict::Ignore(Reason::RateLimited)
    );
    policy.rate_limit.cutoff = NtpDuration::from_millis(1);
    scene.worker.fit(&policy);
    assert_eq!(scene.ask(&request).verdict, TIME);
    assert_eq!(scene.ask(&request).verdict, TIME);
    assert_eq!(scene.worker.counters().received(), 4);
}

fn key(id: u32, algorithm: Algorithm) -> Key {
    Key::new(id, algorithm, b"0123456789abcdef").unwrap()
}

fn with_keys() -> Scene {
    let keys = [key(1, Algorithm::Aes128Cmac), key(2, Algorithm::Sha256)];
    Scene::new(Policy {
        keys: KeyRing::new(keys).unwrap(),
        ..Policy::default()
    })
}

/// A request signed with `key`, its digest cut to `length`.
fn signed(version: Version, key: &Key, length: usize, fields: &[ExtensionField<'_>]) -> Vec<u8> {
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
        assert_eq!(
            scene.ask(&octets(&super::tests::request(version))).verdict,
            TIME
        );
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

/// The request that follows `reply` in interleaved mode (RFC 9769 section 2).
fn interleaved_request(reply: &Header, nonce: u64) -> Header {
    Header {
        origin_timestamp: reply.receive_timestamp,
        receive_timestamp: NtpTimestamp::from_bits(nonce ^ 0x5555),
        transmit_timestamp: NtpTimestamp::from_bits(nonce),
        ..request(Version::V4)
    }
}

#[test]
fn the_third_reply_is_interleaved() {
    let mut scene = open();
    let first = scene.ask(&octets(&request(Version::V4)));
    assert_eq!(first.token, None);

    let second = scene.ask(&octets(&interleaved_request(&first.header(), 2)));
    assert_eq!(second.verdict, TIME);
    assert_eq!(second.header().origin_timestamp.to_bits(), 2);
    let left = EPOCH + NtpDuration::from_millis(4_321);
    scene.worker.sent(second.token.unwrap(), left);

    let request = interleaved_request(&second.header(), 3);
    let third = scene.ask(&octets(&request));
    let expected = Verdict::Answer {
        kind: Kind::Time,
        interleaved: true,
        authenticated: false,
    };
    assert_eq!(third.verdict, expected);
    let header = third.header();
    assert_eq!(header.origin_timestamp, request.receive_timestamp);
    assert!((header.transmit_timestamp - left.to_ntp()).abs() <= NtpDuration::EPSILON);
    assert!(header.receive_timestamp.to_bits() != second.header().receive_timestamp.to_bits());
    assert_eq!(scene.worker.counters().interleaved, 1);

    // The third reply's stamp never came: a basic reply, and the next may be interleaved again.
    let fourth = scene.ask(&octets(&interleaved_request(&header, 4)));
    assert_eq!(fourth.verdict, TIME);
    assert!(fourth.token.is_some());
}

#[test]
fn a_stamp_from_before_a_step_is_not_given_out() {
    let mut scene = open();
    let first = scene.ask(&octets(&request(Version::V4)));
    let second = scene.ask(&octets(&interleaved_request(&first.header(), 2)));
    scene.worker.sent(second.token.unwrap(), scene.now());
    scene.view.claim.epoch += 1;
    let third = scene.ask(&octets(&interleaved_request(&second.header(), 3)));
    assert_eq!(third.verdict, TIME);
}

#[test]
fn clients_without_interleaved_mode_cost_no_memory_and_no_stamp() {
    let mut scene = open();
    let reply = scene.ask(&octets(&request(Version::V4))).header();
    let plausible = interleaved_request(&reply, 9);
    let requests = [
        // As ntpd and ntpsec fill them in: origin is our transmit timestamp.
        Header {
            origin_timestamp: reply.transmit_timestamp,
            ..plausible
        },
        Header {
            origin_timestamp: NtpTimestamp::ZERO,
            ..plausible
        },
        // By this the client could not tell which kind of reply it got.
        Header {
            receive_timestamp: plausible.transmit_timestamp,
            ..plausible
        },
        // Not a time at which we could have answered.
        Header {
            origin_timestamp: NtpTimestamp::from_bits(0x0123_4567_89ab_cdef),
            ..plausible
        },
        Header {
            mode: Mode::SymmetricActive,
            ..plausible
        },
    ];
    for request in requests {
        let heard = scene.ask(&octets(&request));
        assert_eq!((heard.verdict, heard.token), (TIME, None));
    }
}

#[test]
fn interleaved_replies_are_signed_as_they_are() {
    let mut scene = with_keys();
    let key = key(1, Algorithm::Aes128Cmac);
    let mut sign = |header: &Header| {
        let mac = Mac {
            key_id: 1,
            digest: &[0; 16],
        };
        let mut octets = packet(header, &[], Some(mac));
        let (covered, digest) = Mac::divide(&mut octets, 16).unwrap();
        digest.copy_from_slice(key.sign(covered).version_4());
        octets
    };
    let mut reply = scene.ask(&sign(&request(Version::V4)));
    for nonce in 2..4 {
        if let Some(token) = reply.token {
            scene.worker.sent(token, scene.now());
        }
        reply = scene.ask(&sign(&interleaved_request(&reply.header(), nonce)));
    }
    let expected = Verdict::Answer {
        kind: Kind::Time,
        interleaved: true,
        authenticated: true,
    };
    assert_eq!(reply.verdict, expected);
    let packet = Packet::parse(&reply.octets).unwrap();
    assert!(key.verify(packet.authenticated(), packet.mac.unwrap().digest));
}

#[test]
fn losing_all_sources_is_said_in_the_reply() {
    let mut scene = open();
    scene.view.claim.limit = NtpDuration::from_seconds(10);
    let request = octets(&request(Version::V4));
    assert_eq!(scene.ask(&request).header().stratum, Stratum::new(2));
    scene.seconds += 20;
    let lost = scene.ask(&request);
    assert_eq!(lost.verdict, TIME);
    assert_eq!(lost.header().leap, LeapIndicator::Unsynchronized);
    assert_eq!(lost.header().stratum, Stratum::UNSYNCHRONIZED);
}

proptest! {
    #[test]
    fn any_datagram_keeps_the_promises(
        first in any::<u8>(),
        rest in vec(any::<u8>(), 0..120),
    ) {
        let mut datagram = vec![first];
        datagram.extend(rest);
        fuzzing::check(&datagram);
    }

    /// Random octets are seldom a request with fields or a MAC; these always are.
    #[test]
    fn any_request_keeps_the_promises(
        version in prop_oneof![Just(Version::V3), Just(Version::V4)],
        mode in prop_oneof![Just(Mode::Client), Just(Mode::SymmetricActive)],
        stamps in any::<[u64; 3]>(),
        poll in any::<i8>(),
        fields in vec((prop_oneof![Just(0x0104u16), Just(0x0404), any::<u16>()], 0usize..40), 0..4),
        digest in prop_oneof![Just(None), Just(Some(0)), Just(Some(16)), Just(Some(20))],
        key in prop_oneof![Just(1u32), Just(2), Just(42)],
        genuine: bool,
    ) {
        let [origin, receive, transmit] = stamps.map(NtpTimestamp::from_bits);
        let header = Header {
            poll: PollInterval::from_log2(poll),
            origin_timestamp: origin,
            receive_timestamp: receive,
            transmit_timestamp: transmit,
            ..Header::blank(version, mode)
        };
        let bodies = [3; 40];
        let fields: Vec<_> = fields
            .iter()
            .filter(|_| version == Version::V4)
            .map(|(field_type, length)| ExtensionField { field_type: *field_type, body: &bodies[..*length] })
            .collect();
        let blank = [0; 20];
        let mac = digest.map(|length| Mac {
            key_id: if length == 0 { 0 } else { key },
            digest: &blank[..length],
        });
        let mut datagram = packet(&header, &fields, mac);
        if let (true, Some(length @ 1..)) = (genuine, digest) {
            let algorithm = if length == 16 { Algorithm::Aes128Cmac } else { Algorithm::Sha1 };
            let (covered, digest) = Mac::divide(&mut datagram, length).unwrap();
            digest.copy_from_slice(super::tests::key(key, algorithm).sign(covered).version_4());
        }
        fuzzing::check(&datagram);
    }
}
