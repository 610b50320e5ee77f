//! An association: the client's state for one server address (RFC 5905 section 9, client mode).
//!
//! At most one exchange is open at a time. Its nonce, a fresh 64-bit random number in the transmit
//! timestamp, is what identifies its reply: the server must return it as origin timestamp. A
//! datagram that fails this test changes nothing, so a third party that cannot see our requests can
//! neither move the clock nor use up the one reply that each request may have.
//!
//! The real transmit time is kept locally and never sent (data minimisation). It is the daemon's
//! own reading first and is replaced by the kernel's timestamp when that arrives. Whichever is
//! present when the reply arrives is used: waiting for the better one would need another timer, and
//! the timestamp of a late reply's request has been queued for a round trip already.

use std::net::SocketAddr;

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, PollInterval, PollLimits, Stamp, Stratum};
use rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::interleaved::{self, AnsweredExchange, FOLLOW_UP, InterleavedFields, ReplyMode};
use super::loop_guard::LoopGuard;
use super::matching::{Exchange, Expected, Matched, Purpose, Refusal};
use super::negotiation::{Negotiation, VersionChoice};
use super::protection::{Authenticity, Protection};
use super::sanity::{self, LocalIdentity};
use super::v5::{DraftChoice, RequestFields};
use super::{
    Datagram, ExchangeId, KissCode, NtsSession, PacketCounters, Reach, Rejection, ReplyContent,
    Schedule,
};
use crate::nts::NextProtocol;
use crate::reference_ids::{BloomFilter, ServerId};
use crate::wire::v5::{ClientCookie, SupportedVersions, draft};
use crate::wire::{Header, Mode, Version};

/// Time after which an exchange is closed without a reply. Longer than any path (a geostationary
/// hop takes 0.3 s each way), shorter than any steady interval.
const REPLY_TIMEOUT: NtpDuration = NtpDuration::from_seconds(5);

/// Delay of a burst that is started by a reply.
const BURST_DELAY: NtpDuration = NtpDuration::from_seconds(2);

/// Delay of a request after a change of the network: routes follow addresses.
const NETWORK_GRACE: NtpDuration = NtpDuration::from_seconds(1);

/// Parameters of an association.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationConfig {
    /// Range of the poll interval.
    pub limits: PollLimits,
    /// Poll interval after the start-up schedule.
    pub initial_poll: PollInterval,
    /// Authentication of packets. Not serialised, because it contains secrets.
    #[serde(skip)]
    pub protection: Protection,
    /// Whether interleaved mode (RFC 9769) is attempted.
    pub interleaved: bool,
    /// Protocol version of the requests. With NTS it is that of the key exchange.
    pub version: VersionChoice,
}

impl Default for AssociationConfig {
    /// Default poll limits, starting at the minimum; no authentication, basic mode.
    fn default() -> Self {
        let limits = PollLimits::default();
        Self {
            limits,
            initial_poll: limits.min,
            protection: Protection::None,
            interleaved: false,
            version: VersionChoice::default(),
        }
    }
}

/// A request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The datagram. On the heap: the allocation is negligible beside the socket of each request,
    /// and an inline buffer for the longest request would make every output of the engine a
    /// kilobyte.
    pub payload: Vec<u8>,
}

/// A reply that passed all tests.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Transmit timestamp of the request.
    pub sent: Stamp,
    /// Receive timestamp of the reply.
    pub received: Stamp,
    /// What the server states.
    pub content: ReplyContent,
    /// Why the source must not be selected, although the measurement is valid.
    pub exclusion: Option<Rejection>,
}

/// Result of an accepted datagram.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// A complete measurement.
    Time(Accepted),
    /// A valid reply whose transmit timestamp arrives with the next one, in interleaved mode.
    Incomplete,
    /// A kiss-o'-death in reply to our request.
    Kiss(KissCode),
}

/// Client state for one server address.
#[derive(Clone, Debug)]
pub struct Association {
    pub(super) remote: SocketAddr,
    pub(super) negotiation: Negotiation,
    /// Draft of requests of version 5.
    pub(super) draft: DraftChoice,
    pub(super) protection: Protection,
    reach: Reach,
    /// Polls with an authentic reply, usable or not.
    answered: Reach,
    pub(super) schedule: Schedule,
    pub(super) exchange: Option<Exchange>,
    /// Time of the last scheduled request.
    last_poll: Monotonic,
    /// Time of the next scheduled request.
    next_scheduled: Monotonic,
    /// An additional request outside of the schedule.
    extra: Option<(Monotonic, Purpose)>,
    interleaved: interleaved::InterleavedState,
    /// Finds loops, if this machine serves time to others in version 5.
    pub(super) loop_guard: Option<Box<LoopGuard>>,
    /// TAI - UTC in seconds, if it is known, for servers that answer in TAI.
    pub(super) tai_offset: Option<i32>,
    /// Versions that the server supports, if it states them.
    pub(super) server_versions: Option<SupportedVersions>,
    /// Number of requests that asked for them.
    version_queries: u8,
    counters: PacketCounters,
    last_content: Option<ReplyContent>,
    /// Result of the authentication of the last datagram.
    pub(super) authenticity: Authenticity,
}

/// Number of requests that ask which versions the server supports. The answer is for operators
/// only, and a server that ignores the question need not be asked for ever.
const MAX_VERSION_QUERIES: u8 = 4;

impl Association {
    /// Creates an association that sends its first request at `start`.
    pub fn new(remote: SocketAddr, config: AssociationConfig, start: Monotonic) -> Self {
        let mut association = Self {
            remote,
            negotiation: Negotiation::new(config.version),
            draft: DraftChoice::default(),
            protection: config.protection,
            reach: Reach::default(),
            answered: Reach::default(),
            schedule: Schedule::new(config.limits, config.initial_poll, start),
            exchange: None,
            last_poll: start,
            next_scheduled: start,
            extra: None,
            interleaved: interleaved::InterleavedState::new(config.interleaved),
            loop_guard: None,
            tai_offset: None,
            server_versions: None,
            version_queries: 0,
            counters: PacketCounters::default(),
            last_content: None,
            authenticity: Authenticity::NotChecked,
        };
        if let Some(session) = association.protection.nts() {
            association.follow_protocol(session.protocol());
        }
        association
    }

    /// Address of the server.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Authentication of packets.
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Installs the session of a new key exchange. The previous one is kept until the new one is
    /// confirmed by an authenticated reply.
    ///
    /// Missing replies under the old keys say nothing about the new ones, so the reach register is
    /// reset if no recent poll was answered.
    pub fn install_session(&mut self, session: NtsSession) {
        if !self.reach.is_reachable() {
            self.reach = Reach::default();
        }
        if !self.answered.is_reachable() {
            self.answered = Reach::default();
        }
        self.follow_protocol(session.protocol());
        self.protection = match core::mem::take(&mut self.protection) {
            Protection::Nts(previous) => Protection::Nts(Box::new(session.replacing(*previous))),
            Protection::None | Protection::Symmetric(_) => Protection::Nts(Box::new(session)),
        };
    }

    /// Uses the version for which the keys of a session are.
    fn follow_protocol(&mut self, protocol: NextProtocol) {
        if protocol.version() != self.version() {
            self.version_changed();
        }
        self.negotiation.set_by_key_exchange(protocol.version());
        if let Some(draft) = protocol.draft() {
            self.draft.prefer(draft);
        }
    }

    /// Ends the association and returns its NTS session.
    pub fn into_session(self) -> Option<NtsSession> {
        match self.protection {
            Protection::Nts(session) => Some(*session),
            Protection::None | Protection::Symmetric(_) => None,
        }
    }

    /// Name of the draft of the requests, if they have version 5.
    pub fn draft(&self) -> Option<&'static str> {
        (self.version() == Version::V5).then(|| self.draft.name())
    }

    /// The reach register.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Which of the last polls had an authentic reply, usable or not.
    pub fn answered(&self) -> Reach {
        self.answered
    }

    /// The poll schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Packet counts.
    pub fn counters(&self) -> PacketCounters {
        self.counters
    }

    /// Content of the last accepted reply.
    pub fn last_content(&self) -> Option<&ReplyContent> {
        self.last_content.as_ref()
    }

    /// Result of the authentication of the last datagram.
    pub fn authenticity(&self) -> Authenticity {
        self.authenticity
    }

    /// ID of the open exchange, if any.
    pub fn exchange(&self) -> Option<ExchangeId> {
        self.exchange.map(|exchange| exchange.id)
    }

    /// Whether the request of the open exchange has been sent.
    pub fn is_sent(&self) -> bool {
        self.exchange
            .is_some_and(|exchange| exchange.sent.is_some())
    }

    /// Time of the next request.
    pub fn next_poll(&self) -> Monotonic {
        let scheduled = self.next_scheduled;
        self.extra.map_or(scheduled, |(at, _)| at.min(scheduled))
    }

    /// Whether the last reply was in interleaved mode.
    pub fn is_interleaved(&self) -> bool {
        self.interleaved.is_active()
    }

    /// The current poll interval, at least one second.
    pub fn interval(&self) -> NtpDuration {
        (self.next_scheduled - self.last_poll).max(NtpDuration::from_seconds(1))
    }

    /// Time at which the open exchange expires.
    pub fn deadline(&self) -> Option<Monotonic> {
        self.exchange.map(|exchange| exchange.deadline)
    }

    /// Protocol version of the next request.
    pub fn version(&self) -> Version {
        self.negotiation.version()
    }

    /// The negotiation of the version.
    pub fn negotiation(&self) -> &Negotiation {
        &self.negotiation
    }

    /// Versions that the server supports, if it has stated them (version 5).
    pub fn server_versions(&self) -> Option<SupportedVersions> {
        self.server_versions
    }

    /// Sets the ID under which this machine serves time in version 5, so that loops are found.
    /// `None` if it does not.
    pub fn set_server_id(&mut self, id: Option<ServerId>) {
        if self.loop_guard.as_ref().map(|guard| guard.own()) != id {
            self.loop_guard = id.map(|id| Box::new(LoopGuard::new(id)));
        }
    }

    /// Sets TAI - UTC, in seconds. Servers of version 5 may answer in TAI, which is of no use
    /// without it.
    pub fn set_tai_offset(&mut self, offset: Option<i32>) {
        self.tai_offset = offset;
    }

    /// IDs of the server and of all from which it takes its time, once they are known.
    pub fn reference_ids(&self) -> Option<&BloomFilter> {
        let guard = self.loop_guard.as_ref();
        guard.filter(|_| self.version() == Version::V5)?.filter()
    }

    /// Opens an exchange. The caller has closed the previous one.
    ///
    /// Returns `None` if no NTS cookie is left. Then no exchange is opened, and the next attempt is
    /// made at the next poll.
    pub fn request(
        &mut self,
        now: Monotonic,
        id: ExchangeId,
        rng: &mut impl RngCore,
    ) -> Option<Request> {
        // A timestamp of zero means "unknown".
        let nonce = rng.next_u64().max(1);
        let extra = self.extra.take().filter(|_| now < self.next_scheduled);
        let purpose = extra.map_or(Purpose::Poll, |(_, purpose)| purpose);
        if purpose == Purpose::Poll {
            self.choose_version(rng);
        }
        let expected = if self.version() == Version::V5 {
            Expected::Cookie(self.version_5_fields(nonce, purpose))
        } else {
            Expected::Origin {
                nonce: NtpTimestamp::from_bits(nonce),
                interleaved: match purpose {
                    Purpose::Fallback => None,
                    _ => self.interleaved.request_fields(rng),
                },
                offered: self.negotiation.offers(),
            }
        };
        // Additional requests do not count as polls.
        if purpose == Purpose::Poll {
            self.reach.record_poll();
            self.answered.record_poll();
            self.last_poll = now;
            self.next_scheduled = self.schedule.record_request(now, rng);
        }
        self.exchange = None;
        let payload = match &expected {
            Expected::Cookie(fields) => self.protection.request_v5(fields, rng),
            Expected::Origin {
                nonce,
                interleaved,
                offered,
            } => {
                let header = Header {
                    reference_timestamp: if *offered {
                        draft::MARKERS[0]
                    } else {
                        NtpTimestamp::ZERO
                    },
                    ..request_header(self.version(), *nonce, *interleaved)
                };
                self.protection.request(&header, rng)
            }
        }?;
        self.exchange = Some(Exchange {
            id,
            expected,
            purpose,
            sent: None,
            deadline: now + REPLY_TIMEOUT,
        });
        self.counters.sent += 1;
        Some(Request { payload })
    }

    /// Chooses the version of a scheduled poll, and its draft.
    fn choose_version(&mut self, rng: &mut impl RngCore) {
        let version = self.version();
        self.negotiation.begin_poll();
        if self.version() != version {
            self.version_changed();
        }
        if self.version() == Version::V5 {
            self.draft.begin_poll();
            if let Some(guard) = &mut self.loop_guard {
                guard.begin_poll(rng);
            }
        }
    }

    /// Timestamps and cookies of one version mean nothing in another.
    pub(super) fn version_changed(&mut self) {
        self.interleaved.discard_timestamps();
    }

    fn version_5_fields(&mut self, cookie: u64, purpose: Purpose) -> RequestFields {
        let server_information =
            self.server_versions.is_none() && self.version_queries < MAX_VERSION_QUERIES;
        self.version_queries += u8::from(server_information);
        RequestFields {
            cookie: ClientCookie::from_bits(cookie),
            draft: self.draft.name(),
            interleaved: match purpose {
                Purpose::Fallback => None,
                _ => self.interleaved.server_cookie(),
            },
            server_information,
            reference_ids: self.loop_guard.as_ref().map(|guard| guard.next_offset()),
        }
    }

    /// Records a transmit timestamp. Of several, the one taken closest to the wire is used.
    pub fn transmitted(&mut self, id: ExchangeId, stamp: Stamp) {
        if let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.id == id)
            && exchange.sent.is_none_or(|sent| sent.source <= stamp.source)
        {
            exchange.sent = Some(stamp);
        }
        self.interleaved.transmitted(id, stamp);
    }

    /// Closes the open exchange: it could not be sent, or another one replaces it.
    pub fn abandon(&mut self) -> Option<ExchangeId> {
        self.exchange.take().map(|exchange| exchange.id)
    }

    /// Closes the open exchange after its timeout.
    pub fn expire(&mut self, now: Monotonic) -> Option<ExchangeId> {
        let exchange = self.exchange.take()?;
        let next = match exchange.purpose {
            Purpose::FollowUp => Some(Purpose::SecondFollowUp),
            Purpose::SecondFollowUp => {
                self.interleaved.follow_up_failed();
                self.interleaved.is_failing().then_some(Purpose::Fallback)
            }
            Purpose::Poll | Purpose::Fallback => None,
        };
        self.extra = next.map(|purpose| (now, purpose)).or(self.extra);
        Some(exchange.id)
    }

    /// Discards all timestamps and the open exchange after a step of the clock, which invalidates
    /// them.
    pub fn discard_timestamps(&mut self) -> Option<ExchangeId> {
        self.interleaved.discard_timestamps();
        self.abandon()
    }

    /// Processes a datagram from the socket of the open exchange. A rejection that is not the
    /// server's fault changes nothing; any other result closes the exchange.
    pub fn receive(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
        local_identity: &LocalIdentity,
        stratum_limit: Stratum,
    ) -> Result<Reply, Rejection> {
        self.counters.received += 1;
        self.authenticity = Authenticity::NotChecked;
        let matched = self
            .match_reply(now, datagram)
            .inspect_err(|rejection| self.count_mismatch(*rejection))?;
        self.exchange = None;
        self.answered.record_reply();
        let result = match matched.statement {
            Ok(content) => sanity::check_server(&content, local_identity, stratum_limit)
                .and_then(|()| self.process_reply(now, datagram, &matched, content)),
            Err(Refusal::Kiss(kiss)) => {
                self.counters.unusable += 1;
                return Ok(Reply::Kiss(kiss));
            }
            Err(Refusal::Rejected(rejection)) => Err(rejection),
        };
        result.inspect_err(|_| self.counters.unusable += 1)
    }

    /// Processes a reply of the server except for its authentication.
    fn process_reply(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
        matched: &Matched,
        content: ReplyContent,
    ) -> Result<Reply, Rejection> {
        let answered = AnsweredExchange {
            id: datagram.exchange,
            sent: matched.sent,
            received: datagram.received,
            content,
            server_cookie: matched.server_cookie,
            at: now,
            measured: matched.mode != ReplyMode::Interleaved,
        };
        let measurable = if matched.mode == ReplyMode::Interleaved {
            self.interleaved.complete(now, &content)
        } else {
            Some(answered)
        };
        if let Some(exchange) = measurable {
            sanity::check_timestamps(&exchange.content)?;
            exchange.check_correction()?;
        }
        self.counters.accepted += 1;
        self.last_content = Some(content);
        self.reach.record_reply();
        if self.schedule.record_reply(now) {
            self.next_scheduled = now + BURST_DELAY;
        }
        let completes = measurable.is_some();
        self.interleaved
            .record_exchange(answered, matched.mode, completes);
        let Some(exchange) = measurable else {
            if self.interleaved.needs_follow_up(now, self.next_scheduled) {
                self.extra = Some((now + FOLLOW_UP, Purpose::FollowUp));
            }
            return Ok(Reply::Incomplete);
        };
        Ok(Reply::Time(Accepted {
            sent: exchange.sent,
            received: exchange.received,
            content: exchange.content,
            exclusion: self.exclusion(&content),
        }))
    }

    fn count_mismatch(&mut self, rejection: Rejection) {
        match rejection {
            Rejection::CryptoNak | Rejection::UnexpectedNak => {
                self.counters.unusable += 1;
                self.counters.crypto_naks += 1;
            }
            Rejection::NtsNak => {
                self.counters.unusable += 1;
                self.counters.nts_naks += 1;
            }
            _ => self.counters.bogus += 1,
        }
    }

    /// Why the source must not be selected, by the reference IDs of its server.
    fn exclusion(&self, content: &ReplyContent) -> Option<Rejection> {
        let guard = self.loop_guard.as_ref();
        guard
            .filter(|_| content.version == Version::V5)?
            .exclusion(content)
    }

    /// Raises the interval to what the server permits (version 5), at most `limit`.
    pub(super) fn respect_minimum(&mut self, minimum: PollInterval, limit: PollInterval) {
        let minimum = minimum.min(limit);
        self.schedule.set_server_minimum(minimum);
        if !self.schedule.is_in_burst() {
            let earliest = self.last_poll + minimum.to_duration();
            self.next_scheduled = self.next_scheduled.max(earliest);
        }
    }

    /// Sets the steady poll interval requested by the discipline.
    pub fn set_poll(&mut self, poll: PollInterval) {
        self.schedule.set_poll(poll);
    }

    /// Sets the range of the poll interval.
    pub fn set_limits(&mut self, limits: PollLimits) {
        self.schedule.set_limits(limits);
        let latest = self.last_poll + self.schedule.poll().to_duration();
        self.next_scheduled = self.next_scheduled.min(latest.max(self.last_poll));
    }

    /// Starts a burst: the clock was disturbed, the network changed, or an operator requested it.
    /// Returns whether a burst was started; see [`Schedule::restart`].
    pub fn restart(&mut self, now: Monotonic) -> bool {
        let restarts = self.schedule.restart(now);
        if restarts {
            self.next_scheduled = now;
            self.extra = None;
            self.interleaved.reset_failures();
        }
        restarts
    }

    /// Schedules one request soon, if no burst is possible and the next poll may be far off: the
    /// network changed, keys arrived, or the machine was disrupted. A server that sent a RATE kiss is not polled early.
    pub fn poll_soon(&mut self, now: Monotonic) {
        if let Some(earliest) = self.schedule.earliest(self.last_poll) {
            self.next_scheduled = self.next_scheduled.min(earliest.max(now + NETWORK_GRACE));
        }
    }

    /// Processes a RATE kiss.
    pub fn handle_rate_kiss(&mut self, now: Monotonic, rng: &mut impl RngCore) {
        self.next_scheduled = self.schedule.handle_rate_kiss(now, rng);
        self.interleaved.disable();
        self.extra = None;
    }
}

/// Header of a client request: version, mode and nonce only, plus the fields that interleaved mode
/// needs. Fields that a server does not need cannot be used to track or to manipulate the client.
fn request_header(
    version: Version,
    nonce: NtpTimestamp,
    fields: Option<InterleavedFields>,
) -> Header {
    Header {
        origin_timestamp: fields.map_or(NtpTimestamp::ZERO, |fields| fields.origin),
        receive_timestamp: fields.map_or(NtpTimestamp::ZERO, |fields| fields.receive),
        transmit_timestamp: nonce,
        ..Header::blank(version, Mode::Client)
    }
}
