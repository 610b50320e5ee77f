//! NTS sessions that all clients of a run share (RFC 8915 section 5.7), and what is under way in them.
//!
//! A key exchange for each of a million clients would be a load of its own, so there are a few sessions, and the clients use
//! them in turn. To the server that makes no difference: it knows no sessions.
//!
//! A cookie is used once, and each answer brings another. When a rate is high and answers take long, more requests are under way than
//! there are cookies. Then the last one is used again, and counted; since its answer brings a cookie too, a jar is soon as large as the
//! number of requests under way, and that ends.

use std::collections::VecDeque;

use ntp_proto::nts::{
    Cookie, KeyExchangeResult, NtsRequest, Proof, SessionKeys, UniqueIdentifier, prove,
};
use ntp_proto::wire::{Header, Packet};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// All sessions of a run.
#[derive(Debug)]
pub(super) struct Sessions {
    all: Vec<Session>,
    /// Of request `n`, at place `n` modulo the length.
    identifiers: Vec<UniqueIdentifier>,
    rng: ChaCha8Rng,
    reused: u64,
}

#[derive(Debug)]
struct Session {
    keys: SessionKeys,
    jar: VecDeque<Cookie>,
    last: Option<Cookie>,
}

/// Cookies that a session keeps. They are for many clients, so these are more than [`Cookie::IN_STOCK`].
const JAR: usize = 4096;

impl Sessions {
    /// With room for `under_way` requests at once. `None` if there was no key exchange.
    pub(super) fn new(
        exchanged: Vec<KeyExchangeResult>,
        under_way: usize,
        seed: u64,
    ) -> Option<Self> {
        let session = |exchanged: KeyExchangeResult| Session {
            keys: exchanged.keys,
            jar: exchanged.cookies.into(),
            last: None,
        };
        let all: Vec<Session> = exchanged.into_iter().map(session).collect();
        (!all.is_empty()).then(|| Self {
            all,
            identifiers: vec![UniqueIdentifier::default(); under_way.max(1)],
            rng: ChaCha8Rng::seed_from_u64(seed),
            reused: 0,
        })
    }

    /// How many requests had to do with a cookie that had been used.
    pub(super) fn reused(&self) -> u64 {
        self.reused
    }

    /// Request `number`, which says `header`. `None` if the session never had a cookie that can be sent.
    pub(super) fn ask(&mut self, number: u64, header: &Header) -> Option<Vec<u8>> {
        let (session, identifier) = self.places(number);
        let session = self.all.get_mut(session)?;
        if let Some(fresh) = session.jar.pop_front() {
            session.last = Some(fresh);
        } else {
            self.reused += 1;
        }
        let cookie = session.last.as_ref()?;
        let request = NtsRequest::new(header, &session.keys, cookie, 1, &mut self.rng).ok()?;
        *self.identifiers.get_mut(identifier)? = request.unique_identifier;
        Some(request.octets)
    }

    /// Whether the server of the session has written this answer to request `number`. Its cookies are kept.
    pub(super) fn check(&mut self, number: u64, answer: &Packet<'_>) -> Option<Standing> {
        let (session, identifier) = self.places(number);
        let session = self.all.get_mut(session)?;
        match prove(answer, &session.keys, self.identifiers.get(identifier)?) {
            Proof::Authentic(cookies) => {
                session.jar.extend(cookies);
                session.jar.truncate(JAR);
                Some(Standing::Authentic)
            }
            Proof::Unproved => Some(Standing::Unproved),
            Proof::NotOurs => None,
        }
    }

    /// Which session a request belongs to, and the place of its identifier.
    fn places(&self, number: u64) -> (usize, usize) {
        let place = |length: usize| (number % length as u64) as usize;
        (place(self.all.len()), place(self.identifiers.len()))
    }
}

/// What is known of who wrote an answer to a request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The server of the session.
    Authentic,
    /// Anybody who saw the request. It may be a kiss, and nothing else.
    Unproved,
}
