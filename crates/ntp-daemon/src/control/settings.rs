//! Parses sections of the configuration that a call carries.
//!
//! They are JSON with the keys of the file. They are written as TOML and read by the parser of the
//! configuration file, so that a call accepts exactly what the file accepts and reports mistakes in
//! the same way.

use ntp_config::{Config, Style};
use ntp_control_api::control::methods::{Error, Settings};
use serde_json::{Map, Value};

use super::changes::REQUEST;

/// Returns a configuration with this section only.
pub(super) fn section(name: &str, settings: &Settings) -> Result<Config, Error> {
    let text = to_toml(name, settings)?;
    let (config, _) =
        ntp_config::parse(&text, REQUEST).map_err(|problem| Error::InvalidConfiguration {
            report: problem.render(Style::Plain),
        })?;
    let lacking = config.unsupported();
    if !lacking.is_empty() {
        let reports: Vec<_> = lacking.iter().map(|it| it.render(Style::Plain)).collect();
        return Err(Error::InvalidConfiguration {
            report: reports.join("\n\n"),
        });
    }
    Ok(config)
}

/// Writes the section in the format of the file.
pub(super) fn to_toml(name: &str, settings: &Settings) -> Result<String, Error> {
    let mut settings = Value::Object(settings.clone());
    drop_nulls(&mut settings);
    let document = serde_json::json!({ name: [settings] });
    toml::to_string(&document).map_err(|problem| Error::InvalidConfiguration {
        report: problem.to_string(),
    })
}

/// Merges `changes` into the current settings. Tables are merged key by key; null removes a key.
pub(super) fn merged(table: &toml::Table, changes: &Settings) -> Settings {
    let mut result = match serde_json::to_value(table) {
        Ok(Value::Object(settings)) => settings,
        _ => Map::new(),
    };
    merge(&mut result, changes);
    result
}

fn merge(below: &mut Settings, above: &Settings) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            _ => {
                below.insert(key.clone(), value.clone());
            }
        }
    }
}

/// TOML has no null: removes keys without a value.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(settings) => {
            settings.retain(|_, value| !value.is_null());
            settings.values_mut().for_each(drop_nulls);
        }
        Value::Array(values) => {
            values.retain(|value| !value.is_null());
            values.iter_mut().for_each(drop_nulls);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> Settings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_section_is_parsed_as_in_the_file() {
        let good = settings(json!({
            "mode": "server", "address": "a", "prefer": null,
            "poll-interval-limits": { "min": 4, "max": 6 },
        }));
        let config = section("source", &good).unwrap();
        assert_eq!(config.sources.len(), 1);
        let bad = settings(json!({ "mode": "server", "adress": "a" }));
        let Err(Error::InvalidConfiguration { report }) = section("source", &bad) else {
            panic!("a typo is refused");
        };
        assert!(report.contains("did you mean `address`?"), "{report}");
    }

    #[test]
    fn a_value_cannot_inject_another_key() {
        let path = "a\"\n[clock]\nkind = \"none";
        let hostile =
            settings(json!({ "mode": "nts", "address": "a", "certificate-authority": path }));
        let config = section("source", &hostile).unwrap();
        assert_eq!(
            (config.sources.len(), &config.clock),
            (1, &Config::default().clock)
        );
        let hostile = settings(json!({ "mode": "server", "address": "a", "x]\n[clock": 1 }));
        assert!(section("source", &hostile).is_err());
    }

    /// Rules are changed one by one: the others stay.
    #[test]
    fn access_rules_are_added_and_removed_by_network() {
        let table: toml::Table = "listen = \"[::]:123\"\n[access]\ndefault = \"ignore\"\n\
             \"192.0.2.0/24\" = \"allow\"\n\"2001:db8::/32\" = \"allow\"\n"
            .parse()
            .unwrap();
        let changes = json!({ "access": { "192.0.2.66/32": "deny", "2001:db8::/32": null } });
        let config = section("server", &merged(&table, &settings(changes))).unwrap();
        let access = config.servers[0].access.clone().unwrap();
        let mut networks: Vec<_> = access.networks.iter().map(|it| it.0.to_string()).collect();
        networks.sort();
        assert_eq!(networks, ["192.0.2.0/24", "192.0.2.66/32"]);
    }

    #[test]
    fn changes_are_merged_into_the_current_settings() {
        let table: toml::Table = "a = 1\nb = 2\nt = { x = 1, y = 2 }\n".parse().unwrap();
        let changed = merged(&table, &settings(json!({ "a": null, "t": { "x": 3 } })));
        let expected = json!({ "a": null, "b": 2, "t": { "x": 3, "y": 2 } });
        assert_eq!(Value::Object(changed), expected);
    }
}
