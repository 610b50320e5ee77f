//! Processing a request allocates nothing: for every kind of reply, from the first request on, and
//! for sixteen million new client addresses. Neither does recording the client.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ntp_proto::keys::{Algorithm, Key, KeyRing};
use ntp_proto::nts::{AeadAlgorithm, Keyset, MasterSecret, NtsRequest, SessionKeys};
use ntp_proto::server::{
    Claim, ClientList, Draft, Policy, RateLimit, ServerNow, ServerView, Versions, WorkerState,
    respond,
};
use ntp_proto::wire::v5::{self, Correction, Field, Flags, SupportedVersions, draft};
use ntp_proto::wire::{ExtensionField, Header, Mac, Mode, Version, Writer, emit};
use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, SystemTime};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

const EPOCH: SystemTime = SystemTime::from_nanos(1_700_000_000_000_000_000);

fn key() -> Key {
    Key::new(1, Algorithm::Aes128Cmac, b"0123456789abcdef").unwrap()
}

fn keyset() -> Keyset {
    Keyset::new(MasterSecret::new([1; 64]))
}

/// An NTS request for eight cookies.
fn sealed(header: &Header) -> Vec<u8> {
    let keys = SessionKeys::new(AeadAlgorithm::AesSivCmac256, &[2; 32], &[3; 32]).unwrap();
    let cookie = keyset().seal_cookie(&keys, [4; 16]).unwrap();
    let mut rng = ChaCha8Rng::from_seed([5; 32]);
    NtsRequest::new(header, &keys, &cookie, 8, &mut rng)
        .unwrap()
        .octets
}

fn datagram(header: &Header, fields: &[ExtensionField<'_>], signed: bool) -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut writer = Writer::new(&mut buffer);
    let mac = Mac {
        key_id: 1,
        digest: &[0; 16],
    };
    emit(
        header,
        fields.iter().copied(),
        signed.then_some(mac),
        &mut writer,
    )
    .unwrap();
    let octets = writer.finish();
    if signed {
        let (covered, digest) = Mac::split_packet(octets, 16).unwrap();
        digest.copy_from_slice(key().sign(covered).version_4());
    }
    octets.to_vec()
}

/// A request of version 5 with every field that a server answers, in interleaved mode.
fn version_5(signed: bool) -> Vec<u8> {
    let header = v5::Header {
        flags: Flags {
            interleaved: true,
            ..Flags::NONE
        },
        ..v5::Header::blank(Mode::Client)
    };
    let fields = [
        Field::Draft(draft::NAMES[0].as_bytes()),
        Field::ServerInformation(SupportedVersions::NONE),
        Field::ReferenceIdsRequest {
            offset: 0,
            length: 16,
        },
        Field::ReferenceTimestamp(NtpTimestamp::ZERO),
        Field::MonotonicReceive {
            epoch: 0,
            timestamp: NtpTimestamp::ZERO,
        },
        Field::Padding(9),
    ];
    let mut buffer = [0; 512];
    let mut writer = Writer::new(&mut buffer);
    header.emit(&mut writer).unwrap();
    for field in fields {
        field.emit(&mut writer).unwrap();
    }
    if signed {
        let mac = v5::Mac {
            key_id: 1,
            digest: &[0; 16],
        };
        Field::Mac(mac).emit(&mut writer).unwrap();
        let (covered, digest) = v5::Mac::split_packet(writer.written_mut(), 16).unwrap();
        digest.copy_from_slice(key().sign(covered).whole());
    }
    Field::Correction(Correction::default())
        .emit(&mut writer)
        .unwrap();
    writer.finish().to_vec()
}

#[test]
fn a_reply_allocates_nothing() {
    let view = ServerView {
        claim: Claim::UNSYNCHRONIZED,
        policy: Arc::new(Policy {
            rate_limit: RateLimit {
                slots: 1024,
                cutoff: NtpDuration::from_millis(100),
                kiss: Some(1),
                ..RateLimit::NONE
            },
            keys: KeyRing::new([key()]).unwrap(),
            versions: Versions::UP_TO_4.with(Version::V5),
            ..Policy::default()
        }),
        keyset: Some(Arc::new(keyset())),
        reference_ids: Some(Arc::default()),
    };
    let plain = Header {
        transmit_timestamp: NtpTimestamp::from_bits(0x0123_4567_89ab_cdef),
        ..Header::blank(Version::V4, Mode::Client)
    };
    let interleaved = Header {
        origin_timestamp: NtpTimestamp::from_bits(EPOCH.to_ntp().to_bits() | 1),
        receive_timestamp: NtpTimestamp::from_bits(1),
        ..plain
    };
    let unique = ExtensionField {
        field_type: 0x0104,
        body: &[7; 32],
    };
    let nts = ExtensionField {
        field_type: 0x0404,
        body: &[7; 40],
    };
    let mut forged = datagram(&plain, &[], true);
    forged[60] ^= 1;
    let requests = [
        datagram(&plain, &[], false),
        datagram(&interleaved, &[], false),
        datagram(&plain, &[], true),
        datagram(&plain, &[unique], true),
        datagram(&plain, &[unique, nts], false),
        sealed(&plain),
        forged,
        version_5(false),
        version_5(true),
        b"garbage".to_vec(),
    ];
    let mut worker = WorkerState::new(&view.policy, 1, [1; 32]);
    let mut draft = Draft::new();

    let mut octets = 0;
    let allocations = allocation_counter::measure(|| {
        for round in 0..1_000u32 {
            let received = EPOCH + NtpDuration::from_millis(i64::from(round));
            let now = ServerNow {
                monotonic: Monotonic::from_nanos(received.as_nanos()),
                system: received,
            };
            for request in &requests {
                // Many clients, some of which exceed the rate limit.
                let client = IpAddr::from([192, 0, 2, (round % 61) as u8]);
                let from = SocketAddr::new(client, 123);
                respond(&view, &mut worker, from, now, request, received, &mut draft);
                octets += draft.seal(received).len();
                if let Some(token) = draft.stamp_token() {
                    worker.record_transmit(token, received);
                }
            }
        }
    });
    assert_eq!(allocations.count_total, 0);
    // Every kind of reply occurred.
    let counters = worker.counters();
    assert_eq!(counters.statistics.total(), 10_000);
    assert!(counters.details.accepted_by_version[4] > 0);
    for count in [
        counters.statistics.accepted,
        counters.statistics.ignored,
        counters.statistics.rate_limited,
        counters.details.rate_kisses,
        counters.statistics.nts_received,
    ] {
        assert!(count > 0, "{counters:?}");
    }
    assert!(octets > 0);
}

#[test]
fn sixteen_million_forged_addresses_neither_allocate_nor_exclude_other_clients() {
    let view = ServerView {
        claim: Claim::UNSYNCHRONIZED,
        policy: Arc::new(Policy {
            rate_limit: RateLimit {
                slots: 4096,
                cutoff: NtpDuration::from_seconds(1),
                ..RateLimit::NONE
            },
            ..Policy::default()
        }),
        keyset: Some(Arc::new(keyset())),
        reference_ids: None,
    };
    // Each request also makes the server keep a transmit timestamp (interleaved mode).
    let request = datagram(
        &Header {
            origin_timestamp: NtpTimestamp::from_bits(EPOCH.to_ntp().to_bits() | 1),
            receive_timestamp: NtpTimestamp::from_bits(1),
            transmit_timestamp: NtpTimestamp::from_bits(2),
            ..Header::blank(Version::V4, Mode::Client)
        },
        &[],
        false,
    );
    let mut worker = WorkerState::new(&view.policy, 1, [1; 32]);
    let mut clients = ClientList::new([2; 32]);
    clients.resize(4096, 1);
    let mut draft = Draft::new();
    let mut send = |client: IpAddr, micros: i64| {
        let received = EPOCH + NtpDuration::from_micros(micros);
        let now = ServerNow {
            monotonic: Monotonic::from_nanos(received.as_nanos()),
            system: received,
        };
        let from = SocketAddr::new(client, 123);
        let verdict = respond(
            &view,
            &mut worker,
            from,
            now,
            &request,
            received,
            &mut draft,
        );
        if let Some(token) = draft.stamp_token() {
            worker.record_transmit(token, received);
        }
        clients.record(client, verdict, now.monotonic);
        verdict.is_answer()
    };

    let mut honest = 0;
    let allocations = allocation_counter::measure(|| {
        for number in 0..1u32 << 24 {
            let micros = i64::from(number);
            // An odd factor permutes the numbers: no address repeats. Each IPv6 address has its own
            // /64.
            let scattered = number.wrapping_mul(0x9e37_79b1);
            let forged = match number % 4 {
                0 => IpAddr::from((u128::from(scattered) << 64).to_be_bytes()),
                _ => IpAddr::from(scattered.to_be_bytes()),
            };
            send(forged, micros);
            if micros % 100_000 == 0 {
                honest += i32::from(send([203, 0, 113, 1].into(), micros));
            }
        }
    });
    assert_eq!(allocations.count_total, 0);
    // The rate limit allows one reply per second; evictions from the table may allow more.
    assert!(honest >= 1);
    assert_eq!(clients.entries().count(), 4096);
    assert!(clients.displaced() > 16_000_000);
}
