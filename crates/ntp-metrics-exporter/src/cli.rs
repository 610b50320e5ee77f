//! The exporter's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

/// Shows the state of the running ntp-daemon to Prometheus, and to people as a page.
///
/// Where it listens, and where the daemon tells its state, stands in `[observability]` of the configuration: `metrics-exporter-listen`
/// (127.0.0.1:9975 if not set) and `observation-path`.
#[derive(Debug, Parser)]
#[command(
    name = "ntp-metrics-exporter",
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// Configuration file [default: /etc/ntpd-rs/ntp.toml]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,

    /// Show metrics under the names of chrony_exporter too, for dashboards that were made for it
    #[arg(long)]
    pub(crate) chrony_names: bool,

    /// Print the version
    #[arg(short, long)]
    version: bool,
}

impl Cli {
    /// Reads the command line, or says with which code the process is to end at once.
    pub(crate) fn read() -> Result<Self, ExitCode> {
        match Self::try_parse() {
            Ok(cli) if cli.version => {
                // Upstream prints versions to standard error.
                eprintln!("ntp-metrics-exporter {}", env!("CARGO_PKG_VERSION"));
                Err(ExitCode::SUCCESS)
            }
            Ok(cli) => Ok(cli),
            Err(error) => {
                let asked = error.kind() == ErrorKind::DisplayHelp;
                // To standard output or standard error, as it should be; if nobody reads it there is nobody to tell.
                let _ = error.print();
                Err(ExitCode::from(if asked { 0 } else { super::FAILURE }))
            }
        }
    }
}

/// The definition of the command line, for the manual page and for shells.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_sound() {
        super::command().debug_assert();
    }
}
