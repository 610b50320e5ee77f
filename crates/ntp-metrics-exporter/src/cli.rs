//! Command line of the exporter.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

/// Exports the state of the running ntp-daemon to Prometheus, and shows it as a dashboard.
///
/// The listening address and the observation socket are set in `[observability]` of the
/// configuration: `metrics-exporter-listen` (default 127.0.0.1:9975) and `observation-path`.
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

    /// Export metrics under the names of chrony_exporter too, for its dashboards
    #[arg(long)]
    pub(crate) chrony_names: bool,

    /// Print the version
    #[arg(short, long)]
    version: bool,
}

impl Cli {
    /// Parses the command line; the error is the exit code after help, version or an invalid
    /// command line.
    pub(crate) fn from_arguments() -> Result<Self, ExitCode> {
        match Self::try_parse() {
            Ok(cli) if cli.version => {
                // On standard error, as upstream.
                eprintln!("ntp-metrics-exporter {}", env!("CARGO_PKG_VERSION"));
                Err(ExitCode::SUCCESS)
            }
            Ok(cli) => Ok(cli),
            Err(error) => {
                let is_help = error.kind() == ErrorKind::DisplayHelp;
                // A failure to print is ignored.
                let _ = error.print();
                Err(ExitCode::from(if is_help { 0 } else { super::FAILURE }))
            }
        }
    }
}

/// Returns the definition of the command line, for the manual page and shell completions.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_consistent() {
        super::command().debug_assert();
    }
}
