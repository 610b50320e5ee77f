//! Requests, and what is made of the responses to them.

use super::*;

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
