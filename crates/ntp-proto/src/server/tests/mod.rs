//! Server behaviour as seen by a client.

mod interleaved;
mod nts;
mod properties;
mod signed;
mod version_5;

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
        root_delay: NtpDuration::from_bits(0x0123_4560),
        root_dispersion: RootDispersion {
            value: NtpDuration::from_seconds(1),
            at: EPOCH,
            growth: Frequency::from_ratio(0.5),
        },
        reference_id: ReferenceId::new([192, 0, 2, 1]),
        reference_timestamp: NtpTimestamp::from_bits(0x1111_2222_3333_4444),
        limit: NtpDuration::MAX,
        local: LocalMode::NONE,
        ..Claim::UNSYNCHRONIZED
    }
}

/// A server, a client and the time, which advances by a second with each request.
struct TestServer {
    view: ServerView,
    worker: WorkerState,
    draft: Draft,
    seconds: i64,
}

struct Outcome {
    verdict: Verdict,
    octets: Vec<u8>,
    token: Option<StampToken>,
}

impl Outcome {
    fn header(&self) -> Header {
        Packet::parse(&self.octets).unwrap().header
    }

    fn kiss(&self) -> [u8; 4] {
        assert_eq!(self.header().stratum, Stratum::KISS);
        assert_eq!(self.header().leap, LeapIndicator::Unsynchronized);
        self.header().reference_id.octets()
    }
}

impl TestServer {
    fn new(policy: Policy) -> Self {
        let view = ServerView {
            claim: claim(),
            policy: Arc::new(policy),
            keyset: None,
            reference_ids: None,
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

    fn request(&mut self, request: &[u8]) -> Outcome {
        self.request_from(CLIENT, request)
    }

    fn request_from(&mut self, client: IpAddr, request: &[u8]) -> Outcome {
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
        Outcome {
            verdict,
            octets,
            token: self.draft.stamp_token(),
        }
    }
}

fn unrestricted() -> TestServer {
    TestServer::new(Policy::default())
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
fn every_field_of_a_reply_is_set() {
    for version in [Version::V1, Version::V2, Version::V3, Version::V4] {
        let outcome = unrestricted().request(&octets(&request(version)));
        assert_eq!(outcome.verdict, TIME);
        let expected = Header {
            leap: LeapIndicator::Insert,
            version,
            mode: Mode::Server,
            stratum: Stratum::new(2),
            poll: PollInterval::from_log2(7),
            precision: -23,
            // Rounded up.
            root_delay: NtpShort::from_bits(0x0124),
            // 1 s, and 4 s of growth at a rate of one half.
            root_dispersion: NtpShort::from_bits(3 << 16),
            reference_id: ReferenceId::new([192, 0, 2, 1]),
            reference_timestamp: NtpTimestamp::from_bits(0x1111_2222_3333_4444),
            origin_timestamp: NtpTimestamp::from_bits(0xdead_beef_0bad_cafe),
            // Marked as a receive timestamp.
            receive_timestamp: (EPOCH + NtpDuration::from_seconds(3)).to_ntp()
                + NtpDuration::EPSILON,
            transmit_timestamp: (EPOCH + NtpDuration::from_seconds(5)).to_ntp(),
        };
        assert_eq!(outcome.header(), expected);
        assert_eq!(outcome.token, None);
    }
}

#[test]
fn requests_of_versions_1_to_4_are_answered_and_no_reply_is_longer_than_its_request() {
    let reply = |first: u8, trailer: &[u8]| {
        let mut request = octets(&request(Version::V4));
        request[0] = first;
        request.extend_from_slice(trailer);
        let outcome = unrestricted().request(&request);
        assert!(
            outcome.octets.len() <= request.len(),
            "{first:#x} + {}",
            trailer.len()
        );
        outcome.octets.first().copied()
    };
    for version in 0..8 {
        for mode in 0..8 {
            let answered = match (version, mode) {
                (1, 0) | (1..=4, 3) => Some(4),
                (1..=4, 1) => Some(2),
                _ => None,
            };
            let reply = reply(version << 3 | mode, &[]);
            let expected = answered.map(|answer| version << 3 | answer);
            assert_eq!(
                reply.map(|first| first & 0x3f),
                expected,
                "version {version}, mode {mode}"
            );
        }
    }
    let mac = [&[0, 0, 0, 7][..], &[0; 16]].concat();
    for version in 1..=4 {
        for trailer in [&[0; 4][..], &[1; 12], &mac, &[0; 60], &[0; 1000]] {
            reply(version << 3 | 3, trailer);
        }
    }
}

#[test]
fn only_requests_are_answered_and_replies_are_not_requests() {
    for mode in Mode::ALL {
        let outcome = unrestricted().request(&octets(&Header::blank(Version::V4, mode)));
        match mode {
            Mode::Client | Mode::SymmetricActive => {
                assert_eq!(outcome.verdict, TIME);
                let second = unrestricted().request(&outcome.octets).verdict;
                assert!(matches!(second, Verdict::Ignore(Reason::NotARequest(_))));
            }
            other => {
                assert_eq!(outcome.verdict, Verdict::Ignore(Reason::NotARequest(other)));
                assert!(outcome.octets.is_empty());
            }
        }
    }
}

#[test]
fn an_ignored_datagram_clears_the_draft() {
    let mut server = unrestricted();
    server.request(&octets(&request(Version::V4)));
    let outcome = server.request(b"hello");
    assert_eq!(
        outcome.verdict,
        Verdict::Ignore(Reason::Malformed(Malformed::TooShort))
    );
    assert!(outcome.octets.is_empty() && server.draft.is_empty());
    let counters = server.worker.counters();
    assert_eq!(
        (counters.statistics.accepted, counters.statistics.ignored),
        (1, 1)
    );
    assert_eq!(
        (counters.details.malformed, counters.statistics.total()),
        (1, 2)
    );
}

#[test]
fn only_accepted_versions_are_answered() {
    let mut unknown = octets(&request(Version::V4));
    unknown[0] = 5 << 3 | 3;
    let reason = Reason::Version(Version::V5);
    assert_eq!(
        unrestricted().request(&unknown).verdict,
        Verdict::Ignore(reason)
    );

    let mut server = TestServer::new(Policy {
        versions: Versions::NONE.with(Version::V4),
        ..Policy::default()
    });
    assert_eq!(server.request(&octets(&request(Version::V4))).verdict, TIME);
    let reason = Reason::Version(Version::V3);
    let outcome = server.request(&octets(&request(Version::V3)));
    assert_eq!(outcome.verdict, Verdict::Ignore(reason));
}

#[test]
fn a_request_from_port_zero_is_ignored() {
    let mut server = unrestricted();
    let now = ServerNow {
        monotonic: Monotonic::from_nanos(0),
        system: EPOCH,
    };
    let request = octets(&request(Version::V4));
    let from = SocketAddr::new(CLIENT, 0);
    let verdict = respond(
        &server.view,
        &mut server.worker,
        from,
        now,
        &request,
        EPOCH,
        &mut server.draft,
    );
    assert_eq!(verdict, Verdict::Ignore(Reason::Unanswerable));
}

#[test]
fn refused_clients_are_ignored_or_get_a_deny_kiss() {
    let list = |network: &str, refusal| AccessList {
        networks: Networks::new([(network.parse().unwrap(), 24)]),
        refusal,
    };
    let policy = Policy {
        access: Access::from_lists(
            &list("192.0.2.0", Refusal::Deny),
            &list("198.51.100.0", Refusal::Ignore),
        ),
        ..Policy::default()
    };
    let mut server = TestServer::new(policy);
    let request = octets(&request(Version::V4));

    let outcome = server.request(&request);
    assert_eq!(outcome.verdict, refused(Kind::Deny));
    assert_eq!(&outcome.kiss(), b"DENY");
    assert_eq!(
        outcome.header().origin_timestamp.to_bits(),
        0xdead_beef_0bad_cafe
    );
    // A dual-stack socket reports the same client like this.
    let mapped = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201));
    assert_eq!(
        server.request_from(mapped, &request).verdict,
        refused(Kind::Deny)
    );
    let unlisted = server.request_from("203.0.113.1".parse().unwrap(), &request);
    assert_eq!(unlisted.verdict, Verdict::Ignore(Reason::Access));
    assert!(unlisted.octets.is_empty());
    let allowed = server.request_from("198.51.100.9".parse().unwrap(), &request);
    assert_eq!(allowed.verdict, TIME);
    // A datagram that is not a request gets no kiss.
    assert!(server.request(b"what time is it?").octets.is_empty());

    let counters = server.worker.counters();
    assert_eq!(
        (
            counters.statistics.denied,
            counters.statistics.ignored,
            counters.statistics.accepted
        ),
        (2, 2, 1)
    );
    assert_eq!(counters.statistics.total(), 5);
}

fn limited(kiss: Option<u8>) -> TestServer {
    TestServer::new(Policy {
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
fn requests_over_the_rate_limit_are_ignored() {
    let mut server = limited(None);
    let request = octets(&request(Version::V4));
    let first = server.request(&request);
    assert_eq!(first.verdict, TIME);
    // The suggested poll interval is 512 s.
    assert_eq!(first.header().poll, PollInterval::from_log2(9));
    assert_eq!(
        server.request(&request).verdict,
        Verdict::Ignore(Reason::RateLimited)
    );
    // A datagram that is not a request does not count against its sender.
    let other: IpAddr = "203.0.113.1".parse().unwrap();
    for datagram in [
        &b"garbage"[..],
        &octets(&Header::blank(Version::V4, Mode::Server)),
    ] {
        assert!(matches!(
            server.request_from(other, datagram).verdict,
            Verdict::Ignore(_)
        ));
    }
    assert_eq!(server.request_from(other, &request).verdict, TIME);
    server.seconds += 300;
    assert_eq!(server.request(&request).verdict, TIME);
    let counters = server.worker.counters();
    assert_eq!(
        (
            counters.statistics.accepted,
            counters.statistics.rate_limited,
            counters.statistics.ignored
        ),
        (3, 1, 2)
    );
}

#[test]
fn a_rate_kiss_suggests_a_poll_interval() {
    let mut server = limited(Some(0));
    let request = octets(&request(Version::V4));
    server.request(&request);
    let outcome = server.request(&request);
    assert_eq!(outcome.verdict, refused(Kind::Rate));
    assert_eq!(&outcome.kiss(), b"RATE");
    assert_eq!(outcome.header().poll, PollInterval::from_log2(9));
    let counters = server.worker.counters();
    assert_eq!(
        (
            counters.statistics.rate_limited,
            counters.details.rate_kisses,
            counters.statistics.total()
        ),
        (1, 1, 2)
    );
}

#[test]
fn kisses_count_against_the_rate_limit() {
    let mut server = limited(None);
    let policy = Policy {
        access: Access::from_rules(Some(Refusal::Deny), []),
        ..(*server.view.policy).clone()
    };
    server.view.policy = Arc::new(policy);
    let request = octets(&request(Version::V4));
    assert_eq!(server.request(&request).verdict, refused(Kind::Deny));
    assert_eq!(
        server.request(&request).verdict,
        Verdict::Ignore(Reason::RateLimited)
    );
}

#[test]
fn a_new_policy_resets_only_the_state_it_changes() {
    let mut server = limited(None);
    let request = octets(&request(Version::V4));
    server.request(&request);
    let mut policy = (*server.view.policy).clone();
    policy.versions = Versions::NONE.with(Version::V4);
    server.worker.apply_policy(&policy);
    assert_eq!(
        server.request(&request).verdict,
        Verdict::Ignore(Reason::RateLimited)
    );
    policy.rate_limit.cutoff = NtpDuration::from_millis(1);
    server.worker.apply_policy(&policy);
    assert_eq!(server.request(&request).verdict, TIME);
    assert_eq!(server.request(&request).verdict, TIME);
    assert_eq!(server.worker.counters().statistics.total(), 4);
}

#[test]
fn replies_are_unsynchronized_after_loss_of_all_sources() {
    let mut server = unrestricted();
    server.view.claim.limit = NtpDuration::from_seconds(10);
    let request = octets(&request(Version::V4));
    assert_eq!(server.request(&request).header().stratum, Stratum::new(2));
    server.seconds += 20;
    let lost = server.request(&request);
    assert_eq!(lost.verdict, TIME);
    assert_eq!(lost.header().leap, LeapIndicator::Unsynchronized);
    assert_eq!(lost.header().stratum, Stratum::UNSYNCHRONIZED);
}
