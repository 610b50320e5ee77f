//! The keys of the file, each declared once.
//!
//! A [`section!`] declaration states for each key its field, type, converter, default and one
//! line of documentation. From it follow the struct of the settings, its `Default`, the code
//! that reads the table ([`Table::read_keys`]) and the [`KeyDoc`]s. These serve the manual
//! page, the reference chapter of the guide, `ntp-ctl config show` and the advice in error
//! messages. A key whose presence or meaning depends on others is refined by the function
//! after `then`, or by a group function.
//!
//! ```text
//! section! {
//!     /// Documentation of the struct.
//!     #[derive(Clone, Debug)]
//!     pub struct Name: Default = "section" [modes] then refine {
//!         + field: Type = read_group, "documentation of a field that is not one key";
//!         field: Type = convert => or(default), "key" "type" "default" "documentation";
//!         field: Option<Type> = convert => optional, "key" "type" "none" "documentation";
//!         field: Type = convert => required, "key" "type" "required" "documentation";
//!         field: Option<Type> = convert => needed, ...; // required where the section exists
//!     }
//! }
//! ```

use crate::algorithm::AlgorithmConfig;
use crate::clock::ClockKeys;
use crate::control::ControlConfig;
use crate::disabled::Disabled;
use crate::document::Place;
use crate::keyset::KeysetConfig;
use crate::leap::LeapConfig;
use crate::nts_ke::{CertificateConfig, NtsKeConfig};
use crate::observability::ObservabilityConfig;
use crate::outline::Entry;
use crate::poll::{DefaultLimits, PollOverrides, SourceDefaults, SourceLimits};
use crate::reader::{Context, Section, Value};
use crate::refclock::{NoiseKeys, PpsSource, SockSource};
use crate::sandbox::SandboxConfig;
use crate::server::{self, ServerConfig};
use crate::service::ServiceConfig;
use crate::source::{
    self, KeyExchange, KeyExchangeAddress, NtpSource, NtsPoolSource, PoolSource, SelectionOptions,
    ServerAddress, SymmetricKey,
};
use crate::state::StateConfig;
use crate::symmetric::KeysConfig;
use crate::synchronization::SynchronizationConfig;
use crate::{algorithm, threshold, value};

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

/// A table with declared keys; implemented by [`section!`].
pub(crate) trait Table: Sized {
    /// The name of the section.
    const NAME: &'static str;
    /// Its keys, as far as they are declared here.
    const KEYS: &'static [KeyDoc];

    /// Reads the keys; `None` if a required one is absent or invalid.
    fn read_keys(cx: &mut Context, section: &mut Section<'_>) -> Option<Self>;
}

/// Reads a section that is not repeatable.
pub(crate) fn table<T: Table>(cx: &mut Context, value: &Value<'_>) -> Option<T> {
    let section = Section::open(cx, T::NAME, value)?;
    element(cx, section)
}

/// Reads all sections of a repeatable kind.
pub(crate) fn tables<T: Table>(cx: &mut Context, value: &Value<'_>) -> Option<Vec<T>> {
    value::sections(cx, value, T::NAME, element)
}

fn element<T: Table>(cx: &mut Context, mut section: Section<'_>) -> Option<T> {
    let table = T::read_keys(cx, &mut section);
    section.finish(cx);
    table
}

/// Group: the place of the section.
pub(crate) fn place(cx: &mut Context, section: &mut Section<'_>) -> Option<Place> {
    Some(section.place(cx))
}

/// Group: the section as plain TOML.
pub(crate) fn settings(_: &mut Context, section: &mut Section<'_>) -> Option<toml::Table> {
    Some(section.settings())
}

/// Group: the values of the section, each with its place.
pub(crate) fn entries(cx: &mut Context, section: &mut Section<'_>) -> Option<Vec<Entry>> {
    Some(section.entries(cx))
}

/// Declares a table; see the module.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident $(: $Default:ident)? = $section:literal $modes:tt
        $(then $refine:path)? {
            $(+ $group:ident : $Group:ty = $read_group:expr, $group_doc:literal;)*
            $($field:ident : $Type:ty = $convert:expr => $kind:ident $(($value:expr))?,
                $key:literal $form:literal $shown:literal $doc:literal;)*
        }
    ) => {
        $(#[$meta])*
        $vis struct $Name {
            $(#[doc = $group_doc] pub $group: $Group,)*
            $(#[doc = $doc] pub $field: $Type,)*
        }

        impl $crate::schema::Table for $Name {
            const NAME: &'static str = $section;
            const KEYS: &'static [$crate::schema::KeyDoc] = &[$($crate::schema::KeyDoc {
                section: $section, modes: &$modes, key: $key, kind: $form, default: $shown, doc: $doc,
            }),*];

            fn read_keys(
                cx: &mut $crate::reader::Context,
                section: &mut $crate::reader::Section<'_>,
            ) -> Option<Self> {
                $(let $group = $read_group(cx, section);)*
                $(let $field = section!(@read $kind section, cx, $key, $convert $(, $value)?);)*
                let table = Self {
                    $($group: $group?,)*
                    $($field: section!(@take $kind $field),)*
                };
                $(let table = $refine(cx, table);)?
                Some(table)
            }
        }

        section!(@default $($Default)? $Name { $($group)* } { $($field $kind ($($value)?))* });
    };
    (@read or $section:ident, $cx:ident, $key:literal, $convert:expr, $value:expr) => {
        $section.or($cx, $key, $convert, $value)
    };
    (@read optional $section:ident, $cx:ident, $key:literal, $convert:expr) => {
        $section.optional($cx, $key, $convert)
    };
    (@read $required:ident $section:ident, $cx:ident, $key:literal, $convert:expr) => {
        $section.required($cx, $key, $convert)
    };
    (@take required $field:ident) => { $field? };
    (@take $kind:ident $field:ident) => { $field };
    (@value or $value:expr) => { $value };
    (@value $kind:ident) => { None };
    (@default Default $Name:ident { $($group:ident)* }
        { $($field:ident $kind:ident ($($value:expr)?))* }) => {
        impl Default for $Name {
            fn default() -> Self {
                Self {
                    $($group: Default::default(),)*
                    $($field: section!(@value $kind $($value)?),)*
                }
            }
        }
    };
    (@default $($repeated:tt)*) => {};
}
pub(crate) use section;

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
    doc("nts-ke-server", "[[nts-ke-server]]", true, "An address of the NTS key exchange server; may be repeated."),
    doc("nts-ke-server.additional-certificates", "[[nts-ke-server.additional-certificates]]", false, "A certificate for other names; may be repeated."),
    doc("keys", "[keys]", false, "Symmetric keys, for sources and servers."),
    doc("keyset", "[keyset]", true, "The keys that protect NTS cookies."),
    doc("synchronization", "[synchronization]", true, "When and how far the clock may be corrected."),
    doc("synchronization.single-step-panic-threshold", "[synchronization.single-step-panic-threshold]", true, "The limit of a step, by direction."),
    doc("synchronization.startup-step-panic-threshold", "[synchronization.startup-step-panic-threshold]", true, "The limit of a step at start-up, by direction."),
    doc("synchronization.certificate-time-leniency", "[synchronization.certificate-time-leniency]", false, "How far the clock may be wrong when certificates are validated, by direction."),
    doc("synchronization.algorithm", "[synchronization.algorithm]", true, "Tuning of estimation and steering; the defaults suit nearly all installations."),
    doc("observability", "[observability]", true, "Logs, metrics and the observation socket."),
    doc("control", "[control]", false, "The control socket, which reads state and changes configuration at run time."),
    doc("clock", "[clock]", true, "The clock to discipline, and timestamping of packets."),
    doc("leap", "[leap]", false, "Handling of leap seconds."),
    doc("state", "[state]", false, "State that is kept across restarts."),
    doc("sandbox", "[sandbox]", false, "Privileges that the daemon drops after start-up."),
    doc("service", "[service]", false, "Notification of the service manager."),
    doc("disabled", "[disabled]", false, "In a drop-in: sources and servers of earlier files to remove."),
];

/// The declarations of keys, in the order of the manual.
#[rustfmt::skip]
const DECLARED: &[&[KeyDoc]] = &[
    &[source::MODE], ServerAddress::KEYS, KeyExchangeAddress::KEYS, NtpSource::KEYS,
    PollOverrides::KEYS, SelectionOptions::KEYS, SymmetricKey::KEYS, PoolSource::KEYS,
    NtsPoolSource::KEYS, KeyExchange::KEYS, SockSource::KEYS, PpsSource::KEYS, NoiseKeys::KEYS,
    SourceLimits::KEYS, SourceDefaults::KEYS, DefaultLimits::KEYS, ServerConfig::KEYS,
    server::FILTER_KEYS, NtsKeConfig::KEYS, CertificateConfig::KEYS, KeysConfig::KEYS,
    KeysetConfig::KEYS, SynchronizationConfig::KEYS, threshold::KEYS, AlgorithmConfig::KEYS,
    algorithm::WITHOUT_EFFECT, ObservabilityConfig::KEYS, ControlConfig::KEYS, ClockKeys::KEYS,
    LeapConfig::KEYS, StateConfig::KEYS, SandboxConfig::KEYS, ServiceConfig::KEYS, Disabled::KEYS,
];

/// Every key that the file can hold.
pub const KEYS: &[KeyDoc] = &concat::<{ count() }>();

const fn count() -> usize {
    let (mut group, mut count) = (0, 0);
    while group < DECLARED.len() {
        count += DECLARED[group].len();
        group += 1;
    }
    count
}

const fn concat<const COUNT: usize>() -> [KeyDoc; COUNT] {
    let mut keys = [source::MODE; COUNT];
    let (mut group, mut next) = (0, 0);
    while group < DECLARED.len() {
        let mut index = 0;
        while index < DECLARED[group].len() {
            keys[next] = DECLARED[group][index];
            next += 1;
            index += 1;
        }
        group += 1;
    }
    keys
}

/// The section of this name.
pub(crate) fn section_doc(name: &str) -> Option<&'static SectionDoc> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The header of section `name` as it is written in the file.
pub(crate) fn heading(name: &'static str) -> &'static str {
    section_doc(name).map_or(name, |section| section.heading)
}

/// The documentation of a key.
pub(crate) fn find(section: &str, mode: Option<&str>, key: &str) -> Option<&'static KeyDoc> {
    KEYS.iter().find(|doc| {
        doc.section == section
            && doc.key == key
            && (doc.modes.is_empty() || mode.is_none_or(|mode| doc.modes.contains(&mode)))
    })
}

/// Advice for a key that exists in another mode or section.
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
    use crate::config::{self, Config};
    use crate::document::Document;
    use crate::layers::Layer;
    use crate::reader::RequestedKey;

    /// One of every section, mode and table; their keys do not matter.
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
    fn documentation_and_parser_have_the_same_keys() {
        let document = Document::new("everything", EVERYTHING);
        let (_, cx) = config::read(&[Layer::whole(&document)]);
        let (sections, requested): (BTreeSet<RequestedKey>, _) = cx
            .requested
            .into_iter()
            .partition(|(section, ..)| section.is_empty());
        let documented: BTreeSet<RequestedKey> = KEYS
            .iter()
            .flat_map(|doc| {
                let modes: Vec<_> = doc.modes.iter().map(|mode| Some(*mode)).collect();
                let modes = if modes.is_empty() { vec![None] } else { modes };
                modes.into_iter().map(|mode| (doc.section, mode, doc.key))
            })
            .collect();
        let undocumented: Vec<_> = requested.difference(&documented).collect();
        let unread: Vec<_> = documented.difference(&requested).collect();
        assert!(undocumented.is_empty(), "not documented: {undocumented:?}");
        assert!(unread.is_empty(), "documented but not read: {unread:?}");

        let read: BTreeSet<&str> = sections.iter().map(|(_, _, key)| *key).collect();
        let top = SECTIONS.iter().map(|section| section.name);
        let top: BTreeSet<&str> = top.filter(|name| !name.contains('.')).collect();
        assert_eq!(read, top);
    }

    #[test]
    fn every_key_is_described_once_and_in_a_known_section() {
        let mut seen = BTreeSet::new();
        for doc in KEYS {
            assert!(section_doc(doc.section).is_some(), "{doc:?}");
            assert!(
                ![doc.kind, doc.default, doc.doc].contains(&""),
                "incomplete: {doc:?}"
            );
            assert!(
                seen.insert((doc.section, doc.modes, doc.key)),
                "declared twice: {doc:?}"
            );
        }
    }

    /// A file with a documented default is the same as one without.
    #[test]
    fn documented_defaults_are_the_defaults() {
        let mut checked = 0;
        for doc in KEYS {
            let once = section_doc(doc.section).is_some_and(|it| !it.is_repeatable());
            let words = doc.default == "none" || doc.default.contains(char::is_whitespace);
            // Without `log-level`, the command line decides.
            if !once || doc.section.contains('.') || words || doc.key == "log-level" {
                continue;
            }
            let is_toml = format!("x = {}", doc.default)
                .parse::<toml::Table>()
                .is_ok();
            let value = if is_toml {
                doc.default.to_owned()
            } else {
                format!("\"{}\"", doc.default)
            };
            let text = format!("[{}]\n{} = {value}\n", doc.section, doc.key);
            let Ok((mut config, _)) = crate::parse(&text, "defaults") else {
                assert_eq!(doc.default, "required", "{text}");
                continue;
            };
            config.entries.clear();
            config.leap.list_is_named = false;
            if doc.default != "required" {
                assert_eq!(config, Config::default(), "{text}");
            }
            checked += 1;
        }
        assert!(checked > 20, "only {checked} defaults are values");
    }
}
