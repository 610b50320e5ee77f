//! Associations of version 5, against a scripted server whose responses the tests change.

use std::net::SocketAddr;

use ntp_time::{
    Era, LeapIndicator, Monotonic, NtpDuration, NtpTimestamp, PollInterval, Stamp, StampSource,
    Stratum, SystemTime, Time32, Timescale,
};
use ntp_types::source::SourceId;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::{EPOCH, key, keyed};
use crate::client::{
    Accepted, Association, AssociationConfig, Datagram, ExchangeId, KissCode, LocalIdentity,
    MonotonicReceive, Protection, Rejection, Reply, VersionChoice,
};
use crate::keys::Key;
use crate::reference_ids::{BloomFilter, ServerId};
use crate::wire::v5::{
    ClientCookie, Correction, CorrectionValue, Field, Flags, Header, Mac, Packet, ServerCookie,
    SupportedVersions, draft,
};
use crate::wire::{self, Mode, Version, Writer};

/// Time from a request to its arrival, and from a response to its arrival.
const ONE_WAY: NtpDuration = NtpDuration::from_millis(10);

/// A client and what it needs to talk to a scripted server.
struct Client {
    association: Association,
    rng: ChaCha12Rng,
    now: NtpDuration,
    sequence: u32,
}

/// A change of the header of a response.
type Change<'a> = &'a dyn Fn(&mut Header);

/// What the scripted server answers; the default is a correct response.
struct Script<'a> {
    header: &'a dyn Fn(&mut Header),
    draft: Option<&'a [u8]>,
    filter: Option<&'a BloomFilter>,
    correction: Option<Correction>,
    mac: Option<&'a Key>,
    /// Appended behind all other fields but the MAC.
    extra: &'a [Field<'a>],
}

impl Default for Script<'_> {
    fn default() -> Self {
        Self {
            header: &|_| {},
            draft: Some(draft::NAMES[0].as_bytes()),
            filter: None,
            correction: None,
            mac: None,
            extra: &[],
        }
    }
}

impl Client {
    fn new(config: AssociationConfig) -> Self {
        let server = SocketAddr::from(([192, 0, 2, 1], 123));
        Self {
            association: Association::new(server, config, Monotonic::from_nanos(0)),
            rng: ChaCha12Rng::from_seed([3; 32]),
            now: NtpDuration::ZERO,
            sequence: 0,
        }
    }

    fn version_5(protection: Protection) -> Self {
        Self::new(AssociationConfig {
            protection,
            version: VersionChoice::Fixed(Version::V5),
            ..AssociationConfig::default()
        })
    }

    fn automatic(protection: Protection) -> Self {
        Self::new(AssociationConfig {
            protection,
            version: VersionChoice::Auto,
            ..AssociationConfig::default()
        })
    }

    fn id(&self) -> ExchangeId {
        ExchangeId {
            source: SourceId(0),
            sequence: self.sequence,
        }
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(0) + self.now
    }

    fn system(&self) -> SystemTime {
        EPOCH + self.now
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            time: self.system(),
            source: StampSource::Kernel,
        }
    }

    /// Sends the next request when it is due.
    fn request(&mut self) -> Vec<u8> {
        let due = self.association.next_poll() - Monotonic::from_nanos(0);
        self.now = self.now.max(due);
        self.association.abandon();
        self.sequence += 1;
        let (now, id) = (self.monotonic(), self.id());
        let request = self.association.request(now, id, &mut self.rng);
        let stamp = self.stamp();
        self.association.transmitted(id, stamp);
        request.unwrap().payload
    }

    fn receive(&mut self, payload: &[u8]) -> Result<Reply, Rejection> {
        self.now += ONE_WAY + ONE_WAY;
        let datagram = Datagram {
            exchange: self.id(),
            payload,
            truncated: false,
            received: self.stamp(),
        };
        let (now, limit) = (self.monotonic(), Stratum::UNSYNCHRONIZED);
        let identity = LocalIdentity::default();
        self.association.receive(now, &datagram, &identity, limit)
    }

    /// Answers `request` by the script.
    fn respond(&self, request: &[u8], script: &Script<'_>) -> Vec<u8> {
        let request = Packet::parse(request).unwrap();
        let arrival = (self.system() + ONE_WAY).to_ntp();
        let mut header = Header {
            stratum: Stratum::new(2),
            precision: -25,
            flags: Flags {
                synchronized: true,
                ..Flags::NONE
            },
            client_cookie: request.header.client_cookie,
            receive_timestamp: arrival,
            transmit_timestamp: arrival,
            ..Header::blank(Mode::Server)
        };
        (script.header)(&mut header);
        let mut buffer = vec![0; 2048];
        let mut writer = Writer::new(&mut buffer);
        header.emit(&mut writer).unwrap();
        if let Some(name) = script.draft {
            Field::Draft(name).emit(&mut writer).unwrap();
        }
        for field in request.fields().map(Field::parse) {
            match (field, script.filter) {
                (Field::ReferenceIdsRequest { offset, length }, Some(filter)) => {
                    let part = filter.chunk(offset.into(), length).unwrap();
                    Field::ReferenceIdsResponse(part).emit(&mut writer).unwrap();
                }
                (Field::ServerInformation(_), _) => {
                    let versions = SupportedVersions::NONE.with(Version::V4).with(Version::V5);
                    let information = Field::ServerInformation(versions);
                    information.emit(&mut writer).unwrap();
                }
                _ => {}
            }
        }
        for field in script.extra {
            field.emit(&mut writer).unwrap();
        }
        if let Some(key) = script.mac {
            let tag = key.sign(writer.written());
            let mac = Mac {
                key_id: key.id(),
                digest: tag.whole(),
            };
            Field::Mac(mac).emit(&mut writer).unwrap();
        }
        if let Some(correction) = script.correction {
            Field::Correction(correction).emit(&mut writer).unwrap();
        }
        writer.finish().to_vec()
    }

    /// Polls once.
    fn poll(&mut self, script: &Script<'_>) -> Result<Reply, Rejection> {
        let request = self.request();
        let response = self.respond(&request, script);
        self.receive(&response)
    }

    fn time(&mut self, script: &Script<'_>) -> Accepted {
        match self.poll(script) {
            Ok(Reply::Time(accepted)) => accepted,
            other => panic!("{other:?}"),
        }
    }
}

fn with_header(change: &dyn Fn(&mut Header)) -> Script<'_> {
    Script {
        header: change,
        ..Script::default()
    }
}

#[test]
fn a_request_has_nothing_of_the_client_in_it() {
    let mut client = Client::version_5(Protection::None);
    let (first, second) = (client.request(), client.request());
    let cookie = |request: &[u8]| Packet::parse(request).unwrap().header.client_cookie;
    assert_ne!(cookie(&first), cookie(&second));
    for request in [first, second] {
        let packet = Packet::parse(&request).unwrap();
        let blank = Header {
            client_cookie: packet.header.client_cookie,
            ..Header::blank(Mode::Client)
        };
        assert_eq!(packet.header, blank);
        let fields: Vec<_> = packet.fields().map(Field::parse).collect();
        let monotonic = Field::MonotonicReceive {
            epoch: 0,
            timestamp: NtpTimestamp::ZERO,
        };
        assert!(fields.contains(&monotonic));
        assert_eq!(
            fields.last(),
            Some(&Field::Correction(Correction::default()))
        );
        assert!(
            !fields
                .iter()
                .any(|field| matches!(field, Field::ReferenceIdsRequest { .. })),
            "this machine does not serve time"
        );
    }
}

#[test]
fn a_response_is_a_measurement_and_only_once() {
    let mut client = Client::version_5(Protection::None);
    let request = client.request();
    let response = client.respond(&request, &Script::default());
    let Ok(Reply::Time(accepted)) = client.receive(&response) else {
        panic!("a measurement");
    };
    assert_eq!(accepted.content.version, Version::V5);
    assert_eq!(accepted.content.stratum, Stratum::new(2));
    assert_eq!(client.receive(&response).err(), Some(Rejection::Duplicate));
    let versions = client.association.server_versions().unwrap();
    assert!(versions.numbers().eq([4, 5]));
    let later = client.request();
    let later = Packet::parse(&later).unwrap();
    let asks = later.fields().map(Field::parse);
    let asks = asks.filter(|field| matches!(field, Field::ServerInformation(_)));
    assert_eq!(asks.count(), 0, "asked once");
}

#[test]
fn a_response_that_does_not_match_changes_nothing() {
    let mut client = Client::version_5(Protection::None);
    let request = client.request();
    let with = |client: &Client, change: &dyn Fn(&mut Header)| {
        client.respond(&request, &with_header(change))
    };
    let cookie = with(&client, &|header| {
        header.client_cookie = ClientCookie::from_bits(header.client_cookie.to_bits() ^ 1);
    });
    let zero = with(&client, &|header| {
        header.client_cookie = ClientCookie::from_bits(0);
    });
    let mode = with(&client, &|header| header.mode = Mode::Client);
    let mut flags = with(&client, &|_| {});
    flags[15] |= 0x08;
    let mut scale = with(&client, &|_| {});
    scale[12] = 4;
    // A server that does not know version 5 and answers nevertheless.
    let mut version_4 = vec![0; 48];
    wire::Header {
        origin_timestamp: NtpTimestamp::from_bits(
            Packet::parse(&request)
                .unwrap()
                .header
                .client_cookie
                .to_bits(),
        ),
        stratum: Stratum::PRIMARY,
        ..wire::Header::blank(Version::V4, Mode::Server)
    }
    .emit(&mut Writer::new(&mut version_4))
    .unwrap();
    let nak = with(&client, &|header| header.flags.authentication_nak = true);
    let mut short = with(&client, &|_| {});
    short.truncate(47);
    for (payload, rejection) in [
        (cookie, Rejection::WrongOrigin),
        (zero, Rejection::WrongOrigin),
        (mode, Rejection::WrongMode),
        (flags, Rejection::Malformed),
        (scale, Rejection::Malformed),
        (version_4, Rejection::Malformed),
        (short, Rejection::Malformed),
        (nak, Rejection::UnexpectedNak),
    ] {
        assert_eq!(client.receive(&payload).err(), Some(rejection));
        assert!(client.association.exchange().is_some(), "{rejection:?}");
    }
    client.now -= ONE_WAY * 16;
    let genuine = client.respond(&request, &Script::default());
    assert!(matches!(client.receive(&genuine), Ok(Reply::Time(_))));
}

#[test]
fn a_response_without_usable_time_is_rejected() {
    let cases: [(Change<'_>, Rejection); 11] = [
        (
            &|header| header.flags.synchronized = false,
            Rejection::Unsynchronized,
        ),
        (
            &|header| header.stratum = Stratum::new(0),
            Rejection::Unsynchronized,
        ),
        (
            &|header| header.stratum = Stratum::new(16),
            Rejection::Unsynchronized,
        ),
        (
            &|header| header.stratum = Stratum::new(17),
            Rejection::Stratum,
        ),
        (
            &|header| header.root_delay = Time32::MAX,
            Rejection::RootDistance,
        ),
        (
            &|header| header.root_dispersion = Time32::MAX,
            Rejection::RootDistance,
        ),
        (
            &|header| header.timescale = Timescale::Tai,
            Rejection::Timescale,
        ),
        (
            &|header| header.timescale = Timescale::Ut1,
            Rejection::Timescale,
        ),
        (
            &|header| header.receive_timestamp = NtpTimestamp::ZERO,
            Rejection::Timestamps,
        ),
        (
            &|header| header.transmit_timestamp = NtpTimestamp::ZERO,
            Rejection::Timestamps,
        ),
        // Interleaved mode was not asked for.
        (
            &|header| header.flags.interleaved = true,
            Rejection::Timestamps,
        ),
    ];
    for (change, rejection) in cases {
        let mut client = Client::version_5(Protection::None);
        assert_eq!(client.poll(&with_header(change)).err(), Some(rejection));
        assert!(client.association.exchange().is_none());
        assert_eq!(client.association.counters().unusable, 1);
    }
    for name in [None, Some(&b"draft-ietf-ntp-ntpv5-04"[..]), Some(b"")] {
        let mut client = Client::version_5(Protection::None);
        let script = Script {
            draft: name,
            ..Script::default()
        };
        assert_eq!(client.poll(&script).err(), Some(Rejection::Draft));
    }
}

#[test]
fn unknown_leap_information_is_no_lack_of_synchronisation_and_smeared_time_is_marked() {
    let mut client = Client::version_5(Protection::None);
    let unknown = client.time(&with_header(&|header| {
        header.leap = LeapIndicator::Unsynchronized;
    }));
    assert_eq!(unknown.content.leap, LeapIndicator::None);
    let smeared = client.time(&with_header(&|header| {
        header.timescale = Timescale::SmearedUtc;
    }));
    assert_eq!(smeared.content.reference_id, ntp_time::ReferenceId::SMEARED);
}

#[test]
fn a_response_in_tai_is_used_if_its_offset_is_known() {
    let tai: Change<'_> = &|header| {
        let to_tai = NtpDuration::from_seconds(37);
        header.timescale = Timescale::Tai;
        header.receive_timestamp = header.receive_timestamp + to_tai;
        header.transmit_timestamp = header.transmit_timestamp + to_tai;
    };
    let mut client = Client::version_5(Protection::None);
    let refused = client.poll(&with_header(tai));
    assert_eq!(refused.err(), Some(Rejection::Timescale));
    client.association.set_tai_offset(Some(37));
    let request = client.request();
    let arrival = (client.system() + ONE_WAY).to_ntp();
    let response = client.respond(&request, &with_header(tai));
    let Ok(Reply::Time(accepted)) = client.receive(&response) else {
        panic!("a measurement");
    };
    assert_eq!(accepted.content.receive_timestamp, arrival);
    assert_eq!(accepted.content.transmit_timestamp, arrival);
    // The era changes in TAI before it changes in UTC.
    let eras = [(36, 0), (38, 1)].map(|(seconds, expected)| {
        let content = client.time(&with_header(&|header| {
            tai(header);
            header.era = Era::new(1);
            header.receive_timestamp = NtpTimestamp::from_bits(seconds << 32);
            header.transmit_timestamp = header.receive_timestamp;
        }));
        (content.content.era, Some(Era::new(expected)))
    });
    eras.iter()
        .for_each(|(era, expected)| assert_eq!(era, expected));
    let zero = client.poll(&with_header(&|header| {
        tai(header);
        header.receive_timestamp = NtpTimestamp::ZERO;
    }));
    assert_eq!(zero.err(), Some(Rejection::Timestamps));
}

#[test]
fn a_server_of_an_older_draft_is_found() {
    let mut client = Client::version_5(Protection::None);
    let older = draft::NAMES[1].as_bytes();
    let script = Script {
        draft: Some(older),
        ..Script::default()
    };
    let mut answered = 0;
    for _ in 0..6 {
        let request = client.request();
        if Packet::parse(&request).unwrap().draft == Some(older) {
            let response = client.respond(&request, &script);
            assert!(matches!(client.receive(&response), Ok(Reply::Time(_))));
            answered += 1;
        }
    }
    assert_eq!(answered, 5, "all but the first");
}

#[test]
fn the_server_sets_the_shortest_interval_up_to_a_limit() {
    let log2 = PollInterval::from_log2;
    for (protection, longest) in [(Protection::None, 15), (keyed(key(5, b"secret")), 18)] {
        let signing = key(5, b"secret");
        let is_keyed = !matches!(protection, Protection::None);
        let mut client = Client::version_5(protection);
        let mut poll_with = |poll: i8| {
            let change = move |header: &mut Header| header.poll = log2(poll);
            let script = Script {
                header: &change,
                mac: is_keyed.then_some(&signing),
                ..Script::default()
            };
            client.time(&script);
            client.association.schedule().limits().min
        };
        let configured = poll_with(0);
        assert_eq!(poll_with(9), log2(9));
        assert_eq!(poll_with(-100), configured, "it may become shorter again");
        assert_eq!(poll_with(20), log2(longest));
        assert_eq!(poll_with(126), log2(longest));
    }
}

#[test]
fn polls_keep_the_interval_that_the_server_states() {
    let mut client = Client::version_5(Protection::None);
    let slow = |header: &mut Header| header.poll = PollInterval::from_log2(9);
    for _ in 0..8 {
        client.time(&with_header(&slow));
    }
    let mut last = client.now;
    for _ in 0..10 {
        client.time(&with_header(&slow));
        assert!(client.now - last >= NtpDuration::from_seconds(512));
        last = client.now;
    }
}

#[test]
fn poll_127_is_a_denial_and_a_longer_interval_without_time_a_rate_limit() {
    let mut client = Client::version_5(Protection::None);
    let denied = client.poll(&with_header(&|header| {
        header.stratum = Stratum::new(0);
        header.poll = Header::NEVER;
    }));
    assert!(matches!(denied, Ok(Reply::Kiss(KissCode::Deny))));
    let limited = client.poll(&with_header(&|header| {
        header.stratum = Stratum::new(0);
        header.poll = PollInterval::from_log2(8);
    }));
    assert!(matches!(limited, Ok(Reply::Kiss(KissCode::Rate))));
    let now = client.monotonic();
    client.association.handle_rate_kiss(now, &mut client.rng);
    let schedule = client.association.schedule();
    assert!(
        schedule.poll() >= PollInterval::from_log2(8),
        "{}",
        schedule.poll()
    );
}

#[test]
fn a_configured_key_is_required_and_a_nak_proves_nothing() {
    let ours = key(5, b"secret");
    let mut client = Client::version_5(keyed(key(5, b"secret")));
    let request = client.request();
    let packet = Packet::parse(&request).unwrap();
    let mac = packet.mac.unwrap();
    assert!(mac.key_id == 5 && ours.verify(packet.authenticated(), mac.digest));
    assert_eq!(packet.correction, None, "nothing protects a correction");
    let (another, wrong) = (key(6, b"secret"), key(5, b"other"));
    for mac in [None, Some(&another), Some(&wrong)] {
        let script = Script {
            mac,
            ..Script::default()
        };
        let response = client.respond(&request, &script);
        let rejection = client.receive(&response).err();
        assert_eq!(rejection, Some(Rejection::Unauthenticated));
    }
    let nak = with_header(&|header| header.flags.authentication_nak = true);
    let response = client.respond(&request, &nak);
    assert_eq!(client.receive(&response).err(), Some(Rejection::CryptoNak));
    client.now -= ONE_WAY * 8;
    let script = Script {
        mac: Some(&ours),
        // Behind the MAC, so anybody may have changed it.
        correction: Some(Correction {
            origin: CorrectionValue::from_bits(-1),
            ..Correction::default()
        }),
        ..Script::default()
    };
    let response = client.respond(&request, &script);
    let Ok(Reply::Time(accepted)) = client.receive(&response) else {
        panic!("the genuine response is still accepted");
    };
    assert_eq!(accepted.content.correction, None);
}

#[test]
fn a_correction_is_used_if_it_is_possible() {
    let millis = |count: i64| CorrectionValue::from_bits((count * 1_000_000) << 16);
    let poll = |request: i64, response: i64| {
        let mut client = Client::version_5(Protection::None);
        client.poll(&Script {
            correction: Some(Correction {
                origin: millis(request),
                delay: millis(response),
                ..Correction::default()
            }),
            ..Script::default()
        })
    };
    let Ok(Reply::Time(accepted)) = poll(9, 1) else {
        panic!("a measurement");
    };
    let correction = accepted.content.correction.unwrap();
    assert_eq!(correction.offset().as_nanos(), -4_000_000);
    let delay = correction.delay().as_seconds_f64();
    assert!((delay - 0.010 * 0.9999).abs() < 1e-9, "{delay}");
    // The whole delay is 20 ms.
    for (request, response) in [(-1, 5), (5, -1), (15, 6)] {
        let rejection = poll(request, response).err();
        assert_eq!(rejection, Some(Rejection::Correction));
    }
    let Ok(Reply::Time(accepted)) = poll(0, 0) else {
        panic!("a measurement");
    };
    assert_eq!(accepted.content.correction, None, "no device has measured");
    let mut client = Client::version_5(Protection::None);
    let overflow = client.time(&Script {
        correction: Some(Correction {
            origin: CorrectionValue::OVERFLOW,
            ..Correction::default()
        }),
        ..Script::default()
    });
    assert_eq!(overflow.content.correction, None);
}

#[test]
fn fields_of_the_response_are_read() {
    let stamp = NtpTimestamp::from_bits(77 << 32);
    let mut client = Client::version_5(Protection::None);
    let accepted = client.time(&Script {
        header: &|header| header.era = Era::new(1),
        extra: &[
            Field::ReferenceTimestamp(stamp),
            Field::MonotonicReceive {
                epoch: 4,
                timestamp: stamp,
            },
            Field::Padding(7),
            Field::Other(wire::ExtensionField {
                field_type: 0x1234,
                body: &[1, 2, 3],
            }),
        ],
        ..Script::default()
    });
    assert_eq!(accepted.content.reference_timestamp, stamp);
    let monotonic = MonotonicReceive {
        epoch: 4,
        timestamp: stamp,
    };
    assert_eq!(accepted.content.monotonic, Some(monotonic));
    assert_eq!(accepted.content.era, Some(Era::new(1)));
}

// ---- negotiation

/// Answers a request of version 4, with the marker or without.
fn version_4_reply(client: &Client, request: &[u8], marker: bool, key: Option<&Key>) -> Vec<u8> {
    let header = wire::Packet::parse(request).unwrap().header;
    let arrival = (client.system() + ONE_WAY).to_ntp();
    let header = wire::Header {
        stratum: Stratum::new(2),
        precision: -25,
        origin_timestamp: header.transmit_timestamp,
        reference_timestamp: if marker {
            header.reference_timestamp
        } else {
            arrival
        },
        receive_timestamp: arrival,
        transmit_timestamp: arrival,
        ..wire::Header::blank(Version::V4, Mode::Server)
    };
    let mut octets = vec![0; 48];
    header.emit(&mut Writer::new(&mut octets)).unwrap();
    if let Some(key) = key {
        let tag = key.sign(&octets);
        octets.extend(key.id().to_be_bytes());
        octets.extend(tag.version_4());
    }
    octets
}

#[test]
fn the_marker_in_a_reply_leads_to_version_5_and_silence_back() {
    let mut client = Client::automatic(Protection::None);
    let request = client.request();
    let marked = wire::Packet::parse(&request).unwrap().header;
    assert_eq!(marked.reference_timestamp, draft::MARKERS[0]);
    let reply = version_4_reply(&client, &request, true, None);
    assert!(matches!(client.receive(&reply), Ok(Reply::Time(_))));
    client.time(&Script::default());
    assert_eq!(client.association.version(), Version::V5);
    // Packets of version 5 are dropped from now on.
    let versions: Vec<u8> = (0..4).map(|_| client.request()[0] >> 3 & 7).collect();
    assert_eq!(versions, [5, 5, 4, 4]);
    assert_eq!(client.association.negotiation().fallbacks(), 1);
}

#[test]
fn an_attacker_who_removes_or_inserts_the_marker_does_not_loosen_authentication() {
    let ours = key(5, b"secret");
    let mut client = Client::automatic(keyed(key(5, b"secret")));
    // Inserted by a stranger: not authentic, so it has no effect.
    let request = client.request();
    let forged = version_4_reply(&client, &request, true, None);
    assert_eq!(
        client.receive(&forged).err(),
        Some(Rejection::Unauthenticated)
    );
    assert_eq!(client.association.version(), Version::V4);
    client.now -= ONE_WAY + ONE_WAY;
    // Removed: the source stays at version 4, with its key.
    for _ in 0..20 {
        let reply = version_4_reply(&client, &request, false, Some(&ours));
        let _ = client.receive(&reply);
        let request = client.request();
        assert!(wire::Packet::parse(&request).unwrap().mac.is_some());
        let bare = version_4_reply(&client, &request, false, None);
        assert_eq!(
            client.receive(&bare).err(),
            Some(Rejection::Unauthenticated)
        );
    }
    // After the change, version 5 requires the key, and so does version 4 after a fallback.
    let mut client = Client::automatic(keyed(key(5, b"secret")));
    let request = client.request();
    let reply = version_4_reply(&client, &request, true, Some(&ours));
    assert!(client.receive(&reply).is_ok());
    assert_eq!(
        client.poll(&Script::default()).err(),
        Some(Rejection::Unauthenticated)
    );
    client.request();
    let request = client.request();
    assert_eq!(request[0] >> 3 & 7, 4);
    let bare = version_4_reply(&client, &request, false, None);
    assert_eq!(
        client.receive(&bare).err(),
        Some(Rejection::Unauthenticated)
    );
}

// ---- interleaved mode

#[test]
fn interleaved_mode_completes_the_exchange_that_the_cookie_names() {
    let mut client = Client::new(AssociationConfig {
        interleaved: true,
        version: VersionChoice::Fixed(Version::V5),
        ..AssociationConfig::default()
    });
    let asked = |request: &[u8]| {
        let header = Packet::parse(request).unwrap().header;
        assert!(header.flags.interleaved);
        header.server_cookie
    };
    let cookie = ServerCookie::from_bits;
    // Basic: the server offers a cookie.
    let request = client.request();
    assert_eq!(asked(&request), ServerCookie::NONE);
    let offer = |header: &mut Header| header.server_cookie = cookie(1);
    let response = client.respond(&request, &with_header(&offer));
    assert!(matches!(client.receive(&response), Ok(Reply::Time(_))));
    // Interleaved: that exchange was measured already.
    let request = client.request();
    assert_eq!(asked(&request), cookie(1));
    let first = (client.system() - NtpDuration::from_seconds(2)).to_ntp();
    let interleaved = |header: &mut Header| {
        header.flags.interleaved = true;
        header.server_cookie = cookie(2);
        header.transmit_timestamp = first;
    };
    let arrival = (client.system() + ONE_WAY).to_ntp();
    let response = client.respond(&request, &with_header(&interleaved));
    assert!(matches!(client.receive(&response), Ok(Reply::Incomplete)));
    assert!(client.association.is_interleaved());
    // The next response completes it, with the actual transmit time.
    let request = client.request();
    assert_eq!(asked(&request), cookie(2));
    let actual = arrival + NtpDuration::from_millis(1);
    let complete = |header: &mut Header| {
        header.flags.interleaved = true;
        header.server_cookie = cookie(3);
        header.transmit_timestamp = actual;
    };
    let response = client.respond(&request, &with_header(&complete));
    let Ok(Reply::Time(accepted)) = client.receive(&response) else {
        panic!("a measurement");
    };
    assert_eq!(accepted.content.receive_timestamp, arrival);
    assert_eq!(accepted.content.transmit_timestamp, actual);
    // A lost response: the cookie is still that of the last one received.
    client.request();
    let request = client.request();
    assert_eq!(asked(&request), cookie(3));
    // The server has forgotten it and answers in basic mode, which is measured.
    let response = client.respond(&request, &with_header(&offer));
    assert!(matches!(client.receive(&response), Ok(Reply::Time(_))));
}

#[test]
fn a_server_without_cookies_is_asked_in_basic_mode_after_four_responses() {
    let mut client = Client::new(AssociationConfig {
        interleaved: true,
        version: VersionChoice::Fixed(Version::V5),
        ..AssociationConfig::default()
    });
    let modes: Vec<bool> = (0..6)
        .map(|_| {
            let request = client.request();
            let response = client.respond(&request, &Script::default());
            assert!(matches!(client.receive(&response), Ok(Reply::Time(_))));
            Packet::parse(&request).unwrap().header.flags.interleaved
        })
        .collect();
    assert_eq!(modes, [true, true, true, true, false, false]);
}

// ---- loops

fn server_id(number: u8) -> ServerId {
    let mut octets = [number; ServerId::LEN];
    for (index, octet) in octets.iter_mut().enumerate() {
        *octet = octet.wrapping_mul(31).wrapping_add(17 * index as u8);
    }
    ServerId::from_octets(octets)
}

fn filter_of(ids: &[u8]) -> BloomFilter {
    let mut filter = BloomFilter::EMPTY;
    ids.iter().for_each(|id| filter.insert(server_id(*id)));
    filter
}

/// Polls a server with this filter and returns why it is excluded after each poll.
fn exclusions(
    client: &mut Client,
    filter: Option<&BloomFilter>,
    polls: usize,
) -> Vec<Option<Rejection>> {
    (0..polls)
        .map(|_| {
            let script = Script {
                filter,
                ..Script::default()
            };
            client.time(&script).exclusion
        })
        .collect()
}

fn serving() -> Client {
    let mut client = Client::version_5(Protection::None);
    client.association.set_server_id(Some(server_id(1)));
    client
}

#[test]
fn a_source_is_not_selected_before_its_whole_filter_is_known() {
    let mut client = serving();
    let filter = filter_of(&[2, 3]);
    let incomplete = Some(Rejection::ReferenceIdsIncomplete);
    let seen = exclusions(&mut client, Some(&filter), 6);
    assert_eq!(seen, [incomplete, incomplete, incomplete, None, None, None]);
    assert_eq!(client.association.reference_ids(), Some(&filter));
    let lengths: Vec<usize> = (0..3).map(|_| client.request().len()).collect();
    assert!(
        lengths.windows(2).all(|pair| pair[0] == pair[1]),
        "{lengths:?}"
    );
}

#[test]
fn our_id_in_the_filter_is_a_loop_and_the_source_comes_back_after_random_polls() {
    let mut client = serving();
    let (loops, free) = (filter_of(&[1, 2]), filter_of(&[2]));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let seen = exclusions(&mut client, Some(&loops), 8);
        assert_eq!(seen.last(), Some(&Some(Rejection::Loop)));
        let mut wait = 0;
        while exclusions(&mut client, Some(&free), 1) != [None] {
            wait += 1;
            assert!(wait < 300, "{waits:?}");
        }
        waits.push(wait);
    }
    assert!(waits[0] <= 4 + 8, "{waits:?}");
    assert!(waits.iter().max() > Some(&32), "it grows: {waits:?}");
}

#[test]
fn a_full_filter_and_a_missing_one_are_reasons_not_to_select() {
    let mut client = serving();
    let mut full = BloomFilter::EMPTY;
    full.write_chunk(0, &[0xff; BloomFilter::LEN]).unwrap();
    let seen = exclusions(&mut client, Some(&full), 4);
    assert_eq!(seen[3], Some(Rejection::ReferenceIdsFull));
    let mut client = serving();
    let seen = exclusions(&mut client, None, 12);
    assert_eq!(seen[11], Some(Rejection::ReferenceIdsMissing));
    // A primary server without sources is no loop.
    let mut client = serving();
    let primary = |header: &mut Header| header.stratum = Stratum::PRIMARY;
    let last = (0..12)
        .map(|_| client.time(&with_header(&primary)).exclusion)
        .last();
    assert_eq!(last, Some(None));
}
