//! Cost of processing one request, for each kind of request.
//!
//! ```text
//! cargo run --release -p ntp-proto --example respond_cost        nanoseconds, the best of several runs
//! cargo xtask bench instructions                                 instructions, and changes
//! ```
//!
//! The second command runs this program with `--count ROUNDS` under callgrind, which counts the
//! instructions inside of [`decide`] and [`seal`] and writes the sum at each call of
//! [`end_of_part`]: for each kind first after a warm-up, then after the rounds that count. Requests
//! come from 256 client addresses.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ntp_proto::keys::{Algorithm, Key, KeyRing};
use ntp_proto::nts::{AeadAlgorithm, Keyset, MasterSecret, NtsRequest, SessionKeys};
use ntp_proto::server::{
    Access, AccessList, Claim, Draft, Networks, Policy, RateLimit, Refusal, RootDispersion,
    ServerNow, ServerView, Versions, WorkerState, respond,
};
use ntp_proto::wire::v5::{self, Field};
use ntp_proto::wire::{Header, Mac, Mode, Version, Writer, emit};
use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, NtpTimestamp, Stratum, SystemTime,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

const EPOCH: SystemTime = SystemTime::from_nanos(1_700_000_000_123_456_789);

struct Kind {
    name: &'static str,
    view: ServerView,
    request: Vec<u8>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => None,
        (Some("--count"), Some(rounds)) => Some(rounds.parse().expect("a number of rounds")),
        _ => panic!("usage: respond_cost [--count ROUNDS]"),
    };
    for kind in kinds() {
        let mut clients = Clients::new(&kind);
        if let Some(rounds) = count {
            clients.send(512);
            end_of_part();
            clients.send(rounds);
            end_of_part();
            println!("{}", kind.name);
        } else {
            println!("{:28} {:6.1} ns", kind.name, clients.time());
        }
    }
}

/// All clients that send the same request.
struct Clients<'a> {
    kind: &'a Kind,
    worker: WorkerState,
    draft: Draft,
    sent: u32,
}

impl<'a> Clients<'a> {
    fn new(kind: &'a Kind) -> Self {
        Self {
            kind,
            worker: WorkerState::new(&kind.view.policy, 1, [1; 32]),
            draft: Draft::new(),
            sent: 0,
        }
    }

    fn send(&mut self, times: u32) {
        for _ in 0..times {
            self.sent += 1;
            let received = EPOCH + NtpDuration::from_bits(i64::from(self.sent) << 18);
            let client = Ipv4Addr::from_bits((10 << 24) | (self.sent % 256));
            let from = SocketAddr::new(client.into(), 123);
            decide(self, from, received);
            black_box(seal(&mut self.draft, received));
        }
    }

    /// Duration of one request, in nanoseconds.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    fn time(&mut self) -> f64 {
        const ROUNDS: u32 = 50_000;
        let mut once = || {
            let begin = Instant::now();
            self.send(ROUNDS);
            begin.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
        };
        (0..15).map(|_| once()).fold(f64::MAX, f64::min)
    }
}

#[inline(never)]
fn decide(clients: &mut Clients<'_>, from: SocketAddr, received: SystemTime) {
    let now = ServerNow {
        monotonic: Monotonic::from_nanos(received.as_nanos()),
        system: received,
    };
    let Clients {
        kind,
        worker,
        draft,
        ..
    } = clients;
    let request = black_box(&kind.request[..]);
    black_box(respond(
        &kind.view, worker, from, now, request, received, draft,
    ));
}

#[inline(never)]
fn seal(draft: &mut Draft, transmit: SystemTime) -> &[u8] {
    draft.seal(transmit)
}

#[inline(never)]
fn end_of_part() {
    black_box(());
}

fn kinds() -> Vec<Kind> {
    let claim = Claim {
        leap: LeapIndicator::None,
        stratum: Stratum::new(2),
        precision: -24,
        root_dispersion: RootDispersion {
            value: NtpDuration::from_millis(1),
            at: EPOCH,
            growth: Frequency::from_ppm(15.0),
        },
        ..Claim::UNSYNCHRONIZED
    };
    let view = |policy| ServerView {
        claim,
        policy: Arc::new(policy),
        keyset: Some(Arc::new(keyset())),
        reference_ids: Some(Arc::default()),
    };
    let plain = || request(Mode::Client, None);
    let limit = |cutoff| RateLimit {
        slots: 1 << 16,
        cutoff,
        ..RateLimit::NONE
    };
    let never_reached = limit(NtpDuration::from_nanos(1));
    let lists = || {
        let networks = |second: u32| {
            let hosts = (0..10_000u32).map(move |host| {
                let address: u32 = 10 << 24 | second << 16 | host << 1;
                (IpAddr::from(address.to_be_bytes()), 32)
            });
            Networks::new(hosts)
        };
        let allowed =
            (0..10_000u32).map(|host| (IpAddr::from((10 << 24 | host << 1).to_be_bytes()), 31));
        Access::from_lists(
            &AccessList {
                networks: networks(200),
                refusal: Refusal::Deny,
            },
            &AccessList {
                // Another action, so that the denied hosts stay ranges of their own.
                networks: Networks::new(allowed),
                refusal: Refusal::Ignore,
            },
        )
    };
    let closed = Access::from_rules(Some(Refusal::Deny), []);
    let key = |algorithm| Key::new(1, algorithm, b"0123456789abcdef").expect("a valid secret");
    let keyed = |name, algorithm| Kind {
        name,
        view: view(Policy {
            keys: KeyRing::new([key(algorithm)]).expect("one key"),
            ..Policy::default()
        }),
        request: request(Mode::Client, Some(&key(algorithm))),
    };
    let mut interleaved = plain();
    let origin = (EPOCH + NtpDuration::from_seconds(-1)).to_ntp().to_bits() | 1;
    interleaved[24..32].copy_from_slice(&origin.to_be_bytes());
    interleaved[32..40].copy_from_slice(&1u64.to_be_bytes());
    let mut forged = request(Mode::Client, Some(&key(Algorithm::Aes128Cmac)));
    *forged.last_mut().expect("it is not empty") ^= 1;
    let kind = |name, policy, request| Kind {
        name,
        view: view(policy),
        request,
    };
    vec![
        kind("plain", Policy::default(), plain()),
        kind(
            "plain-limited",
            Policy {
                rate_limit: never_reached,
                ..Policy::default()
            },
            plain(),
        ),
        kind(
            "plain-lists",
            Policy {
                access: lists(),
                ..Policy::default()
            },
            plain(),
        ),
        kind(
            "plain-limited-lists",
            Policy {
                access: lists(),
                rate_limit: never_reached,
                ..Policy::default()
            },
            plain(),
        ),
        kind("interleaved", Policy::default(), interleaved),
        keyed("aes128-cmac", Algorithm::Aes128Cmac),
        keyed("sha1", Algorithm::Sha1),
        keyed("sha256", Algorithm::Sha256),
        keyed("md5", Algorithm::Md5),
        kind(
            "nts-aes-siv-cmac-256",
            Policy::default(),
            sealed(AeadAlgorithm::AesSivCmac256, 1),
        ),
        kind(
            "nts-aes-siv-cmac-512",
            Policy::default(),
            sealed(AeadAlgorithm::AesSivCmac512, 1),
        ),
        kind(
            "nts-aes-128-gcm-siv",
            Policy::default(),
            sealed(AeadAlgorithm::Aes128GcmSiv, 1),
        ),
        kind(
            "nts-eight-cookies",
            Policy::default(),
            sealed(AeadAlgorithm::AesSivCmac256, 8),
        ),
        kind(
            "wrong-mac",
            Policy {
                keys: KeyRing::new([key(Algorithm::Aes128Cmac)]).expect("one key"),
                ..Policy::default()
            },
            forged,
        ),
        kind(
            "mode-1",
            Policy::default(),
            request(Mode::SymmetricActive, None),
        ),
        kind(
            "denied",
            Policy {
                access: closed,
                ..Policy::default()
            },
            plain(),
        ),
        kind(
            "rate-limited",
            Policy {
                rate_limit: RateLimit {
                    leak: None,
                    ..limit(NtpDuration::from_seconds(1000))
                },
                ..Policy::default()
            },
            plain(),
        ),
        kind("v5-plain", accepting_v5(), version_5(false, &[])),
        kind("v5-interleaved", accepting_v5(), version_5(true, &[])),
        kind(
            "v5-information",
            accepting_v5(),
            version_5(
                false,
                &[
                    Field::ReferenceTimestamp(NtpTimestamp::ZERO),
                    Field::ReferenceIdsRequest {
                        offset: 0,
                        length: 16,
                    },
                ],
            ),
        ),
        kind("a-reply", Policy::default(), request(Mode::Server, None)),
        kind("malformed", Policy::default(), b"garbage".to_vec()),
    ]
}

fn accepting_v5() -> Policy {
    Policy {
        versions: Versions::UP_TO_4.with(Version::V5),
        ..Policy::default()
    }
}

/// A request of version 5, in interleaved mode or not, with these fields.
fn version_5(interleaved: bool, fields: &[Field<'_>]) -> Vec<u8> {
    let header = v5::Header {
        flags: v5::Flags {
            interleaved,
            ..v5::Flags::NONE
        },
        client_cookie: v5::ClientCookie::from_bits(0x0123_4567_89ab_cdef),
        server_cookie: v5::ServerCookie::from_bits(u64::from(interleaved)),
        ..v5::Header::blank(Mode::Client)
    };
    let name = Field::Draft(v5::draft::NAMES[0].as_bytes());
    let mut buffer = [0; 256];
    let mut writer = Writer::new(&mut buffer);
    header.emit(&mut writer).expect("it fits");
    for field in [name].iter().chain(fields) {
        field.emit(&mut writer).expect("it fits");
    }
    writer.finish().to_vec()
}

fn keyset() -> Keyset {
    Keyset::new(MasterSecret::new([1; 64]))
}

fn sealed(algorithm: AeadAlgorithm, cookies: usize) -> Vec<u8> {
    let key = vec![2; algorithm.key_length()];
    let keys = SessionKeys::new(algorithm, &key, &key).expect("of the right length");
    let cookie = keyset()
        .seal_cookie(&keys, [3; 16])
        .expect("there is a key");
    let header = Header {
        transmit_timestamp: NtpTimestamp::from_bits(0x0123_4567_89ab_cdef),
        ..Header::blank(Version::V4, Mode::Client)
    };
    let mut rng = ChaCha8Rng::from_seed([4; 32]);
    NtsRequest::new(&header, &keys, &cookie, cookies, &mut rng)
        .expect("it fits")
        .octets
}

fn request(mode: Mode, key: Option<&Key>) -> Vec<u8> {
    let header = Header {
        transmit_timestamp: NtpTimestamp::from_bits(0x0123_4567_89ab_cdef),
        ..Header::blank(Version::V4, mode)
    };
    let length = key.map_or(0, |key| key.sign(&[]).version_4().len());
    let mac = key.map(|key| Mac {
        key_id: key.id(),
        digest: &[0; 20][..length],
    });
    let mut octets = vec![0; Header::LEN + mac.map_or(0, |mac| mac.length())];
    emit(&header, None, mac, &mut Writer::new(&mut octets)).expect("it fits");
    if let Some(key) = key {
        let (covered, digest) = Mac::split_packet(&mut octets, length).expect("it has a MAC");
        digest.copy_from_slice(key.sign(covered).version_4());
    }
    octets
}
