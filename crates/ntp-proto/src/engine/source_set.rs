//! The configured sources and the associations that serve them.
//!
//! A configured source is a name and a number of associations wanted: one for a server, several for a pool.
//! Everything that keeps that number filled is here: which addresses are candidates, when a name
//! is looked up again, and which address takes the place of one that failed.
//!
//! - Addresses are used in the resolver's order. None serves two associations of the daemon: a pool
//!   that returns what is in use already would otherwise vote twice.
//! - An address that died or was refused is not taken again while there is another. If there
//!   is none, a dead one stays: polling it costs little, and dropping it would lose its history.
//! - Look-ups back off from one second to a minute, and start over when the network changes.

mod changes;
mod keys;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use ntp_time::{Monotonic, NtpDuration};

use super::Thinner;
use super::config::{Host, SourceConfig, SourceKind};
use super::event::Subject;
use super::snapshot::{MeasuredSnapshot, Trouble};
use super::{ResolveId, SourceId};
use crate::client::{Association, LocalIdentity};
use crate::discipline::SourceKey;
pub(super) use keys::Exchanged;
use keys::Keys;

/// Shortest and longest wait between two look-ups of one name.
const RESOLVE_BACKOFF: (NtpDuration, NtpDuration) =
    (NtpDuration::from_seconds(1), NtpDuration::from_seconds(64));

/// Addresses of one source remembered as failed. A pool returns a handful at a time.
const FAILED_REMEMBERED: usize = 32;

/// Candidates kept from one look-up; no resolver returns more in earnest.
const CANDIDATES: usize = 64;

/// A running association with what the engine keeps beside it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: SourceId,
    /// Index of the configured source it serves.
    pub(super) configured: usize,
    pub(super) association: Association,
    /// Its place in the discipline.
    pub(super) key: SourceKey,
    pub(super) measured: Option<MeasuredSnapshot>,
    pub(super) trouble: Option<Trouble>,
    pub(super) sequence: u32,
    /// Datagrams from strangers.
    pub(super) rejections: Thinner,
    /// Replies that cannot be used.
    pub(super) complaints: Thinner,
    pub(super) failures: Thinner,
    pub(super) kisses: Thinner,
    /// Whether it answers, as far as its latest polls tell.
    pub(super) reachable: bool,
    /// Whether it was told that it does not, or why it cannot be asked; until it answers.
    pub(super) silence_told: bool,
    /// Polls in a row at which it was outside the majority.
    pub(super) dissent: u8,
    /// Set if it is to be asked now, where a record says when.
    pub(super) prompted: Option<Monotonic>,
}

/// One configured source and what is known of its name.
#[derive(Debug)]
struct Configured {
    config: SourceConfig,
    /// Where its NTP server is; unknown until the key exchange of a source with NTS has told.
    endpoint: Option<Endpoint>,
    /// Set if it uses NTS.
    keys: Option<Keys>,
    /// Names it towards the resolver; never used again, since answers may come late.
    query: ResolveId,
    /// Whether it is to be asked.
    online: bool,
    /// Associations that serve it now; counted along, since this is looked at with every datagram.
    present: usize,
    candidates: VecDeque<IpAddr>,
    failed: VecDeque<IpAddr>,
    /// Refused for good (DENY, RSTR).
    denied: Vec<IpAddr>,
    lookup: Lookup,
    backoff: NtpDuration,
    failures: Thinner,
    /// Why the last look-up gave no address.
    unresolved: Option<String>,
}

/// An NTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    host: Host,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// A literal address, or nothing is missing.
    Idle,
    /// To be asked at this time.
    Due(Monotonic),
    /// The resolver is at it.
    Asked,
    /// Never again: the server behind the name refused us.
    Never,
}

/// What the set needs from outside to be complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// An association with this address for the configured source.
    Member(usize, SocketAddr),
    /// A look-up.
    Lookup(ResolveId, String),
    /// Nothing now.
    Nothing,
}

/// All sources.
#[derive(Debug)]
pub(super) struct SourceSet {
    configured: Vec<Configured>,
    pub(super) members: Vec<Member>,
    next_query: usize,
    /// A record says when to ask.
    by_prompt: bool,
}

impl SourceSet {
    pub(super) fn new(configs: Vec<SourceConfig>, now: Monotonic) -> Self {
        let mut set = Self {
            configured: Vec::new(),
            members: Vec::new(),
            next_query: 0,
            by_prompt: false,
        };
        for config in configs {
            set.configure(config, now);
        }
        set
    }

    /// One more configured source.
    pub(super) fn configure(&mut self, config: SourceConfig, now: Monotonic) {
        let nts = config.kind == SourceKind::Nts;
        let endpoint = (!nts).then(|| Endpoint {
            host: config.host.clone(),
            port: config.port,
        });
        let (candidates, lookup) = match endpoint.as_ref().map(|endpoint| &endpoint.host) {
            Some(Host::Address(address)) => (VecDeque::from([*address]), Lookup::Idle),
            Some(Host::Name(_)) => (VecDeque::new(), Lookup::Due(now)),
            None => (VecDeque::new(), Lookup::Idle),
        };
        self.configured.push(Configured {
            config,
            endpoint,
            keys: nts.then(|| Keys::new(now)),
            query: ResolveId(self.next_query),
            online: true,
            present: 0,
            candidates,
            failed: VecDeque::new(),
            denied: Vec::new(),
            lookup,
            backoff: RESOLVE_BACKOFF.0,
            failures: Thinner::default(),
            unresolved: None,
        });
        self.next_query = self.next_query.wrapping_add(1);
    }

    pub(super) fn config(&self, member: &Member) -> &SourceConfig {
        &self.configured[member.configured].config
    }

    pub(super) fn config_at(&self, configured: usize) -> &SourceConfig {
        &self.configured[configured].config
    }

    /// The configured source that asked the resolver; none if it was removed meanwhile.
    pub(super) fn asked_by(&self, query: ResolveId) -> Option<usize> {
        self.configured
            .iter()
            .position(|configured| configured.query == query)
    }

    pub(super) fn position(&self, id: SourceId) -> Option<usize> {
        self.members.iter().position(|member| member.id == id)
    }

    pub(super) fn subject(&self, member: &Member) -> Subject {
        Subject {
            id: member.id,
            name: self.config(member).name.clone(),
            address: member.association.remote(),
        }
    }

    /// A new association.
    pub(super) fn add(&mut self, member: Member) {
        self.configured[member.configured].present += 1;
        self.members.push(member);
    }

    /// The next thing that is missing; to be called again until nothing is.
    pub(super) fn need(&mut self, now: Monotonic) -> Need {
        for index in 0..self.configured.len() {
            let configured = &self.configured[index];
            if !configured.online || configured.present >= configured.config.wanted() {
                continue;
            }
            if configured
                .keys
                .as_ref()
                .is_some_and(|keys| !keys.has_session())
            {
                self.want_keys(index, now);
                continue;
            }
            if let Some(address) = self.take_candidate(index) {
                return Need::Member(index, address);
            }
            let configured = &mut self.configured[index];
            if let Some(Host::Name(host)) = configured.host() {
                let host = host.clone();
                match configured.lookup {
                    Lookup::Due(at) if at <= now => {
                        configured.lookup = Lookup::Asked;
                        return Need::Lookup(configured.query, host);
                    }
                    Lookup::Idle => configured.lookup = Lookup::Due(now + configured.backoff),
                    Lookup::Due(_) | Lookup::Asked | Lookup::Never => {}
                }
            }
        }
        Need::Nothing
    }

    /// The first candidate that may be used: preferably one that has not failed yet.
    fn take_candidate(&mut self, index: usize) -> Option<SocketAddr> {
        let port = self.configured[index].port()?;
        let in_use = |address: IpAddr| {
            self.members
                .iter()
                .any(|member| member.association.remote() == SocketAddr::new(address, port))
        };
        let configured = &self.configured[index];
        // A server that the operator names twice, under two names, is the operator's business.
        let shared = configured.is_single();
        let usable = |address: &IpAddr| {
            !configured.denied.contains(address)
                && configured.config.permits(*address)
                && (shared || !in_use(*address))
        };
        let fresh = |address: &IpAddr| usable(address) && !configured.failed.contains(address);
        let at = configured
            .candidates
            .iter()
            .position(fresh)
            .or_else(|| configured.candidates.iter().position(usable))?;
        let configured = &mut self.configured[index];
        let address = configured.candidates.remove(at)?;
        // A literal address is its own only candidate for ever.
        if matches!(configured.host(), Some(Host::Address(_))) {
            configured.candidates.push_back(address);
        }
        Some(SocketAddr::new(address, port))
    }

    /// The resolver has answered. Returns how long until it is asked again, on failure.
    pub(super) fn resolved(
        &mut self,
        now: Monotonic,
        index: usize,
        result: Result<&[IpAddr], &str>,
    ) -> Option<NtpDuration> {
        let configured = self
            .configured
            .get_mut(index)
            .filter(|configured| configured.lookup == Lookup::Asked)?;
        let backoff = configured.backoff;
        configured.backoff = (backoff * 2).min(RESOLVE_BACKOFF.1);
        match result {
            Ok(addresses) if !addresses.is_empty() => {
                configured.candidates.clear();
                for address in addresses.iter().take(CANDIDATES) {
                    if !configured.candidates.contains(address) {
                        configured.candidates.push_back(*address);
                    }
                }
                configured.lookup = Lookup::Idle;
                configured.unresolved = None;
                None
            }
            failed => {
                let why = failed.err().unwrap_or("the name has no address");
                configured.unresolved = Some(why.to_owned());
                configured.lookup = Lookup::Due(now + backoff);
                Some(backoff)
            }
        }
    }

    /// Whether a failure to find addresses is to be told, or has been lately.
    pub(super) fn tells_failure(&mut self, now: Monotonic, index: usize) -> bool {
        let configured = self.configured.get_mut(index);
        configured.is_some_and(|configured| configured.failures.admit(now).is_some())
    }

    /// Whether a source that resolved still lacks members for want of addresses.
    pub(super) fn is_short_of_addresses(&self, index: usize) -> bool {
        self.configured
            .get(index)
            .is_some_and(|configured| configured.present == 0 && configured.candidates.is_empty())
    }

    /// The association at `position` has become useless. Returns whether another address can take its place
    /// now; if not, a look-up is put in hand and the association should be kept for the time being.
    pub(super) fn has_replacement(&mut self, now: Monotonic, position: usize) -> bool {
        let member = &self.members[position];
        let (index, address) = (member.configured, member.association.remote().ip());
        self.remember_failed(index, address);
        let Some(port) = self.configured[index].port() else {
            return false;
        };
        let others: Vec<SocketAddr> = self
            .members
            .iter()
            .map(|member| member.association.remote())
            .collect();
        let configured = &mut self.configured[index];
        let found = configured.candidates.iter().any(|candidate| {
            *candidate != address
                && !configured.failed.contains(candidate)
                && !configured.denied.contains(candidate)
                && configured.config.permits(*candidate)
                && !others.contains(&SocketAddr::new(*candidate, port))
        });
        if !found
            && matches!(configured.host(), Some(Host::Name(_)))
            && configured.lookup == Lookup::Idle
        {
            configured.lookup = Lookup::Due(now + configured.backoff);
        }
        found
    }

    /// What this machine has no address to ask from is not to take the place of the association at `position`.
    pub(super) fn pass_over(&mut self, position: usize, us: &LocalIdentity) {
        let index = self.members[position].configured;
        let candidates = self.configured[index].candidates.clone();
        for address in candidates {
            if !us.could_ask(address) {
                self.remember_failed(index, address);
            }
        }
    }

    /// Look-ups that are due for sources that have all their members, because one of these is dead.
    pub(super) fn overdue_lookup(&mut self, now: Monotonic) -> Option<(ResolveId, String)> {
        self.configured
            .iter_mut()
            .filter(|configured| configured.online)
            .find_map(|configured| match (configured.host(), configured.lookup) {
                (Some(Host::Name(host)), Lookup::Due(at)) if at <= now => {
                    let host = host.clone();
                    configured.lookup = Lookup::Asked;
                    Some((configured.query, host))
                }
                _ => None,
            })
    }

    /// A server refused us: its address is not used again. A configured server is then gone, a pool finds another.
    pub(super) fn deny(&mut self, position: usize) -> Member {
        let member = self.remove(position);
        let address = member.association.remote().ip();
        let configured = &mut self.configured[member.configured];
        if !configured.denied.contains(&address) && configured.denied.len() < CANDIDATES {
            configured.denied.push(address);
        }
        if let Some(keys) = &mut configured.keys {
            keys.never();
        }
        if configured.is_single() {
            // The operator of a name speaks for all of its addresses.
            configured.candidates.clear();
            configured.lookup = Lookup::Never;
        }
        member
    }

    /// Takes an association out, to be replaced.
    pub(super) fn remove(&mut self, position: usize) -> Member {
        let member = self.members.remove(position);
        self.configured[member.configured].present -= 1;
        member
    }

    /// The source at `position` answers: look-ups may be prompt again, and its address is no failure.
    pub(super) fn answered(&mut self, position: usize) {
        let member = &self.members[position];
        let address = member.association.remote().ip();
        let configured = &mut self.configured[member.configured];
        configured.backoff = RESOLVE_BACKOFF.0;
        configured.failed.retain(|failed| *failed != address);
        if let Some(keys) = &mut configured.keys {
            keys.proved();
        }
    }

    /// The machine's addresses changed: what failed may work now. Interfaces come and go by the second on some machines, so nobody is asked
    /// more often for that than for a name that fails to resolve.
    pub(super) fn network_changed(&mut self, now: Monotonic) {
        for configured in &mut self.configured {
            configured.failed.clear();
            configured.backoff = RESOLVE_BACKOFF.0;
            if let Lookup::Due(at) = configured.lookup {
                configured.lookup = Lookup::Due(at.min(now + RESOLVE_BACKOFF.0));
            }
            if let Some(keys) = &mut configured.keys {
                keys.network_changed(now);
            }
        }
    }

    /// When the earliest look-up is due.
    pub(super) fn next_lookup(&self) -> Option<(Monotonic, ResolveId)> {
        let online = self.configured.iter().filter(|source| source.online);
        let due = online.filter_map(|source| match source.lookup {
            Lookup::Due(at) => Some((at, source.query)),
            Lookup::Idle | Lookup::Asked | Lookup::Never => None,
        });
        due.min_by_key(|(at, _)| *at)
    }

    /// The name or address that is looked up or asked for the configured source at `index`.
    pub(super) fn host_name(&self, index: usize) -> String {
        let configured = &self.configured[index];
        match configured.host().unwrap_or(&configured.config.host) {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        }
    }

    fn remember_failed(&mut self, index: usize, address: IpAddr) {
        let failed = &mut self.configured[index].failed;
        if !failed.contains(&address) {
            if failed.len() == FAILED_REMEMBERED {
                failed.pop_front();
            }
            failed.push_back(address);
        }
    }
}

impl Configured {
    fn host(&self) -> Option<&Host> {
        self.endpoint.as_ref().map(|endpoint| &endpoint.host)
    }

    fn port(&self) -> Option<u16> {
        self.endpoint.as_ref().map(|endpoint| endpoint.port)
    }
}
