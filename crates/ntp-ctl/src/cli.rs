//! The command line.
//!
//! Options may stand before or after the command, as upstream's tool allows. Its few oddities
//! are not kept: unknown and repeated commands are errors, not warnings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::console::Failure;
use crate::migrate::Dialect;

/// What the command line asks for.
pub(crate) enum Asked {
    /// This help text.
    Help(String),
    /// The version.
    Version,
    /// A command.
    Run(Command, Options),
}

/// Reads the arguments, the first of which is the name of the program.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Failure> {
    match Cli::try_parse_from(arguments) {
        Ok(Cli {
            command: Some(command),
            options,
            ..
        }) => Ok(Asked::Run(command, options)),
        Ok(_) => Ok(Asked::Help(Cli::command().render_help().to_string())),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(Asked::Help(error.render().to_string())),
            ErrorKind::DisplayVersion => Ok(Asked::Version),
            _ => Err(Failure::Usage(error.render().to_string())),
        },
    }
}

/// Query and manage the ntpd-rs daemon
#[derive(Debug, Parser)]
#[command(
    name = "ntp-ctl",
    bin_name = "ntp-ctl",
    version,
    propagate_version = true,
    disable_version_flag = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    options: Options,

    /// Print the version
    #[arg(short = 'v', long, global = true, action = ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Check the configuration file and say everything that is wrong with it
    Validate,
    /// Show the state of the running daemon
    Status,
    /// Decide again on what a daemon recorded, and show where it would be otherwise
    Replay {
        /// The record: the file of `record-path`, or an older one (`NAME.1`)
        file: PathBuf,

        /// Draw offset, bound and measurements into this file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,

        /// Show decisions that are the same, too
        #[arg(long)]
        all: bool,
    },
    /// Set the clock at once (not available in this version)
    ForceSync,
    /// Print the ntp.toml that does what another time daemon's configuration file does
    Migrate {
        /// The other daemon's file, such as /etc/chrony/chrony.conf or /etc/ntp.conf
        file: PathBuf,
        /// Whose file it is, if its name does not tell
        #[arg(long, value_name = "DAEMON")]
        from: Option<Dialect>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Configuration file of the daemon [default: /etc/ntpd-rs/ntp.toml]
    #[arg(short, long, value_name = "PATH", global = true)]
    pub(crate) config: Option<PathBuf>,

    /// How `status` shows the state
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        global = true,
        default_value = "plain"
    )]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Plain,
    /// What the daemon's observation socket says
    Json,
    /// Metrics in Prometheus' text format
    Prometheus,
}

/// The definition of the command line, from which the manual page is made.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(line: &str) -> Result<Asked, Failure> {
        super::parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_command_in_every_spelling() {
        for line in [
            "ntp-ctl status -c /a -f prometheus",
            "ntp-ctl -c/a -fprometheus status",
            "ntp-ctl --config=/a status --format prometheus",
            "ntp-ctl --config /a --format=prometheus status",
        ] {
            let Ok(Asked::Run(Command::Status, options)) = parse(line) else {
                panic!("{line}");
            };
            assert_eq!(options.config.as_deref(), Some(Path::new("/a")), "{line}");
            assert_eq!(options.format, Format::Prometheus, "{line}");
        }
    }

    #[test]
    fn help_and_version_are_asked_for_in_every_spelling() {
        for line in [
            "ntp-ctl",
            "ntp-ctl -c /a",
            "ntp-ctl -h",
            "ntp-ctl --help",
            "ntp-ctl -hv",
            "ntp-ctl status -h",
        ] {
            assert!(
                matches!(parse(line), Ok(Asked::Help(text)) if text.contains("Usage: ntp-ctl")),
                "{line}"
            );
        }
        for line in ["ntp-ctl -v", "ntp-ctl --version", "ntp-ctl validate -v"] {
            assert!(matches!(parse(line), Ok(Asked::Version)), "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_and_near_misses_get_a_hint() {
        for (line, told) in [
            ("ntp-ctl statsu", "status"),
            ("ntp-ctl validate status", "status"),
            (
                "ntp-ctl status -f yaml",
                "possible values: plain, json, prometheus",
            ),
            ("ntp-ctl status --confg /a", "--config"),
            ("ntp-ctl status -c", "a value is required"),
        ] {
            let Err(Failure::Usage(text)) = parse(line) else {
                panic!("{line}");
            };
            assert!(text.starts_with("error: ") && text.contains(told), "{text}");
        }
    }
}
