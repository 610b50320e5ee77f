//! The configured sources, and the sources in use for each.
//!
//! A configured source is a name and a number of sources in use: one for a server or a reference
//! clock, several for a pool. This module maintains that number: it keeps the candidate addresses,
//! schedules name lookups, and selects the address that replaces a failed one.
//!
//! - Addresses are used in the order of the resolver. A pool does not use an address that is in
//!   use already. A single server may, since the operator named both, if its name has no other
//!   address; it is then a [duplicate](super::duplicates).
//! - An unreachable or refused address is not used again while there is another one. Without
//!   another one, an unreachable address is kept: polling it costs little, and its history would be
//!   lost.
//! - An address that denied access is not used until its denial ends ([`Denials`]).
//! - The lookup interval grows from one second to a minute, and is reset when the network changes.

mod changes;
mod denials;

use std::collections::VecDeque;
use std::net::SocketAddr;

use ntp_time::{Monotonic, NtpDuration};

use ntp_types::host::{Host, ScopedIp};
use ntp_types::source::{SourceId, SourceName};

use super::Source;
use super::ntp::key_exchanges::KeyExchanges;
use super::ntp::members::Pool;
use super::refclock::RefClockConfig;
use crate::client::{KissCode, LocalIdentity};
use crate::engine::config::{MAX_POOL_SIZE, SourceConfig, SourceKind};
use crate::engine::{ExternalError, LogRateLimit, QueryId, ResolveError};
use denials::Denials;

/// Shortest and longest interval between two lookups of a name.
const RESOLVE_BACKOFF: (NtpDuration, NtpDuration) =
    (NtpDuration::from_seconds(1), NtpDuration::from_seconds(64));

/// Number of failed addresses kept per source. A pool returns a handful at a time.
const MAX_FAILED: usize = 32;

/// Maximum number of candidates kept from one lookup.
const MAX_CANDIDATES: usize = MAX_POOL_SIZE;

/// A configured source and the state of its name.
#[derive(Debug)]
pub(super) struct Configured {
    pub(super) config: SourceConfig,
    /// Its NTP server. With NTS, `None` before the first key exchange; `None` for a device.
    pub(super) endpoint: Option<Endpoint>,
    /// State of the key exchanges, if it uses NTS.
    pub(super) keys: Option<KeyExchanges>,
    /// State of its members, if it is an NTS pool. Then the endpoint is that of the server that was
    /// named last.
    pub(super) pool: Option<Pool>,
    /// ID in queries. Never reused, since results may arrive late.
    pub(super) query: QueryId,
    /// Whether it is measured.
    pub(super) online: bool,
    /// Number of its sources in use. Counted, because it is needed for every datagram.
    present: usize,
    pub(super) candidates: VecDeque<ScopedIp>,
    pub(super) failed: VecDeque<ScopedIp>,
    /// Addresses that sent DENY or RSTR.
    pub(super) denials: Denials,
    pub(super) lookup: Lookup,
    /// Whether addresses that the next lookup does not return are replaced.
    refresh: bool,
    backoff: NtpDuration,
    failure_limit: LogRateLimit,
    /// Error of the last lookup.
    pub(super) resolve_error: Option<ResolveError>,
}

/// Address or name and port of an NTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Endpoint {
    pub(in crate::engine) host: Host,
    pub(super) port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// No lookup is needed.
    Idle,
    /// A lookup is due at this time.
    Due(Monotonic),
    /// A lookup is in progress.
    InProgress,
}

/// What the set needs to be complete.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) enum Need {
    /// An association with this address for this configured source.
    Association(usize, SocketAddr),
    /// A reference clock for this configured source.
    RefClock(usize, RefClockConfig),
    /// A name lookup.
    Lookup(QueryId, String),
    /// Nothing at present.
    Nothing,
}

/// All configured sources and all sources in use.
#[derive(Debug)]
pub(in crate::engine) struct SourceSet {
    pub(super) configured: Vec<Configured>,
    pub(in crate::engine) in_use: Vec<Source>,
    /// Whether duplicates and selection options must be determined again.
    pub(in crate::engine) selection_outdated: bool,
    /// Whether sources with `fallback` take part in the selection.
    pub(in crate::engine) fallback_takes_part: bool,
    next_query: usize,
}

impl SourceSet {
    pub(in crate::engine) fn new(configs: Vec<SourceConfig>, now: Monotonic) -> Self {
        let mut set = Self {
            configured: Vec::new(),
            in_use: Vec::new(),
            selection_outdated: false,
            fallback_takes_part: false,
            next_query: 0,
        };
        for config in configs {
            set.add_configured(config, now);
        }
        set
    }

    /// Adds a configured source.
    pub(in crate::engine) fn add_configured(&mut self, config: SourceConfig, now: Monotonic) {
        let nts = config.kind.uses_nts();
        let pool = (nts && config.kind.is_pool()).then(|| Pool::new(config.wanted()));
        let is_device = matches!(config.kind, SourceKind::RefClock(_));
        let endpoint = (!nts && !is_device).then(|| Endpoint {
            host: config.host.clone(),
            port: config.port,
        });
        let (candidates, lookup) = match endpoint.as_ref().map(|endpoint| &endpoint.host) {
            Some(Host::Address(address)) => (VecDeque::from([(*address).into()]), Lookup::Idle),
            Some(Host::Name(_)) => (VecDeque::new(), Lookup::Due(now)),
            None => (VecDeque::new(), Lookup::Idle),
        };
        self.configured.push(Configured {
            config,
            endpoint,
            keys: nts.then(|| KeyExchanges::new(now)),
            pool,
            query: QueryId(self.next_query),
            online: true,
            present: 0,
            candidates,
            failed: VecDeque::new(),
            denials: Denials::default(),
            lookup,
            refresh: false,
            backoff: RESOLVE_BACKOFF.0,
            failure_limit: LogRateLimit::default(),
            resolve_error: None,
        });
        self.next_query = self.next_query.wrapping_add(1);
    }

    pub(in crate::engine) fn config(&self, source: &Source) -> &SourceConfig {
        &self.configured[source.configured].config
    }

    pub(in crate::engine) fn config_at(&self, configured: usize) -> &SourceConfig {
        &self.configured[configured].config
    }

    /// Index of the configured source with this query ID. `None` if it was removed meanwhile.
    pub(in crate::engine) fn index_of(&self, query: QueryId) -> Option<usize> {
        self.configured
            .iter()
            .position(|configured| configured.query == query)
    }

    pub(in crate::engine) fn position(&self, id: SourceId) -> Option<usize> {
        self.in_use.iter().position(|source| source.id == id)
    }

    pub(in crate::engine) fn source_name(&self, source: &Source) -> SourceName {
        SourceName {
            id: source.id,
            name: self.config(source).name.clone(),
            address: source.address(),
        }
    }

    /// Adds a source in use.
    pub(in crate::engine) fn add(&mut self, source: Source) {
        self.configured[source.configured].present += 1;
        self.in_use.push(source);
        self.selection_outdated = true;
    }

    /// Returns the next missing item. To be called until it returns `Need::Nothing`.
    pub(in crate::engine) fn next_need(&mut self, now: Monotonic) -> Need {
        for index in 0..self.configured.len() {
            let configured = &mut self.configured[index];
            configured.denials.expire(now);
            if !configured.online || configured.present >= configured.config.wanted() {
                continue;
            }
            if let SourceKind::RefClock(clock) = &configured.config.kind {
                return Need::RefClock(index, clock.clone());
            }
            if configured
                .keys
                .as_ref()
                .is_some_and(|keys| !keys.has_session())
            {
                self.request_keys(index, now);
                continue;
            }
            if let Some(address) = self.take_candidate(index) {
                return Need::Association(index, address);
            }
            let configured = &self.configured[index];
            if configured.pool.is_some() && !configured.candidates.is_empty() {
                self.reject_pending_member(now, index);
                continue;
            }
            let configured = &mut self.configured[index];
            if let Some(Host::Name(host)) = configured.host() {
                let host = host.clone();
                match configured.lookup {
                    Lookup::Due(at) if at <= now => {
                        configured.lookup = Lookup::InProgress;
                        return Need::Lookup(configured.query, host);
                    }
                    Lookup::Idle => configured.lookup = Lookup::Due(now + configured.backoff),
                    Lookup::Due(_) | Lookup::InProgress => {}
                }
            }
        }
        Need::Nothing
    }

    /// Takes the first usable candidate, preferably one that has not failed yet, and then one that no
    /// other source uses.
    fn take_candidate(&mut self, index: usize) -> Option<SocketAddr> {
        let port = self.configured[index].port()?;
        let at = self.usable_candidate(index)?;
        let configured = &mut self.configured[index];
        let address = configured.candidates.remove(at)?;
        // A literal address stays the only candidate.
        if matches!(configured.host(), Some(Host::Address(_))) {
            configured.candidates.push_back(address);
        }
        Some(address.with_port(port))
    }

    /// Position of that candidate.
    fn usable_candidate(&self, index: usize) -> Option<usize> {
        let configured = &self.configured[index];
        let port = configured.port()?;
        let device = configured.config.association.path.device;
        let in_use = |address: ScopedIp| {
            let server = Some((address.with_port(port), device));
            self.in_use.iter().any(|source| source.server() == server)
        };
        let may_share = configured.is_single();
        let usable = |address: ScopedIp| {
            !configured.denials.forbid(address)
                && configured.config.permits(address.ip)
                && (may_share || !in_use(address))
        };
        let candidates = configured.candidates.iter().copied().enumerate();
        let usable = candidates.filter(|(_, address)| usable(*address));
        usable
            .min_by_key(|(_, address)| (configured.failed.contains(address), in_use(*address)))
            .map(|(at, _)| at)
    }

    /// Whether an association of the configured source at `index` can use one of its candidates.
    pub(super) fn has_usable_candidate(&self, index: usize) -> bool {
        self.usable_candidate(index).is_some()
    }

    /// Processes the result of a lookup. On failure, returns the error and the time until the next
    /// attempt.
    pub(in crate::engine) fn resolved(
        &mut self,
        now: Monotonic,
        index: usize,
        result: Result<&[ScopedIp], ExternalError<'_>>,
    ) -> Option<(ResolveError, NtpDuration)> {
        let configured = self
            .configured
            .get_mut(index)
            .filter(|configured| configured.lookup == Lookup::InProgress)?;
        let backoff = configured.backoff;
        configured.backoff = (backoff * 2).min(RESOLVE_BACKOFF.1);
        match result {
            Ok(addresses) if !addresses.is_empty() => {
                configured.candidates.clear();
                for address in addresses.iter().take(MAX_CANDIDATES) {
                    if !configured.candidates.contains(address) {
                        configured.candidates.push_back(*address);
                    }
                }
                configured.lookup = Lookup::Idle;
                configured.resolve_error = None;
                None
            }
            failed => {
                let error = failed.err().map_or(ResolveError::NoAddress, |error| {
                    ResolveError::Resolver(error.to_string())
                });
                configured.resolve_error = Some(error.clone());
                configured.lookup = Lookup::Due(now + backoff);
                if configured.pool.is_some() {
                    self.reject_pending_member(now, index);
                }
                Some((error, backoff))
            }
        }
    }

    /// Whether a lookup failure should be reported now.
    pub(in crate::engine) fn should_report_failure(
        &mut self,
        now: Monotonic,
        index: usize,
    ) -> bool {
        let configured = self.configured.get_mut(index);
        configured.is_some_and(|configured| configured.failure_limit.admit(now).is_some())
    }

    /// Whether a source was resolved and still has neither associations nor candidates.
    pub(in crate::engine) fn lacks_addresses(&self, index: usize) -> bool {
        self.configured
            .get(index)
            .is_some_and(|configured| configured.present == 0 && configured.candidates.is_empty())
    }

    /// Whether the host of the source at `position` is an address with an interface, which has
    /// another number now.
    pub(in crate::engine) fn is_renumbered(&self, position: usize) -> bool {
        let source = &self.in_use[position];
        let configured = &self.configured[source.configured];
        let is_current = |remote: SocketAddr| configured.candidates.contains(&remote.into());
        configured.host().is_some_and(Host::has_interface)
            && !source.remote().is_some_and(is_current)
    }

    /// Marks the address at `position` as failed. Returns whether another address can replace it
    /// now; if not, a lookup is scheduled and the association should be kept. Nothing replaces a
    /// device.
    pub(in crate::engine) fn has_replacement(&mut self, now: Monotonic, position: usize) -> bool {
        // The pool names a replacement later.
        if self.replace_member(now, position) {
            return false;
        }
        let source = &self.in_use[position];
        let Some(remote) = source.remote() else {
            return false;
        };
        let (index, address) = (source.configured, remote.into());
        self.mark_failed(index, address);
        let Some(port) = self.configured[index].port() else {
            return false;
        };
        let others: Vec<_> = self.in_use.iter().filter_map(Source::server).collect();
        let device = self.configured[index].config.association.path.device;
        let configured = &mut self.configured[index];
        let found = configured.candidates.iter().any(|candidate| {
            *candidate != address
                && !configured.failed.contains(candidate)
                && !configured.denials.forbid(*candidate)
                && configured.config.permits(candidate.ip)
                && !others.contains(&(candidate.with_port(port), device))
        });
        if !found
            && matches!(configured.host(), Some(Host::Name(_)))
            && configured.lookup == Lookup::Idle
        {
            configured.lookup = Lookup::Due(now + configured.backoff);
        }
        found
    }

    /// Whether a lookup no longer yields the address of the single server at `position`, only addresses
    /// that other sources use: the name leads to a server that has a vote.
    pub(in crate::engine) fn has_moved_to_shared_address(&self, position: usize) -> bool {
        let source = &self.in_use[position];
        let configured = &self.configured[source.configured];
        let permitted = |address: &ScopedIp| !configured.denials.forbid(*address);
        configured.is_single()
            && configured.candidates.iter().any(permitted)
            && source
                .remote()
                .is_some_and(|remote| !configured.candidates.contains(&remote.into()))
    }

    /// Marks candidates of families in which this machine has no address as failed, so that they do
    /// not replace the association at `position`.
    pub(in crate::engine) fn skip_unreachable_families(
        &mut self,
        position: usize,
        local_identity: &LocalIdentity,
    ) {
        let index = self.in_use[position].configured;
        let candidates = self.configured[index].candidates.clone();
        for address in candidates {
            if !local_identity.can_reach(address.ip) {
                self.mark_failed(index, address);
            }
        }
    }

    /// Starts a due lookup of a source that has all its associations, one of which is unreachable.
    pub(in crate::engine) fn take_due_lookup(
        &mut self,
        now: Monotonic,
    ) -> Option<(QueryId, String)> {
        self.configured
            .iter_mut()
            .filter(|configured| configured.online)
            .find_map(|configured| match (configured.host(), configured.lookup) {
                (Some(Host::Name(host)), Lookup::Due(at)) if at <= now => {
                    let host = host.clone();
                    configured.lookup = Lookup::InProgress;
                    Some((configured.query, host))
                }
                _ => None,
            })
    }

    /// Records that the server at `position` denied access. For a single server, the denial applies
    /// to all known addresses of its name. `scatter` is a random number from 0 to 1. Returns the
    /// time until the next attempt.
    pub(in crate::engine) fn record_denial(
        &mut self,
        now: Monotonic,
        position: usize,
        code: KissCode,
        scatter: f64,
    ) -> Option<NtpDuration> {
        let source = &self.in_use[position];
        let address = ScopedIp::from(source.remote()?);
        let configured = &mut self.configured[source.configured];
        if configured.is_single() {
            let others = configured.candidates.iter();
            for other in others.filter(|other| **other != address) {
                configured.denials.record(now, *other, code, scatter);
            }
        }
        let wait = configured.denials.record(now, address, code, scatter);
        self.avoid_member(position, now + wait);
        Some(wait)
    }

    /// Time of the next attempt at an address that denied access.
    pub(in crate::engine) fn next_retry(&self) -> Option<(Monotonic, QueryId)> {
        let short = self
            .configured
            .iter()
            .filter(|source| source.online && source.present < source.config.wanted());
        let due = short.filter_map(|source| Some((source.denials.next_retry()?, source.query)));
        due.min_by_key(|(at, _)| *at)
    }

    /// Removes a source in use, to be replaced.
    pub(in crate::engine) fn remove(&mut self, position: usize) -> Source {
        let source = self.in_use.remove(position);
        self.configured[source.configured].present -= 1;
        self.selection_outdated = true;
        source
    }

    /// Processes a sample of the source at `position`: resets the lookup interval and its failure
    /// mark.
    pub(in crate::engine) fn sample_received(&mut self, position: usize) {
        let source = &self.in_use[position];
        let Some(address) = source.remote().map(ScopedIp::from) else {
            return;
        };
        let configured = &mut self.configured[source.configured];
        configured.backoff = RESOLVE_BACKOFF.0;
        configured.failed.retain(|failed| *failed != address);
        configured.denials.served(address);
        if let Some(member) = &mut self.in_use[position].member {
            member.served();
        }
    }

    /// Processes an authentic reply to the source at `position`, usable or not.
    pub(in crate::engine) fn authenticated(&mut self, position: usize) {
        let source = &self.in_use[position];
        if source.member.is_some() {
            return self.member_proven(position);
        }
        if let Some(keys) = &mut self.configured[source.configured].keys {
            keys.authenticated();
        }
    }

    /// The addresses of this machine changed, and failed addresses may work now. Interfaces may
    /// change every second, so lookups are not more frequent than after a failed lookup.
    pub(in crate::engine) fn network_changed(&mut self, now: Monotonic) {
        for configured in &mut self.configured {
            configured.failed.clear();
            configured.denials.network_changed(now);
            configured.backoff = RESOLVE_BACKOFF.0;
            match configured.lookup {
                Lookup::Due(at) => {
                    configured.lookup = Lookup::Due(at.min(now + RESOLVE_BACKOFF.0));
                }
                // The interface may have another number.
                Lookup::Idle if configured.host().is_some_and(Host::has_interface) => {
                    configured.lookup = Lookup::Due(now + RESOLVE_BACKOFF.0);
                }
                Lookup::Idle | Lookup::InProgress => {}
            }
            if let Some(keys) = &mut configured.keys {
                keys.network_changed(now);
            }
            if let Some(pool) = &mut configured.pool {
                pool.retry_all(configured.config.wanted());
            }
        }
    }

    /// Time of the next lookup.
    pub(in crate::engine) fn next_lookup(&self) -> Option<(Monotonic, QueryId)> {
        let online = self.configured.iter().filter(|source| source.online);
        let due = online.filter_map(|source| match source.lookup {
            Lookup::Due(at) => Some((at, source.query)),
            Lookup::Idle | Lookup::InProgress => None,
        });
        due.min_by_key(|(at, _)| *at)
    }

    /// Name or address of the server of the configured source at `index`.
    pub(in crate::engine) fn host_name(&self, index: usize) -> String {
        let configured = &self.configured[index];
        let host = configured.host().unwrap_or(&configured.config.host);
        host.to_string()
    }

    fn mark_failed(&mut self, index: usize, address: ScopedIp) {
        let failed = &mut self.configured[index].failed;
        if !failed.contains(&address) {
            if failed.len() == MAX_FAILED {
                failed.pop_front();
            }
            failed.push_back(address);
        }
    }
}

impl Configured {
    /// Whether it has fewer sources in use than configured.
    pub(super) fn is_short(&self) -> bool {
        self.present < self.config.wanted()
    }

    /// The kiss code by which the server denied access, if no source is in use for that reason.
    pub(super) fn denied(&self) -> Option<KissCode> {
        self.denials.code().filter(|_| self.present == 0)
    }

    pub(super) fn host(&self) -> Option<&Host> {
        self.endpoint.as_ref().map(|endpoint| &endpoint.host)
    }

    fn port(&self) -> Option<u16> {
        self.endpoint.as_ref().map(|endpoint| endpoint.port)
    }
}
