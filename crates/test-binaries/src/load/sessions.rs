//! NTS sessions that all clients of a run share (RFC 8915 section 5.7).
//!
//! A key exchange for each of a million clients would be a load of its own, so the clients use a
//! few sessions in turn. The server keeps no session state, so it sees no difference.
//!
//! A cookie is used once, and each reply brings another. At high rates and long latencies there are
//! more requests in flight than cookies. Then the last cookie is reused, and counted; since its
//! reply also brings a cookie, a session soon has as many cookies as requests in flight.

use std::collections::VecDeque;

use ntp_proto::nts::{
    Cookie, KeyExchangeResult, NtsRequest, Proof, SessionKeys, UniqueIdentifier, verify_reply,
};
use ntp_proto::wire::{Header, Packet};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// All sessions of a run.
#[derive(Debug)]
pub(super) struct Sessions {
    all: Vec<Session>,
    /// Unique identifier of request `n`, at index `n` modulo the length.
    identifiers: Vec<UniqueIdentifier>,
    rng: ChaCha8Rng,
    reused: u64,
}

#[derive(Debug)]
struct Session {
    keys: SessionKeys,
    cookies: VecDeque<Cookie>,
    last: Option<Cookie>,
}

/// Maximum number of cookies of a session. It serves many clients, so this exceeds
/// [`Cookie::MAX_STORED`].
const MAX_COOKIES: usize = 4096;

impl Sessions {
    /// Sessions of these exchanges, for `in_flight` requests at a time. `None` if there are no
    /// exchanges.
    pub(super) fn new(
        exchanged: Vec<KeyExchangeResult>,
        in_flight: usize,
        seed: u64,
    ) -> Option<Self> {
        let session = |exchanged: KeyExchangeResult| Session {
            keys: exchanged.keys,
            cookies: exchanged.cookies.into(),
            last: None,
        };
        let all: Vec<Session> = exchanged.into_iter().map(session).collect();
        (!all.is_empty()).then(|| Self {
            all,
            identifiers: vec![UniqueIdentifier::default(); in_flight.max(1)],
            rng: ChaCha8Rng::seed_from_u64(seed),
            reused: 0,
        })
    }

    /// Number of requests with a reused cookie.
    pub(super) fn reused(&self) -> u64 {
        self.reused
    }

    /// Builds request `number` with this header. `None` if the session has no usable cookie.
    pub(super) fn request(&mut self, number: u64, header: &Header) -> Option<Vec<u8>> {
        let (session, identifier) = self.places(number);
        let session = self.all.get_mut(session)?;
        if let Some(fresh) = session.cookies.pop_front() {
            session.last = Some(fresh);
        } else {
            self.reused += 1;
        }
        let cookie = session.last.as_ref()?;
        let request = NtsRequest::new(header, &session.keys, cookie, 1, &mut self.rng).ok()?;
        *self.identifiers.get_mut(identifier)? = request.unique_identifier;
        Some(request.octets)
    }

    /// Verifies a reply to request `number`, and stores its cookies. `None` if it does not match.
    pub(super) fn check(&mut self, number: u64, reply: &Packet<'_>) -> Option<Authenticity> {
        let (session, identifier) = self.places(number);
        let session = self.all.get_mut(session)?;
        match verify_reply(reply, &session.keys, self.identifiers.get(identifier)?) {
            Proof::Authentic(cookies) => {
                session.cookies.extend(cookies);
                session.cookies.truncate(MAX_COOKIES);
                Some(Authenticity::Authentic)
            }
            Proof::Unauthenticated => Some(Authenticity::Unauthenticated),
            Proof::Unrelated => None,
        }
    }

    /// Index of the session of a request, and of its identifier.
    fn places(&self, number: u64) -> (usize, usize) {
        let place = |length: usize| (number % length as u64) as usize;
        (place(self.all.len()), place(self.identifiers.len()))
    }
}

/// Authentication status of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authenticity {
    /// Authenticated with the session's keys.
    Authentic,
    /// Repeats the unique identifier, but is not authenticated. Valid only for a kiss.
    Unauthenticated,
}
