//! `ntp-ctl config save`: what was changed at run time, written where the next start finds it.
//!
//! The daemon cannot write its configuration: in its sandbox that does not exist for writing. So it tells what was changed, and this program, run by
//! somebody who may, writes the drop-in `ntp.toml.d/90-runtime.toml` beside the main file: sources and servers that were added or changed, a
//! `[disabled]` for those that files have and that were removed or changed, the log level. A restart then comes up with the configuration that
//! runs now, and a second `save` replaces the first.
//!
//! What the daemon says is not trusted further than that: where the file is, is found out here; only these sections are taken, as values that are
//! written anew; and other sections that somebody has put into the file are kept from the file.
//!
//! The file appears in one piece (temporary file, fsync, rename), and if all files together are not acceptable afterwards, it is as it was before.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use ntp_control_api::control::methods::{ConfigurationReply, GetConfiguration, Nothing};
use ntp_control_api::control::types::{Origin, Section};
use serde_json::json;
use toml::{Table, Value};

use crate::connect::{Socket, call};
use crate::console::{Console, Failure};

/// The file's name: late, so that it has the last word over an administrator's `10-…` to `80-…`.
const NAME: &str = "90-runtime.toml";

pub(crate) fn run(
    config: Option<&Path>,
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut client = Socket::find(config)?.connect()?;
    let reply = call::<GetConfiguration>(&mut client, &Nothing {})?;
    let main = main_file(config, &reply)?;
    let [_, folder] = ntp_config::folders_of(&main);
    let path = folder.join(NAME);
    let before = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", &path, &error)),
    };
    let kept = match before.as_deref().map(str::parse::<Table>) {
        Some(Ok(table)) => others(table),
        Some(Err(_)) => {
            return Err(Failure::Told(format!(
                "{} is damaged: see `ntp-ctl validate`; correct or remove it first",
                path.display()
            )));
        }
        None => Table::new(),
    };
    let saved = Saved::of(&reply, &path);
    let table = saved.over(kept);
    let written = if table.is_empty() {
        if before.is_some() {
            fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        }
        false
    } else {
        let body = toml::to_string(&table).map_err(|error| Failure::Told(error.to_string()))?;
        let text = format!("{HEAD}{body}");
        write(&path, &text).map_err(|error| failed("write", &path, &error))?;
        check(config, &path, before.as_deref())?;
        true
    };
    if as_json {
        return console.json(&json!({
            "done": true,
            "path": written.then(|| path.display().to_string()),
            "sources": saved.sources.len(), "servers": saved.servers.len(),
            "disabled": saved.disabled_sources.iter().chain(&saved.disabled_servers).collect::<Vec<_>>(),
            "log_level": saved.log_level,
        }));
    }
    if !written {
        let gone = if before.is_some() {
            "; its file was removed"
        } else {
            ""
        };
        writeln!(
            console.out,
            "Nothing has been changed at run time that the files do not say{gone}"
        )?;
        return Ok(());
    }
    writeln!(console.out, "Written: {}", path.display())?;
    for (what, names) in [
        ("source", saved.names(&saved.sources, "address")),
        ("server", saved.names(&saved.servers, "listen")),
        ("disabled", saved.disabled_sources.clone()),
        ("disabled", saved.disabled_servers.clone()),
        ("log level", saved.log_level.iter().cloned().collect()),
    ] {
        for name in names {
            writeln!(console.out, "{what:<9}: {name}")?;
        }
    }
    Ok(())
}

const HEAD: &str = "# Written by `ntp-ctl config save`: what was changed at run time. The next `save` writes it anew.\n\n";

/// The main file, which must be the one that the daemon reads: a file beside another would be read by nobody.
fn main_file(config: Option<&Path>, reply: &ConfigurationReply) -> Result<PathBuf, Failure> {
    let ours = config.unwrap_or_else(|| Path::new(ntp_config::DEFAULT_PATH));
    let ours = std::path::absolute(ours).map_err(|error| failed("find", ours, &error))?;
    let theirs = reply
        .path
        .as_deref()
        .map_or_else(|| ours.clone(), PathBuf::from);
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(&ours) != real(&theirs) {
        return Err(Failure::Told(format!(
            "The daemon was started with {}: name it by `--config {0}`",
            theirs.display()
        )));
    }
    Ok(ours)
}

/// What of an existing file is not ours to write.
fn others(mut table: Table) -> Table {
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

/// What is to be written.
#[derive(Debug, Default)]
struct Saved {
    sources: Vec<Table>,
    servers: Vec<Table>,
    disabled_sources: Vec<String>,
    disabled_servers: Vec<String>,
    log_level: Option<String>,
}

impl Saved {
    fn of(reply: &ConfigurationReply, path: &Path) -> Self {
        let path = path.display().to_string();
        let here = |origin: &Origin| origin.file.as_deref() == Some(&path);
        let ours = |origin: &Origin| origin.kind == "runtime" || here(origin);
        let mut saved = Self::default();
        for section in &reply.sections {
            match section.name.as_str() {
                "source" if ours(&section.origin) => saved.sources.push(table(section)),
                "server" if ours(&section.origin) => saved.servers.push(table(section)),
                "observability" => {
                    let level = section.settings.iter().find(|it| it.key == "log-level");
                    let level = level.filter(|it| ours(&it.origin));
                    saved.log_level =
                        level.and_then(|it| Some(value(&it.value)?.as_str()?.to_owned()));
                }
                _ => {}
            }
        }
        for gone in &reply.withdrawn {
            let stands_here = gone.stands.as_ref().is_some_and(here);
            let list = match gone.section.as_str() {
                "source" => &mut saved.disabled_sources,
                _ => &mut saved.disabled_servers,
            };
            if ours(&gone.origin) && !stands_here && !list.contains(&gone.name) {
                list.push(gone.name.clone());
            }
        }
        saved
    }

    /// All of it, with what the file has besides.
    fn over(&self, mut table: Table) -> Table {
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

    fn names(&self, tables: &[Table], key: &str) -> Vec<String> {
        let names = tables.iter().filter_map(|table| table.get(key)?.as_str());
        names.map(ToOwned::to_owned).collect()
    }
}

/// A section's settings as a table again.
fn table(section: &Section) -> Table {
    let mut table = Table::new();
    for setting in &section.settings {
        // One key with its value; tables with several keys come together.
        let one = format!("{} = {}", setting.key, setting.value);
        if let Ok(one) = one.parse::<Table>() {
            lay(&mut table, one);
        }
    }
    table
}

fn lay(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

fn value(text: &str) -> Option<Value> {
    let table = format!("x = {text}").parse::<Table>().ok()?;
    table.get("x").cloned()
}

/// The file in one piece, and on the disk when this returns.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    // Hidden, so that a reload in this moment passes it over.
    let temporary = folder.join(format!(".{NAME}.new"));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Whether all files together can be loaded; if not, the file becomes what it was.
fn check(config: Option<&Path>, path: &Path, before: Option<&str>) -> Result<(), Failure> {
    let Err(problem) = ntp_config::load(config) else {
        return Ok(());
    };
    let restored = match before {
        Some(text) => write(path, text),
        None => fs::remove_file(path),
    };
    let restored = match restored {
        Ok(()) => "nothing was changed".to_owned(),
        Err(error) => format!("{} could not be taken back: {error}", path.display()),
    };
    Err(Failure::Told(format!(
        "The files would not be acceptable with what is to be saved; {restored}: {problem}"
    )))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => {
            ". Try again with sudo: the file belongs to the administrator, not to the daemon"
        }
        ErrorKind::ReadOnlyFilesystem => {
            ". Where /etc cannot be written, put the lines of `ntp-ctl config show` that were changed at run time into the image's configuration"
        }
        _ => "",
    };
    Failure::Told(format!(
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
    fn what_is_saved_is_what_was_changed_and_what_the_file_has_already() {
        let sources = "[[source]]\nmode = \"server\"\naddress = \"a\"\npoll-interval-limits = { min = 4, max = 5 }\n[[source]]\nmode = \"server\"\naddress = \"b\"\n";
        let here = Path::new("/x/ntp.toml.d/90-runtime.toml");
        let mut of_file = reply(sources, "/x/ntp.toml");
        assert!(Saved::of(&of_file, here).over(Table::new()).is_empty());
        of_file.sections[0].origin.kind = "runtime".into();
        let saved = Saved::of(&of_file, here);
        let text = toml::to_string(&saved.over(Table::new())).unwrap();
        let (config, _) = ntp_config::parse(&text, "saved").unwrap();
        let (expected, _) = ntp_config::parse(sources, "ntp.toml").unwrap();
        assert_eq!(config.sources.len(), 1);
        assert_eq!(config.sources[0].kind, expected.sources[0].kind);
        let again = Saved::of(&reply(&text, &here.display().to_string()), here);
        assert_eq!(again.sources, saved.sources);
    }

    /// A daemon that was taken over tells root what to write.
    #[test]
    fn nothing_but_the_sections_that_commands_change_is_taken_from_the_daemon() {
        let mut sly = reply(
            "[observability]\nlog-path = \"/etc/passwd\"\n",
            "/x/ntp.toml",
        );
        sly.sections[0].origin.kind = "runtime".into();
        sly.sections[0].settings[0].origin.kind = "runtime".into();
        let here = Path::new("/x/ntp.toml.d/90-runtime.toml");
        assert!(Saved::of(&sly, here).over(Table::new()).is_empty());
        let mut sly = reply(
            "[[source]]\nmode = \"server\"\naddress = \"a\"\n",
            "/x/ntp.toml",
        );
        sly.sections[0].origin.kind = "runtime".into();
        sly.sections[0].settings[1].value =
            "\"a\"\n[observability]\nlog-path = \"/etc/passwd\"".into();
        let saved = Saved::of(&sly, here).over(Table::new());
        assert!(!saved.contains_key("observability"), "{saved}");
    }
}
