//! What the files say, value by value, each with its place: for whoever asks where a setting comes from.
//!
//! Reading a file gives typed settings, in which a default and a value that was written cannot be told apart. An outline is the other view:
//! only what somebody wrote, as TOML, with keys of tables joined by dots (`poll-interval-limits.min`), so that each line has one value and one place.
//! Secrets that stand in the configuration itself are left out of it.

use toml::de::{DeTable, DeValue};

use ntp_control_api::control::types::{Origin, Section, Setting};

use crate::config::Config;
use crate::document::Place;
use crate::keys::SECTIONS;
use crate::reader::Context;
use crate::settings;

/// One value that a file has.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The key, with those of the tables around it, for example `poll-interval-limits.min`.
    pub key: String,
    /// The value.
    pub value: toml::Value,
    /// The base in which it is written, if it is an integer; 10 otherwise.
    pub radix: u32,
    /// Where it stands.
    pub place: Place,
}

/// Keys whose values are secret.
const SECRET: &[&str] = &["accepted-pool-authentication-tokens"];

/// All values of a section, in the order of their keys.
pub(crate) fn of_table(cx: &Context, table: &DeTable<'_>) -> Vec<Said> {
    let mut said = Vec::new();
    add(cx, table, "", &mut said);
    said
}

fn add(cx: &Context, table: &DeTable<'_>, around: &str, said: &mut Vec<Said>) {
    for (name, node) in table {
        let key = format!("{around}{}", bare(name.get_ref()));
        if let DeValue::Table(inner) = node.get_ref() {
            add(cx, inner, &format!("{key}."), said);
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
        said.extend(value.map(|value| Said {
            key,
            value,
            radix,
            place,
        }));
    }
}

/// A key as TOML has it.
fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !key.is_empty() && key.chars().all(plain) {
        return key.to_owned();
    }
    toml::Value::String(key.to_owned()).to_string()
}

/// Values that `new` has as `old` had them stand where they stood.
pub fn keep_places(new: &mut [Said], old: &[Said]) {
    for said in new {
        if let Some(same) = old.iter().find(|old| *old == said) {
            said.place = same.place.clone();
        }
    }
}

/// A place as the control interface tells it.
pub fn origin(place: &Place) -> Origin {
    Origin {
        kind: "file".into(),
        file: place.file().map(ToOwned::to_owned),
        line: place.line().map(|line| line as u64),
        ..Origin::default()
    }
}

impl Config {
    /// All sections that somebody wrote, in the order of the manual; those that are repeated in the order of the files.
    pub fn outline(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        for doc in SECTIONS.iter().filter(|doc| !doc.name.contains('.')) {
            let section = |place: &Place, said: &[Said]| Section {
                name: doc.name.to_owned(),
                repeated: doc.heading.starts_with("[["),
                origin: origin(place),
                settings: said.iter().map(setting).collect(),
            };
            match doc.name {
                "source" => {
                    let all = self.sources.iter();
                    sections.extend(all.map(|it| section(&it.place, &it.said)));
                }
                "server" => {
                    let all = self.servers.iter();
                    sections.extend(all.map(|it| section(&it.place, &it.said)));
                }
                "nts-ke-server" => {
                    let all = self.nts_ke_servers.iter();
                    sections.extend(all.map(|it| section(&it.place, &it.said)));
                }
                name => {
                    let said = self.said.get(name).map_or(&[][..], Vec::as_slice);
                    if let Some(first) = said.first() {
                        sections.push(section(&first.place, said));
                    }
                }
            }
        }
        sections
    }
}

fn setting(said: &Said) -> Setting {
    Setting {
        key: said.key.clone(),
        value: written(&said.value, said.radix),
        origin: origin(&said.place),
    }
}

/// The value as TOML; an integer in its base, for permissions say nothing in decimal.
fn written(value: &toml::Value, radix: u32) -> String {
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
    fn an_integer_is_told_in_the_base_in_which_it_is_written() {
        let text = "[control]\nmode = 0o660\n[observability]\nobservation-permissions = 0x1b6\n[synchronization]\nlocal-stratum = 10\n";
        let (config, _) = crate::parse(text, "ntp.toml").unwrap();
        let sections = config.outline();
        let settings = sections.iter().flat_map(|section| &section.settings);
        let values: Vec<_> = settings.map(|setting| setting.value.as_str()).collect();
        assert_eq!(values, ["10", "0x1b6", "0o660"]);
    }

    #[test]
    fn every_value_is_told_with_its_line_and_no_secret() {
        let text = "[observability]\nlog-level = \"info\"\n[[source]]\nmode = \"server\"\naddress = \"a\"\npoll-interval-limits = { min = 4, max = 6 }\n[[nts-ke-server]]\nlisten = \"[::]:4460\"\ncertificate-chain-path = \"c\"\nprivate-key-path = \"k\"\naccepted-pool-authentication-tokens = [\"hunter2\"]\n";
        let (config, _) = crate::parse(text, "ntp.toml").unwrap();
        let mut told = String::new();
        for section in config.outline() {
            for setting in &section.settings {
                let line = setting.origin.line.unwrap();
                told += &format!(
                    "{line} {}.{}={}\n",
                    section.name, setting.key, setting.value
                );
            }
        }
        for expected in [
            "2 observability.log-level=\"info\"\n",
            "6 source.poll-interval-limits.max=6\n",
        ] {
            assert!(told.contains(expected), "{told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
    }
}
