//! `ntp-ctl config show`: prints the active configuration as TOML, with the origin of each value.
//!
//! The configuration comes from the daemon, because commands, or the files since the last reload,
//! may have changed. Without a daemon, the files are read as the daemon would; a note on standard
//! error reports this. The output is a valid configuration: origins are comments.
//!
//! Defaults are those of the manual. A default that is not a value ("as in `[source-defaults]`") is
//! printed as a comment.

use std::path::Path;

use ntp_config::{KEYS, KeyDoc, SECTIONS};
use ntp_control_api::control::methods::{ConfigurationReply, GetConfiguration, NoInput};
use ntp_types::configuration::{Disabled, Origin, Section, Setting};
use serde_json::{Value, json};

use crate::connect::{Socket, call};
use crate::console::{Console, Failure};
use crate::format::timestamp;

pub(crate) fn run(
    config: Option<&Path>,
    all: bool,
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut reply = match Socket::find(config)?.try_connect() {
        Some(mut client) => call::<GetConfiguration>(&mut client, &NoInput {})?,
        None => {
            console.message("note: daemon not running; showing the configuration files");
            offline(config)?
        }
    };
    if all {
        add_defaults(&mut reply.sections);
    }
    if as_json {
        return console.print_json(&data(&reply));
    }
    console.print(&plain(&reply))
}

/// Returns the configuration that the daemon would have if it were started now.
fn offline(config: Option<&Path>) -> Result<ConfigurationReply, Failure> {
    let loaded = ntp_config::load(config)
        .map_err(|problem| Failure::Error(format!("Could not load configuration: {problem}")))?;
    let shown = |path: &std::path::PathBuf| path.display().to_string();
    Ok(ConfigurationReply {
        path: loaded.path.as_ref().map(shown),
        files: loaded.files.iter().map(shown).collect(),
        sections: loaded.config.outline(),
        disabled: Vec::new(),
    })
}

fn plain(reply: &ConfigurationReply) -> String {
    let mut text = String::new();
    if reply.files.is_empty() {
        text += "# No configuration file; all values are defaults.\n";
    } else {
        text += &format!("# From {}\n", reply.files.join(", "));
    }
    for section in &reply.sections {
        let heading = if section.repeated {
            format!("[[{}]]", section.name)
        } else {
            format!("[{}]", section.name)
        };
        text += &format!("\n{heading}\n");
        for setting in &section.settings {
            text += &line(setting);
        }
    }
    for it in &reply.disabled {
        text += &format!("\n# {}\n", disabled(it));
    }
    text
}

fn line(setting: &Setting) -> String {
    let Setting { key, value, origin } = setting;
    let origin = origin_text(origin);
    if value.is_empty() {
        return format!("# {key}: {origin}\n");
    }
    format!("{key} = {value}  # {origin}\n")
}

fn origin_text(origin: &Origin) -> String {
    match origin.kind.as_str() {
        "file" => format!(
            "{}:{}",
            origin.file.as_deref().unwrap_or("?"),
            origin.line.unwrap_or(0)
        ),
        "runtime" => format!(
            "changed at run time by {}, {}",
            origin.by.as_deref().unwrap_or("?"),
            timestamp(origin.at.unwrap_or_default())
        ),
        "command-line" => "command line of the daemon".into(),
        other => other.to_owned(),
    }
}

fn disabled(it: &Disabled) -> String {
    let place = it.defined_at.as_ref();
    let place = place.map_or_else(String::new, |place| format!(" ({})", origin_text(place)));
    let cause = origin_text(&it.origin);
    let cause = match it.origin.kind.as_str() {
        "file" => format!("disabled by {cause}"),
        _ => format!("removed or {cause}"),
    };
    format!("[[{}]] {}{place}: {cause}", it.section, it.name)
}

// ---- defaults

/// Adds every key that is not set, with its default.
fn add_defaults(sections: &mut Vec<Section>) {
    for doc in SECTIONS.iter().filter(|doc| doc.heading.starts_with('[')) {
        let single = !doc.heading.starts_with("[[") && !doc.name.contains('.');
        let absent = !sections.iter().any(|section| section.name == doc.name);
        // A section with a required key is absent by default.
        let has_required_key = KEYS
            .iter()
            .any(|key| key.section == doc.name && key.default == "required");
        if single && absent && !has_required_key && doc.name != "disabled" {
            sections.push(Section {
                name: doc.name.to_owned(),
                ..Section::default()
            });
        }
    }
    let place = |section: &Section| SECTIONS.iter().position(|doc| doc.name == section.name);
    sections.sort_by_key(place);
    for section in sections {
        let mode = section.settings.iter().find(|it| it.key == "mode");
        let mode = mode.map(|it| it.value.trim_matches('"').to_owned());
        for doc in KEYS {
            let Some(key) = key_within(doc, &section.name) else {
                continue;
            };
            let of_mode =
                doc.modes.is_empty() || mode.as_deref().is_some_and(|it| doc.modes.contains(&it));
            let inner = format!("{key}.");
            let set = section
                .settings
                .iter()
                .any(|it| it.key == key || it.key.starts_with(&inner));
            // A required key has no default; an absent table has one as a whole.
            if of_mode && !set && doc.default != "required" && !key.contains('.') {
                section.settings.push(default_of(doc, key));
            }
        }
    }
}

/// Returns the dotted key relative to `section`.
fn key_within(doc: &'static KeyDoc, section: &str) -> Option<String> {
    let rest = doc.section.strip_prefix(section)?;
    if rest.is_empty() {
        return Some(doc.key.to_owned());
    }
    Some(format!("{}.{}", rest.strip_prefix('.')?, doc.key))
}

fn default_of(doc: &KeyDoc, key: String) -> Setting {
    let (value, origin) = match default_value(doc) {
        Some(value) => (value, "default".to_owned()),
        None => (String::new(), format!("default: {}", doc.default)),
    };
    Setting {
        key,
        value,
        origin: Origin {
            kind: origin,
            ..Origin::default()
        },
    }
}

/// Returns the default in TOML syntax, if it is a value.
fn default_value(doc: &KeyDoc) -> Option<String> {
    let default = doc.default;
    if format!("x = {default}").parse::<toml::Table>().is_ok() {
        return Some(default.to_owned());
    }
    let word = format!("`{default}`");
    let text = doc.kind.contains(&word)
        || default != "none" && !default.contains(' ') && ["path", "string"].contains(&doc.kind);
    text.then(|| format!("\"{default}\""))
}

// ---- JSON

fn data(reply: &ConfigurationReply) -> Value {
    let sections = reply.sections.iter().map(|section| {
        let settings = section.settings.iter().map(|setting| {
            let table = format!("x = {}", setting.value).parse::<toml::Table>().ok();
            let value = table.and_then(|table| serde_json::to_value(&table["x"]).ok());
            json!({ "key": setting.key, "value": value, "origin": setting.origin })
        });
        json!({
            "section": section.name, "repeated": section.repeated, "settings": settings.collect::<Vec<_>>(),
        })
    });
    json!({
        "path": reply.path, "files": reply.files, "sections": sections.collect::<Vec<_>>(),
        "disabled": reply.disabled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_the_same_configuration_with_and_without_defaults() {
        let text = "[observability]\nlog-level = \"debug\"\nlog-path = \"/a#b\"\n[[source]]\nmode = \"pool\"\naddress = \"a\"\npoll-interval-limits.min = 5\n";
        let (config, _) = ntp_config::parse(text, "/x/ntp.toml").unwrap();
        for all in [false, true] {
            let mut reply = ConfigurationReply {
                sections: config.outline(),
                ..ConfigurationReply::default()
            };
            if all {
                add_defaults(&mut reply.sections);
            }
            let shown = plain(&reply);
            assert!(
                shown.contains("log-level = \"debug\"  # /x/ntp.toml:2\n"),
                "{shown}"
            );
            assert_eq!(shown.contains("count = 4  # default\n"), all, "{shown}");
            let (again, _) =
                ntp_config::parse(&shown, "shown").unwrap_or_else(|it| panic!("{it}\n{shown}"));
            assert_eq!(again.sources[0].kind, config.sources[0].kind, "{shown}");
            assert_eq!(
                again.observability.log_level,
                config.observability.log_level
            );
            assert_eq!(again.synchronization, config.synchronization);
            assert_eq!(again.state, config.state);
            assert_eq!(again.clock, config.clock);
        }
    }
}
