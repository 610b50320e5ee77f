//! The values in the files, each with its place: the origin of each setting.
//!
//! Typed settings do not distinguish a default from a value in the file. An outline is the other
//! view: only values of the files, as TOML, with keys of tables joined by dots
//! (`poll-interval-limits.min`), so that each line has one value and one place. Secrets in the
//! configuration itself are left out.

use toml::de::{DeTable, DeValue};

use ntp_types::configuration::{Origin, Section, Setting};

use crate::config::Config;
use crate::document::Place;
use crate::reader::Context;
use crate::schema::SECTIONS;
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
pub(crate) fn of_table(cx: &Context, table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    add(cx, table, "", &mut entries);
    entries
}

fn add(cx: &Context, table: &DeTable<'_>, prefix: &str, entries: &mut Vec<Entry>) {
    for (name, node) in table {
        let key = format!("{prefix}{}", bare(name.get_ref()));
        if let DeValue::Table(inner) = node.get_ref() {
            add(cx, inner, &format!("{key}."), entries);
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
        let place = cx.place(name.span());
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

/// Converts a place to the form of the control interface.
pub fn origin(place: &Place) -> Origin {
    Origin {
        kind: "file".into(),
        file: place.file().map(ToOwned::to_owned),
        line: place.line().map(|line| line as u64),
        ..Origin::default()
    }
}

impl Config {
    /// Returns all sections of the files in the order of the manual, repeated ones in the order of
    /// the files.
    pub fn outline(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        for doc in SECTIONS.iter().filter(|doc| !doc.name.contains('.')) {
            let section = |place: &Place, entries: &[Entry]| Section {
                name: doc.name.to_owned(),
                repeated: doc.is_repeatable(),
                origin: origin(place),
                settings: entries.iter().map(setting).collect(),
            };
            match doc.name {
                "source" => {
                    let all = self.sources.iter();
                    sections.extend(all.map(|it| section(&it.place, &it.entries)));
                }
                "server" => {
                    let all = self.servers.iter();
                    sections.extend(all.map(|it| section(&it.place, &it.entries)));
                }
                "nts-ke-server" => {
                    let all = self.nts_ke_servers.iter();
                    sections.extend(all.map(|it| section(&it.place, &it.entries)));
                }
                name => {
                    let entries = self.entries.get(name).map_or(&[][..], Vec::as_slice);
                    if let Some(first) = entries.first() {
                        sections.push(section(&first.place, entries));
                    }
                }
            }
        }
        sections
    }
}

fn setting(entry: &Entry) -> Setting {
    Setting {
        key: entry.key.clone(),
        value: to_toml(&entry.value, entry.radix),
        origin: origin(&entry.place),
    }
}

/// The value as TOML; an integer in its base, as permissions are unreadable in decimal.
fn to_toml(value: &toml::Value, radix: u32) -> String {
    match (value, radix) {
        (toml::Value::Integer(number), 2) => format!("{number:#b}"),
        (toml::Value::Integer(number), 8) => format!("{number:#o}"),
        (toml::Value::Integer(number), 16) => format!("{number:#x}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn integers_are_shown_in_the_base_of_the_file() {
        let text = "[control]\nmode = 0o660\n[observability]\nobservation-permissions = 0x1b6\n[synchronization]\nlocal-stratum = 10\n";
        let (config, _) = crate::parse(text, "ntp.toml").unwrap();
        let sections = config.outline();
        let settings = sections.iter().flat_map(|section| &section.settings);
        let values: Vec<_> = settings.map(|setting| setting.value.as_str()).collect();
        assert_eq!(values, ["10", "0x1b6", "0o660"]);
    }

    #[test]
    fn every_value_is_shown_with_its_line_and_without_secrets() {
        let text = "[observability]\nlog-level = \"info\"\n[[source]]\nmode = \"server\"\naddress = \"a\"\npoll-interval-limits = { min = 4, max = 6 }\n[[nts-ke-server]]\nlisten = \"[::]:4460\"\ncertificate-chain-path = \"c\"\nprivate-key-path = \"k\"\naccepted-pool-authentication-tokens = [\"hunter2\"]\n";
        let (config, _) = crate::parse(text, "ntp.toml").unwrap();
        let mut shown = String::new();
        for section in config.outline() {
            for setting in &section.settings {
                let line = setting.origin.line.unwrap();
                shown += &format!(
                    "{line} {}.{}={}\n",
                    section.name, setting.key, setting.value
                );
            }
        }
        for expected in [
            "2 observability.log-level=\"info\"\n",
            "6 source.poll-interval-limits.max=6\n",
        ] {
            assert!(shown.contains(expected), "{shown}");
        }
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
