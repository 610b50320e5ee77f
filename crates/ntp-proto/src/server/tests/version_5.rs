//! Requests of version 5.

use ntp_time::{Era, Time32, Timescale};

use super::signed::key;
use super::*;
use crate::nts::{AeadAlgorithm, Direction, Keyset, MasterSecret, SessionKeys};
use crate::reference_ids::{BloomFilter, ServerId};
use crate::wire::NtsAuthenticator;
use crate::wire::v5::{
    self, ClientCookie, Correction, CorrectionValue, Field, Flags, ServerCookie, SupportedVersions,
    draft,
};

const NAME: Field<'static> = Field::Draft(draft::NAMES[0].as_bytes());

fn accepting(policy: Policy) -> TestServer {
    TestServer::new(Policy {
        versions: Versions::UP_TO_4.with(Version::V5),
        ..policy
    })
}

fn server() -> TestServer {
    accepting(Policy::default())
}

fn asked() -> v5::Header {
    v5::Header {
        client_cookie: ClientCookie::from_bits(0x0123_4567_89ab_cdef),
        ..v5::Header::blank(Mode::Client)
    }
}

fn datagram(header: &v5::Header, fields: &[Field<'_>]) -> Vec<u8> {
    let mut buffer = vec![0; 4096];
    let mut writer = Writer::new(&mut buffer);
    header.emit(&mut writer).unwrap();
    for field in fields {
        field.emit(&mut writer).unwrap();
    }
    writer.finish().to_vec()
}

/// The response to a request with these fields, which has the length of the request.
fn exchange(server: &mut TestServer, header: &v5::Header, fields: &[Field<'_>]) -> Outcome {
    let request = datagram(header, fields);
    let outcome = server.request(&request);
    if outcome.verdict.is_answer() {
        assert_eq!(outcome.octets.len(), request.len());
    }
    outcome
}

impl Outcome {
    fn header_5(&self) -> v5::Header {
        v5::Packet::parse(&self.octets).unwrap().header
    }

    fn fields_5(&self) -> Vec<Field<'_>> {
        let packet = v5::Packet::parse(&self.octets).unwrap();
        packet.fields().map(Field::parse).collect()
    }
}

#[test]
fn every_field_of_a_response_is_set() {
    let mut server = server();
    server.view.claim.leap_ahead = LeapIndicator::Insert;
    let outcome = exchange(&mut server, &asked(), &[NAME]);
    assert_eq!(outcome.verdict, TIME);
    let expected = v5::Header {
        leap: LeapIndicator::Insert,
        mode: Mode::Server,
        stratum: Stratum::new(2),
        poll: PollInterval::from_log2(0),
        precision: -23,
        root_delay: Time32::from_bits(0x0012_3456),
        root_dispersion: Time32::from_bits(3 << 28),
        timescale: Timescale::Utc,
        era: Era::new(0),
        flags: Flags {
            synchronized: true,
            ..Flags::NONE
        },
        server_cookie: ServerCookie::NONE,
        client_cookie: ClientCookie::from_bits(0x0123_4567_89ab_cdef),
        receive_timestamp: (EPOCH + NtpDuration::from_seconds(3)).to_ntp(),
        transmit_timestamp: (EPOCH + NtpDuration::from_seconds(5)).to_ntp(),
    };
    assert_eq!(outcome.header_5(), expected);
    assert_eq!(outcome.fields_5(), [NAME]);
    let details = server.worker.counters().details;
    assert_eq!(details.accepted_by_version, [0, 0, 0, 0, 1]);
}

#[test]
fn only_requests_under_a_known_draft_are_answered_and_under_the_same() {
    for name in draft::NAMES {
        let field = Field::Draft(name.as_bytes());
        let outcome = exchange(&mut server(), &asked(), &[field]);
        assert_eq!(outcome.fields_5(), [field]);
    }
    let long = [draft::NAMES[0].as_bytes(), b"\0"].concat();
    for fields in [
        &[][..],
        &[Field::Draft(b"draft-ietf-ntp-ntpv5-07")],
        &[Field::Draft(b"")],
        &[Field::Draft(&draft::NAMES[0].as_bytes()[..22])],
        &[Field::Draft(&long)],
        &[Field::Draft(b"other"), NAME],
    ] {
        let mut server = server();
        let outcome = exchange(&mut server, &asked(), fields);
        assert_eq!(outcome.verdict, Verdict::Ignore(Reason::UnknownDraft));
        assert_eq!(server.worker.counters().details.unknown_drafts, 1);
    }
}

#[test]
fn version_5_is_answered_only_where_it_is_accepted() {
    let outcome = exchange(&mut unrestricted(), &asked(), &[NAME]);
    assert_eq!(
        outcome.verdict,
        Verdict::Ignore(Reason::Version(Version::V5))
    );
    let mut response = asked();
    response.mode = Mode::Server;
    let outcome = exchange(&mut server(), &response, &[NAME]);
    let reason = Reason::NotARequest(Mode::Server);
    assert_eq!(outcome.verdict, Verdict::Ignore(reason));
    let mut truncated = datagram(&asked(), &[NAME]);
    truncated.pop();
    let reason = Reason::Malformed(Malformed::Length(75));
    assert_eq!(
        server().request(&truncated).verdict,
        Verdict::Ignore(reason)
    );
}

#[test]
fn a_marked_request_of_an_older_version_gets_its_marker_where_version_5_is_accepted() {
    for version in [Version::V1, Version::V2, Version::V3, Version::V4] {
        for marker in draft::MARKERS {
            let marked = octets(&Header {
                reference_timestamp: marker,
                ..request(version)
            });
            let echoed = server().request(&marked).header().reference_timestamp;
            assert_eq!(echoed, marker);
            let plain = unrestricted().request(&marked).header();
            assert_eq!(plain.reference_timestamp, claim().reference_timestamp);
        }
    }
    let unmarked = server().request(&octets(&request(Version::V4))).header();
    assert_eq!(unmarked.reference_timestamp, claim().reference_timestamp);
}

#[test]
fn a_response_of_any_shape_has_the_length_of_its_request() {
    let plain = datagram(&asked(), &[NAME]).len();
    for length in (plain + 4..=1024).step_by(4) {
        let whole = length - plain - 4;
        for body in [whole, whole.saturating_sub(3)] {
            if plain + 4 + body.next_multiple_of(4) != length {
                continue;
            }
            let unknown = ExtensionField {
                field_type: 0x7777,
                body: &vec![1; body],
            };
            for field in [Field::Padding(body), Field::Other(unknown)] {
                let outcome = exchange(&mut server(), &asked(), &[NAME, field]);
                assert_eq!(outcome.octets.len(), length);
                assert_eq!(outcome.fields_5(), [NAME, Field::Padding(body)]);
            }
        }
    }
    // Longer than any response.
    let padding = Field::Padding(Draft::CAPACITY - plain);
    let outcome = exchange(&mut server(), &asked(), &[NAME, padding]);
    assert_eq!(outcome.verdict, Verdict::Ignore(Reason::Unanswerable));
}

#[test]
fn fields_are_answered_in_place() {
    let mut server = server();
    let mut filter = BloomFilter::EMPTY;
    filter.insert(ServerId::of_address(CLIENT));
    server.view.reference_ids = Some(Arc::new(filter.clone()));
    server.view.claim.tai_offset = Some(37);
    server.view.claim.phase_free = Some(PhaseFreeClock {
        epoch: 9,
        at: EPOCH + NtpDuration::from_seconds(1),
        ahead: NtpDuration::from_seconds(-100),
        slew: Frequency::from_ratio(0.25),
    });
    let zero = NtpTimestamp::ZERO;
    let secondary = |timescale, offset: Option<i64>| Field::SecondaryReceive {
        timescale,
        era: Era::new(0),
        timestamp: offset.map_or(zero, |offset| {
            (EPOCH + NtpDuration::from_seconds(3 + offset)).to_ntp()
        }),
    };
    let delay = CorrectionValue::from_bits(1 << 20);
    let request = [
        Field::ServerInformation(SupportedVersions::NONE),
        NAME,
        Field::ReferenceIdsRequest {
            offset: 500,
            length: 11,
        },
        Field::ReferenceIdsRequest {
            offset: 500,
            length: 13,
        },
        Field::ReferenceTimestamp(zero),
        Field::MonotonicReceive {
            epoch: 0,
            timestamp: zero,
        },
        secondary(Timescale::Tai, None),
        secondary(Timescale::Ut1, None),
        secondary(Timescale::Utc, None),
        Field::ReferenceIdsResponse(&[1; 5]),
        Field::Correction(Correction {
            delay,
            path: 5,
            ..Correction::default()
        }),
    ];
    let response = [
        Field::ServerInformation(SupportedVersions::from_bits(0b11111)),
        NAME,
        Field::ReferenceIdsResponse(filter.chunk(500, 11).unwrap()),
        // Beyond the end of the filter.
        Field::Padding(13),
        Field::ReferenceTimestamp(claim().reference_timestamp),
        Field::MonotonicReceive {
            epoch: 9,
            // 2 s after its reading, at a quarter of a second per second of correction.
            timestamp: (EPOCH + NtpDuration::from_millis(3_000 - 100_500)).to_ntp(),
        },
        secondary(Timescale::Tai, Some(37)),
        secondary(Timescale::Ut1, None),
        // That of the header.
        Field::Padding(12),
        Field::Padding(5),
        Field::Correction(Correction {
            origin: delay,
            origin_path: 5,
            ..Correction::default()
        }),
    ];
    let outcome = exchange(&mut server, &asked(), &request);
    assert_eq!(outcome.fields_5(), response);
    // What is not known is not answered.
    server.view.claim = Claim {
        phase_free: None,
        tai_offset: None,
        ..claim()
    };
    server.view.reference_ids = None;
    server.seconds = 3;
    let outcome = exchange(&mut server, &asked(), &request);
    let fields = outcome.fields_5();
    assert_eq!(fields[2], Field::Padding(11));
    assert_eq!(fields[5], Field::Padding(12));
    assert_eq!(fields[6], secondary(Timescale::Tai, None));
}

#[test]
fn the_scale_is_that_asked_for_if_it_is_known() {
    let scale = |claim: Claim, timescale| {
        let mut server = server();
        server.view.claim = claim;
        let header = v5::Header {
            timescale,
            ..asked()
        };
        let header = exchange(&mut server, &header, &[NAME]).header_5();
        let ahead = |stamp: NtpTimestamp, seconds| {
            (stamp - (EPOCH + NtpDuration::from_seconds(seconds)).to_ntp()).as_nanos()
                / 1_000_000_000
        };
        let offsets = (
            ahead(header.receive_timestamp, 3),
            ahead(header.transmit_timestamp, 5),
        );
        assert_eq!(offsets.0, offsets.1);
        (header.timescale, offsets.0, header.leap)
    };
    let leap_ahead = LeapIndicator::Insert;
    let utc = Claim {
        leap_ahead,
        tai_offset: Some(37),
        ..claim()
    };
    assert_eq!(scale(utc, Timescale::Utc), (Timescale::Utc, 0, leap_ahead));
    assert_eq!(scale(utc, Timescale::Tai), (Timescale::Tai, 37, leap_ahead));
    assert_eq!(scale(utc, Timescale::Ut1), (Timescale::Utc, 0, leap_ahead));
    assert_eq!(
        scale(utc, Timescale::SmearedUtc),
        (Timescale::Utc, 0, leap_ahead)
    );
    let smeared = Claim {
        leap_ahead,
        timescale: Timescale::SmearedUtc,
        ..claim()
    };
    for wanted in [Timescale::Utc, Timescale::Tai, Timescale::SmearedUtc] {
        let expected = (Timescale::SmearedUtc, 0, LeapIndicator::None);
        assert_eq!(scale(smeared, wanted), expected);
    }
}

#[test]
fn the_era_is_that_of_the_receive_timestamp() {
    // The first second of era 1, less the three seconds of the test server.
    let last = SystemTime::from_nanos(2_085_978_495_999_999_999);
    let era = |received: SystemTime, tai_offset, timescale| {
        let mut server = server();
        server.view.claim.tai_offset = tai_offset;
        let now = ServerNow {
            monotonic: Monotonic::from_nanos(0),
            system: received,
        };
        let header = v5::Header {
            timescale,
            ..asked()
        };
        let request = datagram(&header, &[NAME]);
        let from = SocketAddr::new(CLIENT, 4123);
        let TestServer {
            view,
            worker,
            draft,
            ..
        } = &mut server;
        respond(view, worker, from, now, &request, received, draft);
        let response = draft.seal(received + NtpDuration::from_millis(1));
        let header = v5::Packet::parse(response).unwrap().header;
        let received = header.era.resolve(header.receive_timestamp).unwrap();
        let sent = received.nearest(header.transmit_timestamp);
        assert!(sent - received >= NtpDuration::from_micros(999));
        header.era.number()
    };
    let utc = Timescale::Utc;
    assert_eq!(era(last, None, utc), 0);
    assert_eq!(era(last + NtpDuration::from_nanos(1), None, utc), 1);
    assert_eq!(
        era(
            last - NtpDuration::from_seconds(36),
            Some(37),
            Timescale::Tai
        ),
        1
    );
}

#[test]
fn refusals_are_stratum_0_with_a_poll_interval() {
    let filter = Field::ServerInformation(SupportedVersions::NONE);
    let refused = |policy, times| {
        let mut server = accepting(policy);
        server.seconds = 3;
        for _ in 1..times {
            exchange(&mut server, &asked(), &[NAME]);
        }
        let outcome = exchange(&mut server, &asked(), &[NAME, filter]);
        let header = outcome.header_5();
        assert_eq!(header.stratum, Stratum::new(0));
        assert_eq!(header.flags, Flags::NONE);
        assert_eq!(outcome.fields_5(), [NAME, Field::Padding(4)]);
        let Verdict::Answer { kind, .. } = outcome.verdict else {
            panic!("{:?}", outcome.verdict);
        };
        (kind, header.poll.as_log2())
    };
    let denying = Policy {
        access: Access::from_rules(Some(Refusal::Deny), []),
        ..Policy::default()
    };
    assert_eq!(refused(denying, 1), (Kind::Deny, 127));
    let without_nts = Policy {
        require_nts: Some(Refusal::Deny),
        ..Policy::default()
    };
    assert_eq!(refused(without_nts, 1), (Kind::Deny, 127));
    let limited = Policy {
        rate_limit: RateLimit {
            slots: 8,
            cutoff: NtpDuration::from_seconds(16),
            kiss: Some(0),
            ..RateLimit::NONE
        },
        ..Policy::default()
    };
    assert_eq!(refused(limited.clone(), 2), (Kind::Rate, 5));
    // The interval is also stated with the time.
    let header = exchange(&mut accepting(limited), &asked(), &[NAME]).header_5();
    assert_eq!(header.poll.as_log2(), 4);
}

#[test]
fn an_unsynchronized_server_has_no_stratum_and_no_leap_information() {
    let mut server = server();
    server.view.claim = Claim::UNSYNCHRONIZED;
    let header = exchange(&mut server, &asked(), &[NAME]).header_5();
    assert_eq!(header.stratum, Stratum::new(0));
    assert_eq!(header.leap, LeapIndicator::Unsynchronized);
    assert_eq!(header.flags, Flags::NONE);
    assert_eq!(header.root_dispersion, Time32::MAX);
}

/// A request signed with key 1.
fn signed(trailer: &[Field<'_>], digest: usize) -> Vec<u8> {
    let mac = Field::Mac(v5::Mac {
        key_id: 1,
        digest: &[0; 64][..digest],
    });
    let mut octets = datagram(&asked(), &[NAME, Field::Padding(3), mac]);
    let (covered, place) = v5::Mac::split_packet(&mut octets, digest).unwrap();
    let algorithm = if digest == 16 {
        Algorithm::Aes128Cmac
    } else {
        Algorithm::Sha256
    };
    place.copy_from_slice(key(1, algorithm).sign(covered).whole());
    let header = v5::Header::LEN;
    octets.extend(&datagram(&asked(), trailer)[header..]);
    octets
}

#[test]
fn a_signed_request_gets_a_response_signed_with_the_same_key() {
    let correction = Field::Correction(Correction::default());
    for (algorithm, digest) in [(Algorithm::Aes128Cmac, 16), (Algorithm::Sha256, 32)] {
        for trailer in [&[][..], &[correction]] {
            let mut server = accepting(Policy {
                keys: KeyRing::new([key(1, algorithm)]).unwrap(),
                ..Policy::default()
            });
            let request = signed(trailer, digest);
            let outcome = server.request(&request);
            assert_eq!(outcome.octets.len(), request.len());
            let expected = Verdict::Answer {
                kind: Kind::Time,
                interleaved: false,
                authenticated: true,
            };
            assert_eq!(outcome.verdict, expected);
            let packet = v5::Packet::parse(&outcome.octets).unwrap();
            let mac = packet.mac.unwrap();
            assert_eq!((mac.key_id, mac.digest.len()), (1, digest));
            assert!(key(1, algorithm).verify(packet.authenticated(), mac.digest));
            assert_eq!(packet.correction.is_some(), !trailer.is_empty());
            assert_eq!(server.worker.counters().details.authenticated, 1);
        }
    }
}

#[test]
fn a_wrong_mac_or_key_is_answered_without_time() {
    let keys = KeyRing::new([key(1, Algorithm::Aes128Cmac)]).unwrap();
    let mut forged = signed(&[], 16);
    forged[20] ^= 1;
    for (keys, request) in [(keys, forged), (KeyRing::default(), signed(&[], 16))] {
        let mut server = accepting(Policy {
            keys,
            ..Policy::default()
        });
        let outcome = server.request(&request);
        assert_eq!(outcome.verdict, refused(Kind::CryptoNak));
        let header = outcome.header_5();
        assert_eq!(header.stratum, Stratum::new(0));
        let expected = Flags {
            authentication_nak: true,
            ..Flags::NONE
        };
        assert_eq!(header.flags, expected);
        let fields = [NAME, Field::Padding(3), Field::Padding(20)];
        assert_eq!(outcome.fields_5(), fields);
        assert_eq!(server.worker.counters().details.bad_authentication, 1);
    }
}

const ALGORITHM: AeadAlgorithm = AeadAlgorithm::AesSivCmac256;

fn session() -> SessionKeys {
    SessionKeys::new(ALGORITHM, &[1; 32], &[2; 32]).unwrap()
}

/// An NTS request for `cookies` cookies, with `fields` before the authenticator and a correction
/// behind it.
fn sealed(cookies: usize, fields: &[Field<'_>]) -> Vec<u8> {
    let keyset = Keyset::new(MasterSecret::new([9; 64]));
    let cookie = keyset.seal_cookie(&session(), [3; 16]).unwrap();
    let other = |field_type, body| Field::Other(ExtensionField { field_type, body });
    let blank = vec![0; cookie.octets().len()];
    let body = NtsAuthenticator::body_length(16, AeadAlgorithm::OVERHEAD);
    let authenticator = vec![0; body];
    let mut all = vec![NAME, other(ExtensionField::UNIQUE_IDENTIFIER, &[7; 32])];
    all.push(other(ExtensionField::NTS_COOKIE, cookie.octets()));
    all.resize(
        all.len() + cookies - 1,
        other(ExtensionField::NTS_PLACEHOLDER, &blank),
    );
    all.extend(fields);
    all.push(other(ExtensionField::NTS_AUTHENTICATOR, &authenticator));
    let mut octets = datagram(&asked(), &all);
    let (covered, place) = NtsAuthenticator::split_packet(&mut octets, body).unwrap();
    let tag = NtsAuthenticator::lay_out(place, &[8; 16], AeadAlgorithm::OVERHEAD).unwrap();
    let direction = Direction::ClientToServer;
    session().seal(direction, covered, &[8; 16], tag).unwrap();
    let correction = datagram(&asked(), &[Field::Correction(Correction::default())]);
    octets.extend(&correction[v5::Header::LEN..]);
    octets
}

/// Fields of a sealed response: those in plain text, and the number of cookies.
fn opened(outcome: &Outcome) -> (Vec<Field<'_>>, usize) {
    let packet = v5::Packet::parse(&outcome.octets).unwrap();
    let mut fields = packet.fields();
    let mut plain = Vec::new();
    loop {
        let covered = fields.preceding();
        let field = fields.next().expect("an authenticator");
        if field.field_type != ExtensionField::NTS_AUTHENTICATOR {
            plain.push(Field::parse(field));
            continue;
        }
        let NtsAuthenticator { nonce, sealed, .. } = NtsAuthenticator::parse(field.body).unwrap();
        let mut text = sealed.to_vec();
        let direction = Direction::ServerToClient;
        let text = session()
            .open(direction, covered, nonce, &mut text)
            .unwrap();
        let cookies = v5::Fields::from_decrypted(text);
        plain.extend(fields.map(Field::parse));
        return (
            plain,
            cookies
                .filter(|it| it.field_type == ExtensionField::NTS_COOKIE)
                .count(),
        );
    }
}

#[test]
fn an_nts_request_gets_time_cookies_and_answers_in_a_response_of_its_length() {
    let information = Field::ServerInformation(SupportedVersions::NONE);
    for cookies in [1, 2, 8] {
        let mut server = accepting(Policy::default());
        server.view.keyset = Some(Arc::new(Keyset::new(MasterSecret::new([9; 64]))));
        let request = sealed(cookies, &[information]);
        let outcome = server.request(&request);
        let expected = Verdict::Answer {
            kind: Kind::Time,
            interleaved: false,
            authenticated: true,
        };
        assert_eq!(outcome.verdict, expected);
        assert_eq!(outcome.octets.len(), request.len());
        let (fields, given) = opened(&outcome);
        assert_eq!(given, cookies);
        assert_eq!(fields[0], NAME);
        assert_eq!(
            fields[2],
            Field::ServerInformation(SupportedVersions::from_bits(0b11111))
        );
        let correction = Correction::default();
        assert_eq!(fields.last(), Some(&Field::Correction(correction)));
    }
}

#[test]
fn an_nts_request_with_an_unknown_cookie_gets_a_nak_with_its_identifier() {
    let mut server = accepting(Policy::default());
    server.view.keyset = Some(Arc::new(Keyset::new(MasterSecret::new([8; 64]))));
    let request = sealed(2, &[]);
    let outcome = server.request(&request);
    assert_eq!(outcome.verdict, refused(Kind::NtsNak));
    assert_eq!(outcome.octets.len(), request.len());
    assert!(outcome.header_5().flags.authentication_nak);
    let fields = outcome.fields_5();
    let identifier = ExtensionField {
        field_type: ExtensionField::UNIQUE_IDENTIFIER,
        body: &[7; 32],
    };
    assert_eq!(fields[..2], [NAME, Field::Other(identifier)]);
    assert!(
        fields[2..]
            .iter()
            .all(|field| matches!(field, Field::Padding(_)))
    );
}

fn interleaved(cookie: ServerCookie) -> v5::Header {
    v5::Header {
        flags: Flags {
            interleaved: true,
            ..Flags::NONE
        },
        server_cookie: cookie,
        ..asked()
    }
}

#[test]
fn the_cookie_of_a_response_names_its_transmit_time() {
    let mut server = server();
    server.view.claim.tai_offset = Some(37);
    let first = exchange(&mut server, &interleaved(ServerCookie::NONE), &[NAME]);
    assert_eq!(first.verdict, TIME);
    let cookie = first.header_5().server_cookie;
    assert_ne!(cookie, ServerCookie::NONE);
    assert!(!first.header_5().flags.interleaved);
    let left = EPOCH + NtpDuration::from_millis(4_321);
    server.worker.record_transmit(first.token.unwrap(), left);

    let second = exchange(&mut server, &interleaved(cookie), &[NAME]);
    assert!(matches!(
        second.verdict,
        Verdict::Answer {
            interleaved: true,
            ..
        }
    ));
    let header = second.header_5();
    assert!(header.flags.interleaved);
    assert_ne!(header.server_cookie, cookie);
    let shown = header.transmit_timestamp;
    assert!((shown - left.to_ntp()).abs() <= NtpDuration::EPSILON);

    // In another scale.
    let tai = v5::Header {
        timescale: Timescale::Tai,
        ..interleaved(cookie)
    };
    let shown = exchange(&mut server, &tai, &[NAME])
        .header_5()
        .transmit_timestamp;
    let expected = (left + NtpDuration::from_seconds(37)).to_ntp();
    assert!((shown - expected).abs() <= NtpDuration::EPSILON);

    // No time is known under the newest cookie, and none under an invented one.
    for cookie in [header.server_cookie, ServerCookie::from_bits(77)] {
        let basic = exchange(&mut server, &interleaved(cookie), &[NAME]);
        assert_eq!(basic.verdict, TIME);
        assert!(basic.token.is_some());
    }
    // From before a step, and of another client.
    let request = datagram(&interleaved(cookie), &[NAME]);
    let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    assert_eq!(server.request_from(other, &request).verdict, TIME);
    server.view.claim.epoch += 1;
    assert_eq!(server.request(&request).verdict, TIME);
}

#[test]
fn without_a_store_no_cookie_is_given() {
    let mut server = accepting(Policy {
        interleaved_pairs: 0,
        ..Policy::default()
    });
    let outcome = exchange(&mut server, &interleaved(ServerCookie::NONE), &[NAME]);
    assert_eq!(outcome.header_5().server_cookie, ServerCookie::NONE);
    assert_eq!(outcome.token, None);
}
