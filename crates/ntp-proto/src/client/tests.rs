//! An association whose source has a key, against servers that have it, do not have it, or have another.

use std::net::SocketAddr;
use std::sync::Arc;

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, Stamp, StampSource, Stratum, SystemTime};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::{Association, LocalIdentity, Protection, Rejection, Reply, Terms};
use crate::engine::{Datagram, ExchangeId, SourceId};
use crate::keys::{Algorithm, Key, KeyRing};
use crate::server::{Claim, Draft, Local, Policy, ServerNow, ServerView, WorkerState, respond};
use crate::wire::Packet;

const EPOCH: SystemTime = SystemTime::from_nanos(1_700_000_000_000_000_000);

fn key(id: u32, secret: &[u8]) -> Key {
    Key::new(id, Algorithm::Sha256, secret).unwrap()
}

/// A client and a server on one clock, which stands still but for what the tests say.
struct Pair {
    association: Association,
    worker: WorkerState,
    view: ServerView,
    rng: ChaCha12Rng,
    now: NtpDuration,
    sequence: u32,
}

impl Pair {
    fn new(protection: Protection, keys: impl IntoIterator<Item = Key>) -> Self {
        let policy = Policy {
            keys: KeyRing::new(keys).unwrap(),
            ..Policy::default()
        };
        let local = Local {
            leap: ntp_time::LeapIndicator::None,
            stratum: Stratum::new(2),
            root_dispersion: ntp_time::NtpShort::ZERO,
            ..Local::NONE
        };
        let terms = Terms {
            protection,
            ..Terms::default()
        };
        Self {
            association: Association::new(
                SocketAddr::from(([192, 0, 2, 1], 123)),
                terms,
                Monotonic::from_nanos(0),
            ),
            worker: WorkerState::new(&policy, 1, [3; 32]),
            view: ServerView {
                claim: Claim::local(local, -20),
                policy: Arc::new(policy),
                keyset: None,
            },
            rng: ChaCha12Rng::from_seed([1; 32]),
            now: NtpDuration::ZERO,
            sequence: 0,
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
    fn ask(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let now = Monotonic::from_nanos(0) + self.now;
        let id = self.id();
        let request = self.association.request(now, id, &mut self.rng);
        let stamp = Stamp {
            time: self.system(),
            source: StampSource::Kernel,
        };
        self.association.transmitted(id, stamp);
        request.payload
    }

    /// The server's answer.
    fn answer(&mut self, request: &[u8]) -> Vec<u8> {
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
        self.now += NtpDuration::from_millis(10);
        reply
    }

    fn hear(&mut self, payload: &[u8]) -> Result<Reply, Rejection> {
        let datagram = Datagram {
            exchange: self.id(),
            payload,
            truncated: false,
            received: Stamp {
                time: self.system(),
                source: StampSource::Kernel,
            },
        };
        let now = Monotonic::from_nanos(0) + self.now;
        let us = LocalIdentity::default();
        self.association
            .receive(now, &datagram, &us, Stratum::UNSYNCHRONIZED)
    }
}

fn keyed(key: Key) -> Protection {
    Protection::Symmetric(Arc::new(key))
}

#[test]
fn a_keyed_association_believes_a_server_with_the_key() {
    let mut pair = Pair::new(keyed(key(5, b"secret")), [key(5, b"secret")]);
    let request = pair.ask();
    assert_eq!(Packet::parse(&request).unwrap().mac.unwrap().key_id, 5);
    let reply = pair.answer(&request);
    assert!(matches!(pair.hear(&reply), Ok(Reply::Time(_))));
    let counters = pair.association.counters();
    assert_eq!((counters.accepted, counters.bogus), (1, 0));
}

#[test]
fn a_reply_without_proof_changes_nothing_and_the_true_one_still_counts() {
    let mut pair = Pair::new(keyed(key(5, b"secret")), [key(5, b"secret")]);
    let request = pair.ask();
    let genuine = pair.answer(&request);
    let before = (pair.association.reach(), pair.association.next_poll());
    let unsigned = genuine[..48].to_vec();
    let mut kiss = unsigned.clone();
    kiss[1] = 0;
    kiss[12..16].copy_from_slice(b"DENY");
    let mut altered = genuine.clone();
    altered[47] ^= 1;
    for forged in [unsigned, kiss, altered] {
        assert_eq!(pair.hear(&forged).err(), Some(Rejection::Unauthenticated));
        assert!(pair.association.exchange().is_some());
    }
    assert_eq!(
        before,
        (pair.association.reach(), pair.association.next_poll())
    );
    assert_eq!(pair.association.counters().bogus, 3);
    assert!(matches!(pair.hear(&genuine), Ok(Reply::Time(_))));
}

#[test]
fn a_crypto_nak_is_counted_and_does_not_use_up_the_exchange() {
    for theirs in [key(5, b"another secret"), key(6, b"secret")] {
        let mut pair = Pair::new(keyed(key(5, b"secret")), [theirs]);
        let request = pair.ask();
        let nak = pair.answer(&request);
        assert_eq!(nak.len(), 52);
        assert_eq!(pair.hear(&nak).err(), Some(Rejection::CryptoNak));
        let counters = pair.association.counters();
        assert_eq!((counters.unusable, counters.crypto_naks), (1, 1));
        assert!(pair.association.exchange().is_some());
        assert!(!pair.association.reach().is_reachable());
    }
}

#[test]
fn a_server_that_does_not_look_at_keys_is_not_believed_by_one_that_does() {
    let mut pair = Pair::new(keyed(key(5, b"secret")), []);
    let request = pair.ask();
    let reply = pair.answer(&request);
    assert_eq!(pair.hear(&reply).err(), Some(Rejection::Unauthenticated));
    let mut pair = Pair::new(Protection::None, []);
    let request = pair.ask();
    let reply = pair.answer(&request);
    assert!(matches!(pair.hear(&reply), Ok(Reply::Time(accepted))
        if accepted.header.origin_timestamp != NtpTimestamp::ZERO));
}
