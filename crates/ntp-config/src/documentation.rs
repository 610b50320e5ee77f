//! The documentation of sections and keys.
//!
//! Every section is listed here, so that code that reads files knows their headers. Keys are
//! documented where they are declared; [`crate::KEYS`] lists them.

use crate::diagnostic::list;

/// A section of the file, or a table that is the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionDoc {
    /// The path of keys, for example `synchronization.algorithm`.
    pub name: &'static str,
    /// The header as it is written in the file, for example `[[source]]`.
    pub heading: &'static str,
    /// Whether upstream ntpd-rs has it too.
    pub upstream: bool,
    /// Its purpose, in one line.
    pub doc: &'static str,
}

/// A key of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// Name of the section.
    pub section: &'static str,
    /// Modes of `[[source]]` that have the key; empty where there are no modes.
    pub modes: &'static [&'static str],
    /// The key.
    pub key: &'static str,
    /// Type of its value, and the unit.
    pub kind: &'static str,
    /// Value of an absent key, or `required`.
    pub default: &'static str,
    /// Its meaning, in one line.
    pub doc: &'static str,
}

/// A key without its documentation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyName {
    section: &'static str,
    modes: &'static [&'static str],
    pub(crate) key: &'static str,
}

/// The keys that files can have, for advice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) names: &'static [KeyName],
    /// Their documentation, in a build that shows it.
    pub(crate) docs: Option<&'static [KeyDoc]>,
}

impl SectionDoc {
    /// Whether the section may be repeated.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.heading.starts_with("[[")
    }
}

impl KeyDoc {
    /// A key of a section without modes.
    pub(crate) const fn new(
        section: &'static str,
        [key, kind, default, doc]: [&'static str; 4],
    ) -> Self {
        Self {
            section,
            modes: &[],
            key,
            kind,
            default,
            doc,
        }
    }
}

const fn doc(
    name: &'static str,
    heading: &'static str,
    upstream: bool,
    doc: &'static str,
) -> SectionDoc {
    SectionDoc {
        name,
        heading,
        upstream,
        doc,
    }
}

/// Every section and table that the file can hold, in the order of the manual.
#[rustfmt::skip]
pub const SECTIONS: &[SectionDoc] = &[
    doc("source", "[[source]]", true, "A time source; may be repeated."),
    doc("source.poll-interval-limits", "[source.poll-interval-limits]", true, "Range of the poll interval of one source."),
    doc("source-defaults", "[source-defaults]", true, "Defaults for all sources."),
    doc("source-defaults.poll-interval-limits", "[source-defaults.poll-interval-limits]", true, "Range of the poll interval."),
    doc("server", "[[server]]", true, "An address at which time is served; may be repeated."),
    doc("server.denylist", "[server.denylist]", true, "Clients that are refused."),
    doc("server.allowlist", "[server.allowlist]", true, "Clients that are served; all others are refused."),
    doc("server.access", "[server.access]", false, "Decision for each network of clients; of those that contain a client, the most specific one counts."),
    doc("nts-ke-server", "[[nts-ke-server]]", true, "An address of the NTS key exchange server; may be repeated."),
    doc("nts-ke-server.additional-certificates", "[[nts-ke-server.additional-certificates]]", false, "A certificate for other names; may be repeated."),
    doc("keys", "[keys]", false, "Symmetric keys, for sources and servers."),
    doc("keyset", "[keyset]", true, "The keys that protect NTS cookies."),
    doc("nts", "[nts]", false, "How sources without authentication are used."),
    doc("synchronization", "[synchronization]", true, "When and how far the clock may be corrected."),
    doc("synchronization.single-step-panic-threshold", "[synchronization.single-step-panic-threshold]", true, "The limit of a step, by direction."),
    doc("synchronization.startup-step-panic-threshold", "[synchronization.startup-step-panic-threshold]", true, "The limit of a step at start-up, by direction."),
    doc("synchronization.certificate-time-leniency", "[synchronization.certificate-time-leniency]", false, "How far the clock may be wrong when certificates are validated, by direction."),
    doc("synchronization.algorithm", "[synchronization.algorithm]", true, "Tuning of estimation and steering; the defaults suit nearly all installations."),
    doc("observability", "[observability]", true, "Logs, metrics and the observation socket."),
    doc("control", "[control]", false, "The control socket, which reads state and changes configuration at run time."),
    doc("compat", "[compat]", false, "Interfaces of other programs."),
    doc("compat.chrony", "[compat.chrony]", false, "Sockets at which chronyc, and programs that are made for chrony, read the state."),
    doc("clock", "[clock]", true, "The clock to discipline, and timestamping of packets."),
    doc("local", "[local]", false, "The local reference: what is served while no source is available; the section switches it on. With `local-stratum` in [synchronization], as in upstream ntpd-rs, only stratum 1 is served as synchronised, and sources from that stratum on are not used; neither applies here."),
    doc("leap", "[leap]", false, "Handling of leap seconds."),
    doc("state", "[state]", false, "State that is kept across restarts."),
    doc("sandbox", "[sandbox]", false, "Privileges that the daemon drops after start-up."),
    doc("service", "[service]", false, "Notification of the service manager."),
    doc("clockbound", "[clockbound]", false, "Shared memory segments from which ClockBound's clients read the time with its error bound."),
    doc("disabled", "[disabled]", false, "In a drop-in: sources and servers of earlier files to remove."),
];

/// The section of this name.
pub(crate) fn section_doc(name: &str) -> Option<&'static SectionDoc> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The header of section `name` as it is written in the file.
pub(crate) fn heading(name: &'static str) -> &'static str {
    section_doc(name).map_or(name, |section| section.heading)
}

impl KeyName {
    pub(crate) const fn of(doc: &KeyDoc) -> Self {
        Self {
            section: doc.section,
            modes: doc.modes,
            key: doc.key,
        }
    }

    /// Whether this is `key` of a section and, if given, of a mode.
    fn is(&self, section: &str, mode: Option<&str>, key: &str) -> bool {
        self.section == section
            && self.key == key
            && (self.modes.is_empty() || mode.is_none_or(|mode| self.modes.contains(&mode)))
    }
}

impl Keys {
    /// Returns the keys of a section, in any mode.
    pub(crate) fn of_section(self, section: &str) -> impl Iterator<Item = &'static str> {
        let names = self.names.iter().filter(move |it| it.section == section);
        names.map(|it| it.key)
    }

    /// Returns type and meaning of a key.
    pub(crate) fn help(self, section: &str, mode: Option<&str>, key: &str) -> Option<String> {
        let mut docs = self.docs?.iter();
        let doc = docs.find(|doc| KeyName::of(doc).is(section, mode, key))?;
        Some(format!("`{key}` ({}): {}", doc.kind, doc.doc))
    }

    /// Returns advice for a key that exists in another mode or section.
    pub(crate) fn elsewhere(self, section: &str, mode: Option<&str>, key: &str) -> Option<String> {
        let mut names = self.names.iter();
        if mode.is_some()
            && let Some(name) = names.find(|it| it.is(section, None, key))
        {
            let modes = list(name.modes);
            return Some(format!("`{key}` belongs to sources of mode {modes}"));
        }
        let mut names = self.names.iter();
        let name = names.find(|it| it.section != section && it.key == key)?;
        Some(format!("`{key}` belongs in `{}`", heading(name.section)))
    }
}
