//! `ntp-ctl status`: asks the running daemon for its state and shows it.
//!
//! The configuration is read only to find the observation socket, so a bad one is a warning.
//! Most failures here have one of a few causes that the user can remove, and the operating
//! system's words for them ("connection refused") do not name them; [`advice`] does.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ntp_control_api::metrics::prometheus_text;
use ntp_control_api::observation::{self, FetchError, ReadError};

use crate::cli::Format;
use crate::console::{Console, Failure};
use crate::layout;

pub(crate) fn run(
    config: Option<&Path>,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let socket = Socket::find(config, format, console)?;
    let state = observation::fetch(&socket.path, PATIENCE)
        .map_err(|error| Failure::Told(socket.explain(&error)))?;
    match format {
        Format::Plain => console.out.write_all(layout::plain(&state).as_bytes())?,
        Format::Json => {
            let json = serde_json::to_string_pretty(&state).map_err(std::io::Error::from)?;
            writeln!(console.out, "{json}")?;
        }
        // Upstream prints one line break more than the exporter sends.
        Format::Prometheus => writeln!(console.out, "{}", prometheus_text(&state))?,
    }
    Ok(())
}

/// How long the daemon may take for each part of its answer. Upstream's gives up after 0.5 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// The observation socket.
struct Socket {
    path: PathBuf,
    origin: Origin,
}

/// Why it is taken to be there.
enum Origin {
    /// This configuration file says so.
    Configured(PathBuf),
    /// This one does not say; a daemon that uses it makes no socket.
    NotConfigured(PathBuf),
    /// There is no configuration file in the default place, or none that the caller may read.
    NoFile,
    /// There is one that cannot be loaded.
    BadFile,
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
                // Upstream has it on standard output; there it would spoil what programs read.
                match format {
                    Format::Plain => writeln!(console.out, "{warning}")?,
                    Format::Json | Format::Prometheus => console.complain(warning),
                }
                (None, Origin::BadFile)
            }
        };
        Ok(Self {
            path: path.unwrap_or_else(|| observation::DEFAULT_PATH.into()),
            origin,
        })
    }

    /// What went wrong, and what to do about it.
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
                return vec!["It serves only a few readers at a time: try again.".into()];
            }
            FetchError::Read(_) => return self.about_the_file(),
        };
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                let mut advice = self.about_the_file();
                advice.push(format!(
                    "Is the daemon running, and could it make the socket?{SYSTEMD}"
                ));
                advice
            }
            ErrorKind::ConnectionRefused if !self.is_socket() => {
                let mut advice = vec![format!("{} is not a socket.", self.path.display())];
                advice.extend(self.about_the_file());
                advice
            }
            ErrorKind::ConnectionRefused => vec![format!(
                "The socket was left behind by a daemon that is no longer running.{SYSTEMD}"
            )],
            ErrorKind::PermissionDenied => vec![
                "You may not use this socket. Try again as root, or give more users access: \
                 `observation-permissions` in `[observability]` sets its permissions (0o666 lets \
                 everyone read), and they must be able to enter its directory."
                    .into(),
            ],
            _ => self.about_the_file(),
        }
    }

    /// What the configuration has to do with it.
    fn about_the_file(&self) -> Vec<String> {
        let path = observation::DEFAULT_PATH;
        match &self.origin {
            Origin::Configured(file) => vec![format!(
                "The path is the `observation-path` in {}; is that the daemon's configuration?",
                file.display()
            )],
            Origin::NotConfigured(file) => vec![format!(
                "{} has no `observation-path`, and without it the daemon makes no socket. Add\n\n    \
                 [observability]\n    observation-path = \"{path}\"\n\nand restart the daemon.",
                file.display()
            )],
            Origin::NoFile => vec![format!(
                "There is no readable configuration at {}; name the daemon's by `--config PATH`.",
                ntp_config::DEFAULT_PATH
            )],
            Origin::BadFile => vec![
                "The path is a guess, because the configuration could not be loaded: \
                 see `ntp-ctl validate`."
                    .into(),
            ],
        }
    }

    fn is_socket(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.file_type().is_socket())
    }
}

const SYSTEMD: &str =
    " With systemd, `systemctl status ntpd-rs` and `journalctl -u ntpd-rs` tell more.";

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(origin: Origin, kind: ErrorKind) -> String {
        let path = PathBuf::from("/nonexistent/observe");
        Socket { path, origin }.explain(&FetchError::Connect(kind.into()))
    }

    #[test]
    fn a_missing_socket_is_explained_by_what_the_configuration_says() {
        let missing = |origin| explained(origin, ErrorKind::NotFound);
        let text = missing(Origin::NotConfigured("/a.toml".into()));
        let lines = "\n    [observability]\n    observation-path = \"/var/run/ntpd-rs/observe\"\n";
        assert!(text.contains("/a.toml has no `observation-path`"), "{text}");
        assert!(text.contains(lines), "{text}");
        let text = missing(Origin::Configured("/a.toml".into()));
        assert!(text.contains("`observation-path` in /a.toml"), "{text}");
        assert!(!text.contains(lines), "{text}");
        assert!(missing(Origin::NoFile).contains("/etc/ntpd-rs/ntp.toml"));
        assert!(missing(Origin::BadFile).contains("ntp-ctl validate"));
    }

    #[test]
    fn a_lack_of_permission_is_told_with_the_key_that_gives_it() {
        let text = explained(
            Origin::Configured("/a.toml".into()),
            ErrorKind::PermissionDenied,
        );
        assert!(text.contains("`observation-permissions`"), "{text}");
        assert!(!text.contains("systemctl"), "{text}");
    }
}
