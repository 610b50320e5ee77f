//! Schedule and results of the key exchanges of sources with NTS.
//!
//! A source with NTS is configured by its key-exchange server. The NTP server is known only after a
//! key exchange and may change with each one.
//!
//! ```text
//! needed -> due, after back-off -> in progress -> failed: due again, later
//!                                              -> keys and an NTP server: address, or name to resolve
//!                                                 -> association
//! ```
//!
//! Keys are requested at start-up, when the cookies are used up or have been refused for several
//! polls, when the server has been unreachable for so long that its address may have changed, and
//! after four weeks. An association continues with its old keys meanwhile.
//!
//! The back-off doubles with every exchange, from seconds to a quarter of an hour, and is reset
//! only when a packet is authenticated: keys that do not work must not be requested every few
//! seconds. It is randomised, so that the clients of a server that returns do not connect
//! simultaneously.

use ntp_time::{Monotonic, NtpDuration};
use ntp_types::host::{Host, ScopedIp};

use super::super::Source;
use super::super::pool::{Configured, Endpoint, Lookup, SourceSet};
use crate::client::NtsSession;
use crate::engine::{KeyExchangeError, KeyExchangeFailure, QueryId, SourceError};
use crate::nts::KeyExchanged;
use ntp_types::status::KeyExchangeStatus;

/// Shortest and longest interval between two key exchanges with a server.
const BACKOFF: (NtpDuration, NtpDuration) = (
    NtpDuration::from_seconds(4),
    NtpDuration::from_seconds(1024),
);

/// Delay of a key exchange after a change of the network.
const NETWORK_GRACE: NtpDuration = NtpDuration::from_seconds(2);

/// Age of keys at which new ones are requested even if they work.
pub(super) const LIFETIME: NtpDuration = NtpDuration::from_seconds(28 * 86_400);

/// NTP port if the key exchange names none (RFC 8915 section 4.1.8).
const NTP_PORT: u16 = 123;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No key exchange is needed.
    Idle,
    /// A key exchange is due at this time.
    Due(Monotonic),
    /// A key exchange is in progress.
    InProgress,
}

/// State of the key exchanges of one source.
#[derive(Debug)]
pub(in crate::engine::source) struct KeyExchanges {
    stage: Stage,
    backoff: NtpDuration,
    /// Delay between the end of a failed key exchange and the next one. Counted from the end,
    /// because a server that does not respond may take longer than this to time out.
    retry_delay: NtpDuration,
    /// Earliest time of the next key exchange.
    not_before: Monotonic,
    /// Session that no association uses yet.
    session: Option<Box<NtsSession>>,
    /// Address of the key-exchange server that answered last. After a restart with a stored
    /// session, that of the NTP server.
    server: Option<ScopedIp>,
    /// Time of the last success.
    last_success: Option<Monotonic>,
    exchanges: u64,
    error: Option<KeyExchangeError>,
    /// The last reported failure.
    reported: Option<KeyExchangeFailure>,
}

impl KeyExchanges {
    pub(in crate::engine::source) fn new(now: Monotonic) -> Self {
        Self {
            stage: Stage::Due(now),
            backoff: BACKOFF.0,
            retry_delay: BACKOFF.0,
            not_before: now,
            session: None,
            server: None,
            last_success: None,
            exchanges: 0,
            error: None,
            reported: None,
        }
    }

    /// Whether this failure differs from the last reported one. Alternating failures are limited by
    /// the back-off.
    fn is_new_failure(&mut self, failure: KeyExchangeFailure) -> bool {
        self.reported.replace(failure) != Some(failure)
    }

    fn request(&mut self, now: Monotonic) {
        if self.stage == Stage::Idle {
            self.stage = Stage::Due(self.not_before.max(now));
        }
    }

    /// Resets the back-off after an authenticated packet.
    pub(in crate::engine::source) fn authenticated(&mut self) {
        self.backoff = BACKOFF.0;
        self.reported = None;
    }

    /// The addresses of this machine changed, so a failed exchange may succeed soon. Routes and
    /// name servers follow addresses with a delay, and a flapping interface must not cause a
    /// handshake each time.
    pub(in crate::engine::source) fn network_changed(&mut self, now: Monotonic) {
        self.backoff = BACKOFF.0;
        self.not_before = self.not_before.min(now + NETWORK_GRACE);
        if let Stage::Due(at) = self.stage {
            self.stage = Stage::Due(at.min(now + NETWORK_GRACE));
        }
    }

    pub(in crate::engine::source) const fn server(&self) -> Option<ScopedIp> {
        self.server
    }

    pub(in crate::engine::source) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Replaces the session that no association uses yet.
    pub(super) fn replace_session(&mut self, session: Box<NtsSession>) {
        self.session = Some(session);
    }

    /// Allows the next key exchange without back-off.
    pub(super) fn allow_at_once(&mut self, now: Monotonic) {
        self.not_before = now;
        self.backoff = BACKOFF.0;
    }

    /// Schedules the next attempt after a failure, and returns the time until then.
    pub(super) fn fail(&mut self, now: Monotonic, error: &KeyExchangeError) -> NtpDuration {
        self.error = Some(error.clone());
        self.not_before = now + self.retry_delay;
        self.stage = Stage::Due(self.not_before);
        self.retry_delay
    }

    pub(super) const fn last_success(&self) -> Option<Monotonic> {
        self.last_success
    }

    pub(in crate::engine::source) fn store(&mut self, session: NtsSession) {
        if self.session.is_none() && session.cookies() > 0 {
            self.session = Some(Box::new(session));
        }
    }

    pub(in crate::engine::source) fn status(&self, now: Monotonic) -> KeyExchangeStatus {
        KeyExchangeStatus {
            exchanges: self.exchanges,
            error: self.error.as_ref().map(ToString::to_string),
            reason: self.error.as_ref().map(|error| error.reason),
            age: self.last_success.map(|at| now - at),
            next: self.due().map(|due| (due - now).max(NtpDuration::ZERO)),
        }
    }

    pub(in crate::engine::source) fn due(&self) -> Option<Monotonic> {
        match self.stage {
            Stage::Due(at) => Some(at),
            Stage::Idle | Stage::InProgress => None,
        }
    }
}

/// A key exchange to perform.
pub(in crate::engine) struct KeyExchangeRequest {
    pub(in crate::engine) query: QueryId,
    /// Configured name of the source.
    pub(in crate::engine) name: String,
    pub(in crate::engine) host: Host,
    pub(in crate::engine) port: u16,
    /// Servers that a pool should not name; `None` for a single server.
    pub(in crate::engine) denied: Option<Vec<String>>,
}

/// Effect of a finished key exchange.
pub(in crate::engine) enum KeyExchangeEffect {
    /// The result was not expected.
    Unexpected,
    /// It failed; the next one is due after this time.
    Failed(KeyExchangeError, NtpDuration),
    /// New keys for the association at this position.
    Renewed(usize, Box<NtsSession>),
    /// New keys, but for another server than that of the association at this position, which must
    /// be replaced.
    Moved(usize),
    /// New keys for another server of the pool, which replaces the unusable one at this position.
    Replaced(usize),
    /// No change now; a missing association is added by the source set.
    Waiting,
}

impl SourceSet {
    /// Requests new keys for the configured source at `index`.
    pub(in crate::engine) fn request_keys(&mut self, index: usize, now: Monotonic) {
        if let Some(keys) = self.keys_of(index) {
            keys.request(now);
        }
    }

    /// Whether a failed key exchange should be reported: if it differs from the last one, or after
    /// an hour.
    pub(in crate::engine) fn should_report_key_failure(
        &mut self,
        now: Monotonic,
        index: usize,
        failure: KeyExchangeFailure,
    ) -> bool {
        let is_new = self
            .keys_of(index)
            .is_some_and(|keys| keys.is_new_failure(failure));
        // Evaluated in any case, so that the hour starts with this report.
        self.should_report_failure(now, index) | is_new
    }

    /// Takes the session for a new association of the configured source at `index`.
    pub(in crate::engine) fn take_session(&mut self, index: usize) -> Option<NtsSession> {
        self.keys_of(index)?.session.take().map(|session| *session)
    }

    /// Starts a key exchange that is due and returns its server. `scatter` is a random number from
    /// 0 to 1.
    pub(in crate::engine) fn take_due_key_exchange(
        &mut self,
        now: Monotonic,
        scatter: f64,
    ) -> Option<KeyExchangeRequest> {
        let is_due = |source: &Configured| {
            let due = source.keys.as_ref().and_then(KeyExchanges::due);
            source.online && due.is_some_and(|at| at <= now)
        };
        let index = self.configured.iter().position(is_due)?;
        let denied = self.denied_names(index, now);
        let source = &mut self.configured[index];
        let keys = source.keys.as_mut()?;
        keys.stage = Stage::InProgress;
        keys.exchanges += 1;
        keys.retry_delay = keys.backoff.scaled(0.75 + 0.5 * scatter);
        keys.not_before = now + keys.retry_delay;
        keys.backoff = (keys.backoff * 2).min(BACKOFF.1);
        Some(KeyExchangeRequest {
            query: source.query,
            name: source.config.name.clone(),
            host: source.config.host.clone(),
            port: source.config.port,
            denied,
        })
    }

    /// Time of the next key exchange.
    pub(in crate::engine) fn next_key_exchange(&self) -> Option<(Monotonic, QueryId)> {
        let online = self.configured.iter().filter(|source| source.online);
        let due = online.filter_map(|source| Some((source.keys.as_ref()?.due()?, source.query)));
        due.min_by_key(|(at, _)| *at)
    }

    /// Processes the result of a key exchange.
    pub(in crate::engine) fn key_exchange_finished(
        &mut self,
        now: Monotonic,
        index: usize,
        result: Result<&KeyExchanged, &KeyExchangeError>,
    ) -> KeyExchangeEffect {
        let source = &mut self.configured[index];
        let Some(keys) = source
            .keys
            .as_mut()
            .filter(|keys| keys.stage == Stage::InProgress)
        else {
            return KeyExchangeEffect::Unexpected;
        };
        let exchanged = match result {
            Ok(exchanged) if !exchanged.result.cookies.is_empty() => exchanged,
            failed => {
                let no_cookies = || KeyExchangeError {
                    reason: KeyExchangeFailure::BadResponse,
                    message: "the server gave no cookies".to_owned(),
                };
                let error = failed.err().cloned().unwrap_or_else(no_cookies);
                let retry = keys.fail(now, &error);
                if let Some(pool) = &mut source.pool
                    && error.reason == KeyExchangeFailure::NoOtherMember
                {
                    pool.set_exhausted();
                }
                return KeyExchangeEffect::Failed(error, retry);
            }
        };
        keys.stage = Stage::Idle;
        keys.last_success = Some(now);
        keys.error = None;
        keys.server = Some(exchanged.from);
        self.selection_outdated = true;
        if source.pool.is_some() {
            return self.member_named(now, index, exchanged);
        }
        let endpoint = Endpoint::of(exchanged);
        let session = Box::new(NtsSession::new(exchanged.result.clone()));
        let moved = source.endpoint.as_ref() != Some(&endpoint);
        match self.in_use_of(index) {
            // Same server, and not unreachable: the association continues with the new keys.
            Some(position) if !moved && !self.is_unreachable(position) => {
                return KeyExchangeEffect::Renewed(position, session);
            }
            _ => {}
        }
        let source = &mut self.configured[index];
        // Another server, or an unreachable one, whose name may have another address by now.
        source.set_endpoint(endpoint, now);
        if let Some(keys) = &mut source.keys {
            keys.session = Some(session);
        }
        self.apply_stored_session(now, index)
    }

    /// Applies the stored session after keys or addresses of the server became known.
    pub(in crate::engine) fn apply_stored_session(
        &mut self,
        now: Monotonic,
        index: usize,
    ) -> KeyExchangeEffect {
        let source = &self.configured[index];
        if source.pool.is_some() {
            return self.apply_pending_member(now, index);
        }
        let ready = source.keys.as_ref().is_some_and(KeyExchanges::has_session);
        // Until the addresses are known, the association continues with its old keys.
        if !ready || source.candidates.is_empty() {
            return KeyExchangeEffect::Waiting;
        }
        let Some(position) = self.in_use_of(index) else {
            return KeyExchangeEffect::Waiting;
        };
        let port = source.endpoint.as_ref().map(|endpoint| endpoint.port);
        let unchanged = self.in_use[position].remote().is_some_and(|remote| {
            port == Some(remote.port()) && source.candidates.contains(&remote.into())
        });
        if !unchanged || (self.is_unreachable(position) && self.has_replacement(now, position)) {
            return KeyExchangeEffect::Moved(position);
        }
        match self.take_session(index) {
            Some(session) => KeyExchangeEffect::Renewed(position, Box::new(session)),
            None => KeyExchangeEffect::Waiting,
        }
    }

    /// Stores the session of an ended association for the next one. That of a member of a pool ends
    /// with it, because the next association is with another server.
    pub(in crate::engine) fn store_session(&mut self, index: usize, session: NtsSession) {
        if self.configured[index].pool.is_some() {
            return;
        }
        if let Some(keys) = self.keys_of(index) {
            keys.store(session);
        }
    }

    /// The NTP server of an association, if the key exchange gave its name.
    pub(in crate::engine) fn server_name(&self, source: &Source) -> Option<Host> {
        let endpoint = self.configured[source.configured].endpoint.as_ref();
        let host = match &source.member {
            Some(member) => member.host(),
            None => &endpoint?.host,
        };
        matches!(host, Host::Name(_)).then(|| host.clone())
    }

    fn is_unreachable(&self, position: usize) -> bool {
        self.in_use[position].is_unreachable()
    }

    fn keys_of(&mut self, index: usize) -> Option<&mut KeyExchanges> {
        self.configured.get_mut(index)?.keys.as_mut()
    }
}

impl Endpoint {
    /// Server named by a key exchange, which is the key-exchange server itself if none is named
    /// (RFC 8915 section 4.1.7).
    pub(in crate::engine) fn of(exchanged: &KeyExchanged) -> Self {
        let result = &exchanged.result;
        Self {
            host: result.server.clone().unwrap_or(exchanged.from.into()),
            port: result.port.unwrap_or(NTP_PORT),
        }
    }
}

impl Configured {
    /// Reason why the source has no usable address or no keys.
    pub(in crate::engine::source) fn last_error(&self) -> Option<SourceError> {
        let failed = self.keys.as_ref().and_then(|keys| keys.error.clone());
        let unresolved = self.resolve_error.clone();
        let denied = self.denied().map(SourceError::Denied);
        denied
            .or_else(|| failed.map(SourceError::KeyExchange))
            .or_else(|| unresolved.map(SourceError::Resolve))
    }

    /// Forgets the addresses of the server.
    pub(super) fn drop_candidates(&mut self) {
        self.candidates.clear();
        self.lookup = Lookup::Idle;
    }

    pub(super) fn set_endpoint(&mut self, endpoint: Endpoint, now: Monotonic) {
        self.failed.clear();
        self.candidates.clear();
        match &endpoint.host {
            Host::Address(address) => {
                self.candidates.push_back((*address).into());
                self.lookup = Lookup::Idle;
            }
            // The result of an earlier lookup may be taken for this one's. Then a server that
            // cannot read our cookies is polled, and a new key exchange follows.
            Host::Name(_) => self.lookup = Lookup::Due(now),
        }
        self.endpoint = Some(endpoint);
    }

    /// Whether the source is a single one.
    pub(in crate::engine::source) fn is_single(&self) -> bool {
        !self.config.kind.is_pool()
    }
}
