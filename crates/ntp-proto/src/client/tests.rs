//! Associations with a key or in interleaved mode, against the server of this crate.

mod nts;
mod v5;

use std::net::SocketAddr;
use std::sync::Arc;

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, Stamp, StampSource, Stratum, SystemTime};
use ntp_types::source::SourceId;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::interleaved::FOLLOW_UP;
use super::{
    Association, AssociationConfig, Datagram, ExchangeId, LocalIdentity, Protection, Rejection,
    Reply, VersionChoice,
};
use crate::keys::{Algorithm, Key, KeyRing};
use crate::server::{Claim, Draft, LocalMode, Policy, ServerNow, ServerView, WorkerState, respond};
use crate::wire::{Packet, Version};

const EPOCH: SystemTime = SystemTime::from_nanos(1_700_000_000_000_000_000);

fn key(id: u32, secret: &[u8]) -> Key {
    Key::new(id, Algorithm::Sha256, secret).unwrap()
}

/// A client and a server on one clock, which advances only as the tests require.
struct Pair {
    association: Association,
    worker: WorkerState,
    view: ServerView,
    rng: ChaCha12Rng,
    now: NtpDuration,
    sequence: u32,
    /// Time from the server's transmit timestamp to the actual transmission.
    transmit_delay: NtpDuration,
}

impl Pair {
    fn new(protection: Protection, keys: impl IntoIterator<Item = Key>) -> Self {
        let policy = Policy {
            keys: KeyRing::new(keys).unwrap(),
            ..Policy::default()
        };
        let config = AssociationConfig {
            protection,
            ..AssociationConfig::default()
        };
        Self::with(config, policy)
    }

    fn interleaved() -> Self {
        let config = AssociationConfig {
            interleaved: true,
            ..AssociationConfig::default()
        };
        Self {
            transmit_delay: NtpDuration::from_millis(3),
            ..Self::with(config, Policy::default())
        }
    }

    fn with(config: AssociationConfig, policy: Policy) -> Self {
        let local = LocalMode {
            leap: ntp_time::LeapIndicator::None,
            stratum: Stratum::new(2),
            root_dispersion: ntp_time::NtpShort::ZERO,
            ..LocalMode::NONE
        };
        Self {
            association: Association::new(
                SocketAddr::from(([192, 0, 2, 1], 123)),
                config,
                Monotonic::from_nanos(0),
            ),
            worker: WorkerState::new(&policy, 1, [3; 32]),
            view: ServerView {
                claim: Claim::local(local, -20),
                policy: Arc::new(policy),
                keyset: None,
                reference_ids: None,
            },
            rng: ChaCha12Rng::from_seed([1; 32]),
            now: NtpDuration::ZERO,
            sequence: 0,
            transmit_delay: NtpDuration::ZERO,
        }
    }

    fn system(&self) -> SystemTime {
        EPOCH + self.now
    }

    fn id(&self) -> ExchangeId {
        ExchangeId {
            source: SourceId(0),
            sequence: self.sequence,
        }
    }

    /// Sends a request and returns it.
    fn send_request(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let now = Monotonic::from_nanos(0) + self.now;
        let id = self.id();
        let request = self.association.request(now, id, &mut self.rng).unwrap();
        let stamp = Stamp {
            time: self.system(),
            source: StampSource::Kernel,
        };
        self.association.transmitted(id, stamp);
        request.payload
    }

    /// Returns the server's reply.
    fn serve(&mut self, request: &[u8]) -> Vec<u8> {
        self.now += NtpDuration::from_millis(10);
        let mut draft = Draft::new();
        let now = ServerNow {
            monotonic: Monotonic::from_nanos(0) + self.now,
            system: self.system(),
        };
        let received = self.system();
        let from = SocketAddr::from(([192, 0, 2, 9], 4000));
        let (view, worker) = (&self.view, &mut self.worker);
        respond(view, worker, from, now, request, received, &mut draft);
        let reply = draft.seal(received).to_vec();
        self.now += self.transmit_delay;
        if let Some(token) = draft.stamp_token() {
            self.worker.record_transmit(token, self.system());
        }
        self.now += NtpDuration::from_millis(10);
        reply
    }

    /// Sends the next request when it is due and receives the reply.
    fn poll(&mut self) -> Reply {
        self.now = self
            .now
            .max(self.association.next_poll() - Monotonic::from_nanos(0));
        let request = self.send_request();
        let reply = self.serve(&request);
        self.receive(&reply).unwrap()
    }

    /// Like [`poll`](Self::poll), with the request lost.
    fn poll_without_reply(&mut self) {
        self.now = self
            .now
            .max(self.association.next_poll() - Monotonic::from_nanos(0));
        self.send_request();
        self.now = self.association.deadline().unwrap() - Monotonic::from_nanos(0);
        let id = self.association.expire(Monotonic::from_nanos(0) + self.now);
        assert_eq!(id, Some(self.id()));
    }

    /// Polls until the schedule is steady and intervals are long.
    fn settle(&mut self) {
        while !self.association.schedule().is_steady() {
            self.poll();
        }
        // Completes the last poll.
        while !matches!(self.poll(), Reply::Time(_)) {}
    }

    fn receive(&mut self, payload: &[u8]) -> Result<Reply, Rejection> {
        self.receive_with(payload, None)
    }

    fn receive_with(&mut self, payload: &[u8], hop_limit: Option<u8>) -> Result<Reply, Rejection> {
        let datagram = Datagram {
            exchange: self.id(),
            payload,
            truncated: false,
            hop_limit,
            received: Stamp {
                time: self.system(),
                source: StampSource::Kernel,
            },
        };
        let now = Monotonic::from_nanos(0) + self.now;
        let local_identity = LocalIdentity::default();
        self.association
            .receive(now, &datagram, &local_identity, Stratum::UNSYNCHRONIZED)
    }
}

fn keyed(key: Key) -> Protection {
    Protection::Symmetric(Arc::new(key))
}

#[test]
fn a_reply_authenticated_by_the_shared_key_is_accepted() {
    let mut pair = Pair::new(keyed(key(5, b"secret")), [key(5, b"secret")]);
    let request = pair.send_request();
    assert_eq!(Packet::parse(&request).unwrap().mac.unwrap().key_id, 5);
    let reply = pair.serve(&request);
    assert!(matches!(pair.receive(&reply), Ok(Reply::Time(_))));
    let counters = pair.association.counters();
    assert_eq!((counters.accepted, counters.bogus), (1, 0));
}

#[test]
fn an_unauthenticated_reply_changes_nothing_and_the_genuine_one_is_accepted() {
    let mut pair = Pair::new(keyed(key(5, b"secret")), [key(5, b"secret")]);
    let request = pair.send_request();
    let genuine = pair.serve(&request);
    let before = (pair.association.reach(), pair.association.next_poll());
    let unsigned = genuine[..48].to_vec();
    let mut kiss = unsigned.clone();
    kiss[1] = 0;
    kiss[12..16].copy_from_slice(b"DENY");
    let mut altered = genuine.clone();
    altered[47] ^= 1;
    for forged in [unsigned, kiss, altered] {
        assert_eq!(
            pair.receive(&forged).err(),
            Some(Rejection::Unauthenticated)
        );
        assert!(pair.association.exchange().is_some());
    }
    assert_eq!(
        before,
        (pair.association.reach(), pair.association.next_poll())
    );
    assert_eq!(pair.association.counters().bogus, 3);
    assert!(matches!(pair.receive(&genuine), Ok(Reply::Time(_))));
}

#[test]
fn a_reply_without_proof_from_another_distance_is_named_and_a_change_of_the_route_is_not() {
    let mut pair = Pair::new(keyed(key(5, b"secret")), [key(5, b"secret")]);
    let difference = |pair: &Pair| {
        let difference = pair.association.hop_limit_difference();
        difference.map(|it| (it.rejected, it.authentic))
    };
    let mut exchange = |forged: Option<u8>, genuine: Option<u8>| {
        let request = pair.send_request();
        let reply = pair.serve(&request);
        let unsigned = &reply[..48];
        assert!(pair.receive_with(unsigned, forged).is_err());
        let before = difference(&pair);
        assert!(matches!(
            pair.receive_with(&reply, genuine),
            Ok(Reply::Time(_))
        ));
        assert_eq!(pair.association.hop_limit(), genuine);
        (before, difference(&pair))
    };
    // Nothing to compare with before the first authentic reply.
    assert_eq!(exchange(Some(57), Some(64)), (None, Some((57, 64))));
    assert_eq!(
        exchange(Some(57), Some(64)),
        (Some((57, 64)), Some((57, 64)))
    );
    assert_eq!(exchange(Some(64), Some(64)), (None, None));
    // By another route: the authentic reply is accepted as before, and comparisons begin anew.
    assert_eq!(exchange(Some(61), Some(61)), (Some((61, 64)), None));
    assert_eq!(
        exchange(Some(64), Some(61)),
        (Some((64, 61)), Some((64, 61)))
    );
    assert_eq!(exchange(None, None), (None, None), "not reported");
}

#[test]
fn without_authentication_no_reply_is_compared() {
    let mut pair = Pair::new(Protection::None, []);
    let request = pair.send_request();
    let reply = pair.serve(&request);
    assert!(pair.receive_with(&reply, Some(64)).is_ok());
    let request = pair.send_request();
    let reply = pair.serve(&request);
    let mut forged = reply.clone();
    forged[31] ^= 1;
    assert!(pair.receive_with(&forged, Some(57)).is_err());
    assert_eq!(pair.association.hop_limit_difference(), None);
    assert_eq!(pair.association.hop_limit(), Some(64));
}

#[test]
fn a_crypto_nak_is_counted_and_does_not_close_the_exchange() {
    for theirs in [key(5, b"another secret"), key(6, b"secret")] {
        let mut pair = Pair::new(keyed(key(5, b"secret")), [theirs]);
        let request = pair.send_request();
        let nak = pair.serve(&request);
        assert_eq!(nak.len(), 52);
        assert_eq!(pair.receive(&nak).err(), Some(Rejection::CryptoNak));
        let counters = pair.association.counters();
        assert_eq!((counters.unusable, counters.crypto_naks), (1, 1));
        assert!(pair.association.exchange().is_some());
        assert!(!pair.association.reach().is_reachable());
    }
}

#[test]
fn an_unauthenticated_reply_is_rejected_if_a_key_is_configured() {
    let mut pair = Pair::new(keyed(key(5, b"secret")), []);
    let request = pair.send_request();
    let reply = pair.serve(&request);
    assert_eq!(pair.receive(&reply).err(), Some(Rejection::Unauthenticated));
    let mut pair = Pair::new(Protection::None, []);
    let request = pair.send_request();
    let reply = pair.serve(&request);
    assert!(matches!(pair.receive(&reply), Ok(Reply::Time(_))));
}

/// Error of the measurement: half of the difference between transmit timestamp and actual
/// transmission.
fn error(reply: &Reply) -> Option<NtpDuration> {
    let Reply::Time(accepted) = reply else {
        return None;
    };
    let near = |stamp| EPOCH.nearest(stamp);
    let there = near(accepted.content.receive_timestamp) - accepted.sent.time;
    let back = accepted.received.time - near(accepted.content.transmit_timestamp);
    // Both directions take 10 ms.
    assert!((there - NtpDuration::from_millis(10)).abs() < NtpDuration::from_micros(1));
    Some((back - there).half())
}

fn is_small(error: NtpDuration) -> bool {
    error.abs() < NtpDuration::from_micros(1)
}

#[test]
fn interleaved_replies_complete_the_previous_exchange_with_its_actual_transmit_time() {
    let mut pair = Pair::interleaved();
    let first: Vec<_> = (0..8).map(|_| pair.poll()).collect();
    let errors: Vec<_> = first.iter().map(error).collect();
    // Two basic replies: the mode was not requested, and the server had no state yet. The third
    // completes an exchange that is measured already.
    assert!(errors[..2].iter().all(|it| !is_small(it.unwrap())));
    assert!(matches!(first[2], Reply::Incomplete));
    assert!(
        errors[3..].iter().all(|it| is_small(it.unwrap())),
        "{errors:?}"
    );
    assert!(pair.association.is_interleaved());
}

#[test]
fn at_long_intervals_a_follow_up_completes_the_poll_and_is_not_counted_as_one() {
    let mut pair = Pair::interleaved();
    pair.settle();
    for _ in 0..3 {
        let due = pair.association.next_poll();
        let polls = pair.association.interval();
        assert!(polls > NtpDuration::from_seconds(10));
        let sent = pair.association.counters().sent;
        assert!(matches!(pair.poll(), Reply::Incomplete));
        let reach = pair.association.reach();
        let second = pair.association.next_poll() - due;
        assert!(second >= FOLLOW_UP && second < FOLLOW_UP + NtpDuration::from_seconds(1));
        assert!(is_small(error(&pair.poll()).unwrap()));
        assert_eq!(pair.association.reach(), reach);
        assert_eq!(pair.association.counters().sent, sent + 2);
        assert!(pair.association.next_poll() - due > NtpDuration::from_seconds(10));
    }
}

#[test]
fn a_lost_follow_up_is_repeated_and_then_replaced_by_a_basic_request() {
    let mut pair = Pair::interleaved();
    pair.settle();
    assert!(matches!(pair.poll(), Reply::Incomplete));
    pair.poll_without_reply();
    assert!(is_small(error(&pair.poll()).unwrap()), "still in time");
    for _ in 0..2 {
        while !matches!(pair.poll(), Reply::Incomplete) {}
        pair.poll_without_reply();
        pair.poll_without_reply();
    }
    let reply = pair.poll();
    assert!(!is_small(error(&reply).unwrap()), "basic");
    assert!(!pair.association.is_interleaved());
    // The server keeps no state of a basic exchange, so the next one is basic too. Then the mode
    // resumes.
    assert!(!is_small(error(&pair.poll()).unwrap()));
    assert!(matches!(pair.poll(), Reply::Incomplete));
    assert!(is_small(error(&pair.poll()).unwrap()));
}

#[test]
fn interleaved_mode_is_given_up_if_follow_ups_are_not_answered() {
    let mut pair = Pair::interleaved();
    pair.settle();
    let mut measured = 0;
    for _ in 0..40 {
        match pair.poll() {
            Reply::Incomplete => pair.poll_without_reply(),
            Reply::Time(_) => measured += 1,
            Reply::Kiss(_) => unreachable!(),
        }
        // Repetitions are lost as well, as with a rate limit.
        while pair.association.next_poll() - Monotonic::from_nanos(0) <= pair.now {
            pair.poll_without_reply();
        }
    }
    assert!(measured >= 30, "{measured}");
}

#[test]
fn a_server_without_interleaved_mode_is_measured_in_basic_mode_after_a_few_attempts() {
    let mut pair = Pair::interleaved();
    pair.view.policy = Arc::new(Policy {
        interleaved_pairs: 0,
        ..Policy::default()
    });
    pair.worker = WorkerState::new(&pair.view.policy, 1, [3; 32]);
    let mut interleaved_requests = 0;
    for _ in 0..20 {
        pair.now = pair
            .now
            .max(pair.association.next_poll() - Monotonic::from_nanos(0));
        let request = pair.send_request();
        let header = Packet::parse(&request).unwrap().header;
        interleaved_requests += usize::from(header.origin_timestamp != NtpTimestamp::ZERO);
        let reply = pair.serve(&request);
        assert!(matches!(pair.receive(&reply), Ok(Reply::Time(_))));
    }
    assert_eq!(interleaved_requests, 4);
}

#[test]
fn timestamps_from_before_a_step_are_not_used() {
    let mut pair = Pair::interleaved();
    for _ in 0..4 {
        pair.poll();
    }
    pair.association.discard_timestamps();
    let request = pair.send_request();
    let header = Packet::parse(&request).unwrap().header;
    assert!(header.origin_timestamp.is_zero() && header.receive_timestamp.is_zero());
    let reply = pair.serve(&request);
    assert!(error(&pair.receive(&reply).unwrap()).is_some());
}

#[test]
fn an_interleaved_reply_without_a_nonce_of_the_open_exchange_is_rejected() {
    let mut pair = Pair::interleaved();
    for _ in 0..4 {
        pair.poll();
    }
    let request = pair.send_request();
    let genuine = pair.serve(&request);
    // The server's own timestamp from the request is not a valid nonce.
    for origin in [&request[24..32], &[0; 8]] {
        let mut forged = genuine.clone();
        forged[24..32].copy_from_slice(origin);
        assert_eq!(pair.receive(&forged).err(), Some(Rejection::WrongOrigin));
    }
    assert!(is_small(error(&pair.receive(&genuine).unwrap()).unwrap()));
}

#[test]
fn a_timestamp_that_arrives_after_the_reply_is_used_for_its_exchange() {
    let mut pair = Pair::interleaved();
    for _ in 0..4 {
        pair.poll();
    }
    let id = pair.id();
    let late = Stamp {
        time: pair.system() - NtpDuration::from_millis(5),
        source: StampSource::Hardware,
    };
    pair.association.transmitted(id, late);
    pair.now = pair.association.next_poll() - Monotonic::from_nanos(0);
    let request = pair.send_request();
    let reply = pair.serve(&request);
    let Ok(Reply::Time(accepted)) = pair.receive(&reply) else {
        panic!("a measurement");
    };
    assert_eq!(accepted.sent, late);
}

#[test]
fn requests_of_every_version_are_answered_with_and_without_a_key() {
    let shared = Arc::new(key(7, b"secret"));
    for version in [Version::V1, Version::V2, Version::V3, Version::V4] {
        for protection in [Protection::None, Protection::Symmetric(Arc::clone(&shared))] {
            let config = AssociationConfig {
                version: VersionChoice::Fixed(version),
                protection,
                ..AssociationConfig::default()
            };
            let policy = Policy {
                keys: KeyRing::new([key(7, b"secret")]).unwrap(),
                ..Policy::default()
            };
            let mut pair = Pair::with(config, policy);
            let request = pair.send_request();
            let reply = pair.serve(&request);
            for octets in [&request, &reply] {
                assert_eq!(octets[0] >> 3 & 7, version.number());
            }
            assert!(
                matches!(pair.receive(&reply), Ok(Reply::Time(_))),
                "{version:?}"
            );
        }
    }
}
