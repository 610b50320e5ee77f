//! Old names of keys, and wrong names with the right ones.
//!
//! An alias ([`ALIASES`]) is the old name of a key that is still accepted, with a warning, for
//! one release. It is replaced in the tree of each file, so that everything after sees the new
//! name only.
//!
//! The other names ([`TABLE`]) are errors. Edit distance finds typing errors; the table has
//! what it cannot find: keys that ntpd-rs itself has renamed or removed, keys that its
//! documentation at some time got wrong, and the terms of other daemons.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Diagnostic;
use crate::document::Files;
use crate::documentation::section_doc;

/// The old name of a key.
struct Alias {
    /// The section.
    section: &'static str,
    old: &'static str,
    new: &'static str,
}

/// Old names that are still accepted.
const ALIASES: &[Alias] = &[Alias {
    section: "server",
    old: "rest-under-load",
    new: "batching-under-load",
}];

/// Replaces the old names in the tree of a file. Returns a warning for each, or an error if the
/// new name is present too.
pub(crate) fn replace_aliases(tree: &mut DeTable<'_>, files: &Files) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for alias in ALIASES {
        let Alias { section, old, new } = alias;
        visit(tree, section, &mut |table| {
            let Some((key, value)) = table.remove_entry(*old) else {
                return;
            };
            let place = files.place(key.span());
            let heading = section_doc(section).map_or(*section, |doc| doc.heading);
            if let Some((present, _)) = table.get_key_value(*new) {
                let message = format!("`{old}` in `{heading}` is the old name of `{new}`");
                diagnostics.push(
                    Diagnostic::error(place, message)
                        .with_related(files.place(present.span()), "the new name is present too")
                        .with_help(format!("remove `{old}`")),
                );
                return;
            }
            let message = format!("`{old}` in `{heading}` is deprecated");
            diagnostics.push(
                Diagnostic::warning(place, message).with_help(format!("rename it to `{new}`")),
            );
            table.insert(Spanned::new(key.span(), (*new).into()), value);
        });
    }
    diagnostics
}

/// Calls `act` with each table that `path` (keys joined by dots) leads to.
fn visit<'t>(table: &mut DeTable<'t>, path: &str, act: &mut dyn FnMut(&mut DeTable<'t>)) {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(node) = table.get_mut(first) else {
        return;
    };
    let mut visit_one = |table: &mut DeTable<'t>| match rest {
        "" => act(table),
        rest => visit(table, rest, act),
    };
    match node.get_mut() {
        DeValue::Table(table) => visit_one(table),
        DeValue::Array(elements) => elements.iter_mut().for_each(|element| {
            if let DeValue::Table(table) = element.get_mut() {
                visit_one(table);
            }
        }),
        _ => {}
    }
}

/// A wrong name, the name in the same section that replaces it (if any), and advice.
pub(crate) struct Renamed {
    /// The section, empty for the top level.
    section: &'static str,
    wrong: &'static str,
    pub(crate) right: Option<&'static str>,
    pub(crate) advice: &'static str,
}

/// Finds the entry for `wrong` in `section`, in any spelling (`min_poll`, `min-poll`).
pub(crate) fn find(section: &str, wrong: &str) -> Option<&'static Renamed> {
    let kebab = wrong.to_lowercase().replace('_', "-");
    TABLE
        .iter()
        .find(|entry| entry.section == section && entry.wrong == kebab)
}

const fn renamed(
    section: &'static str,
    wrong: &'static str,
    right: &'static str,
    advice: &'static str,
) -> Renamed {
    Renamed {
        section,
        wrong,
        right: Some(right),
        advice,
    }
}

const fn gone(section: &'static str, wrong: &'static str, advice: &'static str) -> Renamed {
    Renamed {
        section,
        wrong,
        right: None,
        advice,
    }
}

#[rustfmt::skip]
const TABLE: &[Renamed] = &[
    renamed("", "peer", "source", "time sources are sections `[[source]]` (named `[[peer]]` before 1.0)"),
    renamed("", "peers", "source", "each time source is a section `[[source]]`"),
    renamed("", "sources", "source", "each time source is a section `[[source]]`"),
    renamed("", "pool", "source", "a pool is a section `[[source]]` with `mode = \"pool\"`"),
    renamed("", "peer-defaults", "source-defaults", "named `[source-defaults]` since 1.0"),
    renamed("", "servers", "server", "each listening address is a section `[[server]]`"),
    renamed("", "nts-server", "nts-ke-server", "NTS key exchange is served by a section `[[nts-ke-server]]`"),
    renamed("", "nts-ke", "nts-ke-server", "NTS key exchange is served by a section `[[nts-ke-server]]`"),
    renamed("", "keyfile", "keys", "symmetric keys are a section `[keys]` with `path`"),
    renamed("", "symmetric-keys", "keys", "symmetric keys are a section `[keys]` with `path`"),
    renamed("", "system", "synchronization", "named `[synchronization]` since 1.0"),
    renamed("", "observe", "observability", "the observation socket is `observation-path` in `[observability]`"),
    renamed("", "logging", "observability", "logging is set in `[observability]`"),
    gone("", "configure", "this section was removed; the control socket is `[control]`"),
    gone("", "csptp", "CSPTP is not part of this release"),
    gone("", "csptp-server", "CSPTP is not part of this release"),

    renamed("source", "host", "address", "write it as `address`"),
    renamed("source", "hostname", "address", "write it as `address`"),
    renamed("source", "server", "address", "write it as `address`"),
    renamed("source", "addr", "address", "write it as `address`"),
    renamed("source", "type", "mode", "write it as `mode`"),
    renamed("source", "ca", "certificate-authority", "write it as `certificate-authority`"),
    renamed("source", "max-peers", "count", "the size of a pool is `count`"),
    renamed("source", "max-sources", "count", "the size of a pool is `count`"),
    renamed("source", "maxsources", "count", "the size of a pool is `count`"),
    renamed("source", "version", "ntp-version", "write it as `ntp-version`"),
    renamed("source", "measurement-noise-estimate", "precision", "use `precision`: the standard deviation in seconds (the old key was a variance, and spelled with underscores)"),
    renamed("source", "min-poll", "poll-interval-limits", "write `poll-interval-limits = { min = … }`, in log2 seconds"),
    renamed("source", "max-poll", "poll-interval-limits", "write `poll-interval-limits = { max = … }`, in log2 seconds"),
    renamed("source", "minpoll", "poll-interval-limits", "write `poll-interval-limits = { min = … }`, in log2 seconds"),
    renamed("source", "maxpoll", "poll-interval-limits", "write `poll-interval-limits = { max = … }`, in log2 seconds"),
    gone("source", "port", "the port follows the address: `address = \"ntp.example.org:123\"`"),
    gone("source", "iburst", "remove it: the first exchanges with a source are always frequent"),
    gone("source", "burst", "remove it: the poll interval adapts by itself"),
    renamed("source", "key-id", "key", "write it as `key`: a number in the file of `[keys]`"),
    renamed("source", "keyid", "key", "write it as `key`: a number in the file of `[keys]`"),
    renamed("source", "xleave", "interleaved", "write it as `interleaved`"),

    renamed("source-defaults", "min-poll", "poll-interval-limits", "write `poll-interval-limits = { min = …, max = … }`, in log2 seconds"),
    renamed("source-defaults", "max-poll", "poll-interval-limits", "write `poll-interval-limits = { min = …, max = … }`, in log2 seconds"),

    renamed("server", "address", "listen", "the address to listen on is `listen`"),
    renamed("server", "addr", "listen", "the address to listen on is `listen`"),
    renamed("server", "bind", "listen", "the address to listen on is `listen`"),
    renamed("server", "key", "keys", "the keys that clients may use are a list: `keys = [1, 2]`"),
    renamed("server", "trustedkey", "keys", "the keys that clients may use are a list: `keys = [1, 2]`"),
    renamed("server", "burst", "rate-limiting-burst", "write it as `rate-limiting-burst`"),
    renamed("server", "leak", "rate-limiting-leak", "write it as `rate-limiting-leak`: one request in this number"),
    renamed("server", "kod", "rate-limiting-kiss", "write it as `rate-limiting-kiss`: one request in this number"),
    renamed("server", "ratelimit", "rate-limiting-cutoff-ms", "requests are limited by `rate-limiting-cutoff-ms` and `rate-limiting-cache-size`"),
    renamed("server", "clientloglimit", "client-list-size", "write it as `client-list-size`: the number of addresses that are kept"),
    gone("server", "port", "the port follows the address: `listen = \"0.0.0.0:123\"`"),
    renamed("nts-ke-server", "addr", "listen", "the address to listen on is `listen`"),
    renamed("nts-ke-server", "address", "listen", "the address to listen on is `listen`"),
    renamed("nts-ke-server", "cert-chain-path", "certificate-chain-path", "write it as `certificate-chain-path`"),
    renamed("nts-ke-server", "certificate", "certificate-chain-path", "write it as `certificate-chain-path`"),
    renamed("nts-ke-server", "key", "private-key-path", "write it as `private-key-path`"),

    renamed("observability", "log", "log-level", "write it as `log-level`"),
    renamed("observability", "verbosity", "log-level", "write it as `log-level`"),
    renamed("observability", "socket", "observation-path", "write it as `observation-path`"),
    gone("observability", "configure-permissions", "this configuration socket was removed in 1.0"),
    gone("observability", "configure-path", "this configuration socket was removed in 1.0"),

    renamed("synchronization", "startup-panic-threshold", "startup-step-panic-threshold", "write it as `startup-step-panic-threshold`"),
    renamed("synchronization", "panic-threshold", "single-step-panic-threshold", "write it as `single-step-panic-threshold`"),
    renamed("synchronization", "single-panic-threshold", "single-step-panic-threshold", "write it as `single-step-panic-threshold`"),
    renamed("synchronization", "accumulated-threshold", "accumulated-step-panic-threshold", "write it as `accumulated-step-panic-threshold`"),
    renamed("synchronization", "accumulated-panic-threshold", "accumulated-step-panic-threshold", "write it as `accumulated-step-panic-threshold`"),
    renamed("synchronization", "min-intersection-survivors", "minimum-agreeing-sources", "write it as `minimum-agreeing-sources`"),
    renamed("synchronization", "minsources", "minimum-agreeing-sources", "write it as `minimum-agreeing-sources`"),
    gone("synchronization", "makestep", "the step limits are `single-step-panic-threshold` and `startup-step-panic-threshold`"),

    renamed("keys", "file", "path", "write it as `path`"),
    renamed("keys", "keyfile", "path", "write it as `path`"),
    renamed("keyset", "path", "key-storage-path", "write it as `key-storage-path`"),
    renamed("state", "path", "directory", "write it as `directory`"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::SECTIONS;
    use crate::key_list::KEYS;

    /// Advice must not lead to another unknown key.
    #[test]
    fn every_replacement_exists_and_no_wrong_name_does() {
        for entry in TABLE {
            let exists = |name: &str| {
                if entry.section.is_empty() {
                    SECTIONS.iter().any(|section| section.name == name)
                } else {
                    KEYS.iter()
                        .any(|key| key.section == entry.section && key.key == name)
                }
            };
            assert!(entry.right.is_none_or(exists), "{:?}", entry.right);
            assert!(!exists(entry.wrong), "{} is a name in use", entry.wrong);
        }
    }

    #[test]
    fn aliases_are_accepted_with_a_warning_and_conflicts_are_errors() {
        for alias in ALIASES {
            let known = |name: &str| {
                KEYS.iter()
                    .any(|key| key.section == alias.section && key.key == name)
            };
            assert!(known(alias.new) && !known(alias.old), "{}", alias.old);
        }
        let server = "[[server]]\nlisten = \"[::]:123\"\n";
        let old = format!("{server}rest-under-load = false\n");
        let (config, warnings) = crate::parse(&old, "ntp.toml").unwrap();
        assert!(!config.servers[0].batching_under_load);
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].place.line(), Some(3));
        assert!(
            config.servers[0]
                .settings
                .contains_key("batching-under-load")
        );
        let both = format!("{old}batching-under-load = true\n");
        let error = crate::parse(&both, "ntp.toml").unwrap_err();
        assert_eq!(error.problems().len(), 1, "{error}");
    }
}
