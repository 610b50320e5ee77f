//! The values in the files, each with its place: the origin of each setting.
//!
//! Typed settings do not distinguish a default from a value in the file. Entries are the other
//! view: only values of the files, as TOML, with keys of tables joined by dots
//! (`poll-interval-limits.min`), so that each entry has one value and one place. Secrets in the
//! configuration itself are left out.

use toml::de::{DeTable, DeValue};

use crate::document::{Files, Place};
use crate::settings;

/// One value of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key, with those of the tables around it, for example `poll-interval-limits.min`.
    pub key: String,
    /// The value.
    pub value: toml::Value,
    /// The base in which it is written, if it is an integer; 10 otherwise.
    pub radix: u32,
    /// Its place.
    pub place: Place,
}

/// Keys whose values are secret.
const SECRET: &[&str] = &["accepted-pool-authentication-tokens"];

/// All values of a section, in the order of their keys.
pub(crate) fn of_table(files: &Files, table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    add(files, table, "", &mut entries);
    entries
}

fn add(files: &Files, table: &DeTable<'_>, prefix: &str, entries: &mut Vec<Entry>) {
    for (name, node) in table {
        let key = format!("{prefix}{}", bare(name.get_ref()));
        if let DeValue::Table(inner) = node.get_ref() {
            add(files, inner, &format!("{key}."), entries);
            continue;
        }
        let value = if SECRET.contains(&key.as_str()) {
            Some(toml::Value::String("(not shown)".into()))
        } else {
            settings::value(node.get_ref())
        };
        let radix = match node.get_ref() {
            DeValue::Integer(number) => number.radix(),
            _ => 10,
        };
        let place = files.place(name.span());
        entries.extend(value.map(|value| Entry {
            key,
            value,
            radix,
            place,
        }));
    }
}

/// The key as TOML writes it.
fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !key.is_empty() && key.chars().all(plain) {
        return key.to_owned();
    }
    toml::Value::String(key.to_owned()).to_string()
}

/// Copies the places of values that `new` and `old` have in common to `new`.
pub fn keep_places(new: &mut [Entry], old: &[Entry]) {
    for entry in new {
        if let Some(same) = old.iter().find(|old| *old == entry) {
            entry.place = same.place.clone();
        }
    }
}
