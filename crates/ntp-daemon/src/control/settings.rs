//! Sections of the configuration as a call brings them.
//!
//! They are JSON with the file's own keys. They are written as TOML and read by the parser of the configuration file, so that whatever
//! the file can say can be said here, in the same words, and mistakes are answered with the same reports.

use ntp_config::{Config, Style};
use ntp_control_api::control::methods::{Error, Settings};
use serde_json::{Map, Value};

use super::changes::REQUEST;

/// A configuration that has only this section.
pub(super) fn section(name: &str, settings: &Settings) -> Result<Config, Error> {
    let text = written(name, settings)?;
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

/// The section as the file would have it.
pub(super) fn written(name: &str, settings: &Settings) -> Result<String, Error> {
    let mut settings = Value::Object(settings.clone());
    drop_nulls(&mut settings);
    let document = serde_json::json!({ name: [settings] });
    toml::to_string(&document).map_err(|problem| Error::InvalidConfiguration {
        report: problem.to_string(),
    })
}

/// `changes` laid over what holds now. Tables are laid over each other key by key; null takes a key out.
pub(super) fn laid_over(table: &toml::Table, changes: &Settings) -> Settings {
    let mut result = match serde_json::to_value(table) {
        Ok(Value::Object(settings)) => settings,
        _ => Map::new(),
    };
    lay_over(&mut result, changes);
    result
}

fn lay_over(below: &mut Settings, above: &Settings) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => lay_over(below, above),
            _ => {
                below.insert(key.clone(), value.clone());
            }
        }
    }
}

/// TOML has no word for nothing: a key without a value is left out.
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
    fn a_section_is_read_as_the_file_would_be() {
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
    fn a_text_cannot_break_out_of_its_key() {
        let sly = settings(json!({ "mode": "server", "address": "a\"\n[clock]\nkind = \"none" }));
        let config = section("source", &sly).unwrap();
        assert_eq!(
            (config.sources.len(), &config.clock),
            (1, &Config::default().clock)
        );
        let sly = settings(json!({ "mode": "server", "address": "a", "x]\n[clock": 1 }));
        assert!(section("source", &sly).is_err());
    }

    #[test]
    fn changes_are_laid_over_what_holds() {
        let table: toml::Table = "a = 1\nb = 2\nt = { x = 1, y = 2 }\n".parse().unwrap();
        let changed = laid_over(&table, &settings(json!({ "a": null, "t": { "x": 3 } })));
        let expected = json!({ "a": null, "b": 2, "t": { "x": 3, "y": 2 } });
        assert_eq!(Value::Object(changed), expected);
    }
}
