//! The server's answer to one datagram: pure, without allocation, without a lock
//! (RFC 5905 sections 8 and 9.2).
//!
//! # Two steps
//! A reply's transmit timestamp should be taken at the last moment, when the reply is otherwise ready and a
//! whole batch of them is about to leave. [`respond`] therefore decides and writes everything except that stamp, and the
//! digest that covers it, into a [`Draft`]; [`Draft::seal`] adds both.
//!
//! ```text
//! recvmmsg -> respond, respond, ... -> read the clock -> seal, seal, ... -> sendmmsg -> sent
//! ```
//!
//! A worker thread owns a [`WorkerState`] and reads a [`ServerView`], which the engine publishes and nobody changes. `sent` is for the few
//! replies whose true transmit time is wanted; see `interleaved.rs`.
//!
//! # What is answered
//! A client's request (mode 3) with mode 4 and a peer's (mode 1) with mode 2: to a peer that we do not
//! know we are a server and nothing more, and keep no association (RFC 5905 section 9.2). Version and poll are echoed, and the
//! request's transmit timestamp returns as the origin timestamp, by which the client recognises its answer.
//!
//! Everything else is ignored in silence. Modes 2, 4 and 5 are answers themselves: never answering an answer means that no two
//! servers can be made to talk to each other for ever. Modes 6 and 7 are where the notorious amplification
//! attacks lived, and do not exist here.
//!
//! **A reply is never longer than its request**, so a forged source address gains nothing.
//!
//! # In which order
//!
//! | step | otherwise |
//! |---|---|
//! | access: the client is not to be refused in silence | ignored |
//! | it is a packet, of an accepted version, and a request | ignored |
//! | the rate limit has an answer left | ignored, or now and then a RATE kiss |
//! | access, NTS required: the client is not to be refused | a DENY kiss, or ignored |
//! | its NTS cookie, if it has one, can be opened and its authenticator is right | an NTSN kiss (RFC 8915 section 5.7) |
//! | its MAC, if it has one and there are keys, is right | a crypto-NAK (RFC 5905 section 9.2) |
//! | | the time |
//!
//! What costs most comes last. Kisses are counted against the limit like any answer: what is sent to a forged
//! address is limited, whatever it is. A reply to a request with a right MAC is signed with the same key, kisses too; one to an authentic NTS
//! request is sealed with its session's key and brings new cookies, kisses too. While the keys for cookies are not known (servers of a fleet derive them
//! from the time), NTS requests are ignored: a kiss would make clients throw good cookies away.
//!
//! Of extension fields only the unique identifier is echoed (RFC 8915 section 5.3), as upstream does.
//!
//! # What is claimed
//! The engine publishes a [`Claim`] now and then; between two of them our error grows. It therefore holds the
//! root dispersion as a line over time ([`RootDispersion`]), evaluated for each reply.
//! A server that has lost its sources goes on answering; when the bound passes a limit it says that it is unsynchronised
//! (leap 3, stratum 16), or whatever local mode says instead.

mod access;
mod client;
mod client_list;
mod counters;
mod draft;
pub mod fuzzing;
mod interleaved;
mod nts;
mod policy;
mod rate_limit;
#[cfg(test)]
mod tests;
mod view;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;

use ntp_time::{Monotonic, NtpTimestamp, SystemTime};

pub use access::{Access, AccessList, Networks, Refusal};
pub use client_list::{ClientEntry, ClientList};
pub use counters::Counters;
pub use draft::Draft;
pub use interleaved::StampToken;
pub use policy::{Policy, Versions};
pub use rate_limit::{PATIENCE, RateLimit};
pub use view::{Claim, Local, RootDispersion, ServerView};
pub use worker::WorkerState;

use crate::keys::Key;
use crate::nts::Keyset;
use crate::wire::{Header, Malformed, Mode, Packet, Version};
use client::Client;
use draft::{Authenticator, Reply, Signature};
use nts::Fields;
use rate_limit::Charge;
use view::Statement;

/// When a datagram is being dealt with.
#[derive(Clone, Copy, Debug)]
pub struct ServerNow {
    /// For rate limits.
    pub monotonic: Monotonic,
    /// For what is claimed.
    pub system: SystemTime,
}

/// What is to be done with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Seal the draft and send it back to where the request came from.
    Answer {
        /// What the reply says.
        kind: Kind,
        /// Its transmit timestamp is that of the reply before (RFC 9769).
        interleaved: bool,
        /// It is signed.
        authenticated: bool,
    },
    /// Send nothing.
    Ignore(Reason),
}

impl Verdict {
    /// Whether there is something to send.
    pub const fn is_answer(&self) -> bool {
        matches!(self, Self::Answer { .. })
    }
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The time, or that we do not know it.
    Time,
    /// That the client is not served.
    Deny,
    /// That the client asks too often.
    Rate,
    /// The time, and that the request's MAC was wrong.
    CryptoNak,
    /// That the request's NTS cookie cannot be read.
    NtsNak,
}

/// Why a datagram gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is no packet.
    Malformed(Malformed),
    /// It is a packet, but of a mode that asks for nothing, or for nothing that we give.
    NotARequest(Mode),
    /// Its version is not accepted by this server.
    Version(Version),
    /// Its sender is not served.
    Access,
    /// Requests without NTS are not served.
    NtsRequired,
    /// It came with NTS, whose keys are not known before the clock is set.
    NoKeys,
    /// Its sender asks too often.
    RateLimited,
    /// No reply could reach its sender, or none would be short enough.
    Unanswerable,
}

/// Decides about one datagram and, if it is to be answered, writes the answer into `draft`.
///
/// `from` is the sender, `received` is when the datagram arrived, as close to the wire as it is known. After
/// [`Verdict::Ignore`], the draft is empty.
pub fn respond(
    view: &ServerView,
    worker: &mut WorkerState,
    from: SocketAddr,
    now: ServerNow,
    request: &[u8],
    received: SystemTime,
    draft: &mut Draft,
) -> Verdict {
    draft.clear();
    let case = Case {
        view,
        client: from.ip().into(),
        now,
        received: received.to_ntp(),
        length: request.len(),
    };
    let mut nts = false;
    let port = from.port();
    // Nearly every request is a header and nothing else. They have a copy of everything of their own, from which the compiler leaves
    // out whatever deals with the rest: a third of it.
    let verdict = if request.len() == Header::LEN {
        case.decide(worker, port, request, draft, &mut nts)
    } else {
        case.decide_long(worker, port, request, draft, &mut nts)
    };
    let verdict = verdict.unwrap_or_else(Verdict::Ignore);
    worker.counters.count(verdict, nts);
    verdict
}

/// One datagram and its circumstances.
#[derive(Clone, Copy)]
struct Case<'a> {
    view: &'a ServerView,
    client: Client,
    now: ServerNow,
    received: NtpTimestamp,
    length: usize,
}

/// What is known of a request's sender before its authenticator was looked at.
#[derive(Clone, Copy)]
struct Standing {
    /// On the wrong list, and to be told so.
    denied: bool,
    /// Asks too often, and is to be told so.
    limited: bool,
}

impl Case<'_> {
    #[inline(never)]
    fn decide_long(
        self,
        worker: &mut WorkerState,
        port: u16,
        request: &[u8],
        draft: &mut Draft,
        nts: &mut bool,
    ) -> Result<Verdict, Reason> {
        self.decide(worker, port, request, draft, nts)
    }

    /// Says in `nts` whether it is a request with NTS.
    #[inline(always)]
    fn decide(
        &self,
        worker: &mut WorkerState,
        port: u16,
        request: &[u8],
        draft: &mut Draft,
        nts: &mut bool,
    ) -> Result<Verdict, Reason> {
        let policy = &*self.view.policy;
        if port == 0 {
            return Err(Reason::Unanswerable);
        }
        let denied = match policy.access.judge(self.client) {
            None => false,
            Some(Refusal::Deny) => true,
            Some(Refusal::Ignore) => return Err(Reason::Access),
        };
        let packet = Packet::parse(request).map_err(Reason::Malformed)?;
        let Header { mode, version, .. } = packet.header;
        if !matches!(mode, Mode::Client | Mode::SymmetricActive) {
            return Err(Reason::NotARequest(mode));
        }
        if !policy.versions.contains(version) {
            return Err(Reason::Version(version));
        }
        let fields = Fields::of(&packet);
        *nts = fields.nts.is_some();
        let WorkerState {
            limiter, random, ..
        } = worker;
        let limited = match limiter.charge(self.client, self.now.monotonic, random) {
            Charge::Within => false,
            Charge::OverWithKiss => true,
            Charge::Over => return Err(Reason::RateLimited),
        };
        let identity = self.identify(&packet, &fields, draft)?;
        let standing = Standing { denied, limited };
        self.answer(worker, standing, &packet, &fields, identity, draft)
    }

    #[inline(always)]
    fn answer(
        &self,
        worker: &mut WorkerState,
        standing: Standing,
        packet: &Packet<'_>,
        fields: &Fields<'_>,
        identity: Identity<'_>,
        draft: &mut Draft,
    ) -> Result<Verdict, Reason> {
        let kind = self.kind(standing, &identity)?;
        let request = &packet.header;
        let mut header = self.header(kind, request, worker);
        let mut interleaved = false;
        let mut token = None;
        if kind == Kind::Time && interleaved::is_asked_for(request, self.received) {
            let epoch = self.view.claim.epoch;
            let origin = request.origin_timestamp;
            if let Some(transmit) = worker.store.transmit(origin, self.client, epoch) {
                interleaved = true;
                header.origin_timestamp = request.receive_timestamp;
                header.transmit_timestamp = transmit;
            }
            let receive = &mut header.receive_timestamp;
            token = worker.store.claim(receive, self.client, epoch);
        }
        let authenticator = match (identity, packet.mac) {
            (Identity::Proved(key), Some(mac)) => Authenticator::Signature(Signature {
                key: Arc::clone(key),
                length: mac.digest.len(),
            }),
            (Identity::Session(keyset), _) => Authenticator::Nts(keyset),
            (Identity::Wrong, _) if kind == Kind::CryptoNak => Authenticator::CryptoNak,
            _ => Authenticator::None,
        };
        let authenticated = matches!(
            authenticator,
            Authenticator::Signature(_) | Authenticator::Nts(..)
        );
        let reply = Reply {
            header: &header,
            field: fields.unique_identifier,
            authenticator,
            interleaved,
            token,
        };
        match draft.write(reply, self.length, &mut worker.random) {
            Ok(()) => Ok(Verdict::Answer {
                kind,
                interleaved,
                authenticated,
            }),
            Err(_) => {
                draft.clear();
                Err(Reason::Unanswerable)
            }
        }
    }

    /// Who the client can prove to be.
    #[inline(always)]
    fn identify(
        &self,
        packet: &Packet<'_>,
        fields: &Fields<'_>,
        draft: &mut Draft,
    ) -> Result<Identity<'_>, Reason> {
        if let Some(nts) = &fields.nts {
            return match self.view.keyset.as_deref() {
                Some(keyset) if keyset.is_empty() => Err(Reason::NoKeys),
                Some(keyset) if draft.open(keyset, nts) => Ok(Identity::Session(keyset)),
                Some(_) | None => Ok(Identity::Unreadable),
            };
        }
        let keys = &self.view.policy.keys;
        Ok(match packet.mac {
            Some(mac) if !keys.is_empty() && !mac.is_crypto_nak() => match keys.get(mac.key_id) {
                Some(key) if key.verify(packet.authenticated(), mac.digest) => {
                    Identity::Proved(key)
                }
                _ => Identity::Wrong,
            },
            _ => Identity::Anonymous,
        })
    }

    fn kind(&self, standing: Standing, identity: &Identity<'_>) -> Result<Kind, Reason> {
        if standing.limited {
            return Ok(Kind::Rate);
        }
        if standing.denied {
            return Ok(Kind::Deny);
        }
        match (self.view.policy.require_nts, identity) {
            (_, Identity::Session(..)) => Ok(Kind::Time),
            (_, Identity::Unreadable) => Ok(Kind::NtsNak),
            (Some(Refusal::Ignore), _) => Err(Reason::NtsRequired),
            (Some(Refusal::Deny), _) => Ok(Kind::Deny),
            (None, Identity::Wrong) => Ok(Kind::CryptoNak),
            (None, _) => Ok(Kind::Time),
        }
    }

    #[inline(always)]
    fn header(&self, kind: Kind, request: &Header, worker: &WorkerState) -> Header {
        let statement = match kind {
            Kind::Time | Kind::CryptoNak => {
                self.view.claim.statement(self.now.system, self.received)
            }
            Kind::Deny => Statement::kiss(*b"DENY"),
            Kind::Rate => Statement::kiss(*b"RATE"),
            Kind::NtsNak => Statement::kiss(*b"NTSN"),
        };
        let poll = match worker.limiter.poll() {
            Some(shortest) => request.poll.max(shortest),
            None => request.poll,
        };
        Header {
            leap: statement.leap,
            version: request.version,
            mode: match request.mode {
                Mode::SymmetricActive => Mode::SymmetricPassive,
                _ => Mode::Server,
            },
            stratum: statement.stratum,
            poll,
            precision: self.view.claim.precision,
            root_delay: statement.root_delay,
            root_dispersion: statement.root_dispersion,
            reference_id: statement.reference_id,
            reference_timestamp: statement.reference_timestamp,
            origin_timestamp: request.transmit_timestamp,
            receive_timestamp: interleaved::as_receive(self.received),
            transmit_timestamp: NtpTimestamp::ZERO,
        }
    }
}

/// Whose request it is.
enum Identity<'a> {
    /// No MAC, or nobody here looks at it.
    Anonymous,
    /// A holder of this key.
    Proved(&'a Arc<Key>),
    /// A holder of one of our cookies, made with these keys, and of what is in it: the session in the draft.
    Session(&'a Keyset),
    /// It came with a cookie that we cannot open, or is not authentic.
    Unreadable,
    /// Not whom it claims to be.
    Wrong,
}
