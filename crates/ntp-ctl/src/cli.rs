//! The command line.
//!
//! Options may stand before or after the command, as upstream's tool allows. Its few oddities
//! are not kept: unknown and repeated commands are errors, not warnings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

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
    disable_version_flag = true,
    after_help = "Exit codes: 0 if the command did what was asked (waitsync: the clock is synchronised), 124 if the time given to waitsync or \
                  force-sync was over, 78 if force-sync cannot use the configuration, 1 otherwise; `nts check` tells problems apart by further ones. \
                  Standard error says why and what to do."
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
    /// Show what the clock follows, how far it is off and how wrong it can be
    Tracking,
    /// List the sources: whom the daemon asks, and what it thinks of them
    Sources,
    /// Show everything about a source, or change the sources
    #[command(args_conflicts_with_subcommands = true)]
    Source {
        /// A source: its configured name, host, address in use or number
        name: Option<String>,
        #[command(subcommand)]
        action: Option<SourceAction>,
    },
    /// List the addresses at which time is served, with counts
    Servers,
    /// Change the addresses at which time is served
    Server {
        #[command(subcommand)]
        action: ServerAction,
    },
    /// Show how many requests of clients there were, what became of them and, if a list is kept, who asks
    ///
    /// The daemon remembers addresses of clients only where `client-list-size` in [[server]] says so, and tells them only to those who may
    /// change things, for they are personal data.
    Clients {
        /// List so many, those who ask most often
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Only those who asked at this address, as `ntp-ctl servers` shows it
        #[arg(long, value_name = "ADDRESS")]
        server: Option<String>,
    },
    /// Say in sentences why the clock is or is not steered, and why each source is or is not used
    Explain,
    /// Watch the clock and its sources live, with plots; q ends it
    Watch,
    /// Ask a server for the time directly, without a daemon; nothing is changed
    Query {
        /// Host name or address, with an optional port
        host: String,
        /// Requests to send, two seconds apart
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
        samples: u32,
    },
    /// Find out whether a server's NTS works
    Nts {
        #[command(subcommand)]
        action: NtsAction,
    },
    /// Wait until the clock is synchronised; for boot scripts
    Waitsync {
        /// And until the guaranteed error is no larger than this, for example 10ms
        #[arg(long, value_name = "TIME", value_parser = time)]
        max_error: Option<Duration>,
        /// Give up after this time, for example 60s [default: never]
        #[arg(long, value_name = "TIME", value_parser = time)]
        timeout: Option<Duration>,
    },
    /// Step the clock to what the sources say, instead of slewing it there
    Step {
        /// Go past the panic thresholds
        #[arg(long)]
        force: bool,
    },
    /// Log more, or less, until the daemon ends: trace, debug, info, warn or error
    LogLevel {
        /// The least important messages to log
        level: String,
    },
    /// Show the configuration in force with where each value comes from, or save what was changed at run time
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Read the configuration and its drop-ins again; what cannot be followed without a restart is named
    Reload,
    /// Make NTS cookies with a new key from now on; those that clients have stay good for a while
    Rekey,
    /// Save what has been learnt (the oscillator's frequency) now
    Dump,
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
    /// Set the clock at once from the configured sources, where no daemon runs; shows both times and asks
    ForceSync(ForceSync),
    /// Print the ntp.toml that does what another time daemon's configuration file does
    Migrate {
        /// The other daemon's file, such as /etc/chrony/chrony.conf or /etc/ntp.conf
        file: PathBuf,
        /// Whose file it is, if its name does not tell
        #[arg(long, value_name = "DAEMON")]
        from: Option<Dialect>,
    },
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForceSync {
    /// Do not ask; for boot scripts and timers
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// With --yes, the largest correction [default: startup-step-panic-threshold of the configuration]
    #[arg(long, value_name = "TIME", value_parser = time, requires = "yes")]
    pub(crate) max_offset: Option<Duration>,
    /// Leave the clock alone if it is off by less
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "1s")]
    pub(crate) min_offset: Duration,
    /// Give up after this time
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "60s")]
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum SourceAction {
    /// Ask one more source
    Add {
        /// Host name or address, with an optional port
        address: String,
        /// Use several servers behind this name
        #[arg(long)]
        pool: bool,
        /// Keys of [[source]] with their values, for example prefer=true poll-interval-limits.max=6
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Ask a source no more
    Remove {
        /// Its configured name, host, address in use or number
        name: String,
    },
    /// Change settings of a source
    Set {
        /// Its configured name, host, address in use or number
        name: String,
        /// Keys of [[source]] with their values; null takes a key out
        #[arg(value_name = "KEY=VALUE", required = true)]
        settings: Vec<String>,
    },
    /// Ask a source, or all, again
    Online {
        /// Its configured name, host, address in use or number
        name: Option<String>,
    },
    /// Send no requests to a source, or to any
    Offline {
        /// Its configured name, host, address in use or number
        name: Option<String>,
    },
    /// Measure a source, or all, eight times within 16 s
    Burst {
        /// Its configured name, host, address in use or number
        name: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print the configuration in force as TOML; comments say where each value comes from
    Show {
        /// With all defaults
        #[arg(long)]
        all: bool,
    },
    /// Write what was changed at run time into the drop-in ntp.toml.d/90-runtime.toml, for the next start
    Save,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ServerAction {
    /// Serve time at one more address
    Add {
        /// Address and port, for example 0.0.0.0:123
        listen: String,
        /// Keys of [[server]] with their values, for example rate-limiting-cutoff-ms=1000
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Serve time at an address no more
    Remove {
        /// Address and port as configured
        listen: String,
    },
    /// Change whom a server serves, and how fast
    Set {
        /// Address and port as configured
        listen: String,
        /// Keys of [[server]] with their values; null takes a key out
        #[arg(value_name = "KEY=VALUE", required = true)]
        settings: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum NtsAction {
    /// Exchange keys with a server and ask it once; say what is wrong and what to do
    ///
    /// No daemon is needed, and nothing is changed. Shown are the server's certificates, what was agreed on, how long each part took
    /// and what the server says about our clock, as far as it came.
    #[command(after_help = crate::nts::exit_codes())]
    Check {
        /// Host name or address of the key exchange, with an optional port
        host: String,
        /// Believe the authorities in this file (PEM), too
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// Give the key exchange up after this time
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
        timeout: Duration,
    },
}

/// A time with its unit, for example `10ms`, `1.5s`, `2min`; a bare number is seconds.
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
                "{unit:?} is no unit of time: ns, us, ms, s, min or h"
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

    /// How to show what the command tells
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
    /// All of it, for programs
    Json,
    /// Metrics in Prometheus' text format (`status` only)
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
    fn a_time_has_a_unit() {
        assert_eq!(time("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(time("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("2min"), Ok(Duration::from_secs(120)));
        for wrong in ["", "ms", "10 parsecs", "-1s", "1e400s"] {
            assert!(time(wrong).is_err(), "{wrong}");
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
