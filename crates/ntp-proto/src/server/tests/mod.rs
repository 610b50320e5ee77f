//! What a client sees, request by request.

mod interleaved;
mod nts;
mod properties;
mod signed;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, NtpShort, NtpTimestamp, PollInterval,
    ReferenceId, Stratum, SystemTime,
};

use super::*;
use crate::keys::{Algorithm, KeyRing};
use crate::wire::{ExtensionField, Mac, Writer, emit};

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
            keyset: None,
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
