//! The daemon's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use ntp_config::SandboxMode;
use tracing::Level;

use crate::exit;

/// Keeps this machine's clock on time with NTP.
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

    /// How much to log; wins over `log-level` in the file
    #[arg(short, long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,

    /// Whether files and system calls that are not needed are refused; wins over `[sandbox] mode` in the file
    #[arg(long, value_name = "MODE")]
    pub sandbox: Option<Sandbox>,

    /// Print the version
    #[arg(short, long)]
    pub version: bool,
}

/// A log level in the file's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// Each measurement and slew.
    Debug,
    /// The normal course of things.
    Info,
    /// What is wrong but can be lived with.
    Warn,
    /// What needs an operator.
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

/// The sandbox's mode in the file's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sandbox {
    /// Restrict nothing.
    Off,
    /// Refuse nothing, write to the kernel's log what would be.
    Warn,
    /// Refuse what is not needed.
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

/// The definition of the command line, from which the manual page is made.
pub fn command() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// Reads the command line, or says with which code the process is to end at once: 0 after help and
    /// version, 1 after a message about what is wrong.
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
            Ok(cli) => Ok(cli),
            Err(error) => {
                let code = if error.kind() == ErrorKind::DisplayHelp {
                    exit::OK
                } else {
                    exit::FAILURE
                };
                // Nothing is left to do if not even this can be printed.
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
    fn short_options_may_be_joined_with_their_values() {
        let cli = Cli::parse_from(["ntp-daemon", "-c/tmp/ntp.toml", "-l", "debug"]);
        assert_eq!(cli.config, Some("/tmp/ntp.toml".into()));
        assert_eq!(cli.log_level, Some(LogLevel::Debug));
    }
}
