//! Key exchanges of the sources that use NTS: when there is one, and what comes of it.
//!
//! A source with NTS is configured by its key-exchange server. Where its *NTP* server is, is known only once that has answered, and may
//! change with each answer.
//!
//! ```text
//! wanted -> due, after a back-off -> asked -> failed: due again, later
//!                                          -> keys, and an NTP server: an address, or a name to look up -> association
//! ```
//!
//! Keys are wanted at the start; when the cookies are gone, or have been refused for several polls; when the server has been silent for
//! so long that its address may be another; and after four weeks. An association goes on with what it has meanwhile.
//!
//! The back-off doubles with every exchange, from seconds to a quarter of an hour, and begins anew only when a packet was authenticated:
//! keys that do not work must not be fetched every few seconds. It is scattered, so that all clients of a server that comes back do not come at once.

use ntp_time::{Monotonic, NtpDuration};

use super::{Configured, Endpoint, Host, Lookup, SourceKind, SourceSet};
use crate::client::NtsSession;
use crate::engine::ResolveId;
use crate::engine::snapshot::{KeyExchangeOutcome, KeyExchangeSnapshot};
use crate::nts::KeyExchanged;

/// Shortest and longest wait between two key exchanges with one server.
const BACKOFF: (NtpDuration, NtpDuration) = (
    NtpDuration::from_seconds(4),
    NtpDuration::from_seconds(1024),
);

/// From a change of the network to the exchange that it makes worth trying.
const NETWORK_GRACE: NtpDuration = NtpDuration::from_seconds(2);

/// After this, new keys are exchanged even if the old ones work.
const LIFETIME: NtpDuration = NtpDuration::from_seconds(28 * 86_400);

/// Port of an NTP server that the key exchange did not name (RFC 8915 section 4.1.8).
const NTP_PORT: u16 = 123;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is wanted.
    Idle,
    /// An exchange is to take place at this time.
    Due(Monotonic),
    /// It takes place.
    Asked,
    /// Never again: the server refused us.
    Never,
}

/// The key exchanges of one source.
#[derive(Debug)]
pub(super) struct Keys {
    stage: Stage,
    backoff: NtpDuration,
    /// Between the end of the one that takes place, should it fail, and the next. Counted from the end, because a server that does not answer
    /// may keep us waiting for longer than this.
    pause: NtpDuration,
    /// No exchange before this.
    not_before: Monotonic,
    /// Keys without an association yet.
    session: Option<Box<NtsSession>>,
    /// When the last exchange succeeded.
    exchanged: Option<Monotonic>,
    exchanges: u64,
    outcome: KeyExchangeOutcome,
    /// The failure that was told last.
    told: Option<String>,
}

impl Keys {
    pub(super) fn new(now: Monotonic) -> Self {
        Self {
            stage: Stage::Due(now),
            backoff: BACKOFF.0,
            pause: BACKOFF.0,
            not_before: now,
            session: None,
            exchanged: None,
            exchanges: 0,
            outcome: KeyExchangeOutcome::None,
            told: None,
        }
    }

    /// Whether this failure is another one than was told last. It may alternate as it likes: the back-off decides how often there is one.
    fn is_news(&mut self, failure: &str) -> bool {
        // Times and ports differ, while the cause is the same.
        let cause = failure.replace(|letter: char| letter.is_ascii_digit(), "");
        if self.told.as_ref() == Some(&cause) {
            return false;
        }
        self.told = Some(cause);
        true
    }

    fn want(&mut self, now: Monotonic) {
        if self.stage == Stage::Idle {
            self.stage = Stage::Due(self.not_before.max(now));
        }
    }

    /// A packet was authenticated.
    pub(super) fn proved(&mut self) {
        self.backoff = BACKOFF.0;
        self.told = None;
    }

    /// The machine's addresses changed: what failed may work soon. Routes and name servers follow addresses, and an interface that comes
    /// and goes all the time must not become a handshake each time.
    pub(super) fn network_changed(&mut self, now: Monotonic) {
        self.backoff = BACKOFF.0;
        self.not_before = self.not_before.min(now + NETWORK_GRACE);
        if let Stage::Due(at) = self.stage {
            self.stage = Stage::Due(at.min(now + NETWORK_GRACE));
        }
    }

    pub(super) fn never(&mut self) {
        self.stage = Stage::Never;
        self.session = None;
    }

    pub(super) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub(super) fn keep(&mut self, session: NtsSession) {
        let wanted = self.session.is_none() && self.stage != Stage::Never;
        if wanted && session.cookies() > 0 {
            self.session = Some(Box::new(session));
        }
    }

    pub(super) fn overview(&self, now: Monotonic) -> KeyExchangeSnapshot {
        KeyExchangeSnapshot {
            exchanges: self.exchanges,
            outcome: self.outcome.clone(),
            age: self.exchanged.map(|exchanged| now - exchanged),
            next: self.due().map(|due| (due - now).max(NtpDuration::ZERO)),
        }
    }

    pub(super) fn due(&self) -> Option<Monotonic> {
        match self.stage {
            Stage::Due(at) => Some(at),
            Stage::Idle | Stage::Asked | Stage::Never => None,
        }
    }
}

/// What a key exchange changed.
pub(in crate::engine) enum Exchanged {
    /// Nobody asked for it.
    Unasked,
    /// It failed; the next is after this.
    Failed(NtpDuration),
    /// There are keys for the association at this position.
    Renewed(usize, Box<NtsSession>),
    /// There are keys, but not for the server of the association at this position: another is to take its place.
    Moved(usize),
    /// Nothing yet, or nothing that a missing association would not bring about.
    Waiting,
}

impl SourceSet {
    /// New keys are wanted for the configured source at `index`.
    pub(in crate::engine) fn want_keys(&mut self, index: usize, now: Monotonic) {
        if let Some(keys) = self.keys_of(index) {
            keys.want(now);
        }
    }

    /// Whether the failure of a key exchange is to be told: another one than before, or the same after an hour.
    pub(in crate::engine) fn tells_key_failure(
        &mut self,
        now: Monotonic,
        index: usize,
        failure: &str,
    ) -> bool {
        let news = self
            .keys_of(index)
            .is_some_and(|keys| keys.is_news(failure));
        // In any case, so that the hour begins with what was told.
        self.tells_failure(now, index) | news
    }

    /// Whether the keys of the configured source at `index` have had their time.
    pub(in crate::engine) fn keys_are_old(&mut self, index: usize, now: Monotonic) -> bool {
        let exchanged = self.keys_of(index).and_then(|keys| keys.exchanged);
        exchanged.is_some_and(|exchanged| now - exchanged > LIFETIME)
    }

    /// The keys with which an association of the configured source at `index` begins.
    pub(in crate::engine) fn take_session(&mut self, index: usize) -> Option<NtsSession> {
        self.keys_of(index)?.session.take().map(|session| *session)
    }

    /// A key exchange that is due: with whom. `scatter` is a random number from 0 to 1.
    pub(in crate::engine) fn overdue_keys(
        &mut self,
        now: Monotonic,
        scatter: f64,
    ) -> Option<(ResolveId, String, Host, u16)> {
        let mut online = self.configured.iter_mut().filter(|source| source.online);
        online.find_map(|source| {
            let keys = source.keys.as_mut()?;
            if keys.due()? > now {
                return None;
            }
            keys.stage = Stage::Asked;
            keys.exchanges += 1;
            keys.pause = keys.backoff.scaled(0.75 + 0.5 * scatter);
            keys.not_before = now + keys.pause;
            keys.backoff = (keys.backoff * 2).min(BACKOFF.1);
            let config = &source.config;
            Some((
                source.query,
                config.name.clone(),
                config.host.clone(),
                config.port,
            ))
        })
    }

    /// When the earliest key exchange is due.
    pub(in crate::engine) fn next_keys(&self) -> Option<(Monotonic, ResolveId)> {
        let online = self.configured.iter().filter(|source| source.online);
        let due = online.filter_map(|source| Some((source.keys.as_ref()?.due()?, source.query)));
        due.min_by_key(|(at, _)| *at)
    }

    /// A key exchange has ended.
    pub(in crate::engine) fn keys_exchanged(
        &mut self,
        now: Monotonic,
        index: usize,
        result: Result<&KeyExchanged, &str>,
    ) -> Exchanged {
        let source = &mut self.configured[index];
        let Some(keys) = source
            .keys
            .as_mut()
            .filter(|keys| keys.stage == Stage::Asked)
        else {
            return Exchanged::Unasked;
        };
        let exchanged = match result {
            Ok(exchanged) if !exchanged.result.cookies.is_empty() => exchanged,
            failed => {
                let error = failed.err().unwrap_or("the server gave no cookies");
                keys.outcome = KeyExchangeOutcome::Failed(error.to_owned());
                keys.not_before = now + keys.pause;
                keys.stage = Stage::Due(keys.not_before);
                return Exchanged::Failed(keys.pause);
            }
        };
        keys.stage = Stage::Idle;
        keys.exchanged = Some(now);
        keys.outcome = KeyExchangeOutcome::Succeeded;
        let endpoint = Endpoint::of(exchanged);
        let session = Box::new(NtsSession::new(exchanged.result.clone()));
        let moved = source.endpoint.as_ref() != Some(&endpoint);
        match self.member_of(index) {
            // The same server as before, and it answers, or may: it goes on with the new keys.
            Some(position) if !moved && !self.is_dead(position) => {
                return Exchanged::Renewed(position, session);
            }
            _ => {}
        }
        let source = &mut self.configured[index];
        // Silence, even from the same name: it may have another address by now.
        source.set_endpoint(endpoint, now);
        if let Some(keys) = &mut source.keys {
            keys.session = Some(session);
        }
        self.settle(now, index)
    }

    /// Keys came, or the addresses of their server: what that means for the association that there is.
    pub(in crate::engine) fn settle(&mut self, now: Monotonic, index: usize) -> Exchanged {
        let source = &self.configured[index];
        let ready = source.keys.as_ref().is_some_and(Keys::has_session);
        // Until the addresses are known, the association goes on with what it has.
        if !ready || source.candidates.is_empty() {
            return Exchanged::Waiting;
        }
        let Some(position) = self.member_of(index) else {
            return Exchanged::Waiting;
        };
        let remote = self.members[position].association.remote();
        let port = source.endpoint.as_ref().map(|endpoint| endpoint.port);
        let stays = port == Some(remote.port()) && source.candidates.contains(&remote.ip());
        if !stays || (self.is_dead(position) && self.has_replacement(now, position)) {
            return Exchanged::Moved(position);
        }
        match self.take_session(index) {
            Some(session) => Exchanged::Renewed(position, Box::new(session)),
            None => Exchanged::Waiting,
        }
    }

    /// An association ended: the next one may go on with its keys.
    pub(in crate::engine) fn keep_session(&mut self, index: usize, session: NtsSession) {
        if let Some(keys) = self.keys_of(index) {
            keys.keep(session);
        }
    }

    /// The NTP server's name, if the key exchange gave one.
    pub(in crate::engine) fn named_server(&self, index: usize) -> Option<String> {
        match &self.configured[index].endpoint.as_ref()?.host {
            Host::Name(name) => Some(name.clone()),
            Host::Address(_) => None,
        }
    }

    fn is_dead(&self, position: usize) -> bool {
        self.members[position].association.reach().is_dead()
    }

    fn keys_of(&mut self, index: usize) -> Option<&mut Keys> {
        self.configured.get_mut(index)?.keys.as_mut()
    }
}

impl Endpoint {
    /// What a key exchange names: a server, or none, and then it is the key-exchange server itself (RFC 8915 section 4.1.7).
    fn of(exchanged: &KeyExchanged) -> Self {
        let result = &exchanged.result;
        let host = match &result.server {
            None => Host::Address(exchanged.from),
            Some(server) => {
                let bare = server.trim_start_matches('[').trim_end_matches(']');
                bare.parse()
                    .map_or_else(|_| Host::Name(server.clone()), Host::Address)
            }
        };
        Self {
            host,
            port: result.port.filter(|port| *port != 0).unwrap_or(NTP_PORT),
        }
    }
}

impl Configured {
    /// Why it is not further than it is.
    pub(super) fn trouble(&self) -> Option<String> {
        let failed = self.keys.as_ref().and_then(|keys| match &keys.outcome {
            KeyExchangeOutcome::Failed(why) => Some(format!("no key exchange: {why}")),
            KeyExchangeOutcome::None | KeyExchangeOutcome::Succeeded => None,
        });
        let unresolved = self.unresolved.as_ref();
        failed.or_else(|| unresolved.map(|why| format!("the name cannot be resolved: {why}")))
    }

    fn set_endpoint(&mut self, endpoint: Endpoint, now: Monotonic) {
        self.failed.clear();
        self.candidates.clear();
        match &endpoint.host {
            Host::Address(address) => {
                self.candidates.push_back(*address);
                self.lookup = Lookup::Idle;
            }
            // Should the answer to an earlier look-up be taken for this one's, then a server that cannot read our cookies is asked, and keys are
            // exchanged again.
            Host::Name(_) => self.lookup = Lookup::Due(now),
        }
        self.endpoint = Some(endpoint);
    }

    /// Whether it is one server rather than a choice of many.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.config.kind, SourceKind::Server | SourceKind::Nts)
    }
}
