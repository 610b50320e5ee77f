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

use crate::document::Place;
use crate::documentation::KeyDoc;
use crate::entry::Entry;
use crate::reader::{Context, Section, Value};
use crate::value;

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
            const KEYS: &'static [$crate::documentation::KeyDoc] = &[$(
                $crate::documentation::KeyDoc {
                    section: $section, modes: &$modes, key: $key,
                    kind: $form, default: $shown, doc: $doc,
                }
            ),*];

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::config::{self, Config};
    use crate::document::Document;
    use crate::documentation::{SECTIONS, section_doc};
    use crate::key_list::KEYS;
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
        mode = "shm"
        [[source]]
        mode = "pps"
        [[source]]
        mode = "phc"
        [[source]]
        mode = "nmea"
        [[source]]
        mode = "gpsd"
        [[source]]
        mode = "vmclock"
        [[source]]
        mode = "host-clock"
        [[server]]
        denylist = {}
        allowlist = {}
        access = {}
        [[nts-ke-server]]
        additional-certificates = [{}]
        [keys]
        [keyset]
        [nts]
        [observability]
        [control]
        [compat.chrony]
        [synchronization]
        single-step-panic-threshold = {}
        startup-step-panic-threshold = {}
        certificate-time-leniency = {}
        [synchronization.algorithm]
        [clock]
        [local]
        [leap]
        [state]
        [sandbox]
        [service]
        [clockbound]
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
                let default = Config {
                    // The presence of the section switches it on.
                    local: (doc.section == "local").then(Default::default),
                    ..Config::default()
                };
                assert_eq!(config, default, "{text}");
            }
            checked += 1;
        }
        assert!(checked > 20, "only {checked} defaults are values");
    }
}
