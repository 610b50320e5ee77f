//! What was changed at run time, by whom and when.
//!
//! The configuration in force says what holds; this says how it came to differ from the files, for `ntp-ctl config show` and for `config
//! save`, which writes it to a file. Every change of a source or of a server is remembered under its name; a
//! source of a file that was removed or replaced is remembered as disabled, because a file that is to say the same has to take it back.

use std::collections::BTreeMap;

use ntp_config::{Config, Place};
use ntp_control_api::control::types::{Origin, Section, Setting, Disabled};
use ntp_os_clock::realtime;

use super::caller::Caller;

/// The name of the document that a call's settings are read from.
pub(super) const REQUEST: &str = "the request";

/// All changes since the start or the last reload.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Sources in force that a call made or changed, by name.
    sources: BTreeMap<String, Origin>,
    /// Servers likewise, by address.
    servers: BTreeMap<String, Origin>,
    disabled: Vec<Disabled>,
    level: Option<(String, Origin)>,
}

/// Which kind of section a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Source,
    Server,
}

impl Changes {
    /// A section named `name` came into force by a call.
    pub(super) fn made(&mut self, kind: Kind, name: String, caller: &Caller) {
        self.of(kind).insert(name, by(caller));
    }

    /// A section named `name` that stood at `place` is not in force any more.
    pub(super) fn unmade(&mut self, kind: Kind, name: &str, place: &Place, caller: &Caller) {
        let was_made = self.of(kind).remove(name).is_some();
        let file = place.file().filter(|file| *file != REQUEST);
        // One that was made by a call, or that replaced a file's, leaves nothing behind but what is remembered already.
        if was_made || file.is_none() {
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
            origin: by(caller),
        });
    }

    pub(super) fn level(&mut self, level: &str, caller: &Caller) {
        self.level = Some((level.to_owned(), by(caller)));
    }

    /// The files hold again, but for the sources and servers that they do not have and `keep` names.
    pub(super) fn reloaded(&mut self, level: bool, keep: impl Fn(&str) -> bool) {
        self.sources.retain(|name, _| keep(name));
        self.servers.retain(|name, _| keep(name));
        self.disabled.clear();
        if level {
            self.level = None;
        }
    }

    fn of(&mut self, kind: Kind) -> &mut BTreeMap<String, Origin> {
        match kind {
            Kind::Source => &mut self.sources,
            Kind::Server => &mut self.servers,
        }
    }

    /// The sections in force, each value with its origin.
    pub(super) fn outline(
        &self,
        config: &Config,
        command_line_level: Option<String>,
    ) -> Vec<Section> {
        let mut sections = config.outline();
        let sources = config.sources.iter().map(ntp_config::SourceConfig::name);
        attribute(&mut sections, "source", sources, &self.sources);
        let servers = config.servers.iter().map(|it| Some(it.listen.to_string()));
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

    /// What files have and what is not in force.
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

/// Sections of this name that a call made or changed are its work, and so are the values that stand in no file.
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

fn by(caller: &Caller) -> Origin {
    Origin {
        kind: "runtime".into(),
        by: Some(caller.to_string()),
        at: Some(realtime().as_nanos() as f64 * 1e-9),
        ..Origin::default()
    }
}
