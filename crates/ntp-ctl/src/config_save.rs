//! `ntp-ctl config save`: writes run-time changes to a file for the next start.
//!
//! The sandbox of the daemon does not allow it to write its configuration. So the daemon reports
//! its changes, and this program, run by a privileged user, writes the drop-in
//! `ntp.toml.d/90-runtime.toml` beside the main file: sources and servers that were added or
//! changed, a `[disabled]` section for those of other files that were removed or changed, and the
//! log level. A restart then has the configuration that is active now; the next `save` replaces the
//! file.
//!
//! The daemon is trusted no further than that: the path is determined here; only these sections are
//! taken, and their values are formatted anew; other sections of an existing file are kept from the
//! file.
//!
//! The file is replaced atomically (temporary file, fsync, rename). If all files together are
//! invalid afterwards, the previous one is restored.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ntp_control_api::control::methods::{ConfigurationReply, GetConfiguration, NoInput};
use ntp_files::MAX_TEXT;
use ntp_types::configuration::Origin;
use serde_json::json;
use toml::{Table, Value};

use crate::connect::{Socket, call};
use crate::console::{Console, Failure};
use crate::settings_table::table;

/// Name of the file: sorted after an administrator's `10-…` to `80-…`, which it overrides.
const NAME: &str = "90-runtime.toml";

pub(crate) fn run(
    config: Option<&Path>,
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut client = Socket::find(config)?.connect()?;
    let reply = call::<GetConfiguration>(&mut client, &NoInput {})?;
    let main = main_file(config, &reply)?;
    let [_, folder] = ntp_config::drop_in_directories(&main);
    let path = folder.join(NAME);
    let before = match ntp_files::read_text(&path, MAX_TEXT) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", &path, &error)),
    };
    let kept = match before.as_deref().map(str::parse::<Table>) {
        Some(Ok(table)) => foreign_sections(table),
        Some(Err(_)) => {
            return Err(Failure::Error(format!(
                "{} is invalid: see `ntp-ctl validate`; correct or remove it first",
                path.display()
            )));
        }
        None => Table::new(),
    };
    let changes = Changes::from_reply(&reply, &path);
    let table = changes.merge_into(kept);
    let written = if table.is_empty() {
        if before.is_some() {
            fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        }
        false
    } else {
        let body = toml::to_string(&table).map_err(|error| Failure::Error(error.to_string()))?;
        let text = format!("{HEADER}{body}");
        write(&path, &text).map_err(|error| failed("write", &path, &error))?;
        check(config, &path, before.as_deref())?;
        true
    };
    if as_json {
        return console.print_json(&json!({
            "done": true,
            "path": written.then(|| path.display().to_string()),
            "sources": changes.sources.len(), "servers": changes.servers.len(),
            "disabled": changes.disabled_sources.iter().chain(&changes.disabled_servers).collect::<Vec<_>>(),
            "log_level": changes.log_level,
        }));
    }
    if !written {
        let removed = if before.is_some() {
            format!("; removed: {}", path.display())
        } else {
            String::new()
        };
        writeln!(console.out, "No run-time changes to save{removed}")?;
        return Ok(());
    }
    writeln!(console.out, "Written: {}", path.display())?;
    changes.list(console)
}

const HEADER: &str =
    "# Run-time changes, written by `ntp-ctl config save`. The next `save` replaces this file.\n\n";

/// Returns the main file, which must be that of the daemon: a drop-in beside another file would
/// have no effect.
fn main_file(config: Option<&Path>, reply: &ConfigurationReply) -> Result<PathBuf, Failure> {
    let ours = config.unwrap_or_else(|| Path::new(ntp_config::DEFAULT_PATH));
    let ours = std::path::absolute(ours).map_err(|error| failed("find", ours, &error))?;
    let theirs = reply
        .path
        .as_deref()
        .map_or_else(|| ours.clone(), PathBuf::from);
    if real(&ours) != real(&theirs) {
        return Err(Failure::Error(format!(
            "The daemon uses another configuration: run this with `--config {}`",
            theirs.display()
        )));
    }
    Ok(ours)
}

/// Returns the path without symbolic links and `..`: the daemon may have been started with another
/// path of the same file. A path without a file is returned as it is.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Returns the sections of an existing file that this command does not write.
fn foreign_sections(mut table: Table) -> Table {
    for ours in ["source", "server", "disabled"] {
        table.remove(ours);
    }
    if let Some(Value::Table(observability)) = table.get_mut("observability") {
        observability.remove("log-level");
        if observability.is_empty() {
            table.remove("observability");
        }
    }
    table
}

/// Run-time changes to write.
#[derive(Debug, Default)]
struct Changes {
    sources: Vec<Table>,
    servers: Vec<Table>,
    disabled_sources: Vec<String>,
    disabled_servers: Vec<String>,
    log_level: Option<String>,
}

impl Changes {
    fn from_reply(reply: &ConfigurationReply, path: &Path) -> Self {
        let path = real(path);
        let here = |origin: &Origin| {
            let file = origin.file.as_deref().map(Path::new);
            file.is_some_and(|file| real(file) == path)
        };
        let ours = |origin: &Origin| origin.kind == "runtime" || here(origin);
        let mut changes = Self::default();
        for section in &reply.sections {
            match section.name.as_str() {
                "source" if ours(&section.origin) => changes.sources.push(table(section)),
                "server" if ours(&section.origin) => changes.servers.push(table(section)),
                "observability" => {
                    let level = section.settings.iter().find(|it| it.key == "log-level");
                    let level = level.filter(|it| ours(&it.origin));
                    changes.log_level =
                        level.and_then(|it| Some(value(&it.value)?.as_str()?.to_owned()));
                }
                _ => {}
            }
        }
        for it in &reply.disabled {
            let is_defined_here = it.defined_at.as_ref().is_some_and(here);
            let list = match it.section.as_str() {
                "source" => &mut changes.disabled_sources,
                _ => &mut changes.disabled_servers,
            };
            if ours(&it.origin) && !is_defined_here && !list.contains(&it.name) {
                list.push(it.name.clone());
            }
        }
        changes
    }

    /// Prints the names of everything that was written.
    fn list(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        for (what, names) in [
            ("source", names(&self.sources, "address")),
            ("server", names(&self.servers, "listen")),
            ("disabled", self.disabled_sources.clone()),
            ("disabled", self.disabled_servers.clone()),
            ("log level", self.log_level.iter().cloned().collect()),
        ] {
            for name in names {
                writeln!(console.out, "{what:<9}: {name}")?;
            }
        }
        Ok(())
    }

    /// Adds the changes to the other sections of the file.
    fn merge_into(&self, mut table: Table) -> Table {
        let texts =
            |names: &[String]| Value::Array(names.iter().cloned().map(Value::String).collect());
        let tables =
            |tables: &[Table]| Value::Array(tables.iter().cloned().map(Value::Table).collect());
        let mut disabled = Table::new();
        if !self.disabled_sources.is_empty() {
            disabled.insert("sources".into(), texts(&self.disabled_sources));
        }
        if !self.disabled_servers.is_empty() {
            disabled.insert("servers".into(), texts(&self.disabled_servers));
        }
        if !disabled.is_empty() {
            table.insert("disabled".into(), Value::Table(disabled));
        }
        if let Some(level) = &self.log_level {
            let section = table
                .entry("observability")
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                section.insert("log-level".into(), Value::String(level.clone()));
            }
        }
        if !self.sources.is_empty() {
            table.insert("source".into(), tables(&self.sources));
        }
        if !self.servers.is_empty() {
            table.insert("server".into(), tables(&self.servers));
        }
        table
    }
}

fn names(tables: &[Table], key: &str) -> Vec<String> {
    let names = tables.iter().filter_map(|table| table.get(key)?.as_str());
    names.map(ToOwned::to_owned).collect()
}

fn value(text: &str) -> Option<Value> {
    let table = format!("x = {text}").parse::<Table>().ok()?;
    table.get("x").cloned()
}

/// Replaces the file atomically and waits until it is on disk.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    ntp_files::replace(path, text.as_bytes(), 0o666, None)
}

/// Checks that all files together are valid; restores the previous file otherwise.
fn check(config: Option<&Path>, path: &Path, before: Option<&str>) -> Result<(), Failure> {
    let Err(problem) = ntp_config::load(config) else {
        return Ok(());
    };
    let restored = match before {
        Some(text) => write(path, text),
        None => fs::remove_file(path),
    };
    let restored = match restored {
        Ok(()) => "nothing changed".to_owned(),
        Err(error) => format!("could not restore {}: {error}", path.display()),
    };
    Err(Failure::Error(format!(
        "Configuration would be invalid with the saved changes ({restored}): {problem}"
    )))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => {
            ". Use sudo: the file belongs to the administrator, not to the daemon"
        }
        ErrorKind::ReadOnlyFilesystem => {
            ". On a read-only /etc, add the run-time changes of `ntp-ctl config show` to the configuration of the image"
        }
        _ => "",
    };
    Failure::Error(format!(
        "Could not {what} {}: {error}{advice}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str, name: &str) -> ConfigurationReply {
        let (config, _) = ntp_config::parse(text, name).unwrap();
        ConfigurationReply {
            sections: config.outline(),
            ..ConfigurationReply::default()
        }
    }

    #[test]
    fn changes_and_previously_saved_changes_are_saved() {
        let sources = "[[source]]\nmode = \"server\"\naddress = \"a\"\npoll-interval-limits = { min = 4, max = 5 }\n[[source]]\nmode = \"server\"\naddress = \"b\"\n";
        let here = Path::new("/x/ntp.toml.d/90-runtime.toml");
        let mut of_file = reply(sources, "/x/ntp.toml");
        assert!(
            Changes::from_reply(&of_file, here)
                .merge_into(Table::new())
                .is_empty()
        );
        of_file.sections[0].origin.kind = "runtime".into();
        let saved = Changes::from_reply(&of_file, here);
        let text = toml::to_string(&saved.merge_into(Table::new())).unwrap();
        let (config, _) = ntp_config::parse(&text, "saved").unwrap();
        let (expected, _) = ntp_config::parse(sources, "ntp.toml").unwrap();
        assert_eq!(config.sources.len(), 1);
        assert_eq!(config.sources[0].kind, expected.sources[0].kind);
        let again = Changes::from_reply(&reply(&text, &here.display().to_string()), here);
        assert_eq!(again.sources, saved.sources);
    }

    /// The daemon may have been started with another path of the same files.
    #[test]
    fn saved_changes_are_found_by_every_path_of_their_file() {
        let name = format!("ntp-ctl-save-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let [folder, link] = ["ntp.toml.d", "link"].map(|name| directory.join(name));
        fs::create_dir_all(&folder).unwrap();
        let _ = std::os::unix::fs::symlink(&folder, &link);
        let here = folder.join(NAME);
        let text = "[[source]]\nmode = \"server\"\naddress = \"a\"\n";
        fs::write(&here, text).unwrap();
        for path in [link.join(NAME), folder.join("../ntp.toml.d").join(NAME)] {
            let daemon = reply(text, &path.display().to_string());
            assert_eq!(
                Changes::from_reply(&daemon, &here).sources.len(),
                1,
                "{path:?}"
            );
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    /// A compromised daemon must not control what root writes.
    #[test]
    fn only_sections_that_commands_change_are_taken_from_the_daemon() {
        let mut malicious = reply(
            "[observability]\nlog-path = \"/etc/passwd\"\n",
            "/x/ntp.toml",
        );
        malicious.sections[0].origin.kind = "runtime".into();
        malicious.sections[0].settings[0].origin.kind = "runtime".into();
        let here = Path::new("/x/ntp.toml.d/90-runtime.toml");
        assert!(
            Changes::from_reply(&malicious, here)
                .merge_into(Table::new())
                .is_empty()
        );
        let mut malicious = reply(
            "[[source]]\nmode = \"server\"\naddress = \"a\"\n",
            "/x/ntp.toml",
        );
        malicious.sections[0].origin.kind = "runtime".into();
        malicious.sections[0].settings[1].value =
            "\"a\"\n[observability]\nlog-path = \"/etc/passwd\"".into();
        let saved = Changes::from_reply(&malicious, here).merge_into(Table::new());
        assert!(!saved.contains_key("observability"), "{saved}");
    }
}
