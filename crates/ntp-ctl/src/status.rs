//! `ntp-ctl status`: shows the state of the running daemon as upstream's tool does.
//!
//! The state comes from the observation socket, which is upstream's, or from the control socket if
//! no path of the former is configured. The configuration is read only to find them, so an invalid
//! one is a warning.
//! Error messages of the operating system ("connection refused") do not name the usual causes;
//! the advice here does.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ntp_control_api::metrics::prometheus_text;
use ntp_control_api::observation::{self, FetchError, ReadError, State};

use crate::connect::{self, no_configuration, where_to_look};
use crate::console::{Console, Failure};
use crate::output_format::Format;
use crate::status_text;

pub(crate) fn run(
    config: Option<&Path>,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let socket = Socket::find(config, format, console)?;
    let state = match observation::fetch(&socket.path, TIMEOUT) {
        Ok(state) => state,
        Err(error) => socket
            .state_of_control_socket(config)
            .ok_or_else(|| Failure::Error(socket.explain(&error)))?,
    };
    match format {
        Format::Plain | Format::Md | Format::Csv => console
            .out
            .write_all(status_text::plain(&state).as_bytes())?,
        Format::Json => {
            let json = serde_json::to_string_pretty(&state).map_err(std::io::Error::from)?;
            console.print_json_text(&json)?;
        }
        // Upstream prints one more line break than its exporter.
        Format::Prometheus => writeln!(console.out, "{}", prometheus_text(&state))?,
    }
    Ok(())
}

/// Timeout of each read. Upstream has 0.5 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The observation socket.
struct Socket {
    path: PathBuf,
    origin: Origin,
}

/// Origin of the path of the socket.
enum Origin {
    /// Set in this configuration file.
    Configured(PathBuf),
    /// Not set in this file; a daemon that uses it creates no socket.
    NotConfigured(PathBuf),
    /// No readable configuration file at the default path.
    NoFile,
    /// The configuration file is invalid.
    InvalidFile,
}

impl Socket {
    fn find(
        config: Option<&Path>,
        format: Format,
        console: &mut Console<'_>,
    ) -> Result<Self, Failure> {
        let (path, origin) = match ntp_config::load(config) {
            Ok(loaded) => {
                let path = loaded.config.observability.observation_path;
                let origin = match loaded.path {
                    Some(file) if path.is_some() => Origin::Configured(file),
                    Some(file) => Origin::NotConfigured(file),
                    None => Origin::NoFile,
                };
                (path, origin)
            }
            Err(error) => {
                let warning = format!("Warning: Unable to load configuration file: {error}");
                // Upstream prints it on standard output, where it would corrupt JSON and metrics.
                match format {
                    Format::Plain => writeln!(console.out, "{warning}")?,
                    _ => console.message(warning),
                }
                (None, Origin::InvalidFile)
            }
        };
        Ok(Self {
            path: path.unwrap_or_else(|| observation::DEFAULT_PATH.into()),
            origin,
        })
    }

    /// Returns the state that the control socket has, where no observation socket is configured.
    fn state_of_control_socket(&self, config: Option<&Path>) -> Option<State> {
        if matches!(self.origin, Origin::Configured(_)) {
            return None;
        }
        let status = connect::status(config).ok()?;
        Some(State::from_status(&status, "-", "-"))
    }

    /// Returns the error message with advice.
    fn explain(&self, error: &FetchError) -> String {
        let mut text = match error {
            FetchError::Connect(error) => {
                format!("Could not open socket at {}: {error}", self.path.display())
            }
            FetchError::Read(error) => {
                format!("Failed to read state from observation socket: {error}")
            }
        };
        for line in self.advice(error) {
            text.push_str("\n\n");
            text.push_str(&line);
        }
        text
    }

    fn advice(&self, error: &FetchError) -> Vec<String> {
        let error = match error {
            FetchError::Connect(error) => error,
            FetchError::Read(ReadError::Truncated { received: 0, .. }) => {
                return vec!["The number of simultaneous readers is limited: try again.".into()];
            }
            FetchError::Read(_) => return self.about_the_path(),
        };
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                let mut advice = self.about_the_path();
                advice.push(format!(
                    "The daemon is not running, or could not create the socket.\n{}",
                    where_to_look()
                ));
                advice
            }
            ErrorKind::ConnectionRefused if !self.is_socket() => {
                let mut advice = vec![format!("{} is not a socket.", self.path.display())];
                advice.extend(self.about_the_path());
                advice
            }
            ErrorKind::ConnectionRefused => vec![format!(
                "Stale socket: the daemon that created it is no longer running.\n{}",
                where_to_look()
            )],
            ErrorKind::PermissionDenied => vec![
                "Access to the socket requires the permissions that `observation-permissions` in\n\
                 [observability] sets (0o666: everyone), and access to its directory. Or use sudo."
                    .into(),
            ],
            _ => self.about_the_path(),
        }
    }

    /// Returns advice about the origin of the path.
    fn about_the_path(&self) -> Vec<String> {
        let path = observation::DEFAULT_PATH;
        match &self.origin {
            Origin::Configured(file) => vec![format!(
                "The path is `observation-path` in {}; use `--config PATH`\n\
                 if the daemon has another configuration.",
                file.display()
            )],
            Origin::NotConfigured(file) => vec![format!(
                "{} has no `observation-path`, so the daemon creates no socket. Add\n\n    \
                 [observability]\n    observation-path = \"{path}\"\n\nand restart the daemon.",
                file.display()
            )],
            Origin::NoFile => vec![no_configuration()],
            Origin::InvalidFile => vec![
                "The path is the default, because the configuration is invalid: \
                 see `ntp-ctl validate`."
                    .into(),
            ],
        }
    }

    fn is_socket(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.file_type().is_socket())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(origin: Origin, kind: ErrorKind) -> String {
        let path = PathBuf::from("/nonexistent/observe");
        Socket { path, origin }.explain(&FetchError::Connect(kind.into()))
    }

    #[test]
    fn advice_about_a_missing_socket_depends_on_the_configuration() {
        let missing = |origin| explained(origin, ErrorKind::NotFound);
        let text = missing(Origin::NotConfigured("/a.toml".into()));
        let lines = "\n    [observability]\n    observation-path = \"/var/run/ntpd-rs/observe\"\n";
        assert!(text.contains("/a.toml has no `observation-path`"), "{text}");
        assert!(text.contains(lines), "{text}");
        let text = missing(Origin::Configured("/a.toml".into()));
        assert!(text.contains("`observation-path` in /a.toml"), "{text}");
        assert!(!text.contains(lines), "{text}");
        assert!(missing(Origin::NoFile).contains("/etc/ntpd-rs/ntp.toml"));
        assert!(missing(Origin::InvalidFile).contains("ntp-ctl validate"));
    }

    #[test]
    fn missing_permission_is_reported_with_the_configuration_key() {
        let text = explained(
            Origin::Configured("/a.toml".into()),
            ErrorKind::PermissionDenied,
        );
        assert!(text.contains("`observation-permissions`"), "{text}");
        assert!(!text.contains(where_to_look()), "{text}");
    }
}
