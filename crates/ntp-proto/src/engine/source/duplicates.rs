//! One server has one vote, however many names and entries lead to it.
//!
//! Several configured names may resolve to one address, a name may appear twice, and an alias may
//! change at run time. If each association voted, one wrong server could outvote two right ones. So
//! the associations of one server are grouped: one of each group votes, and the others are its
//! *duplicates*, which are measured and shown, but not selected.
//!
//! # What one server is
//! Two associations lead to one server if they have the same address and port. With another
//! `bind-device` it is another one: the networks behind two devices may use the same addresses. With NTS they also
//! do if their key-exchange server is the same, by its configured name or by the address that
//! answered: it decides which NTP server each client is sent to, and may name many addresses. The
//! certificate decides nothing, because the independent servers of one operator may share it. The
//! members of an NTS pool have a key-exchange server in common, too; an administrator who configures the pool
//! trusts it to name different servers.
//!
//! # Which one votes
//! The first of the configuration that is polled and answers. A server that is named by its own
//! entry takes precedence over the same server as a member of a pool, because the pool can replace
//! it, and over the same server with `fallback`. The one that votes has the options `trust`, `prefer` and `require` of all of its group: they
//! describe the server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use ntp_types::host::{Host, ScopedIp};
use ntp_types::path::InterfaceName;
use ntp_types::source::SourceId;

use super::Source;
use super::pool::SourceSet;
use crate::discipline::SelectionOptions;

/// What makes two associations the same server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    /// Address and port of the NTP server.
    Address(SocketAddr, Device),
    /// Configured name and port of the key-exchange server.
    KeyExchangeName(String, u16, Device),
    /// Address and port of the key-exchange server.
    KeyExchangeAddress(ScopedIp, u16, Device),
}

/// `bind-device`.
type Device = Option<InterfaceName>;

/// A source whose selection options or group changed.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct SelectionChange {
    pub(in crate::engine) position: usize,
    /// Whether it became a duplicate, or that of another source.
    pub(in crate::engine) new_duplicate: bool,
}

impl SourceSet {
    /// Determines duplicates and selection options of the sources in use again, and returns what
    /// changed.
    pub(in crate::engine) fn update_selection(&mut self) -> Vec<SelectionChange> {
        if !core::mem::take(&mut self.selection_outdated) {
            return Vec::new();
        }
        let voters = self.voters();
        let mut options: Vec<SelectionOptions> = (self.in_use.iter())
            .map(|source| self.selection_at(source.configured))
            .collect();
        for (position, voter) in voters.iter().copied().enumerate() {
            if voter != position {
                let duplicate = options[position];
                let voter = &mut options[voter];
                voter.prefer |= duplicate.prefer;
                voter.trust |= duplicate.trust;
                voter.require |= duplicate.require;
                options[position].noselect = true;
            }
        }
        let ids: Vec<SourceId> = self.in_use.iter().map(|source| source.id).collect();
        let mut changed = Vec::new();
        for (position, source) in self.in_use.iter_mut().enumerate() {
            let voter = voters[position];
            let duplicate_of = (voter != position).then(|| ids[voter]);
            let new_duplicate = duplicate_of.is_some() && source.duplicate_of != duplicate_of;
            if (source.duplicate_of, source.selection) != (duplicate_of, options[position]) {
                source.duplicate_of = duplicate_of;
                source.selection = options[position];
                changed.push(SelectionChange {
                    position,
                    new_duplicate,
                });
            }
        }
        changed
    }

    /// For each source in use, the position of the one that votes for its server.
    fn voters(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.in_use.len()).collect();
        order.sort_by_key(|position| {
            let source = &self.in_use[*position];
            let config = self.config(source);
            let silent = source.is_unreachable() || !self.is_online(source.configured);
            let in_pool = config.kind.is_pool();
            (
                config.selection.noselect,
                silent,
                config.selection.fallback,
                in_pool,
                source.configured,
            )
        });
        let mut known = HashMap::new();
        let mut voters: Vec<usize> = (0..self.in_use.len()).collect();
        for position in order {
            let identities = self.identities(&self.in_use[position]);
            let voter = identities.iter().find_map(|identity| known.get(identity));
            let voter = voter.copied().unwrap_or(position);
            voters[position] = voter;
            for identity in identities {
                if let Entry::Vacant(entry) = known.entry(identity) {
                    entry.insert(voter);
                }
            }
        }
        voters
    }

    /// None for a reference clock: two devices are two clocks.
    fn identities(&self, source: &Source) -> Vec<Identity> {
        let Some((remote, device)) = source.server() else {
            return Vec::new();
        };
        let mut identities = vec![Identity::Address(canonical(remote), device)];
        let configured = &self.configured[source.configured];
        if let (Some(keys), None) = (&configured.keys, &configured.pool) {
            let port = configured.config.port;
            if let Host::Name(name) = &configured.config.host {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                identities.push(Identity::KeyExchangeName(name, port, device));
            }
            let address = keys.server();
            identities.extend(address.map(|it| Identity::KeyExchangeAddress(it, port, device)));
        }
        identities
    }

    /// The source that votes for the server of the duplicate at `position`.
    pub(in crate::engine) fn voter_of(&self, position: usize) -> Option<&Source> {
        let voter = self.in_use[position].duplicate_of?;
        self.in_use.iter().find(|source| source.id == voter)
    }

    /// Whether another address would make the duplicate at `position` a server of its own.
    pub(in crate::engine) fn is_duplicate_by_address(&self, position: usize) -> bool {
        let address = |source: &Source| {
            let (remote, device) = source.server()?;
            Some((canonical(remote), device))
        };
        let own = address(&self.in_use[position]);
        self.voter_of(position)
            .is_some_and(|voter| address(voter) == own)
    }
}

/// An IPv4 address that is mapped to IPv6 is the same address.
fn canonical(remote: SocketAddr) -> SocketAddr {
    match remote {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            ScopedIp::from(remote).with_port(remote.port())
        }
        other => other,
    }
}
