//! Reaching the daemon's control socket, and saying what to do where that fails.
//!
//! The configuration is read only to find the socket. The operating system's words for the usual failures ("connection refused") do not
//! name their causes; the advice here does.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ntp_config::LoadError;
use ntp_control_api::control::DEFAULT_PATH;
use ntp_control_api::control::client::{CallError, Client};
use ntp_control_api::control::methods::{Error, GetStatus, Method, Nothing};
use ntp_control_api::control::types::Status;

use crate::console::Failure;

/// How long the daemon may take for each part of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The control socket.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    /// What the configuration has to do with it.
    origin: String,
}

impl Socket {
    /// Where the daemon with this configuration file has it.
    pub(crate) fn find(config: Option<&Path>) -> Result<Self, Failure> {
        let loaded = match ntp_config::load(config) {
            Ok(loaded) => loaded,
            Err(problem @ LoadError::Io { .. }) if config.is_some() => {
                return Err(Failure::Told(format!(
                    "Could not load the configuration, and so do not know where the control socket is: {problem}"
                )));
            }
            // The daemon that runs was started with a better one, and may be asked what it thinks of this one.
            Err(_) => {
                let main = config.unwrap_or_else(|| Path::new(ntp_config::DEFAULT_PATH));
                return Ok(Self {
                    path: rough_path(main).unwrap_or_else(|| DEFAULT_PATH.into()),
                    origin: "The path may be a wrong one, because the configuration is not acceptable: see `ntp-ctl validate`."
                        .into(),
                });
            }
        };
        let file = loaded.path.as_ref().map(|path| path.display().to_string());
        let Some(path) = loaded.config.control.path else {
            return Err(Failure::Told(format!(
                "There is no control socket: [control] has `enabled = false` in {}",
                file.unwrap_or_default()
            )));
        };
        let origin = match file {
            Some(file) => format!("The path is that of [control] in {file} or its default."),
            None => format!(
                "There is no readable configuration at {}; name the daemon's by `--config PATH`.",
                ntp_config::DEFAULT_PATH
            ),
        };
        Ok(Self { path, origin })
    }

    pub(crate) fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.path, PATIENCE).map_err(|error| Failure::Told(self.explain(&error)))
    }

    /// The same for those who can wait for the daemon to start: nothing if it is not there.
    pub(crate) fn try_connect(&self) -> Option<Client> {
        Client::connect(&self.path, PATIENCE).ok()
    }

    fn explain(&self, error: &io::Error) -> String {
        let path = self.path.display();
        let advice = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                "No daemon listens there. Is it running? With systemd, `systemctl status ntpd-rs` and `journalctl -u ntpd-rs` tell; \
                 a daemon that could not make the socket says so in its log."
            }
            ErrorKind::PermissionDenied => {
                "You may not open this socket: `mode` in [control] sets its permissions (0o666 lets everyone read), and you must be \
                 able to enter its directory."
            }
            _ => "",
        };
        format!(
            "Could not reach the daemon at {path}: {error}\n\n{advice}\n\n{}",
            self.origin
        )
    }
}

/// What a main file that is not acceptable as a whole says about the socket.
fn rough_path(main: &Path) -> Option<PathBuf> {
    let table: toml::Table = std::fs::read_to_string(main).ok()?.parse().ok()?;
    let path = table.get("control")?.get("path")?.as_str()?;
    Some(PathBuf::from(path))
}

/// Calls a method.
pub(crate) fn call<M: Method>(client: &mut Client, input: &M::Input) -> Result<M::Output, Failure> {
    client.call::<M>(input).map_err(|error| told(&error))
}

/// The daemon's state.
pub(crate) fn status(config: Option<&Path>) -> Result<Status, Failure> {
    let mut client = Socket::find(config)?.connect()?;
    Ok(call::<GetStatus>(&mut client, &Nothing {})?.status)
}

/// What a failed call means, and what to do.
pub(crate) fn told(error: &CallError) -> Failure {
    let text = match error {
        CallError::Refused(Error::PermissionDenied { caller, permitted }) => format!(
            "You may read, but not change anything: you are {caller}; {permitted} may. Try again with sudo, or have the administrator \
             name a group that you are in as `group` in [control]"
        ),
        CallError::Other { name, .. } if name.ends_with(".MethodNotFound") => {
            "The daemon that runs does not know this command: it is older than this ntp-ctl".into()
        }
        other => other.to_string(),
    };
    match error {
        CallError::Refused(refusal) => Failure::Refused(text, refusal.name(), refusal.parameters()),
        _ => Failure::Told(text),
    }
}
