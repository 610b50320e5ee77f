//! Prints what answering one request costs, in nanoseconds, for each kind of request.
//!
//! ```text
//! cargo run --release -p ntp-proto --example respond_cost [KIND [ROUNDS]]
//! ```
//!
//! With a kind, only that one runs; for an instruction count run it under callgrind with two numbers of rounds and divide the
//! difference. Each figure is the best of several runs of `respond` and `seal` over 4096 client addresses.

use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ntp_proto::keys::{Algorithm, Key, KeyRing};
use ntp_proto::server::{
    Access, AccessList, Claim, Draft, Networks, Policy, RateLimit, Refusal, RootDispersion,
    ServerNow, ServerView, WorkerState, respond,
};
use ntp_proto::wire::{Header, Mac, Mode, Version, Writer, emit};
use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, NtpTimestamp, Stratum, SystemTime,
};

const EPOCH: SystemTime = SystemTime::from_nanos(1_700_000_000_123_456_789);

struct Kind {
    name: &'static str,
    view: ServerView,
    request: Vec<u8>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let chosen = arguments.next();
    let rounds = arguments.next().and_then(|text| text.parse().ok());
    for kind in kinds() {
        if chosen.as_deref().is_some_and(|name| name != kind.name) {
            continue;
        }
        let best = match rounds {
            Some(rounds) => run(&kind, rounds),
            None => (0..15).map(|_| run(&kind, 50_000)).fold(f64::MAX, f64::min),
        };
        println!("{:28} {best:6.1} ns", kind.name);
    }
}

/// Nanoseconds for one request.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn run(kind: &Kind, rounds: u32) -> f64 {
    let mut worker = WorkerState::new(&kind.view.policy, 1, [1; 32]);
    let mut draft = Draft::new();
    let begin = Instant::now();
    for round in 0..rounds {
        let received = EPOCH + NtpDuration::from_bits(i64::from(round) << 18);
        let now = ServerNow {
            monotonic: Monotonic::from_nanos(received.as_nanos()),
            system: received,
        };
        let client = Ipv6Addr::from_bits(0xffff_0a00_0000 | u128::from(round % 4096));
        let from = SocketAddr::new(IpAddr::V6(client), 123);
        let request = black_box(&kind.request);
        black_box(respond(
            &kind.view,
            &mut worker,
            from,
            now,
            request,
            received,
            &mut draft,
        ));
        black_box(draft.seal(received));
    }
    begin.elapsed().as_nanos() as f64 / f64::from(rounds)
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
    };
    let plain = || request(None);
    let limit = RateLimit {
        slots: 1 << 16,
        cutoff: NtpDuration::from_nanos(1),
        ..RateLimit::NONE
    };
    let lists = || {
        let networks = |second: u32| {
            let hosts = (0..10_000u32).map(move |host| {
                let address: u32 = 10 << 24 | second << 16 | host << 1;
                (IpAddr::from(address.to_be_bytes()), 32)
            });
            Networks::new(hosts)
        };
        Access {
            denylist: AccessList {
                networks: networks(200),
                refusal: Refusal::Deny,
            },
            ..Access::everybody()
        }
    };
    let key = |algorithm| Key::new(1, algorithm, b"0123456789abcdef").expect("a right secret");
    let keyed = |name, algorithm| Kind {
        name,
        view: view(Policy {
            keys: KeyRing::new([key(algorithm)]).expect("one key"),
            ..Policy::default()
        }),
        request: request(Some(&key(algorithm))),
    };
    let mut interleaved = plain();
    let origin = (EPOCH + NtpDuration::from_seconds(-1)).to_ntp().to_bits() | 1;
    interleaved[24..32].copy_from_slice(&origin.to_be_bytes());
    interleaved[32..40].copy_from_slice(&1u64.to_be_bytes());
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
                rate_limit: limit,
                ..Policy::default()
            },
            plain(),
        ),
        kind(
            "plain-long-lists",
            Policy {
                access: lists(),
                ..Policy::default()
            },
            plain(),
        ),
        kind(
            "plain-limited-long-lists",
            Policy {
                access: lists(),
                rate_limit: limit,
                ..Policy::default()
            },
            plain(),
        ),
        kind("interleaved", Policy::default(), interleaved),
        keyed("aes128-cmac", Algorithm::Aes128Cmac),
        keyed("sha1", Algorithm::Sha1),
        keyed("sha256", Algorithm::Sha256),
        keyed("md5", Algorithm::Md5),
        kind("garbage", Policy::default(), b"garbage".to_vec()),
    ]
}

fn request(key: Option<&Key>) -> Vec<u8> {
    let header = Header {
        transmit_timestamp: NtpTimestamp::from_bits(0x0123_4567_89ab_cdef),
        ..Header::blank(Version::V4, Mode::Client)
    };
    let length = key.map_or(0, |key| key.sign(&[]).version_4().len());
    let mac = key.map(|key| Mac {
        key_id: key.id(),
        digest: &[0; 20][..length],
    });
    let mut octets = vec![0; Header::LEN + mac.map_or(0, |mac| mac.length())];
    emit(&header, None, mac, &mut Writer::new(&mut octets)).expect("it fits");
    if let Some(key) = key {
        let (covered, digest) = Mac::divide(&mut octets, length).expect("it has a MAC");
        digest.copy_from_slice(key.sign(covered).version_4());
    }
    octets
}
