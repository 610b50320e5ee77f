//! Connects to the control socket of the daemon and explains failures.
//!
//! The configuration is read only to find the socket. Error messages of the operating system
//! ("connection refused") do not name the cause; the advice here does.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ntp_config::LoadError;
use ntp_control_api::control::DEFAULT_PATH;
use ntp_control_api::control::client::{CallError, Client};
use ntp_control_api::control::methods::{Error, GetStatus, Method, NoInput};
use ntp_files::MAX_TEXT;
use ntp_types::status::Status;

use crate::console::Failure;

/// Timeout of each read and write.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The control socket.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    /// Where the path comes from, for error messages.
    origin: String,
}

impl Socket {
    /// Finds the socket of the daemon that uses this configuration file.
    pub(crate) fn find(config: Option<&Path>) -> Result<Self, Failure> {
        let loaded = match ntp_config::load(config) {
            Ok(loaded) => loaded,
            Err(problem @ LoadError::Io { .. }) if config.is_some() => {
                return Err(Failure::Error(format!(
                    "Control socket unknown: configuration cannot be loaded: {problem}"
                )));
            }
            // The running daemon was started with a valid configuration and can be queried still.
            Err(_) => {
                let main = config.unwrap_or_else(|| Path::new(ntp_config::DEFAULT_PATH));
                return Ok(Self {
                    path: path_in_invalid_file(main, "control", "path")
                        .unwrap_or_else(|| DEFAULT_PATH.into()),
                    origin:
                        "The path may be wrong: the configuration is invalid, see `ntp-ctl validate`."
                            .into(),
                });
            }
        };
        let file = loaded.path.as_ref().map(|path| path.display().to_string());
        let Some(path) = loaded.config.control.path else {
            return Err(Failure::Error(format!(
                "Control socket disabled: `enabled = false` in [control] of {}",
                file.unwrap_or_default()
            )));
        };
        let origin = match file {
            Some(file) => {
                format!("The path is `path` in [control] of {file}, or the default.")
            }
            None => no_configuration(),
        };
        Ok(Self { path, origin })
    }

    pub(crate) fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.path, TIMEOUT).map_err(|error| Failure::Error(self.explain(&error)))
    }

    /// Connects, or returns `None` if the daemon does not run.
    pub(crate) fn try_connect(&self) -> Option<Client> {
        Client::connect(&self.path, TIMEOUT).ok()
    }

    fn explain(&self, error: &io::Error) -> String {
        let path = self.path.display();
        let log = where_to_look();
        let advice = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                format!("The daemon is not running, or could not create the socket.\n{log}")
            }
            ErrorKind::PermissionDenied => {
                "Access to the socket requires the permissions that `mode` in [control] sets (0o666: everyone),\n\
                 and access to its directory."
                    .to_owned()
            }
            ErrorKind::TimedOut => format!(
                "The daemon runs, but does not respond: it is stopped (SIGSTOP) or hangs.\n\
                 {log} Then restart it."
            ),
            _ => String::new(),
        };
        format!(
            "Could not connect to the daemon at {path}: {error}\n\n{advice}\n\n{}",
            self.origin
        )
    }
}

/// Error message part that names the state and the log of the service.
pub(crate) fn where_to_look() -> &'static str {
    // As sd_booted(3).
    where_to_look_with(Path::new("/run/systemd/system").is_dir())
}

/// The same for a machine with or without systemd; others have OpenRC, procd or a container.
const fn where_to_look_with(systemd: bool) -> &'static str {
    if systemd {
        "Check `systemctl status ntpd-rs` and `journalctl -u ntpd-rs`."
    } else {
        "Check the log of the service ntpd-rs."
    }
}

/// Error message part for a missing configuration file.
pub(crate) fn no_configuration() -> String {
    format!(
        "No readable configuration at {}; use `--config PATH` for that of the daemon.",
        ntp_config::DEFAULT_PATH
    )
}

/// Returns the path that a key names in a main file that is invalid otherwise.
pub(crate) fn path_in_invalid_file(main: &Path, section: &str, key: &str) -> Option<PathBuf> {
    let table: toml::Table = ntp_files::read_text(main, MAX_TEXT).ok()?.parse().ok()?;
    let path = table.get(section)?.get(key)?.as_str()?;
    Some(PathBuf::from(path))
}

/// Calls a method and converts errors to messages.
pub(crate) fn call<M: Method>(client: &mut Client, input: &M::Input) -> Result<M::Output, Failure> {
    client.call::<M>(input).map_err(|error| to_failure(&error))
}

/// Fetches the state of the daemon.
pub(crate) fn status(config: Option<&Path>) -> Result<Status, Failure> {
    let mut client = Socket::find(config)?.connect()?;
    Ok(call::<GetStatus>(&mut client, &NoInput {})?.status)
}

/// Converts the error of a call to a message with advice.
pub(crate) fn to_failure(error: &CallError) -> Failure {
    let text = match error {
        CallError::Refused(Error::PermissionDenied { caller, permitted }) => format!(
            "Permission denied: you are {caller}; permitted: {permitted}.\n\
             Use sudo, or have the administrator set `group` in [control] to a group of yours"
        ),
        CallError::Other { name, .. } if name.ends_with(".MethodNotFound") => {
            "Command not supported by the running daemon: it is older than this ntp-ctl".into()
        }
        other => other.to_string(),
    };
    match error {
        CallError::Refused(error) => Failure::Refused(text, error.name(), error.parameters()),
        _ => Failure::Error(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_of_systemd_are_named_where_it_runs() {
        assert!(where_to_look_with(true).contains("systemctl"));
        assert!(!where_to_look_with(false).contains("ctl"));
    }
}
