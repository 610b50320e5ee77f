//! The daemon's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use ntp_config::SandboxMode;
use tracing::Level;

use crate::exit;

/// Keeps the clock of this machine synchronised by NTP
#[derive(Debug, Parser)]
#[command(
    name = "ntp-daemon",
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Configuration file [default: /etc/ntpd-rs/ntp.toml]
    #[arg(short, long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// Log level; overrides `log-level` in the file
    #[arg(short, long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,

    /// Whether unneeded file access and system calls are refused; overrides `[sandbox] mode` in the
    /// file
    #[arg(long, value_name = "MODE")]
    pub sandbox: Option<Sandbox>,

    /// Print the version
    #[arg(short, long)]
    pub version: bool,
}

/// A log level, named as in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything
    Trace,
    /// Each measurement and slew
    Debug,
    /// Normal operation
    Info,
    /// Problems that do not stop the daemon
    Warn,
    /// Problems that need an operator
    Error,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::TRACE,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warn => Self::WARN,
            LogLevel::Error => Self::ERROR,
        }
    }
}

/// A sandbox mode, named as in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sandbox {
    /// Restrict nothing
    Off,
    /// Refuse nothing, log to the kernel's log what would be refused
    Warn,
    /// Refuse what is not needed
    Enforce,
}

impl From<Sandbox> for SandboxMode {
    fn from(mode: Sandbox) -> Self {
        match mode {
            Sandbox::Off => Self::Off,
            Sandbox::Warn => Self::Warn,
            Sandbox::Enforce => Self::Enforce,
        }
    }
}

/// Returns the definition of the command line, from which the manual page is generated.
pub fn command() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// Makes the path of the configuration absolute. The daemon reports the origin of each value to
    /// programs with other working directories.
    fn with_absolute_path(mut self) -> Self {
        if let Some(path) = &mut self.config
            && let Ok(absolute) = std::path::absolute(&*path)
        {
            *path = absolute;
        }
        self
    }

    /// Reads the command line, or returns the exit code with which the process ends at once: 0
    /// after help and version, 1 after an error message.
    ///
    /// # Errors
    /// The exit code, after everything has been printed.
    pub fn read() -> Result<Self, ExitCode> {
        match Self::try_parse() {
            Ok(cli) if cli.version => {
                // Upstream prints versions to standard error, and scripts look there.
                eprintln!(
                    "{} {}",
                    Self::command().get_name(),
                    env!("CARGO_PKG_VERSION")
                );
                Err(exit::code(exit::OK))
            }
            Ok(cli) => Ok(cli.with_absolute_path()),
            Err(error) => {
                let code = if error.kind() == ErrorKind::DisplayHelp {
                    exit::OK
                } else {
                    exit::FAILURE
                };
                // If this cannot be printed, nothing can.
                let _ = error.print();
                Err(exit::code(code))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_relative_path_of_the_configuration_becomes_absolute() {
        let cli = Cli::parse_from(["ntp-daemon", "-c", "./ntp.toml"]).with_absolute_path();
        let expected = std::env::current_dir().unwrap().join("ntp.toml");
        assert_eq!(cli.config, Some(expected));
    }

    #[test]
    fn short_options_may_be_joined_with_their_values() {
        let cli = Cli::parse_from(["ntp-daemon", "-c/tmp/ntp.toml", "-l", "debug"]);
        assert_eq!(cli.config, Some("/tmp/ntp.toml".into()));
        assert_eq!(cli.log_level, Some(LogLevel::Debug));
    }
}
