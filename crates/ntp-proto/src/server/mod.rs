//! The server's reply to one datagram, computed without I/O, allocation or locks (RFC 5905 sections
//! 8 and 9.2).
//!
//! # Two steps
//! A reply's transmit timestamp should be taken as late as possible, when the reply is otherwise
//! ready and a whole batch is about to leave. [`respond`] therefore decides and writes everything
//! except that timestamp and the digest that covers it into a [`Draft`]; [`Draft::seal`] adds both.
//!
//! ```text
//! receive -> respond, respond, ... -> read the clock -> seal, seal, ... -> send -> record_transmit
//! ```
//!
//! A worker thread owns a [`WorkerState`] and reads a [`ServerView`], which the engine publishes
//! and which is immutable. [`WorkerState::record_transmit`] is for the few replies whose actual
//! transmit time is needed; see `interleaved.rs`.
//!
//! # Which requests are answered
//! A client's request (mode 3; in version 1 also mode 0, since RFC 1059 section 3.3 knows no mode of
//! clients) is answered with mode 4, a peer's (mode 1) with mode 2: the server
//! keeps no association with an unknown peer and acts as a plain server for it (RFC 5905 section
//! 9.2). Version and poll are echoed, and the request's transmit timestamp returns as the origin
//! timestamp, by which the client recognises its reply.
//!
//! Everything else is ignored without a reply. Modes 2, 4 and 5 are replies themselves; because
//! replies are never answered, two servers cannot be made to answer each other endlessly. Modes 6
//! and 7, known for amplification attacks, are not implemented.
//!
//! **A reply is never longer than its request**, so a request with a forged source address is not
//! amplified.
//!
//! # Order of the checks
//!
//! | step | otherwise |
//! |---|---|
//! | access: no list and no rule ignores the client | ignored |
//! | it is a packet, of an accepted version, and a request | ignored |
//! | rate limit: the client is within it | ignored, or occasionally a RATE kiss |
//! | access, NTS required: the client is not refused | a DENY kiss, or ignored |
//! | NTS: its cookie, if it has one, is ours and its authenticator is valid | an NTSN kiss (RFC 8915 section 5.7) |
//! | its MAC, if it has one and keys are configured, is valid | a crypto-NAK (RFC 5905 section 9.2) |
//! | | the time |
//!
//! The most expensive checks come last. Kisses count against the rate limit like any reply, because
//! whatever is sent to a forged address must be limited. The reply to a request with a valid MAC is
//! signed with the same key, kisses included; the reply to an authentic NTS request is
//! authenticated with its session's key and carries new cookies, kisses included. While the cookie
//! keys are unknown (servers of a fleet derive them from the time), NTS requests are ignored: a
//! kiss would make clients discard valid cookies.
//!
//! Of the extension fields only the unique identifier is echoed (RFC 8915 section 5.3), as upstream
//! ntpd-rs does.
//!
//! # Claimed accuracy
//! The engine publishes a [`Claim`] from time to time; between two of them the clock's error grows.
//! The claim therefore holds the root dispersion as a linear function of time ([`RootDispersion`]),
//! evaluated for each reply. A server that has lost its sources continues to answer; when the root
//! distance exceeds a limit, its replies are unsynchronised (leap 3, stratum 16), or those of local
//! mode if it is configured.

mod access;
mod client;
mod client_list;
mod counters;
mod draft;
mod echoed;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod interleaved;
mod nts;
mod policy;
mod rate_limit;
#[cfg(test)]
mod tests;
mod v5;
mod view;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;

use ntp_time::{Monotonic, NtpShort, NtpTimestamp, SystemTime};

pub use access::{Access, AccessList, AccessRule, Networks, Refusal};
pub use client_list::{ClientEntry, ClientList};
pub use counters::Counters;
pub use draft::Draft;
pub use interleaved::StampToken;
pub use policy::{Policy, Versions};
pub use rate_limit::{LEAK_THRESHOLD, RateLimit};
pub use view::{Claim, LocalMode, PhaseFreeClock, RootDispersion, ServerView};
pub use worker::WorkerState;

use crate::keys::{Key, KeyId};
use crate::nts::Keyset;
use crate::wire::v5::draft::is_marker;
use crate::wire::{self, Header, Malformed, Mode, Packet, Version};
use client::Client;
use draft::{Authenticator, Reply, Signature};
use nts::{Fields, NtsFields};
use rate_limit::Charge;
use view::SystemVariables;

/// Time at which a datagram is processed.
#[derive(Clone, Copy, Debug)]
pub struct ServerNow {
    /// For the rate limit.
    pub monotonic: Monotonic,
    /// For the root dispersion.
    pub system: SystemTime,
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Seal the draft and send it to the sender of the request.
    Answer {
        /// The content of the reply.
        kind: Kind,
        /// The transmit timestamp is that of the previous reply (RFC 9769).
        interleaved: bool,
        /// The reply has a MAC or an NTS authenticator.
        authenticated: bool,
    },
    /// Send nothing.
    Ignore(Reason),
}

impl Verdict {
    /// Returns `true` if there is a reply to send.
    pub const fn is_answer(&self) -> bool {
        matches!(self, Self::Answer { .. })
    }
}

/// The content of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The time, or that the server is not synchronised.
    Time,
    /// A DENY kiss: the client is not served.
    Deny,
    /// A RATE kiss: the client exceeds the rate limit.
    Rate,
    /// The time, with a crypto-NAK: the request's MAC is invalid.
    CryptoNak,
    /// An NTSN kiss: the request's NTS cookie or authenticator is invalid.
    NtsNak,
}

/// Why a datagram gets no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is not an NTP packet.
    Malformed(Malformed),
    /// It is a packet, but its mode is not that of a request.
    NotARequest(Mode),
    /// Its version is not accepted by this server.
    Version(Version),
    /// It is of version 5, under no draft or one that is not spoken here.
    UnknownDraft,
    /// The access lists refuse its sender.
    Access,
    /// It has no NTS, which is required.
    NtsRequired,
    /// It has NTS, and the keyset is empty until the clock is set.
    NoKeys,
    /// Its sender exceeds the rate limit.
    RateLimited,
    /// Its source port is 0, or no reply is as short as the request.
    Unanswerable,
}

/// Decides on one datagram and, if it is to be answered, writes the reply into `draft`.
///
/// `from` is the sender; `received` is when the datagram arrived, measured as close to the wire as
/// possible. After [`Verdict::Ignore`], the draft is empty.
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
    let context = RequestContext {
        view,
        client: from.ip().into(),
        now,
        arrived: received,
        received: received.to_ntp(),
        length: request.len(),
    };
    let mut nts = false;
    let port = from.port();
    let first = request.first().copied().unwrap_or_default();
    // Nearly every request is a header only. Those use a copy of their own, from which the compiler
    // removes the code for everything else: a third of it.
    let verdict = if request.len() == Header::LEN {
        context.decide(worker, port, request, draft, &mut nts)
    } else if wire::v5::Header::is_version_5(first) {
        context.decide_version_5(worker, port, request, draft, &mut nts)
    } else {
        context.decide_with_extensions(worker, port, request, draft, &mut nts)
    };
    let verdict = verdict.unwrap_or_else(Verdict::Ignore);
    counters::count(&mut worker.counters, verdict, first, nts);
    verdict
}

/// One datagram and its context.
#[derive(Clone, Copy)]
struct RequestContext<'a> {
    view: &'a ServerView,
    client: Client,
    now: ServerNow,
    arrived: SystemTime,
    /// `arrived` in the format of packets.
    received: NtpTimestamp,
    length: usize,
}

/// Restrictions on the sender, determined before the request is authenticated.
#[derive(Clone, Copy)]
struct Restrictions {
    /// An access list refuses it with a DENY kiss.
    denied: bool,
    /// It exceeds the rate limit and gets a RATE kiss.
    limited: bool,
}

impl RequestContext<'_> {
    #[inline(never)]
    fn decide_with_extensions(
        self,
        worker: &mut WorkerState,
        port: u16,
        request: &[u8],
        draft: &mut Draft,
        nts: &mut bool,
    ) -> Result<Verdict, Reason> {
        self.decide(worker, port, request, draft, nts)
    }

    /// Decides on the request. Sets `nts` if it has NTS.
    #[inline(always)]
    fn decide(
        &self,
        worker: &mut WorkerState,
        port: u16,
        request: &[u8],
        draft: &mut Draft,
        nts: &mut bool,
    ) -> Result<Verdict, Reason> {
        let denied = self.admit(port)?;
        let packet = Packet::parse(request).map_err(|malformed| self.malformed(malformed))?;
        let Header { mode, version, .. } = packet.header;
        let is_request = match mode {
            Mode::Client | Mode::SymmetricActive => true,
            Mode::Reserved => version == Version::V1,
            _ => false,
        };
        if !is_request {
            return Err(Reason::NotARequest(mode));
        }
        if !self.view.policy.versions.contains(version) {
            return Err(Reason::Version(version));
        }
        let fields = Fields::from_packet(&packet);
        *nts = fields.nts.is_some();
        let limited = self.charge(worker)?;
        let authentication = match (&fields.nts, packet.mac) {
            (Some(nts), _) => self.authenticate_nts(nts, draft)?,
            // Without keys, MACs are ignored.
            (None, Some(mac)) if !self.view.policy.keys.is_empty() && !mac.is_crypto_nak() => {
                self.authenticate_mac(packet.authenticated(), mac.key_id, mac.digest)
            }
            _ => Authentication::None,
        };
        let restrictions = Restrictions { denied, limited };
        self.write_reply(
            worker,
            restrictions,
            &packet,
            &fields,
            authentication,
            draft,
        )
    }

    /// Why a datagram is ignored that is no packet of versions 1 to 4.
    #[cold]
    fn malformed(&self, malformed: Malformed) -> Reason {
        match malformed {
            // A header alone states no draft.
            Malformed::Version(5) if self.view.policy.versions.contains(Version::V5) => {
                Reason::UnknownDraft
            }
            Malformed::Version(5) => Reason::Version(Version::V5),
            malformed => Reason::Malformed(malformed),
        }
    }

    /// Checks whether the sender may ask. Returns whether it gets a DENY kiss.
    #[inline(always)]
    fn admit(&self, port: u16) -> Result<bool, Reason> {
        if port == 0 {
            return Err(Reason::Unanswerable);
        }
        match self.view.policy.access.check(self.client) {
            None => Ok(false),
            Some(Refusal::Deny) => Ok(true),
            Some(Refusal::Ignore) => Err(Reason::Access),
        }
    }

    /// Charges the request to the sender. Returns whether it gets a RATE kiss.
    #[inline(always)]
    fn charge(&self, worker: &mut WorkerState) -> Result<bool, Reason> {
        let WorkerState {
            limiter, random, ..
        } = worker;
        match limiter.charge(self.client, self.now.monotonic, random) {
            Charge::Within => Ok(false),
            Charge::OverWithKiss => Ok(true),
            Charge::Over => Err(Reason::RateLimited),
        }
    }

    #[inline(always)]
    fn write_reply(
        &self,
        worker: &mut WorkerState,
        restrictions: Restrictions,
        packet: &Packet<'_>,
        fields: &Fields<'_>,
        authentication: Authentication<'_>,
        draft: &mut Draft,
    ) -> Result<Verdict, Reason> {
        let kind = self.kind(restrictions, &authentication)?;
        let request = &packet.header;
        let mut header = self.header(kind, request, worker);
        let mut interleaved = false;
        let mut token = None;
        if kind == Kind::Time && interleaved::is_interleaved_request(request, self.received) {
            let epoch = self.view.claim.epoch;
            let origin = request.origin_timestamp;
            if let Some(transmit) = worker.store.transmit(origin, self.client, epoch) {
                interleaved = true;
                header.origin_timestamp = request.receive_timestamp;
                header.transmit_timestamp = transmit;
            }
            let receive = &mut header.receive_timestamp;
            token = worker.store.reserve(receive, self.client, epoch);
        }
        let authenticator = match (authentication, packet.mac) {
            (Authentication::Key(key), Some(mac)) => Authenticator::Signature(Signature {
                key: Arc::clone(key),
                length: mac.digest.len(),
                prefix: size_of::<KeyId>(),
            }),
            (Authentication::Nts(keyset), _) => Authenticator::Nts(keyset),
            (Authentication::KeyFailed, _) if kind == Kind::CryptoNak => Authenticator::CryptoNak,
            _ => Authenticator::None,
        };
        let authenticated = matches!(
            authenticator,
            Authenticator::Signature(_) | Authenticator::Nts(..)
        );
        let reply = Reply {
            header: &header,
            echoed: fields.echoed,
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

    /// Authenticates the request by its NTS fields.
    #[inline(always)]
    fn authenticate_nts(
        &self,
        fields: &NtsFields<'_>,
        draft: &mut Draft,
    ) -> Result<Authentication<'_>, Reason> {
        match self.view.keyset.as_deref() {
            Some(keyset) if keyset.is_empty() => Err(Reason::NoKeys),
            Some(keyset) if draft.open(keyset, fields) => Ok(Authentication::Nts(keyset)),
            Some(_) | None => Ok(Authentication::NtsFailed),
        }
    }

    /// Authenticates the request by its MAC.
    #[inline(always)]
    fn authenticate_mac(&self, covered: &[u8], key_id: KeyId, digest: &[u8]) -> Authentication<'_> {
        match self.view.policy.keys.get(key_id) {
            Some(key) if key.verify(covered, digest) => Authentication::Key(key),
            _ => Authentication::KeyFailed,
        }
    }

    fn kind(
        &self,
        restrictions: Restrictions,
        authentication: &Authentication<'_>,
    ) -> Result<Kind, Reason> {
        if restrictions.limited {
            return Ok(Kind::Rate);
        }
        if restrictions.denied {
            return Ok(Kind::Deny);
        }
        match (self.view.policy.require_nts, authentication) {
            (_, Authentication::Nts(..)) => Ok(Kind::Time),
            (_, Authentication::NtsFailed) => Ok(Kind::NtsNak),
            (Some(Refusal::Ignore), _) => Err(Reason::NtsRequired),
            (Some(Refusal::Deny), _) => Ok(Kind::Deny),
            (None, Authentication::KeyFailed) => Ok(Kind::CryptoNak),
            (None, _) => Ok(Kind::Time),
        }
    }

    #[inline(always)]
    fn header(&self, kind: Kind, request: &Header, worker: &WorkerState) -> Header {
        let system = match kind {
            Kind::Time | Kind::CryptoNak => self
                .view
                .claim
                .system_variables(self.now.system, self.received),
            Kind::Deny => SystemVariables::kiss(*b"DENY"),
            Kind::Rate => SystemVariables::kiss(*b"RATE"),
            Kind::NtsNak => SystemVariables::kiss(*b"NTSN"),
        };
        let poll = match worker.limiter.poll() {
            Some(shortest) => request.poll.max(shortest),
            None => request.poll,
        };
        Header {
            leap: system.leap,
            version: request.version,
            mode: match request.mode {
                Mode::SymmetricActive => Mode::SymmetricPassive,
                _ => Mode::Server,
            },
            stratum: system.stratum,
            poll,
            precision: self.view.claim.precision,
            root_delay: NtpShort::from_duration_ceil(system.root_delay),
            root_dispersion: NtpShort::from_duration_ceil(system.root_dispersion),
            reference_id: system.reference_id,
            reference_timestamp: self.reference_timestamp(request, &system),
            origin_timestamp: request.transmit_timestamp,
            receive_timestamp: interleaved::mark_receive(self.received),
            transmit_timestamp: NtpTimestamp::ZERO,
        }
    }
}

impl RequestContext<'_> {
    /// The reference timestamp of a reply: the marker of version 5 if the client sent it and
    /// version 5 is accepted, by which it learns that it may use that version.
    #[inline(always)]
    fn reference_timestamp(&self, request: &Header, system: &SystemVariables) -> NtpTimestamp {
        let marker = request.reference_timestamp;
        if self.view.policy.versions.contains(Version::V5) && is_marker(marker) {
            marker
        } else {
            system.reference_timestamp
        }
    }
}

/// Result of authenticating a request.
enum Authentication<'a> {
    /// There is no MAC, or no keys are configured.
    None,
    /// The MAC is valid under this key.
    Key(&'a Arc<Key>),
    /// The NTS cookie was sealed with this keyset and the authenticator is valid; the session is in
    /// the draft.
    Nts(&'a Keyset),
    /// The NTS cookie cannot be opened, or the authenticator is invalid.
    NtsFailed,
    /// The MAC is invalid or its key is unknown.
    KeyFailed,
}
