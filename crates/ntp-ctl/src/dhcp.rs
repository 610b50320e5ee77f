//! `ntp-ctl dhcp`: takes up the time servers that DHCP names, or withdraws them.
//!
//! The hooks of all DHCP clients call this one command. It writes a drop-in file for each interface
//! into `dhcp-sources-directory`, which does not survive a boot, and lets the daemon read that
//! directory again. A daemon that starts later finds the files.
//!
//! DHCP is not authenticated, so strangers choose the arguments: nothing but an address or a host
//! name gets into a file, and the number of servers is bounded. What is invalid is reported and left
//! out. The directory belongs to the daemon's user, whom root must not trust: it is held by a
//! descriptor, and nothing in it is followed or opened for writing if it exists.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use ntp_config::{DhcpSources, LoadError, SynchronizationConfig};
use ntp_control_api::control::methods::{NoInput, ReloadDhcpSources};
use ntp_files::{Entry, MAX_TEXT};
use ntp_types::host::{Host, HostError};
use serde_json::json;

use crate::connect::{Socket, call, path_in_invalid_file};
use crate::console::{Console, Failure};
use crate::reload;

/// Maximum number of servers of one list. Networks name four at most in practice.
const MAX_SERVERS: usize = 16;

/// Longest name of a list: that of an interface (15 characters) with an addition of the hook.
const MAX_NAME: usize = 32;

/// Parses the name of a list, which becomes part of a file name.
pub(crate) fn list_name(text: &str) -> Result<String, String> {
    let is_permitted = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@+".contains(&byte);
    if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_permitted) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected 1 to {MAX_NAME} letters, digits and characters of -_.:@+"
    ))
}

pub(crate) fn run(
    config: Option<&Path>,
    name: &str,
    servers: &[OsString],
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (servers, ignored) = valid(servers);
    for reason in &ignored {
        console.message(format_args!("DHCP, {name}: {reason}"));
    }
    let settings = settings(config)?;
    let directory = &settings.dhcp_sources_directory;
    let file = format!("dhcp-{name}.toml");
    let path = directory.join(&file);
    let changed = update(directory, &file, &content(name, &servers))
        .map_err(|error| failed(&path, &error))?;
    // A daemon that does not run reads the file when it starts.
    let socket = Socket::find(config).ok().filter(|_| changed);
    let reply = match socket.and_then(|it| it.try_connect()) {
        Some(mut client) => Some(call::<ReloadDhcpSources>(&mut client, &NoInput {})?),
        None => None,
    };
    let used = settings.dhcp_sources != DhcpSources::Ignore;
    if as_json {
        let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
        return console.print_json(&json!({
            "done": true, "path": path, "servers": servers, "ignored": ignored,
            "changed": changed, "used": used, "reload": reply,
        }));
    }
    let what = match (changed, servers.is_empty()) {
        (false, _) => "Unchanged",
        (true, false) => "Written",
        (true, true) => "Removed",
    };
    writeln!(console.out, "{what:<15}: {}", path.display())?;
    if let Some(reply) = reply {
        let text = reload::report(&reply, console);
        console.print(&text)?;
    }
    if !used {
        console.print("Not used       : `dhcp-sources` in [synchronization] is \"ignore\"\n")?;
    }
    Ok(())
}

/// Returns the settings of the daemon. An invalid configuration is no reason to keep the servers of
/// the last network.
fn settings(config: Option<&Path>) -> Result<SynchronizationConfig, Failure> {
    let mut settings = match ntp_config::load(config) {
        Ok(loaded) => return Ok(loaded.config.synchronization),
        Err(problem @ LoadError::Io { .. }) if config.is_some() => {
            return Err(Failure::Error(problem.to_string()));
        }
        Err(_) => SynchronizationConfig::default(),
    };
    let main = config.unwrap_or_else(|| Path::new(ntp_config::DEFAULT_PATH));
    let named = path_in_invalid_file(main, "synchronization", "dhcp-sources-directory");
    settings.dhcp_sources_directory = named.unwrap_or(settings.dhcp_sources_directory);
    Ok(settings)
}

/// Returns the servers, each once, and why others are left out.
fn valid(texts: &[OsString]) -> (Vec<Host>, Vec<String>) {
    let (mut servers, mut ignored) = (Vec::new(), Vec::new());
    for text in texts {
        if servers.len().max(ignored.len()) == MAX_SERVERS {
            ignored.push(format!(
                "further servers are not used: at most {MAX_SERVERS} are"
            ));
            break;
        }
        let text = text.to_string_lossy();
        match Host::parse(&text) {
            Ok(host) if servers.contains(&host) => {}
            Ok(host) => servers.push(host),
            Err(error) => ignored.push(refusal(&text, error)),
        }
    }
    (servers, ignored)
}

fn refusal(text: &str, error: HostError) -> String {
    // A log line, whatever a stranger sends.
    let start: String = text.chars().take(64).collect();
    format!("{start:?} is not used: {error}")
}

/// Returns the content of the file; empty without servers.
fn content(name: &str, servers: &[Host]) -> String {
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(
            text,
            "\n[[source]]\nmode = \"server\"\naddress = \"{server}\""
        );
    }
    if text.is_empty() {
        return text;
    }
    format!("# Time servers of DHCP, {name}. `ntp-ctl dhcp` replaces this file.\n{text}")
}

/// Replaces the file `name` atomically, or removes it if `content` is empty. Returns whether it has
/// changed.
fn update(directory: &Path, name: &str, content: &str) -> io::Result<bool> {
    if content.is_empty() && !directory.exists() {
        return Ok(false);
    }
    if let Some(parent) = directory.parent() {
        open_or_create(parent)?;
    }
    let held = open_or_create(directory)?;
    let inside = held.path();
    let target = inside.join(name);
    if content.is_empty() {
        return match fs::remove_file(&target) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        };
    }
    if ntp_files::read_text(&target, MAX_TEXT).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    ntp_files::replace(&target, content.as_bytes(), 0o644, None)?;
    Ok(true)
}

/// Opens a directory, which is no link, or creates it so that the daemon's user can read it, whatever
/// the umask of the DHCP client is.
fn open_or_create(directory: &Path) -> io::Result<Entry> {
    let created = match fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        created => created.map(|()| true)?,
    };
    let entry = Entry::open(directory)?;
    if !entry.metadata().is_dir() {
        let message = format!("{} is no directory", directory.display());
        return Err(io::Error::new(ErrorKind::NotADirectory, message));
    }
    if created {
        entry.set_mode(0o755)?;
    }
    Ok(entry)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => ". Use sudo: this command is for hooks, which run as root",
        _ => "",
    };
    let path = path.display();
    Failure::Error(format!("Could not change {path}: {error}{advice}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn hosts(texts: &[&str]) -> (Vec<Host>, Vec<String>) {
        let texts: Vec<_> = texts.iter().map(OsString::from).collect();
        valid(&texts)
    }

    /// DHCP options come from strangers.
    #[test]
    fn nothing_but_hosts_gets_into_the_file() {
        let hostile = [
            "192.0.2.1",
            "ntp.example.net",
            "2001:db8::1",
            "fe80::1%eth0",
            "192.0.2.1",
            "a\"\n[[server]]\nlisten = \"[::]:123",
            "a b",
            "$(reboot)",
            "\u{1b}]0;x\u{7}",
            "224.0.1.1",
            "0.0.0.0",
            "255.255.255.255",
            "fe80::1",
            "",
            "--help",
            "127.0.0.1:99",
            &"x".repeat(100_000),
        ];
        let (servers, ignored) = hosts(&hostile);
        assert_eq!((servers.len(), ignored.len()), (4, 12));
        for reason in &ignored {
            assert!(
                reason.len() < 500 && !reason.contains(char::is_control),
                "{reason}"
            );
        }
        let text = content("eth0", &servers);
        let (config, warnings) = ntp_config::parse(&text, "dhcp-eth0.toml").unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let sources = config.sources.iter();
        let names: Vec<_> = sources.filter_map(ntp_config::SourceConfig::name).collect();
        let expected = [
            "192.0.2.1:123",
            "ntp.example.net:123",
            "[2001:db8::1]:123",
            "[fe80::1%eth0]:123",
        ];
        assert_eq!(names, expected);
        let many: Vec<_> = (1..=200).map(|it| format!("192.0.2.{it}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let (servers, ignored) = hosts(&many);
        assert_eq!((servers.len(), ignored.len()), (MAX_SERVERS, 1));
    }

    #[test]
    fn names_of_lists_are_names_of_files() {
        for good in [
            "eth0",
            "br-lan.7",
            "eth0:1",
            "wlp2s0",
            ".",
            "networkd",
            "eth0-dhcp6",
        ] {
            assert_eq!(list_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "../x", "a/b", "a b", "a\n", "ü", &"x".repeat(33)] {
            assert!(list_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_is_replaced_and_removed_and_nothing_else_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("run/sources.d");
        let file = directory.join("dhcp-eth0.toml");
        fs::create_dir(root.path().join("run")).unwrap();
        let update = |content: &str| update(&directory, "dhcp-eth0.toml", content).unwrap();
        assert!(!update(""));
        assert!(!directory.exists());
        assert!(update("one\n"));
        assert!(!update("one\n"));
        assert!(update("two\n"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "two\n");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        for (path, mode) in [(&directory, 0o755), (&file, 0o644)] {
            let found = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode);
        }
        assert!(update("") && !update(""));
        assert!(!file.exists());
    }

    /// The directory belongs to the daemon's user, which may be compromised.
    #[test]
    fn links_of_the_daemons_user_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (directory, elsewhere) = (root.path().join("sources.d"), root.path().join("etc"));
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &directory).unwrap();
        let refused = update(&directory, "dhcp-eth0.toml", "x").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotADirectory);
        fs::remove_file(&directory).unwrap();
        fs::create_dir(&directory).unwrap();
        let precious = elsewhere.join("passwd");
        fs::write(&precious, "root").unwrap();
        symlink(&precious, directory.join("dhcp-eth0.toml")).unwrap();
        symlink(&precious, directory.join(".dhcp-eth0.toml.new")).unwrap();
        assert!(update(&directory, "dhcp-eth0.toml", "x").unwrap());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "root");
    }
}
