//! Members of an NTS pool: which servers a pool has named, and what it is asked for next.
//!
//! A pool is configured by its key-exchange server, which names one of its members with each exchange
//! (draft-ietf-ntp-nts-keyexchange-pool). A source of `count` members therefore needs as many
//! exchanges, one after the other:
//!
//! ```text
//! exchange, without the members so far -> a new server -> its address -> association
//!                                      -> a member that needs keys    -> new keys for it
//!                                      -> another member              -> failure: later again
//! ```
//!
//! A request names the members that the client has already, and the servers that were not usable
//! recently, with exactly the names that the pool gave them. The pool may ignore that: what it repeats
//! is a failure, after which the back-off grows.
//!
//! A member that is unreachable, a falseticker or without usable cookies is kept until the pool has
//! named another server whose address is known.

use std::collections::VecDeque;

use ntp_time::{Monotonic, NtpDuration};
use ntp_types::host::Host;

use super::super::pool::{Endpoint, SourceSet};
use super::key_exchanges::{KeyExchangeEffect, KeyExchanges};
use crate::client::NtsSession;
use crate::engine::{KeyExchangeError, KeyExchangeFailure};
use crate::nts::KeyExchanged;

/// Time for which the pool is asked for other servers than one that was not usable. A pool of few
/// servers has it back after that; shorter, and a server that is down would be tried again and again.
const AVOID_TIME: NtpDuration = NtpDuration::from_seconds(3600);

/// Number of servers that are avoided at the same time.
const MAX_AVOIDED: usize = 16;

/// A server that a pool named.
#[derive(Debug)]
pub(in crate::engine) struct Member {
    /// Its name in requests; `None` if the pool named none.
    name: Option<String>,
    endpoint: Endpoint,
    /// Time of the last key exchange.
    keys_since: Monotonic,
    /// Whether it has sent an authentic reply since then.
    proven: bool,
    /// Whether another server is to take its place.
    unwanted: bool,
}

impl Member {
    /// Its name in requests to the pool.
    pub(in crate::engine) const fn name(&self) -> Option<&String> {
        self.name.as_ref()
    }

    /// Its host, for people.
    pub(in crate::engine) fn host(&self) -> &Host {
        &self.endpoint.host
    }

    /// It yields samples, so it is not replaced for its silence.
    pub(in crate::engine::source) const fn served(&mut self) {
        self.unwanted = false;
    }

    fn is(&self, name: Option<&str>, endpoint: &Endpoint) -> bool {
        self.endpoint == *endpoint || (name.is_some() && self.name.as_deref() == name)
    }
}

/// State of a pool beside that of its key exchanges.
#[derive(Debug)]
pub(in crate::engine::source) struct Pool {
    /// The server whose session waits for an address or an association.
    pending: Option<Member>,
    /// Names of servers that were not usable, and until when they are avoided.
    avoided: VecDeque<(String, Monotonic)>,
    /// Number of exchanges that may follow a successful one without back-off: the missing members at
    /// the start, and one for each member that has proven to be one.
    immediate: usize,
    /// Whether the last exchange named no further server. The next one then accepts those again that
    /// were not usable: new keys for one of them are better than none.
    exhausted: bool,
}

impl Pool {
    pub(in crate::engine::source) const fn new(wanted: usize) -> Self {
        Self {
            pending: None,
            avoided: VecDeque::new(),
            immediate: wanted,
            exhausted: false,
        }
    }

    /// The pool has no further server at present.
    pub(super) const fn set_exhausted(&mut self) {
        self.exhausted = true;
    }

    fn avoid(&mut self, name: Option<String>, until: Monotonic) {
        let Some(name) = name else { return };
        self.avoided.retain(|(avoided, _)| *avoided != name);
        if self.avoided.len() == MAX_AVOIDED {
            self.avoided.pop_front();
        }
        self.avoided.push_back((name, until));
    }

    /// Tries all servers again: the network changed, or an operator wants it.
    pub(in crate::engine::source) fn retry_all(&mut self, wanted: usize) {
        self.avoided.clear();
        self.immediate = wanted;
    }
}

impl SourceSet {
    /// Names that a request to the pool at `index` denies; `None` if it is no pool.
    pub(super) fn denied_names(&mut self, index: usize, now: Monotonic) -> Option<Vec<String>> {
        let pool = self.configured[index].pool.as_mut()?;
        pool.avoided.retain(|(_, until)| *until > now);
        let accept_all = core::mem::take(&mut pool.exhausted);
        let avoided = pool.avoided.iter().map(|(name, _)| name.clone());
        let avoided: Vec<String> = avoided.collect();
        let members = self.in_use.iter().filter(|it| it.configured == index);
        let mut names: Vec<String> = members
            .filter_map(|source| {
                let member = source.member.as_ref()?;
                // A member that works, but needs keys, may be named again.
                let works = accept_all || member.proven && !member.unwanted;
                let may_stay = works && needs_keys(source, member.keys_since, now);
                member.name.clone().filter(|_| !may_stay)
            })
            .collect();
        for name in avoided {
            if !accept_all && !names.contains(&name) {
                names.push(name);
            }
        }
        Some(names)
    }

    /// Processes the result of an exchange with the pool at `index`.
    pub(super) fn member_named(
        &mut self,
        now: Monotonic,
        index: usize,
        exchanged: &KeyExchanged,
    ) -> KeyExchangeEffect {
        let endpoint = Endpoint::of(exchanged);
        let name = exchanged.member.clone();
        let session = Box::new(NtsSession::new(exchanged.result.clone()));
        let known = self.in_use.iter().position(|source| {
            let member = source.member.as_ref();
            source.configured == index
                && member.is_some_and(|member| member.is(name.as_deref(), &endpoint))
        });
        if let Some(position) = known {
            let source = &mut self.in_use[position];
            let since = source.member.as_ref().map_or(now, |it| it.keys_since);
            if !needs_keys(source, since, now) {
                return self.repeated(now, index, &endpoint);
            }
            if let Some(member) = &mut source.member {
                member.keys_since = now;
                member.proven = false;
            }
            return KeyExchangeEffect::Renewed(position, session);
        }
        let source = &mut self.configured[index];
        source.set_endpoint(endpoint.clone(), now);
        if let (Some(keys), Some(pool)) = (&mut source.keys, &mut source.pool) {
            keys.replace_session(session);
            if pool.immediate > 0 {
                pool.immediate -= 1;
                keys.allow_at_once(now);
            }
            pool.pending = Some(Member {
                name,
                endpoint,
                keys_since: now,
                proven: false,
                unwanted: false,
            });
        }
        self.apply_pending_member(now, index)
    }

    /// The pool named a member that needs no keys.
    fn repeated(&mut self, now: Monotonic, index: usize, endpoint: &Endpoint) -> KeyExchangeEffect {
        let error = KeyExchangeError {
            reason: KeyExchangeFailure::NoOtherMember,
            message: format!(
                "the pool names {} again, which is in use already",
                endpoint.host
            ),
        };
        let configured = &mut self.configured[index];
        if let Some(pool) = &mut configured.pool {
            pool.set_exhausted();
        }
        let keys = configured.keys.as_mut();
        let retry = keys.map_or(NtpDuration::ZERO, |keys| keys.fail(now, &error));
        KeyExchangeEffect::Failed(error, retry)
    }

    /// Finds the member that gives way to the pending server, once its address is known. If members
    /// are missing, none has to.
    pub(super) fn apply_pending_member(
        &mut self,
        now: Monotonic,
        index: usize,
    ) -> KeyExchangeEffect {
        let configured = &self.configured[index];
        let ready = configured
            .keys
            .as_ref()
            .is_some_and(KeyExchanges::has_session);
        if !ready || configured.candidates.is_empty() || configured.is_short() {
            return KeyExchangeEffect::Waiting;
        }
        if !self.has_usable_candidate(index) {
            self.reject_pending_member(now, index);
            return KeyExchangeEffect::Waiting;
        }
        let replaceable = self.in_use.iter().position(|source| {
            let member = source
                .member
                .as_ref()
                .filter(|_| source.configured == index);
            member.is_some_and(|it| it.unwanted || needs_keys(source, it.keys_since, now))
        });
        let Some(position) = replaceable else {
            // The member has recovered.
            self.drop_pending_member(index);
            return KeyExchangeEffect::Waiting;
        };
        match &self.in_use[position].member {
            Some(member) if member.unwanted || !member.proven => {
                KeyExchangeEffect::Replaced(position)
            }
            _ => KeyExchangeEffect::Moved(position),
        }
    }

    /// Takes the server that waits for an association of the pool at `index`.
    pub(in crate::engine) fn take_pending_member(&mut self, index: usize) -> Option<Member> {
        self.configured[index].pool.as_mut()?.pending.take()
    }

    /// Gives up the server that waits for an association: none of its addresses may be used, or it
    /// has none. Another one is requested.
    pub(in crate::engine) fn reject_pending_member(&mut self, now: Monotonic, index: usize) {
        let pending = self.drop_pending_member(index);
        if let Some(pool) = &mut self.configured[index].pool {
            pool.avoid(pending.and_then(|it| it.name), now + AVOID_TIME);
        }
        self.request_keys(index, now);
    }

    /// Drops the server that waits for an association, with its session.
    pub(in crate::engine) fn drop_pending_member(&mut self, index: usize) -> Option<Member> {
        let pending = self.take_pending_member(index);
        self.take_session(index);
        self.configured[index].drop_candidates();
        pending
    }

    /// Whether the source at `position` is a member of a pool. Then another server is requested to
    /// replace it.
    pub(in crate::engine) fn replace_member(&mut self, now: Monotonic, position: usize) -> bool {
        let source = &mut self.in_use[position];
        let index = source.configured;
        let Some(member) = &mut source.member else {
            return false;
        };
        member.unwanted = true;
        let name = member.name.clone();
        if let Some(pool) = &mut self.configured[index].pool {
            pool.avoid(name, now + AVOID_TIME);
        }
        self.request_keys(index, now);
        true
    }

    /// The member at `position` denied access: it is avoided until `until`.
    pub(in crate::engine) fn avoid_member(&mut self, position: usize, until: Monotonic) {
        let source = &self.in_use[position];
        let name = source
            .member
            .as_ref()
            .and_then(|member| member.name.clone());
        if let Some(pool) = &mut self.configured[source.configured].pool {
            pool.avoid(name, until);
        }
    }

    /// Processes an authentic reply of the source at `position`.
    pub(in crate::engine::source) fn member_proven(&mut self, position: usize) {
        let source = &mut self.in_use[position];
        let configured = &mut self.configured[source.configured];
        let wanted = configured.config.wanted();
        let (Some(member), Some(pool)) = (&mut source.member, &mut configured.pool) else {
            return;
        };
        // Others prove nothing about what the pool names next.
        if !core::mem::replace(&mut member.proven, true) {
            pool.immediate = (pool.immediate + 1).min(wanted);
            if let Some(keys) = &mut configured.keys {
                keys.authenticated();
            }
        }
    }

    /// Whether the association at `position` needs a key exchange.
    pub(in crate::engine) fn needs_keys(&self, position: usize, now: Monotonic) -> bool {
        let source = &self.in_use[position];
        let keys = self.configured[source.configured].keys.as_ref();
        let since = match &source.member {
            Some(member) => Some(member.keys_since),
            None => keys.and_then(KeyExchanges::last_success),
        };
        needs_keys(source, since.unwrap_or(now), now)
    }
}

/// Whether an association whose keys are of the time `since` needs a key exchange.
fn needs_keys(source: &super::super::Source, since: Monotonic, now: Monotonic) -> bool {
    let session = source
        .ntp()
        .and_then(|ntp| ntp.association.protection().nts());
    // Authentic replies without usable time prove that the keys are good.
    let silent = source.is_unreachable() && !source.answers_without_time();
    session.is_some_and(|session| {
        silent || session.needs_key_exchange() || now - since > super::key_exchanges::LIFETIME
    })
}
