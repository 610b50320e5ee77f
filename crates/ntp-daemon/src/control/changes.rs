//! Changes at run time, with their authors and times.
//!
//! The configuration in force has the values; this has how it came to differ from the files, for
//! `ntp-ctl config show` and for `config save`, which writes it to a file. Every change of a source
//! or a server is recorded under its name. A source of a file that was removed or replaced is
//! recorded as disabled, because a file with the same effect must disable it.

use std::collections::BTreeMap;

use ntp_config::{Config, Place};
use ntp_os_clock::realtime;
use ntp_types::configuration::{Disabled, Origin, Section, Setting};

use super::caller::Caller;

/// Name of the document that the settings of a call are read from.
pub(super) const REQUEST: &str = "the request";

/// All changes since the start or the last reload.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Sources in force that a call added or changed, by name.
    sources: BTreeMap<String, Origin>,
    /// Servers in force that a call added or changed, by address.
    servers: BTreeMap<String, Origin>,
    disabled: Vec<Disabled>,
    level: Option<(String, Origin)>,
}

/// Kind of section that a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Source,
    Server,
}

impl Changes {
    /// Records that a call put the section `name` into force.
    pub(super) fn record_changed(&mut self, kind: Kind, name: String, caller: &Caller) {
        self.origins(kind).insert(name, runtime_origin(caller));
    }

    /// Records that the section `name` at `place` is no longer in force.
    pub(super) fn record_removed(
        &mut self,
        kind: Kind,
        name: &str,
        place: &Place,
        caller: &Caller,
    ) {
        let was_changed = self.origins(kind).remove(name).is_some();
        let file = place.file().filter(|file| *file != REQUEST);
        // A section that a call added, or that replaced one of a file, leaves nothing to record.
        if was_changed || file.is_none() {
            return;
        }
        self.disabled.push(Disabled {
            section: match kind {
                Kind::Source => "source",
                Kind::Server => "server",
            }
            .into(),
            name: name.to_owned(),
            defined_at: Some(ntp_config::origin(place)),
            origin: runtime_origin(caller),
        });
    }

    pub(super) fn record_level(&mut self, level: &str, caller: &Caller) {
        self.level = Some((level.to_owned(), runtime_origin(caller)));
    }

    /// Resets to the files' content, except for sources and servers that `keep` selects.
    pub(super) fn reloaded(&mut self, level: bool, keep: impl Fn(&str) -> bool) {
        self.sources.retain(|name, _| keep(name));
        self.servers.retain(|name, _| keep(name));
        self.disabled.clear();
        if level {
            self.level = None;
        }
    }

    fn origins(&mut self, kind: Kind) -> &mut BTreeMap<String, Origin> {
        match kind {
            Kind::Source => &mut self.sources,
            Kind::Server => &mut self.servers,
        }
    }

    /// Returns the sections in force, each value with its origin.
    pub(super) fn outline(
        &self,
        config: &Config,
        command_line_level: Option<String>,
    ) -> Vec<Section> {
        let mut sections = config.outline();
        let sources = config.sources.iter().map(ntp_config::SourceConfig::name);
        attribute(&mut sections, "source", sources, &self.sources);
        let servers = config
            .servers
            .iter()
            .map(|it| Some(it.address().to_string()));
        attribute(&mut sections, "server", servers, &self.servers);
        let level = match (&self.level, command_line_level) {
            (Some((level, origin)), _) => Some((level.clone(), origin.clone())),
            (None, Some(level)) => Some((
                level,
                Origin {
                    kind: "command-line".into(),
                    ..Origin::default()
                },
            )),
            (None, None) => None,
        };
        if let Some((level, origin)) = level {
            set_level(&mut sections, &level, &origin);
        }
        sections
    }

    /// Returns what the files have and what is not in force.
    pub(super) fn disabled(&self, config: &Config) -> Vec<Disabled> {
        let disabled = |section: &str, name: String, place: &Place| Disabled {
            section: section.to_owned(),
            name,
            defined_at: None,
            origin: ntp_config::origin(place),
        };
        let sources = config.disabled.sources.iter();
        let sources = sources.map(|it| disabled("source", it.value.clone(), &it.place));
        let servers = config.disabled.servers.iter();
        let servers = servers.map(|it| disabled("server", it.value.to_string(), &it.place));
        sources
            .chain(servers)
            .chain(self.disabled.iter().cloned())
            .collect()
    }
}

/// Attributes sections that a call added or changed to that call, and their values that no file
/// has.
fn attribute(
    sections: &mut [Section],
    name: &str,
    names: impl Iterator<Item = Option<String>>,
    changes: &BTreeMap<String, Origin>,
) {
    let sections = sections.iter_mut().filter(|section| section.name == name);
    for (section, name) in sections.zip(names) {
        let Some(change) = name.and_then(|name| changes.get(&name)) else {
            continue;
        };
        section.origin = change.clone();
        for setting in &mut section.settings {
            if setting.origin.file.as_deref() == Some(REQUEST) {
                setting.origin = change.clone();
            }
        }
    }
}

fn set_level(sections: &mut Vec<Section>, level: &str, origin: &Origin) {
    let setting = Setting {
        key: "log-level".into(),
        value: format!("\"{level}\""),
        origin: origin.clone(),
    };
    let Some(section) = sections.iter_mut().find(|it| it.name == "observability") else {
        sections.push(Section {
            name: "observability".into(),
            repeated: false,
            origin: origin.clone(),
            settings: vec![setting],
        });
        return;
    };
    section.settings.retain(|it| it.key != "log-level");
    section.settings.push(setting);
}

fn runtime_origin(caller: &Caller) -> Origin {
    Origin {
        kind: "runtime".into(),
        by: Some(caller.to_string()),
        at: Some(realtime()),
        ..Origin::default()
    }
}
