//! What can be written in the file, as data: for the manual, and for advice in error messages.
//!
//! The data stand in `key_table.rs`. A test below holds them to the parser: every question that
//! the parser asks a section is documented, and everything documented is asked.

pub use crate::key_table::{KEYS, SECTIONS};

/// A section of the file, or a table that is the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionDoc {
    /// The path of keys, for example `synchronization.algorithm`.
    pub name: &'static str,
    /// The header as it is written in the file, for example `[[source]]`.
    pub heading: &'static str,
    /// Whether upstream ntpd-rs knows it too.
    pub upstream: bool,
    /// What it is for, in one line.
    pub doc: &'static str,
}

/// A key of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// The section's name.
    pub section: &'static str,
    /// The modes of `[[source]]` that have the key; empty where there are no modes.
    pub modes: &'static [&'static str],
    /// The key.
    pub key: &'static str,
    /// The type of its value.
    pub kind: &'static str,
    /// The value that holds when the key is absent, or `required`.
    pub default: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// The header of section `name` as it is written in the file.
pub(crate) fn heading(name: &'static str) -> &'static str {
    SECTIONS
        .iter()
        .find(|section| section.name == name)
        .map_or(name, |section| section.heading)
}

/// The documentation of a key.
pub(crate) fn find(section: &str, mode: Option<&str>, key: &str) -> Option<&'static KeyDoc> {
    KEYS.iter().find(|doc| {
        doc.section == section
            && doc.key == key
            && (doc.modes.is_empty() || mode.is_none_or(|mode| doc.modes.contains(&mode)))
    })
}

/// Advice for a key that exists, but not here.
pub(crate) fn elsewhere(section: &str, mode: Option<&str>, key: &str) -> Option<String> {
    if mode.is_some()
        && let Some(doc) = find(section, None, key)
    {
        let modes = crate::reader::list(doc.modes);
        return Some(format!("`{key}` belongs to sources of mode {modes}"));
    }
    let doc = KEYS
        .iter()
        .find(|doc| doc.section != section && doc.key == key)?;
    Some(format!("`{key}` belongs in `{}`", heading(doc.section)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config;
    use crate::document::Document;
    use crate::layers::Layer;
    use crate::reader::Asked;

    /// One of every section, mode and table; what keys they contain does not matter.
    const EVERYTHING: &str = r#"
        [source-defaults]
        poll-interval-limits = {}
        [[source]]
        mode = "server"
        poll-interval-limits = {}
        [[source]]
        mode = "pool"
        [[source]]
        mode = "nts"
        [[source]]
        mode = "nts-pool"
        [[source]]
        mode = "sock"
        [[source]]
        mode = "pps"
        [[server]]
        denylist = {}
        allowlist = {}
        [[nts-ke-server]]
        additional-certificates = [{}]
        [keys]
        [keyset]
        [observability]
        [control]
        [synchronization]
        single-step-panic-threshold = {}
        startup-step-panic-threshold = {}
        certificate-time-leniency = {}
        [synchronization.algorithm]
        [clock]
        [leap]
        [state]
        [sandbox]
        [service]
        [disabled]
    "#;

    #[test]
    fn the_documentation_and_the_parser_know_the_same_keys() {
        let document = Document::new("everything", EVERYTHING);
        let (_, cx) = config::read(&[Layer::whole(&document)]);
        let (sections, asked): (BTreeSet<Asked>, _) = cx
            .asked
            .into_iter()
            .partition(|(section, ..)| section.is_empty());
        let documented: BTreeSet<Asked> = KEYS
            .iter()
            .flat_map(|doc| {
                let modes: Vec<_> = doc.modes.iter().map(|mode| Some(*mode)).collect();
                let modes = if modes.is_empty() { vec![None] } else { modes };
                modes.into_iter().map(|mode| (doc.section, mode, doc.key))
            })
            .collect();
        let undocumented: Vec<_> = asked.difference(&documented).collect();
        let unread: Vec<_> = documented.difference(&asked).collect();
        assert!(
            undocumented.is_empty(),
            "read but not documented: {undocumented:?}"
        );
        assert!(unread.is_empty(), "documented but not read: {unread:?}");

        let read: BTreeSet<&str> = sections.iter().map(|(_, _, key)| *key).collect();
        let top = SECTIONS.iter().map(|section| section.name);
        let top: BTreeSet<&str> = top.filter(|name| !name.contains('.')).collect();
        assert_eq!(read, top);
    }

    #[test]
    fn every_key_and_table_is_described_once_and_in_a_known_section() {
        let mut seen = BTreeSet::new();
        for doc in KEYS {
            assert!(
                SECTIONS.iter().any(|section| section.name == doc.section),
                "{doc:?}"
            );
            assert!(
                !doc.kind.is_empty() && !doc.default.is_empty() && !doc.doc.is_empty(),
                "{doc:?}"
            );
            assert!(
                seen.insert((doc.section, doc.modes, doc.key)),
                "twice: {doc:?}"
            );
        }
    }
}
