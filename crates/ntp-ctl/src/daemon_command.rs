//! Commands of the running daemon: the subcommands, what each calls, and what it prints.
//!
//! A new command is a variant of [`DaemonCommand`] and an arm of its `run`: a view of the state
//! ([`Daemon::show`]) or a call of one method of the control interface ([`Daemon::call`]).

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use ntp_control_api::control::client::CallError;
use ntp_control_api::control::methods::{
    AddInput, AddServer, AddSource, BurstSource, DeleteManual, Dump, EnableManual, EnabledInput,
    EntryInput, Error, LogLevelInput, Method, NameInput, NamesReply, NoInput, OfflineSource,
    OnlineSource, OptionalNameInput, Refresh, Rekey, RekeyReply, Reload, RemoveServer,
    RemoveSource, Reselect, Reset, SetInput, SetLogLevel, SetServer, SetSource, SetTime,
    SetTimeInput, Settings, Shutdown, Step, StepInput,
};
use ntp_time::SystemTime;
use ntp_types::status::Status;
use serde::Serialize;
use serde_json::{Value, json};

use crate::connect::{self, Socket, call, to_failure};
use crate::console::{Console, Failure};
use crate::format::{age, signed, time, timestamp};
use crate::manual::ManualCommand;
use crate::settings::parse_settings;
use crate::sources::View;
use crate::{
    bound, clients, config_save, config_show, dhcp, explain_text, manual, reload, servers,
    source_details, sources, tracking, waitsync,
};

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum DaemonCommand {
    /// Show the state of the clock: reference, offset, frequency and errors
    Tracking,
    /// Print the interval that contains true time, for scripts
    Bound,
    /// List the sources and their state
    Sources,
    /// Show the line through the newest measurements of each source: frequency, deviation
    Sourcestats,
    /// Show the selection: options, weight, correctness interval and state of each source
    Selectdata,
    /// Show the authentication of each source: keys, key exchanges, cookies
    Authdata,
    /// Count the sources that are online, offline, or without an address
    Activity,
    /// Show all details of a source, or of all, or change the sources
    #[command(args_conflicts_with_subcommands = true, visible_alias = "ntpdata")]
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
    #[cfg(feature = "tools")]
    Watch,
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
    /// Enter the time, where no source is available (needs `manual = true` in [clock])
    ///
    /// The time is the one at which the command is confirmed. A difference of more than half a
    /// second is corrected by a step, a smaller one by a slew. Entries of several days teach the
    /// frequency of the clock.
    Settime {
        /// Time, as for date(1): 15:30:05, "Nov 21, 2026 15:30" or 2026-11-21T15:30:05Z
        #[arg(required = true)]
        time: Vec<String>,
        /// Override the panic thresholds
        #[arg(long)]
        force: bool,
    },
    /// List, drop, permit or refuse entered times
    Manual {
        #[command(subcommand)]
        action: ManualCommand,
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
    /// Resolve the names of the sources again, and replace addresses that they no longer have
    Refresh,
    /// Repeat the selection of the sources; a nearer one may become the reference at once
    Reselect,
    /// Drop all measurements, poll all sources, and follow them as after the start
    Reset,
    /// Stop the daemon, as SIGTERM does
    Shutdown,
    /// Reload the configuration and its drop-ins; reports changes that require a restart
    Reload,
    /// Use the time servers that DHCP names for an interface, or withdraw them
    ///
    /// The hooks of DHCP clients call it. The servers replace those of the last call for this
    /// interface, until the next boot; without any, they are withdrawn. `dhcp-sources` in
    /// [synchronization] decides what they are used for.
    Dhcp {
        /// Interface, or another name of the list that these servers replace
        #[arg(value_parser = dhcp::list_name)]
        interface: String,
        /// Addresses or host names; what is neither is reported and left out
        #[arg(value_name = "SERVER")]
        servers: Vec<OsString>,
    },
    /// Replace the NTS cookie key; existing cookies remain valid for a while
    Rekey,
    /// Save the persistent state (the frequency of the oscillator) now
    Dump,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum SourceAction {
    /// Add a source
    Add {
        /// Host name or address, with an optional port; for a reference clock (mode=sock and others) its path, unit or device
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

impl DaemonCommand {
    /// Runs the command.
    pub(crate) fn run(
        &self,
        config: Option<&Path>,
        json: bool,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let (width, coloured) = (console.width, console.coloured);
        let mut daemon = Daemon {
            config,
            json,
            console,
        };
        match self {
            Self::Tracking => daemon.show(tracking::data, tracking::plain),
            Self::Bound => bound::run(config, json, console),
            Self::Sources => daemon.show(
                |it| json!(it.sources),
                |it| sources::plain(it, width, coloured),
            ),
            Self::Sourcestats => daemon.show_sources(View::Statistics),
            Self::Selectdata => daemon.show_sources(View::Selection),
            Self::Authdata => daemon.show_sources(View::Authentication),
            Self::Activity => daemon.show(sources::activity, sources::activity_text),
            Self::Source {
                action: Some(action),
                ..
            } => action.run(&mut daemon),
            Self::Source { name, .. } => daemon.show_source(name.as_deref()),
            Self::Servers => daemon.show(|it| json!(it.servers), |it| servers::plain(it, width)),
            Self::Server { action } => action.run(&mut daemon),
            Self::Clients { limit, server } => {
                clients::run(config, *limit, server.as_deref(), json, console)
            }
            Self::Explain => daemon.show(explain_text::data, explain_text::plain),
            #[cfg(feature = "tools")]
            Self::Watch => crate::watch::run(config),
            Self::Waitsync { max_error, timeout } => {
                waitsync::run(config, *max_error, *timeout, json, console)
            }
            Self::Step { force } => daemon.step(*force),
            Self::Settime { time, force } => daemon.set_time(time, *force),
            Self::Manual { action } => daemon.manual(action),
            Self::LogLevel { level } => daemon.set_log_level(level),
            Self::Config { action } => match action {
                ConfigAction::Show { all } => config_show::run(config, *all, json, console),
                ConfigAction::Save => config_save::run(config, json, console),
            },
            Self::Refresh => daemon.call::<Refresh>(&NoInput {}, names("name looked up")),
            Self::Reselect => daemon.call::<Reselect>(&NoInput {}, names("selected")),
            Self::Reset => daemon.call::<Reset>(&NoInput {}, names("measurements dropped")),
            Self::Shutdown => {
                daemon.call::<Shutdown>(&NoInput {}, |_| "The daemon is stopping\n".into())
            }
            Self::Reload => daemon.reload(),
            Self::Dhcp { interface, servers } => {
                dhcp::run(config, interface, servers, json, console)
            }
            Self::Rekey => daemon.call::<Rekey>(&NoInput {}, rekeyed),
            Self::Dump => daemon.call::<Dump>(&NoInput {}, |reply| {
                let written = reply.paths.iter();
                written.map(|path| format!("Written: {path}\n")).collect()
            }),
        }
    }
}

impl SourceAction {
    fn run(&self, daemon: &mut Daemon<'_, '_>) -> Result<(), Failure> {
        let optional = |name: &Option<String>| OptionalNameInput { name: name.clone() };
        match self {
            Self::Add {
                address,
                pool,
                settings,
            } => {
                let mode = if *pool { "pool" } else { "server" };
                let mut settings = parse_settings(&[("mode", mode)], settings)?;
                let key = naming_key(&settings);
                // A unit or an index is a number.
                let number = address.parse::<u32>().map(Value::from);
                let name = number.unwrap_or_else(|_| address.clone().into());
                settings.insert(key.to_owned(), name);
                daemon.call::<AddSource>(&AddInput { settings }, names("added"))
            }
            Self::Remove { name } => {
                let input = NameInput { name: name.clone() };
                daemon.call::<RemoveSource>(&input, names("removed"))
            }
            Self::Set { name, settings } => {
                daemon.call::<SetSource>(&set_input(name, settings)?, names("changed"))
            }
            Self::Online { name } => daemon.call::<OnlineSource>(&optional(name), names("online")),
            Self::Offline { name } => {
                daemon.call::<OfflineSource>(&optional(name), names("offline"))
            }
            Self::Burst { name } => daemon.call::<BurstSource>(&optional(name), |reply| {
                let mut text = format!("Burst started: {}\n", addresses(reply.started));
                if reply.skipped > 0 {
                    text += &format!(
                        "Skipped: {} (offline, measured within the last minute, or rate limited)\n",
                        addresses(reply.skipped)
                    );
                }
                text
            }),
        }
    }
}

impl ServerAction {
    fn run(&self, daemon: &mut Daemon<'_, '_>) -> Result<(), Failure> {
        match self {
            Self::Add { listen, settings } => {
                let settings = parse_settings(&[("listen", listen)], settings)?;
                daemon.call::<AddServer>(&AddInput { settings }, names("added"))
            }
            Self::Remove { listen } => {
                let input = NameInput {
                    name: listen.clone(),
                };
                daemon.call::<RemoveServer>(&input, names("removed"))
            }
            Self::Set { listen, settings } => {
                daemon.call::<SetServer>(&set_input(listen, settings)?, names("changed"))
            }
        }
    }
}

/// Returns the key that names a source of the mode in `settings`.
fn naming_key(settings: &Settings) -> &'static str {
    let mode = settings.get("mode").and_then(Value::as_str);
    let mode = mode.unwrap_or_default();
    let has = |key: &str| {
        let mut keys = ntp_config::KEYS.iter();
        keys.any(|it| (it.section, it.key) == ("source", key) && it.modes.contains(&mode))
    };
    // A receiver of gpsd is optional, so the address is first.
    let keys = ["path", "unit", "address", "device"];
    keys.into_iter().find(|key| has(key)).unwrap_or("address")
}

/// The running daemon, and where results are printed.
struct Daemon<'c, 'o> {
    /// Configuration file that names the socket.
    config: Option<&'c Path>,
    /// Whether results are printed as JSON.
    json: bool,
    console: &'c mut Console<'o>,
}

impl Daemon<'_, '_> {
    /// Prints part of the state, as JSON or as text.
    fn show(
        &mut self,
        value: impl FnOnce(&Status) -> Value,
        text: impl FnOnce(&Status) -> String,
    ) -> Result<(), Failure> {
        let status = connect::status(self.config)?;
        if self.json {
            return self.console.print_json(&value(&status));
        }
        self.console.print(&text(&status))
    }

    /// Calls a method and prints its reply, as JSON with `done` or as text.
    fn call<M: Method<Output: Serialize>>(
        &mut self,
        input: &M::Input,
        text: impl FnOnce(&M::Output) -> String,
    ) -> Result<(), Failure> {
        let mut client = Socket::find(self.config)?.connect()?;
        let reply = call::<M>(&mut client, input)?;
        self.finish(&reply, &text(&reply))
    }

    fn finish(&mut self, reply: &impl Serialize, text: &str) -> Result<(), Failure> {
        if !self.json {
            return self.console.print(text);
        }
        let mut result = serde_json::to_value(reply).unwrap_or_default();
        result["done"] = true.into();
        self.console.print_json(&result)
    }

    fn show_sources(&mut self, view: View) -> Result<(), Failure> {
        let (width, coloured) = (self.console.width, self.console.coloured);
        self.show(
            |it| json!(it.sources),
            |it| sources::view(view, it, width, coloured),
        )
    }

    fn show_source(&mut self, name: Option<&str>) -> Result<(), Failure> {
        let status = connect::status(self.config)?;
        let found = match name {
            Some(name) => sources::find(&status, name)?,
            None => status.sources.iter().collect(),
        };
        if self.json {
            return self.console.print_json(&found);
        }
        let texts = found
            .iter()
            .map(|source| source_details::plain(&status, source));
        self.console.print(&texts.collect::<Vec<_>>().join("\n"))
    }

    fn set_log_level(&mut self, level: &str) -> Result<(), Failure> {
        let input = LogLevelInput {
            level: level.to_owned(),
        };
        self.call::<SetLogLevel>(&input, |_| {
            format!("Log level set to {level} until the next start or reload of another level\n")
        })
    }

    /// Enters the time.
    fn set_time(&mut self, time: &[String], force: bool) -> Result<(), Failure> {
        let time = manual::parse(&time.join(" "))?;
        let forced = Some(force);
        self.call::<SetTime>(&SetTimeInput { time, forced }, manual::correction)
    }

    fn manual(&mut self, action: &ManualCommand) -> Result<(), Failure> {
        let (entry, text) = match action {
            ManualCommand::List => return self.show(|it| json!(it.system.manual), manual::list),
            ManualCommand::On | ManualCommand::Off => {
                let enabled = *action == ManualCommand::On;
                let no = if enabled { "T" } else { "No t" };
                let input = EnabledInput { enabled };
                return self.call::<EnableManual>(&input, |_| format!("{no}imes can be entered\n"));
            }
            ManualCommand::Delete { entry } => (Some(*entry), "Entry dropped\n"),
            ManualCommand::Reset => (None, "All entries dropped\n"),
        };
        self.call::<DeleteManual>(&EntryInput { entry }, |_| text.to_owned())
    }

    /// Steps the clock. A step over a threshold takes two calls, so that both times are printed
    /// even if the second fails.
    fn step(&mut self, forced: bool) -> Result<(), Failure> {
        let mut client = Socket::find(self.config)?.connect()?;
        let unforced = StepInput {
            forced: Some(false),
        };
        let mut outcome = client.call::<Step>(&unforced);
        if forced
            && let Err(error) = &outcome
            && let Some(times) = both_times(error)
        {
            if !self.json {
                self.console.print(&times)?;
            }
            outcome = client.call::<Step>(&StepInput { forced: Some(true) });
        }
        let error = match outcome {
            Ok(reply) => {
                let text = format!(
                    "Clock stepped by {}, from {}\n",
                    signed(reply.correction),
                    timestamp(from_unix(reply.clock))
                );
                return self.finish(&reply, &text);
            }
            Err(error) => error,
        };
        Err(match (both_times(&error), to_failure(&error)) {
            (Some(times), Failure::Refused(_, name, parameters)) => Failure::Refused(
                format!(
                    "Clock not changed\n{times}If the sources are right, use `ntp-ctl step --force`"
                ),
                name,
                parameters,
            ),
            (_, failure) => failure,
        })
    }

    fn reload(&mut self) -> Result<(), Failure> {
        let mut client = Socket::find(self.config)?.connect()?;
        let reply = call::<Reload>(&mut client, &NoInput {})?;
        let mut text = reload::report(&reply, self.console);
        if text.is_empty() {
            text += "No changes in the configuration\n";
        }
        self.finish(&reply, &text)
    }
}

fn rekeyed(reply: &RekeyReply) -> String {
    let key = reply.key;
    let old_cookies = if reply.old_cookies_valid_for > 0.0 {
        let time = age(reply.old_cookies_valid_for);
        format!("Existing cookies remain valid for {time}; each reply brings clients a new one")
    } else {
        "Existing cookies are invalid (stale-key-count = 0); clients repeat the key exchange".into()
    };
    let key_file = match &reply.key_file {
        Some(path) => format!("Written: {path}"),
        None => "Not written: after a restart, clients repeat the key exchange\n\
                 (`key-storage-path` in [keyset])"
            .into(),
    };
    format!(
        "NTS cookie key replaced: new cookies use key number {key}\n{old_cookies}\n{key_file}\n"
    )
}

/// Formats the names that a change affected, each with its result.
fn names(result: &str) -> impl FnOnce(&NamesReply) -> String {
    move |reply| {
        let lines = reply.names.iter().map(|name| format!("{name}: {result}\n"));
        let text: String = lines.collect();
        if text.is_empty() {
            return "Nothing to change\n".into();
        }
        text
    }
}

fn from_unix(seconds: f64) -> SystemTime {
    SystemTime::from_nanos((seconds * 1e9) as i64)
}

/// Formats system time, time of the sources and threshold of a step that is too large.
fn both_times(error: &CallError) -> Option<String> {
    let CallError::Refused(Error::StepTooLarge {
        clock,
        correction,
        threshold,
        limit,
    }) = error
    else {
        return None;
    };
    Some(format!(
        "System time      : {}\nTime of sources  : {}\nCorrection       : {}\n\
         Limit            : {limit} s (`{threshold}` in [synchronization])\n",
        timestamp(from_unix(*clock)),
        timestamp(from_unix(clock + correction)),
        signed(*correction)
    ))
}

fn set_input(name: &str, settings: &[String]) -> Result<SetInput, Failure> {
    Ok(SetInput {
        name: name.to_owned(),
        settings: parse_settings(&[], settings)?,
    })
}

fn addresses(count: u64) -> String {
    format!("{count} address{}", if count == 1 { "" } else { "es" })
}
