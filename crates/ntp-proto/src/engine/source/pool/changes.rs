//! Changes of the source set by operator commands.
//!
//! Configured sources are identified by their index in a list. When one is removed, the indices of
//! those behind it shift, including the references of sources in use. Everything that outlives a call
//! (lookups) uses IDs that are never reused.

use ntp_time::{Monotonic, NtpDuration};

use super::{Configured, Host, Lookup, ScopedIp, SocketAddr, Source, SourceConfig, SourceSet};
use crate::discipline::SelectionOptions;
use crate::engine::{Refusal, SourceId};
use ntp_types::status::ConfiguredSource;

/// The configured sources that a command applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum SourceSelector {
    All,
    One(usize),
}

impl SourceSelector {
    pub(in crate::engine) fn includes(self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == index,
        }
    }
}

impl SourceSet {
    /// Number of configured sources.
    pub(in crate::engine) fn count(&self) -> usize {
        self.configured.len()
    }

    /// Returns the configured source that matches `name`: by its configured name, else by its host,
    /// else by an address in use or by the number of an association.
    pub(in crate::engine) fn find(&self, name: &str) -> Result<usize, Refusal> {
        let exact = |source: &SourceConfig| source.name == name;
        let host = |source: &SourceConfig| match &source.host {
            Host::Name(host) => host.eq_ignore_ascii_case(name),
            Host::Address(address) => Ok(*address) == name.parse(),
        };
        let in_use =
            |remote: SocketAddr| Ok(remote) == name.parse() || Ok(remote.ip()) == name.parse();
        let matches = |source: &Source| {
            source.remote().is_some_and(in_use) || Ok(source.id) == name.parse().map(SourceId)
        };
        let configured = |matches: &dyn Fn(&SourceConfig) -> bool| -> Vec<usize> {
            let indices = 0..self.configured.len();
            indices
                .filter(|index| matches(self.config_at(*index)))
                .collect()
        };
        let mut found = configured(&exact);
        if found.is_empty() {
            found = configured(&host);
        }
        if found.is_empty() {
            let sources = self.in_use.iter().filter(|source| matches(source));
            found = sources.map(|source| source.configured).collect();
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

    /// Like [`find`](Self::find), for commands that apply to all sources without a name.
    pub(in crate::engine) fn select(&self, name: Option<&str>) -> Result<SourceSelector, Refusal> {
        name.map_or(Ok(SourceSelector::All), |name| {
            self.find(name).map(SourceSelector::One)
        })
    }

    pub(in crate::engine) fn is_online(&self, index: usize) -> bool {
        self.configured
            .get(index)
            .is_some_and(|source| source.online)
    }

    /// Selection options of the configured source at `index`. An offline source yields no new
    /// measurements, so it is not preferred; its last measurement is used as long as it is fresh.
    /// One with `fallback` is held back until it takes part; without other sources it is like them.
    pub(in crate::engine) fn selection_at(&self, index: usize) -> SelectionOptions {
        let selection = self.config_at(index).selection;
        let fallback = selection.fallback && self.has_alternatives();
        SelectionOptions {
            prefer: selection.prefer && self.is_online(index),
            noselect: selection.noselect || fallback && !self.fallback_takes_part,
            fallback,
            ..selection
        }
    }

    /// Whether both sources with `fallback` and others are configured, so that the former can replace
    /// the latter.
    pub(in crate::engine) fn has_alternatives(&self) -> bool {
        let mut options = self.configured.iter().map(|it| it.config.selection);
        let is = |fallback| move |it: SelectionOptions| !it.noselect && it.fallback == fallback;
        options.clone().any(is(true)) && options.any(is(false))
    }

    /// Sets the online state of the selected sources and returns their names. Due lookups are made
    /// at once; `online` also tries servers again that denied access.
    pub(in crate::engine) fn set_online(
        &mut self,
        selector: SourceSelector,
        online: bool,
        now: Monotonic,
    ) -> Vec<String> {
        let selected = self.configured.iter_mut().enumerate();
        let selected = selected.filter(|(index, _)| selector.includes(*index));
        let mut names = Vec::new();
        for (_, source) in selected {
            source.online = online;
            if online {
                source.denials.lift();
                if let Some(pool) = &mut source.pool {
                    pool.retry_all(source.config.wanted());
                }
            }
            if let Lookup::Due(_) = source.lookup {
                source.lookup = Lookup::Due(now);
            }
            names.push(source.config.name.clone());
        }
        self.selection_outdated = true;
        names
    }

    /// Makes a lookup of every name due, after which addresses that it does not return are replaced.
    /// Returns the names of the sources.
    pub(in crate::engine) fn refresh(&mut self, now: Monotonic) -> Vec<String> {
        let mut names = Vec::new();
        for source in &mut self.configured {
            if let Some(pool) = &mut source.pool {
                pool.retry_all(source.config.wanted());
                names.push(source.config.name.clone());
                continue;
            }
            if !matches!(source.host(), Some(Host::Name(_))) {
                continue;
            }
            if source.lookup != Lookup::InProgress {
                source.lookup = Lookup::Due(now);
            }
            source.refresh = true;
            source.failed.clear();
            names.push(source.config.name.clone());
        }
        names
    }

    /// Position of a source in use of the configured source at `index` whose address the lookup that
    /// just ended did not return, if it was made for a refresh.
    pub(in crate::engine) fn outdated_of(&self, index: usize) -> Option<usize> {
        let configured = self.configured.get(index).filter(|it| it.refresh)?;
        let is_outdated = |source: &Source| {
            let address = source.remote().map(ScopedIp::from);
            source.configured == index
                && address.is_some_and(|address| !configured.candidates.contains(&address))
        };
        self.in_use.iter().position(is_outdated)
    }

    /// Ends the refresh of the configured source at `index`.
    pub(in crate::engine) fn end_refresh(&mut self, index: usize) {
        if let Some(configured) = self.configured.get_mut(index) {
            configured.refresh = false;
        }
    }

    /// Position of a source in use of the configured source at `index`.
    pub(in crate::engine) fn in_use_of(&self, index: usize) -> Option<usize> {
        self.in_use
            .iter()
            .position(|source| source.configured == index)
    }

    /// Removes a configured source that has no sources in use.
    pub(in crate::engine) fn remove_configured(&mut self, index: usize) -> SourceConfig {
        let removed = self.configured.remove(index);
        for source in &mut self.in_use {
            if source.configured > index {
                source.configured -= 1;
            }
        }
        removed.config
    }

    /// Replaces the settings of a configured source and returns the old ones.
    pub(in crate::engine) fn replace_config(
        &mut self,
        index: usize,
        config: SourceConfig,
    ) -> SourceConfig {
        self.selection_outdated = true;
        core::mem::replace(&mut self.configured[index].config, config)
    }

    /// Schedules a lookup if the source at `index` has too few associations.
    pub(in crate::engine) fn schedule_lookup_if_short(&mut self, index: usize, now: Monotonic) {
        let source = &mut self.configured[index];
        let is_short = source.present < source.config.wanted();
        let has_name = matches!(source.host(), Some(Host::Name(_)));
        if is_short && source.pool.is_none() && source.lookup == Lookup::Idle && has_name {
            source.lookup = Lookup::Due(now);
        }
    }

    /// Position of a source in use that the configured source may not have, or the least reachable
    /// one in excess of its number.
    pub(in crate::engine) fn surplus_of(&self, index: usize) -> Option<usize> {
        let source = &self.configured[index];
        let of_source = || {
            let sources = self.in_use.iter().enumerate();
            sources.filter(|(_, source)| source.configured == index)
        };
        let is_forbidden = |remote: SocketAddr| !source.config.permits(remote.ip());
        let forbidden = of_source().find(|(_, source)| source.remote().is_some_and(is_forbidden));
        if let Some((position, _)) = forbidden {
            return Some(position);
        }
        if source.present <= source.config.wanted() {
            return None;
        }
        // The newest of the least reachable.
        let surplus = of_source().min_by_key(|(position, source)| {
            let reach = source.reach().bits().count_ones();
            (reach, core::cmp::Reverse(*position))
        });
        surplus.map(|(position, _)| position)
    }

    /// Tries the servers of the configured source at `index` again that denied access. Returns
    /// whether there are any.
    pub(in crate::engine) fn lift_denials(&mut self, index: usize) -> bool {
        self.configured[index].denials.lift()
    }

    /// Whether any source has the option `require`.
    pub(in crate::engine) fn is_any_required(&self) -> bool {
        self.configured
            .iter()
            .any(|source| source.config.selection.require)
    }

    /// Returns the status of all configured sources.
    pub(in crate::engine) fn status(&self, now: Monotonic) -> Vec<ConfiguredSource> {
        let status = |source: &Configured| ConfiguredSource {
            name: source.config.name.clone(),
            wanted: source.config.wanted() as u64,
            present: source.present as u64,
            online: source.online,
            key_exchange: source.keys.as_ref().map(|keys| keys.status(now)),
            last_error: source.last_error().map(|error| error.to_string()),
            denied: source.denied().is_some(),
            retry: (source.denied().and_then(|_| source.denials.next_retry()))
                .map(|at| (at - now).max(NtpDuration::ZERO)),
        };
        self.configured.iter().map(status).collect()
    }
}
