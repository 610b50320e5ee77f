//! Command line.
//!
//! As in upstream's tool, options can precede or follow the command. Unlike there, unknown and
//! repeated commands are errors, not warnings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ntp_proto::client::VersionChoice;
use ntp_proto::wire::Version;
use ntp_time::SystemTime;

use crate::console::Failure;
use crate::daemon_command::DaemonCommand;
use crate::format::time;
use crate::migrate::Migrate;
use crate::trial;
use ntp_types::source::SrvVerification;

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

fn ntp_version(text: &str) -> Result<VersionChoice, String> {
    if text == "auto" {
        return Ok(VersionChoice::Auto);
    }
    let number = text.parse().ok().and_then(Version::from_number);
    number
        .map(VersionChoice::Fixed)
        .ok_or_else(|| "expected 1 to 5, or auto".to_owned())
}

/// A version that NTS supports.
fn nts_version(text: &str) -> Result<VersionChoice, String> {
    let choice = ntp_version(text).ok();
    let exists = |choice: &VersionChoice| match choice {
        VersionChoice::Auto => true,
        VersionChoice::Fixed(version) => *version >= Version::V4,
    };
    choice
        .filter(exists)
        .ok_or_else(|| "expected 4, 5 or auto".to_owned())
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
    Nts {
        #[command(subcommand)]
        action: NtsAction,
    },
    /// Replay the recorded inputs of a daemon and compare the decisions
    Replay {
        /// The record: the file of `record-path`, or an older one (`NAME.1`)
        file: PathBuf,

        /// Write a plot of offset, bound and measurements to this file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,

        /// Show identical decisions, too
        #[arg(long)]
        all: bool,
    },
    /// Report how accurate the clock was, for auditors, from the history of the daemon
    Report {
        /// First day or time, UTC: 2026-11-01 or 2026-11-01T08:00:00Z [default: the oldest]
        #[arg(long, value_name = "TIME")]
        from: Option<SystemTime>,

        /// End of the time, not included [default: the newest]
        #[arg(long, value_name = "TIME")]
        to: Option<SystemTime>,

        /// Limit of the error bound; the time outside each limit is reported
        #[arg(long = "limit", value_name = "TIME", value_parser = time, default_values = ["100us", "1ms", "50ms"])]
        limits: Vec<Duration>,

        /// Write a plot to this file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,

        /// Directory of the history [default: `history` in the state directory]
        #[arg(long, value_name = "PATH")]
        directory: Option<PathBuf>,
    },
    /// Set the clock once from the configured sources, without the daemon; asks for confirmation
    ForceSync(ForceSync),
    /// Convert the configuration of another time daemon to ntp.toml
    ///
    /// Files that it includes and the options of the service in /etc/default or /etc/sysconfig are
    /// converted, too.
    Migrate(Migrate),
    /// Run the daemon beside the time daemon of this machine, and compare their opinions
    ///
    /// The clock is not changed, nothing is served, and nothing is left behind. Ctrl-C ends the
    /// trial with the summary so far.
    Trial(trial::Options),
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForceSync {
    /// Do not ask for confirmation, for boot scripts and timers
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// With --yes, the maximum correction [default: startup-step-panic-threshold of the
    /// configuration]
    #[arg(long, value_name = "TIME", value_parser = time, requires = "yes")]
    pub(crate) max_offset: Option<Duration>,
    /// Do not set the clock if the offset is smaller
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "1s")]
    pub(crate) min_offset: Duration,
    /// Timeout
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "60s")]
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum NtsAction {
    /// Exchange keys with a server and send one authenticated request; report problems and remedies
    ///
    /// Needs no daemon and changes nothing. The report has the certificates of the server, the
    /// negotiated parameters, the duration of each stage and the offset of the local clock, as far
    /// as the check got.
    #[command(after_help = crate::nts::exit_codes())]
    Check {
        /// Host name or address of the key exchange server, with an optional port
        host: String,
        /// Trust the certificate authorities in this file (PEM), too
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// Trust no certificate authorities but those in the file of `--ca`
        #[arg(long, requires = "ca")]
        no_system_authorities: bool,
        /// NTP version to ask for, 4 or 5, or `auto`: what a server chooses that knows both
        #[arg(long, value_name = "VERSION", default_value = "auto", value_parser = nts_version)]
        version: VersionChoice,
        /// Check this many members of an NTS pool, and show a table of them
        #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "4", value_parser = members)]
        pool: Option<usize>,
        /// Find the server by SRV records: `dnssec`, `certificate` or `none`, as `srv-verification`
        #[arg(long, value_name = "VERIFICATION", num_args = 0..=1, default_missing_value = "dnssec", value_parser = srv)]
        srv: Option<SrvVerification>,
        /// Timeout of the key exchange
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
        timeout: Duration,
    },
}

/// Number of members of a pool.
fn members(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=64).contains(number));
    number.ok_or_else(|| "expected a number from 1 to 64".to_owned())
}

fn srv(text: &str) -> Result<SrvVerification, String> {
    match text {
        "dnssec" => Ok(SrvVerification::Dnssec),
        "certificate" => Ok(SrvVerification::Certificate),
        "none" => Ok(SrvVerification::None),
        _ => Err("expected dnssec, certificate or none".to_owned()),
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
        if format.is_for(command) {
            return Ok(format);
        }
        let (name, other) = format.name();
        let text = format!("error: `--format {name}` is for `{other}` only");
        Err(Failure::Usage(text))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Plain,
    /// JSON for programs
    Json,
    /// Metrics in the text format of Prometheus (`status` only)
    Prometheus,
    /// Markdown (`report` only)
    Md,
    /// Comma-separated values (`report` only)
    Csv,
}

impl Format {
    /// Returns whether `command` has this format.
    pub(crate) fn is_for(self, command: &Command) -> bool {
        match self {
            Self::Plain | Self::Json => true,
            Self::Prometheus => *command == Command::Status,
            Self::Md | Self::Csv => matches!(command, Command::Report { .. }),
        }
    }

    /// Returns the name on the command line, and the command that has it.
    pub(crate) const fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Plain => ("plain", "any"),
            Self::Json => ("json", "any"),
            Self::Prometheus => ("prometheus", "status"),
            Self::Md => ("md", "report"),
            Self::Csv => ("csv", "report"),
        }
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
