//! Command line.
//!
//! As in upstream's tool, options can precede or follow the command. Unlike there, unknown and
//! repeated commands are errors, not warnings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::console::Failure;
use crate::migrate::Dialect;

/// A parsed command line.
pub(crate) enum Invocation {
    /// Print this help text.
    Help(String),
    /// Print the version.
    Version,
    /// Run a command.
    Run(Command, Options),
}

/// Parses the arguments, the first of which is the name of the program.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Failure> {
    match Cli::try_parse_from(arguments) {
        Ok(Cli {
            command: Some(command),
            options,
            ..
        }) => Ok(Invocation::Run(command, options)),
        Ok(_) => Ok(Invocation::Help(Cli::command().render_help().to_string())),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(Invocation::Help(error.render().to_string())),
            ErrorKind::DisplayVersion => Ok(Invocation::Version),
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
    disable_version_flag = true,
    after_help = "Exit codes: 0 success (waitsync: the clock is synchronised), 124 timeout of waitsync or force-sync, 78 invalid configuration \
                  (force-sync), 1 any other failure; `nts check` has further ones. Standard error has the reason."
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
    /// Check the configuration and report all problems
    Validate,
    /// Show the state of the running daemon
    Status,
    /// Show the state of the clock: reference, offset, frequency and errors
    Tracking,
    /// List the sources and their state
    Sources,
    /// Show all details of a source, or change the sources
    #[command(args_conflicts_with_subcommands = true)]
    Source {
        /// Configured name, host, address in use or ID of a source
        name: Option<String>,
        #[command(subcommand)]
        action: Option<SourceAction>,
    },
    /// List the servers (listening addresses) with counters
    Servers,
    /// Change the servers
    Server {
        #[command(subcommand)]
        action: ServerAction,
    },
    /// Show counters of client requests and the client list
    ///
    /// The daemon records addresses of clients only if `client-list-size` in [[server]] is set.
    /// Addresses are personal data, so reading the list requires the right to change the state of
    /// the daemon.
    Clients {
        /// Number of clients to list, the most active first
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// List only clients of this server, as shown by `ntp-ctl servers`
        #[arg(long, value_name = "ADDRESS")]
        server: Option<String>,
    },
    /// Explain why the clock is or is not steered, and why each source is or is not used
    Explain,
    /// Monitor the clock and its sources live, with plots (q quits)
    Watch,
    /// Query a server for the time, without the daemon; changes nothing
    Query {
        /// Host name or address, with an optional port
        host: String,
        /// Number of requests, two seconds apart
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
        samples: u32,
    },
    /// Test the NTS of a server
    Nts {
        #[command(subcommand)]
        action: NtsAction,
    },
    /// Wait until the clock is synchronised, for boot scripts
    Waitsync {
        /// Wait also until the error bound is at most this, for example 10ms
        #[arg(long, value_name = "TIME", value_parser = time)]
        max_error: Option<Duration>,
        /// Timeout, for example 60s [default: none]
        #[arg(long, value_name = "TIME", value_parser = time)]
        timeout: Option<Duration>,
    },
    /// Step the clock by the estimated offset instead of slewing it
    Step {
        /// Override the panic thresholds
        #[arg(long)]
        force: bool,
    },
    /// Change the log level of the running daemon
    LogLevel {
        /// error, warn, info, debug or trace
        level: String,
    },
    /// Show the active configuration with the origin of each value, or save run-time changes
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Reload the configuration and its drop-ins; reports changes that require a restart
    Reload,
    /// Replace the NTS cookie key; existing cookies remain valid for a while
    Rekey,
    /// Save the persistent state (the frequency of the oscillator) now
    Dump,
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
    /// Set the clock once from the configured sources, without the daemon; asks for confirmation
    ForceSync(ForceSync),
    /// Convert the configuration file of another time daemon to ntp.toml
    Migrate {
        /// File to convert, such as /etc/chrony/chrony.conf or /etc/ntp.conf
        file: PathBuf,
        /// Daemon of the file, if not clear from its name
        #[arg(long, value_name = "DAEMON")]
        from: Option<Dialect>,
    },
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
pub(crate) enum SourceAction {
    /// Add a source
    Add {
        /// Host name or address, with an optional port
        address: String,
        /// Use several servers of this name
        #[arg(long)]
        pool: bool,
        /// Keys of [[source]] with their values, for example prefer=true poll-interval-limits.max=6
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Remove a source
    Remove {
        /// Configured name, host, address in use or ID
        name: String,
    },
    /// Change settings of a source
    Set {
        /// Configured name, host, address in use or ID
        name: String,
        /// Keys of [[source]] with their values; null resets a key to its default
        #[arg(value_name = "KEY=VALUE", required = true)]
        settings: Vec<String>,
    },
    /// Resume polling of a source, or of all
    Online {
        /// Configured name, host, address in use or ID
        name: Option<String>,
    },
    /// Suspend polling of a source, or of all
    Offline {
        /// Configured name, host, address in use or ID
        name: Option<String>,
    },
    /// Send a burst of eight requests within 16 s to a source, or to all
    Burst {
        /// Configured name, host, address in use or ID
        name: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print the active configuration as TOML, with the origin of each value as a comment
    Show {
        /// Include all defaults
        #[arg(long)]
        all: bool,
    },
    /// Write run-time changes to the drop-in ntp.toml.d/90-runtime.toml, for the next start
    Save,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ServerAction {
    /// Add a server
    Add {
        /// Address and port, for example 0.0.0.0:123
        listen: String,
        /// Keys of [[server]] with their values, for example rate-limiting-cutoff-ms=1000
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Remove a server
    Remove {
        /// Address and port as configured
        listen: String,
    },
    /// Change settings of a server
    Set {
        /// Address and port as configured
        listen: String,
        /// Keys of [[server]] with their values; null resets a key to its default
        #[arg(value_name = "KEY=VALUE", required = true)]
        settings: Vec<String>,
    },
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
        /// Timeout of the key exchange
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
        timeout: Duration,
    },
}

/// Parses a time with its unit, for example `10ms`, `1.5s`, `2min`; a bare number is in seconds.
fn time(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let scale = match unit {
        "" | "s" => 1.0,
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "unknown unit {unit:?} (expected ns, us, ms, s, min or h)"
            ));
        }
    };
    let number = text.strip_suffix(unit).unwrap_or(text);
    let seconds = number.parse::<f64>().map_err(|error| error.to_string())? * scale;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
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
    pub(crate) format: Format,

    /// The same as `--format json`
    #[arg(long, global = true, conflicts_with = "format")]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Plain,
    /// JSON for programs
    Json,
    /// Metrics in the text format of Prometheus (`status` only)
    Prometheus,
}

/// Returns the definition of the command line, from which the manual page is generated.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(line: &str) -> Result<Invocation, Failure> {
        super::parse(line.split(' ').map(OsString::from))
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
            assert_eq!(options.format, Format::Prometheus, "{line}");
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
    fn times_have_units() {
        assert_eq!(time("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(time("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("2min"), Ok(Duration::from_secs(120)));
        for wrong in ["", "ms", "10 parsecs", "-1s", "1e400s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
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
