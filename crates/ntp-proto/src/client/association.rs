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
//!
//! `request.rs` opens exchanges, `reply.rs` and `matching.rs` close them.

use std::net::SocketAddr;

use ntp_time::{Monotonic, NtpDuration, PollInterval, PollLimits, Stamp};
use ntp_types::hop_limit::HopLimitDifference;
use ntp_types::path::NetworkPath;
use rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::hop_limit::HopLimits;
use super::interleaved;
use super::loop_guard::LoopGuard;
use super::matching::{Exchange, Purpose};
use super::negotiation::{Negotiation, VersionChoice};
use super::protection::{Authenticity, Protection};
use super::v5::DraftChoice;
use super::{ExchangeId, NtsSession, PacketCounters, Reach, ReplyContent, Schedule};
use crate::nts::NextProtocol;
use crate::reference_ids::{BloomFilter, ServerId};
use crate::wire::Version;
use crate::wire::v5::SupportedVersions;

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
    /// Path of the packets through this machine, which also identifies the server.
    #[serde(default, skip_serializing_if = "NetworkPath::is_default")]
    pub path: NetworkPath,
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
            path: NetworkPath::default(),
        }
    }
}

/// Client state for one server address.
#[derive(Clone, Debug)]
pub struct Association {
    pub(super) remote: SocketAddr,
    path: NetworkPath,
    pub(super) negotiation: Negotiation,
    /// Draft of requests of version 5.
    pub(super) draft: DraftChoice,
    pub(super) protection: Protection,
    pub(super) reach: Reach,
    /// Polls with an authentic reply, usable or not.
    pub(super) answered: Reach,
    pub(super) schedule: Schedule,
    pub(super) exchange: Option<Exchange>,
    /// Time of the last scheduled request.
    pub(super) last_poll: Monotonic,
    /// Time of the next scheduled request.
    pub(super) next_scheduled: Monotonic,
    /// An additional request outside of the schedule.
    pub(super) extra: Option<(Monotonic, Purpose)>,
    pub(super) interleaved: interleaved::InterleavedState,
    /// Finds loops, if this machine serves time to others in version 5.
    pub(super) loop_guard: Option<Box<LoopGuard>>,
    /// TAI - UTC in seconds, if it is known, for servers that answer in TAI.
    pub(super) tai_offset: Option<i32>,
    /// Versions that the server supports, if it states them.
    pub(super) server_versions: Option<SupportedVersions>,
    /// Number of requests that asked for them.
    pub(super) version_queries: u8,
    pub(super) counters: PacketCounters,
    pub(super) last_content: Option<ReplyContent>,
    /// Result of the authentication of the last datagram.
    pub(super) authenticity: Authenticity,
    pub(super) hop_limits: HopLimits,
}

impl Association {
    /// Creates an association that sends its first request at `start`.
    pub fn new(remote: SocketAddr, config: AssociationConfig, start: Monotonic) -> Self {
        let mut association = Self {
            remote,
            path: config.path,
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
            hop_limits: HopLimits::default(),
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

    /// Path of the packets through this machine.
    pub fn path(&self) -> NetworkPath {
        self.path
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

    /// Hop limit of the last reply that passed authentication; without authentication, of the last
    /// reply with our nonce. `None` if the operating system does not report it.
    pub fn hop_limit(&self) -> Option<u8> {
        self.hop_limits.accepted()
    }

    /// Hop limit of the last rejected datagram. `None` without authentication, which could reject it,
    /// and if the route to the server has changed since.
    pub fn rejected_hop_limit(&self) -> Option<u8> {
        self.hop_limits.rejected()
    }

    /// Both, if there are both and they differ.
    pub fn hop_limit_difference(&self) -> Option<HopLimitDifference> {
        self.hop_limits.difference()
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
