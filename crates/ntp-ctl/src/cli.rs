//! Command line.
//!
//! As in upstream's tool, options can precede or follow the command. Unlike there, unknown and
//! repeated commands are errors, not warnings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ntp_proto::client::VersionChoice;
use ntp_proto::wire::Version;

use crate::console::Failure;
use crate::daemon_command::DaemonCommand;
use crate::output_format::Format;

/// Width of help texts on wider terminals: longer lines are hard to read.
const MAX_HELP_WIDTH: usize = 100;

/// A parsed command line.
pub(crate) enum Invocation {
    /// Print this help text.
    Help(String),
    /// Print the version.
    Version,
    /// Run a command.
    Run(Command, Options),
}

/// Parses the arguments, the first of which is the name of the program. Help texts are `width`
/// columns wide.
pub(crate) fn parse(arguments: &[OsString], width: usize) -> Result<Invocation, Failure> {
    let mut definition = Cli::command().term_width(width.min(MAX_HELP_WIDTH));
    let matches = definition.try_get_matches_from_mut(arguments);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(Cli {
            command: Some(command),
            options,
            ..
        }) => Ok(Invocation::Run(command, options)),
        Ok(_) => Ok(Invocation::Help(definition.render_help().to_string())),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(Invocation::Help(error.render().to_string())),
            ErrorKind::DisplayVersion => Ok(Invocation::Version),
            _ => Err(Failure::Usage(error.render().to_string())),
        },
    }
}

/// Returns whether the arguments ask for JSON, also if they do not parse otherwise.
pub(crate) fn asks_for_json(arguments: &[OsString]) -> bool {
    let ends = |it: &&OsString| it.as_os_str() != "--";
    let mut arguments = arguments
        .iter()
        .take_while(ends)
        .filter_map(|it| it.to_str());
    while let Some(argument) = arguments.next() {
        let format = match argument {
            "--json" => return true,
            "-f" | "--format" => arguments.next(),
            _ => (argument.strip_prefix("--format="))
                .or_else(|| argument.strip_prefix("-f=").or(argument.strip_prefix("-f"))),
        };
        if format == Some("json") {
            return true;
        }
    }
    false
}

/// Query and manage the ntpd-rs daemon
#[derive(Debug, Parser)]
#[command(
    name = "ntp-ctl",
    bin_name = "ntp-ctl",
    version,
    propagate_version = true,
    disable_version_flag = true,
    arg = version_option(),
    after_help = "Exit codes: 0 success (waitsync: the clock is synchronised), 2 invalid command line, 124 timeout of waitsync or force-sync, \
                  17 contradiction (trial), 75 clock not synchronised (bound, trial), 78 invalid configuration (force-sync), 1 any other failure; `nts check` has further ones. Standard error has the reason."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    options: Options,
}

/// The option that prints the version. `query` has one of the same name, which takes its place there.
fn version_option() -> Arg {
    Arg::new("version")
        .short('v')
        .long("version")
        .global(true)
        .action(ArgAction::Version)
        .help("Print the version")
}

pub(crate) fn ntp_version(text: &str) -> Result<VersionChoice, String> {
    if text == "auto" {
        return Ok(VersionChoice::Auto);
    }
    let number = text.parse().ok().and_then(Version::from_number);
    number
        .map(VersionChoice::Fixed)
        .ok_or_else(|| "expected 1 to 5, or auto".to_owned())
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Check the configuration and report all problems
    Validate,
    /// Show the state of the running daemon
    Status,
    #[command(flatten)]
    Daemon(DaemonCommand),
    /// Query a server for the time, without the daemon; changes nothing
    Query {
        /// Host name or address, with an optional port
        host: String,
        /// Number of requests, two seconds apart
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
        samples: u32,
        /// NTP version of the requests, 1 to 5, or `auto`: 4, and 5 if the server offers it
        #[arg(long, value_name = "VERSION", default_value = "4", value_parser = ntp_version)]
        version: VersionChoice,
    },
    /// Test the NTS of a server
    #[cfg(feature = "nts")]
    Nts {
        #[command(subcommand)]
        action: crate::nts::Action,
    },
    #[cfg(feature = "tools")]
    #[command(flatten)]
    Tool(crate::tools::Tool),
}

impl Command {
    /// Returns whether the command has this output format.
    fn has(&self, format: Format) -> bool {
        match format {
            Format::Plain | Format::Json => true,
            Format::Prometheus => *self == Self::Status,
            Format::Md | Format::Csv => match self {
                #[cfg(feature = "tools")]
                Self::Tool(tool) => tool.is_report(),
                _ => false,
            },
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Configuration file of the daemon [default: /etc/ntpd-rs/ntp.toml]
    #[arg(short, long, value_name = "PATH", global = true)]
    pub(crate) config: Option<PathBuf>,

    /// Output format
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        global = true,
        default_value = "plain"
    )]
    format: Format,

    /// The same as `--format json`
    #[arg(long, global = true, conflicts_with = "format")]
    json: bool,
}

impl Options {
    /// Returns the output format.
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// Returns the output format, if it is one of `command`.
    pub(crate) fn format_for(&self, command: &Command) -> Result<Format, Failure> {
        let format = self.format();
        if command.has(format) {
            return Ok(format);
        }
        let (name, other) = format.name();
        let text = format!("error: `--format {name}` is for `{other}` only");
        Err(Failure::Usage(text))
    }
}

/// Returns the definition of the command line, from which the manual page is generated.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::console::DEFAULT_WIDTH;

    fn parse(line: &str) -> Result<Invocation, Failure> {
        let arguments: Vec<_> = line.split(' ').map(OsString::from).collect();
        super::parse(&arguments, DEFAULT_WIDTH)
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_precede_or_follow_the_command_in_every_spelling() {
        for line in [
            "ntp-ctl status -c /a -f prometheus",
            "ntp-ctl -c/a -fprometheus status",
            "ntp-ctl --config=/a status --format prometheus",
            "ntp-ctl --config /a --format=prometheus status",
        ] {
            let Ok(Invocation::Run(Command::Status, options)) = parse(line) else {
                panic!("{line}");
            };
            assert_eq!(options.config.as_deref(), Some(Path::new("/a")), "{line}");
            assert_eq!(options.format(), Format::Prometheus, "{line}");
        }
    }

    #[test]
    fn help_and_version_have_several_spellings() {
        for line in [
            "ntp-ctl",
            "ntp-ctl -c /a",
            "ntp-ctl -h",
            "ntp-ctl --help",
            "ntp-ctl -hv",
            "ntp-ctl status -h",
        ] {
            assert!(
                matches!(parse(line), Ok(Invocation::Help(text)) if text.contains("Usage: ntp-ctl")),
                "{line}"
            );
        }
        for line in ["ntp-ctl -v", "ntp-ctl --version", "ntp-ctl validate -v"] {
            assert!(matches!(parse(line), Ok(Invocation::Version)), "{line}");
        }
    }

    #[test]
    fn the_help_of_every_command_fits_80_columns() {
        fn check(mut command: clap::Command) {
            let long = command.render_long_help().to_string();
            let short = command.render_help().to_string();
            for line in long.lines().chain(short.lines()) {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(|it| check(it.clone()));
        }
        let mut definition = Cli::command().term_width(DEFAULT_WIDTH);
        definition.build();
        check(definition);
    }

    #[test]
    fn invalid_arguments_are_reported_with_suggestions() {
        for (line, expected) in [
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
            assert!(
                text.starts_with("error: ") && text.contains(expected),
                "{text}"
            );
        }
    }
}
