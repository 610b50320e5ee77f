//! What an operator does to the set of sources: names them, adds and removes them, takes them offline.
//!
//! Configured sources are counted by their place in a list; when one goes, those behind it move up, and with them the
//! associations' references. Everything that outlives a call (look-ups) uses numbers that are never given twice.

use ntp_time::Monotonic;

use super::{Host, Lookup, Member, SocketAddr, SourceConfig, SourceSet};
use crate::discipline::Opinion;
use crate::engine::snapshot::ConfiguredSnapshot;
use crate::engine::{Refusal, SourceId};

/// The configured sources that a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Whom {
    All,
    One(usize),
}

impl Whom {
    pub(in crate::engine) fn includes(self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == index,
        }
    }
}

impl SourceSet {
    /// How many sources are configured.
    pub(in crate::engine) fn count(&self) -> usize {
        self.configured.len()
    }

    /// The configured source that an operator calls `name`: by its configured name, or else by its host alone, by an
    /// address in use, or by the number of an association.
    pub(in crate::engine) fn named(&self, name: &str) -> Result<usize, Refusal> {
        let exact = |source: &SourceConfig| source.name == name;
        let host = |source: &SourceConfig| match &source.host {
            Host::Name(host) => host.eq_ignore_ascii_case(name),
            Host::Address(address) => Ok(*address) == name.parse(),
        };
        let in_use =
            |remote: SocketAddr| Ok(remote) == name.parse() || Ok(remote.ip()) == name.parse();
        let member = |member: &Member| {
            in_use(member.association.remote()) || Ok(member.id) == name.parse().map(SourceId)
        };
        let configured = |is_meant: &dyn Fn(&SourceConfig) -> bool| -> Vec<usize> {
            let indices = 0..self.configured.len();
            indices
                .filter(|index| is_meant(self.config_at(*index)))
                .collect()
        };
        let mut found = configured(&exact);
        if found.is_empty() {
            found = configured(&host);
        }
        if found.is_empty() {
            let members = self.members.iter().filter(|candidate| member(candidate));
            found = members.map(|member| member.configured).collect();
            found.sort_unstable();
            found.dedup();
        }
        match found[..] {
            [one] => Ok(one),
            [] => Err(Refusal::UnknownSource(name.to_owned())),
            _ => {
                let names = found
                    .iter()
                    .map(|index| self.config_at(*index).name.clone());
                Err(Refusal::AmbiguousSource(name.to_owned(), names.collect()))
            }
        }
    }

    /// The same for commands that may be about all.
    pub(in crate::engine) fn whom(&self, name: Option<&str>) -> Result<Whom, Refusal> {
        name.map_or(Ok(Whom::All), |name| self.named(name).map(Whom::One))
    }

    /// When `member` is to be asked; not while its source is offline.
    pub(in crate::engine) fn next_poll(&self, member: &Member) -> Option<Monotonic> {
        if self.by_prompt {
            return member.prompted;
        }
        self.is_online(member.configured)
            .then(|| member.association.next_poll())
    }

    /// From now on whoever is at `remote` is asked when this is called, and nobody of its own accord.
    pub(in crate::engine) fn prompt(&mut self, remote: Option<SocketAddr>, now: Monotonic) {
        self.by_prompt = true;
        let mut members = self.members.iter_mut();
        if let Some(member) = members.find(|member| Some(member.association.remote()) == remote) {
            member.prompted = Some(now);
        }
    }

    pub(in crate::engine) fn is_online(&self, index: usize) -> bool {
        self.configured
            .get(index)
            .is_some_and(|source| source.online)
    }

    /// What is thought of the configured source at `index`. While it is offline nothing new comes from it, so it does not take the place of
    /// others; what it said counts beside them as long as it is fresh.
    pub(in crate::engine) fn opinion_at(&self, index: usize) -> Opinion {
        let opinion = self.config_at(index).opinion;
        Opinion {
            prefer: opinion.prefer && self.is_online(index),
            ..opinion
        }
    }

    /// Returns the names of those that are meant. Whoever comes online is looked up at once.
    pub(in crate::engine) fn set_online(
        &mut self,
        whom: Whom,
        online: bool,
        now: Monotonic,
    ) -> Vec<String> {
        let meant = self.configured.iter_mut().enumerate();
        let meant = meant.filter(|(index, _)| whom.includes(*index));
        let mut names = Vec::new();
        for (_, source) in meant {
            source.online = online;
            if let Lookup::Due(_) = source.lookup {
                source.lookup = Lookup::Due(now);
            }
            names.push(source.config.name.clone());
        }
        names
    }

    /// Some association of the configured source at `index`.
    pub(in crate::engine) fn member_of(&self, index: usize) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.configured == index)
    }

    /// Takes a configured source out, which has no associations any more.
    pub(in crate::engine) fn forget(&mut self, index: usize) -> SourceConfig {
        let gone = self.configured.remove(index);
        for member in &mut self.members {
            if member.configured > index {
                member.configured -= 1;
            }
        }
        gone.config
    }

    /// Puts other settings in place. Returns the old ones.
    pub(in crate::engine) fn replace_config(
        &mut self,
        index: usize,
        config: SourceConfig,
    ) -> SourceConfig {
        core::mem::replace(&mut self.configured[index].config, config)
    }

    /// The number of associations wanted, or the addresses permitted, may be others.
    pub(in crate::engine) fn look_again(&mut self, index: usize, now: Monotonic) {
        let source = &mut self.configured[index];
        let wants = source.present < source.config.wanted();
        let named = matches!(source.host(), Some(Host::Name(_)));
        if wants && source.lookup == Lookup::Idle && named {
            source.lookup = Lookup::Due(now);
        }
    }

    /// An association that the configured source may not or need not have, the most useless first.
    pub(in crate::engine) fn surplus_of(&self, index: usize) -> Option<usize> {
        let source = &self.configured[index];
        let of_source = || {
            let members = self.members.iter().enumerate();
            members.filter(|(_, member)| member.configured == index)
        };
        let forbidden = of_source()
            .find(|(_, member)| !source.config.permits(member.association.remote().ip()));
        if let Some((position, _)) = forbidden {
            return Some(position);
        }
        if source.present <= source.config.wanted() {
            return None;
        }
        // The youngest of the least reachable.
        let surplus = of_source().min_by_key(|(position, member)| {
            let reach = member.association.reach().bits().count_ones();
            (reach, core::cmp::Reverse(*position))
        });
        surplus.map(|(position, _)| position)
    }

    /// Whether the operator requires some source.
    pub(in crate::engine) fn is_any_required(&self) -> bool {
        self.configured
            .iter()
            .any(|source| source.config.opinion.require)
    }

    /// All configured sources, for readers.
    pub(in crate::engine) fn overview(&self, now: Monotonic) -> Vec<ConfiguredSnapshot> {
        let overview = |source: &super::Configured| ConfiguredSnapshot {
            name: source.config.name.clone(),
            wanted: source.config.wanted(),
            present: source.present,
            online: source.online,
            key_exchange: source.keys.as_ref().map(|keys| keys.overview(now)),
            trouble: source.trouble(),
            denied: source.lookup == Lookup::Never
                || (source.is_single() && !source.denied.is_empty()),
        };
        self.configured.iter().map(overview).collect()
    }
}
