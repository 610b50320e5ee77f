//! An association with a key or in interleaved mode, against the server of this crate.

mod nts;

use std::net::SocketAddr;
use std::sync::Arc;

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, Stamp, StampSource, Stratum, SystemTime};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::interleaved::FOLLOW_UP;
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
    /// Time from the server's transmit timestamp to the moment at which its reply leaves.
    departure: NtpDuration,
}

impl Pair {
    fn new(protection: Protection, keys: impl IntoIterator<Item = Key>) -> Self {
        let policy = Policy {
            keys: KeyRing::new(keys).unwrap(),
            ..Policy::default()
        };
        let terms = Terms {
            protection,
            ..Terms::default()
        };
        Self::with(terms, policy)
    }

    fn interleaved() -> Self {
        let terms = Terms {
            interleaved: true,
            ..Terms::default()
        };
        Self {
            departure: NtpDuration::from_millis(3),
            ..Self::with(terms, Policy::default())
        }
    }

    fn with(terms: Terms, policy: Policy) -> Self {
        let local = Local {
            leap: ntp_time::LeapIndicator::None,
            stratum: Stratum::new(2),
            root_dispersion: ntp_time::NtpShort::ZERO,
            ..Local::NONE
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
            departure: NtpDuration::ZERO,
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
        let request = self.association.request(now, id, &mut self.rng).unwrap();
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
        self.now += self.departure;
        if let Some(token) = draft.stamp_wanted() {
            self.worker.sent(token, self.system());
        }
        self.now += NtpDuration::from_millis(10);
        reply
    }

    /// Waits for the next request, sends it, and hears the answer.
    fn poll(&mut self) -> Reply {
        self.now = self
            .now
            .max(self.association.next_poll() - Monotonic::from_nanos(0));
        let request = self.ask();
        let reply = self.answer(&request);
        self.hear(&reply).unwrap()
    }

    /// As [`poll`](Self::poll), and nobody answers.
    fn poll_in_vain(&mut self) {
        self.now = self
            .now
            .max(self.association.next_poll() - Monotonic::from_nanos(0));
        self.ask();
        self.now = self.association.deadline().unwrap() - Monotonic::from_nanos(0);
        let id = self.association.expire(Monotonic::from_nanos(0) + self.now);
        assert_eq!(id, Some(self.id()));
    }

    /// Until the schedule has left the start behind and polls are far apart.
    fn settle(&mut self) {
        while !self.association.schedule().is_steady() {
            self.poll();
        }
        // What may be left of the last poll.
        while !matches!(self.poll(), Reply::Time(_)) {}
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

/// How far the measurement of the exchange is off: half of what the server's stamp says too little.
fn error(reply: &Reply) -> Option<NtpDuration> {
    let Reply::Time(accepted) = reply else {
        return None;
    };
    let near = |stamp| EPOCH.nearest(stamp);
    let there = near(accepted.header.receive_timestamp) - accepted.sent.time;
    let back = accepted.received.time - near(accepted.header.transmit_timestamp);
    // Both ways take 10 ms.
    assert!((there - NtpDuration::from_millis(10)).abs() < NtpDuration::from_micros(1));
    Some((back - there).half())
}

fn is_small(error: NtpDuration) -> bool {
    error.abs() < NtpDuration::from_micros(1)
}

#[test]
fn interleaved_replies_complete_the_exchange_before_with_the_stamp_of_its_departure() {
    let mut pair = Pair::interleaved();
    let first: Vec<_> = (0..8).map(|_| pair.poll()).collect();
    let errors: Vec<_> = first.iter().map(error).collect();
    // Two basic replies: the mode was not asked for, and nothing was kept yet. The third completes an exchange that is
    // measured already.
    assert!(errors[..2].iter().all(|it| !is_small(it.unwrap())));
    assert!(matches!(first[2], Reply::Unfinished));
    assert!(
        errors[3..].iter().all(|it| is_small(it.unwrap())),
        "{errors:?}"
    );
    assert!(pair.association.is_interleaved());
}

#[test]
fn at_long_intervals_a_second_request_completes_the_first_and_is_no_poll_of_its_own() {
    let mut pair = Pair::interleaved();
    pair.settle();
    for _ in 0..3 {
        let due = pair.association.next_poll();
        let polls = pair.association.interval();
        assert!(polls > NtpDuration::from_seconds(10));
        let sent = pair.association.counters().sent;
        assert!(matches!(pair.poll(), Reply::Unfinished));
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
fn a_lost_second_request_is_repeated_and_then_made_up_for_by_a_plain_one() {
    let mut pair = Pair::interleaved();
    pair.settle();
    assert!(matches!(pair.poll(), Reply::Unfinished));
    pair.poll_in_vain();
    assert!(is_small(error(&pair.poll()).unwrap()), "in time still");
    for _ in 0..2 {
        while !matches!(pair.poll(), Reply::Unfinished) {}
        pair.poll_in_vain();
        pair.poll_in_vain();
    }
    let reply = pair.poll();
    assert!(!is_small(error(&reply).unwrap()), "basic");
    assert!(!pair.association.is_interleaved());
    // The server keeps nothing of a plain exchange, so the next one is basic too. Then things are as before.
    assert!(!is_small(error(&pair.poll()).unwrap()));
    assert!(matches!(pair.poll(), Reply::Unfinished));
    assert!(is_small(error(&pair.poll()).unwrap()));
}

#[test]
fn a_server_that_does_not_answer_second_requests_is_asked_plainly_in_the_end() {
    let mut pair = Pair::interleaved();
    pair.settle();
    let mut measured = 0;
    for _ in 0..40 {
        match pair.poll() {
            Reply::Unfinished => pair.poll_in_vain(),
            Reply::Time(_) => measured += 1,
            Reply::Kiss(_) => unreachable!(),
        }
        // What follows a lost one is lost as well: a rate limit.
        while pair.association.next_poll() - Monotonic::from_nanos(0) <= pair.now {
            pair.poll_in_vain();
        }
    }
    assert!(measured >= 30, "{measured}");
}

#[test]
fn a_server_without_the_mode_is_measured_as_ever_and_asked_for_it_a_few_times_only() {
    let mut pair = Pair::interleaved();
    pair.view.policy = Arc::new(Policy {
        interleaved_pairs: 0,
        ..Policy::default()
    });
    pair.worker = WorkerState::new(&pair.view.policy, 1, [3; 32]);
    let mut asked = 0;
    for _ in 0..20 {
        pair.now = pair
            .now
            .max(pair.association.next_poll() - Monotonic::from_nanos(0));
        let request = pair.ask();
        let header = Packet::parse(&request).unwrap().header;
        asked += usize::from(header.origin_timestamp != NtpTimestamp::ZERO);
        let reply = pair.answer(&request);
        assert!(matches!(pair.hear(&reply), Ok(Reply::Time(_))));
    }
    assert_eq!(asked, 4);
}

#[test]
fn stamps_from_before_a_step_complete_nothing() {
    let mut pair = Pair::interleaved();
    for _ in 0..4 {
        pair.poll();
    }
    pair.association.void_stamps();
    let request = pair.ask();
    let header = Packet::parse(&request).unwrap().header;
    assert!(header.origin_timestamp.is_zero() && header.receive_timestamp.is_zero());
    let reply = pair.answer(&request);
    assert!(error(&pair.hear(&reply).unwrap()).is_some());
}

#[test]
fn an_interleaved_reply_needs_a_nonce_of_the_open_exchange_too() {
    let mut pair = Pair::interleaved();
    for _ in 0..4 {
        pair.poll();
    }
    let request = pair.ask();
    let genuine = pair.answer(&request);
    // The nonce that the reply must not have: what the request said of the server's own stamp.
    for origin in [&request[24..32], &[0; 8]] {
        let mut forged = genuine.clone();
        forged[24..32].copy_from_slice(origin);
        assert_eq!(pair.hear(&forged).err(), Some(Rejection::WrongOrigin));
    }
    assert!(is_small(error(&pair.hear(&genuine).unwrap()).unwrap()));
}

#[test]
fn a_stamp_that_comes_after_the_reply_counts_for_its_own_exchange() {
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
    let request = pair.ask();
    let reply = pair.answer(&request);
    let Ok(Reply::Time(accepted)) = pair.hear(&reply) else {
        panic!("a measurement");
    };
    assert_eq!(accepted.sent, late);
}
