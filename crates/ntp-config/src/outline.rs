//! The outline of a configuration: its sections with the values in the files ([`Entry`]), in the
//! form of the control interface.

use ntp_types::configuration::{Origin, Section, Setting};

use crate::config::Config;
use crate::document::Place;
use crate::documentation::SECTIONS;
use crate::entry::Entry;

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
